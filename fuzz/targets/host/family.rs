//! What the kernel's parser asks of an address family, with a table of fragments that needs no kernel.

use std::marker::PhantomData;

use nexin_abi::maps::frag::{FragPorts, v4, v6};
use nexin_abi::{Addr4, Addr6, Be16};
use nexin_packet::{Address, icmp, icmp6, protocol};
use zerocopy::{FromZeros, IntoBytes};

pub(crate) const NO_PORT: Be16 = Be16::new(0);

pub(crate) trait Family: Sized + 'static {
    type Addr: Address + FromZeros + std::fmt::Debug;
    type FragKey: IntoBytes + zerocopy::Immutable;
    const ICMP: u8;
    const ECHO: u8;
    const ECHO_REPLY: u8;

    fn frag_key(source: Self::Addr, destination: Self::Addr, id: u32, protocol: u8) -> Self::FragKey;
    fn is_icmp_error(kind: u8) -> bool;
    fn frag() -> Fragments<Self::FragKey> {
        Fragments(PhantomData)
    }
}

/// Knows every second fragmented datagram.
pub(crate) struct Fragments<K>(PhantomData<K>);

impl<K: IntoBytes + zerocopy::Immutable> Fragments<K> {
    pub(crate) fn get(&self, key: &K) -> Option<FragPorts> {
        let odd = key.as_bytes().iter().fold(0, |sum, byte| sum ^ byte) & 1 == 1;
        odd.then_some(FragPorts { source: Be16::new(1), destination: Be16::new(2) })
    }
}

pub(crate) enum V4 {}
pub(crate) enum V6 {}

impl Family for V4 {
    type Addr = Addr4;
    type FragKey = v4::FragKey;
    const ICMP: u8 = protocol::ICMP;
    const ECHO: u8 = icmp::ECHO;
    const ECHO_REPLY: u8 = icmp::ECHO_REPLY;

    fn frag_key(source: Addr4, destination: Addr4, id: u32, protocol: u8) -> v4::FragKey {
        v4::FragKey { source, destination, id, protocol, reserved: [0; 3] }
    }

    fn is_icmp_error(kind: u8) -> bool {
        icmp::is_error(kind)
    }
}

impl Family for V6 {
    type Addr = Addr6;
    type FragKey = v6::FragKey;
    const ICMP: u8 = protocol::ICMP6;
    const ECHO: u8 = icmp6::ECHO;
    const ECHO_REPLY: u8 = icmp6::ECHO_REPLY;

    fn frag_key(source: Addr6, destination: Addr6, id: u32, protocol: u8) -> v6::FragKey {
        v6::FragKey { source, destination, id, protocol, reserved: [0; 3] }
    }

    fn is_icmp_error(kind: u8) -> bool {
        icmp6::is_error(kind)
    }
}
