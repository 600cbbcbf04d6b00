//! What differs between IPv4 and IPv6, so that everything else is written once.

use nexin_abi::maps::addr::AddrInfo;
use nexin_abi::maps::cidr::{v4::PrefixKey as Prefix4, v6::PrefixKey as Prefix6};
use nexin_abi::maps::ct::{Ct4, Ct6, CtEntry, v4, v6};
use nexin_abi::maps::{KernelMap, frag};
use nexin_abi::{Addr4, Addr6, Be16, Identity};
use nexin_packet::{Tuple, icmp, icmp6, key4, key6};
use zerocopy::{FromZeros, Immutable, IntoBytes};

use crate::maps::{self, Table};

/// An address family. Two implementations, chosen at compile time.
pub trait Family: Sized + 'static {
    type Addr: nexin_packet::Address + IntoBytes + FromZeros + Immutable + 'static;
    type Key: Copy + FromZeros + 'static;
    type Ct: KernelMap<Key = Self::Key, Value = CtEntry> + 'static;
    type FragKey: Copy + 'static;
    type Frag: KernelMap<Key = Self::FragKey, Value = frag::FragPorts> + 'static;
    const VERSION: u8;
    /// EtherType.
    const ETHER: u16;
    /// Bytes of a header without options.
    const HEADER: usize;
    /// `AF_INET` or `AF_INET6`.
    const AF: u8;
    const WORLD: Identity;
    /// Protocol number of the family's ICMP, and its echo types.
    const ICMP: u8;
    const ECHO: u8;
    const ECHO_REPLY: u8;

    fn ct() -> &'static Table<Self::Ct>;
    fn frag() -> &'static Table<Self::Frag>;
    fn owner(addr: &Self::Addr) -> Option<AddrInfo>;
    fn prefix(addr: &Self::Addr) -> Option<Identity>;
    fn masquerade_excluded(addr: &Self::Addr) -> bool;
    /// Key and "the source is its low side".
    fn key(tuple: &Tuple<Self::Addr>) -> (Self::Key, bool);
    /// The tuple with the key's low side as source, or its high side.
    fn tuple(key: &Self::Key, source_is_low: bool) -> Tuple<Self::Addr>;
    /// Ports as in [`Family::tuple`].
    fn ports(key: &Self::Key, source_is_low: bool) -> (Be16, Be16);
    /// Writes the addresses as [`Family::tuple`] has them to the beginning of two fields of an event.
    fn write_ends(key: &Self::Key, source_is_low: bool, source: &mut [u64; 2], destination: &mut [u64; 2]);
    fn frag_key(source: Self::Addr, destination: Self::Addr, id: u32, protocol: u8) -> Self::FragKey;
    fn is_icmp_error(kind: u8) -> bool;
}

pub enum V4 {}
pub enum V6 {}

macro_rules! tuple_of {
    ($key:ty, $addr:ty, $word:ty) => {
        /// VERIFIER: volatile loads, lest the compiler selects between two stack addresses by arithmetic on them.
        #[inline(always)]
        fn tuple(key: &$key, source_is_low: bool) -> Tuple<$addr> {
            const WORDS: usize = size_of::<$addr>() / size_of::<$word>();
            let fetch = |addr: &$addr| -> $addr {
                let words = core::ptr::from_ref(addr).cast::<$word>();
                // SAFETY: within the address; keys are aligned to their largest word wherever the programs keep them.
                let words: [$word; WORDS] = core::array::from_fn(|n| unsafe { words.add(n).read_volatile() });
                zerocopy::transmute!(words)
            };
            let (low, high) = (fetch(&key.low), fetch(&key.high));
            let low = Tuple {
                source: low,
                destination: high,
                source_port: key.low_port,
                destination_port: key.high_port,
                protocol: key.protocol,
            };
            if source_is_low { low } else { low.reversed() }
        }

        #[inline(always)]
        fn write_ends(key: &$key, source_is_low: bool, source: &mut [u64; 2], destination: &mut [u64; 2]) {
            const WORDS: usize = size_of::<$addr>() / size_of::<$word>();
            let (low, high) =
                (core::ptr::from_ref(&key.low).cast::<$word>(), core::ptr::from_ref(&key.high).cast::<$word>());
            let (source, destination) =
                (core::ptr::from_mut(source).cast::<$word>(), core::ptr::from_mut(destination).cast::<$word>());
            for n in 0..WORDS {
                // SAFETY: within addresses and fields, which are aligned to words. (Volatile as in `tuple`.)
                unsafe {
                    let (low, high) = (low.add(n).read_volatile(), high.add(n).read_volatile());
                    source.add(n).write(if source_is_low { low } else { high });
                    destination.add(n).write(if source_is_low { high } else { low });
                }
            }
        }

        #[inline(always)]
        fn ports(key: &$key, source_is_low: bool) -> (Be16, Be16) {
            let (low, high) = (&raw const key.low_port, &raw const key.high_port);
            // SAFETY: two aligned fields. (Volatile as above.)
            let (low, high) = unsafe { (low.read_volatile(), high.read_volatile()) };
            if source_is_low { (low, high) } else { (high, low) }
        }
    };
}

