//! Why a lab could not be made, used or removed.

use std::io;
use std::path::PathBuf;

use nexin_api::ClientError;

pub type Result<T> = std::result::Result<T, Error>;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The lab file says something impossible.
    #[error("{file}: {problem}")]
    Spec { file: String, problem: String },
    #[error("a lab named {0} exists already; `nexin lab down {0}` removes it, --name makes another")]
    Exists(String),
    /// Which was wanted, and what to do.
    #[error("there is no lab{}; {next}", name.as_ref().map(|name| format!(" named {name}")).unwrap_or_default())]
    NoLab { name: Option<String>, next: String },
    #[error("there are several labs; choose one of {0} with --name")]
    SeveralLabs(String),
    #[error("nothing in the lab is named {0:?}; there are {1}")]
    NoPart(String, String),
    #[error("{path}: {source}", path = path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("{doing}: {source}")]
    System { doing: String, source: io::Error },
    #[error(transparent)]
    Network(#[from] nexin_netlink::Error),
    /// The agent of a node refused, or is gone.
    #[error("node {node}: {source}")]
    Agent { node: String, source: ClientError },
    /// The agent ended, or did not become ready in time.
    #[error("the agent of node {node} {problem}; the end of its log:\n{tail}")]
    AgentStart { node: String, problem: String, tail: String },
    #[error("interrupted; what was made is removed again")]
    Interrupted,
    /// The demo saw something else than it promised.
    #[error("expected {expected}, but {seen}")]
    Unexpected { expected: String, seen: String },
}

impl Error {
    pub(crate) fn file(path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self::File { path: path.into(), source }
    }

    pub(crate) fn system(doing: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Self::System { doing: doing.into(), source: source.into() }
    }
}
