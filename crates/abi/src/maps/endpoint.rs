//! Local endpoints (workloads of this node).

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::kernel_map;
use crate::Identity;

/// Everything the datapath must know of a local endpoint. The key is the endpoint number; number 0 stays empty.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Endpoint {
    /// Host side of the veth pair; 0 = no such endpoint.
    pub ifindex: u32,
    pub identity: Identity,
    /// Policies in force, 0 = this direction is not isolated. A switch of policy is one aligned store.
    pub ingress_policy: u32,
    pub egress_policy: u32,
    /// MAC of the workload's own interface.
    pub mac: [u8; 6],
    /// MAC of the host side, the gateway's as the workload sees it.
    pub gateway_mac: [u8; 6],
    /// [`Endpoint::AUDIT`] and friends.
    pub flags: u32,
    pub mtu: u16,
    pub reserved: [u8; 6],
}

impl Endpoint {
    /// Policy denials of this endpoint are reported and let through.
    pub const AUDIT: u32 = 1;
    /// Source addresses are not verified (a workload that routes for others).
    pub const NO_SOURCE_CHECK: u32 = 1 << 1;
    /// Addresses below this index exist.
    pub const COUNT: u32 = 4096;
}

/// Counters of an endpoint that programs change, apart from [`Endpoint`] so that agent writes never lose any.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct EndpointState {
    /// TCP flows this endpoint opened that are not established yet.
    pub half_open: u32,
    pub reserved: u32,
}

kernel_map!(
    /// Endpoint number -> endpoint.
    Endpoints, "nx_endpoint", Array, Endpoint::COUNT, u32, Endpoint
);
kernel_map!(
    /// Endpoint number -> counters. Number 0 counts flows that come from outside the node.
    EndpointStates, "nx_epstate", Array, Endpoint::COUNT, u32, EndpointState
);
kernel_map!(
    /// Interface index of the host side -> endpoint number. Asked only where a packet's source address does not tell
    /// (neighbour discovery from link-local addresses, endpoints with [`Endpoint::NO_SOURCE_CHECK`]).
    EndpointByDevice, "nx_epdev", Hash, Endpoint::COUNT, u32, u32
);
