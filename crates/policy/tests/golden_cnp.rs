//! Verdicts of Cilium 1.20.2's own engine, replayed. Where Nexin takes another reading, the difference is listed.

mod golden_support;

use std::collections::BTreeMap;
use std::net::IpAddr;

use nexin_model::{Label, Protocol};
use nexin_policy::cases::{Node, PeerRef, Scenario, Workload, World};
use nexin_policy::engine::{CidrMatchMode, Enforcement};
use nexin_policy::explain::{Decision, FlowAnswer, SideAnswer};
use nexin_policy::rule::LowerOptions;
use nexin_policy::{Config, input};
use serde::Deserialize;

#[derive(Deserialize)]
struct Case {
    id: String,
    description: String,
    config: CaseConfig,
    namespaces: BTreeMap<String, NamespaceSpec>,
    workloads: Vec<WorkloadSpec>,
    #[serde(default)]
    nodes: Vec<NodeSpec>,
    #[serde(default)]
    kube_apiserver_external: Vec<IpAddr>,
    #[serde(default)]
    dns: BTreeMap<String, Vec<IpAddr>>,
    policies: Vec<String>,
    expected: Vec<Row>,
}

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
struct CaseConfig {
    enforcement: String,
    cidr_match_mode: Vec<String>,
    host_firewall: bool,
    node_selector_labels: bool,
    disable_non_default_deny: bool,
    policy_any_cluster: bool,
}

