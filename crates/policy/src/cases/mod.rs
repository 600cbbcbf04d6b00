//! Policies tested offline: workloads, addresses, policies and expected verdicts in files; no agent, no root, no kernel.
//!
//! A case is judged by the engine and the tables that the agent uses. Nothing here opens a file: the caller gives text and
//! a way to read what it refers to.

mod read;
mod report;
mod run;
mod scenario;
mod world;

pub use read::{CaseFile, ReadFile, read};
pub use report::{json, junit};
pub use run::{CaseReport, Difference, RowReport, run};
pub use scenario::{Case, Expectation, Node, PeerRef, PeerRefError, PlainLabels, Row, Scenario, Workload};
pub use world::{Endpoints, UnknownPeer, World};
