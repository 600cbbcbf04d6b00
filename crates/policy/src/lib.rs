//! Policy documents, and what they mean: documents -> rules -> decision tables.
//!
//! Values in, values out: nothing here reads a file, a clock or a socket, and nothing here knows a kernel map.

mod compile;
pub mod engine;
pub mod input;
pub mod rule;
pub mod tables;

pub use compile::{Extension, MemberChange};
pub use engine::{Applied, Config, Engine, IdentitySpec};
