//! The words of a flow: its ends, its kind, its verdict, its summary.

use nexin_hubble::flow::{self, Flow, layer4, layer7};

use super::Printer;
use super::escape::Colour;
use crate::gotext;
use crate::names;

/// Monitor message types that have texts of their own.
mod message {
    pub(super) const DROP: i32 = 1;
    pub(super) const CAPTURE: i32 = 3;
    pub(super) const TRACE: i32 = 4;
    pub(super) const POLICY_VERDICT: i32 = 5;
    pub(super) const TRACE_SOCK: i32 = 7;
}

fn event(flow: &Flow) -> (i32, i32) {
    flow.event_type.as_ref().map_or((0, 0), |event| (event.r#type, event.sub_type))
}

impl Printer {
    /// Source and destination.
    pub(super) fn ends(&self, flow: &Flow) -> (String, String) {
        let Some(ip) = &flow.ip else {
            let Some(ethernet) = &flow.ethernet else { return (String::new(), String::new()) };
            return (self.host(&ethernet.source), self.host(&ethernet.destination));
        };
        let (source_port, destination_port) = ports(flow);
        let source = End {
            ip: &ip.source,
            port: source_port,
            endpoint: flow.source.as_ref(),
            service: flow.source_service.as_ref(),
            names: &flow.source_names,
        };
        let destination = End {
            ip: &ip.destination,
            port: destination_port,
            endpoint: flow.destination.as_ref(),
            service: flow.destination_service.as_ref(),
            names: &flow.destination_names,
        };
        (self.host(&self.end(&source)), self.host(&self.end(&destination)))
    }

    fn host(&self, text: &str) -> String {
        self.palette.paint(Colour::Cyan, text)
    }

    fn end(&self, end: &End<'_>) -> String {
        let pod = end.endpoint.map_or("", |endpoint| &endpoint.pod_name);
        let service = end.service.map_or("", |service| &service.name);
        // The service's namespace, even where the pod's name is printed.
        let namespace = match end.service {
            Some(service) => &service.namespace,
            None => end.endpoint.map_or("", |endpoint| &endpoint.namespace),
        };
        let host = match () {
            () if !self.look.names => end.ip.to_owned(),
            () if !pod.is_empty() => gotext::join_path(namespace, pod),
            () if !service.is_empty() => gotext::join_path(namespace, service),
            () if !end.names.is_empty() => end.names.join(","),
            () => end.ip.to_owned(),
        };
        match end.port {
            Some(port) if port != 0 => {
                gotext::join_host_port(&host, &self.palette.paint(Colour::Yellow, &port.to_string()))
            }
            _ => host,
        }
    }

    /// Identities of source and destination.
    pub(super) fn identities(&self, flow: &Flow) -> (String, String) {
        let text = |endpoint: Option<&flow::Endpoint>| {
            let number = endpoint.map_or(0, |endpoint| endpoint.identity);
            self.palette.paint(Colour::Magenta, &names::identity(number))
        };
        (text(flow.source.as_ref()), text(flow.destination.as_ref()))
    }

    pub(super) fn verdict(&self, flow: &Flow) -> String {
        use flow::Verdict;
        let name = names::enum_name(flow.verdict, Verdict::as_str_name);
        let policy = event(flow).0 == message::POLICY_VERDICT;
        let said = |word: &str, allowed: bool| {
            if policy { format!("{word}{}", self.policies(flow, allowed)) } else { name.clone() }
        };
        let (colour, text) = match Verdict::try_from(flow.verdict) {
            Ok(Verdict::Forwarded | Verdict::Redirected) => (Colour::Green, said("ALLOWED", true)),
            Ok(Verdict::Dropped | Verdict::Error) => (Colour::Red, said("DENIED", false)),
            Ok(Verdict::Audit) => (Colour::Yellow, said("AUDITED", false)),
            Ok(Verdict::Traced | Verdict::Translated) => (Colour::Yellow, name),
            Ok(Verdict::Unknown) | Err(_) => return name,
        };
        self.palette.paint(colour, &text)
    }

    fn policies(&self, flow: &Flow, allowed: bool) -> String {
        use flow::TrafficDirection;
        if !self.look.policies {
            return String::new();
        }
        let policies = match (TrafficDirection::try_from(flow.traffic_direction), allowed) {
            (Ok(TrafficDirection::Egress), true) => &flow.egress_allowed_by,
            (Ok(TrafficDirection::Egress), false) => &flow.egress_denied_by,
            (Ok(TrafficDirection::Ingress), true) => &flow.ingress_allowed_by,
            (Ok(TrafficDirection::Ingress), false) => &flow.ingress_denied_by,
            _ => return String::new(),
        };
        let named = policies.iter().filter(|policy| !policy.kind.is_empty() && !policy.name.is_empty());
        let texts: Vec<String> = named.map(|policy| format!("{} ({})", policy.name, policy.kind)).collect();
        if texts.is_empty() { String::new() } else { format!(" BY {}", texts.join(", ")) }
    }

    // `summary` is deprecated on paper, and still the only place of this text.
    #[allow(deprecated)]
    pub(super) fn summary(&self, flow: &Flow) -> String {
        let mut text = String::new();
        if let Some(id) = flow.ip_trace_id.as_ref().filter(|id| id.trace_id > 0) {
            text.push_str(&format!("IP Trace ID: {}; ", id.trace_id));
        }
        text.push_str(&flow.summary);
        if flow.auth_type != 0 {
            use flow::AuthType;
            let name = names::enum_name(flow.auth_type, AuthType::as_str_name);
            let fails = flow.auth_type == i32::from(AuthType::TestAlwaysFail);
            let colour = if fails { Colour::Red } else { Colour::Green };
            text.push_str(&format!("; Auth: {}", self.palette.paint(colour, &name)));
        }
        text
    }
}

/// One end of a flow.
struct End<'a> {
    ip: &'a str,
    port: Option<u32>,
    endpoint: Option<&'a flow::Endpoint>,
    service: Option<&'a flow::Service>,
    names: &'a [String],
}

fn ports(flow: &Flow) -> (Option<u32>, Option<u32>) {
    use layer4::Protocol;
    let ports = match flow.l4.as_ref().and_then(|l4| l4.protocol.as_ref()) {
        Some(Protocol::Tcp(l4)) => (l4.source_port, l4.destination_port),
        Some(Protocol::Udp(l4)) => (l4.source_port, l4.destination_port),
        Some(Protocol::Sctp(l4)) => (l4.source_port, l4.destination_port),
        _ => return (None, None),
    };
    (Some(ports.0), Some(ports.1))
}

/// The TYPE of a flow.
pub(super) fn kind(flow: &Flow) -> String {
    if let Some(l7) = &flow.l7 {
        let kind = names::enum_name(l7.r#type, flow::L7FlowType::as_str_name).to_lowercase();
        return match &l7.record {
            Some(layer7::Record::Http(_)) => format!("http-{kind}"),
            Some(layer7::Record::Dns(dns)) => format!("dns-{kind} {}", dns.observation_source),
            _ => format!("l7-{kind}"),
        };
    }
    let (number, subtype) = event(flow);
    match number {
        message::TRACE => names::trace_point(subtype),
        message::DROP => names::drop_text(subtype),
        message::POLICY_VERDICT => format!(
            "policy-verdict:{} {}",
            names::match_type(flow.policy_match_type),
            names::enum_name(flow.traffic_direction, flow::TrafficDirection::as_str_name)
        ),
        message::CAPTURE => names::enum_name(flow.debug_capture_point, flow::DebugCapturePoint::as_str_name),
        message::TRACE_SOCK => match subtype {
            1 => "pre-xlate-fwd",
            2 => "post-xlate-fwd",
            3 => "pre-xlate-rev",
            4 => "post-xlate-rev",
            _ => "SOCK_XLATE_POINT_UNKNOWN",
        }
        .to_owned(),
        _ => "UNKNOWN".to_owned(),
    }
}
