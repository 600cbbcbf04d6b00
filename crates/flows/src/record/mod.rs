//! A flow as it stays in memory: at most 300 bytes with its share of what records have in common. Answers filters as it
//! is; becomes Hubble's message only when somebody wants to see it.
//!
//! Nothing here looks anything up: names, labels and policies are shared values that the decoder put in.

mod shared;
mod wire;

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use nexin_abi::maps::ct::Counter;
use nexin_abi::{Direction, Event, EventKind};
use nexin_hubble::flow;

pub use shared::{MatchType, More, Node, Rule, RulePlace};

use crate::summary;
use crate::view::{Address, Ip, L4, TcpFlags, View};

/// Protocol numbers of IANA that flows tell apart.
pub(crate) mod protocol {
    pub(crate) const ICMP: u8 = 1;
    pub(crate) const IGMP: u8 = 2;
    pub(crate) const TCP: u8 = 6;
    pub(crate) const UDP: u8 = 17;
    pub(crate) const ICMP6: u8 = 58;
    pub(crate) const VRRP: u8 = 112;
    pub(crate) const SCTP: u8 = 132;
}

/// Event types of Hubble. Source: cilium `pkg/monitor/api/types.go`.
pub mod event_type {
    pub const DROP: i32 = 1;
    pub const TRACE: i32 = 4;
    pub const POLICY_VERDICT: i32 = 5;
    pub const L7: i32 = 129;
}

/// What the kernel said of a packet or a flow, in its own numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) kind: EventKind,
    /// Drop reason; for a verdict, of the refusal.
    pub(crate) reason: u8,
    pub(crate) direction: Direction,
    pub(crate) action: u8,
    pub(crate) observation: u8,
    pub(crate) file: u8,
    /// Line of the kernel's file, 0 where none speaks.
    pub(crate) line: u16,
    /// 4, 6, or 0 for a packet of which not even the addresses are known.
    pub(crate) family: u8,
    pub(crate) protocol: u8,
    pub(crate) tcp_flags: u8,
    /// Bits of [`Event::flags`].
    pub(crate) flags: u8,
    pub(crate) shadow_action: u8,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Record {
    /// Nanoseconds since the epoch.
    pub(crate) time_ns: u64,
    /// Number of this record among all that this process made: the unique part of its UUID.
    pub(crate) number: u64,
    pub(crate) source_ip: [u8; 16],
    pub(crate) destination_ip: [u8; 16],
    /// Source that masquerading gives the packet; zero where it keeps its own.
    pub(crate) translated_ip: [u8; 16],
    pub(crate) forward: Counter,
    pub(crate) reverse: Counter,
    pub(crate) node: Arc<Node>,
    pub(crate) source: Option<Arc<flow::Endpoint>>,
    pub(crate) destination: Option<Arc<flow::Endpoint>>,
    /// The rule that decided; for a default deny, one of the policy that isolates.
    pub(crate) rule: Option<Arc<Rule>>,
    pub(crate) shadow_rule: Option<Arc<Rule>>,
    pub(crate) interface: Option<Arc<flow::NetworkInterface>>,
    pub(crate) more: Option<Box<More>>,
    pub(crate) source_port: u16,
    /// For ICMP, type and code.
    pub(crate) destination_port: u16,
    pub(crate) ifindex: u32,
    /// Bytes from the Ethernet header on.
    pub(crate) length: u32,
    pub(crate) rule_id: u32,
    pub(crate) policy: u32,
    pub(crate) source_mac: [u8; 6],
    pub(crate) destination_mac: [u8; 6],
    pub(crate) told: Told,
}

const _: () = assert!(size_of::<Record>() <= 184);

impl Record {
    /// Nanoseconds since the epoch.
    pub fn time_ns(&self) -> u64 {
        self.time_ns
    }

    /// Class of the kernel's event this record was made of.
    pub fn kind(&self) -> EventKind {
        self.told.kind
    }

    /// Packets and bytes of the flow so far, from its originator and back. Trace events have them.
    pub fn counters(&self) -> Option<(Counter, Counter)> {
        (self.told.kind == EventKind::Trace).then_some((self.forward, self.reverse))
    }

    /// Length of the packet in bytes, from the Ethernet header on.
    pub fn length(&self) -> u32 {
        self.length
    }

    /// Last report of a flow that closed.
    pub fn is_closed(&self) -> bool {
        self.has(Event::CLOSED)
    }

