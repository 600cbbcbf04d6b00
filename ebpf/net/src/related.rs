//! ICMP errors: they belong to the flow of the packet they quote, pass when that flow passes, and are translated with it.

use nexin_abi::maps::ct::{CtEntry, CtState};
use nexin_abi::{Be16, Event, SourceFile};
use nexin_packet::header::Icmp;

use crate::ct::Flow;
use crate::event::refuse;
use crate::nat::{End, Place, Side, Translate, rewrite_error};
use crate::packet::{Hook, Packet, device_of};
use crate::parse::Parsed;
use crate::sides::{receiver_number, sender_number};
use crate::skb::Skb;
use crate::stage::{DELIVER, UNRELATED};
use crate::tell;

const FILE: u8 = SourceFile::Icmp as u8;

/// The quoted packet.
#[inline(always)]
fn quoted<F: Translate>(skb: Skb, p: &Packet<F>) -> Option<Parsed<F>> {
    let mut parsed = Parsed::<F>::empty();
    let l3 = p.l4 as usize + Icmp::LEN;
    if F::quoted(skb, l3, &mut parsed) == 0 { Some(parsed) } else { None }
}

/// Stage: passes an error along its flow, if there is one.
#[inline(always)]
pub fn related<F: Translate>(skb: Skb, p: &mut Packet<F>) -> i32 {
    let Some(parsed) = quoted(skb, p) else {
        return refuse!(CtInvalidHeader);
    };
    // An error goes back to whoever sent the packet it quotes.
    if parsed.tuple.source != p.tuple().destination {
        return refuse!(InvalidPacket);
    }
    let (key, source_is_low) = F::key(&parsed.tuple);
    let Some(flow) = Flow::from_map(F::ct().find(&key)) else { return UNRELATED };
    if flow.life() == CtState::Denied as u8 {
        return UNRELATED;
    }
    // The quoted packet travelled the other way.
    let quoted_forward = source_is_low == (flow.state() & CtEntry::ORIGIN_IS_HIGH == 0);
    if p.hook == Hook::FromWorkload && device_of(sender_number(flow, !quoted_forward)) != skb.ifindex() {
        return refuse!(InvalidSourceIp);
    }
    p.flags |= Event::RELATED;
    tell::single(p);
    DELIVER | i32::from(receiver_number(flow, !quoted_forward))
}

/// Where the quoted packet's headers are.
#[inline(always)]
fn place_of<F: Translate>(p: &Packet<F>, parsed: &Parsed<F>) -> Place {
    let l3 = p.l4 as usize + Icmp::LEN;
    Place { l3, l4: parsed.l4 as usize, proto: parsed.tuple.protocol, headless: false }
}

/// Stage: an error that a workload sends about a flow that leaves the node translated. 1 = translated or not in need of
/// it, 0 = not to be sent with the workload's address.
#[inline(always)]
pub fn error_leaves<F: Translate>(skb: Skb, p: &mut Packet<F>) -> i32 {
    let Some(parsed) = quoted(skb, p) else { return 0 };
    let (key, _) = F::key(&parsed.tuple);
    let Some(flow) = Flow::from_map(F::ct().find(&key)) else { return 0 };
    if !flow.has(CtEntry::MASQUERADED) {
        return 1;
    }
    let Some(addr) = F::nat_address(u32::from(flow.nat_addr())) else { return 0 };
    let old = End { addr: parsed.tuple.destination, port: parsed.tuple.destination_port };
    let new = End { addr, port: Be16::from_raw(flow.target()) };
    let quoted = place_of(p, &parsed);
    i32::from(rewrite_error::<F>(skb, p.place(), quoted, Side::Destination, &old, &new))
}

/// Stage: an error from the network about a packet that left translated. 1 = it has its flow's addresses again, 0 = not
/// about one of ours.
#[inline(always)]
pub fn error_arrives<F: Translate>(skb: Skb, p: &mut Packet<F>) -> i32 {
    let Some(parsed) = quoted(skb, p) else { return 0 };
    let t = &parsed.tuple;
    let nat = End { addr: t.source, port: t.source_port };
    let peer = End { addr: t.destination, port: t.destination_port };
    let Some(entry) = F::nat().get(&F::nat_key(nat, peer, t.protocol)) else { return 0 };
    let source = F::before(&entry);
    let quoted = place_of(p, &parsed);
    if !rewrite_error::<F>(skb, p.place(), quoted, Side::Source, &nat, &source) {
        return 0;
    }
    p.redirect_to(&source.addr);
    1
}
