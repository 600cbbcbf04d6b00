//! Packets a workload sends (ingress of the host side of its veth pair). Holds the fast path: an established flow between
//! two workloads costs one conntrack look-up, one epoch comparison and array loads.

use aya_ebpf::bindings::__sk_buff;
use nexin_abi::maps::ct::{CtEntry, CtState};
use nexin_abi::maps::endpoint::Endpoint;
use nexin_abi::{Be16, Direction, SourceFile};
use nexin_packet::header::Ethernet;
use nexin_packet::{ether, protocol, tcp};

use crate::config::Setting;
use crate::ct::{self, Flow};
use crate::deliver::{Deliver, address_to};
use crate::event::{count, drop_unparsed};
use crate::family::{V4, V6};
use crate::packet::Hook;
use crate::skb::{Skb, jiffies};
use crate::track::track;
use crate::{arp, maps, policy};

const FILE: u8 = SourceFile::FromWorkload as u8;
/// Workloads' devices carry Ethernet.
const L3: usize = 14;

#[unsafe(no_mangle)]
#[unsafe(link_section = "classifier")]
pub extern "C" fn from_workload(context: *mut __sk_buff) -> i32 {
    let skb = Skb::new(context);
    const IPV4: u32 = Be16::new(ether::IPV4).raw() as u32;
    const IPV6: u32 = Be16::new(ether::IPV6).raw() as u32;
    const ARP: u32 = Be16::new(ether::ARP).raw() as u32;
    match skb.ethertype() {
        IPV4 => ipv4(skb),
        IPV6 => ipv6(skb),
        ARP => arp::from_workload(skb),
        _ => drop_unparsed(skb, Hook::FromWorkload, nexin_abi::DropReason::UnsupportedL3 as u8, place(line!())),
    }
}

const fn place(line: u32) -> u32 {
    (FILE as u32) << 16 | line
}

#[inline(always)]
fn ipv4(skb: Skb) -> i32 {
    workload::<V4>(skb, |looked_up, entry| nx_workload4(skb.context(), looked_up, entry))
}

#[inline(always)]
fn ipv6(skb: Skb) -> i32 {
    workload::<V6>(skb, |looked_up, entry| nx_workload6(skb.context(), looked_up, entry))
}

#[inline(always)]
fn workload<F: Deliver>(skb: Skb, long_way: impl Fn(u32, *mut CtEntry) -> i32) -> i32 {
    let Some(parsed) = F::hot(skb, L3) else {
        return long_way(0, core::ptr::null_mut());
    };
    let (key, sender_is_low) = F::key(&parsed.tuple);
    let entry = F::ct().find(&key);
    if let Some(flow) = Flow::from_map(entry) {
        let action = established::<F>(skb, flow, sender_is_low, parsed.tcp_flags, parsed.tuple.protocol);
        if action != LONG_WAY {
            return action;
        }
    }
    long_way(1, entry)
}

/// Stage (see [`crate::stage`]): what the fast path leaves over.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn nx_workload4(context: *mut __sk_buff, looked_up: u32, entry: *mut CtEntry) -> i32 {
    track::<V4>(Skb::new(context), Hook::FromWorkload, L3 as u8, looked_up != 0, entry)
}

/// Stage (see [`crate::stage`]): what the fast path leaves over.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn nx_workload6(context: *mut __sk_buff, looked_up: u32, entry: *mut CtEntry) -> i32 {
    track::<V6>(Skb::new(context), Hook::FromWorkload, L3 as u8, looked_up != 0, entry)
}

/// The fast path declines; no classifier returns this.
const LONG_WAY: i32 = -1;

/// The fast path: a packet that changes nothing. Whatever is unusual about flow or packet goes the long way.
#[inline(always)]
fn established<F: Deliver>(skb: Skb, flow: Flow, sender_is_low: bool, tcp_flags: u8, proto: u8) -> i32 {
    let state = flow.state();
    let life = state & CtEntry::STATE_MASK;
    let forward = sender_is_low == (state & CtEntry::ORIGIN_IS_HIGH == 0);
    let steady = life == CtState::Established as u8 || life == CtState::New as u8 && forward && proto != protocol::TCP;
    if !steady || state & CtEntry::MASQUERADED != 0 || tcp_flags & (tcp::SYN | tcp::FIN | tcp::RST) != 0 {
        return LONG_WAY;
    }
    let now = jiffies();
    let due = Setting::trace(2) && ct::report_time(now).wrapping_sub(flow.reported()) >= ct::report_interval();
    if due || Setting::trace(3) || flow.expired(now) || flow.epoch() != policy::config().epoch {
        return LONG_WAY;
    }
    let (from, to) = if forward { (flow.source(), flow.target()) } else { (flow.target(), flow.source()) };
    let Some(sender) = maps::ENDPOINTS.peek(&u32::from(from)) else { return LONG_WAY };
    let Some(receiver) = maps::ENDPOINTS.peek(&u32::from(to)) else { return LONG_WAY };
    // Number 0 stays empty, so a side that is no endpoint has no interface.
    if sender.ifindex != skb.ifindex() || receiver.ifindex == 0 || !fits(skb, sender, receiver) {
        return LONG_WAY;
    }
    if Setting::NX_CHECK_MAC() != 0 && skb.at::<Ethernet>(0).is_none_or(|frame| frame.source != sender.mac) {
        return LONG_WAY;
    }
    if !address_to(skb, receiver) {
        return LONG_WAY;
    }
    flow.count(forward, skb.len());
    let seconds = if proto == protocol::TCP { Setting::NX_TCP_ESTABLISHED_S() } else { Setting::NX_OTHER_S() };
    flow.extend(now, seconds * Setting::NX_HZ());
    count(0, Direction::Egress, skb.len());
    skb.to_peer(receiver.ifindex)
}

/// The receiver takes packets as long as this. A sender's stack keeps to its own MTU, whatever it leaves to segment.
#[inline(always)]
fn fits(skb: Skb, sender: &Endpoint, receiver: &Endpoint) -> bool {
    sender.mtu <= receiver.mtu || skb.segment() == 0 && skb.len() <= u32::from(receiver.mtu) + L3 as u32
}
