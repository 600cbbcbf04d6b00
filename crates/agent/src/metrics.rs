//! Metrics. Names are Cilium's where it has one (`drop_count_total`, `forward_count_total`, `bpf_map_pressure` ...), so that dashboards keep working
//! once the prefix is set.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};

use nexin_abi::{Direction, DropReason};
use nexin_api::v1::{EndpointCounts, LostCounts};
use nexin_datapath::{Counter as Traffic, Pressure};
use nexin_runtime::metrics::Metrics;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::{MetricType, TypedMetric};

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct ObjectLabel {
    pub(crate) object: &'static str,
}

#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct OutcomeLabel {
    pub(crate) outcome: Outcome,
}

#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq, prometheus_client::encoding::EncodeLabelValue)]
#[allow(non_camel_case_types, reason = "the variants' names are the label's values")]
pub(crate) enum Outcome {
    success,
    failure,
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
    pub(crate) identities: i64,
    pub(crate) documents: i64,
    pub(crate) addresses: Vec<(&'static str, i64)>,
    pub(crate) lost: LostCounts,
    pub(crate) lost_by_clients: u64,
    pub(crate) listeners: i64,
    pub(crate) epoch: i64,
    pub(crate) ready: bool,
}

impl Counters {
    pub(crate) fn register(&self, metrics: &Metrics) {
        metrics.register(|registry| {
            registry.register("drift_repaired", "Objects changed from outside and repaired", self.drift.clone());
            registry.register("endpoint_create", "Requests for endpoints", self.endpoint_creates.clone());
            registry.register("policy_change", "Changes of policy documents", self.policy_changes.clone());
            registry.register(
                "endpoint_create_duration_seconds",
                "From the request to a wired endpoint with policy in force",
                self.create_seconds.0.clone(),
            );
            registry.register(
                "policy_implementation_delay",
                "Seconds from a policy change to its enforcement",
                self.policy_seconds.0.clone(),
            );
            registry.register_collector(Box::new(Live(self.snapshot.clone())));
        });
    }

    pub(crate) fn drifted(&self, object: &'static str, count: usize) {
        if count > 0 {
            self.drift.get_or_create(&ObjectLabel { object }).inc_by(count as u64);
        }
    }

