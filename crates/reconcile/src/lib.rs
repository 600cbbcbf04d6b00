//! Desired versus actual, as data.
//!
//! A controller of anything outside (kernel maps, links, routes) says what should be there and what is there, and gets
//! a [`Plan`]. This crate knows no kernel, does no I/O, has no clock (time is passed in), and never removes what it was
//! not told to own.

mod diff;
mod retry;

pub use diff::{Plan, diff, diff_owned};
pub use retry::{Backoff, Retries};
