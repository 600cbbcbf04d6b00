//! Cases judged, and where they differ from what was expected.

use nexin_model::Protocol;
use serde::Serialize;

use super::scenario::{Case, Row};
use super::world::{UnknownPeer, World};
use crate::explain::{Decision, FlowAnswer};

/// What came out of a case.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CaseReport {
    pub name: String,
    pub file: String,
    pub line: u32,
    pub rows: Vec<RowReport>,
}

impl CaseReport {
    pub fn passed(&self) -> bool {
        self.rows.iter().all(|row| row.differences.is_empty())
    }
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RowReport {
    pub from: String,
    pub to: String,
    pub protocol: Protocol,
    pub port: u16,
    pub line: u32,
    /// Absent where an end of the flow does not exist.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer: Option<FlowAnswer>,
    pub differences: Vec<Difference>,
}

/// An expectation that was not met.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// `ingress`, `egress` or `combined`.
    pub side: &'static str,
    pub expected: String,
    pub found: String,
    /// Why it came out so, in one line.
    pub why: String,
}

/// Judges every row of a case.
pub fn run(case: &Case) -> CaseReport {
    let mut world = World::new(case.scenario.clone());
    CaseReport {
        name: case.name.to_string(),
        file: case.file.to_string(),
        line: case.line,
        rows: case.rows.iter().map(|row| run_row(&mut world, row)).collect(),
    }
}

fn run_row(world: &mut World, row: &Row) -> RowReport {
    let judged = judge(world, row);
    let (answer, differences) = match judged {
        Ok((answer, differences)) => (Some(answer), differences),
        Err(unknown) => {
            let why = unknown.to_string();
            (None, vec![Difference { side: "combined", expected: "a verdict".into(), found: "nothing".into(), why }])
        }
    };
    RowReport {
        from: row.from.to_string(),
        to: row.to.to_string(),
        protocol: row.protocol,
        port: row.port,
        line: row.line,
        answer,
        differences,
    }
}

fn judge(world: &mut World, row: &Row) -> Result<(FlowAnswer, Vec<Difference>), UnknownPeer> {
    let [egress, ingress] = world.explain(&row.from, &row.to, row.protocol, row.port)?;
    let answer = FlowAnswer { egress: egress.answer.clone(), ingress: ingress.answer.clone() };
    let passes = answer.passes();
    let stops = if answer.egress.decision.passes() { &ingress } else { &egress };
    let checks = [
        ("egress", row.expect.egress, answer.egress.decision.passes(), answer.egress.decision, &egress),
        ("ingress", row.expect.ingress, answer.ingress.decision.passes(), answer.ingress.decision, &ingress),
        ("combined", row.expect.combined, passes, stops.answer.decision, stops),
    ];
    let differences = checks
        .into_iter()
        .filter(|(_, expected, found, ..)| expected.is_some_and(|expected| expected != *found))
        .map(|(side, expected, found, decision, explanation)| Difference {
            side,
            expected: word(expected == Some(true)).to_owned(),
            found: detail(found, decision),
            why: format!("{}: {}", explanation.answer.direction, explanation.reason()),
        })
        .collect();
    Ok((answer, differences))
}

const fn word(passes: bool) -> &'static str {
    if passes { "allowed" } else { "denied" }
}

fn detail(passes: bool, decision: Decision) -> String {
    if passes { word(passes).to_owned() } else { decision.text().to_owned() }
}
