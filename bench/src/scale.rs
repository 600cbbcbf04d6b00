//! The control rows at 10,000 identities: what a change of policy and a new identity take when ten policies of 250 workloads
//! know a group of 10,000 prefixes, what the kernel and the agent hold for it, and the agent with 1,000 rules.

use std::fmt::Write as _;

use nexin_abi::maps::{
    KernelMap, MapKind, MapSpec,
    policy::{Blocks, Classes, Decisions, Policies, Ports, Verdicts},
};
use nexin_bpf::{Map, RawMap};
use nexin_testbed::{Node, Result, Workload, fail};

use crate::{
    control::{CHANGES, POLICIES, WORKLOADS, milliseconds, times},
    report::{Line, SLACK, Table},
    rounds::Series,
};

const IDENTITIES: usize = 10_000;
const RULES: usize = 1_000;
/// Changes of all policies at once.
const REPLACEMENTS: usize = 40;
/// Ports that each policy opens to each prefix.
const PORTS: u64 = 2;

pub(crate) fn measure(node: &mut Node, workloads: &[Workload]) -> Result<Vec<Table>> {
    node.apply("crowd.yaml", &group())?;
    let all =
        |base: usize| (0..POLICIES).map(|number| policy(number, (base + number) as u16, false)).collect::<String>();
    node.apply("crowded.yaml", &all(2000))?;
    let classes = pinned::<Classes>(node)?;
    let known = classes.entries()?.len();
    if known < IDENTITIES {
        fail!("{known} identities are told apart instead of {IDENTITIES}");
    }
    let kernel = kernel_memory(node)?;

    let changed = times(CHANGES, |i| node.apply("crowded-1.yaml", &policy(1, 3000 + i as u16, false)).map(drop))?;
    let told_apart = times(CHANGES, |i| node.apply("crowded-1.yaml", &policy(1, 80, i % 2 == 0)).map(drop))?;
    let replaced = times(REPLACEMENTS, |i| node.apply("crowded.yaml", &all(4000 + i * POLICIES)).map(drop))?;
    let relabelled = times(CHANGES, |i| workloads[2].relabel(node, &format!("app=app2,crowd=v{i}")))?;
    let found = classes.entries()?.len();
    if found < IDENTITIES {
        fail!("{found} identities are told apart after the changes");
    }
    node.apply("rules.yaml", &rules())?;
    let resident = resident(node)?;

    let name = |what: &str| format!("{what}, {WORKLOADS} workloads, {POLICIES} policies, {IDENTITIES} identities");
    Ok(vec![
        milliseconds(name("Policy change to enforcement"), &changed, Some(50.0)),
        milliseconds(name("Policy change that tells more or fewer peers apart"), &told_apart, Some(50.0)),
        milliseconds(name("All policies changed at once"), &replaced, Some(50.0)),
        milliseconds(name("New identity to enforcement (relabel)"), &relabelled, Some(2.0)),
        kernel_table(kernel)?,
        Table {
            title: format!("Agent memory (resident), {WORKLOADS} workloads, {IDENTITIES} identities, {RULES} rules"),
            unit: "MiB".to_owned(),
            lines: vec![Line::new("agent", &resident).at_most("MiB", 60.0, 1.0, resident.spread())],
        },
    ])
}

fn prefix(number: usize) -> String {
    format!("198.18.{}.{}/32", number / 250, number % 250)
}

fn group() -> String {
    let mut yaml =
        "apiVersion: cilium.io/v2\nkind: CiliumCIDRGroup\nmetadata: {name: crowd}\nspec:\n  externalCIDRs:\n"
            .to_owned();
    for number in 0..IDENTITIES {
        let _ = writeln!(yaml, "  - {}", prefix(number));
    }
    yaml
}

/// Lets the group in by two ports; `apart` tells three of it apart.
fn policy(number: usize, port: u16, apart: bool) -> String {
    let mut yaml = format!(
        "---
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {{name: crowded{number}, namespace: default}}
spec:
  endpointSelector: {{matchLabels: {{app: app{number}}}}}
  ingress:
  - fromCIDRSet: [{{cidrGroupRef: crowd}}]
    toPorts: [{{ports: [{{port: '443', protocol: TCP}}, {{port: '{port}', protocol: TCP}}]}}]
"
    );
    if apart {
        let some: Vec<String> = (0..3).map(prefix).collect();
        let _ = write!(
            yaml,
            "  - fromCIDR: [{}]\n    toPorts: [{{ports: [{{port: '22', protocol: TCP}}]}}]\n",
            some.join(", ")
        );
    }
    yaml
}

