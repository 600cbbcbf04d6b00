//! Events and counters. An event is filled in its ring-buffer entry; when there is no room it is counted as lost. Nothing
//! here decides anything.

use aya_ebpf::bindings::__sk_buff;
use aya_ebpf::helpers as bpf;
use nexin_abi::maps::metrics::{Traffic, index};
use nexin_abi::{Action, Direction, DropReason, Event, EventKind, Observation, SourceFile};
use nexin_packet::header::Ethernet;

use crate::config::Setting;
use crate::ct::Flow;
use crate::family::Family;
use crate::maps;
use crate::packet::{Hook, Packet};
use crate::policy::Ruling;
use crate::skb::{Skb, act};
use crate::stage::{REFUSE, Stages};

/// What an event says beyond the packet itself.
struct Note {
    kind: EventKind,
    reason: u8,
    direction: Direction,
    observation: Observation,
    file: u8,
    flags: u8,
    line: u16,
    ruling: Ruling,
    forward: u64,
    reverse: u64,
}

/// Stage: drops the packet: counts, tells, and returns the classifier's answer. Reached through [`refuse!`].
#[inline(always)]
pub fn drop_packet<F: Stages>(skb: Skb, p: &mut Packet<F>, reason: u32, place: u32) -> i32 {
    p.resolve(skb);
    let reason = reason as u8;
    let direction = match p.refused_by {
        0 => direction(p.hook),
        1 => Direction::Ingress,
        _ => Direction::Egress,
    };
    count(reason, direction, skb.len());
    let denied = reason == DropReason::PolicyDenyRule as u8;
    let action = if denied { Action::Deny } else { Action::DefaultDeny };
    let ruling = Ruling { policy: p.policy, rule: p.rule, action: action as u8, ..Ruling::default() };
    let note = Note {
        kind: EventKind::Drop,
        reason,
        direction,
        observation: seen_at(p.hook),
        file: (place >> 16) as u8,
        flags: p.flags,
        line: place as u16,
        ruling,
        forward: 0,
        reverse: 0,
    };
    emit(skb, p, &note);
    act::DROP
}

/// Refuses a packet of which not even the addresses are known.
#[inline(always)]
pub fn drop_unparsed(skb: Skb, hook: Hook, reason: u8, place: u32) -> i32 {
    nx_drop(skb.context(), u32::from(hook as u8), u32::from(reason), place)
}

/// The same as a stage (see [`crate::stage`]); it needs no packet.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn nx_drop(context: *mut __sk_buff, hook: u32, reason: u32, place: u32) -> i32 {
    let skb = Skb::new(context);
    let Some(hook) = Hook::from_number(hook) else { return act::DROP };
    count(reason as u8, direction(hook), skb.len());
    let Some(event) = reserve(EventKind::Drop) else { return act::DROP };
    event.kind = EventKind::Drop as u8;
    event.reason = reason as u8;
    event.direction = direction(hook) as u8;
    event.observation = seen_at(hook) as u8;
    event.file = (place >> 16) as u8;
    event.line = place as u16;
    event.ifindex = skb.ifindex();
    event.length = skb.len();
    submit(event, EventKind::Drop);
    act::DROP
}

/// `refuse!(Reason)`: the answer of a stage that wants the packet dropped. It says why and where, and [`refused`] acts on it:
/// one place for all, and no deeper stack. The module names its file in `FILE`.
macro_rules! refuse {
    ($reason:ident) => {
        refuse!(code nexin_abi::DropReason::$reason as i32)
    };
    (code $code:expr) => {
        $crate::stage::REFUSE | ($code & 0xff) << 16 | (FILE as i32) << 12 | (line!() as i32 & 0xfff)
    };
}
pub(crate) use refuse;

/// Drops the packet if that is what a stage answered; `None` if not.
#[inline(always)]
pub fn refused<F: Stages>(skb: Skb, p: &mut Packet<F>, answer: i32) -> Option<i32> {
    if answer < 0 || answer & REFUSE == 0 {
        return None;
    }
    let answer = answer as u32;
    Some(F::drop_packet(skb, p, answer >> 16 & 0xff, (answer >> 12 & 0xf) << 16 | answer & 0xfff))
}

