//! What was measured, as a table for people and as JSON for programs.

use std::fmt::Write as _;

use serde::Serialize;

use crate::rounds::{Series, Spread};

/// Everything one run measured.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    machine: String,
    tables: Vec<Table>,
}

/// One load over several paths.
#[derive(Debug, Serialize)]
pub(crate) struct Table {
    pub(crate) title: String,
    pub(crate) unit: String,
    pub(crate) lines: Vec<Line>,
}

/// One path.
#[derive(Debug, Serialize)]
pub(crate) struct Line {
    name: String,
    value: Spread,
    /// To the baseline of the same round.
    ratio: Option<Spread>,
    /// p99 to the baseline's p99.
    tail: Option<Spread>,
    over_router: Option<Spread>,
    goals: Vec<Goal>,
}

/// What a figure is meant to be, and whether it is.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Goal {
    what: String,
    limit: f64,
    /// At least `limit`, not at most.
    least: bool,
    found: f64,
    met: bool,
}

impl Line {
    pub(crate) fn new(name: impl Into<String>, value: &Series) -> Self {
        let name = name.into();
        Self { name, value: value.spread(), ratio: None, tail: None, over_router: None, goals: Vec::new() }
    }

    pub(crate) fn over(mut self, own: &Series, base: &Series) -> Self {
        self.ratio = Some(own.over(base).spread());
        self
    }

    pub(crate) fn tail(mut self, own: &Series, base: &Series) -> Self {
        self.tail = Some(own.over(base).spread());
        self
    }

    pub(crate) fn against_router(mut self, own: &Series, router: &Series) -> Self {
        self.over_router = Some(own.over(router).spread());
        self
    }

    /// The median is to be at most `limit`, and the upper end of the spread at most `slack` times that.
    pub(crate) fn at_most(self, what: &str, limit: f64, slack: f64, found: Spread) -> Self {
        let met = found.median <= limit && found.high <= limit * slack;
        self.goal(Goal { what: what.to_owned(), limit, least: false, found: found.median, met })
    }

    /// The median is to be at least `limit`, and the lower end of the spread not more than 3 % under it.
    pub(crate) fn at_least(self, what: &str, limit: f64, found: Spread) -> Self {
        let met = found.median >= limit && found.low >= limit * 0.97;
        self.goal(Goal { what: what.to_owned(), limit, least: true, found: found.median, met })
    }

    fn goal(mut self, goal: Goal) -> Self {
        self.goals.push(goal);
        self
    }
}

/// How far the upper end of a spread may be over a goal.
pub(crate) const SLACK: f64 = 1.03;
/// The same where connections are opened, which varies more.
pub(crate) const CONNECTION_SLACK: f64 = 1.05;

impl std::fmt::Display for Goal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { what, limit, least, found, met } = self;
        let (sign, word) = (if *least { "≥" } else { "≤" }, if *met { "met" } else { "MISSED" });
        write!(f, "{what} {found:.2} {sign} {limit}: {word}")
    }
}

impl Report {
    pub(crate) fn new(machine: String) -> Self {
        Self { machine, tables: Vec::new() }
    }

    pub(crate) fn add(&mut self, tables: Vec<Table>) {
        self.tables.extend(tables);
    }

    pub(crate) fn markdown(&self) -> String {
        let mut out = format!(
            "# Bench\n\nWritten by `./x bench`. {}.\n\nClient, server and the path between them share one core. Rounds are interleaved; a ratio is to the first line of the same \
             round, the median of the rounds with the lowest and the highest in brackets. Every answer is checked. A goal is met when the median is \
             within it and the far end of the spread at most 3 % beyond (5 % where connections are opened).\n",
            self.machine
        );
        for table in &self.tables {
            let _ = write!(
                out,
                "\n## {}\n\n| path | {} | ratio | p99 ratio | to router | goals |\n|---|---|---|---|---|---|\n",
                table.title, table.unit
            );
            for line in &table.lines {
                let spread = |s: Option<Spread>| {
                    s.map_or(String::new(), |s| format!("{:.2} ({:.2}–{:.2})", s.median, s.low, s.high))
                };
                let _ = writeln!(
                    out,
                    "| {} | {:.2} | {} | {} | {} | {} |",
                    line.name,
                    line.value.median,
                    spread(line.ratio),
                    spread(line.tail),
                    spread(line.over_router),
                    line.goals.iter().map(Goal::to_string).collect::<Vec<_>>().join("; ")
                );
            }
        }
        out
    }
}
