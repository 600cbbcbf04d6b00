//! One Hubble endpoint over many nodes: finds them through peer services, asks them all, and answers as one.
//!
//! Nothing here knows the kernel, an agent or what a flow means; a node is whoever speaks Hubble's API, Nexin or not. No flow is
//! dropped or changed on its way.

mod announced;
mod clock;
mod coalesce;
mod discover;
mod fan;
mod merge;
mod metrics;
mod observer;
mod pool;
mod settings;
mod start;
#[cfg(test)]
mod tests;

pub use settings::{RelaySettings, Settings};
pub use start::{RelayError, run};