    /// Refused by policy and let through, since the agent or the endpoint is in audit mode.
    pub fn is_audited(&self) -> bool {
        self.has(Event::AUDIT)
    }

    /// Number of the rule that decided, 0 where none did.
    pub fn rule_id(&self) -> u32 {
        self.rule_id
    }

    /// Kernel number of the policy that was asked.
    pub fn policy(&self) -> u32 {
        self.policy
    }

    pub fn rule(&self) -> Option<&Arc<Rule>> {
        self.rule.as_ref()
    }

    /// What shadow policies would have said: the raw [`nexin_abi::Action`] and the rule.
    pub fn shadow(&self) -> Option<(u8, Option<&Arc<Rule>>)> {
        self.has(Event::SHADOW).then_some((self.told.shadow_action, self.shadow_rule.as_ref()))
    }

    /// The raw [`nexin_abi::Action`] of a verdict, and of a drop.
    pub fn action(&self) -> u8 {
        self.told.action
    }

    /// The raw drop reason of a drop; of a verdict that refuses, the reason that the drop will have.
    pub fn reason(&self) -> u8 {
        self.told.reason
    }

    /// Where the packet was seen, a raw [`nexin_abi::Observation`].
    pub fn observation(&self) -> u8 {
        self.told.observation
    }

    /// Of the policy or counter that speaks, as seen from the workload.
    pub fn policy_direction(&self) -> Direction {
        self.told.direction
    }

    /// IANA number of the transport protocol.
    pub fn protocol(&self) -> u8 {
        self.told.protocol
    }

    /// 4, 6, or 0 for a packet of which not even the addresses are known.
    pub fn family(&self) -> u8 {
        self.told.family
    }

    /// Raw flags of the TCP header.
    pub fn tcp_flags(&self) -> u8 {
        self.told.tcp_flags
    }

    /// Whether the packet answers a flow that the other side opened, where tracking knows, drops included. ([`View::is_reply`] leaves drops open, as Hubble does.)
    pub fn tracked_reply(&self) -> Option<bool> {
        self.has(Event::REPLY_KNOWN).then_some(self.has(Event::REPLY))
    }

    pub fn interface_index(&self) -> u32 {
        self.ifindex
    }

    /// Kernel source file and line that speaks, such as `policy.rs` and 120; line 0 where only the file is known.
    pub fn place(&self) -> (&'static str, u16) {
        (summary::source_file(self.told.file), self.told.line)
    }

    /// Addresses of the flow, before masquerading.
    pub fn addresses(&self) -> Option<(IpAddr, IpAddr)> {
        Some((self.address(self.source_ip)?, self.address(self.destination_ip)?))
    }

    /// The source that masquerading gives the packet, where it does.
    pub fn translated_source(&self) -> Option<IpAddr> {
        self.address(self.translated_ip).filter(|ip| !ip.is_unspecified())
    }

    /// Ports of the flow, before masquerading; for ICMP the second is type and code.
    pub fn raw_ports(&self) -> (u16, u16) {
        (self.source_port, self.destination_port)
    }

    pub fn shared_source(&self) -> Option<&Arc<flow::Endpoint>> {
        self.source.as_ref()
    }

    pub fn shared_destination(&self) -> Option<&Arc<flow::Endpoint>> {
        self.destination.as_ref()
    }

    pub fn node(&self) -> &Arc<Node> {
        &self.node
    }

    pub(crate) fn has(&self, flag: u8) -> bool {
        self.told.flags & flag != 0
    }

    fn address(&self, raw: [u8; 16]) -> Option<IpAddr> {
        match self.told.family {
            4 => Some(IpAddr::V4(Ipv4Addr::new(raw[0], raw[1], raw[2], raw[3]))),
            6 => Some(IpAddr::V6(Ipv6Addr::from(raw))),
            _ => None,
        }
    }
}

impl View for Record {
    fn uuid_is(&self, uuid: &str) -> bool {
        self.node.uuid(self.number).hyphenated().encode_lower(&mut uuid::Uuid::encode_buffer()) == uuid
    }

    fn time(&self) -> Option<(i64, i32)> {
        Some(split(self.time_ns))
    }

    fn verdict(&self) -> i32 {
        wire::verdict(&self.told) as i32
    }

    fn drop_reason(&self) -> i32 {
        if wire::verdict(&self.told) == flow::Verdict::Dropped { i32::from(self.told.reason) } else { 0 }
    }

