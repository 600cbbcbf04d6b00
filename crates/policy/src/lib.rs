//! Policy documents, and what they mean: documents -> rules -> decision tables.
//!
//! Values in, values out: nothing here reads a file, a clock or a socket, and nothing here knows a kernel map.

pub mod cases;
mod compile;
pub mod engine;
pub mod explain;
mod hash;
pub mod input;
mod party;
pub mod rule;
pub mod simulate;
pub mod tables;

pub use compile::{Extension, MemberChange};
pub use engine::{Applied, Config, Engine, IdentitySpec};
pub use party::Party;
