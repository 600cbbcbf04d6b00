//! Sends an accepted packet on: to a workload of this node, to the host's stack, or out of a device.

use core::mem::offset_of;

use aya_ebpf::bindings::{bpf_fib_lookup, bpf_redir_neigh};
use aya_ebpf::helpers as bpf;
use nexin_abi::maps::ct::CtEntry;
use nexin_abi::maps::device::Device;
use nexin_abi::maps::endpoint::Endpoint;
use nexin_abi::{Be16, Direction, SourceFile};
use nexin_packet::header::{Ethernet, Ipv4, Ipv6, Tcp};
use nexin_packet::{checksum, protocol};

use crate::event::{count, refuse};
use crate::family::{V4, V6};
use crate::icmp;
use crate::maps;
use crate::packet::{Hook, Packet};
use crate::parse::{Parse, Parsed};
use crate::skb::{Skb, act};
use crate::stage::{Stages, TOO_BIG, TTL_EXCEEDED};
use crate::tell::news;

const FILE: u8 = SourceFile::Deliver as u8;

/// Sends the packet to the side [`Packet::number`]. A classifier's action, or [`REFUSE`](crate::stage::REFUSE).
#[inline(always)]
pub fn deliver<F: Deliver + Stages>(skb: Skb, p: &mut Packet<F>) -> i32 {
    let action = send(skb, p);
    if action < 0 || action & (TOO_BIG | TTL_EXCEEDED) == 0 {
        return action;
    }
    p.news &= !(news::TOLD | news::CAPTURED);
    let what = if action & TOO_BIG != 0 { icmp::TOO_BIG } else { icmp::TIME_EXCEEDED };
    F::answer(skb, p, what, action as u32 & 0xffff)
}

#[inline(always)]
fn send<F: Deliver + Stages>(skb: Skb, p: &mut Packet<F>) -> i32 {
    let number = p.number;
    match p.hook {
        Hook::ToWorkload => {
            count(0, Direction::Ingress, skb.len());
            act::OK
        }
        Hook::ToNetwork => act::OK,
        Hook::FromWorkload if number == 0 => F::to_world(skb, p),
        Hook::FromWorkload if number == CtEntry::HOST => {
            count(0, Direction::Egress, skb.len());
            act::OK
        }
        Hook::FromWorkload | Hook::FromNetwork => F::to_local(skb, p, u32::from(number)),
    }
}

/// Delivery that differs by family.
pub trait Deliver: Parse {
    /// Lowers the TTL or hop limit of a routed packet; false when it ran out. Direct writes, for packets whose checksum no
    /// device computed.
    fn age(skb: Skb, l3: usize) -> bool;

    /// As [`Deliver::age`], for packets that came from a device.
    fn age_summed(skb: Skb, l3: usize) -> bool;

    /// Fills in the addresses of a route look-up.
    fn route(skb: Skb, l3: usize, fib: &mut bpf_fib_lookup);
}

impl Deliver for V4 {
    #[inline(always)]
    fn age(skb: Skb, l3: usize) -> bool {
        let Some(ip) = skb.view::<{ Ipv4::LEN }>(l3) else { return false };
        let ttl = ip.u8::<{ offset_of!(Ipv4, ttl) }>();
        if ttl <= 1 {
            return false;
        }
        const CHECKSUM: usize = offset_of!(Ipv4, checksum);
        let check = checksum::after_ttl_decrement(Be16::from_raw(ip.u16::<CHECKSUM>()));
        ip.set_u8::<{ offset_of!(Ipv4, ttl) }>(ttl - 1);
        ip.set_u16::<CHECKSUM>(check.raw());
        true
    }

    /// The header's checksum makes up for the change, so the device's sum stays right.
    #[inline(always)]
    fn age_summed(skb: Skb, l3: usize) -> bool {
        Self::age(skb, l3)
    }

