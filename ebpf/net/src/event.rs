//! Refusals and counters: one place acts on what any stage refused. What is told of a packet is in [`crate::tell`]; nothing
//! here decides anything.

use aya_ebpf::bindings::__sk_buff;
use nexin_abi::maps::config::Config;
use nexin_abi::maps::metrics::{Traffic, index};
use nexin_abi::{Action, Direction, DropReason, EventKind};

use crate::family::Family;
use crate::packet::{Hook, Packet};
use crate::policy::{self, Ruling};
use crate::skb::{Skb, act};
use crate::stage::{REFUSE, Stages};
use crate::tell::{self, Note, came_in, direction, entered};
use crate::{capture, maps};

/// Stage: drops the packet: counts, tells, and returns the classifier's answer. Reached through [`refuse!`].
#[inline(always)]
pub fn drop_packet<F: Stages>(skb: Skb, p: &mut Packet<F>, reason: u32, place: u32) -> i32 {
    p.resolve(skb);
    let reason = reason as u8;
    let ruling = ruling(p, reason);
    let note = note(p, u32::from(reason), place, &ruling);
    count(reason, note.direction, skb.len());
    if policy::config().flags & Config::DROPS != 0 {
        tell::about(skb, p, &note);
    }
    act::DROP
}

/// Who refused.
#[inline(always)]
pub fn ruling<F: Family>(p: &Packet<F>, reason: u8) -> Ruling {
    let denied = reason == DropReason::PolicyDenyRule as u8;
    let action = if denied { Action::Deny } else { Action::DefaultDeny };
    Ruling { policy: p.policy, rule: p.rule, action: action as u8, ..Ruling::NONE }
}

/// What is told of a refusal.
#[inline(always)]
pub fn note<'a, F: Family>(p: &Packet<F>, reason: u32, place: u32, ruling: &'a Ruling) -> Note<'a> {
    Note {
        kind: EventKind::Drop,
        reason: reason as u8,
        direction: match p.refused_by {
            0 => direction(p.hook),
            1 => Direction::Ingress,
            _ => Direction::Egress,
        },
        observation: came_in(p) as u8,
        entered: entered(p),
        file: (place >> 16) as u8,
        flags: p.flags,
        line: place as u16,
        ruling,
        forward: 0,
        reverse: 0,
    }
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
    tell::unparsed(skb, hook, reason as u8, place, policy::config().flags);
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
    let (reason, place) = (answer >> 16 & 0xff, (answer >> 12 & 0xf) << 16 | answer & 0xfff);
    capture::dropped(skb, p, reason << 24 | place);
    Some(F::drop_packet(skb, p, reason, place))
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
