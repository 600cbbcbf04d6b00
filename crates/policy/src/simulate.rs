//! What would change: flows judged under the documents in force and under others.
//!
//! Each flow is asked of both engines with [`nexin_verdict::decide`]; nothing is guessed from the documents themselves.

use nexin_model::Protocol;
use serde::Serialize;

use crate::engine::Engine;
use crate::explain::{Explanation, FlowAnswer};
use crate::party::{Party, Roster};
use crate::rule::{Document, DocumentKey};

/// Documents that come and go, all at once.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Change {
    pub apply: Vec<Document>,
    pub remove: Vec<DocumentKey>,
}

/// A flow, current or recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flow {
    pub source: Party,
    pub destination: Party,
    pub protocol: Protocol,
    /// Destination port, for ICMP `type << 8 | code`.
    pub port: u16,
}

/// A flow that is judged differently.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FlowChange {
    /// Place in the list of flows.
    pub flow: usize,
    pub before: FlowAnswer,
    pub after: FlowAnswer,
    /// Why it will be so, the source's side first.
    pub why: [Explanation; 2],
}

/// Flows that pass now and would not, or the other way round (or would go to a proxy, or want authentication).
pub fn simulate(engine: &Engine, change: &Change, flows: &[Flow]) -> Vec<FlowChange> {
    let mut before = engine.clone();
    let mut after = engine.clone();
    for key in &change.remove {
        after.remove(key);
    }
    for document in &change.apply {
        after.apply(document.clone());
    }
    let mut rosters = (Roster::of(&before), Roster::of(&after));
    flows
        .iter()
        .enumerate()
        .filter_map(|(index, flow)| {
            let old = judge(&mut before, &mut rosters.0, flow);
            let new = judge(&mut after, &mut rosters.1, flow);
            (effect(&old.0) != effect(&new.0)).then_some(FlowChange {
                flow: index,
                before: old.0,
                after: new.0,
                why: new.1,
            })
        })
        .collect()
}

fn judge(engine: &mut Engine, roster: &mut Roster, flow: &Flow) -> (FlowAnswer, [Explanation; 2]) {
    use nexin_model::Direction::{Egress, Ingress};

    let source = roster.identity(engine, &flow.source);
    let destination = roster.identity(engine, &flow.destination);
    let egress = engine.explain(source, Egress, destination, flow.protocol, flow.port);
    let ingress = engine.explain(destination, Ingress, source, flow.protocol, flow.port);
    let answer = FlowAnswer { egress: egress.answer.clone(), ingress: ingress.answer.clone() };
    (answer, [egress, ingress])
}

/// What a flow notices of an answer.
fn effect(answer: &FlowAnswer) -> [(bool, bool, u8); 2] {
    [&answer.egress, &answer.ingress].map(|side| (side.decision.passes(), side.redirect, side.auth))
}