    pub(crate) fn outcome(family: &Family<OutcomeLabel, Counter<u64, AtomicU64>>, success: bool) {
        let outcome = if success { Outcome::success } else { Outcome::failure };
        family.get_or_create(&OutcomeLabel { outcome }).inc();
    }
}

#[derive(Debug)]
struct Live(Arc<Mutex<Snapshot>>);

type Label = (&'static str, String);

impl Collector for Live {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let now = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        traffic(&mut encoder, &now.traffic)?;
        let pressure = now.pressure.iter().map(|map| {
            let ratio = f64::from(map.used) / f64::from(map.available.max(1));
            (vec![("map_name", map.map.to_owned())], ConstGauge::new(ratio))
        });
        family(&mut encoder, "bpf_map_pressure", "Share of a map's entries in use", pressure.collect())?;
        let used = now
            .pressure
            .iter()
            .map(|map| (vec![("map_name", map.map.to_owned())], ConstGauge::new(i64::from(map.used))));
        family(&mut encoder, "bpf_map_entries", "Entries in use", used.collect())?;
        let states = [
            ("ready", now.endpoints.ready),
            ("init", now.endpoints.init),
            ("restoring", now.endpoints.restoring),
            ("broken", now.endpoints.broken),
        ];
        let states = states
            .map(|(state, count)| (vec![("endpoint_state", state.to_owned())], ConstGauge::new(i64::from(count))));
        family(&mut encoder, "endpoint_state", "Endpoints by state", states.into())?;
        let addresses = now
            .addresses
            .iter()
            .map(|(family, count)| (vec![("family", (*family).to_owned())], ConstGauge::new(*count)));
        family(&mut encoder, "ip_addresses", "Addresses given to workloads", addresses.collect())?;
        let lost = [("drop", now.lost.drop), ("verdict", now.lost.verdict), ("trace", now.lost.trace)];
        let lost = lost.map(|(class, count)| (vec![("source", format!("ring_{class}"))], ConstCounter::new(count)));
        let clients = (vec![("source", "monitor_queue".to_owned())], ConstCounter::new(now.lost_by_clients));
        family(&mut encoder, "lost_events", "Events lost, by where", lost.into_iter().chain([clients]).collect())?;
        let gauges = [
            ("endpoint", "Endpoints", i64::from(now.endpoints.ready + now.endpoints.init)),
            ("identity", "Identities known", now.identities),
            ("policy", "Policy documents in force", now.documents),
            ("policy_max_revision", "Policy epoch of the datapath", now.epoch),
            ("monitor_listeners", "Clients of the monitor", now.listeners),
            ("bpf_maps_virtual_memory_max_bytes", "Kernel memory of maps", bytes(now.memory)),
            ("policy_maps_bytes", "Kernel memory of policy tables", bytes(now.policy_memory)),
            ("ready", "1 when everything saved is in force", i64::from(now.ready)),
        ];
        for (name, help, value) in gauges {
            family(&mut encoder, name, help, vec![(Vec::new(), ConstGauge::new(value))])?;
        }
        let overflows = vec![(Vec::new(), ConstCounter::new(now.overflows))];
        family(&mut encoder, "policy_overflow", "Endpoints that kept an older policy for want of room", overflows)
    }
}

fn bytes(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn traffic(encoder: &mut DescriptorEncoder<'_>, traffic: &[Traffic]) -> Result<(), std::fmt::Error> {
    let direction = |counter: &Traffic| match counter.direction {
        Direction::Ingress => "INGRESS".to_owned(),
        Direction::Egress => "EGRESS".to_owned(),
    };
    let drops = |value: fn(&Traffic) -> u64| -> Vec<(Vec<Label>, ConstCounter<u64>)> {
        let dropped = traffic.iter().filter_map(|counter| Some((counter, counter.reason?)));
        let labels = |counter: &Traffic, reason: DropReason| {
            vec![("reason", reason.text().to_owned()), ("direction", direction(counter))]
        };
        dropped.map(|(counter, reason)| (labels(counter, reason), ConstCounter::new(value(counter)))).collect()
    };
    let forwards = |value: fn(&Traffic) -> u64| -> Vec<(Vec<Label>, ConstCounter<u64>)> {
        let passed = traffic.iter().filter(|counter| counter.reason.is_none());
        passed.map(|counter| (vec![("direction", direction(counter))], ConstCounter::new(value(counter)))).collect()
    };
    family(encoder, "drop_count", "Packets dropped, by reason and direction", drops(|counter| counter.packets))?;
    family(encoder, "drop_bytes", "Bytes dropped, by reason and direction", drops(|counter| counter.bytes))?;
    family(encoder, "forward_count", "Packets forwarded, by direction", forwards(|counter| counter.packets))?;
    family(encoder, "forward_bytes", "Bytes forwarded, by direction", forwards(|counter| counter.bytes))
}

fn family<M: EncodeMetric + TypedMetric>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    samples: Vec<(Vec<Label>, M)>,
) -> Result<(), std::fmt::Error> {
    let kind: MetricType = M::TYPE;
    let mut metric = encoder.encode_descriptor(name, help, None, kind)?;
    for (labels, value) in samples {
        if labels.is_empty() {
            value.encode(metric)?;
            return Ok(());
        } else {
            value.encode(metric.encode_family(&labels)?)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_dashboards_expect() {
        let metrics = Metrics::new("cilium");
        let counters = Counters::default();
        counters.register(&metrics);
        counters.drifted("route", 2);
        let drop =
            Traffic { reason: Some(DropReason::PolicyDenied), direction: Direction::Ingress, packets: 3, bytes: 180 };
        let passed = Traffic { reason: None, direction: Direction::Egress, packets: 5, bytes: 300 };
        *counters.snapshot.lock().unwrap() = Snapshot {
            traffic: vec![drop, passed],
            pressure: vec![Pressure { map: "nx_ct4", used: 1, available: 4 }],
            lost: LostCounts { drop: 7, verdict: 0, trace: 0 },
            ..Snapshot::default()
        };
        let text = metrics.encode().unwrap();
        for line in [
            "cilium_drop_count_total{reason=\"Policy denied\",direction=\"INGRESS\"} 3",
            "cilium_drop_bytes_total{reason=\"Policy denied\",direction=\"INGRESS\"} 180",
            "cilium_forward_count_total{direction=\"EGRESS\"} 5",
            "cilium_bpf_map_pressure{map_name=\"nx_ct4\"} 0.25",
            "cilium_drift_repaired_total{object=\"route\"} 2",
            "cilium_lost_events_total{source=\"ring_drop\"} 7",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
    }
}
