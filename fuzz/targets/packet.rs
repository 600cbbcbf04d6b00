//! Any bytes as a packet, for the kernel's own parser compiled for the host: it reads nothing that is not there, its two
//! ways agree, and what it accepts lies within the packet. The first byte says how much of the packet is linear.
#![no_main]
#![allow(dead_code, unreachable_pub, reason = "the programs use more of the parser")]

#[path = "host/family.rs"]
mod family;
#[path = "../../ebpf/net/src/parse.rs"]
mod parse;
#[path = "host/skb.rs"]
mod skb;

use family::{V4, V6};
use libfuzzer_sys::fuzz_target;
use nexin_packet::header::{Ipv4, Ipv6};
use parse::{Parse, Parsed};
use skb::Skb;

fuzz_target!(|bytes: &[u8]| {
    let Some((linear, packet)) = bytes.split_first() else { return };
    let linear = if *linear == u8::MAX { packet.len() } else { usize::from(*linear) };
    both_ways::<V4>(packet, linear, Ipv4::LEN);
    both_ways::<V6>(packet, linear, Ipv6::LEN);
});

fn both_ways<F: Parse>(packet: &[u8], linear: usize, header: usize) {
    let mut slow = Parsed::<F>::empty();
    let refused = F::cold(Skb::new(packet, linear), 0, &mut slow);
    assert!((0..=255).contains(&refused), "{refused} is no reason");
    if refused == 0 {
        assert!(slow.l4 as usize >= header, "transport before the end of the header");
        let later = slow.kind & Parsed::<F>::LATER_FRAGMENT != 0;
        let with_ports = [6, 17, 132, F::ICMP].contains(&slow.tuple.protocol);
        assert!(later || !with_ports || usize::from(slow.l4) + 8 <= packet.len(), "transport past the end");
        assert_eq!(slow.tuple.reversed().reversed(), slow.tuple);
    }
    if let Some(fast) = F::hot(Skb::new(packet, linear), 0) {
        // The hot way leaves lengths to those who deliver; whatever both take, they take alike.
        if refused == 0 {
            assert_eq!(fast.tuple, slow.tuple);
            assert_eq!((fast.l4, fast.service, fast.tcp_flags), (slow.l4, slow.service, slow.tcp_flags));
            assert_eq!(fast.kind, slow.kind);
        }
    }
    let mut quoted = Parsed::<F>::empty();
    let other = F::quoted(Skb::new(packet, linear), 0, &mut quoted);
    // A quotation asks for less of a packet, never for more.
    assert!(refused != 0 || other == 0, "whole it is read, quoted it is refused: {other}");
    if refused == 0 {
        assert_eq!(quoted.tuple, slow.tuple);
    }
}
