//! Control-plane figures of the policy engine (part of B14): a full resolve of 65,536 identities by 5,000 selectors, a
//! new identity, a policy compiled. Medians of some rounds, single-threaded; run with `--release`.

use std::time::Instant;

use nexin_model::{
    CLUSTER_LABEL, Direction, Identity, KeyMatch, Label, LabelSet, NAMESPACE_LABEL, Operator, PortRange, Protocol,
    Requirement, Selector,
};
use nexin_policy::rule::{Document, DocumentKey, Kind, L4, Level, Origin, Peer, PortMatch, Rule, RuleAction, Subject};
use nexin_policy::{Config, Engine, IdentitySpec};

const IDENTITIES: u32 = 65_536;
const SELECTORS: u32 = 5_000;
const ROUNDS: usize = 15;

/// Labels as a cluster of 100 namespaces with 20 applications of four tiers and some versions has them.
fn labels(index: u32) -> LabelSet {
    let label = |key: &str, value: String| Label::k8s(key, value);
    [
        label(NAMESPACE_LABEL, format!("ns-{}", index % 100)),
        label(CLUSTER_LABEL, "default".to_owned()),
        label("app", format!("app-{}", index / 100 % 20)),
        label("tier", format!("tier-{}", index / 7 % 4)),
        label("version", format!("v{}", index / 2_000)),
        label("io.cilium.k8s.namespace.labels.team", format!("team-{}", index % 10)),
    ]
    .into_iter()
    .collect()
}

/// Peers of the kinds people write: an application of a namespace, a tier of several applications, all but one.
fn selector(index: u32) -> Selector {
    let namespace = Requirement::equals(KeyMatch::k8s(NAMESPACE_LABEL), format!("ns-{}", index % 100));
    let app = |number: u32| format!("app-{}", number % 20);
    let rest = match index % 4 {
        0 => vec![Requirement::equals(KeyMatch::any("app"), app(index / 100))],
        1 => vec![
            Requirement::new(KeyMatch::any("app"), Operator::In, [app(index / 100), app(index / 100 + 7)])
                .expect("values"),
            Requirement::equals(KeyMatch::any("tier"), format!("tier-{}", index / 400 % 4)),
        ],
        2 => vec![Requirement::new(KeyMatch::any("app"), Operator::NotIn, [app(index / 100)]).expect("values")],
        _ => vec![Requirement::equals(KeyMatch::any("version"), format!("v{}", index / 150))],
    };
    rest.into_iter().chain([namespace]).collect()
}

fn document(index: u32, subject: Selector, peers: Vec<Peer>) -> Document {
    let key = DocumentKey {
        kind: Kind::CiliumNetworkPolicy,
        namespace: Some("bench".into()),
        name: format!("p{index}").into(),
    };
    let origin = Origin {
        document: std::sync::Arc::new(key.clone()),
        file: "bench".into(),
        line: 1,
        column: 1,
        path: "spec".into(),
        text: "bench".into(),
    };
    let port = PortRange::single(1_000 + (index % 1_000) as u16);
    let rule = Rule {
        subject: Subject::Endpoints(subject),
        direction: Direction::Ingress,
        level: Level::default(),
        action: RuleAction::Allow,
        peers,
        l4: L4::Some(vec![PortMatch::Ports { protocol: Protocol::Tcp, ports: port }]),
        redirect: None,
        auth: None,
        log: None,
        default_deny: true,
        shadow: false,
        origin,
    };
    Document { key, rules: vec![rule], cidr_group: None }
}

/// Median and worst in microseconds.
fn measure(name: &str, rounds: usize, mut step: impl FnMut(usize)) {
    let mut times: Vec<f64> = (0..rounds)
        .map(|round| {
            let start = Instant::now();
            step(round);
            start.elapsed().as_secs_f64() * 1e6
        })
        .collect();
    times.sort_by(f64::total_cmp);
    println!("{name:<64} median {:>11.2} us   worst {:>11.2} us", times[times.len() / 2], times[times.len() - 1]);
}

fn main() {
    let specs: Vec<IdentitySpec> = (0..IDENTITIES).map(|index| labels(index).into()).collect();
    let mut engine = Engine::new(Config::default());
    let subject = |index: u32| -> Selector {
        std::iter::once(Requirement::equals(KeyMatch::any("app"), format!("app-{}", index % 20))).collect()
    };
    for index in 0..SELECTORS {
        engine.apply(document(index, subject(index), vec![Peer::Endpoints(selector(index))]));
    }
    let start = Instant::now();
    for (index, spec) in specs.iter().enumerate() {
        engine.upsert_identity(Identity(Identity::CLUSTER_MIN + index as u32), spec.clone());
    }
    println!("{IDENTITIES} identities told one by one: {:.1} ms", start.elapsed().as_secs_f64() * 1e3);
    let mut pairs = 0;
    measure(&format!("full resolve, {IDENTITIES} identities x {SELECTORS} selectors"), ROUNDS, |_| {
        pairs = engine.resolve_all();
    });
    println!("  ({pairs} pairs of selector and identity match)");
    measure("a new identity, no policy in use", 2_000, |round| {
        engine.upsert_identity(Identity(1_000_000 + round as u32), specs[round * 13].clone());
    });
    measure("a policy of 250 rules compiled over all identities", 20, |round| {
        engine.retain_policies(|_| false);
        engine.policy_for(Identity(Identity::CLUSTER_MIN + 100 * round as u32));
    });
    let mut keys = Vec::new();
    let mut held = Vec::new();
    for index in 0..20 {
        let policies = engine.policy_for(Identity(Identity::CLUSTER_MIN + 100 * index)).unwrap_or_default();
        keys.extend(policies.of(Direction::Ingress).map(|tables| tables.key));
        held.extend(policies.ingress);
    }
    let pages: usize = held.iter().map(|tables| tables.ports.len() + tables.blocks.len()).sum();
    println!(
        "  ({} policies, {} members, {pages} pages in all)",
        held.len(),
        held.iter().map(|tables| tables.members.len()).sum::<usize>()
    );
    measure("a new identity, 20 policies of 250 rules in use", 2_000, |round| {
        engine.upsert_identity(Identity(2_000_000 + round as u32), specs[round * 17].clone());
    });
    measure("the same, and the tables of all 20 published to a holder", 2_000, |round| {
        engine.upsert_identity(Identity(3_000_000 + round as u32), specs[round * 19].clone());
        held = keys.iter().filter_map(|key| engine.tables(*key)).collect();
    });
}
