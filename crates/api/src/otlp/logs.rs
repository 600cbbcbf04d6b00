//! A flow as a log record: what OpenTelemetry has a name for under that name, the rest under `hubble.`.

use nexin_hubble::flow::layer4::Protocol;
use nexin_hubble::flow::layer7::Record as L7Record;
use nexin_hubble::flow::{self, Endpoint, Flow, TrafficDirection, Verdict};
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, SeverityNumber};

use super::{flag, integer, list, text, trace_id, value};

/// `observed_ns`: when it was read, in nanoseconds since the epoch.
pub fn log_record(flow: &Flow, observed_ns: u64) -> LogRecord {
    let (severity, severity_text) = severity(flow.verdict);
    let time = flow.time.map_or(observed_ns, |time| {
        let seconds = u64::try_from(time.seconds).unwrap_or(0);
        seconds.saturating_mul(1_000_000_000).saturating_add(u64::try_from(time.nanos).unwrap_or(0))
    });
    let trace = flow.trace_context.as_ref().and_then(|context| context.parent.as_ref());
    LogRecord {
        time_unix_nano: time,
        observed_time_unix_nano: observed_ns,
        severity_number: severity as i32,
        severity_text: severity_text.to_owned(),
        body: value(any_value::Value::StringValue(body(flow))),
        attributes: attributes(flow),
        trace_id: trace.map(|parent| trace_id(&parent.trace_id)).unwrap_or_default(),
        event_name: "hubble.flow".to_owned(),
        ..Default::default()
    }
}

fn severity(verdict: i32) -> (SeverityNumber, &'static str) {
    match Verdict::try_from(verdict) {
        Ok(Verdict::Error) => (SeverityNumber::Error, "ERROR"),
        Ok(Verdict::Dropped | Verdict::Audit) => (SeverityNumber::Warn, "WARN"),
        _ => (SeverityNumber::Info, "INFO"),
    }
}

/// One line that a person can read.
fn body(flow: &Flow) -> String {
    let (source, destination) = flow.ip.as_ref().map_or(("", ""), |ip| (&ip.source, &ip.destination));
    let (from, to) = ports(flow).map_or((None, None), |(from, to)| (Some(from), Some(to)));
    let verdict = Verdict::try_from(flow.verdict).map_or("VERDICT_UNKNOWN", |verdict| verdict.as_str_name());
    let mut line = format!(
        "{} -> {} {verdict}",
        party(flow.source.as_ref(), source, from),
        party(flow.destination.as_ref(), destination, to)
    );
    if flow.verdict == Verdict::Dropped as i32 {
        line.push(' ');
        line.push_str(&drop_reason(flow.drop_reason_desc));
    }
    #[allow(deprecated, reason = "the field is the only source of this text")]
    let summary = flow.summary.as_str();
    if !summary.is_empty() {
        line.push_str(" (");
        line.push_str(summary);
        line.push(')');
    }
    line
}

fn party(endpoint: Option<&Endpoint>, address: &str, port: Option<u32>) -> String {
    let pod = endpoint.filter(|endpoint| !endpoint.pod_name.is_empty());
    let name = match pod {
        Some(pod) if pod.namespace.is_empty() => pod.pod_name.clone(),
        Some(pod) => format!("{}/{}", pod.namespace, pod.pod_name),
        None if address.contains(':') && port.is_some() => format!("[{address}]"),
        None => address.to_owned(),
    };
    port.map_or(name.clone(), |port| format!("{name}:{port}"))
}

fn drop_reason(number: i32) -> String {
    flow::DropReason::try_from(number).map_or(number.to_string(), |reason| reason.as_str_name().to_owned())
}

fn ports(flow: &Flow) -> Option<(u32, u32)> {
    match flow.l4.as_ref()?.protocol.as_ref()? {
        Protocol::Tcp(l4) => Some((l4.source_port, l4.destination_port)),
        Protocol::Udp(l4) => Some((l4.source_port, l4.destination_port)),
        Protocol::Sctp(l4) => Some((l4.source_port, l4.destination_port)),
        _ => None,
    }
}

fn transport(flow: &Flow) -> Option<&'static str> {
    Some(match flow.l4.as_ref()?.protocol.as_ref()? {
        Protocol::Tcp(_) => "tcp",
        Protocol::Udp(_) => "udp",
        Protocol::Sctp(_) => "sctp",
        Protocol::IcmPv4(_) => "icmp",
        Protocol::IcmPv6(_) => "icmpv6",
        Protocol::Vrrp(_) => "vrrp",
        Protocol::Igmp(_) => "igmp",
    })
}

fn attributes(flow: &Flow) -> Vec<KeyValue> {
    let mut all = Attributes(Vec::with_capacity(32));
    network(flow, &mut all);
    all.side("source", flow.source.as_ref(), &flow.source_names, flow.source_service.as_ref());
    all.side("destination", flow.destination.as_ref(), &flow.destination_names, flow.destination_service.as_ref());
    judgement(flow, &mut all);
    if let Some(l7) = &flow.l7 {
        layer7(l7, &mut all);
    }
    all.0
}

struct Attributes(Vec<KeyValue>);

impl Attributes {
    fn text(&mut self, key: &str, value: &str) {
        if !value.is_empty() {
            self.0.push(text(key, value));
        }
    }

