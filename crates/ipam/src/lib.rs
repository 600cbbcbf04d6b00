//! Addresses for the workloads of one node: which are free, who has which, and when one may be used again.
//!
//! Values in, values out: nothing here reads a clock, a file or the kernel. Whoever owns an [`Ipam`] writes
//! [`Ipam::state`] to disk before an address is handed to a workload, and gives it back to [`Ipam::restore`].

mod node;
mod pool;

pub use node::{Addresses, Conflict, Ipam, State, Want};
pub use pool::{Pool, PoolState};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::{fmt, net::IpAddr};

/// Who an address was given to: an endpoint's or container's identifier.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Owner(pub String);

impl From<&str> for Owner {
    fn from(owner: &str) -> Self {
        Self(owner.to_owned())
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Family {
    V4,
    V6,
}

impl Family {
    pub const fn of(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}

/// Why an address of a pool is never given to a workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Special {
    /// The first address of the prefix: the network itself (IPv4), the routers' anycast address (IPv6, RFC 4291 2.6.1).
    Network,
    Gateway,
    Broadcast,
}

impl fmt::Display for Special {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Network => "the network's own address",
            Self::Gateway => "the gateway",
            Self::Broadcast => "the broadcast address",
        })
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error(
        "address pool {pool} is exhausted: {used} of {size} addresses are in use; delete workloads that are no longer \
         needed (`nexin ipam` lists who holds what) or give the node a larger pool"
    )]
    Exhausted { pool: IpNet, size: u128, used: u128 },
    #[error("address {ip} is in use by {owner}; ask for another one, or delete that workload first")]
    InUse { ip: IpAddr, owner: Owner },
    #[error("address {ip} is not in the node's pool {pool}")]
    OutsidePool { ip: IpAddr, pool: IpNet },
    #[error("address {ip} is {what} of its pool and is never given to a workload")]
    Reserved { ip: IpAddr, what: Special },
    #[error("the node has no {0} pool; add one to its settings or do not ask for that family")]
    NoPool(Family),
    #[error(
        "{0} is too small for a pool: after network, gateway and broadcast address nothing is left (at most /30 or /126)"
    )]
    TooSmall(IpNet),
}

pub type Result<T> = std::result::Result<T, Error>;
