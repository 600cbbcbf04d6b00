//! What is told of packets that take the fast path: all of it is in hand there, and nothing is looked up.

use nexin_abi::maps::addr::AddrInfo;
use nexin_abi::maps::endpoint::Endpoint;
use nexin_abi::{Direction, Event, EventKind, Observation, SourceFile};

use crate::ct::Flow;
use crate::family::Family;
use crate::policy::Ruling;
use crate::skb::Skb;
use crate::tell::{Note, Subject, emit};

/// Facts of a packet in the argument of [`steady`]: protocol and TCP flags, and these.
pub const SENDER_IS_LOW: u32 = 1;
pub const FORWARD: u32 = 1 << 1;
pub const ENTRY: u32 = 1 << 2;
pub const TCP_FLAGS_SHIFT: u32 = 8;
pub const PROTOCOL_SHIFT: u32 = 16;

/// An endpoint and its number.
#[derive(Clone, Copy)]
pub struct Side<'a> {
    pub number: u16,
    pub endpoint: &'a Endpoint,
}

impl Side<'_> {
    #[inline(always)]
    fn info(self) -> AddrInfo {
        AddrInfo { identity: self.endpoint.identity, endpoint: self.number, flags: 0 }
    }
}

/// A packet of a running flow between two endpoints.
pub struct Steady<'a, F: Family> {
    pub key: &'a F::Key,
    pub facts: u32,
    pub sender: Side<'a>,
    pub receiver: Side<'a>,
}

impl<F: Family> Steady<'_, F> {
    #[inline(always)]
    fn is(&self, fact: u32) -> bool {
        self.facts & fact != 0
    }
}

impl<F: Family> Subject<F> for Steady<'_, F> {
    #[inline(always)]
    fn key(&self) -> &F::Key {
        self.key
    }

    #[inline(always)]
    fn sender_is_low(&self) -> bool {
        self.is(SENDER_IS_LOW)
    }

    #[inline(always)]
    fn sender(&self) -> AddrInfo {
        self.sender.info()
    }

    #[inline(always)]
    fn receiver(&self) -> AddrInfo {
        self.receiver.info()
    }

    #[inline(always)]
    fn protocol(&self) -> u8 {
        (self.facts >> PROTOCOL_SHIFT) as u8
    }

    #[inline(always)]
    fn tcp_flags(&self) -> u8 {
        (self.facts >> TCP_FLAGS_SHIFT) as u8
    }

    #[inline(always)]
    fn icmp(&self) -> u16 {
        // Only echo has flows.
        let reply = if self.is(FORWARD) { F::ECHO } else { F::ECHO_REPLY };
        u16::from(reply) << 8
    }

    #[inline(always)]
    fn is_ethernet(&self) -> bool {
        true
    }
}

/// Tells of a packet that took the fast path, of which all is known: nothing has to be looked up.
#[inline(always)]
pub fn steady<F: Family>(skb: Skb, subject: &Steady<'_, F>, flow: Flow) {
    let (packets, replies) = flow.counters();
    let note = Note {
        kind: EventKind::Trace,
        reason: 0,
        direction: Direction::Egress,
        observation: Observation::ToEndpoint as u8,
        entered: if subject.is(ENTRY) { Observation::FromEndpoint as u8 + 1 } else { 0 },
        file: SourceFile::FromWorkload as u8,
        flags: Event::REPLY_KNOWN | Event::ESTABLISHED | if subject.is(FORWARD) { 0 } else { Event::REPLY },
        line: 0,
        ruling: &Ruling::NONE,
        forward: packets,
        reverse: replies,
    };
    emit(skb, subject, &note);
}