    #[inline(always)]
    fn route(skb: Skb, l3: usize, fib: &mut bpf_fib_lookup) {
        if let Some(ip) = skb.at::<Ipv4>(l3) {
            fib.l4_protocol = ip.protocol;
            fib.__bindgen_anon_2.tos = ip.tos;
            fib.__bindgen_anon_3.ipv4_src = ip.source.0.raw();
            fib.__bindgen_anon_4.ipv4_dst = ip.destination.0.raw();
        }
    }
}

impl Deliver for V6 {
    #[inline(always)]
    fn age(skb: Skb, l3: usize) -> bool {
        const HOP_LIMIT: usize = offset_of!(Ipv6, hop_limit);
        let Some(ip) = skb.view::<{ Ipv6::LEN }>(l3) else { return false };
        let limit = ip.u8::<HOP_LIMIT>();
        if limit <= 1 {
            return false;
        }
        ip.set_u8::<HOP_LIMIT>(limit - 1);
        true
    }

    #[inline(always)]
    fn age_summed(skb: Skb, l3: usize) -> bool {
        const HOP_LIMIT: usize = offset_of!(Ipv6, hop_limit);
        let Some(limit) = skb.load::<u8>(l3 + HOP_LIMIT) else { return false };
        // VERIFIER: the helper wants the byte in memory.
        limit > 1 && skb.store_summed(l3 + HOP_LIMIT, &(limit - 1))
    }

    #[inline(always)]
    fn route(skb: Skb, l3: usize, fib: &mut bpf_fib_lookup) {
        if let Some(ip) = skb.at::<Ipv6>(l3) {
            fib.l4_protocol = ip.next_header;
            fib.__bindgen_anon_2.flowinfo = ip.version_class_flow.raw() & Be32Mask::FLOW;
            fib.__bindgen_anon_3.ipv6_src = zerocopy::transmute!(ip.source);
            fib.__bindgen_anon_4.ipv6_dst = zerocopy::transmute!(ip.destination);
        }
    }
}

struct Be32Mask;

impl Be32Mask {
    /// Traffic class and flow label, as stored.
    const FLOW: u32 = nexin_abi::Be32::new(0x0fff_ffff).raw();
}

/// Writes the Ethernet header of the last hop: the endpoint's MAC and the gateway's stand in [`Endpoint`] as in a frame.
#[inline(always)]
pub fn address_to(skb: Skb, endpoint: &Endpoint) -> bool {
    let Some(ethernet) = skb.view::<{ Ethernet::LEN }>(0) else { return false };
    let macs = (&raw const endpoint.mac).cast::<u32>();
    // SAFETY: `mac` and `gateway_mac` are twelve consecutive bytes of the endpoint, aligned to eight.
    let (low, high) = unsafe { (macs.cast::<u64>().read(), macs.add(2).read()) };
    ethernet.set_u64::<0>(low);
    ethernet.set_u32::<8>(high);
    true
}

const _: () = {
    assert!(offset_of!(Endpoint, mac) % 8 == 0 && offset_of!(Endpoint, gateway_mac) == offset_of!(Endpoint, mac) + 6);
    assert!(offset_of!(Ethernet, destination) == 0 && offset_of!(Ethernet, source) == 6);
};

/// A frame for a packet that came without: the rest of the header is written by [`address_to`].
#[inline(always)]
fn add_ethernet<F: Deliver>(skb: Skb) -> bool {
    if !skb.push(Ethernet::LEN as u32) {
        return false;
    }
    let Some(ethernet) = skb.at::<Ethernet>(0) else { return false };
    ethernet.kind = Be16::new(F::ETHER);
    true
}

/// Bytes of the longest network-layer packet that this one is or will be cut into.
#[inline(always)]
fn longest<F: Deliver>(skb: Skb, p: &Packet<F>) -> u32 {
    let segment = skb.segment();
    if segment == 0 {
        return skb.len().wrapping_sub(u32::from(p.l3));
    }
    let mut headers = u32::from(p.l4).wrapping_sub(u32::from(p.l3));
    if p.protocol == protocol::TCP {
        headers += skb.load::<Tcp>(p.l4 as usize).map_or(0, |tcp| u32::from(tcp.offset >> 4) << 2);
    }
    // UDP segments count their own header.
    segment + headers
}

