//! Keys of Cilium's ConfigMap that mean the same as a setting here. They stand at the top of the settings file, with the
//! values they have there: all are texts.

use nexin_runtime::settings::Alias;

fn same(text: &str) -> String {
    text.to_owned()
}

/// Empty is Cilium's word for off.
fn or_off(text: &str) -> String {
    if text.is_empty() { "off".to_owned() } else { text.to_owned() }
}

/// Lists there are separated by blanks or commas.
fn list(text: &str) -> String {
    text.split([' ', ',', '\n']).filter(|part| !part.is_empty()).collect::<Vec<_>>().join(",")
}

macro_rules! keys {
    ($($name:literal => $key:literal, $translate:ident;)*) => {
        /// See the module.
        pub(crate) const CILIUM_KEYS: &[Alias] = &[$(Alias { name: $name, key: $key, translate: $translate },)*];
    };
}

keys! {
    "enable-hubble" => "hubble.enabled", same;
    "hubble-socket-path" => "hubble.socket", or_off;
    "hubble-listen-address" => "hubble.listen", or_off;
    "hubble-disable-tls" => "hubble.tls_disabled", same;
    "hubble-tls-cert-file" => "hubble.tls_cert_file", or_off;
    "hubble-tls-key-file" => "hubble.tls_key_file", or_off;
    "hubble-tls-client-ca-files" => "hubble.tls_client_ca_files", list;
    "hubble-prefer-ipv6" => "hubble.prefer_ipv6", same;
    "hubble-event-buffer-capacity" => "hubble.buffer_capacity", same;
    "hubble-event-queue-size" => "hubble.queue_size", same;
    "hubble-metrics" => "hubble.metrics", same;
    "hubble-metrics-server" => "hubble.metrics_listen", or_off;
    "enable-hubble-open-metrics" => "hubble.open_metrics", same;
    "hubble-metrics-server-tls-cert-file" => "hubble.metrics_tls_cert_file", or_off;
    "hubble-metrics-server-tls-key-file" => "hubble.metrics_tls_key_file", or_off;
    "hubble-metrics-server-tls-client-ca-files" => "hubble.metrics_tls_client_ca_files", list;
    "hubble-dynamic-metrics-config-path" => "hubble.metrics_config_file", or_off;
    "hubble-export-file-path" => "hubble.export_file", or_off;
    "hubble-export-allowlist" => "hubble.export_allowlist", same;
    "hubble-export-denylist" => "hubble.export_denylist", same;
    "hubble-export-fieldmask" => "hubble.export_fieldmask", list;
    "hubble-export-fieldaggregate" => "hubble.export_aggregate", list;
    "hubble-export-aggregation-interval" => "hubble.export_aggregation_interval", same;
    "hubble-export-file-max-size-mb" => "hubble.export_max_size_mb", same;
    "hubble-export-file-max-backups" => "hubble.export_max_backups", same;
    "hubble-export-file-compress" => "hubble.export_compress", same;
    "hubble-flowlogs-config-path" => "hubble.flowlogs_config_file", or_off;
    "monitor-aggregation" => "events.aggregation", same;
    "monitor-aggregation-interval" => "events.aggregation_interval", same;
    "monitor-aggregation-flags" => "events.aggregation_flags", list;
    "bpf-events-drop-enabled" => "events.drops", same;
    "bpf-events-policy-verdict-enabled" => "events.verdicts", same;
    "bpf-events-trace-enabled" => "events.traces", same;
    "bpf-events-default-rate-limit" => "events.rate_limit", same;
    "bpf-events-default-burst-limit" => "events.rate_burst", same;
    "cluster-name" => "agent.cluster_name", same;
    "policy-audit-mode" => "policy.audit", same;
    "enable-policy" => "policy.enforcement", same;
}

#[cfg(test)]
mod tests {
    use nexin_runtime::settings::{Environment, Sources};

    use super::super::hubble::TcpFlag;
    use super::super::{AggregationLevel, Settings};
    use super::*;

    #[test]
    fn every_key_leads_to_a_setting() {
        let fields = Settings::fields();
        for alias in CILIUM_KEYS {
            assert!(fields.iter().any(|field| field.key == alias.key), "{} -> {}", alias.name, alias.key);
        }
    }

    #[test]
    fn a_config_map_is_understood() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("nexin.toml");
        let text = r#"
            enable-hubble = "true"
            hubble-listen-address = ""
            hubble-event-buffer-capacity = "8191"
            hubble-metrics = "dns drop:sourceContext=pod tcp"
            hubble-tls-client-ca-files = "/a.pem /b.pem"
            monitor-aggregation = "max"
            monitor-aggregation-interval = "10s"
            monitor-aggregation-flags = "syn, rst"
            [agent]
            cluster_name = "c1"
        "#;
        std::fs::write(&file, text).unwrap();
        let sources = Sources { file: Some(file.clone()), environment: Environment::default(), flags: Vec::new() };
        let settings = Settings::load(&sources).unwrap().settings;
        assert_eq!(settings.hubble.listen, nexin_runtime::settings::Choice::Off);
        assert_eq!(settings.hubble.capacity().get(), 8_191);
        assert_eq!(settings.hubble.metrics, "dns drop:sourceContext=pod tcp");
        assert_eq!(settings.hubble.tls_client_ca_files.len(), 2);
        assert_eq!(settings.events.aggregation, AggregationLevel::Maximum);
        assert_eq!(settings.events.aggregation_flags, [TcpFlag::Syn, TcpFlag::Rst]);
        assert_eq!(settings.agent.cluster_name, "c1");
        std::fs::write(&file, "hubble-bogus = \"x\"").unwrap();
        assert!(Settings::load(&sources).is_err());
    }
}
