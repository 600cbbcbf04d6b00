//! Records of `GET /v1/monitor`: one JSON object a line.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Direction, Labels, PolicyRef, Protocol, Timestamp};

/// Class of an event; each has a ring of its own in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum EventType {
    Drop,
    Verdict,
    Trace,
}

/// What a policy says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    Allow,
    /// A deny rule matched.
    Deny,
    /// Isolated, and no rule allows it.
    DefaultDeny,
    /// Would be refused; let through, since the agent or the endpoint is in audit mode.
    Audit,
}

/// Where a trace was taken; names are Cilium's trace observation points.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Observation {
    ToEndpoint,
    ToProxy,
    ToHost,
    ToStack,
    ToOverlay,
    FromEndpoint,
    FromProxy,
    FromHost,
    FromStack,
    FromOverlay,
    FromNetwork,
    ToNetwork,
}

/// One side of a packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Party {
    #[schema(value_type = String)]
    pub address: IpAddr,
    /// 0 where the protocol has none.
    pub port: u16,
    pub identity: u32,
    pub labels: Labels,
    /// Local endpoint, if it is one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub endpoint: Option<u16>,
    /// `namespace/name` of the local endpoint.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub workload: Option<String>,
}

/// The rule that decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RuleRef {
    pub id: u32,
    pub policy: PolicyRef,
    pub file: String,
    pub line: u32,
    /// Path of the rule in the document.
    pub field: String,
    /// The policy's own log text.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub log: Option<String>,
}

/// A packet that was dropped, judged or seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FlowEvent {
    pub time: Timestamp,
    pub event: EventType,
    pub source: Party,
    pub destination: Party,
    #[schema(value_type = String)]
    pub protocol: Protocol,
    /// Flags as letters (`SA` = SYN, ACK), TCP only.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub tcp_flags: String,
    /// Type and code, ICMP only.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub icmp: Option<(u8, u8)>,
    /// Of the policy or counter that speaks, as seen from the workload.
    #[schema(value_type = String)]
    pub direction: Direction,
    /// Drop and verdict events that policy decided.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub verdict: Option<Verdict>,
    /// Drop events: number and name, as in Cilium's flow.proto.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason_code: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
    /// Drop events, in words: the reason and who decided.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub explanation: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub rule: Option<RuleRef>,
    /// Policies that isolate the direction, where the default refused.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub isolated_by: Vec<PolicyRef>,
    /// What it would be with shadow policies in force.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub shadow_verdict: Option<Verdict>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub shadow_rule: Option<RuleRef>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub observation: Option<Observation>,
    /// Answers a flow that the other side opened; unknown for drops before tracking.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub is_reply: Option<bool>,
    /// Last report of a flow that closed.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub closed: bool,
    /// Interface the packet was seen on.
    pub ifindex: u32,
    /// Bytes of the packet from the Ethernet header on.
    pub length: u32,
    /// Counters of the flow: packets and bytes, from the originator and back. Trace events only.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub forward: Option<(u64, u64)>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reverse: Option<(u64, u64)>,
    /// The source that masquerading gives the packet.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schema(value_type = Option<String>)]
    pub masqueraded_as: Option<IpAddr>,
    /// Kernel source file and line that speaks, such as `policy.rs:120`.
    pub kernel_source: String,
}

impl FlowEvent {
    /// Of which nothing more is known.
    pub fn new(time: Timestamp, event: EventType, ends: [Party; 2], protocol: Protocol, direction: Direction) -> Self {
        let [source, destination] = ends;
        Self {
            time,
            event,
            source,
            destination,
            protocol,
            tcp_flags: String::new(),
            icmp: None,
            direction,
            verdict: None,
            reason_code: None,
            reason: None,
            explanation: None,
            rule: None,
            isolated_by: Vec::new(),
            shadow_verdict: None,
            shadow_rule: None,
            observation: None,
            is_reply: None,
            closed: false,
            ifindex: 0,
            length: 0,
            forward: None,
            reverse: None,
            masqueraded_as: None,
            kernel_source: String::new(),
        }
    }
}

/// Events that this stream misses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LostEvents {
    pub time: Timestamp,
    /// Found the kernel's ring full.
    pub kernel: u64,
    /// This client read too slowly.
    pub client: u64,
}

/// One line of the stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum MonitorRecord {
    Flow(Box<FlowEvent>),
    Lost(LostEvents),
}
