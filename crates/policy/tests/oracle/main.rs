//! The compiler and the incremental updater against a naive oracle, over generated policies, identities and packets.

mod naive;
mod world;

use std::collections::BTreeMap;
use std::sync::Arc;

use ipnet::IpNet;
use naive::{Answer, Oracle, Packet};
use nexin_abi::Action;
use nexin_abi::maps::policy::Verdict;
use nexin_model::{Direction, Identity, LabelSet};
use nexin_policy::rule::{Document, Rule};
use nexin_policy::tables::{PolicyKey, PolicyTables};
use nexin_policy::{Config, Engine, IdentitySpec};
use world::{Random, World};

/// Comparisons a run must make at least.
const COMPARISONS: usize = 200_000;

type Groups = Vec<(String, LabelSet, Vec<IpNet>)>;

fn groups(documents: &[Document]) -> Groups {
    documents
        .iter()
        .filter_map(|document| {
            let group = document.cidr_group.as_ref()?;
            Some((document.key.name.to_string(), group.labels.clone(), group.prefixes.clone()))
        })
        .collect()
}

fn engine(config: &Config, documents: &[Document], identities: &[(Identity, IdentitySpec)]) -> Engine {
    let mut engine = Engine::new(config.clone());
    for document in documents {
        engine.apply(document.clone());
    }
    for (identity, spec) in identities {
        engine.upsert_identity(*identity, spec.clone());
    }
    engine
}

fn ask(tables: &PolicyTables, peer: Identity, packet: Packet) -> Verdict {
    nexin_verdict::decide(tables, 0, peer, packet.protocol.number(), packet.port).expect("tables are complete")
}

fn live(verdict: Verdict) -> Answer {
    Answer { action: action(verdict.action), redirect: verdict.flags & Verdict::REDIRECT != 0, auth: verdict.auth }
}

fn action(code: u8) -> Action {
    match code {
        0 => Action::DefaultDeny,
        1 => Action::Deny,
        2 => Action::Allow,
        other => panic!("action {other}"),
    }
}

#[derive(Debug, Default)]
struct Seen {
    total: usize,
    none: usize,
    default_deny: usize,
    deny: usize,
    allow: usize,
    redirect: usize,
    shadow_differs: usize,
}

impl Seen {
    fn add(&mut self, verdict: Option<Verdict>) {
        self.total += 1;
        let Some(verdict) = verdict else {
            self.none += 1;
            return;
        };
        match action(verdict.action) {
            Action::DefaultDeny => self.default_deny += 1,
            Action::Deny => self.deny += 1,
            Action::Allow => self.allow += 1,
        }
        self.redirect += usize::from(verdict.flags & Verdict::REDIRECT != 0);
        let shadow = verdict.flags & Verdict::SHADOW != 0 && verdict.shadow_action != verdict.action;
        self.shadow_differs += usize::from(shadow);
    }
}

/// Compares all pairs in `engine` with the oracle.
fn compare(engine: &mut Engine, documents: &[Document], random: &mut Random, context: &str, seen: &mut Seen) {
    let config = engine.config().clone();
    let rules: Vec<Rule> = documents.iter().flat_map(|document| document.rules.clone()).collect();
    let groups = groups(documents);
    let oracle = Oracle { config: &config, rules: &rules, groups: &groups };
    let identities: Vec<(Identity, IdentitySpec)> =
        engine.identities().map(|(identity, spec)| (identity, spec.clone())).collect();
    for (subject, subject_spec) in &identities {
        let policies = engine.policy_for(*subject).expect("the identity is known");
        for direction in Direction::BOTH {
            let tables = policies.of(direction);
            for (peer, peer_spec) in &identities {
                for packet in World::packets(random) {
                    let expected =
                        |shadow| oracle.ask((*subject, subject_spec), direction, (*peer, peer_spec), packet, shadow);
                    let verdict = tables.map(|tables| ask(tables, *peer, packet));
                    let place = || format!("{context}: {subject:?} {direction} {peer:?} {packet:?} {verdict:?}");
                    assert_eq!(verdict.map(live), expected(false), "{}", place());
                    if let Some(verdict) = verdict.filter(|verdict| verdict.flags & Verdict::SHADOW != 0) {
                        let with = expected(true).map(|answer| answer.action);
                        assert_eq!(Some(action(verdict.shadow_action)), with, "shadow, {}", place());
                    }
                    if let Some(rule) = verdict.filter(|verdict| verdict.rule != 0).map(|verdict| verdict.rule) {
                        assert!(engine.rule(rule).is_some(), "rule of {}", place());
                    }
                    seen.add(verdict);
                }
            }
        }
    }
}

