//! Ports of fragmented datagrams: learnt from the first fragment, used for the others.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::{by_family, kernel_map};
use crate::Be16;

by_family! {
    #[repr(C)]
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
    pub struct FragKey {
        pub source: Addr,
        pub destination: Addr,
        /// Identification as stored in the packet (IPv4: 16 bits, zero-extended).
        pub id: u32,
        pub protocol: u8,
        pub reserved: [u8; 3],
    }
}

#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct FragPorts {
    pub source: Be16,
    pub destination: Be16,
}

kernel_map!(
    /// IPv4 fragments under way.
    Frag4, "nx_frag4", LruHash, 8_192, v4::FragKey, FragPorts
);
kernel_map!(
    /// IPv6 fragments under way.
    Frag6, "nx_frag6", LruHash, 8_192, v6::FragKey, FragPorts
);
