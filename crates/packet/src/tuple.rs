//! Flow tuples and the direction-less conntrack key made of them.

use nexin_abi::maps::ct::{v4, v6};
use nexin_abi::{Addr4, Addr6, Be16};

/// An address of either family.
pub trait Address: Copy + Eq {
    /// Total and stable order, cheap to compute: as stored, not as people read addresses.
    fn below_or_equal(self, port: Be16, other: Self, other_port: Be16) -> bool;
}

impl Address for Addr4 {
    #[inline(always)]
    fn below_or_equal(self, port: Be16, other: Self, other_port: Be16) -> bool {
        let join = |addr: Self, port: Be16| (addr.0.raw() as u64) << 16 | port.raw() as u64;
        join(self, port) <= join(other, other_port)
    }
}

impl Address for Addr6 {
    #[inline(always)]
    fn below_or_equal(self, port: Be16, other: Self, other_port: Be16) -> bool {
        let (a, b) = (halves(self), halves(other));
        if a[1] != b[1] {
            return a[1] < b[1];
        }
        if a[0] != b[0] {
            return a[0] < b[0];
        }
        port.raw() <= other_port.raw()
    }
}

/// Two machine words instead of four; the low half differs first between hosts of one network, hence comes last here
/// and first in comparisons.
#[inline(always)]
fn halves(addr: Addr6) -> [u64; 2] {
    zerocopy::transmute!(addr)
}

/// Who talks to whom. For ICMP echo both ports are the identifier; protocols without ports have 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tuple<A> {
    pub source: A,
    pub destination: A,
    pub source_port: Be16,
    pub destination_port: Be16,
    pub protocol: u8,
}

impl<A: Address> Tuple<A> {
    /// The source is the key's `low` side.
    #[inline(always)]
    pub fn source_is_low(&self) -> bool {
        self.source.below_or_equal(self.source_port, self.destination, self.destination_port)
    }

    /// The same flow seen from the other side.
    #[inline(always)]
    pub fn reversed(&self) -> Self {
        Self {
            source: self.destination,
            destination: self.source,
            source_port: self.destination_port,
            destination_port: self.source_port,
            protocol: self.protocol,
        }
    }
}

macro_rules! key {
    ($(#[$doc:meta])* $name:ident, $addr:ty, $key:ty) => {
        $(#[$doc])*
        #[inline(always)]
        pub fn $name(t: &Tuple<$addr>) -> ($key, bool) {
            type Key = $key;
            let low = t.source_is_low();
            let reserved = [0; 3];
            let key = if low {
                Key {
                    low: t.source,
                    high: t.destination,
                    low_port: t.source_port,
                    high_port: t.destination_port,
                    protocol: t.protocol,
                    reserved,
                }
            } else {
                Key {
                    low: t.destination,
                    high: t.source,
                    low_port: t.destination_port,
                    high_port: t.source_port,
                    protocol: t.protocol,
                    reserved,
                }
            };
            (key, low)
        }
    };
}

key!(
    /// Conntrack key of an IPv4 tuple, and whether its source is the key's `low` side.
    key4, Addr4, v4::CtKey
);
key!(
    /// Conntrack key of an IPv6 tuple, and whether its source is the key's `low` side.
    key6, Addr6, v6::CtKey
);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use nexin_abi::Be32;

    proptest! {
        #[test]
        fn both_directions_have_one_key(a: [u32; 4], b: [u32; 4], p: u16, q: u16, protocol: u8) {
            let addr = |x: [u32; 4]| Addr6(x.map(Be32::from_raw));
            let t = Tuple { source: addr(a), destination: addr(b), source_port: Be16::new(p), destination_port: Be16::new(q), protocol };
            let ((forward, low), (backward, low_back)) = (key6(&t), key6(&t.reversed()));
            prop_assert_eq!(forward, backward);
            prop_assert!(low != low_back || (t.source == t.destination && p == q));
            let t4 = Tuple { source: Addr4(Be32::new(a[0])), destination: Addr4(Be32::new(b[0])), source_port: Be16::new(p), destination_port: Be16::new(q), protocol };
            prop_assert_eq!(key4(&t4).0, key4(&t4.reversed()).0);
        }
    }
}
