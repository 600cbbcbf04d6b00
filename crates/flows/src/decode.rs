//! What the kernel tells becomes records: numbers become shared names, monotonic time becomes wall time.
//!
//! Pure and nearly free of allocation: names are values somebody else keeps up to date ([`Names`]), and a record only points to
//! them. No event is refused for a number this version does not know; only kinds of events it does not know are.

mod clock;
mod names;

#[cfg(test)]
pub(crate) mod tests;

use nexin_abi::maps::ct::Counter;
use nexin_abi::{Direction, Event as KernelEvent, EventKind};

pub use clock::Clock;
pub use names::{Names, default_labels, sorted_labels};

use crate::record::{Record, Told};

/// A record of `event`, which happened at `time_ns` (since the epoch) and is the `number`th of this process.
///
/// `None` for a kind of event that this version does not know.
pub fn decode(event: &KernelEvent, names: &Names, time_ns: u64, number: u64) -> Option<Record> {
    let kind = kind(event.kind)?;
    let egress = event.direction == Direction::Egress as u8;
    let shadow = event.flags & KernelEvent::SHADOW != 0;
    Some(Record {
        time_ns,
        number,
        source_ip: event.source,
        destination_ip: event.destination,
        translated_ip: event.nat_source,
        forward: Counter(event.forward),
        reverse: Counter(event.reverse),
        node: names.node().clone(),
        source: Some(names.party(event.source_identity, event.source_endpoint)),
        destination: Some(names.party(event.destination_identity, event.destination_endpoint)),
        rule: names.rule(event.rule),
        shadow_rule: names.rule(event.shadow_rule).filter(|_| shadow),
        interface: names.interface(event.ifindex),
        more: None,
        source_port: event.source_port.get(),
        destination_port: event.destination_port.get(),
        ifindex: event.ifindex,
        length: event.length,
        rule_id: event.rule,
        policy: event.policy,
        source_mac: event.source_mac,
        destination_mac: event.destination_mac,
        told: Told {
            kind,
            reason: event.reason,
            direction: if egress { Direction::Egress } else { Direction::Ingress },
            action: event.action,
            observation: event.observation,
            file: event.file,
            line: event.line,
            family: event.family,
            protocol: event.protocol,
            tcp_flags: event.tcp_flags,
            flags: event.flags,
            shadow_action: event.shadow_action,
        },
    })
}

fn kind(code: u8) -> Option<EventKind> {
    [EventKind::Drop, EventKind::Verdict, EventKind::Trace].into_iter().find(|kind| *kind as u8 == code)
}
