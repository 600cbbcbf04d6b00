//! What the programs know of the packet in hand. Built when a packet leaves the fast path; until then its facts live in
//! registers.

#[cfg(doc)]
use nexin_abi::Direction;
use nexin_abi::SourceFile;
use nexin_abi::maps::addr::AddrInfo;
use nexin_abi::maps::ct::CtEntry;
use nexin_abi::maps::frag::FragPorts;
use nexin_packet::Tuple;
use zerocopy::FromZeros;

use crate::family::Family;
use crate::maps;
use crate::parse::{Parse, Parsed};
use crate::skb::{Skb, jiffies};

/// Where a packet was caught.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Hook {
    FromWorkload = SourceFile::FromWorkload as u8,
    ToWorkload = SourceFile::ToWorkload as u8,
    FromNetwork = SourceFile::FromNetwork as u8,
    ToNetwork = SourceFile::ToNetwork as u8,
}

impl Hook {
    #[inline(always)]
    pub fn from_number(number: u32) -> Option<Self> {
        [Self::FromWorkload, Self::ToWorkload, Self::FromNetwork, Self::ToNetwork]
            .into_iter()
            .find(|hook| u32::from(*hook as u8) == number)
    }
}

/// The packet in hand.
#[repr(C, align(8))]
pub struct Packet<F: Family> {
    pub key: F::Key,
    /// Owners of the addresses; filled by [`Packet::resolve`].
    pub sender: AddrInfo,
    pub receiver: AddrInfo,
    pub now: u32,
    /// Rule and policy behind a refusal, for its event.
    pub rule: u32,
    pub policy: u32,
    /// Identification of the first of several fragments.
    pub fragment: u32,
    pub l4: u16,
    pub service: u16,
    /// Offset of the network header: 14, or 0 on devices without Ethernet.
    pub l3: u8,
    pub tcp_flags: u8,
    pub kind: u8,
    pub sender_is_low: bool,
    pub resolved: bool,
    pub hook: Hook,
    /// Bits of [`nexin_abi::Event::flags`] that are known already.
    pub flags: u8,
    pub protocol: u8,
    /// The direction that refused, for its event: [`Direction`] + 1, or 0 for the hook's own.
    pub refused_by: u8,
    /// Bits of [`crate::tell::news`].
    pub news: u8,
    /// The receiver, as a flow's entry names it.
    pub number: u16,
}

impl<F: Family> Packet<F> {
    /// Nothing known yet.
    #[inline(always)]
    pub fn blank(hook: Hook) -> Self {
        Self {
            key: F::Key::new_zeroed(),
            sender: AddrInfo::default(),
            receiver: AddrInfo::default(),
            now: jiffies(),
            rule: 0,
            policy: 0,
            fragment: 0,
            l4: 0,
            service: 0,
            l3: 14,
            tcp_flags: 0,
            kind: 0,
            sender_is_low: false,
            resolved: false,
            hook,
            flags: 0,
            protocol: 0,
            refused_by: 0,
            news: 0,
            number: 0,
        }
    }

    /// Takes over what parsing found.
    #[inline(always)]
    pub fn fill(&mut self, parsed: &Parsed<F>) {
        (self.key, self.sender_is_low) = F::key(&parsed.tuple);
        self.protocol = parsed.tuple.protocol;
        self.fragment = parsed.fragment;
        self.l4 = parsed.l4;
        self.service = parsed.service;
        self.tcp_flags = parsed.tcp_flags;
        self.kind = parsed.kind;
    }

    #[inline(always)]
    pub fn is(&self, kind: u8) -> bool {
        self.kind & kind != 0
    }

    /// Sender as source.
    #[inline(always)]
    pub fn tuple(&self) -> Tuple<F::Addr> {
        F::tuple(&self.key, self.sender_is_low)
    }

    /// Travels as the flow's first packet did.
    #[inline(always)]
    pub fn is_forward(&self, state: u8) -> bool {
        self.sender_is_low == (state & CtEntry::ORIGIN_IS_HIGH == 0)
    }
}

impl<F: crate::stage::Stages> Packet<F> {
    /// Finds out who owns the two addresses. Once a packet.
    #[inline(always)]
    pub fn resolve(&mut self, skb: Skb) {
        if !self.resolved {
            F::resolve(skb, self);
        }
    }
}

/// Stage: everything that [`Packet`] keeps of the headers. `p.l3` says where they begin.
#[inline(always)]
pub fn parse<F: Parse>(skb: Skb, p: &mut Packet<F>) -> i32 {
    let l3 = (p.l3 & 14) as usize;
    if let Some(parsed) = F::hot(skb, l3) {
        p.fill(&parsed);
        return 0;
    }
    let mut parsed = Parsed::<F>::empty();
    let reason = F::cold(skb, l3, &mut parsed);
    p.fill(&parsed);
    // What follows writes to the headers in place; only odd devices leave them outside the linear part.
    if skb.view::<{ 14 + 40 }>(0).is_none() {
        skb.pull(skb.len().min((l3 + F::HEADER) as u32));
    }
    reason
}

/// Stage: leaves the ports of a first fragment for the others.
#[inline(always)]
pub fn remember<F: Family>(_skb: Skb, p: &mut Packet<F>) -> i32 {
    let t = p.tuple();
    let ports = FragPorts { source: t.source_port, destination: t.destination_port };
    F::frag().set(&F::frag_key(t.source, t.destination, p.fragment, t.protocol), &ports);
    0
}

/// Stage: owners of both addresses.
#[inline(always)]
pub fn resolve_both<F: Family>(_skb: Skb, p: &mut Packet<F>) -> i32 {
    let tuple = p.tuple();
    let (sender, receiver) = (resolve::<F>(&tuple.source), resolve::<F>(&tuple.destination));
    (p.sender, p.receiver, p.resolved) = (sender, receiver, true);
    0
}

/// Who owns an address: exact, else by prefix, else the world.
#[inline(always)]
pub fn resolve<F: Family>(addr: &F::Addr) -> AddrInfo {
    unpack(resolve_packed::<F>(addr))
}

/// VERIFIER: a subprogram returns a scalar, so the eight bytes of [`AddrInfo`] travel as one.
#[inline(never)]
fn resolve_packed<F: Family>(addr: &F::Addr) -> u64 {
    if let Some(owner) = F::owner(addr) {
        return pack(owner);
    }
    let identity = F::prefix(addr).unwrap_or(F::WORLD);
    pack(AddrInfo { identity, endpoint: 0, flags: 0 })
}

#[inline(always)]
fn pack(info: AddrInfo) -> u64 {
    zerocopy::transmute!(info)
}

#[inline(always)]
fn unpack(info: u64) -> AddrInfo {
    // The map's layout in one word.
    AddrInfo { identity: nexin_abi::Identity(info as u32), endpoint: (info >> 32) as u16, flags: (info >> 48) as u16 }
}

/// Interface behind which endpoint `number` sits, 0 if there is none (or it is no endpoint number at all).
#[inline(always)]
pub fn device_of(number: u16) -> u32 {
    maps::ENDPOINTS.peek(&u32::from(number)).map_or(0, |e| e.ifindex)
}
