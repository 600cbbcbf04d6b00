//! B14 and B15 in part: what the agent takes with 250 workloads that share ten policies. Times run from the request to the
//! answer, which comes when the kernel holds the change; the start runs from the process to the first answer that says ready.

use std::time::Instant;

use nexin_testbed::{
    Node, Result, Workload, fail,
    traffic::{Outcome, TcpEcho, tcp},
};

use crate::{
    report::{Line, Table},
    rounds::Series,
};

const WORKLOADS: usize = 250;
const POLICIES: usize = 10;
const CHANGES: usize = 200;
const STARTS: usize = 5;

pub(crate) fn measure() -> Result<Vec<Table>> {
    let mut node = Node::up("control")?;
    let names = (0..WORKLOADS).map(|i| format!("w{i}"));
    let workloads = names
        .enumerate()
        .map(|(i, name)| node.workload(&name, &format!("app=app{}", i % POLICIES)))
        .collect::<Result<Vec<_>>>()?;
    for number in 0..POLICIES {
        node.apply(&format!("p{number}.yaml"), &policy(number, 80))?;
    }
    let _server = TcpEcho::start(&workloads[0].ns, 80)?;
    check(&workloads, Outcome::Answered)?;

    let changed = times(CHANGES, |i| node.apply("p1.yaml", &policy(1, 1000 + i as u16)).map(drop))?;
    let relabelled = times(CHANGES, |i| workloads[2].relabel(&node, &format!("app=app2,new=v{i}")))?;
    let started = times(STARTS, |_| {
        node.agent()?.crash()?;
        node.agent()?.start_again(None)
    })?;
    check(&workloads, Outcome::Answered)?;
    let memory =
        node.api()?.get("/v1/status")?["agent"]["memory_bytes"].as_f64().unwrap_or(f64::NAN) / f64::from(1 << 20);
    let name = |what: &str| format!("{what}, {WORKLOADS} workloads, {POLICIES} policies");
    Ok(vec![
        table(name("Policy change to enforcement"), "ms", &changed),
        table(name("New identity to enforcement (relabel)"), "ms", &relabelled),
        table(name("Agent start to serving"), "ms", &started),
        table(name("Agent memory"), "MiB", &[memory]),
    ])
}

/// Only workloads of the next number may come in, and only by `port` beside 80.
fn policy(number: usize, port: u16) -> String {
    let peer = (number + 1) % POLICIES;
    format!(
        "apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {{name: p{number}, namespace: default}}
spec:
  endpointSelector: {{matchLabels: {{app: app{number}}}}}
  ingress:
  - fromEndpoints: [{{matchLabels: {{app: app{peer}}}}}]
    toPorts: [{{ports: [{{port: '80', protocol: TCP}}, {{port: '{port}', protocol: TCP}}]}}]
"
    )
}

/// The allowed neighbour gets through and another does not: what was measured is in force.
fn check(workloads: &[Workload], allowed: Outcome) -> Result {
    let to = workloads[0].v4.into();
    let found = (tcp(&workloads[1].ns, to, 80)?, tcp(&workloads[3].ns, to, 80)?);
    if found != (allowed, Outcome::Silence) {
        fail!("the policies are not in force: {found:?}");
    }
    Ok(())
}

fn times(count: usize, mut one: impl FnMut(usize) -> Result) -> Result<Vec<f64>> {
    (0..count)
        .map(|i| {
            let start = Instant::now();
            one(i)?;
            Ok(start.elapsed().as_secs_f64() * 1e3)
        })
        .collect()
}

fn table(title: String, unit: &str, values: &[f64]) -> Table {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let line = |name: &str, share: f64| Line {
        name: name.to_owned(),
        value: Series { values: vec![sorted[((sorted.len() - 1) as f64 * share).round() as usize]] }.spread(),
        ratio: None,
        tail: None,
        over_router: None,
    };
    let lines = if sorted.len() > 20 {
        vec![line("p50", 0.5), line("p99", 0.99)]
    } else {
        vec![line("median", 0.5), line("slowest", 1.0)]
    };
    Table { title, unit: unit.to_owned(), lines }
}
