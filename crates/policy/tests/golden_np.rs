//! The NetworkPolicy cases of the Cyclonus suite, replayed on the engine: ingress and egress verdicts, every protocol.

mod golden_support;

use std::collections::BTreeMap;

use nexin_model::{Label, Protocol};
use nexin_policy::cases::{PeerRef, Scenario, Workload, World};
use nexin_policy::input;
use nexin_policy::rule::LowerOptions;
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Case {
    index: u32,
    description: String,
    steps: Vec<Step>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Step {
    pods: Vec<Pod>,
    namespaces: BTreeMap<String, BTreeMap<String, String>>,
    policies: Vec<serde_json::Value>,
    expected: Vec<Row>,
}

#[derive(Deserialize)]
struct Pod {
    containers: Vec<Container>,
    ip: String,
    labels: BTreeMap<String, String>,
    name: String,
    ns: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Container {
    port: u16,
    protocol: String,
    port_name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Row {
    from: String,
    to: String,
    proto: String,
    port: u16,
    ingress: String,
    egress: String,
    combined: String,
}

fn workload(pod: &Pod) -> Workload {
    let protocol = |text: &str| text.parse::<Protocol>().expect("a protocol");
    Workload {
        namespace: pod.ns.as_str().into(),
        name: pod.name.as_str().into(),
        labels: pod.labels.iter().map(|(key, value)| Label::k8s(key.as_str(), value.as_str())).collect(),
        service_account: None,
        addresses: vec![pod.ip.parse().expect("an address")],
        named_ports: pod
            .containers
            .iter()
            .map(|container| (container.port_name.as_str(), protocol(&container.protocol), container.port))
            .collect(),
    }
}

fn world(step: &Step) -> World {
    let mut documents = Vec::new();
    for policy in &step.policies {
        let text = policy.to_string();
        let (mut lowered, diagnostics) = input::load(&text, "case", input::Strictness::Prune, &LowerOptions::default());
        assert!(!diagnostics.iter().any(input::Diagnostic::is_error), "{text}: {diagnostics:?}");
        documents.append(&mut lowered);
    }
    let labels = |labels: &BTreeMap<String, String>| {
        labels.iter().map(|(key, value)| (key.as_str().into(), value.as_str().into())).collect()
    };
    World::new(Scenario {
        namespaces: step.namespaces.iter().map(|(name, own)| (name.as_str().into(), labels(own))).collect(),
        workloads: step.pods.iter().map(workload).collect(),
        documents,
        ..Scenario::default()
    })
}

#[test]
fn network_policies_mean_what_kubernetes_says() {
    let Some(cases) = golden_support::lines::<Case>("networkpolicy-cases.jsonl") else { return };
    let word = |passes: bool| if passes { "allowed" } else { "blocked" };
    let mut rows = 0;
    let mut wrong = Vec::new();
    for case in &cases {
        for (number, step) in case.steps.iter().enumerate() {
            let mut world = world(step);
            for row in step.expected.iter().filter(|row| row.from != row.to) {
                let peer = |text: &str| text.parse::<PeerRef>().expect("a peer");
                let protocol: Protocol = row.proto.parse().expect("a protocol");
                let answer =
                    world.judge(&peer(&row.from), &peer(&row.to), protocol, row.port).expect("both pods are listed");
                let found = [
                    word(answer.ingress.decision.passes()),
                    word(answer.egress.decision.passes()),
                    word(answer.passes()),
                ];
                rows += 1;
                if found != [&*row.ingress, &*row.egress, &*row.combined] {
                    wrong.push(format!(
                        "case {} ({}) step {number}: {} -> {} {}/{}: {found:?}",
                        case.index, case.description, row.from, row.to, row.port, row.proto
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {rows} rows differ:\n{}", wrong.len(), wrong.join("\n"));
    assert!(rows > 15_000, "only {rows} rows");
}