/// Tells what one side's policy decided, if any policy was asked.
#[inline(always)]
pub fn verdict<F: Stages>(skb: Skb, p: &mut Packet<F>, direction: Direction, ruling: &Ruling) {
    if ruling.policy != 0 {
        F::tell_verdict(skb, p, direction as u32, ruling);
    }
}

/// Stage: see [`verdict`]. The packet is resolved.
#[inline(always)]
pub fn tell_verdict<F: Family>(skb: Skb, p: &mut Packet<F>, direction: u32, ruling: &Ruling) -> i32 {
    let direction = if direction == Direction::Egress as u32 { Direction::Egress } else { Direction::Ingress };
    let note = Note {
        kind: EventKind::Verdict,
        reason: ruling.refuse,
        direction,
        observation: seen_at(p.hook),
        file: SourceFile::Policy as u8,
        flags: p.flags | ruling.flags,
        line: 0,
        ruling: *ruling,
        forward: 0,
        reverse: 0,
    };
    emit(skb, p, &note)
}

/// Stage: reports a flow with its counters. The packet is resolved. `more` are bits of [`Event::flags`].
#[inline(always)]
pub fn trace<F: Family>(skb: Skb, p: &mut Packet<F>, flow: Option<Flow>, more: u32) -> i32 {
    let (forward, reverse) = flow.map_or((0, 0), Flow::counters);
    let note = Note {
        kind: EventKind::Trace,
        reason: 0,
        direction: direction(p.hook),
        observation: seen_at(p.hook),
        file: p.hook as u8,
        flags: p.flags | more as u8,
        line: 0,
        ruling: Ruling::default(),
        forward,
        reverse,
    };
    emit(skb, p, &note)
}

#[inline(always)]
fn direction(hook: Hook) -> Direction {
    match hook {
        Hook::FromWorkload | Hook::ToNetwork => Direction::Egress,
        Hook::ToWorkload | Hook::FromNetwork => Direction::Ingress,
    }
}

#[inline(always)]
fn seen_at(hook: Hook) -> Observation {
    match hook {
        Hook::FromWorkload => Observation::FromEndpoint,
        Hook::ToWorkload => Observation::ToEndpoint,
        Hook::FromNetwork => Observation::FromNetwork,
        Hook::ToNetwork => Observation::ToNetwork,
    }
}

#[inline(always)]
fn emit<F: Family>(skb: Skb, p: &Packet<F>, note: &Note) -> i32 {
    let Some(event) = reserve(note.kind) else { return 0 };
    let (source_port, destination_port) = F::ports(&p.key, p.sender_is_low);
    event.kind = note.kind as u8;
    event.reason = note.reason;
    event.direction = note.direction as u8;
    event.action = note.ruling.action;
    event.observation = note.observation as u8;
    event.file = note.file;
    event.line = note.line;
    event.family = F::VERSION;
    event.protocol = p.protocol;
    event.tcp_flags = p.tcp_flags;
    event.flags = note.flags;
    event.ifindex = skb.ifindex();
    let (source, destination) = (&raw mut event.source, &raw mut event.destination);
    // SAFETY: both fields are sixteen bytes, aligned to eight within an aligned event.
    let (source, destination) = unsafe { (&mut *source.cast::<[u64; 2]>(), &mut *destination.cast::<[u64; 2]>()) };
    F::write_ends(&p.key, p.sender_is_low, source, destination);
    event.source_port = source_port;
    event.destination_port = if p.protocol == F::ICMP { nexin_abi::Be16::new(p.service) } else { destination_port };
    event.source_identity = p.sender.identity;
    event.destination_identity = p.receiver.identity;
    event.source_endpoint = p.sender.endpoint;
    event.destination_endpoint = p.receiver.endpoint;
    event.length = skb.len();
    event.rule = note.ruling.rule;
    event.policy = note.ruling.policy;
    event.shadow_rule = note.ruling.shadow_rule;
    event.shadow_action = note.ruling.shadow_action;
    event.forward = note.forward;
    event.reverse = note.reverse;
    if p.l3 as usize == Ethernet::LEN
        && let Some(ethernet) = skb.at::<Ethernet>(0)
    {
        event.source_mac = ethernet.source;
        event.destination_mac = ethernet.destination;
    }
    submit(event, note.kind);
    0
}