    fn number(&mut self, key: &str, value: u64) {
        self.0.push(integer(key, i64::try_from(value).unwrap_or(i64::MAX)));
    }

    fn some(&mut self, key: &str, value: u64) {
        if value != 0 {
            self.number(key, value);
        }
    }

    fn list<'a>(&mut self, key: &str, texts: impl Iterator<Item = &'a str>) {
        self.0.extend(list(key, texts));
    }

    fn side(&mut self, side: &str, endpoint: Option<&Endpoint>, names: &[String], service: Option<&flow::Service>) {
        self.list(&format!("{side}.dns.names"), names.iter().map(String::as_str));
        if let Some(service) = service {
            self.text(&format!("{side}.k8s.service.name"), &service.name);
            self.text(&format!("{side}.k8s.service.namespace"), &service.namespace);
        }
        let Some(endpoint) = endpoint else { return };
        self.number(&format!("hubble.{side}.identity"), endpoint.identity.into());
        self.text(&format!("{side}.k8s.namespace.name"), &endpoint.namespace);
        self.text(&format!("{side}.k8s.pod.name"), &endpoint.pod_name);
        self.text(&format!("{side}.k8s.cluster.name"), &endpoint.cluster_name);
        if let Some(workload) = endpoint.workloads.first() {
            self.text(&format!("{side}.k8s.workload.name"), &workload.name);
            self.text(&format!("{side}.k8s.workload.kind"), &workload.kind);
        }
        self.list(&format!("hubble.{side}.labels"), endpoint.labels.iter().map(String::as_str));
    }
}

fn network(flow: &Flow, all: &mut Attributes) {
    if let Some(ip) = &flow.ip {
        all.text("source.address", &ip.source);
        all.text("destination.address", &ip.destination);
        all.text("hubble.source.address_translated", &ip.source_xlated);
        all.text(
            "network.type",
            match flow::IpVersion::try_from(ip.ip_version) {
                Ok(flow::IpVersion::IPv4) => "ipv4",
                Ok(flow::IpVersion::IPv6) => "ipv6",
                _ => "",
            },
        );
    }
    if let Some((source, destination)) = ports(flow) {
        all.number("source.port", source.into());
        all.number("destination.port", destination.into());
    }
    all.text("network.transport", transport(flow).unwrap_or_default());
    if let Some(interface) = &flow.interface {
        all.text("network.interface.name", &interface.name);
    }
    all.text(
        "network.io.direction",
        match TrafficDirection::try_from(flow.traffic_direction) {
            Ok(TrafficDirection::Ingress) => "receive",
            Ok(TrafficDirection::Egress) => "transmit",
            _ => "",
        },
    );
    all.text("k8s.node.name", flow.node_name.rsplit('/').next().unwrap_or_default());
}

fn judgement(flow: &Flow, all: &mut Attributes) {
    all.text("hubble.uuid", &flow.uuid);
    let verdict = Verdict::try_from(flow.verdict).map_or("VERDICT_UNKNOWN", |verdict| verdict.as_str_name());
    all.text("hubble.verdict", verdict);
    if flow.verdict == Verdict::Dropped as i32 {
        all.text("hubble.drop_reason", &drop_reason(flow.drop_reason_desc));
    }
    if let Some(file) = &flow.file {
        all.text("code.file.path", &file.name);
        all.number("code.line.number", file.line.into());
    }
    if let Some(event) = &flow.event_type {
        all.0.push(integer("hubble.event_type", event.r#type.into()));
        all.0.push(integer("hubble.event_subtype", event.sub_type.into()));
    }
    if let Some(reply) = flow.is_reply {
        all.0.push(flag("hubble.is_reply", reply));
    }
    let policies = [
        ("hubble.policy.egress_allowed_by", &flow.egress_allowed_by),
        ("hubble.policy.ingress_allowed_by", &flow.ingress_allowed_by),
        ("hubble.policy.egress_denied_by", &flow.egress_denied_by),
        ("hubble.policy.ingress_denied_by", &flow.ingress_denied_by),
    ];
    for (key, policies) in policies {
        let names: Vec<String> = policies.iter().map(policy).collect();
        all.list(key, names.iter().map(String::as_str));
    }
    all.list("hubble.policy.log", flow.policy_log.iter().map(String::as_str));
}

fn policy(policy: &flow::Policy) -> String {
    let whole = [policy.kind.as_str(), policy.namespace.as_str(), policy.name.as_str()];
    whole.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/")
}

fn layer7(l7: &flow::Layer7, all: &mut Attributes) {
    all.some("hubble.l7.latency_ns", l7.latency_ns);
    match &l7.record {
        Some(L7Record::Http(http)) => {
            all.text("network.protocol.name", "http");
            all.text("network.protocol.version", http.protocol.strip_prefix("HTTP/").unwrap_or_default());
            all.text("http.request.method", &http.method);
            all.text("url.full", &http.url);
            all.some("http.response.status_code", http.code.into());
        }
        Some(L7Record::Dns(dns)) => {
            all.text("network.protocol.name", "dns");
            all.text("dns.question.name", &dns.query);
            all.list("dns.question.types", dns.qtypes.iter().map(String::as_str));
            all.list("dns.answers", dns.ips.iter().map(String::as_str));
            all.number("dns.response_code", dns.rcode.into());
        }
        _ => {}
    }
}
