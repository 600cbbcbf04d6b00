//! Connection tracking. One entry holds a flow: both directions' state and counters, its endpoints, its NAT and the
//! policy epoch it was admitted under.
//!
//! The key is the same for both directions: the side with the smaller (address, port) comes first, so that a packet of
//! either direction finds the flow with one look-up.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::{by_family, kernel_map};
use crate::Be16;

by_family! {
    /// Flow key. For ICMP echo both ports are the identifier; other ICMP is not tracked.
    #[repr(C)]
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
    pub struct CtKey {
        /// The smaller side, compared as stored (raw words, not host order): the order only has to be total and stable.
        pub low: Addr,
        pub high: Addr,
        pub low_port: Be16,
        pub high_port: Be16,
        pub protocol: u8,
        pub reserved: [u8; 3],
    }
}

/// Packets in the upper 24 bits, bytes in the lower 40, so that one atomic add counts both. Both wrap: user space sums
/// differences, and a flow is reported often enough that neither can wrap twice in between.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Counter(pub u64);

impl Counter {
    const BYTE_BITS: u32 = 40;

    /// What to add for one packet of `bytes` bytes.
    #[inline(always)]
    pub const fn packet(bytes: u32) -> u64 {
        (1 << Self::BYTE_BITS) | bytes as u64
    }

    pub const fn packets(self) -> u64 {
        self.0 >> Self::BYTE_BITS
    }

    pub const fn bytes(self) -> u64 {
        self.0 & ((1 << Self::BYTE_BITS) - 1)
    }

    /// Packets and bytes counted since `earlier`, across at most one wrap.
    pub const fn since(self, earlier: Self) -> Self {
        let bytes = self.bytes().wrapping_sub(earlier.bytes()) & ((1 << Self::BYTE_BITS) - 1);
        let packets = (self.0.wrapping_sub(earlier.0).wrapping_sub(bytes)) >> Self::BYTE_BITS;
        Self(packets << Self::BYTE_BITS | bytes)
    }
}

/// A flow: 32 bytes, so that with a hash element's header an IPv4 flow costs 112 bytes and an IPv6 flow 136.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct CtEntry {
    /// Originator's direction.
    pub forward: Counter,
    /// Replies.
    pub reverse: Counter,
    /// Jiffies (low 32 bits) after which the flow is dead. Compare by wrapping difference.
    pub expires: u32,
    /// [`super::config::Config::epoch`] at the last policy decision.
    pub epoch: u32,
    /// Local endpoint that originated the flow, [`CtEntry::HOST`] for this node itself and whatever its stack routed to the
    /// workload, 0 for anyone else.
    pub source_endpoint: u16,
    /// Local endpoint it goes to, [`CtEntry::HOST`] for this node itself, 0 for anyone else, [`CtEntry::UNTRANSLATED`]
    /// for anyone else once it is known that the source keeps its address; with [`CtEntry::MASQUERADED`] the translated
    /// source port in network order instead.
    pub target: u16,
    /// State in the low nibble ([`CtState`]), [`CtEntry::ORIGIN_IS_HIGH`] and friends above.
    pub state: u8,
    /// TCP flags seen, of either direction.
    pub seen: u8,
    /// When the flow was last reported: jiffies / 256, low byte.
    pub reported: u8,
    /// With [`CtEntry::MASQUERADED`]: index into [`super::nat::NatAddr4`] or `NatAddr6`.
    pub nat_addr: u8,
}

const _: () = assert!(size_of::<CtEntry>() == 32);
const _: () = assert!(size_of::<v4::CtKey>() == 16);
const _: () = assert!(size_of::<v6::CtKey>() == 40);

/// Life of a flow (low nibble of [`CtEntry::state`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum CtState {
    /// First packet seen, no reply yet (TCP: SYN sent; counts as half-open).
    New = 0,
    /// Both directions seen (TCP: handshake complete).
    Established = 1,
    /// One side sent FIN.
    Closing = 2,
    /// Both sides sent FIN; deleted at the next acknowledgement.
    LastAck = 3,
    /// Policy refused the running flow after a change. Kept so that replies cannot open it from the other side.
    Denied = 4,
}

impl CtEntry {
    /// Not an endpoint number: the node itself.
    pub const HOST: u16 = 0xfffe;
    /// Not an endpoint number: leaves the node with its own source address.
    pub const UNTRANSLATED: u16 = 0xffff;
    pub const STATE_MASK: u8 = 0x0f;
    /// The originator is the key's `high` side.
    pub const ORIGIN_IS_HIGH: u8 = 1 << 4;
    /// Source is translated on the way out.
    pub const MASQUERADED: u8 = 1 << 5;
    /// The FIN that moved the flow to `Closing` came from the originator.
    pub const FIN_FORWARD: u8 = 1 << 6;
    /// Counted in the originator's half-open quota ([`super::endpoint::EndpointState`]).
    pub const HALF_OPEN: u8 = 1 << 7;
}

kernel_map!(
    /// IPv4 flows. A plain hash: entries are deleted when flows close, never evicted by newer ones.
    Ct4, "nx_ct4", Hash, 262_144, v4::CtKey, CtEntry
);
kernel_map!(
    /// IPv6 flows.
    Ct6, "nx_ct6", Hash, 131_072, v6::CtKey, CtEntry
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counter_differences_survive_a_wrap() {
        let near_full = Counter(((1 << 40) - 10) | (5 << 40));
        let later = Counter(near_full.0.wrapping_add(Counter::packet(100)));
        let diff = later.since(near_full);
        assert_eq!((diff.packets(), diff.bytes()), (1, 100));
    }
}
