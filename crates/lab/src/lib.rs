//! A lab: nodes and workloads as network namespaces of this machine, with the agent unmodified.
//!
//! ```text
//!   workload ─┐                    ┌─ workload
//!   workload ─┤ node ── outside ── node ├─ workload
//! ```
//!
//! Each node is a namespace with an agent of its own (its own directories, socket and bpffs), each workload a namespace
//! that its node's agent wires up. `outside` plays the world: it joins the nodes and has no way out, so nothing that
//! happens in a lab leaves the machine. Everything that is made is written down before it is made; [`Lab::down`] removes
//! by that record, also after a crash. The lab decides nothing about traffic: that is what it is there to show.

pub mod demo;
mod error;
mod exec;
mod files;
mod node;
mod outside;
mod plan;
mod process;
mod record;
mod ships;
mod status;
mod up;

pub use error::{Error, Result};
pub use files::read_spec;
pub use plan::{LabSpec, NodeSpec, OutsideSpec, Preset, WorkloadSpec};
pub use process::stop_all_in;
pub use record::{Lab, NodePaths};
pub use status::{LabStatus, NodeStatus, WorkloadStatus};
pub use up::Up;

/// Where records, sockets, logs and bpffs mounts of labs are.
pub const RUN_DIR: &str = "/run/nexin-lab";
