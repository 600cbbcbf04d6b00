//! Recorded flows as a small cluster, so that policies can be imagined over traffic that is past. Who was seen is in it,
//! with the labels and addresses that the recording tells; nothing else exists there.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;

use nexin_api::v1::{self, PortProtocol, SimulateReply, SimulatedFlow, Verdict};
use nexin_flows::recording;
use nexin_hubble::flow::layer4::Protocol as Layer;
use nexin_hubble::flow::{Endpoint, Flow, FlowType, Verdict as Recorded};
use nexin_model::{Label, LabelSet, NamedPorts, Protocol, Source};
use nexin_policy::cases::{Node, PeerRef, Scenario, Workload, World};
use nexin_policy::rule::Document;

use super::super::flows::load;
use super::offline::{self, Imagined};
use crate::error::{CliError, Result};

/// Identities from here on stand for addresses outside the cluster.
const LOCAL_SCOPE: u32 = 1 << 24;

/// One kind of flow: who, whom, what. How often it was seen, and whether it passed, is beside it.
type Key = (PeerRef, PeerRef, Protocol, u16);

struct Seen {
    count: u64,
    passed: bool,
    addresses: [IpAddr; 2],
}

/// Judges the flows of a recording under the imagined documents, beside what happened to them.
pub(super) fn simulate(file: &Path, imagined: &Imagined<'_>) -> Result<SimulateReply> {
    if !imagined.delete.is_empty() {
        let next = "ask the agent, or a case file with --offline";
        return Err(CliError::input(
            "a recording does not hold the policies of its time: nothing can be deleted",
            next,
        ));
    }
    let loaded = load(file)?;
    let (scenario, flows) = cluster(loaded.responses.iter().filter_map(recording::flow), offline::documents(imagined)?);
    let mut world = World::new(scenario);
    let mut reply = SimulateReply {
        flows: flows.len() as u64,
        lost_events: loaded.responses.iter().map(recording::lost).sum(),
        ..SimulateReply::default()
    };
    for ((from, to, protocol, port), seen) in &flows {
        let told = |error: nexin_policy::cases::UnknownPeer| CliError::input(error.to_string(), "the recording is odd");
        let answer = world.judge(from, to, *protocol, *port).map_err(told)?;
        let after = offline::verdict(&answer);
        let before = if seen.passed { Verdict::Allow } else { Verdict::DefaultDeny };
        let passes = matches!(after, Verdict::Allow | Verdict::Audit);
        let sides = world.explain(from, to, *protocol, *port).map_err(told)?;
        let change = v1::FlowChange {
            flow: shown(from, to, *protocol, *port, seen),
            before,
            after,
            rule_before: None,
            rule_after: sides.iter().find_map(offline::deciding),
        };
        if passes != seen.passed {
            reply.changes.push(change);
        } else if imagined.all {
            reply.unchanged.push(change);
        }
    }
    Ok(reply)
}

fn shown(from: &PeerRef, to: &PeerRef, protocol: Protocol, port: u16, seen: &Seen) -> SimulatedFlow {
    let port = if protocol.has_ports() { port } else { port >> 8 };
    SimulatedFlow {
        source: seen.addresses[0],
        source_identity: 0,
        source_labels: v1::Labels::default(),
        source_workload: Some(from.to_string()),
        destination: seen.addresses[1],
        destination_identity: 0,
        destination_labels: v1::Labels::default(),
        destination_workload: Some(to.to_string()),
        port: PortProtocol { port, protocol },
        running: false,
        seen: seen.count,
    }
}

/// Everybody who was seen, and what they said to each other. Replies do not count: their connections do.
fn cluster<'a>(flows: impl Iterator<Item = &'a Flow>, documents: Vec<Document>) -> (Scenario, BTreeMap<Key, Seen>) {
    let mut scenario = Scenario { documents, ..Scenario::default() };
    let mut workloads: BTreeMap<PeerRef, Workload> = BTreeMap::new();
    let mut seen: BTreeMap<Key, Seen> = BTreeMap::new();
    for flow in flows {
        let Some((protocol, port)) = what(flow) else { continue };
        let Some(addresses) = addresses(flow) else { continue };
        let from = peer(flow.source.as_ref(), addresses[0], &flow.source_names, &mut scenario, &mut workloads);
        let to = peer(flow.destination.as_ref(), addresses[1], &flow.destination_names, &mut scenario, &mut workloads);
        let passed = flow.verdict != i32::from(Recorded::Dropped);
        let entry = seen.entry((from, to, protocol, port)).or_insert(Seen { count: 0, passed, addresses });
        entry.count += 1;
        // A packet that was dropped on either side did not pass.
        entry.passed &= passed;
    }
    scenario.workloads = workloads.into_values().collect();
    (scenario, seen)
}

