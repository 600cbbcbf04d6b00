//! Packets that leave by a device of the node: flows of workloads that go where their address means nothing are
//! masqueraded. The node's own packets pass untouched unless they use a port of the masquerading range.

use aya_ebpf::bindings::__sk_buff;
use nexin_abi::maps::addr::AddrInfo;
use nexin_abi::maps::ct::{CtEntry, CtState};
use nexin_abi::maps::device::Device;
use nexin_abi::{Be16, Event, SourceFile};
use nexin_packet::{ether, protocol};

use crate::ct::{self, Flow};
use crate::event::{refuse, refused};
use crate::family::{Family, V4, V6};
use crate::nat::{Translate, in_range};
use crate::packet::{Hook, Packet};
use crate::parse::Parsed;
use crate::skb::{Skb, act};
use crate::stage::{HOST_FLOW, Stages};
use crate::tcp::{self, Step};
use crate::{maps, ndp, tell};

const FILE: u8 = SourceFile::ToNetwork as u8;

#[unsafe(no_mangle)]
#[unsafe(link_section = "classifier")]
pub extern "C" fn to_network(context: *mut __sk_buff) -> i32 {
    let skb = Skb::new(context);
    const IPV4: u32 = Be16::new(ether::IPV4).raw() as u32;
    const IPV6: u32 = Be16::new(ether::IPV6).raw() as u32;
    let Some(device) = maps::DEVICES.peek(&skb.ifindex()) else { return act::OK };
    let l3 = if device.flags & Device::NO_L2 != 0 { 0 } else { 14 };
    match skb.ethertype() {
        IPV4 if V4::nat_index(device) != 0 => nx_leave4(context, u32::from(V4::nat_index(device)) - 1, l3),
        IPV6 if V6::nat_index(device) != 0 => nx_leave6(context, u32::from(V6::nat_index(device)) - 1, l3),
        _ => act::OK,
    }
}

/// Stage (see [`crate::stage`]).
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn nx_leave4(context: *mut __sk_buff, index: u32, l3: u32) -> i32 {
    leave::<V4>(Skb::new(context), index, l3 as u8)
}

/// Stage (see [`crate::stage`]).
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn nx_leave6(context: *mut __sk_buff, index: u32, l3: u32) -> i32 {
    leave::<V6>(Skb::new(context), index, l3 as u8)
}

/// `index` is that of the device's masquerade address.
#[inline(always)]
fn leave<F: Translate + Stages>(skb: Skb, index: u32, l3: u8) -> i32 {
    let mut packet = Packet::<F>::blank(Hook::ToNetwork);
    packet.l3 = l3;
    let answer = answer(skb, &mut packet, index);
    refused(skb, &mut packet, answer).unwrap_or(answer)
}

#[inline(always)]
fn answer<F: Translate + Stages>(skb: Skb, p: &mut Packet<F>, index: u32) -> i32 {
    let reason = F::parse(skb, p);
    if reason != 0 {
        // What the node itself sends is its own business.
        let workload = F::owner(&p.tuple().source).is_some_and(|owner| owner.endpoint != 0);
        return if workload { refuse!(code reason) } else { act::OK };
    }
    if F::VERSION == 6 && ndp::concerns(p) {
        return act::OK;
    }
    if p.is(Parsed::<F>::FIRST_FRAGMENT) {
        F::remember(skb, p);
    }
    let mut entry = F::ct().find(&p.key);
    if entry.is_null() {
        let answer = F::stranger(skb, p, index);
        if answer != HOST_FLOW {
            return answer;
        }
        entry = F::ct().find(&p.key);
    }
    let Some(flow) = Flow::from_map(entry) else { return act::OK };
    if !p.is_forward(flow.state()) {
        return act::OK;
    }
    if !flow.has(CtEntry::MASQUERADED) {
        if flow.target() != 0 {
            return act::OK;
        }
        if F::masquerade_excluded(&p.tuple().destination) {
            flow.set_target(CtEntry::UNTRANSLATED);
            return act::OK;
        }
        if F::allocate(skb, p, entry, index) == 0 {
            return refuse!(NatNoMapping);
        }
    }
    if F::masquerade(skb, p, entry) == 0 {
        return refuse!(WriteError);
    }
    if flow.source() == CtEntry::HOST {
        keep_alive(p, flow);
    } else {
        p.flags |= Event::REPLY_KNOWN | if flow.life() == CtState::New as u8 { 0 } else { Event::ESTABLISHED };
        tell::leaves(skb, p, entry);
    }
    if flow.expired(p.now) {
        F::forget(skb, p, entry);
    }
    act::OK
}

/// A flow of the node itself is seen by no other program on its way out.
#[inline(always)]
fn keep_alive<F: Family>(p: &Packet<F>, flow: Flow) {
    let closes = p.protocol == protocol::TCP
        && !p.is(Parsed::<F>::LATER_FRAGMENT)
        && tcp::advance(flow, p.tcp_flags, true) == Step::Close;
    if closes {
        flow.set_expires(p.now.wrapping_sub(1));
    } else {
        flow.extend(p.now, ct::lifetime(p.protocol, flow.life()));
    }
}

/// Stage: a packet of no flow. A classifier's action, [`HOST_FLOW`], or a refusal.
#[inline(always)]
pub fn stranger<F: Translate + Stages>(skb: Skb, p: &mut Packet<F>, index: u32) -> i32 {
    p.resolve(skb);
    if p.sender.endpoint == 0 {
        let own = p.sender.flags & AddrInfo::HOST != 0 && F::nat_address(index).is_some_and(|a| a == p.tuple().source);
        let tracked = matches!(p.protocol, protocol::TCP | protocol::UDP) || p.protocol == F::ICMP;
        let plain = !p.is(Parsed::<F>::UNTRACKED | Parsed::<F>::ECHO_REPLY) && !tcp::ends(p.tcp_flags);
        if own
            && tracked
            && plain
            && in_range(u32::from(p.tuple().source_port.get()))
            && ct::create(skb, p, 0, CtEntry::HOST, 0, false)
        {
            return HOST_FLOW;
        }
        return act::OK;
    }
    if F::masquerade_excluded(&p.tuple().destination) {
        return act::OK;
    }
    if p.is(Parsed::<F>::ERROR) {
        if F::error_leaves(skb, p) != 0 {
            return act::OK;
        }
        return refuse!(NatNoMapping);
    }
    if p.is(Parsed::<F>::UNTRACKED) {
        return refuse!(NatUnsupported);
    }
    refuse!(NatNoMapping)
}
