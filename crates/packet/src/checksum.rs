//! The Internet checksum (RFC 1071) and its incremental form (RFC 1624). Sums are over 16-bit words as they stand in
//! memory: one's complement addition does not care about byte order.

use nexin_abi::{Addr4, Addr6, Be16, Be32};

/// Unfolded sum of `bytes`, added to `seed`. At most 128 KiB at a time keep the sum from overflowing.
#[inline]
pub fn sum(bytes: &[u8], seed: u32) -> u32 {
    let (pairs, rest) = bytes.as_chunks::<2>();
    let mut total = seed;
    for pair in pairs {
        total = add(total, u16::from_ne_bytes(*pair) as u32);
    }
    if let [last] = rest {
        total = add(total, u16::from_ne_bytes([*last, 0]) as u32);
    }
    total
}

/// One's complement addition.
#[inline(always)]
pub const fn add(a: u32, b: u32) -> u32 {
    let (total, carry) = a.overflowing_add(b);
    total + carry as u32
}

/// The 16-bit checksum of an unfolded sum.
#[inline(always)]
pub const fn finish(total: u32) -> Be16 {
    let folded = (total & 0xffff) + (total >> 16);
    let folded = (folded & 0xffff) + (folded >> 16);
    Be16::from_raw(!(folded as u16))
}

/// The checksum after a covered word changed from `old` to `new` (RFC 1624, equation 3).
#[inline(always)]
pub const fn replaced(checksum: Be16, old: Be16, new: Be16) -> Be16 {
    finish((!checksum.raw()) as u32 + (!old.raw()) as u32 + new.raw() as u32)
}

/// Sum of the IPv6 pseudo header that TCP, UDP and ICMPv6 checksums cover.
#[inline(always)]
pub fn pseudo6(source: &Addr6, destination: &Addr6, protocol: u8, len: u32) -> u32 {
    let total = words(&source.0, words(&destination.0, 0));
    add(total, add(Be32::new(len).raw(), Be32::new(protocol as u32).raw()))
}

/// Sum of the IPv4 pseudo header that TCP and UDP checksums cover.
#[inline(always)]
pub fn pseudo4(source: Addr4, destination: Addr4, protocol: u8, len: u16) -> u32 {
    let total = words(&[source.0, destination.0], 0);
    add(total, Be32::new((protocol as u32) << 16 | len as u32).raw())
}

#[inline(always)]
fn words(words: &[Be32], seed: u32) -> u32 {
    words.iter().fold(seed, |total, word| add(total, word.raw()))
}

/// Checksum of an ICMPv6 message whose checksum field is zero.
#[inline(always)]
pub fn icmp6(source: &Addr6, destination: &Addr6, message: &[u8]) -> Be16 {
    finish(sum(message, pseudo6(source, destination, crate::protocol::ICMP6, message.len() as u32)))
}

/// IPv4 header checksum after the TTL went down by one. The TTL is the high byte of its word.
#[inline(always)]
pub const fn after_ttl_decrement(checksum: Be16) -> Be16 {
    // The word shrinks by 0x0100 in network order, so the checksum grows by it; the carry wraps around.
    let grown = checksum.raw() as u32 + Be16::new(0x0100).raw() as u32;
    Be16::from_raw((grown + (grown >= 0xffff) as u32) as u16)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_message_with_its_checksum_sums_to_zero(mut bytes in proptest::collection::vec(any::<u8>(), 2..200)) {
            if bytes.len() % 2 == 1 {
                bytes.push(0);
            }
            bytes[0] = 0;
            bytes[1] = 0;
            let check = finish(sum(&bytes, 0));
            bytes[..2].copy_from_slice(&check.raw().to_ne_bytes());
            prop_assert_eq!(finish(sum(&bytes, 0)).raw(), 0);
        }

        #[test]
        fn incremental_equals_from_scratch(mut words in proptest::collection::vec(any::<u16>(), 4..20), at in 0usize..4, new: u16) {
            words.push(1); // An all-zero message has two representations of its sum.
            let bytes = |w: &[u16]| w.iter().flat_map(|x| x.to_ne_bytes()).collect::<Vec<_>>();
            let before = finish(sum(&bytes(&words), 0));
            let old = words[at];
            words[at] = new;
            let after = finish(sum(&bytes(&words), 0));
            let incremental = replaced(before, Be16::from_raw(old), Be16::from_raw(new));
            prop_assert_eq!(incremental, after);
        }

        #[test]
        fn ttl_decrement_keeps_a_header_valid(mut header: [u8; 20], ttl in 1u8..) {
            header[0] = 0x45;
            header[8] = ttl;
            header[10] = 0;
            header[11] = 0;
            let check = finish(sum(&header, 0));
            header[8] = ttl - 1;
            header[10..12].copy_from_slice(&after_ttl_decrement(check).raw().to_ne_bytes());
            prop_assert_eq!(finish(sum(&header, 0)).raw(), 0);
        }
    }
}
