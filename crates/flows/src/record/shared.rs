//! What records have in common and point to: the node, rules, and the rare parts.

use std::sync::Arc;

use nexin_hubble::flow;
use uuid::{Builder, Uuid};

/// The node that records come from, as each of its flows names it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Node {
    /// `node`, or `cluster/node` where the cluster is not `default`.
    pub name: String,
    /// Labels of the node, sorted.
    pub labels: Vec<String>,
    pub emitter: flow::Emitter,
    /// Random; makes UUIDs of this process differ from those of any other.
    pub seed: u128,
}

impl Node {
    /// Emitter of flows that this program makes.
    pub fn emitter() -> flow::Emitter {
        flow::Emitter { name: "Nexin".to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() }
    }

    /// Name of a node in flows.
    pub fn full_name(cluster: &str, node: &str) -> String {
        if cluster.is_empty() || cluster == "default" { node.to_owned() } else { format!("{cluster}/{node}") }
    }

    /// The UUID of this process's record `number`, which is below 2^48: as random as `seed`, different for different numbers.
    pub fn uuid(&self, number: u64) -> Uuid {
        // Odd, so that multiplying modulo 2^48 gives no two numbers one value.
        const SPREAD: u64 = 0x9e37_79b9_7f4b;
        let unique = number.wrapping_mul(SPREAD) & ((1 << 48) - 1);
        Builder::from_random_bytes((self.seed ^ u128::from(unique) << 80).to_be_bytes()).into_uuid()
    }
}

/// Where a rule was written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RulePlace {
    pub file: String,
    /// From 1.
    pub line: u32,
    /// Path in the document, such as `spec.ingress[0]`.
    pub field: String,
}

/// A rule as flows show it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rule {
    pub id: u32,
    /// The document the rule is of.
    pub policy: flow::Policy,
    pub place: RulePlace,
    /// Text that the policy wants shown with each of its verdicts.
    pub log: Option<String>,
    /// It is for every peer.
    pub any_peer: bool,
    /// It is for every port of every protocol.
    pub any_l4: bool,
    /// Protocols of which it is for every port.
    pub whole_protocols: Vec<u8>,
}

/// How closely a rule matched. Numbers: cilium `pkg/monitor/api/types.go`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum MatchType {
    None = 0,
    L3Only = 1,
    L3L4 = 2,
    L4Only = 3,
    All = 4,
    L3Proto = 5,
    ProtoOnly = 6,
}

impl Rule {
    /// How it matches a packet of `protocol`.
    pub fn match_type(&self, protocol: u8) -> MatchType {
        let whole = self.whole_protocols.contains(&protocol);
        match (self.any_peer, self.any_l4, whole) {
            (true, true, _) => MatchType::All,
            (true, false, true) => MatchType::ProtoOnly,
            (true, false, false) => MatchType::L4Only,
            (false, true, _) => MatchType::L3Only,
            (false, false, true) => MatchType::L3Proto,
            (false, false, false) => MatchType::L3L4,
        }
    }
}

/// What few flows have.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct More {
    pub l7: Option<flow::Layer7>,
    pub source_names: Option<Arc<[String]>>,
    pub destination_names: Option<Arc<[String]>>,
    pub source_service: Option<Arc<flow::Service>>,
    pub destination_service: Option<Arc<flow::Service>>,
    /// W3C trace id; empty where there is none.
    pub trace_id: String,
    pub ip_trace_id: Option<flow::IpTraceId>,
    pub proxy_port: u16,
}