const _: () =
    assert!(core::mem::offset_of!(Event, source) % 8 == 0 && core::mem::offset_of!(Event, destination) % 8 == 0);

/// An event in its ring, all zero but for the time; counted as lost when there is no room.
#[inline(always)]
fn reserve(kind: EventKind) -> Option<&'static mut Event> {
    // SAFETY: the ring is a ring-buffer map; the kernel gives out aligned memory of the size asked for, or null.
    let entry = unsafe { bpf::bpf_ringbuf_reserve(ring(kind), size_of::<Event>() as u64, 0) }.cast::<Event>();
    if entry.is_null() {
        let lost = maps::LOST.find(&u32::from(kind as u8));
        if !lost.is_null() {
            // SAFETY: this CPU's counter.
            unsafe { *lost += 1 };
        }
        return None;
    }
    // SAFETY: `entry` is exclusively ours until it is submitted, and all-zero bytes are an `Event`.
    unsafe {
        entry.cast::<[u64; size_of::<Event>() / 8]>().write([0; size_of::<Event>() / 8]);
        (*entry).time_ns = bpf::bpf_ktime_get_ns();
        Some(&mut *entry)
    }
}

/// Publishes an event. A reader is woken once for every [`NX_WAKE_BYTES`](Setting) that wait, not at each event beyond them: a
/// wake-up costs more than everything else here. A wake-up that is missed costs the reader's polling interval.
#[inline(always)]
fn submit(event: &'static mut Event, kind: EventKind) {
    const BPF_RB_NO_WAKEUP: u64 = 1;
    const BPF_RB_FORCE_WAKEUP: u64 = 2;
    const BPF_RB_AVAIL_DATA: u64 = 0;
    /// What an event takes in the ring, its header included.
    const ENTRY: u64 = size_of::<Event>() as u64 + 8;
    // SAFETY: the ring is a ring-buffer map; the entry came from it and is not used afterwards.
    unsafe {
        let waiting = bpf::bpf_ringbuf_query(ring(kind), BPF_RB_AVAIL_DATA);
        let step = u64::from(Setting::NX_WAKE_BYTES());
        let beyond = waiting.checked_rem(step).unwrap_or(0);
        let wake = if waiting >= step && beyond < ENTRY { BPF_RB_FORCE_WAKEUP } else { BPF_RB_NO_WAKEUP };
        bpf::bpf_ringbuf_submit(core::ptr::from_mut(event).cast(), wake);
    }
}

#[inline(always)]
fn ring(kind: EventKind) -> *mut core::ffi::c_void {
    match kind {
        EventKind::Drop => maps::DROP_EVENTS.as_ptr(),
        EventKind::Verdict => maps::VERDICT_EVENTS.as_ptr(),
        EventKind::Trace => maps::TRACE_EVENTS.as_ptr(),
    }
}

/// Counts a packet by reason ([`DropReason`], 0 = forwarded) and direction.
#[inline(always)]
pub fn count(reason: u8, direction: Direction, bytes: u32) {
    let traffic = maps::METRICS.find(&index(reason, direction as u8));
    if traffic.is_null() {
        return;
    }
    // SAFETY: this CPU's counter; programs of one CPU do not interrupt one another between these two.
    let traffic: &mut Traffic = unsafe { &mut *traffic };
    traffic.packets += 1;
    traffic.bytes += u64::from(bytes);
}

/// Drops without an event what is not worth one: chatter that every interface makes when it comes up.
#[inline(always)]
pub fn drop_quietly(skb: Skb, hook: Hook, reason: DropReason) -> i32 {
    count(reason as u8, direction(hook), skb.len());
    act::DROP
}
