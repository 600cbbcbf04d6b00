//! B14 and B15 in part: what the agent takes with 250 workloads that share ten policies. Times run from the request to the
//! answer, which comes when the kernel holds the change; the start runs from the process to the first answer that says ready.

use std::time::Instant;

use nexin_testbed::{
    Node, Result, Workload, fail,
    traffic::{Outcome, TcpEcho, tcp},
};

use crate::{
    report::{Line, SLACK, Table},
    rounds::Series,
    scale,
};

pub(crate) const WORKLOADS: usize = 250;
pub(crate) const POLICIES: usize = 10;
pub(crate) const CHANGES: usize = 200;
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
    let name = |what: &str| format!("{what}, {WORKLOADS} workloads, {POLICIES} policies");
    let mut tables = vec![
        milliseconds(name("Policy change to enforcement"), &changed, Some(50.0)),
        milliseconds(name("New identity to enforcement (relabel)"), &relabelled, Some(2.0)),
        milliseconds(name("Agent start to serving (goal: with 100)"), &started, Some(500.0)),
    ];
    tables.extend(scale::measure(&mut node, &workloads)?);
    check(&workloads, Outcome::Answered)?;
    Ok(tables)
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

pub(crate) fn times(count: usize, mut one: impl FnMut(usize) -> Result) -> Result<Vec<f64>> {
    (0..count)
        .map(|i| {
            let start = Instant::now();
            one(i)?;
            Ok(start.elapsed().as_secs_f64() * 1e3)
        })
        .collect()
}

/// Median and tail of single times; the tail is what the goal is for.
pub(crate) fn milliseconds(title: String, values: &[f64], limit: Option<f64>) -> Table {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let line = |name: &str, share: f64| {
        let own = Series { values: vec![sorted[((sorted.len() - 1) as f64 * share).round() as usize]] };
        match limit.filter(|_| share > 0.5) {
            Some(limit) => Line::new(name, &own).at_most("ms", limit, SLACK, own.spread()),
            None => Line::new(name, &own),
        }
    };
    let lines = if sorted.len() > 20 {
        vec![line("p50", 0.5), line("p99", 0.99)]
    } else {
        vec![line("median", 0.5), line("slowest", 1.0)]
    };
    Table { title, unit: "ms".to_owned(), lines }
}
