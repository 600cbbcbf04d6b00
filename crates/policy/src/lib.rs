//! Policy documents, and what they mean: documents -> rules -> decision tables.
//!
//! Values in, values out: nothing here reads a file, a clock or a socket, and nothing here knows a kernel map.

pub mod rule;
pub mod tables;
