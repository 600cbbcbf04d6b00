//! The two sides of a packet: how flows name them, and whether a packet may claim to come from (or go to) one.

use nexin_abi::Identity;
use nexin_abi::maps::addr::AddrInfo;
use nexin_abi::maps::ct::CtEntry;
use nexin_abi::maps::endpoint::Endpoint;
use nexin_packet::header::Ethernet;
use nexin_packet::protocol;

use crate::config::Setting;
use crate::ct::Flow;
use crate::family::Family;
use crate::maps;
use crate::packet::{Packet, device_of};
use crate::skb::Skb;

/// Number of the side that sent the packet, as [`CtEntry`] keeps it.
#[inline(always)]
pub fn sender_number(flow: Flow, forward: bool) -> u16 {
    if forward {
        flow.source()
    } else if flow.has(CtEntry::MASQUERADED) {
        0
    } else {
        flow.target()
    }
}

/// Number of the side the packet goes to; 0 for anyone who is not on this node.
#[inline(always)]
pub fn receiver_number(flow: Flow, forward: bool) -> u16 {
    if !forward {
        return flow.source();
    }
    let target = flow.target();
    if flow.has(CtEntry::MASQUERADED) || target == CtEntry::UNTRANSLATED { 0 } else { target }
}

/// How an entry names a side.
#[inline(always)]
pub fn number(info: AddrInfo) -> u16 {
    if info.endpoint != 0 {
        info.endpoint
    } else if info.flags & (AddrInfo::HOST | AddrInfo::GATEWAY) != 0 {
        CtEntry::HOST
    } else {
        0
    }
}

/// The sender is the endpoint behind the device the packet came from.
#[inline(always)]
pub fn owns_source<F: Family>(skb: Skb, p: &mut Packet<F>) -> bool {
    let ifindex = skb.ifindex();
    if p.sender.endpoint != 0 && device_of(p.sender.endpoint) == ifindex {
        return true;
    }
    let Some(number) = maps::ENDPOINT_BY_DEVICE.get(&ifindex) else { return false };
    let mut sender = p.sender;
    sender.endpoint = 0;
    router(number as u16, &mut sender);
    p.sender = sender;
    sender.endpoint != 0
}

/// The frame's source address is the endpoint's own, if that matters.
#[inline(always)]
pub fn owns_mac(skb: Skb, number: u16) -> bool {
    if Setting::NX_CHECK_MAC() == 0 {
        return true;
    }
    let Some(endpoint) = maps::ENDPOINTS.peek(&u32::from(number)) else { return false };
    skb.at::<Ethernet>(0).is_some_and(|ethernet| ethernet.source == endpoint.mac)
}

/// An endpoint that routes for others speaks with its own identity whatever source address it uses.
#[inline(always)]
pub fn router(number: u16, info: &mut AddrInfo) {
    let Some(endpoint) = maps::ENDPOINTS.peek(&u32::from(number)) else { return };
    if number != 0 && endpoint.flags & Endpoint::NO_SOURCE_CHECK != 0 {
        *info = AddrInfo { identity: endpoint.identity, endpoint: number, flags: 0 };
    }
}

/// A workload that speaks a tunnel protocol to a node could inject packets past policy (CVE-2019-13119).
#[inline(always)]
pub fn is_tunnel<F: Family>(p: &Packet<F>) -> bool {
    let (first, second) = (Setting::NX_TUNNEL_PORT1(), Setting::NX_TUNNEL_PORT2());
    let port = u32::from(p.service);
    let node = p.receiver.flags & (AddrInfo::HOST | AddrInfo::GATEWAY) != 0
        || p.receiver.identity == Identity::HOST
        || p.receiver.identity == Identity::REMOTE_NODE;
    p.protocol == protocol::UDP && port != 0 && (port == first || port == second) && node
}

/// Packets from the network do not come from this node: whoever says so lies.
#[inline(always)]
pub fn is_foreign(sender: u16) -> bool {
    sender == 0 || sender == CtEntry::UNTRANSLATED
}

/// Settles who gets a packet that the stack sends into a workload's device: its endpoint, whatever the address (a
/// link-local one, or one that is routed there). Without an endpoint there is nobody whose policy could allow it.
#[inline(always)]
pub fn settle_receiver<F: Family>(skb: Skb, p: &mut Packet<F>) -> bool {
    if p.receiver.endpoint != 0 {
        return true;
    }
    let Some(number) = maps::ENDPOINT_BY_DEVICE.get(&skb.ifindex()) else { return false };
    own(number as u16, &mut p.receiver);
    p.receiver.endpoint != 0
}

/// The endpoint speaks or is spoken to under an address that is not known to be its own.
#[inline(always)]
pub fn own(number: u16, info: &mut AddrInfo) {
    let Some(endpoint) = maps::ENDPOINTS.peek(&u32::from(number)) else { return };
    if number != 0 && endpoint.ifindex != 0 {
        *info = AddrInfo { identity: endpoint.identity, endpoint: number, flags: 0 };
    }
}
