//! B14 in part: the policy engine alone, single-threaded: a full resolve of 65,536 identities by 5,000 selectors, a new
//! identity, a policy compiled.

use std::sync::Arc;

use nexin_model::{
    CLUSTER_LABEL, Direction, Identity, KeyMatch, Label, LabelSet, NAMESPACE_LABEL, Operator, PortRange, Protocol,
    Requirement, Selector,
};
use nexin_policy::rule::{Document, DocumentKey, Kind, L4, Level, Origin, Peer, PortMatch, Rule, RuleAction, Subject};
use nexin_policy::{Config, Engine, IdentitySpec};
use nexin_testbed::{Result, fail};

use crate::{
    report::{Line, SLACK, Table},
    rounds::Series,
};

const IDENTITIES: u32 = 65_536;
const SELECTORS: u32 = 5_000;
const ROUNDS: usize = 15;
/// Policies in use while identities come.
const POLICIES: u32 = 20;
const NEW_IDENTITIES: usize = 2_000;

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
        document: Arc::new(key.clone()),
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

pub(crate) fn measure() -> Result<Vec<Table>> {
    let specs: Vec<IdentitySpec> = (0..IDENTITIES).map(|index| labels(index).into()).collect();
    let mut engine = Engine::new(Config::default());
    for index in 0..SELECTORS {
        let subject = Requirement::equals(KeyMatch::any("app"), format!("app-{}", index % 20));
        let subject: Selector = std::iter::once(subject).collect();
        engine.apply(document(index, subject, vec![Peer::Endpoints(selector(index))]));
    }
    for (index, spec) in specs.iter().enumerate() {
        engine.upsert_identity(Identity(Identity::CLUSTER_MIN + index as u32), spec.clone());
    }
    let pairs = engine.resolve_all();
    let resolve = times(ROUNDS, |_| match engine.resolve_all() {
        again if again == pairs && pairs > 0 => Ok(()),
        again => fail!("{again} pairs match instead of {pairs}"),
    })?;
    let compile = times(ROUNDS, |round| {
        engine.retain_policies(|_| false);
        let compiled = engine.policy_for(Identity(Identity::CLUSTER_MIN + 100 * round as u32)).unwrap_or_default();
        match compiled.of(Direction::Ingress).is_some_and(|tables| !tables.members.is_empty()) {
            true => Ok(()),
            false => fail!("no policy in round {round}"),
        }
    })?;
    let mut held = Vec::new();
    for index in 0..POLICIES {
        held.extend(engine.policy_for(Identity(Identity::CLUSTER_MIN + 100 * index)).unwrap_or_default().ingress);
    }
    let keys: Vec<_> = held.iter().map(|tables| tables.key).collect();
    let new = times(NEW_IDENTITIES, |round| {
        engine.upsert_identity(Identity(3_000_000 + round as u32), specs[round * 19].clone());
        held = keys.iter().filter_map(|key| engine.tables(*key)).collect();
        Ok(())
    })?;
    let resolved = Line::new(format!("full resolve ({pairs} pairs match)"), &resolve);
    Ok(vec![Table {
        title: format!("Policy engine, {IDENTITIES} identities, {SELECTORS} selectors"),
        unit: "ms".to_owned(),
        lines: vec![
            resolved.at_most("ms", 20.0, SLACK, resolve.spread()),
            Line::new("a policy of 250 rules compiled over all identities", &compile),
            Line::new(format!("a new identity, tables of {} policies published", keys.len()), &new),
        ],
    }])
}

fn times(count: usize, one: impl FnMut(usize) -> Result) -> Result<Series> {
    Ok(Series { values: crate::control::times(count, one)? })
}
