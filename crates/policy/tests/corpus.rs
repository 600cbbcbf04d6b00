//! What the parser takes and refuses, against what Cilium 1.20.2 takes and refuses (golden data, not in the repository).
//!
//! The data's folder is `../shared/data` beside the project, or what NEXIN_DATA names; without it only a note is
//! printed: the rules themselves have tests of their own in `tests/input`.

mod golden_support;

use std::collections::BTreeMap;

use nexin_policy::input::{self, Parsed, Strictness};
use serde::Deserialize;

#[derive(Deserialize)]
struct Case {
    id: String,
    accepted: bool,
    yaml: String,
    error: Option<String>,
    #[serde(default)]
    pruned_fields: Vec<String>,
}

fn data() -> Option<Vec<Case>> {
    golden_support::lines("policy-corpus-given.jsonl")
}

fn parse(case: &Case, strictness: Strictness) -> Parsed {
    input::parse(&case.yaml, &case.id, strictness)
}

fn accepted(parsed: &Parsed) -> bool {
    !parsed.has_errors() && !parsed.documents.is_empty()
}

/// Cases that Cilium takes and Nexin refuses unless it is told to prune, other than for unknown fields, with words of
/// the refusal. `docs/compatibility.md` says why, case by case.
const NARROWER: [(&str, &str); 5] = [
    ("mk-138", "has no value"),
    ("mk-230", "no ICMP type"),
    ("mk-263", "not in capital letters"),
    ("mk-267", "needs `port`"),
    ("mk-271", "neither `Ingress` nor `Egress`"),
];

#[test]
fn pruning_takes_and_refuses_what_cilium_does() {
    let Some(cases) = data() else { return };
    let different: Vec<String> = cases
        .iter()
        .map(|case| (case, parse(case, Strictness::Prune)))
        .filter(|(case, parsed)| accepted(parsed) != case.accepted)
        .map(|(case, parsed)| format!("{}: {:?}, here {:#?}", case.id, case.error, parsed.diagnostics))
        .collect();
    println!("{} of {} documents are judged alike", cases.len() - different.len(), cases.len());
    assert_eq!(different, Vec::<String>::new());
}

#[test]
fn strictly_the_differences_are_the_known_ones() {
    let Some(cases) = data() else { return };
    let narrower: BTreeMap<&str, &str> = NARROWER.into_iter().collect();
    for case in &cases {
        let parsed = parse(case, Strictness::Strict);
        let messages: Vec<String> = parsed.diagnostics.iter().map(ToString::to_string).collect();
        if case.accepted && !case.pruned_fields.is_empty() {
            assert!(!accepted(&parsed), "{}: {:?} would be dropped", case.id, case.pruned_fields);
            assert!(messages.iter().any(|message| message.contains("is not known here")), "{}: {messages:?}", case.id);
        } else if let Some(words) = narrower.get(case.id.as_str()) {
            assert!(case.accepted && !accepted(&parsed), "{}", case.id);
            assert!(messages.iter().any(|message| message.contains(words)), "{}: {messages:?}", case.id);
        } else {
            assert_eq!(accepted(&parsed), case.accepted, "{}: {:?}, here {messages:?}", case.id, case.error);
        }
    }
}

/// Pruning tells of each field that it drops.
#[test]
fn dropped_fields_are_told() {
    let Some(cases) = data() else { return };
    for case in cases.iter().filter(|case| case.accepted) {
        let parsed = parse(case, Strictness::Prune);
        for field in &case.pruned_fields {
            assert!(parsed.diagnostics.iter().any(|found| found.path == *field), "{}: {field}", case.id);
        }
    }
}

/// What is accepted becomes rules that carry their place.
#[test]
fn accepted_documents_become_rules() {
    let Some(cases) = data() else { return };
    for case in &cases {
        for document in parse(case, Strictness::Prune).documents {
            let lowered = document.lower(&nexin_policy::rule::LowerOptions::default());
            assert!(lowered.cidr_group.is_some() || !lowered.rules.is_empty(), "{}", case.id);
            let lines = u32::try_from(case.yaml.lines().count()).unwrap_or(u32::MAX);
            for rule in &lowered.rules {
                assert!((1..=lines).contains(&rule.origin.line), "{}: {}", case.id, rule.origin);
            }
        }
    }
}
