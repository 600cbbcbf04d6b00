//! Packets a workload sends (ingress of the host side of its veth pair). Holds the fast path: an established flow between
//! two workloads costs one conntrack look-up, one epoch comparison and array loads.

use aya_ebpf::bindings::__sk_buff;
use nexin_abi::maps::config::Config;
use nexin_abi::maps::ct::{CtEntry, CtState, v4, v6};
use nexin_abi::maps::endpoint::Endpoint;
use nexin_abi::{Be16, Direction, SourceFile};
use nexin_packet::header::Ethernet;
use nexin_packet::{ether, protocol, tcp};

use crate::config::Setting;
use crate::ct::{self, Flow};
use crate::deliver::{Deliver, address_to};
use crate::event::{count, drop_unparsed};
use crate::family::{Family, V4, V6};
use crate::packet::Hook;
use crate::skb::{Skb, jiffies};
use crate::steady::{self, Side, Steady};
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
fn workload<F: Deliver + Telltale>(skb: Skb, long_way: impl Fn(u32, *mut CtEntry) -> i32) -> i32 {
    let Some(parsed) = F::hot(skb, L3) else {
        return long_way(0, core::ptr::null_mut());
    };
    let (key, sender_is_low) = F::key(&parsed.tuple);
    let entry = F::ct().find(&key);
    if let Some(flow) = Flow::from_map(entry) {
        let action = established::<F>(skb, &key, flow, sender_is_low, parsed.tcp_flags, parsed.tuple.protocol);
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
fn established<F: Deliver + Telltale>(
    skb: Skb,
    key: &F::Key,
    flow: Flow,
    sender_is_low: bool,
    tcp_flags: u8,
    proto: u8,
) -> i32 {
    let state = flow.state();
    let life = state & CtEntry::STATE_MASK;
    let forward = sender_is_low == (state & CtEntry::ORIGIN_IS_HIGH == 0);
    let steady = life == CtState::Established as u8 || life == CtState::New as u8 && forward && proto != protocol::TCP;
    if !steady || state & CtEntry::MASQUERADED != 0 || tcp_flags & (tcp::SYN | tcp::FIN | tcp::RST) != 0 {
        return LONG_WAY;
    }
    let (now, config) = (jiffies(), policy::config());
    let due = Config::is_due(config.flags, ct::report_time(now).wrapping_sub(flow.reported()));
    let news = due || tcp_flags & !flow.seen() & Config::tcp_flags(config.flags) != 0;
    if news || config.flags & Config::CAPTURE != 0 || flow.expired(now) || flow.epoch() != config.epoch {
        return LONG_WAY;
    }
    let entries = config.flags & Config::ENTRIES != 0;
    let facts = u32::from(sender_is_low)
        | u32::from(forward) << 1
        | u32::from(entries) << 2
        | u32::from(tcp_flags) << steady::TCP_FLAGS_SHIFT
        | u32::from(proto) << steady::PROTOCOL_SHIFT;
    if config.flags & Config::PACKETS != 0 {
        // A stage of its own, so that what it needs of registers and stack burdens nobody else.
        return F::pass_and_tell(skb, key, flow.as_ptr(), facts);
    }
    pass(skb, flow, facts, |_, _| ())
}

/// The rest of the fast path, when nothing more is to be asked of the flow. `tell` is told the two sides.
#[inline(always)]
fn pass(skb: Skb, flow: Flow, facts: u32, tell: impl FnOnce(Side<'_>, Side<'_>)) -> i32 {
    let forward = facts & steady::FORWARD != 0;
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
    let tcp = facts >> steady::PROTOCOL_SHIFT == u32::from(protocol::TCP);
    let seconds = if tcp { Setting::NX_TCP_ESTABLISHED_S() } else { Setting::NX_OTHER_S() };
    flow.extend(jiffies(), seconds * Setting::NX_HZ());
    count(0, Direction::Egress, skb.len());
    tell(Side { number: from, endpoint: sender }, Side { number: to, endpoint: receiver });
    skb.to_peer(receiver.ifindex)
}

/// The fast path where every packet is told.
trait Telltale: Family {
    fn pass_and_tell(skb: Skb, key: &Self::Key, entry: *mut CtEntry, facts: u32) -> i32;
}

macro_rules! telltale {
    ($family:ty, $key:ty, $stage:ident) => {
        impl Telltale for $family {
            #[inline(always)]
            fn pass_and_tell(skb: Skb, key: &$key, entry: *mut CtEntry, facts: u32) -> i32 {
                $stage(skb.context(), key, entry, facts)
            }
        }

        /// Stage (see [`crate::stage`]).
        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $stage(context: *mut __sk_buff, key: *const $key, entry: *mut CtEntry, facts: u32) -> i32 {
            // SAFETY: null, or the key in the caller's frame.
            let (Some(key), Some(flow)) = (unsafe { key.as_ref() }, Flow::from_map(entry)) else { return LONG_WAY };
            let skb = Skb::new(context);
            pass(skb, flow, facts, |sender, receiver| {
                steady::steady(skb, &Steady::<$family> { key, facts, sender, receiver }, flow);
            })
        }
    };
}

telltale!(V4, v4::CtKey, nx_steady4);
telltale!(V6, v6::CtKey, nx_steady6);

/// The receiver takes packets as long as this. A sender's stack keeps to its own MTU, whatever it leaves to segment.
#[inline(always)]
fn fits(skb: Skb, sender: &Endpoint, receiver: &Endpoint) -> bool {
    sender.mtu <= receiver.mtu || skb.segment() == 0 && skb.len() <= u32::from(receiver.mtu) + L3 as u32
}
