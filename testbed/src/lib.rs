//! Real networks for tests: nodes and workloads are network namespaces, traffic is sockets, the agent is the shipped
//! program. Nothing here stands in for a part of Nexin, and nothing outlives the test that made it.

mod agent;
mod api;
mod isolate;
mod monitor;
mod namespace;
mod node;
mod probe;
mod residue;
mod switches;
mod tools;
pub mod traffic;
mod wait;

pub use agent::Agent;
pub use api::{Api, Reply};
pub use isolate::{alone, isolated};
pub use monitor::Monitor;
pub use namespace::Namespace;
pub use node::{Node, Workload, WorkloadSpec, World};
pub use probe::{Feature, kernel, needs, note};
pub use residue::Snapshot;
pub use switches::{bless, data_folder, program};
pub use tools::{Tool, tool};
pub use wait::{DEADLINE, until, until_ok};

/// Whatever went wrong, in words: tests only ever print it, so its debug form is the plain text.
pub struct Error(String);
pub type Result<T = ()> = std::result::Result<T, Error>;

impl Error {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl std::fmt::Debug for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl<E: std::error::Error> From<E> for Error {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}

/// Returns an error with a formatted text.
#[macro_export]
macro_rules! fail {
    ($($text:tt)*) => { return Err($crate::Error::new(format!($($text)*))) };
}
