//! Addresses of the two families, as they stand in packets and map keys.

use core::net::{Ipv4Addr, Ipv6Addr};

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::Be32;

/// An IPv4 address, network byte order, aligned to 4.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Addr4(pub Be32);

/// An IPv6 address, network byte order, as four aligned words (the kernel compares and copies words).
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Addr6(pub [Be32; 4]);

impl From<Ipv4Addr> for Addr4 {
    fn from(ip: Ipv4Addr) -> Self {
        Self(Be32::from_raw(u32::from_ne_bytes(ip.octets())))
    }
}

impl From<Addr4> for Ipv4Addr {
    fn from(a: Addr4) -> Self {
        Self::from(a.0.raw().to_ne_bytes())
    }
}

impl From<Ipv6Addr> for Addr6 {
    fn from(ip: Ipv6Addr) -> Self {
        zerocopy::transmute!(ip.octets())
    }
}

impl From<Addr6> for Ipv6Addr {
    fn from(a: Addr6) -> Self {
        let octets: [u8; 16] = zerocopy::transmute!(a);
        Self::from(octets)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octets_keep_their_order() {
        let four = Ipv4Addr::new(10, 0, 1, 2);
        assert_eq!(Ipv4Addr::from(Addr4::from(four)), four);
        assert_eq!(Addr4::from(four).0.get(), 0x0a00_0102);
        let six: Ipv6Addr = "fd00::1:2".parse().unwrap();
        assert_eq!(Ipv6Addr::from(Addr6::from(six)), six);
        assert_eq!(Addr6::from(six).0[3].get(), 0x0001_0002);
    }
}
