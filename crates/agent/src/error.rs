//! Why the agent cannot start or go on.

use std::io;
use std::path::PathBuf;

use nexin_api::server::ServeError;
use nexin_runtime::tasks::TaskFailure;

pub use crate::state::StateError;

#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    #[error(transparent)]
    State(#[from] StateError),
    #[error("the kernel side cannot be set up: {0}. {hint}", hint = .0.next_step())]
    Datapath(#[from] nexin_datapath::Error),
    #[error("the node's network cannot be set up: {0}")]
    Network(#[from] nexin_netlink::Error),
    #[error("address pools cannot be used: {0}")]
    Pools(#[from] nexin_ipam::Error),
    #[error(transparent)]
    Api(#[from] ServeError),
    #[error("{what}: {source}")]
    System { what: &'static str, source: io::Error },
    #[error("{}: {source}", path.display())]
    Path { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Task(#[from] TaskFailure),
    /// The owner thread is gone: the agent is shutting down.
    #[error("the agent is shutting down")]
    Stopping,
    #[error("capabilities cannot be changed: {0}")]
    Capabilities(#[from] caps::errors::CapsError),
}
