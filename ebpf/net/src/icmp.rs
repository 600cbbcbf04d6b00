//! ICMP errors made here: "time exceeded" and "packet too big" for workloads. The node's stack makes its own.
//!
//! The packet at hand becomes the answer: cut to what is quoted, new headers pushed before it.

use nexin_abi::{Addr4, Addr6, Be16, Be32, SourceFile};
use nexin_packet::header::{Ethernet, Icmp, Ipv4, Ipv6};
use nexin_packet::{checksum, icmp, icmp6, protocol};
use zerocopy::IntoBytes;

use crate::config::Setting;
use crate::event::refuse;
use crate::family::{V4, V6};
use crate::nat::Translate;
use crate::packet::Packet;
use crate::parse::Parsed;
use crate::skb::Skb;
use crate::stage::Stages;

const FILE: u8 = SourceFile::Icmp as u8;
const L3: usize = Ethernet::LEN;

/// What an answer says.
pub const TIME_EXCEEDED: u32 = 0;
pub const TOO_BIG: u32 = 1;

/// Answers that differ by family.
pub trait Answer: Translate {
    /// Sum over the first bytes from `l3` on, as many as an answer quotes, and how many these are.
    fn quote(skb: Skb, l3: usize) -> Option<(u32, u32)>;
    /// Writes the headers of the answer into the space before the quoted packet.
    fn write(skb: Skb, what: u32, mtu: u32, quote: (u32, u32), from: &Self::Addr, to: &Self::Addr) -> Option<()>;
    /// The gateway's address, if it was set.
    fn gateway() -> Option<Self::Addr>;
}

/// Stage: sends the sender an ICMP error about its packet. An error is never answered by an error (RFC 1122, 3.2.2), and
/// only first fragments are.
#[inline(always)]
pub fn answer<F: Answer + Stages>(skb: Skb, p: &mut Packet<F>, what: u32, mtu: u32) -> i32 {
    if p.is(Parsed::<F>::ERROR | Parsed::<F>::LATER_FRAGMENT) {
        return refuse!(TtlExceeded);
    }
    let tuple = p.tuple();
    let (to, from) = (tuple.source, F::gateway().unwrap_or(tuple.destination));
    match send::<F>(skb, what, mtu, &from, &to) {
        Some(action) => action,
        None => refuse!(WriteError),
    }
}

#[inline(always)]
fn send<F: Answer>(skb: Skb, what: u32, mtu: u32, from: &F::Addr, to: &F::Addr) -> Option<i32> {
    let (sender, gateway) = {
        let ethernet = skb.at::<Ethernet>(0)?;
        (ethernet.source, ethernet.destination)
    };
    // As much as may be quoted has to be linear.
    skb.pull(skb.len().min(1280));
    let quote = F::quote(skb, L3)?;
    let headers = (F::HEADER + Icmp::LEN) as u32;
    if !skb.cut(L3 as u32 + quote.1) || !skb.push(headers) {
        return None;
    }
    // The old Ethernet header is now inside the space of the new headers.
    let ethernet = skb.at::<Ethernet>(0)?;
    *ethernet = Ethernet { destination: sender, source: gateway, kind: Be16::new(F::ETHER) };
    F::write(skb, what, mtu, quote, from, to)?;
    Some(skb.to_peer(skb.ifindex()))
}

/// Sum of `LEN` bytes from `at` on, if they are all there.
#[inline(always)]
fn sum<const LEN: usize>(skb: Skb, at: usize) -> Option<u32> {
    // VERIFIER: the helper takes at most 512 bytes on old kernels, hence the pieces.
    const PIECE: usize = 512;
    let mut total = 0;
    let mut done = 0;
    while done + PIECE <= LEN {
        total = skb.sum::<PIECE>(at + done, total)?;
        done += PIECE;
    }
    match LEN % PIECE {
        0 => Some(total),
        36 => skb.sum::<36>(at + done, total),
        208 => skb.sum::<208>(at + done, total),
        128 => skb.sum::<128>(at + done, total),
        48 => skb.sum::<48>(at + done, total),
        _ => skb.sum::<28>(at + done, total),
    }
}

