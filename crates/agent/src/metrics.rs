//! Metrics of the node. What Cilium measures too has Cilium's whole name and labels (`cilium_drop_count_total{reason,direction}` ...), so that
//! dashboards show data; the rest has our own prefix. A name of Cilium's is used only where the number means the same.

mod live;

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nexin_api::v1::{EndpointCounts, LostCounts};
use nexin_datapath::{Counter as Traffic, Pressure};
use nexin_runtime::metrics::Metrics;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};

use live::Live;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct ObjectLabel {
    pub(crate) object: &'static str,
}

#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct OutcomeLabel {
    pub(crate) outcome: Outcome,
}

/// In Cilium's words.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq, prometheus_client::encoding::EncodeLabelValue)]
#[allow(non_camel_case_types, reason = "the variants' names are the label's values")]
pub(crate) enum Outcome {
    success,
    fail,
}

/// Labels of the collector of connections. A walk goes over both families and all protocols at once.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct WalkLabel {
    family: Every,
    protocol: Every,
    status: Walk,
}

#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq, prometheus_client::encoding::EncodeLabelValue)]
#[allow(non_camel_case_types, reason = "the variants' names are the label's values")]
enum Every {
    all,
}

/// What became of a walk, and of the entries it saw.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq, prometheus_client::encoding::EncodeLabelValue)]
#[allow(non_camel_case_types, reason = "the variants' names are the label's values")]
enum Walk {
    completed,
    uncompleted,
    alive,
    deleted,
}

impl WalkLabel {
    const fn of(status: Walk) -> Self {
        Self { family: Every::all, protocol: Every::all, status }
    }
}

/// Seconds a step took.
#[derive(Clone, Debug)]
pub(crate) struct Seconds(pub(crate) Histogram);

impl Default for Seconds {
    fn default() -> Self {
        Self(Histogram::new(exponential_buckets(0.0005, 2.0, 16)))
    }
}

/// What the agent counts itself.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counters {
    /// Found changed behind the agent's back and put right, by kind of object.
    pub(crate) drift: Family<ObjectLabel, Counter<u64, AtomicU64>>,
    pub(crate) endpoint_creates: Family<OutcomeLabel, Counter<u64, AtomicU64>>,
    pub(crate) policy_changes: Family<OutcomeLabel, Counter<u64, AtomicU64>>,
    pub(crate) create_seconds: Seconds,
    pub(crate) policy_seconds: Seconds,
    walks: Family<WalkLabel, Counter<u64, AtomicU64>>,
    walked: Family<WalkLabel, Gauge>,
    walk_seconds: Seconds,
    pub(crate) snapshot: Arc<Mutex<Snapshot>>,
}

/// What is read from the datapath and the core when somebody asks.
#[derive(Clone, Debug, Default)]
pub(crate) struct Snapshot {
    pub(crate) traffic: Vec<Traffic>,
    pub(crate) pressure: Vec<Pressure>,
    pub(crate) memory: u64,
    pub(crate) policy_memory: u64,
    pub(crate) overflows: u64,
    pub(crate) endpoints: EndpointCounts,
    /// By Cilium's kind of identity.
    pub(crate) identities: Vec<(&'static str, i64)>,
    pub(crate) documents: i64,
    pub(crate) addresses: Vec<(&'static str, i64)>,
    pub(crate) lost: LostCounts,
    pub(crate) lost_by_clients: u64,
    pub(crate) listeners: i64,
    pub(crate) epoch: i64,
    pub(crate) ready: bool,
}

impl Counters {
    /// `prefix` stands before names that are ours; `metrics` has none.
    pub(crate) fn register(&self, metrics: &Metrics, prefix: &str) {
        let ours = |name: &str| if prefix.is_empty() { name.to_owned() } else { format!("{prefix}_{name}") };
        metrics.register(|registry| {
            registry.register(ours("drift_repaired"), "Objects changed from outside and repaired", self.drift.clone());
            registry.register(ours("endpoint_create"), "Requests for endpoints", self.endpoint_creates.clone());
            registry.register(
                ours("endpoint_create_duration_seconds"),
                "From the request to a wired endpoint with policy in force",
                self.create_seconds.0.clone(),
            );
            registry.register(
                "cilium_policy_change",
                "Number of policy changes by outcome",
                self.policy_changes.clone(),
            );
            registry.register(
                "cilium_policy_implementation_delay",
                "Time between a policy change and it being fully deployed into the datapath",
                self.policy_seconds.0.clone(),
            );
            registry.register(
                "cilium_datapath_conntrack_gc_runs",
                "Number of times that the conntrack garbage collector process was run",
                self.walks.clone(),
            );
            registry.register(
                "cilium_datapath_conntrack_gc_entries",
                "Alive and deleted conntrack entries at the end of a garbage collector run",
                self.walked.clone(),
            );
            registry.register(
                "cilium_datapath_conntrack_gc_duration_seconds",
                "Duration of a part of a garbage collector run",
                self.walk_seconds.0.clone(),
            );
            registry.register_collector(Box::new(Live::new(self.snapshot.clone(), ours)));
        });
    }

    pub(crate) fn drifted(&self, object: &'static str, count: usize) {
        if count > 0 {
            self.drift.get_or_create(&ObjectLabel { object }).inc_by(count as u64);
        }
    }

    pub(crate) fn outcome(family: &Family<OutcomeLabel, Counter<u64, AtomicU64>>, success: bool) {
        let outcome = if success { Outcome::success } else { Outcome::fail };
        family.get_or_create(&OutcomeLabel { outcome }).inc();
    }

    /// A part of a walk over connections. What is alive and what was removed is known of the last one.
    pub(crate) fn collected(&self, alive: usize, removed: usize, elapsed: Duration, complete: bool) {
        let count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.walked.get_or_create(&WalkLabel::of(Walk::alive)).set(count(alive));
        self.walked.get_or_create(&WalkLabel::of(Walk::deleted)).set(count(removed));
        self.walk_seconds.0.observe(elapsed.as_secs_f64());
        if complete {
            self.walks.get_or_create(&WalkLabel::of(Walk::completed)).inc();
        }
    }

    /// A walk that could not go on.
    pub(crate) fn uncollected(&self) {
        self.walks.get_or_create(&WalkLabel::of(Walk::uncompleted)).inc();
    }
}

#[cfg(test)]
pub(crate) mod tests;