    fn event_type(&self) -> Option<(i32, i32)> {
        Some(match self.told.kind {
            EventKind::Drop => (event_type::DROP, i32::from(self.told.reason)),
            EventKind::Trace => (event_type::TRACE, i32::from(self.told.observation)),
            EventKind::Verdict => (event_type::POLICY_VERDICT, 0),
        })
    }

    fn traffic_direction(&self) -> i32 {
        wire::direction(&self.told) as i32
    }

    fn is_reply(&self) -> Option<bool> {
        match self.told.kind {
            EventKind::Trace => self.tracked_reply(),
            // Policy is asked for the first packet of a flow; of what it refused nobody knows.
            EventKind::Verdict if wire::verdict(&self.told) != flow::Verdict::Dropped => Some(false),
            EventKind::Verdict | EventKind::Drop => None,
        }
    }

    fn policy_match_type(&self) -> u32 {
        wire::match_type(self) as u32
    }

    fn ip(&self) -> Option<Ip<'_>> {
        let (source, destination) = self.addresses()?;
        Some(Ip {
            source: Address::Ip(source),
            destination: Address::Ip(destination),
            version: if self.told.family == 4 { flow::IpVersion::IPv4 } else { flow::IpVersion::IPv6 } as i32,
            encrypted: false,
            source_xlated: self.translated_source().map_or(Address::Text(""), Address::Ip),
        })
    }

    fn l4(&self) -> Option<L4<'_>> {
        let (source, destination) = (u32::from(self.source_port), u32::from(self.destination_port));
        let (kind, code) = (destination >> 8, destination & 0xff);
        if self.told.family == 0 {
            return None;
        }
        match self.told.protocol {
            protocol::TCP => {
                Some(L4::Tcp { source, destination, flags: Some(TcpFlags(u16::from(self.told.tcp_flags))) })
            }
            protocol::UDP => Some(L4::Udp { source, destination }),
            protocol::SCTP => Some(L4::Sctp { source, destination, chunk: 0 }),
            protocol::ICMP => Some(L4::Icmp4 { kind, code }),
            protocol::ICMP6 => Some(L4::Icmp6 { kind, code }),
            _ => None,
        }
    }

    fn l7(&self) -> Option<&flow::Layer7> {
        self.more.as_ref()?.l7.as_ref()
    }

    fn source(&self) -> Option<&flow::Endpoint> {
        self.source.as_deref()
    }

    fn destination(&self) -> Option<&flow::Endpoint> {
        self.destination.as_deref()
    }

    fn source_names(&self) -> &[String] {
        self.more.as_ref().and_then(|more| more.source_names.as_deref()).unwrap_or_default()
    }

    fn destination_names(&self) -> &[String] {
        self.more.as_ref().and_then(|more| more.destination_names.as_deref()).unwrap_or_default()
    }

    fn source_service(&self) -> Option<&flow::Service> {
        self.more.as_ref()?.source_service.as_deref()
    }

    fn destination_service(&self) -> Option<&flow::Service> {
        self.more.as_ref()?.destination_service.as_deref()
    }

    fn node_name(&self) -> &str {
        &self.node.name
    }

    fn node_labels(&self) -> &[String] {
        &self.node.labels
    }

    fn interface(&self) -> Option<(u32, &str)> {
        match &self.interface {
            Some(interface) => Some((interface.index, &interface.name)),
            None => (self.ifindex != 0).then_some((self.ifindex, "")),
        }
    }

    fn trace_id(&self) -> &str {
        self.more.as_ref().map_or("", |more| &more.trace_id)
    }

    fn ip_trace_id(&self) -> u64 {
        self.more.as_ref().and_then(|more| more.ip_trace_id).map_or(0, |id| id.trace_id)
    }

    fn flow(&self) -> Cow<'_, flow::Flow> {
        Cow::Owned(self.to_flow())
    }
}

/// Seconds and nanoseconds of nanoseconds.
pub(crate) fn split(time_ns: u64) -> (i64, i32) {
    const SECOND: u64 = 1_000_000_000;
    ((time_ns / SECOND) as i64, (time_ns % SECOND) as i32)
}

/// Nanoseconds since the epoch as the protocol writes them.
pub fn timestamp(time_ns: u64) -> prost_types::Timestamp {
    let (seconds, nanos) = split(time_ns);
    prost_types::Timestamp { seconds, nanos }
}
