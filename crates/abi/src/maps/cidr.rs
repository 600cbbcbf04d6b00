//! Prefixes: identity of a CIDR that a policy names, and what is not masqueraded. Asked only where no exact address is
//! known, and only when a flow is new.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::{NO_PREALLOC, by_family, kernel_map};
use crate::Identity;

by_family! {
    /// Key of an LPM trie as the kernel wants it: prefix length in host order, then the address.
    #[repr(C)]
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
    pub struct PrefixKey {
        pub bits: u32,
        pub addr: Addr,
    }
}

kernel_map!(
    /// IPv4 prefix -> identity.
    Cidr4, "nx_cidr4", LpmTrie, 131_072, v4::PrefixKey, Identity, NO_PREALLOC
);
kernel_map!(
    /// IPv6 prefix -> identity.
    Cidr6, "nx_cidr6", LpmTrie, 131_072, v6::PrefixKey, Identity, NO_PREALLOC
);
kernel_map!(
    /// IPv4 destinations that keep the workload's source address. The value is always 1.
    NoMasq4, "nx_nomasq4", LpmTrie, 16_384, v4::PrefixKey, u32, NO_PREALLOC
);
kernel_map!(
    /// IPv6 destinations that keep the workload's source address. The value is always 1.
    NoMasq6, "nx_nomasq6", LpmTrie, 16_384, v6::PrefixKey, u32, NO_PREALLOC
);
