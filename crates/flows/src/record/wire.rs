//! A record as Hubble's message. What each field says is told in `docs/design/flows.md`.

use nexin_abi::{Action, Direction, DropReason, Event, EventKind, Observation};
use nexin_hubble::flow::{self, TrafficDirection, Verdict};

use super::shared::MatchType;
use super::{Record, Told, timestamp};
use crate::summary;
use crate::view::{Ip, L4, View};

/// Hubble's number for "delivered to the endpoint", which the kernel calls 0.
const TO_ENDPOINT: i32 = 101;

pub(super) fn verdict(told: &Told) -> Verdict {
    match told.kind {
        EventKind::Drop => Verdict::Dropped,
        EventKind::Trace => Verdict::Forwarded,
        EventKind::Verdict if told.action == Action::Allow as u8 => Verdict::Forwarded,
        EventKind::Verdict if told.flags & Event::AUDIT != 0 => Verdict::Audit,
        EventKind::Verdict => Verdict::Dropped,
    }
}

/// Of the flow for traces: where it was seen, turned round for replies, and unknown where tracking is.
pub(super) fn direction(told: &Told) -> TrafficDirection {
    let egress = match told.kind {
        EventKind::Trace => !comes_in(told.observation),
        EventKind::Drop | EventKind::Verdict => told.direction == Direction::Egress,
    };
    let has = |flag| told.flags & flag != 0;
    let is_trace = told.kind == EventKind::Trace;
    if is_trace && !has(Event::REPLY_KNOWN) {
        return TrafficDirection::Unknown;
    }
    if egress != (is_trace && has(Event::REPLY)) { TrafficDirection::Egress } else { TrafficDirection::Ingress }
}

/// Points that a packet passes on its way to a workload of this node.
fn comes_in(observation: u8) -> bool {
    use Observation::{FromHost, FromNetwork, FromOverlay, FromProxy, FromStack, ToEndpoint};
    [ToEndpoint, FromProxy, FromHost, FromStack, FromOverlay, FromNetwork]
        .iter()
        .any(|point| *point as u8 == observation)
}

pub(super) fn match_type(record: &Record) -> MatchType {
    let told = &record.told;
    if told.kind != EventKind::Verdict || told.action == Action::DefaultDeny as u8 {
        return MatchType::None;
    }
    match &record.rule {
        Some(rule) => rule.match_type(told.protocol),
        // Nothing isolates this direction, so everything passes.
        None if told.action == Action::Allow as u8 && record.rule_id == 0 => MatchType::All,
        None => MatchType::None,
    }
}

fn trace_reason(told: &Told) -> flow::TraceReason {
    let has = |flag| told.flags & flag != 0;
    match told.kind {
        EventKind::Trace if has(Event::RELATED) => flow::TraceReason::Related,
        EventKind::Trace if !has(Event::REPLY_KNOWN) => flow::TraceReason::Unknown,
        EventKind::Trace if has(Event::REPLY) => flow::TraceReason::Reply,
        EventKind::Trace if has(Event::ESTABLISHED) => flow::TraceReason::Established,
        EventKind::Trace => flow::TraceReason::New,
        EventKind::Drop | EventKind::Verdict => flow::TraceReason::Unknown,
    }
}

/// Policies that speak: (egress allowed, ingress allowed, egress denied, ingress denied).
type Deciders = [Vec<flow::Policy>; 4];

fn deciders(record: &Record) -> Deciders {
    let mut deciders = Deciders::default();
    let told = &record.told;
    let by_policy = match told.kind {
        EventKind::Verdict => true,
        EventKind::Drop => {
            [DropReason::PolicyDenied, DropReason::PolicyDenyRule].map(|r| r as u8).contains(&told.reason)
        }
        EventKind::Trace => false,
    };
    if let Some(rule) = record.rule.as_ref().filter(|_| by_policy) {
        let denied = told.kind == EventKind::Drop || told.action != Action::Allow as u8;
        let ingress = told.direction == Direction::Ingress;
        deciders[usize::from(denied) * 2 + usize::from(ingress)].push(rule.policy.clone());
    }
    deciders
}

fn mac(raw: [u8; 6]) -> String {
    raw.map(|byte| format!("{byte:02x}")).join(":")
}

fn ip(ip: Ip<'_>) -> flow::Ip {
    flow::Ip {
        source: ip.source.to_string(),
        destination: ip.destination.to_string(),
        ip_version: ip.version,
        encrypted: ip.encrypted,
        source_xlated: ip.source_xlated.to_string(),
    }
}

