//! What programs tell user space. An event is filled in its ring-buffer entry; when there is no room, or the rate limit
//! withholds it, it is counted. Nothing here decides anything about a packet.

use core::ptr;

use nexin_abi::maps::addr::AddrInfo;
use nexin_abi::maps::capture::CaptureFilter;
use nexin_abi::maps::config::Config;
use nexin_abi::maps::ct::{Counter, CtEntry};
use nexin_abi::{Be16, Direction, Event, EventKind, Observation, SourceFile};
use nexin_packet::header::Ethernet;

use crate::capture::unreadable;
use crate::ct::Flow;
use crate::family::Family;
use crate::nat::Translate;
use crate::packet::{Hook, Packet};
use crate::policy::{self, Ruling};
use crate::ring::{now, reserve, submit, wake};
use crate::skb::{Skb, act};
use crate::stage::Stages;

/// What an event says of the packet. Each fact is asked for once, where it is written: kept in registers they would not
/// fit, and stack is scarce.
pub trait Subject<F: Family> {
    fn key(&self) -> &F::Key;
    fn sender_is_low(&self) -> bool;
    fn sender(&self) -> AddrInfo;
    fn receiver(&self) -> AddrInfo;
    fn protocol(&self) -> u8;
    fn tcp_flags(&self) -> u8;
    /// Type and code of an ICMP message.
    fn icmp(&self) -> u16;
    /// The frame has an Ethernet header.
    fn is_ethernet(&self) -> bool;
}

impl<F: Family> Subject<F> for Packet<F> {
    #[inline(always)]
    fn key(&self) -> &F::Key {
        &self.key
    }

    #[inline(always)]
    fn sender_is_low(&self) -> bool {
        self.sender_is_low
    }

    #[inline(always)]
    fn sender(&self) -> AddrInfo {
        self.sender
    }

    #[inline(always)]
    fn receiver(&self) -> AddrInfo {
        self.receiver
    }

    #[inline(always)]
    fn protocol(&self) -> u8 {
        self.protocol
    }

    #[inline(always)]
    fn tcp_flags(&self) -> u8 {
        self.tcp_flags
    }

    #[inline(always)]
    fn icmp(&self) -> u16 {
        self.service
    }

    #[inline(always)]
    fn is_ethernet(&self) -> bool {
        self.l3 as usize == Ethernet::LEN
    }
}

/// What an event says beyond that.
pub struct Note<'a> {
    pub kind: EventKind,
    pub reason: u8,
    pub direction: Direction,
    /// [`Observation`].
    pub observation: u8,
    /// See [`Event::entered`].
    pub entered: u8,
    pub file: u8,
    pub flags: u8,
    pub line: u16,
    pub ruling: &'a Ruling,
    pub forward: u64,
    pub reverse: u64,
}

/// What a packet is worth telling, for [`Packet::news`].
pub mod news {
    /// The packet is told where it leaves.
    pub const TOLD: u8 = 1;
    /// Its flow is removed afterwards.
    pub const CLOSES: u8 = 1 << 1;
    /// The packet is compared with the capture filters.
    pub const CAPTURED: u8 = 1 << 2;
}

/// Tells what both sides' policies decided, as far as they were asked. `flags` are [`Config::flags`].
#[inline(always)]
pub fn verdicts<F: Stages>(skb: Skb, p: &mut Packet<F>, flags: u32, egress: &Ruling, ingress: &Ruling) {
    if flags & Config::VERDICTS == 0 {
        return;
    }
    if egress.policy != 0 {
        F::tell_verdict(skb, p, Direction::Egress as u32, egress);
    }
    if egress.refuse == 0 && ingress.policy != 0 {
        F::tell_verdict(skb, p, Direction::Ingress as u32, ingress);
    }
}

/// Stage: what one side's policy decided. The packet is resolved.
#[inline(always)]
pub fn tell_verdict<F: Family>(skb: Skb, p: &mut Packet<F>, direction: u32, ruling: &Ruling) -> i32 {
    let direction = if direction == Direction::Egress as u32 { Direction::Egress } else { Direction::Ingress };
    let note = Note {
        kind: EventKind::Verdict,
        reason: ruling.refuse,
        direction,
        observation: came_in(p) as u8,
        entered: 0,
        file: SourceFile::Policy as u8,
        flags: p.flags | ruling.flags,
        line: 0,
        ruling,
        forward: 0,
        reverse: 0,
    };
    emit(skb, p, &note)
}

/// Marks a packet that opens a flow, or belongs to none: it is told wherever flows are.
#[inline(always)]
pub fn single<F: Family>(p: &mut Packet<F>) {
    let flags = policy::config().flags;
    if flags & (Config::FLOWS | Config::PACKETS) != 0 {
        p.news |= news::TOLD;
    }
    if flags & Config::CAPTURE != 0 {
        p.news |= news::CAPTURED;
    }
}

