//! A suggested policy admits exactly the traffic it was suggested from, in the judgement of the policy engine itself.

use std::collections::BTreeSet;
use std::net::IpAddr;

use nexin_flows::suggest::{Options, suggest};
use nexin_hubble::flow::layer4::Protocol as Layer;
use nexin_hubble::flow::{Endpoint, Flow, IcmPv4, Ip, Layer4, Tcp, TrafficDirection, Udp, Verdict};
use nexin_model::{Label, LabelSet, NamedPorts, Protocol, Source};
use nexin_policy::cases::{Node, PeerRef, Scenario, Workload, World};
use nexin_policy::engine::{AllowLocalhost, Config};
use nexin_policy::input::{self, Diagnostic, Strictness};
use nexin_policy::rule::{Document, LowerOptions};
use proptest::prelude::*;

/// Workloads whose labels include each other's, on purpose; `world`, a name and the host stand for everybody else.
const WORKLOADS: [(&str, &str, &[&str], &str); 6] = [
    ("shop", "web", &["app=web"], "10.0.0.1"),
    ("shop", "web-canary", &["app=web", "track=canary"], "10.0.0.2"),
    ("shop", "db", &["app=db"], "10.0.0.3"),
    ("shop", "bare", &[], "10.0.0.4"),
    ("ops", "web", &["app=web"], "10.0.0.5"),
    ("ops", "probe", &["app=probe", "team=ops"], "10.0.0.6"),
];
const OUTSIDE: [&str; 2] = ["192.0.2.1", "198.51.100.7"];
const NAMED: (&str, &str) = ("api.example.com", "203.0.113.9");
const HOST: &str = "10.0.0.254";
const EVERYBODY: usize = WORKLOADS.len() + OUTSIDE.len() + 2;
const PORTS: [(Protocol, u16); 5] = [
    (Protocol::Tcp, 80),
    (Protocol::Tcp, 443),
    (Protocol::Udp, 80),
    (Protocol::Udp, 53),
    // Echo.
    (Protocol::Icmp, 8 << 8),
];

/// Who asks whom on which port, as places in the tables above.
type Spoken = (usize, usize, usize);

fn is_workload(who: usize) -> bool {
    who < WORKLOADS.len()
}

fn address(who: usize) -> &'static str {
    match who.checked_sub(WORKLOADS.len()) {
        None => WORKLOADS[who].3,
        Some(n @ (0 | 1)) => OUTSIDE[n],
        Some(2) => NAMED.1,
        Some(_) => HOST,
    }
}

fn endpoint(who: usize) -> Endpoint {
    let labels = |labels: &[&str]| labels.iter().map(|label| format!("k8s:{label}")).collect::<Vec<_>>();
    let Some((namespace, pod, own, _)) = WORKLOADS.get(who) else {
        let (identity, label) = if address(who) == HOST { (1, "reserved:host") } else { (2, "reserved:world") };
        return Endpoint { identity, labels: vec![label.to_owned()], ..Endpoint::default() };
    };
    let mut all = labels(own);
    all.push(format!("k8s:io.kubernetes.pod.namespace={namespace}"));
    Endpoint {
        identity: 1000 + who as u32,
        namespace: (*namespace).to_owned(),
        pod_name: (*pod).to_owned(),
        labels: all,
        ..Endpoint::default()
    }
}

