//! What every long-running program of Nexin needs and none should write again: typed settings, supervised tasks, shutdown,
//! backoff, logging, metrics, files that are whole or absent.
//!
//! Nothing here knows networking, the kernel or HTTP. The only crate that reads the environment.

pub mod backoff;
pub mod files;
pub mod logging;
pub mod metrics;
pub mod settings;
pub mod tasks;