/// Tells of a packet that goes on, and removes its flow if it was the last. `action` is the classifier's.
#[inline(always)]
pub fn passed<F: Stages>(skb: Skb, p: &mut Packet<F>, entry: *mut CtEntry, action: i32) {
    if p.news & (news::TOLD | news::CAPTURED) != 0 {
        p.resolve(skb);
        let observation = left(p, action) as u32;
        if p.news & news::CAPTURED != 0 {
            F::copy(skb, p, CaptureFilter::FORWARDED, observation);
        }
        if p.news & news::TOLD != 0 {
            F::trace(skb, p, entry, observation);
        }
    }
    if p.news & news::CLOSES != 0 {
        F::forget(skb, p, entry);
    }
}

/// Tells of a masqueraded packet on its way out, where each packet is told: the workload's own program told of its flow.
#[inline(always)]
pub fn leaves<F: Stages>(skb: Skb, p: &mut Packet<F>, entry: *mut CtEntry) {
    let flags = policy::config().flags;
    if flags & Config::PACKETS != 0 {
        p.news |= news::TOLD;
    }
    if flags & Config::CAPTURE != 0 {
        p.news |= news::CAPTURED;
    }
    passed(skb, p, entry, act::OK);
}

/// Stage: reports a packet that goes on, with its flow's counters if it has one. The packet is resolved.
#[inline(always)]
pub fn trace<F: Translate>(skb: Skb, p: &mut Packet<F>, flow: Option<Flow>, observation: u32) -> i32 {
    let alone = Counter::packet(skb.len());
    let (forward, reverse) = flow.map_or((alone, 0), Flow::counters);
    let note = Note { entered: entered(p), forward, reverse, ..passing(p, observation) };
    let Some(event) = reserve(EventKind::Trace) else { return 0 };
    let wake = wake(event);
    fill(event, skb, p, &note);
    if let Some(flow) = flow
        && flow.has(CtEntry::MASQUERADED)
        && p.flags & Event::REPLY == 0
        && let Some(address) = F::nat_address(u32::from(flow.nat_addr()))
    {
        // SAFETY: sixteen bytes, aligned to four in an aligned event, take an address of either family.
        unsafe { (&raw mut event.nat_source).cast::<F::Addr>().write(address) };
        event.nat_port = Be16::from_raw(flow.target());
    }
    submit(event, wake);
    0
}

/// What is told of a packet that goes on, without its flow.
#[inline(always)]
pub fn passing<F: Family>(p: &Packet<F>, observation: u32) -> Note<'static> {
    Note {
        kind: EventKind::Trace,
        reason: 0,
        direction: direction(p.hook),
        observation: observation as u8,
        entered: 0,
        file: p.hook as u8,
        flags: p.flags,
        line: 0,
        ruling: &Ruling::NONE,
        forward: 0,
        reverse: 0,
    }
}

/// Direction of a packet at a hook, as seen from the workload.
#[inline(always)]
pub fn direction(hook: Hook) -> Direction {
    match hook {
        Hook::FromWorkload | Hook::ToNetwork => Direction::Egress,
        Hook::ToWorkload | Hook::FromNetwork => Direction::Ingress,
    }
}

/// For [`Event::entered`].
#[inline(always)]
pub fn entered<F: Family>(p: &Packet<F>) -> u8 {
    let told = policy::config().flags & Config::ENTRIES != 0 && p.hook != Hook::ToNetwork;
    if told { came_in(p) as u8 + 1 } else { 0 }
}

/// Where the packet came in. Only the owner of its source tells the node's own from what its stack routed.
#[inline(always)]
pub fn came_in<F: Family>(p: &Packet<F>) -> Observation {
    match p.hook {
        Hook::FromWorkload => Observation::FromEndpoint,
        Hook::ToWorkload if p.sender.flags & AddrInfo::HOST != 0 => Observation::FromHost,
        Hook::ToWorkload => Observation::FromStack,
        Hook::FromNetwork => Observation::FromNetwork,
        Hook::ToNetwork => Observation::ToNetwork,
    }
}

/// Where the packet goes, by the classifier's answer.
#[inline(always)]
fn left<F: Family>(p: &Packet<F>, action: i32) -> Observation {
    let (number, handed_over) = (p.number, action != act::OK);
    match p.hook {
        Hook::ToWorkload => Observation::ToEndpoint,
        Hook::ToNetwork => Observation::ToNetwork,
        _ if number == CtEntry::HOST && p.receiver.flags & AddrInfo::HOST != 0 => Observation::ToHost,
        _ if !handed_over => Observation::ToStack,
        _ if number == 0 => Observation::ToNetwork,
        _ => Observation::ToEndpoint,
    }
}

