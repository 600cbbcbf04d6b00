//! Masquerading: where replies to a translated source go back to.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::{by_family, kernel_map};
use crate::{Addr4, Addr6, Be16};

by_family! {
    /// A reply as it arrives: from `peer` to the node's `nat` address and port. For ICMP echo both ports are the identifier.
    #[repr(C)]
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
    pub struct NatKey {
        pub nat: Addr,
        pub peer: Addr,
        pub nat_port: Be16,
        pub peer_port: Be16,
        pub protocol: u8,
        pub reserved: [u8; 3],
    }

    /// The source before translation.
    #[repr(C)]
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
    pub struct NatEntry {
        pub source: Addr,
        pub port: Be16,
        pub reserved: [u8; 2],
    }
}

kernel_map!(
    /// IPv4 reverse translations; each is freed together with its flow.
    Nat4, "nx_nat4", Hash, 131_072, v4::NatKey, v4::NatEntry
);
kernel_map!(
    /// IPv6 reverse translations.
    Nat6, "nx_nat6", Hash, 65_536, v6::NatKey, v6::NatEntry
);
kernel_map!(
    /// Addresses to masquerade with, by the index that flows and devices keep.
    NatAddr4, "nx_nataddr4", Array, 256, u32, Addr4
);
kernel_map!(
    /// Addresses to masquerade with, by the index that flows and devices keep.
    NatAddr6, "nx_nataddr6", Array, 256, u32, Addr6
);
