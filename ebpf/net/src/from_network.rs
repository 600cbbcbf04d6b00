//! Packets that arrive on a device of the node: replies to masqueraded flows get their address back, packets for
//! workloads are judged and handed over, everything else is the stack's.

use aya_ebpf::bindings::__sk_buff;
use nexin_abi::maps::addr::AddrInfo;
use nexin_abi::maps::device::Device;
use nexin_abi::{Be16, SourceFile};
use nexin_packet::{ether, protocol};

use crate::event::refuse;
use crate::family::{V4, V6};
use crate::maps;
use crate::nat::{Side, Translate, in_range, rewrite};
use crate::packet::{Hook, Packet};
use crate::parse::Parsed;
use crate::skb::{Skb, act};
use crate::stage::{DELIVER, Stages};
use crate::track::track;

const FILE: u8 = SourceFile::FromNetwork as u8;

#[unsafe(no_mangle)]
#[unsafe(link_section = "classifier")]
pub extern "C" fn from_network(context: *mut __sk_buff) -> i32 {
    let skb = Skb::new(context);
    const IPV4: u32 = Be16::new(ether::IPV4).raw() as u32;
    const IPV6: u32 = Be16::new(ether::IPV6).raw() as u32;
    let ethernet = maps::DEVICES.peek(&skb.ifindex()).is_none_or(|device| device.flags & Device::NO_L2 == 0);
    let l3 = if ethernet { 14 } else { 0 };
    match skb.ethertype() {
        IPV4 => nx_network4(context, l3),
        IPV6 => nx_network6(context, l3),
        _ => act::OK,
    }
}

/// Stage (see [`crate::stage`]).
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn nx_network4(context: *mut __sk_buff, l3: u32) -> i32 {
    track::<V4>(Skb::new(context), Hook::FromNetwork, l3 as u8, false, core::ptr::null_mut())
}

/// Stage (see [`crate::stage`]).
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn nx_network6(context: *mut __sk_buff, l3: u32) -> i32 {
    track::<V6>(Skb::new(context), Hook::FromNetwork, l3 as u8, false, core::ptr::null_mut())
}

/// A reply that has its flow's addresses again (beside [`DELIVER`]).
const TRANSLATED: i32 = 1;

/// Stage: is the packet for a workload? [`DELIVER`] if so, with [`TRANSLATED`] when it had to be translated for that; else
/// what the classifier returns.
#[inline(always)]
pub fn arrives<F: Translate + Stages>(skb: Skb, p: &mut Packet<F>) -> i32 {
    let Some(owner) = F::owner(&p.tuple().destination) else { return act::OK };
    if owner.endpoint != 0 {
        return DELIVER;
    }
    if owner.flags & AddrInfo::HOST == 0 {
        return act::OK;
    }
    if p.is(Parsed::<F>::ERROR) {
        return if F::error_arrives(skb, p) != 0 { DELIVER | TRANSLATED } else { act::OK };
    }
    let (source, destination) = p.source_and_destination();
    let free_choice = matches!(p.protocol, protocol::TCP | protocol::UDP) || p.protocol == F::ICMP;
    if p.is(Parsed::<F>::UNTRACKED) || free_choice && !in_range(u32::from(destination.port.get())) {
        return act::OK;
    }
    let Some(entry) = F::nat().get(&F::nat_key(destination, source, p.protocol)) else { return act::OK };
    let before = F::before(&entry);
    if !rewrite::<F>(skb, p.place(), Side::Destination, &destination, &before) {
        return refuse!(WriteError);
    }
    p.redirect(&before);
    if F::owner(&before.addr).is_some_and(|owner| owner.endpoint != 0) { DELIVER | TRANSLATED } else { act::OK }
}