fn flow((from, to, port): Spoken) -> Flow {
    let (protocol, number) = PORTS[port];
    let destination_port = u32::from(number);
    let layer = match protocol {
        Protocol::Tcp => Layer::Tcp(Tcp { destination_port, ..Tcp::default() }),
        Protocol::Udp => Layer::Udp(Udp { destination_port, ..Udp::default() }),
        _ => Layer::IcmPv4(IcmPv4 { r#type: destination_port >> 8, code: 0 }),
    };
    let named = address(to) == NAMED.1;
    Flow {
        verdict: Verdict::Forwarded.into(),
        is_reply: Some(false),
        traffic_direction: TrafficDirection::Ingress.into(),
        ip: Some(Ip { source: address(from).into(), destination: address(to).into(), ..Ip::default() }),
        l4: Some(Layer4 { protocol: Some(layer) }),
        source: Some(endpoint(from)),
        destination: Some(endpoint(to)),
        destination_names: if named { vec![NAMED.0.to_owned()] } else { Vec::new() },
        ..Flow::default()
    }
}

/// The documents as our own reader takes them, without a single complaint.
fn documents(flows: &[Flow]) -> Vec<Document> {
    let report = suggest(flows, &Options::default());
    let read = |yaml: &str| {
        let (documents, said) = input::load(yaml, "suggested", Strictness::Strict, &LowerOptions::default());
        let wrong: Vec<String> = said.iter().filter(|one| Diagnostic::is_error(one)).map(ToString::to_string).collect();
        assert!(wrong.is_empty(), "{wrong:?}\n{yaml}");
        documents
    };
    report.suggestions.iter().flat_map(|suggestion| read(&suggestion.yaml)).collect()
}

fn world(documents: Vec<Document>) -> World {
    let workloads = WORKLOADS.map(|(namespace, name, labels, address)| Workload {
        namespace: namespace.into(),
        name: name.into(),
        labels: labels.iter().map(|label| Label::parse(label, Source::K8s).expect("a label")).collect::<LabelSet>(),
        service_account: None,
        addresses: vec![address.parse().expect("an address")],
        named_ports: NamedPorts::default(),
    });
    let host: IpAddr = HOST.parse().expect("an address");
    let node = Node { name: "n".into(), local: true, labels: Vec::new(), addresses: vec![host], kube_apiserver: false };
    let resolved = vec![NAMED.1.parse().expect("an address")];
    World::new(Scenario {
        // By default the host may always ask its workloads, whatever rules say.
        config: Config { allow_localhost: AllowLocalhost::Policy, ..Config::default() },
        workloads: workloads.to_vec(),
        nodes: vec![node],
        names: [(NAMED.0.into(), resolved)].into(),
        documents,
        ..Scenario::default()
    })
}

fn peer(who: usize) -> PeerRef {
    match WORKLOADS.get(who) {
        Some((namespace, name, ..)) => PeerRef::Workload { namespace: (*namespace).into(), name: (*name).into() },
        None => PeerRef::Address(address(who).parse().expect("an address")),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    #[test]
    fn exactly_the_recorded_traffic_is_admitted(
        spoken in prop::collection::btree_set((0..EVERYBODY, 0..EVERYBODY, 0..PORTS.len()), 1..12)
    ) {
        // What no workload takes part in is nobody's policy, and nobody calls himself here.
        let spoken: BTreeSet<Spoken> = spoken
            .into_iter()
            .filter(|(from, to, _)| from != to && (is_workload(*from) || is_workload(*to)))
            .collect();
        let flows: Vec<Flow> = spoken.iter().map(|spoken| flow(*spoken)).collect();
        let mut world = world(documents(&flows));
        let governed: BTreeSet<usize> =
            spoken.iter().flat_map(|(from, to, _)| [*from, *to]).filter(|who| is_workload(*who)).collect();
        for from in 0..EVERYBODY {
            for to in (0..EVERYBODY).filter(|to| *to != from) {
                // Nobody can write a selector against labels that were never seen.
                let seen = |who: usize| !is_workload(who) || governed.contains(&who);
                if !seen(from) || !seen(to) || !(is_workload(from) || is_workload(to)) {
                    continue;
                }
                for (port, (protocol, number)) in PORTS.iter().enumerate() {
                    let answer = world.judge(&peer(from), &peer(to), *protocol, *number).expect("everybody is known");
                    let allowed = answer.passes();
                    prop_assert_eq!(
                        allowed,
                        spoken.contains(&(from, to, port)),
                        "{:?} -> {:?} {:?} after {:?}",
                        peer(from),
                        peer(to),
                        PORTS[port],
                        spoken
                    );
                }
            }
        }
    }
}
