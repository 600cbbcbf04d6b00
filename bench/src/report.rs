//! What was measured, as a table for people and as JSON for programs.

use std::fmt::Write as _;

use serde::Serialize;

use crate::rounds::Spread;

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
    pub(crate) name: String,
    pub(crate) value: Spread,
    /// To the baseline of the same round.
    pub(crate) ratio: Option<Spread>,
    /// p99 to the baseline's p99.
    pub(crate) tail: Option<Spread>,
    pub(crate) over_router: Option<Spread>,
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
             round, the median of the rounds with the lowest and the highest in brackets. Every answer is checked.\n",
            self.machine
        );
        for table in &self.tables {
            let _ = write!(
                out,
                "\n## {}\n\n| path | {} | ratio | p99 ratio | to router |\n|---|---|---|---|---|\n",
                table.title, table.unit
            );
            for line in &table.lines {
                let spread = |s: Option<Spread>| {
                    s.map_or(String::new(), |s| format!("{:.2} ({:.2}–{:.2})", s.median, s.low, s.high))
                };
                let _ = writeln!(
                    out,
                    "| {} | {:.2} | {} | {} | {} |",
                    line.name,
                    line.value.median,
                    spread(line.ratio),
                    spread(line.tail),
                    spread(line.over_router)
                );
            }
        }
        out
    }
}
