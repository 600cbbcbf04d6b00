//! Neighbour discovery. A workload's question for the gateway is answered in place; other discovery traffic belongs to the
//! link, so neither policy nor conntrack ever sees it.

use nexin_abi::maps::addr::AddrInfo;
use nexin_abi::{Addr6, Be32, DropReason, SourceFile};
use nexin_packet::header::{Ethernet, Icmp, Ipv6, Neighbor};
use nexin_packet::{checksum, icmp6};

use crate::event::{drop_quietly, drop_unparsed};
use crate::family::Family;
use crate::maps;
use crate::packet::{Hook, Packet};
use crate::parse::Parsed;
use crate::skb::{Skb, act};

const FILE: u8 = SourceFile::FromWorkload as u8;

/// Discovery or group membership: chatter of the link.
#[inline(always)]
pub fn concerns<F: Family>(p: &Packet<F>) -> bool {
    let kind = (p.service >> 8) as u8;
    p.protocol == F::ICMP
        && !p.is(Parsed::<F>::LATER_FRAGMENT)
        && (matches!(kind, icmp6::MLD_QUERY..=icmp6::REDIRECT) || kind == icmp6::MLD2_REPORT)
}

/// The link's own business: the host and the network talk to each other as they like, workloads only ask for the gateway.
#[inline(always)]
pub fn handle(skb: Skb, hook: Hook, l4: u16) -> i32 {
    if hook == Hook::FromWorkload { from_workload(skb, l4) } else { act::OK }
}

#[inline(never)]
fn from_workload(skb: Skb, l4: u16) -> i32 {
    let Some(icmp) = skb.load::<Icmp>(l4 as usize) else {
        return drop_unparsed(skb, Hook::FromWorkload, DropReason::InvalidPacket as u8, (FILE as u32) << 16 | line!());
    };
    match icmp.kind {
        icmp6::NEIGHBOR_SOLICITATION => {
            answer(skb, l4).unwrap_or_else(|| drop_quietly(skb, Hook::FromWorkload, DropReason::UnknownTarget))
        }
        // The host asked.
        icmp6::NEIGHBOR_ADVERTISEMENT => act::OK,
        _ => drop_quietly(skb, Hook::FromWorkload, DropReason::UnknownIcmp6Type),
    }
}

#[inline(always)]
fn answer(skb: Skb, l4: u16) -> Option<i32> {
    const L4: usize = Ethernet::LEN + Ipv6::LEN;
    // RFC 4861, 7.1.1: hop limit 255 proves that no router passed it on; extension headers are not used here.
    if l4 as usize != L4 || skb.at::<Ipv6>(Ethernet::LEN)?.hop_limit != 255 {
        return None;
    }
    let question = *skb.at::<Neighbor>(L4)?;
    if maps::ADDR6.get(&{ question.target })?.flags & AddrInfo::GATEWAY == 0 {
        return None;
    }
    let asker = skb.at::<Ipv6>(Ethernet::LEN)?.source;
    // Duplicate address detection asks from nowhere; silence means "yours".
    if asker == Addr6::default() || question.option != Neighbor::SOURCE_LINK || question.option_len != 1 {
        return None;
    }
    let number = maps::ENDPOINT_BY_DEVICE.get(&skb.ifindex())?;
    let mac = maps::ENDPOINTS.peek(&number)?.gateway_mac;
    let ethernet = skb.at::<Ethernet>(0)?;
    ethernet.destination = question.mac;
    ethernet.source = mac;
    let ip = skb.at::<Ipv6>(Ethernet::LEN)?;
    ip.source = question.target;
    ip.destination = asker;
    let reply = skb.at::<Neighbor>(L4)?;
    *reply = Neighbor {
        kind: icmp6::NEIGHBOR_ADVERTISEMENT,
        flags: Be32::new(Neighbor::ROUTER | Neighbor::SOLICITED | Neighbor::OVERRIDE),
        target: question.target,
        option: Neighbor::TARGET_LINK,
        option_len: 1,
        mac,
        ..Neighbor::default()
    };
    reply.checksum = checksum::icmp6(&{ question.target }, &asker, zerocopy::IntoBytes::as_bytes(reply));
    Some(skb.to_device(skb.ifindex()))
}