/// An event about a packet of which not even the addresses are known, and a copy, as `flags` of [`Config`] say.
#[inline(always)]
pub fn unparsed(skb: Skb, hook: Hook, reason: u8, place: u32, flags: u32) {
    if flags & Config::CAPTURE != 0 {
        unreadable(skb, |event| describe_unparsed(event, skb, hook, reason, place));
    }
    if flags & Config::DROPS == 0 {
        return;
    }
    let Some(event) = reserve(EventKind::Drop) else { return };
    let wake = wake(event);
    describe_unparsed(event, skb, hook, reason, place);
    submit(event, wake);
}

#[inline(always)]
fn describe_unparsed(event: &mut Event, skb: Skb, hook: Hook, reason: u8, place: u32) {
    // SAFETY: all-zero bytes are an `Event`.
    unsafe { ptr::from_mut(event).cast::<[u64; size_of::<Event>() / 8]>().write([0; size_of::<Event>() / 8]) };
    event.time_ns = now();
    event.kind = EventKind::Drop as u8;
    event.reason = reason;
    event.direction = direction(hook) as u8;
    event.observation = match hook {
        Hook::FromWorkload => Observation::FromEndpoint,
        Hook::ToWorkload => Observation::FromStack,
        Hook::FromNetwork => Observation::FromNetwork,
        Hook::ToNetwork => Observation::ToNetwork,
    } as u8;
    event.file = (place >> 16) as u8;
    event.line = place as u16;
    event.ifindex = skb.ifindex();
    event.length = skb.len();
}

/// An event about a packet in hand.
#[inline(always)]
pub fn about<F: Family>(skb: Skb, p: &Packet<F>, note: &Note<'_>) {
    emit(skb, p, note);
}

#[inline(always)]
pub fn emit<F: Family>(skb: Skb, subject: &impl Subject<F>, note: &Note<'_>) -> i32 {
    let Some(event) = reserve(note.kind) else { return 0 };
    let wake = wake(event);
    fill(event, skb, subject, note);
    submit(event, wake);
    0
}

/// Writes every byte of the event once.
#[inline(always)]
pub fn fill<F: Family>(event: &mut Event, skb: Skb, subject: &impl Subject<F>, note: &Note<'_>) {
    event.time_ns = if note.kind == EventKind::Trace { crate::clock::now() } else { now() };
    event.kind = note.kind as u8;
    event.reason = note.reason;
    event.direction = note.direction as u8;
    event.action = note.ruling.action;
    event.observation = note.observation;
    event.file = note.file;
    event.line = note.line;
    event.family = F::VERSION;
    event.protocol = subject.protocol();
    event.tcp_flags = subject.tcp_flags();
    event.flags = note.flags;
    event.ifindex = skb.ifindex();
    let (source, destination) = (&raw mut event.source, &raw mut event.destination);
    // SAFETY: both fields are sixteen bytes, aligned to eight within an aligned event.
    let (source, destination) = unsafe { (&mut *source.cast::<[u64; 2]>(), &mut *destination.cast::<[u64; 2]>()) };
    if F::VERSION == 4 {
        (*source, *destination) = ([0; 2], [0; 2]);
    }
    F::write_ends(subject.key(), subject.sender_is_low(), source, destination);
    let (source_port, destination_port) = F::ports(subject.key(), subject.sender_is_low());
    event.source_port = source_port;
    event.destination_port = if subject.protocol() == F::ICMP { Be16::new(subject.icmp()) } else { destination_port };
    let (sender, receiver) = (subject.sender(), subject.receiver());
    event.source_identity = sender.identity;
    event.destination_identity = receiver.identity;
    event.source_endpoint = sender.endpoint;
    event.destination_endpoint = receiver.endpoint;
    event.length = skb.len();
    event.rule = note.ruling.rule;
    event.policy = note.ruling.policy;
    event.shadow_rule = note.ruling.shadow_rule;
    event.shadow_action = note.ruling.shadow_action;
    event.entered = note.entered;
    event.reserved = [0; 2];
    // SAFETY: sixteen bytes, aligned to four in an aligned event.
    unsafe { (&raw mut event.nat_source).cast::<[u32; 4]>().write([0; 4]) };
    event.nat_port = Be16::from_raw(0);
    event.reserved2 = [0; 6];
    event.forward = note.forward;
    event.reverse = note.reverse;
    match skb.at::<Ethernet>(0) {
        Some(ethernet) if subject.is_ethernet() => {
            event.source_mac = ethernet.source;
            event.destination_mac = ethernet.destination;
        }
        _ => (event.source_mac, event.destination_mac) = ([0; 6], [0; 6]),
    }
}

const _: () =
    assert!(core::mem::offset_of!(Event, source) % 8 == 0 && core::mem::offset_of!(Event, destination) % 8 == 0);
const _: () = assert!(core::mem::offset_of!(Event, nat_source) % 4 == 0);