/// Stage: to a workload of this node.
#[inline(always)]
pub fn to_local<F: Deliver + Stages>(skb: Skb, p: &mut Packet<F>, number: u32) -> i32 {
    let Some(endpoint) = maps::ENDPOINTS.peek(&number) else {
        return refuse!(UnknownTarget);
    };
    if endpoint.ifindex == 0 {
        return refuse!(UnknownTarget);
    }
    let (l3, mtu) = ((p.l3 & 14) as usize, u32::from(endpoint.mtu));
    if mtu != 0 && longest(skb, p) > mtu {
        // The stack fragments what may be fragmented, and answers what came from outside.
        return if p.hook == Hook::FromNetwork || p.is(Parsed::<F>::MAY_FRAGMENT) {
            act::OK
        } else {
            TOO_BIG | mtu as i32
        };
    }
    if p.hook == Hook::FromNetwork {
        // Between workloads of one node packets are switched, not routed: the TTL stays. Coming from outside is a hop, and
        // the stack answers where it ends.
        if !F::age_summed(skb, l3) {
            return act::OK;
        }
        if l3 == 0 && !add_ethernet::<F>(skb) {
            return refuse!(WriteError);
        }
    }
    if !address_to(skb, endpoint) {
        return refuse!(WriteError);
    }
    let direction = if p.hook == Hook::FromNetwork { Direction::Ingress } else { Direction::Egress };
    count(0, direction, skb.len());
    skb.to_peer(endpoint.ifindex)
}

/// Stage: off the node, straight to the next hop's device; where the routing table has no plain answer, through the stack, which
/// then says what it has to say.
#[inline(always)]
pub fn to_world<F: Deliver + Stages>(skb: Skb, p: &mut Packet<F>) -> i32 {
    const SUCCESS: i64 = 0;
    const NO_NEIGHBOUR: i64 = 7;
    const TOO_LONG: i64 = 8;
    // SAFETY: plain old data for which all zeroes is a valid value.
    let mut fib: bpf_fib_lookup = unsafe { core::mem::zeroed() };
    let l3 = (p.l3 & 14) as usize;
    fib.family = F::AF;
    fib.ifindex = skb.ifindex();
    F::route(skb, l3, &mut fib);
    fib.__bindgen_anon_1.tot_len = longest(skb, p) as u16;
    // SAFETY: valid context, and the size is that of the struct.
    let found =
        unsafe { bpf::bpf_fib_lookup(skb.context().cast(), &raw mut fib, size_of::<bpf_fib_lookup>() as i32, 0) };
    count(0, Direction::Egress, skb.len());
    if found == TOO_LONG && !p.is(Parsed::<F>::MAY_FRAGMENT) {
        // SAFETY: the kernel wrote the MTU where the length was.
        return TOO_BIG | i32::from(unsafe { fib.__bindgen_anon_1.mtu_result });
    }
    if found != SUCCESS && found != NO_NEIGHBOUR {
        return act::OK;
    }
    if !F::age(skb, l3) {
        return TTL_EXCEEDED;
    }
    let bare = maps::DEVICES.peek(&fib.ifindex).is_some_and(|device| device.flags & Device::NO_L2 != 0);
    if bare {
        return skb.to_device(fib.ifindex);
    }
    // SAFETY: plain old data for which all zeroes is a valid value.
    let mut hop: bpf_redir_neigh = unsafe { core::mem::zeroed() };
    hop.nh_family = u32::from(F::AF);
    // SAFETY: the kernel filled the union's widest member, and both unions lay addresses out alike.
    unsafe { hop.__bindgen_anon_1.ipv6_nh = fib.__bindgen_anon_4.ipv6_dst };
    // SAFETY: the struct is initialised and its size is passed.
    unsafe { bpf::bpf_redirect_neigh(fib.ifindex, &raw mut hop, size_of::<bpf_redir_neigh>() as i32, 0) as i32 }
}
