//! The one door to the kernel's links, addresses, routes, neighbours and network namespaces (rtnetlink, `setns`,
//! `/proc/sys/net`).
//!
//! It does no policy, keeps no desired state and starts no program: callers say what should be, this crate makes it so,
//! and tells what differs. Requests are batched into one `sendmsg`, which the kernel works off before it returns, so
//! there is no connection task and nothing to await on the way; [`Wiring`] moves whole operations to a blocking thread.
//!
//! Everything made here can be recognised by a fresh process: links carry the alias `nexin:<owner>`, routes,
//! neighbours and gateway addresses the protocol number [`PROTOCOL`].

mod addr;
mod error;
mod link;
mod name;
mod neigh;
mod netns;
mod route;
mod socket;
mod sysctl;
mod watch;
mod wire;
mod wiring;

pub use addr::Address;
pub use error::{Error, Result};
pub use link::{Link, VethSpec};
pub use name::{IfName, Mac, workload_ifname};
pub use neigh::Neighbour;
pub use netns::Netns;
pub use route::{Route, RouteSpec};
pub use socket::{Netlink, Request};
pub use sysctl::{Family, LinkSysctl, NodeSysctl};
pub use watch::{Change, Watcher};
pub use wiring::{AddressPlan, Drift, GatewayPlan, NodeView, Scope, Side, Swept, WiredLinks, Wiring, WorkloadSpec};

/// Protocol number (`rtm_protocol`, `NDA_PROTOCOL`, `IFA_PROTO`) of everything this crate puts into the kernel's tables.
/// Unassigned in `include/uapi/linux/rtnetlink.h`.
pub const PROTOCOL: u8 = 78;
