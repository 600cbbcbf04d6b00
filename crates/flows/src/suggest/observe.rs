//! From flows to who spoke with whom on which port.

use std::collections::BTreeMap;

use nexin_hubble::flow::layer4::Protocol;
use nexin_hubble::flow::{Endpoint, Flow, FlowType, TraceObservationPoint, TraceReason, TrafficDirection, Verdict};

use super::{Peer, Port, Report, Traffic, Who};

/// Identities from here on stand for addresses outside the cluster.
const LOCAL_SCOPE: u32 = 1 << 24;

/// Identities that are entities of policies. Those of the world are addresses first.
const ENTITIES: [(u32, &str); 7] = [
    (1, "host"),
    (3, "unmanaged"),
    (4, "health"),
    (5, "init"),
    (6, "remote-node"),
    (7, "kube-apiserver"),
    (8, "ingress"),
];
const WORLD: [u32; 3] = [2, 9, 10];

/// Labels that say where a workload runs, not what it is: they change with every roll-out or are set by the system.
const PASSING: [&str; 6] = [
    "io.kubernetes.pod.namespace",
    "pod-template-hash",
    "controller-revision-hash",
    "pod-template-generation",
    "statefulset.kubernetes.io/pod-name",
    "apps.kubernetes.io/pod-index",
];
const PASSING_PREFIX: &str = "io.cilium.k8s.";

pub(super) fn add(flow: &Flow, table: &mut BTreeMap<Who, Traffic>, report: &mut Report) {
    let left_out = &mut report.left_out;
    if ![Verdict::Forwarded, Verdict::Redirected, Verdict::Audit].map(i32::from).contains(&flow.verdict) {
        left_out.not_let_through += 1;
        return;
    }
    if flow.is_reply != Some(false) || flow.trace_reason == i32::from(TraceReason::Related) {
        left_out.not_opening += 1;
        return;
    }
    if !decided_here(flow) {
        left_out.not_decided_here += 1;
        return;
    }
    let (Some(port), Some(ends)) = (port(flow), ends(flow)) else {
        left_out.not_expressible += 1;
        return;
    };
    report.used += 1;
    let (source, destination) = ends;
    let delivered = flow.traffic_direction != i32::from(TrafficDirection::Egress);
    if let Peer::Workload(who) = &source {
        let traffic = entry(table, who, flow.source.as_ref());
        traffic.egress.entry(destination.clone()).or_default().entry(port).or_default().add(flow.time);
    }
    if let Peer::Workload(who) = &destination
        && delivered
    {
        let traffic = entry(table, who, flow.destination.as_ref());
        traffic.ingress.entry(source).or_default().entry(port).or_default().add(flow.time);
    }
}

fn entry<'a>(table: &'a mut BTreeMap<Who, Traffic>, who: &Who, endpoint: Option<&Endpoint>) -> &'a mut Traffic {
    let traffic = table.entry(who.clone()).or_default();
    if traffic.name.is_empty() {
        traffic.name = endpoint.map(name).unwrap_or_default();
    }
    traffic
}

/// Observation points before the decision see what may yet be dropped.
fn decided_here(flow: &Flow) -> bool {
    use TraceObservationPoint as P;
    let layer = FlowType::try_from(flow.r#type);
    let before = matches!(
        P::try_from(flow.trace_observation_point),
        Ok(P::FromEndpoint
            | P::FromProxy
            | P::FromHost
            | P::FromStack
            | P::FromOverlay
            | P::FromNetwork
            | P::FromCrypto)
    );
    !before && !matches!(layer, Ok(FlowType::L7 | FlowType::Sock))
}

fn port(flow: &Flow) -> Option<Port> {
    let l4 = |protocol, port: u32| Some(Port::L4 { protocol, port: u16::try_from(port).ok()? });
    match flow.l4.as_ref()?.protocol.as_ref()? {
        Protocol::Tcp(l4_) => l4("TCP", l4_.destination_port),
        Protocol::Udp(l4_) => l4("UDP", l4_.destination_port),
        Protocol::Sctp(l4_) => l4("SCTP", l4_.destination_port),
        Protocol::IcmPv4(icmp) => Some(Port::Icmp { family: "IPv4", kind: icmp.r#type }),
        Protocol::IcmPv6(icmp) => Some(Port::Icmp { family: "IPv6", kind: icmp.r#type }),
        Protocol::Vrrp(_) | Protocol::Igmp(_) => None,
    }
    .filter(|port| !matches!(port, Port::L4 { port: 0, .. }))
}

fn ends(flow: &Flow) -> Option<(Peer, Peer)> {
    let ip = flow.ip.as_ref()?;
    // Rules can name whom to call, not who calls.
    let source = peer(flow.source.as_ref()?, &ip.source, &[])?;
    let destination = peer(flow.destination.as_ref()?, &ip.destination, &flow.destination_names)?;
    Some((source, destination))
}

fn peer(endpoint: &Endpoint, address: &str, names: &[String]) -> Option<Peer> {
    let reserved = |name: &str| endpoint.labels.iter().any(|label| label == name);
    if reserved("reserved:kube-apiserver") {
        return Some(Peer::Entity("kube-apiserver"));
    }
    if let Some((_, name)) = ENTITIES.iter().find(|(number, _)| *number == endpoint.identity) {
        return Some(Peer::Entity(name));
    }
    if reserved("reserved:remote-node") {
        return Some(Peer::Entity("remote-node"));
    }
    if WORLD.contains(&endpoint.identity) || endpoint.identity >= LOCAL_SCOPE || reserved("reserved:world") {
        // A name with a trailing dot is the same name.
        return match names.first() {
            Some(name) => Some(Peer::Name(name.trim_end_matches('.').to_lowercase())),
            None => address.parse().ok().map(Peer::Address),
        };
    }
    who(endpoint).map(Peer::Workload)
}

fn who(endpoint: &Endpoint) -> Option<Who> {
    let mut labels = BTreeMap::new();
    let mut namespace = endpoint.namespace.clone();
    let mut known = false;
    for label in &endpoint.labels {
        let (key, value) = label.split_once('=').unwrap_or((label, ""));
        let (source, name) = key.split_once(':').unwrap_or(("k8s", key));
        if matches!(source, "reserved" | "cidr" | "fqdn" | "node") {
            continue;
        }
        known = true;
        if name == "io.kubernetes.pod.namespace" && namespace.is_empty() {
            value.clone_into(&mut namespace);
        }
        if PASSING.contains(&name) || name.starts_with(PASSING_PREFIX) {
            continue;
        }
        let key = if source == "k8s" { name.to_owned() } else { format!("{source}:{name}") };
        labels.insert(key, value.to_owned());
    }
    known.then_some(Who { namespace, labels })
}

/// What people call a workload.
fn name(endpoint: &Endpoint) -> String {
    if let Some(workload) = endpoint.workloads.first().filter(|workload| !workload.name.is_empty()) {
        return workload.name.clone();
    }
    if !endpoint.pod_name.is_empty() {
        return endpoint.pod_name.clone();
    }
    let told = ["k8s:app=", "k8s:app.kubernetes.io/name=", "k8s:k8s-app=", "k8s:name="];
    let found = told.iter().find_map(|key| endpoint.labels.iter().find_map(|label| label.strip_prefix(key)));
    found.unwrap_or("workload").to_owned()
}