impl Family for V4 {
    type Addr = Addr4;
    type Key = v4::CtKey;
    type Ct = Ct4;
    type FragKey = frag::v4::FragKey;
    type Frag = frag::Frag4;
    const VERSION: u8 = 4;
    const ETHER: u16 = nexin_packet::ether::IPV4;
    const HEADER: usize = 20;
    const AF: u8 = 2;
    const WORLD: Identity = Identity::WORLD_IPV4;
    const ICMP: u8 = nexin_packet::protocol::ICMP;
    const ECHO: u8 = icmp::ECHO;
    const ECHO_REPLY: u8 = icmp::ECHO_REPLY;

    #[inline(always)]
    fn ct() -> &'static Table<Ct4> {
        &maps::CT4
    }

    #[inline(always)]
    fn frag() -> &'static Table<frag::Frag4> {
        &maps::FRAG4
    }

    #[inline(always)]
    fn owner(addr: &Addr4) -> Option<AddrInfo> {
        maps::ADDR4.get(addr)
    }

    #[inline(always)]
    fn prefix(addr: &Addr4) -> Option<Identity> {
        maps::CIDR4.get(&Prefix4 { bits: 32, addr: *addr })
    }

    #[inline(always)]
    fn masquerade_excluded(addr: &Addr4) -> bool {
        !maps::NO_MASQ4.find(&Prefix4 { bits: 32, addr: *addr }).is_null()
    }

    #[inline(always)]
    fn key(tuple: &Tuple<Addr4>) -> (v4::CtKey, bool) {
        key4(tuple)
    }

    tuple_of!(v4::CtKey, Addr4, u32);

    #[inline(always)]
    fn frag_key(source: Addr4, destination: Addr4, id: u32, protocol: u8) -> frag::v4::FragKey {
        frag::v4::FragKey { source, destination, id, protocol, reserved: [0; 3] }
    }

    #[inline(always)]
    fn is_icmp_error(kind: u8) -> bool {
        icmp::is_error(kind)
    }
}

impl Family for V6 {
    type Addr = Addr6;
    type Key = v6::CtKey;
    type Ct = Ct6;
    type FragKey = frag::v6::FragKey;
    type Frag = frag::Frag6;
    const VERSION: u8 = 6;
    const ETHER: u16 = nexin_packet::ether::IPV6;
    const HEADER: usize = 40;
    const AF: u8 = 10;
    const WORLD: Identity = Identity::WORLD_IPV6;
    const ICMP: u8 = nexin_packet::protocol::ICMP6;
    const ECHO: u8 = icmp6::ECHO;
    const ECHO_REPLY: u8 = icmp6::ECHO_REPLY;

    #[inline(always)]
    fn ct() -> &'static Table<Ct6> {
        &maps::CT6
    }

    #[inline(always)]
    fn frag() -> &'static Table<frag::Frag6> {
        &maps::FRAG6
    }

    #[inline(always)]
    fn owner(addr: &Addr6) -> Option<AddrInfo> {
        maps::ADDR6.get(addr)
    }

    #[inline(always)]
    fn prefix(addr: &Addr6) -> Option<Identity> {
        maps::CIDR6.get(&Prefix6 { bits: 128, addr: *addr })
    }

    #[inline(always)]
    fn masquerade_excluded(addr: &Addr6) -> bool {
        !maps::NO_MASQ6.find(&Prefix6 { bits: 128, addr: *addr }).is_null()
    }

    #[inline(always)]
    fn key(tuple: &Tuple<Addr6>) -> (v6::CtKey, bool) {
        key6(tuple)
    }

    tuple_of!(v6::CtKey, Addr6, u64);

    #[inline(always)]
    fn frag_key(source: Addr6, destination: Addr6, id: u32, protocol: u8) -> frag::v6::FragKey {
        frag::v6::FragKey { source, destination, id, protocol, reserved: [0; 3] }
    }

    #[inline(always)]
    fn is_icmp_error(kind: u8) -> bool {
        icmp6::is_error(kind)
    }
}

/// No port.
pub const NO_PORT: Be16 = Be16::new(0);
