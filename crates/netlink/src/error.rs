//! What can go wrong at the kernel's door, with the request that failed spelled out.

use nix::errno::Errno;
use std::{io, path::PathBuf};

pub type Result<T> = std::result::Result<T, Error>;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel refused a request.
    #[error("{what}: {errno}{}", message.as_ref().map(|m| format!(" ({m})")).unwrap_or_default())]
    Refused {
        /// The request in the words of `ip`.
        what: String,
        errno: Errno,
        /// The kernel's own explanation (extended acknowledgement), where it gave one.
        message: Option<String>,
    },
    /// A system call or file operation around netlink failed.
    #[error("{what}: {source}")]
    Io { what: String, source: io::Error },
    /// The kernel's answer does not have the documented shape.
    #[error("malformed netlink message: {0}")]
    Malformed(&'static str),
    #[error("{0:?} is not a valid interface name: 1 to 15 bytes, no '/', ':' or white space, not '.' or '..'")]
    InvalidName(String),
    #[error("no link named {0} in this network namespace")]
    NoSuchLink(IfNameText),
    /// The name is taken by a link that is not the one asked for; nothing was changed.
    #[error("link {name} already exists and {}; choose another name or delete it", holder(owner.as_deref()))]
    Occupied { name: String, owner: Option<String> },
    #[error("network namespace {0} does not exist; was the workload stopped meanwhile?")]
    NoSuchNamespace(PathBuf),
    #[error("network namespace {0} is the node's own; a workload needs one of its own")]
    HostNamespace(PathBuf),
    #[error(
        "IPv6 address {0} asked for, but this kernel has IPv6 disabled (boot option ipv6.disable=1); use IPv4 only"
    )]
    NoIpv6(std::net::Ipv6Addr),
    #[error("owner {0:?} does not fit into a link's alias (at most 240 bytes)")]
    OwnerTooLong(String),
    /// A thread that worked inside a namespace panicked.
    #[error("the thread doing \"{0}\" died")]
    ThreadDied(&'static str),
}

type IfNameText = String;

fn holder(owner: Option<&str>) -> String {
    owner.map_or("is not ours".to_owned(), |owner| format!("belongs to {owner}"))
}

impl Error {
    pub(crate) fn io(what: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Self::Io { what: what.into(), source: source.into() }
    }

    /// The thing to act on is gone: for a removal that is success.
    pub fn is_gone(&self) -> bool {
        match self {
            Self::Refused { errno, .. } => {
                matches!(errno, Errno::ENODEV | Errno::ENOENT | Errno::ESRCH | Errno::EADDRNOTAVAIL)
            }
            Self::NoSuchLink(_) | Self::NoSuchNamespace(_) => true,
            _ => false,
        }
    }
}
