//! Settings of flows: what the kernel tells, what is kept, and who gets it.

use std::path::PathBuf;

use nexin_flows::ring::Capacity;
use nexin_http::ListenAddress;
use nexin_runtime::section;
use nexin_runtime::settings::{Choice, HumanDuration, PathText, SettingsError};
use serde::{Deserialize, Serialize};

/// How much the datapath tells of packets that are let through; Cilium's monitor-aggregation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AggregationLevel {
    /// Every packet, where it comes in and where it leaves. Expensive.
    #[serde(alias = "disabled", alias = "lowest")]
    None,
    /// Every packet, where it leaves. Expensive.
    Low,
    /// A flow's first packet and first reply, new TCP flags, its end, and a report each interval.
    #[default]
    Medium,
    /// A flow's beginning and end, and a report each interval.
    #[serde(alias = "max")]
    Maximum,
}

/// TCP flags by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TcpFlag {
    Fin,
    Syn,
    Rst,
    Psh,
    Ack,
    Urg,
    Ece,
    Cwr,
}

/// How the export to a collector is spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OtlpProtocol {
    #[default]
    Grpc,
    /// Protobuf over HTTP/1.
    Http,
}

section! {
    /// Events.
    pub struct EventSettings in "events" {
        /// Tell drops.
        drops: bool = true,
        /// Tell policy verdicts.
        verdicts: bool = true,
        /// Tell traffic that is let through.
        traces: bool = true,
        /// How much of it: `none` (every packet twice), `low` (every packet), `medium` (each flow's first packet and first reply, new TCP flags, its end, a report each interval), `maximum` (the same without replies and flags).
        aggregation: AggregationLevel = AggregationLevel::Medium,
        /// Between two reports of a running flow.
        aggregation_interval: HumanDuration = HumanDuration::seconds(5),
        /// TCP flags of which each new one in a flow is told: `fin`, `syn`, `rst`, `psh`, `ack`, `urg`, `ece`, `cwr`.
        aggregation_flags: Vec<TcpFlag> = vec![TcpFlag::Syn, TcpFlag::Fin, TcpFlag::Rst],
        /// Events a second of each class over which the kernel withholds (and counts) them; 0 = no limit.
        rate_limit: u32 = 0,
        /// Events that may come at once where there is a limit.
        rate_burst: u32 = 0,
        /// Distinct flows kept for `policy simulate`.
        flows: u32 = 16_384,
    }
}

