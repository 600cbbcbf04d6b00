//! (skeleton)
pub mod tables;
