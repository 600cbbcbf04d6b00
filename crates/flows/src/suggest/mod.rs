//! The narrowest policy that lets observed traffic through: one document a workload, with the evidence beside each rule.
//!
//! Only what was let through counts (forwarded, redirected, audited), only in the direction that opened the connection,
//! and only where it was seen after the decision. What was not observed is denied by the result: it is a draft for people.
//! No clock, no file.

mod observe;
mod render;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::IpAddr;

use nexin_hubble::flow::Flow;
use prost_types::Timestamp;

/// What a suggestion may assume.
#[derive(Clone, Debug)]
pub struct Options {
    /// Only workloads of this namespace.
    pub namespace: Option<String>,
    /// More outside addresses than this at one workload become the entity `world`.
    pub most_addresses: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { namespace: None, most_addresses: 64 }
    }
}

/// A policy document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suggestion {
    pub name: String,
    /// Empty: a policy of the whole cluster.
    pub namespace: String,
    /// With comments, ready to be read by people and by `policy validate`.
    pub yaml: String,
}

/// Documents, and what was made of the flows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    pub suggestions: Vec<Suggestion>,
    /// Flows that are evidence for a rule.
    pub used: u64,
    pub left_out: LeftOut,
}

/// Flows that count for nothing, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// Dropped, failed, or never decided.
    pub not_let_through: u64,
    /// Replies, and packets whose direction is not known.
    pub not_opening: u64,
    /// Seen before the decision, or inside a proxy or socket.
    pub not_decided_here: u64,
    /// An end that nothing is known about, or a protocol without ports or types.
    pub not_expressible: u64,
}

/// A workload, as policies see it: its namespace and the labels that tell it from others.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Who {
    namespace: String,
    /// Keys with their source, unless that is `k8s`.
    labels: BTreeMap<String, String>,
}

/// The other end.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Peer {
    Workload(Who),
    Entity(&'static str),
    /// A DNS name outside.
    Name(String),
    Address(IpAddr),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Port {
    L4 { protocol: &'static str, port: u16 },
    Icmp { family: &'static str, kind: u32 },
}

/// What stands behind a rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Evidence {
    flows: u64,
    first: Option<Timestamp>,
    last: Option<Timestamp>,
}

impl Evidence {
    fn add(&mut self, time: Option<Timestamp>) {
        self.merge(&Self { flows: 1, first: time, last: time });
    }

    fn merge(&mut self, other: &Self) {
        let stamp = |time: &Timestamp| (time.seconds, time.nanos);
        self.flows += other.flows;
        self.first = [self.first, other.first].into_iter().flatten().min_by_key(stamp);
        self.last = [self.last, other.last].into_iter().flatten().max_by_key(stamp);
    }
}

/// Ports of a peer, with evidence.
type Ports = BTreeMap<Port, Evidence>;

/// One workload's traffic.
#[derive(Clone, Debug, Default)]
struct Traffic {
    /// What people call it.
    name: String,
    ingress: BTreeMap<Peer, Ports>,
    egress: BTreeMap<Peer, Ports>,
}

/// Suggests a policy for each workload that had traffic.
pub fn suggest<'a>(flows: impl IntoIterator<Item = &'a Flow>, options: &Options) -> Report {
    let mut table: BTreeMap<Who, Traffic> = BTreeMap::new();
    let mut report = Report::default();
    for flow in flows {
        observe::add(flow, &mut table, &mut report);
    }
    let everyone = everyone(&table);
    let mut names: BTreeMap<(String, String), u32> = BTreeMap::new();
    for (who, traffic) in &table {
        if options.namespace.as_ref().is_some_and(|namespace| *namespace != who.namespace) {
            continue;
        }
        let base = format!("suggested-{}", render::dns_name(&traffic.name));
        let count = names.entry((who.namespace.clone(), base.clone())).or_default();
        *count += 1;
        let name = if *count == 1 { base } else { format!("{base}-{count}") };
        let yaml = render::document(&name, who, traffic, &everyone, options);
        report.suggestions.push(Suggestion { name, namespace: who.namespace.clone(), yaml });
    }
    report
}

/// Every workload that was seen, on whichever side.
fn everyone(table: &BTreeMap<Who, Traffic>) -> Vec<Who> {
    let peers = table.values().flat_map(|traffic| traffic.ingress.keys().chain(traffic.egress.keys()));
    let workloads = peers.filter_map(|peer| match peer {
        Peer::Workload(who) => Some(who),
        _ => None,
    });
    let mut all: Vec<Who> = table.keys().chain(workloads).cloned().collect();
    all.sort();
    all.dedup();
    all
}