#[derive(Deserialize)]
struct NamespaceSpec {
    labels: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct WorkloadSpec {
    name: String,
    namespace: String,
    labels: BTreeMap<String, String>,
    service_account: String,
    ipv4: Option<IpAddr>,
    ipv6: Option<IpAddr>,
    named_ports: Vec<NamedPortSpec>,
}

#[derive(Deserialize)]
struct NamedPortSpec {
    name: String,
    port: u16,
    protocol: String,
}

#[derive(Deserialize)]
struct NodeSpec {
    name: String,
    local: bool,
    labels: BTreeMap<String, String>,
    ipv4: Option<IpAddr>,
    ipv6: Option<IpAddr>,
    #[serde(default)]
    kube_apiserver: bool,
}

#[derive(Deserialize)]
struct Row {
    from: String,
    to: String,
    protocol: String,
    port: u16,
    ingress: String,
    egress: String,
    #[serde(default)]
    l7: bool,
    #[serde(default)]
    l7_side: String,
    #[serde(default)]
    auth: BTreeMap<String, String>,
    #[serde(default)]
    deny_explicit: bool,
    #[serde(default)]
    deny_explicit_side: String,
}

fn pairs(labels: &BTreeMap<String, String>) -> Vec<(std::sync::Arc<str>, std::sync::Arc<str>)> {
    labels.iter().map(|(key, value)| (key.as_str().into(), value.as_str().into())).collect()
}

fn world(case: &Case) -> World {
    let lower = LowerOptions {
        any_cluster: case.config.policy_any_cluster,
        ignore_default_deny_switch: case.config.disable_non_default_deny,
        ..LowerOptions::default()
    };
    let options = input::Options {
        strictness: input::Strictness::Prune,
        node_selector_labels: case.config.node_selector_labels,
        extended_protocols: false,
    };
    let mut documents = Vec::new();
    for text in &case.policies {
        let (mut lowered, diagnostics) = input::load(text, &case.id, options, &lower);
        assert!(!diagnostics.iter().any(input::Diagnostic::is_error), "{}: {diagnostics:?}\n{text}", case.id);
        documents.append(&mut lowered);
    }
    let mode = |name: &str| case.config.cidr_match_mode.iter().any(|mode| mode == name);
    let config = Config {
        enforcement: match case.config.enforcement.as_str() {
            "always" => Enforcement::Always,
            "never" => Enforcement::Never,
            _ => Enforcement::Default,
        },
        cidr_match: CidrMatchMode { nodes: mode("nodes"), pods: mode("pods") },
        host_firewall: case.config.host_firewall,
        ..Config::default()
    };
    World::new(Scenario {
        config,
        node_labels: case.config.node_selector_labels,
        namespaces: case.namespaces.iter().map(|(name, spec)| (name.as_str().into(), pairs(&spec.labels))).collect(),
        workloads: case.workloads.iter().map(workload).collect(),
        nodes: case.nodes.iter().map(node).collect(),
        names: case.dns.iter().map(|(name, addresses)| (name.as_str().into(), addresses.clone())).collect(),
        kube_apiserver: case.kube_apiserver_external.clone(),
        documents,
    })
}

fn workload(spec: &WorkloadSpec) -> Workload {
    let named =
        |port: &NamedPortSpec| (port.name.clone(), port.protocol.parse::<Protocol>().expect("a protocol"), port.port);
    Workload {
        namespace: spec.namespace.as_str().into(),
        name: spec.name.as_str().into(),
        labels: spec.labels.iter().map(|(key, value)| Label::k8s(key.as_str(), value.as_str())).collect(),
        service_account: Some(spec.service_account.as_str().into()),
        addresses: [spec.ipv4, spec.ipv6].into_iter().flatten().collect(),
        named_ports: spec.named_ports.iter().map(named).collect(),
    }
}

fn node(spec: &NodeSpec) -> Node {
    Node {
        name: spec.name.as_str().into(),
        local: spec.local,
        labels: pairs(&spec.labels),
        addresses: [spec.ipv4, spec.ipv6].into_iter().flatten().collect(),
        kube_apiserver: spec.kube_apiserver,
    }
}

/// What a row says of one side, in the words of the data.
fn side(answer: &SideAnswer, other: &str) -> String {
    // "none": no policy subject. That is a matter of who the side is, which the data knows.
    if other == "none" {
        return "none".to_owned();
    }
    (if answer.decision.passes() { "allowed" } else { "denied" }).to_owned()
}

/// Differences of a row, each in a few words.
fn differences(row: &Row, answer: &FlowAnswer) -> Vec<String> {
    let mut found = Vec::new();
    for (name, answer, expected) in
        [("ingress", &answer.ingress, &row.ingress), ("egress", &answer.egress, &row.egress)]
    {
        let own = side(answer, expected);
        if own != *expected {
            found.push(format!("{name} {own}"));
            continue;
        }
        if own == "none" {
            continue;
        }
        let redirect = row.l7 && (row.l7_side == name || row.l7_side == "both");
        if answer.redirect != redirect {
            found.push(format!("{name} redirect {}", answer.redirect));
        }
        let auth = row.auth.get(name).map_or(0, |mode| if mode == "required" { 1 } else { 2 });
        if own == "allowed" && answer.auth != auth {
            found.push(format!("{name} auth {}", answer.auth));
        }
    }
    let explicit = |answer: &SideAnswer, expected: &str| expected == "denied" && answer.decision == Decision::Denied;
    let sides = (explicit(&answer.ingress, &row.ingress), explicit(&answer.egress, &row.egress));
    if found.is_empty() && (sides.0 || sides.1) != row.deny_explicit {
        found.push(format!("explicit deny {}", !row.deny_explicit));
    }
    let both = row.ingress == "denied" && row.egress == "denied" && sides.0 != sides.1;
    let named = if sides.0 { "ingress" } else { "egress" };
    if found.is_empty() && both && row.deny_explicit_side != named {
        found.push(format!("explicit deny side {named}"));
    }
    found
}

/// Why Nexin differs. Each is a section of docs/compatibility.md.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reason {
    /// A label outside the identity filter counts as soon as a rule selects on it.
    LabelFilter,
    /// ICMP type 0 is type 0, not every type.
    IcmpTypeZero,
    /// An empty list of names, or a service that does not exist, is nobody.
    NobodyIsNotEveryone,
    /// A namespace selector with only negative requirements selects workloads.
    NegativeNamespaces,
    /// A Baseline Accept does not open what a NetworkPolicy isolates.
    BaselineUnderIsolation,
    /// An ipBlock covers every address in it, workloads included.
    IpBlockPeers,
    /// A section that policyTypes leaves out is not enforced.
    PolicyTypes,
    /// `enableDefaultDeny: true` isolates a direction without rules too.
    DefaultDenyWithoutRules,
    /// A CIDR group selector selects groups, never addresses of no group.
    GroupSelectors,
    /// Authentication asked for in one tier does not spread to rules of another.
    AuthAcrossTiers,
}

impl Reason {
    /// A row that this reason can explain.
    fn fits(self, row: &Row, difference: &str) -> bool {
        let workloads = row.from.contains('/') && row.to.contains('/');
        match self {
            Self::LabelFilter => true,
            Self::IcmpTypeZero => row.protocol.starts_with("ICMP") && row.port != 0,
            Self::NobodyIsNotEveryone => difference == "egress denied",
            Self::NegativeNamespaces => difference != "egress allowed",
            Self::BaselineUnderIsolation => difference.ends_with("denied"),
            Self::IpBlockPeers => workloads && difference.ends_with("allowed"),
            Self::PolicyTypes => difference.ends_with("allowed"),
            Self::DefaultDenyWithoutRules => difference.ends_with("denied"),
            Self::GroupSelectors => !workloads,
            Self::AuthAcrossTiers => difference.contains("auth"),
        }
    }
}

/// A case with the differences it must show, neither more nor fewer.
struct Listed {
    case: &'static str,
    reason: Reason,
    differences: &'static [(&'static str, usize)],
}