section! {
    /// Flows, over Hubble's API and formats.
    pub struct HubbleSettings in "hubble" {
        /// Serve flows over Hubble's API. Flows are kept, measured and exported without it too.
        enabled: bool = true,
        /// Unix socket of Hubble's API, mode 0660; `auto` is `hubble.sock` in `agent.run_dir`.
        socket: Choice<PathText> = Choice::Auto,
        /// TCP address of Hubble's API, or `off`. `:4244` is every address; have TLS then.
        listen: Choice<ListenAddress> = Choice::Value(ListenAddress { ip: Some(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST)), port: 4244 }),
        /// Speak plaintext on TCP even where there are certificates.
        tls_disabled: bool = false,
        /// Certificate (PEM) of the server on TCP; read again when it changes.
        tls_cert_file: Choice<PathText> = Choice::Off,
        /// Its key.
        tls_key_file: Choice<PathText> = Choice::Off,
        /// Authorities of client certificates; any given, clients must have one.
        tls_client_ca_files: Vec<PathBuf> = Vec::new(),
        /// Tell peers the node's IPv6 address where it has both.
        prefer_ipv6: bool = false,
        /// Other nodes for relays that ask here, each `name=address` or `name=address:port`.
        peers: Vec<String> = Vec::new(),
        /// Labels of this node in its flows, each `key=value`.
        node_labels: Vec<String> = Vec::new(),
        /// Flows kept in memory: a power of two less one, up to 65535.
        buffer_capacity: u32 = 4_095,
        /// Events that wait for metrics and exporters before some are left out (and counted).
        queue_size: u32 = 16_384,
        /// Metrics, as in Cilium's `hubble-metrics`: names separated by blanks, each with `:option=value;option`. Empty = none.
        metrics: String = String::new(),
        /// TCP address of these metrics (`/metrics`), or `off`.
        metrics_listen: Choice<ListenAddress> = Choice::Value(ListenAddress::every(9965)),
        /// Answer in OpenMetrics, with exemplars, whoever accepts it.
        open_metrics: bool = false,
        /// Certificate (PEM) of the metrics server; off = plaintext.
        metrics_tls_cert_file: Choice<PathText> = Choice::Off,
        /// Its key.
        metrics_tls_key_file: Choice<PathText> = Choice::Off,
        /// Authorities of client certificates; any given, clients must have one.
        metrics_tls_client_ca_files: Vec<PathBuf> = Vec::new(),
        /// YAML file of metrics, read again when it changes; instead of `metrics`.
        metrics_config_file: Choice<PathText> = Choice::Off,
        /// Series that one metric may have; further ones are counted, not made.
        metrics_series_limit: u32 = 10_000,
        /// File that flows are written to as JSON lines, `stdout`, or `off`.
        export_file: Choice<PathText> = Choice::Off,
        /// JSON filters of flows that are written, one after the other; empty = all.
        export_allowlist: String = String::new(),
        /// JSON filters of flows that are not.
        export_denylist: String = String::new(),
        /// Fields that are written; none given: all.
        export_fieldmask: Vec<String> = Vec::new(),
        /// Fields by which flows are counted together before they are written; none given: each is written.
        export_aggregate: Vec<String> = Vec::new(),
        /// Between two writings of what was counted together.
        export_aggregation_interval: HumanDuration = HumanDuration::seconds(10),
        /// Size at which a file is rotated, in mebibytes; 0 = never.
        export_max_size_mb: u32 = 10,
        /// Rotated files that are kept.
        export_max_backups: u32 = 5,
        /// Compress rotated files.
        export_compress: bool = false,
        /// YAML file of flow logs, read again when it changes.
        flowlogs_config_file: Choice<PathText> = Choice::Off,
        /// Collector that takes OTLP, such as `http://localhost:4317`, or `off`.
        otlp_endpoint: Choice<String> = Choice::Off,
        /// `grpc` or `http`.
        otlp_protocol: OtlpProtocol = OtlpProtocol::Grpc,
        /// Headers of the export, each `name=value`.
        otlp_headers: Vec<String> = Vec::new(),
        /// Authorities of the collector's certificate; none given: the system's.
        otlp_ca_files: Vec<PathBuf> = Vec::new(),
        /// Send flows as logs.
        otlp_logs: bool = true,
        /// Send metrics.
        otlp_metrics: bool = true,
        /// Between two exports of metrics.
        otlp_interval: HumanDuration = HumanDuration::seconds(15),
    }
}

impl HubbleSettings {
    /// Size of the ring; checked when settings are loaded.
    pub fn capacity(&self) -> Capacity {
        Capacity::try_from(self.buffer_capacity).unwrap_or_default()
    }

    /// What one key cannot tell.
    pub(super) fn agree(&self) -> Result<(), SettingsError> {
        let contradiction = |reason: String| Err(SettingsError::Contradiction { reason });
        if let Err(error) = Capacity::try_from(self.buffer_capacity) {
            return contradiction(format!("hubble.buffer_capacity: {error}"));
        }
        let pairs = [
            ("tls", &self.tls_cert_file, &self.tls_key_file),
            ("metrics_tls", &self.metrics_tls_cert_file, &self.metrics_tls_key_file),
        ];
        for (which, cert, key) in pairs {
            if matches!(cert, Choice::Value(_)) != matches!(key, Choice::Value(_)) {
                return contradiction(format!("hubble.{which}_cert_file and hubble.{which}_key_file go together"));
            }
        }
        if !self.metrics.trim().is_empty() && matches!(self.metrics_config_file, Choice::Value(_)) {
            return contradiction("hubble.metrics and hubble.metrics_config_file exclude each other".to_owned());
        }
        if let Some(peer) = self.peers.iter().find(|peer| !peer.contains('=')) {
            return contradiction(format!("hubble.peers: {peer:?} is not name=address"));
        }
        Ok(())
    }
}