impl Answer for V4 {
    #[inline(always)]
    fn quote(skb: Skb, l3: usize) -> Option<(u32, u32)> {
        // RFC 1812, 4.3.2.3: as much as fits 576 bytes.
        const MOST: usize = 576 - Ipv4::LEN - Icmp::LEN;
        if let Some(total) = sum::<MOST>(skb, l3) {
            return Some((total, MOST as u32));
        }
        if let Some(total) = sum::<128>(skb, l3) {
            return Some((total, 128));
        }
        Some((sum::<28>(skb, l3)?, 28))
    }

    #[inline(always)]
    fn write(skb: Skb, what: u32, mtu: u32, quote: (u32, u32), from: &Addr4, to: &Addr4) -> Option<()> {
        let ip = skb.at::<Ipv4>(L3)?;
        *ip = Ipv4 {
            version_len: Ipv4::PLAIN,
            total_len: Be16::new((Ipv4::LEN + Icmp::LEN) as u16 + quote.1 as u16),
            ttl: 64,
            protocol: protocol::ICMP,
            source: *from,
            destination: *to,
            ..Ipv4::default()
        };
        ip.checksum = checksum::finish(checksum::sum(ip.as_bytes(), 0));
        let message = skb.at::<Icmp>(L3 + Ipv4::LEN)?;
        *message = match what {
            TOO_BIG => Icmp {
                kind: icmp::UNREACHABLE,
                code: icmp::FRAGMENTATION_NEEDED,
                sequence: Be16::new(mtu as u16),
                ..Icmp::default()
            },
            _ => Icmp { kind: icmp::TIME_EXCEEDED, ..Icmp::default() },
        };
        message.checksum = checksum::finish(checksum::sum(message.as_bytes(), quote.0));
        Some(())
    }

    #[inline(always)]
    fn gateway() -> Option<Addr4> {
        let word = Setting::NX_GATEWAY4();
        if word == 0 { None } else { Some(Addr4(Be32::from_raw(word))) }
    }
}

impl Answer for V6 {
    #[inline(always)]
    fn quote(skb: Skb, l3: usize) -> Option<(u32, u32)> {
        // RFC 4443, 2.4 c: as much as fits the smallest MTU there may be.
        const MOST: usize = 1280 - Ipv6::LEN - Icmp::LEN;
        if let Some(total) = sum::<MOST>(skb, l3) {
            return Some((total, MOST as u32));
        }
        if let Some(total) = sum::<512>(skb, l3) {
            return Some((total, 512));
        }
        if let Some(total) = sum::<128>(skb, l3) {
            return Some((total, 128));
        }
        Some((sum::<48>(skb, l3)?, 48))
    }

    #[inline(always)]
    fn write(skb: Skb, what: u32, mtu: u32, quote: (u32, u32), from: &Addr6, to: &Addr6) -> Option<()> {
        let length = Icmp::LEN as u32 + quote.1;
        let ip = skb.at::<Ipv6>(L3)?;
        *ip = Ipv6 {
            version_class_flow: Be32::new(6 << 28),
            payload_len: Be16::new(length as u16),
            next_header: protocol::ICMP6,
            hop_limit: 64,
            source: *from,
            destination: *to,
        };
        let message = skb.at::<Icmp>(L3 + Ipv6::LEN)?;
        *message = match what {
            TOO_BIG => Icmp { kind: icmp6::PACKET_TOO_BIG, sequence: Be16::new(mtu as u16), ..Icmp::default() },
            _ => Icmp { kind: icmp6::TIME_EXCEEDED, ..Icmp::default() },
        };
        let pseudo = checksum::pseudo6(from, to, protocol::ICMP6, length);
        message.checksum = checksum::finish(checksum::sum(message.as_bytes(), checksum::add(quote.0, pseudo)));
        Some(())
    }

    #[inline(always)]
    fn gateway() -> Option<Addr6> {
        let words = Setting::NX_GATEWAY6();
        if words[0] | words[1] | words[2] | words[3] == 0 { None } else { Some(Addr6(words.map(Be32::from_raw))) }
    }
}