fn seed() -> u64 {
    std::env::var("NEXIN_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(0)
}

#[test]
fn compiled_tables_say_what_the_oracle_says() {
    let mut seen = Seen::default();
    let mut index = 0;
    while seen.total < COMPARISONS {
        let mut random = Random::new(seed() + index);
        let world = World::new(&mut random);
        let mut engine = engine(&world.config, &world.documents, &world.identities);
        compare(&mut engine, &world.documents, &mut random, &format!("world {index}"), &mut seen);
        index += 1;
    }
    // The generator is worth something only while every outcome is common.
    for (name, times) in [
        ("no policy", seen.none),
        ("default deny", seen.default_deny),
        ("deny", seen.deny),
        ("allow", seen.allow),
        ("redirect", seen.redirect),
        ("shadow differs", seen.shadow_differs),
    ] {
        assert!(times > seen.total / 200, "{name}: only {times} of {}", seen.total);
    }
}

/// A step of a history.
#[derive(Clone)]
enum Step {
    Apply(usize),
    Remove(usize),
    Upsert(usize),
    Forget(usize),
    /// Have policies of all identities compiled, so that later steps extend them.
    Use,
}

#[test]
fn any_history_ends_where_a_fresh_start_would() {
    let mut seen = Seen::default();
    let mut index = 0;
    while seen.total < COMPARISONS / 4 {
        let mut random = Random::new(seed() + 1_000_000 + index);
        let world = World::new(&mut random);
        let mut steps: Vec<Step> = (0..world.documents.len())
            .flat_map(|at| [Step::Apply(at), Step::Remove(at), Step::Apply(at)])
            .chain((0..world.identities.len()).flat_map(|at| [Step::Upsert(at), Step::Forget(at), Step::Upsert(at)]))
            .chain((0..6).map(|_| Step::Use))
            .collect();
        random.shuffle(&mut steps);
        let mut engine = Engine::new(world.config.clone());
        // The datapath's side: copies that only extensions keep current.
        let mut loaded: BTreeMap<PolicyKey, PolicyTables> = BTreeMap::new();
        for step in steps {
            take(&step, &world, &mut engine, &mut loaded);
        }
        for at in 0..world.documents.len() {
            take(&Step::Apply(at), &world, &mut engine, &mut loaded);
        }
        take(&Step::Use, &world, &mut engine, &mut loaded);
        for at in 0..world.identities.len() {
            take(&Step::Upsert(at), &world, &mut engine, &mut loaded);
        }
        for (key, copy) in &loaded {
            if let Some(own) = engine.tables(*key) {
                same(copy, &own);
            }
        }
        compare(&mut engine, &world.documents, &mut random, &format!("history {index}"), &mut seen);
        index += 1;
    }
}

fn take(step: &Step, world: &World, engine: &mut Engine, loaded: &mut BTreeMap<PolicyKey, PolicyTables>) {
    let extensions = match step {
        Step::Apply(at) => {
            engine.apply(world.documents[*at].clone());
            Vec::new()
        }
        Step::Remove(at) => {
            engine.remove(&world.documents[*at].key);
            Vec::new()
        }
        Step::Upsert(at) => {
            let (identity, spec) = &world.identities[*at];
            engine.upsert_identity(*identity, spec.clone())
        }
        Step::Forget(at) => engine.remove_identity(world.identities[*at].0),
        Step::Use => {
            let identities: Vec<Identity> = engine.identities().map(|(identity, _)| identity).collect();
            loaded.clear();
            for identity in identities {
                let policies = engine.policy_for(identity).expect("the identity is known");
                let tables = [policies.ingress, policies.egress].into_iter().flatten();
                loaded.extend(tables.map(|tables: Arc<PolicyTables>| (tables.key, (*tables).clone())));
            }
            Vec::new()
        }
    };
    for extension in extensions {
        if let Some(copy) = loaded.get_mut(&extension.key) {
            assert!(copy.extend(&extension), "an extension is missing before {extension:?}");
        }
    }
}

fn same(a: &PolicyTables, b: &PolicyTables) {
    assert_eq!((a.everyone_else, &a.members, &a.decisions), (b.everyone_else, &b.members, &b.decisions));
    assert_eq!((&a.ports, &a.blocks, &a.verdicts), (&b.ports, &b.blocks, &b.verdicts));
}