fn layer4(l4: L4<'_>) -> flow::Layer4 {
    use flow::layer4::Protocol as P;
    let protocol = match l4 {
        L4::Tcp { source, destination, flags } => {
            P::Tcp(flow::Tcp { source_port: source, destination_port: destination, flags: flags.map(Into::into) })
        }
        L4::Udp { source, destination } => P::Udp(flow::Udp { source_port: source, destination_port: destination }),
        L4::Sctp { source, destination, chunk } => {
            P::Sctp(flow::Sctp { source_port: source, destination_port: destination, chunk_type: chunk })
        }
        L4::Icmp4 { kind, code } => P::IcmPv4(flow::IcmPv4 { r#type: kind, code }),
        L4::Icmp6 { kind, code } => P::IcmPv6(flow::IcmPv6 { r#type: kind, code }),
        L4::Vrrp { kind, vrid, priority } => P::Vrrp(flow::Vrrp { r#type: kind, vrid, priority }),
        L4::Igmp { kind, group } => P::Igmp(flow::Igmp { r#type: kind, group_address: group.to_owned() }),
    };
    flow::Layer4 { protocol: Some(protocol) }
}

impl Record {
    /// Everything this record knows, as Hubble's message.
    // Two fields that Hubble gave up are still read by its own command.
    #[allow(deprecated)]
    pub fn to_flow(&self) -> flow::Flow {
        let told = &self.told;
        let more = self.more.as_deref();
        let is_trace = told.kind == EventKind::Trace;
        let is_reply = self.is_reply();
        let (kind, sub_kind) = self.event_type().unwrap_or_default();
        let [egress_allowed_by, ingress_allowed_by, egress_denied_by, ingress_denied_by] = deciders(self);
        let no_macs = self.source_mac == [0; 6] && self.destination_mac == [0; 6];
        let interface = self.interface.as_deref().cloned();
        flow::Flow {
            time: Some(timestamp(self.time_ns)),
            uuid: self.node.uuid(self.number).to_string(),
            verdict: self.verdict(),
            drop_reason: self.drop_reason() as u32,
            drop_reason_desc: self.drop_reason(),
            ethernet: (!no_macs)
                .then(|| flow::Ethernet { source: mac(self.source_mac), destination: mac(self.destination_mac) }),
            ip: self.ip().map(ip),
            l4: self.l4().map(layer4),
            l7: more.and_then(|more| more.l7.clone()),
            source: self.source.as_deref().cloned(),
            destination: self.destination.as_deref().cloned(),
            r#type: flow::FlowType::L3L4 as i32,
            node_name: self.node.name.clone(),
            node_labels: self.node.labels.clone(),
            source_names: self.source_names().to_vec(),
            destination_names: self.destination_names().to_vec(),
            source_service: self.source_service().cloned(),
            destination_service: self.destination_service().cloned(),
            reply: is_reply.unwrap_or(false),
            is_reply,
            event_type: Some(flow::CiliumEventType { r#type: kind, sub_type: sub_kind }),
            traffic_direction: self.traffic_direction(),
            policy_match_type: self.policy_match_type(),
            trace_observation_point: match (is_trace, told.observation) {
                (true, 0) => TO_ENDPOINT,
                (true, point) => i32::from(point),
                (false, _) => 0,
            },
            trace_reason: trace_reason(told) as i32,
            interface: interface.or_else(|| {
                (self.ifindex != 0).then(|| flow::NetworkInterface { index: self.ifindex, name: String::new() })
            }),
            proxy_port: more.map_or(0, |more| u32::from(more.proxy_port)),
            trace_context: more
                .filter(|more| !more.trace_id.is_empty())
                .map(|more| flow::TraceContext { parent: Some(flow::TraceParent { trace_id: more.trace_id.clone() }) }),
            ip_trace_id: more.and_then(|more| more.ip_trace_id),
            file: (told.line != 0).then(|| flow::FileInfo {
                name: summary::source_file(told.file).to_owned(),
                line: u32::from(told.line),
            }),
            emitter: Some(self.node.emitter.clone()),
            egress_allowed_by,
            ingress_allowed_by,
            egress_denied_by,
            ingress_denied_by,
            policy_log: self.rule.iter().filter(|_| !is_trace).filter_map(|rule| rule.log.clone()).collect(),
            summary: summary::text(self),
            ..flow::Flow::default()
        }
    }
}