fn addresses(flow: &Flow) -> Option<[IpAddr; 2]> {
    let ip = flow.ip.as_ref()?;
    Some([ip.source.parse().ok()?, ip.destination.parse().ok()?])
}

/// Protocol and destination port of a connection's opening side; for ICMP `type << 8 | code`.
fn what(flow: &Flow) -> Option<(Protocol, u16)> {
    let layer = FlowType::try_from(flow.r#type);
    if flow.is_reply == Some(true) || matches!(layer, Ok(FlowType::L7 | FlowType::Sock)) {
        return None;
    }
    let port = |port: u32| u16::try_from(port).ok();
    let icmp = |kind: u32, code: u32| Some(u16::try_from(kind).ok()? << 8 | u16::from(u8::try_from(code).ok()?));
    Some(match flow.l4.as_ref()?.protocol.as_ref()? {
        Layer::Tcp(l4) => (Protocol::Tcp, port(l4.destination_port)?),
        Layer::Udp(l4) => (Protocol::Udp, port(l4.destination_port)?),
        Layer::Sctp(l4) => (Protocol::Sctp, port(l4.destination_port)?),
        Layer::IcmPv4(l4) => (Protocol::Icmp, icmp(l4.r#type, l4.code)?),
        Layer::IcmPv6(l4) => (Protocol::Icmp6, icmp(l4.r#type, l4.code)?),
        Layer::Vrrp(_) | Layer::Igmp(_) => return None,
    })
}

/// Who an end is; it is put into the cluster where it is new.
fn peer(
    endpoint: Option<&Endpoint>,
    address: IpAddr,
    names: &[String],
    scenario: &mut Scenario,
    workloads: &mut BTreeMap<PeerRef, Workload>,
) -> PeerRef {
    let Some(endpoint) = endpoint else { return PeerRef::Address(address) };
    match endpoint.identity {
        1 | 6 => {
            let name: Arc<str> = format!("{address}").into();
            if !scenario.nodes.iter().any(|node| node.name == name) {
                let local = endpoint.identity == 1;
                let node = Node { name, local, labels: Vec::new(), addresses: vec![address], kube_apiserver: false };
                scenario.nodes.push(node);
            }
            return PeerRef::Address(address);
        }
        7 => {
            if !scenario.kube_apiserver.contains(&address) {
                scenario.kube_apiserver.push(address);
            }
            return PeerRef::Address(address);
        }
        3 => return PeerRef::Reserved("unmanaged".into()),
        4 => return PeerRef::Reserved("health".into()),
        5 => return PeerRef::Reserved("init".into()),
        8 => return PeerRef::Reserved("ingress".into()),
        _ => {}
    }
    let labels = labels(endpoint);
    if labels.is_empty() || endpoint.identity >= LOCAL_SCOPE || matches!(endpoint.identity, 2 | 9 | 10) {
        for name in names {
            let resolved = scenario.names.entry(name.trim_end_matches('.').to_lowercase().into()).or_default();
            if !resolved.contains(&address) {
                resolved.push(address);
            }
        }
        return PeerRef::Address(address);
    }
    let namespace: Arc<str> =
        if endpoint.namespace.is_empty() { "default" } else { endpoint.namespace.as_str() }.into();
    let name: Arc<str> = match endpoint.pod_name.as_str() {
        "" => format!("identity-{}", endpoint.identity).into(),
        name => name.into(),
    };
    let peer = PeerRef::Workload { namespace: namespace.clone(), name: name.clone() };
    let workload = workloads.entry(peer.clone()).or_insert_with(|| Workload {
        namespace,
        name,
        labels: labels.into_iter().collect::<LabelSet>(),
        service_account: None,
        addresses: Vec::new(),
        named_ports: NamedPorts::default(),
    });
    if !workload.addresses.contains(&address) && address != IpAddr::V4(Ipv4Addr::UNSPECIFIED) {
        workload.addresses.push(address);
    }
    peer
}

/// Labels that an identity has of its own; the namespace's are the cluster's to add.
fn labels(endpoint: &Endpoint) -> Vec<Label> {
    let parsed = endpoint.labels.iter().filter_map(|text| Label::parse(text, Source::K8s).ok());
    let own = parsed.filter(|label| {
        let text = label.to_string();
        !["reserved:", "cidr:", "fqdn:", "k8s:io.kubernetes.pod.namespace", "k8s:io.cilium.k8s."]
            .iter()
            .any(|start| text.starts_with(start))
    });
    own.collect()
}
