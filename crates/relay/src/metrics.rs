//! What the relay tells of itself.

use nexin_runtime::metrics::Metrics;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use crate::pool::{Nodes, State};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Status {
    status: Connectivity,
}

/// gRPC's words for connections, as in Hubble's relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Connectivity {
    Ready,
    Connecting,
    TransientFailure,
}

impl EncodeLabelValue for Connectivity {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        let word = match self {
            Self::Ready => "READY",
            Self::Connecting => "CONNECTING",
            Self::TransientFailure => "TRANSIENT_FAILURE",
        };
        EncodeLabelValue::encode(&word, encoder)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Method {
    method: &'static str,
}

/// Counters of requests and gauges of nodes. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct RelayMetrics {
    registry: Metrics,
    connections: Family<Status, Gauge>,
    requests: Family<Method, Counter>,
    pub(crate) relayed: Counter,
    pub(crate) node_errors: Counter,
    pub(crate) streams: Gauge,
}

impl RelayMetrics {
    pub(crate) fn new() -> Self {
        let metrics = Self {
            registry: Metrics::new("hubble_relay"),
            connections: Family::default(),
            requests: Family::default(),
            relayed: Counter::default(),
            node_errors: Counter::default(),
            streams: Gauge::default(),
        };
        metrics.registry.register(|registry| {
            registry.register(
                "pool_peer_connection_status",
                "Nodes by the state of their connection",
                metrics.connections.clone(),
            );
            registry.register("requests", "Requests by method", metrics.requests.clone());
            registry.register("responses", "Flows and lost events passed on", metrics.relayed.clone());
            registry.register("node_errors", "Nodes that failed a request", metrics.node_errors.clone());
            registry.register("streams", "Flow requests under way", metrics.streams.clone());
        });
        metrics
    }

    pub(crate) fn request(&self, method: &'static str) {
        self.requests.get_or_create(&Method { method }).inc();
    }

    pub(crate) fn nodes(&self, nodes: &Nodes) {
        let count = |wanted: fn(&State) -> bool| nodes.values().filter(|node| wanted(&node.state)).count();
        for (status, count) in [
            (Connectivity::Ready, count(|state| *state == State::Connected)),
            (Connectivity::Connecting, count(|state| *state == State::Connecting)),
            (Connectivity::TransientFailure, count(|state| matches!(state, State::Unavailable(_)))),
        ] {
            self.connections.get_or_create(&Status { status }).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }

    pub(crate) fn text(&self) -> Result<String, std::fmt::Error> {
        self.registry.encode()
    }
}
