//! Exact address -> who that is. A hash, since look-ups in it cost the same at one and at 100,000 addresses.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::{NO_PREALLOC, kernel_map};
use crate::{Addr4, Addr6, Identity};

/// Who owns an address.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct AddrInfo {
    pub identity: Identity,
    /// Number of the local endpoint that owns it (index into [`super::endpoint::Endpoints`]), 0 if none.
    pub endpoint: u16,
    /// [`AddrInfo::HOST`] and friends.
    pub flags: u16,
}

impl AddrInfo {
    /// An address of this node's own.
    pub const HOST: u16 = 1;
    /// The gateway address that workloads route through; ARP and neighbour discovery for it are answered in BPF.
    pub const GATEWAY: u16 = 1 << 1;
}

kernel_map!(
    /// IPv4 addresses: workloads, this node, other nodes.
    Addr4Map, "nx_addr4", Hash, 131_072, Addr4, AddrInfo, NO_PREALLOC
);
kernel_map!(
    /// IPv6 addresses: workloads, this node, other nodes.
    Addr6Map, "nx_addr6", Hash, 131_072, Addr6, AddrInfo, NO_PREALLOC
);