/// Rules with peers and ports of their own, evenly over the policies' workloads.
fn rules() -> String {
    let mut yaml = String::new();
    for number in 0..POLICIES {
        let _ = write!(
            yaml,
            "---
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {{name: rules{number}, namespace: default}}
spec:
  endpointSelector: {{matchLabels: {{app: app{number}}}}}
  ingress:
"
        );
        for rule in 0..RULES / POLICIES {
            let _ = write!(
                yaml,
                "  - fromEndpoints: [{{matchLabels: {{peer: peer{rule}}}}}]
    toPorts: [{{ports: [{{port: '{}', protocol: TCP}}]}}]
",
                10_000 + rule
            );
        }
    }
    yaml
}

fn pinned<M: KernelMap>(node: &mut Node) -> Result<Map<M>> {
    Ok(Map::new(RawMap::open_pin(&pins(node)?.join(M::NAME))?)?)
}

fn pins(node: &mut Node) -> Result<std::path::PathBuf> {
    Ok(node.agent()?.bpffs().join(format!("v{}", nexin_abi::LAYOUT)))
}

/// Bytes that the kernel holds for policy.
fn kernel_memory(node: &mut Node) -> Result<u64> {
    let pins = pins(node)?;
    let names = [Policies::NAME, Classes::NAME, Decisions::NAME, Ports::NAME, Blocks::NAME, Verdicts::NAME];
    names.iter().map(|name| Ok(RawMap::open_pin(&pins.join(name))?.memory()?)).sum()
}

/// An entry of a map of identities and ports an endpoint, as such designs have it.
enum Flat {}

impl KernelMap for Flat {
    const NAME: &'static str = "bench_flat";
    const KIND: MapKind = MapKind::Hash;
    const ENTRIES: u32 = 1 << 20;
    /// `BPF_F_NO_PREALLOC`: what is not used costs nothing.
    const FLAGS: u32 = 1;
    type Key = [u32; 2];
    type Value = [u64; 3];
}

fn kernel_table(own: u64) -> Result<Table> {
    /// Entries that are made to know what one costs.
    const SAMPLE: u64 = 100_000;
    let map: Map<Flat> = Map::new(RawMap::create(&MapSpec::of::<Flat>(), SAMPLE as u32)?)?;
    let empty = map.raw().memory()?;
    let entries: Vec<_> = (0..SAMPLE as u32).map(|i| ([i, i], [1, 2, 3])).collect();
    map.set_many(&entries)?;
    let each = (map.raw().memory()? - empty) as f64 / SAMPLE as f64;
    let flat = each * (WORKLOADS * IDENTITIES) as f64 * PORTS as f64;
    let mebibytes = |bytes: f64| Series { values: vec![bytes / f64::from(1 << 20)] };
    let (own, flat) = (mebibytes(own as f64), mebibytes(flat));
    Ok(Table {
        title: format!(
            "Kernel policy memory, {WORKLOADS} workloads, {POLICIES} policies, {IDENTITIES} identities, {PORTS} ports"
        ),
        unit: "MiB".to_owned(),
        lines: vec![
            Line::new(
                format!("an entry of {each:.0} bytes an identity, port and workload (from {SAMPLE} made)"),
                &flat,
            )
            .over(&flat, &flat),
            Line::new("Nexin, empty tables included", &own).over(&own, &flat).at_most(
                "ratio",
                0.1,
                SLACK,
                own.over(&flat).spread(),
            ),
        ],
    })
}

/// Resident memory of the agent in MiB.
fn resident(node: &mut Node) -> Result<Series> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", node.agent()?.pid()))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    match line.and_then(|value| value.split_whitespace().next()?.parse::<f64>().ok()) {
        Some(kibibytes) => Ok(Series { values: vec![kibibytes / 1024.0] }),
        None => fail!("the agent has no resident memory: {status}"),
    }
}