const fn listed(case: &'static str, reason: Reason, differences: &'static [(&'static str, usize)]) -> Listed {
    Listed { case, reason, differences }
}

const LISTED: &[Listed] = &[
    listed("hand-lf-sts-subject", Reason::LabelFilter, &[("ingress denied", 38)]),
    listed("hand-lf-np", Reason::LabelFilter, &[("ingress allowed", 5), ("ingress denied", 38)]),
    listed("hand-eg-empty-fqdn", Reason::NobodyIsNotEveryone, &[("egress denied", 11)]),
    listed("hand-ns-doesnotexist-anycluster", Reason::NegativeNamespaces, &[("ingress denied", 30)]),
    listed("hand-tier-ns-dne", Reason::NegativeNamespaces, &[("ingress allowed", 12)]),
    listed("hand-tier-ns-notin-accept", Reason::NegativeNamespaces, &[("ingress denied", 9)]),
    listed("hand-tier-auth", Reason::AuthAcrossTiers, &[("ingress auth 0", 1)]),
    listed("hand-host-hostname", Reason::LabelFilter, &[("egress denied", 84), ("ingress denied", 84)]),
    listed("hand-svc-none", Reason::NobodyIsNotEveryone, &[("egress denied", 11)]),
    listed("rnd-basic-046", Reason::DefaultDenyWithoutRules, &[("ingress denied", 16)]),
    listed("rnd-basic-054", Reason::IcmpTypeZero, &[("egress denied", 31)]),
    listed("rnd-deny-151", Reason::IcmpTypeZero, &[("explicit deny false", 2)]),
    listed("rnd-ports-004", Reason::IcmpTypeZero, &[("explicit deny false", 4)]),
    listed("rnd-cidrgroup-020", Reason::GroupSelectors, &[("ingress allowed", 4), ("ingress denied", 15)]),
    listed("rnd-cidrgroup-050", Reason::GroupSelectors, &[("egress denied", 8)]),
    listed("rnd-default-deny-000", Reason::DefaultDenyWithoutRules, &[("ingress denied", 15)]),
    listed("rnd-default-deny-080", Reason::DefaultDenyWithoutRules, &[("egress denied", 27)]),
    listed("rnd-k8s-netpol-031", Reason::IpBlockPeers, &[("ingress allowed", 7)]),
    listed("rnd-k8s-netpol-041", Reason::PolicyTypes, &[("egress allowed", 14)]),
    listed("rnd-k8s-netpol-090", Reason::IpBlockPeers, &[("ingress allowed", 21)]),
    listed("rnd-k8s-netpol-154", Reason::IpBlockPeers, &[("ingress allowed", 9)]),
    listed("rnd-tiers-048", Reason::BaselineUnderIsolation, &[("egress denied", 2)]),
    listed("rnd-tiers-088", Reason::NegativeNamespaces, &[("ingress allowed", 13)]),
    listed("rnd-mixed-048", Reason::PolicyTypes, &[("egress allowed", 27)]),
    listed(
        "rnd-mixed-128",
        Reason::NegativeNamespaces,
        &[("egress denied", 16), ("explicit deny false", 6), ("ingress allowed", 9)],
    ),
    listed("rnd-host-013", Reason::LabelFilter, &[("egress allowed", 2)]),
];

#[test]
fn verdicts_are_those_of_the_engine_or_listed() {
    let Some(cases) = golden_support::lines::<Case>("cnp-given.jsonl") else { return };
    let (mut rows, mut agreeing) = (0, 0);
    let mut report = Vec::new();
    for case in &cases {
        let listed = LISTED.iter().find(|listed| listed.case == case.id);
        let mut world = world(case);
        let mut seen: BTreeMap<String, usize> = BTreeMap::new();
        let mut lines = Vec::new();
        for row in &case.expected {
            let peer = |text: &str| text.parse::<PeerRef>().expect("a peer");
            let protocol: Protocol = row.protocol.parse().expect("a protocol");
            let port = if protocol.has_ports() { row.port } else { row.port << 8 };
            let answer = world.judge(&peer(&row.from), &peer(&row.to), protocol, port).expect("both peers exist");
            let found = differences(row, &answer).join(", ");
            rows += 1;
            if found.is_empty() {
                agreeing += 1;
                continue;
            }
            if listed.is_none_or(|listed| !listed.reason.fits(row, &found)) {
                lines.push(format!("    {} -> {} {}/{}: {found}", row.from, row.to, row.port, row.protocol));
            }
            *seen.entry(found).or_default() += 1;
        }
        let wanted: BTreeMap<String, usize> = listed
            .map(|listed| listed.differences.iter().map(|(text, times)| ((*text).to_owned(), *times)).collect())
            .unwrap_or_default();
        if seen != wanted || !lines.is_empty() {
            report.push(format!("{} ({}): {seen:?}\n{}", case.id, case.description, lines.join("\n")));
        }
    }
    for listed in LISTED {
        assert!(cases.iter().any(|case| case.id == listed.case), "{} ({:?}) is no case", listed.case, listed.reason);
    }
    println!("{agreeing} of {rows} rows agree, {} cases differ as listed", LISTED.len());
    assert!(report.is_empty(), "{} cases differ otherwise:\n{}", report.len(), report.join("\n"));
}
