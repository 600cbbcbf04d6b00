//! `nexin policy test`: policies against expected verdicts, for people's own continuous integration.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use nexin_policy::cases::{self, CaseReport, RowReport};

use super::super::Context;
use super::offline;
use crate::error::{CliError, Result};
use crate::output::{Paint, Style};

#[derive(Args)]
pub(crate) struct Test {
    /// Case files
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Only cases with this text in their name
    #[arg(long, value_name = "TEXT")]
    case: Option<String>,
    /// Also write a JUnit report
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Also show rows that are as expected
    #[arg(short, long)]
    verbose: bool,
}

/// Fails where a row differs from what was expected, and where there is nothing to check.
pub(crate) fn test(context: &Context, args: &Test) -> Result<ExitCode> {
    let mut reports: Vec<CaseReport> = Vec::new();
    for file in &args.files {
        let found = offline::read_cases(file)?;
        let wanted =
            found.iter().filter(|case| args.case.as_ref().is_none_or(|text| case.name.contains(text.as_str())));
        reports.extend(wanted.map(cases::run));
    }
    if let Some(path) = &args.junit {
        fs::write(path, cases::junit(&reports)).map_err(|source| CliError::file(path, source))?;
    }
    context.out.show(&cases::json(&reports), |style| render(&reports, args.verbose, style))?;
    let checked = reports.iter().any(|report| !report.rows.is_empty());
    let passed = checked && reports.iter().all(CaseReport::passed);
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn render(reports: &[CaseReport], verbose: bool, style: Style) -> String {
    let mut text = String::new();
    for report in reports {
        let (paint, outcome) = if report.passed() { (Paint::Good, "ok  ") } else { (Paint::Bad, "FAIL") };
        let place = style.dim(&format!("{}:{}", report.file, report.line));
        let rows = match report.rows.len() {
            1 => "1 row".to_owned(),
            count => format!("{count} rows"),
        };
        text.push_str(&format!("{} {} ({rows}) {place}\n", style.paint(paint, outcome), report.name));
        for row in report.rows.iter().filter(|row| verbose || !row.differences.is_empty()) {
            text.push_str(&difference(row, &report.file, style));
        }
    }
    let rows = || reports.iter().flat_map(|report| &report.rows);
    let failed = rows().filter(|row| !row.differences.is_empty()).count();
    text.push_str(&match (rows().count(), failed) {
        (0, _) => style.paint(Paint::Bad, "no case has a row to check\n"),
        (all, 0) => style.paint(Paint::Good, &format!("all {all} rows are as expected\n")),
        (all, failed) => style.paint(Paint::Bad, &format!("{failed} of {all} rows differ\n")),
    });
    text
}

/// A row, and below it what was expected (`-`), what came out (`+`) and why.
fn difference(row: &RowReport, file: &str, style: Style) -> String {
    let port = if row.protocol.has_ports() { row.port } else { row.port >> 8 };
    let place = style.dim(&format!("{file}:{}", row.line));
    let mut text = format!("     {} -> {} {port}/{} {place}\n", row.from, row.to, row.protocol);
    for difference in &row.differences {
        let expected = format!("       - {} {}\n", difference.side, difference.expected);
        let found = format!("       + {} {}\n", difference.side, difference.found);
        text.push_str(&style.paint(Paint::Good, &expected));
        text.push_str(&style.paint(Paint::Bad, &found));
        text.push_str(&format!("         {}\n", difference.why));
    }
    text
}
