//! The rules of the house that are programs. Each check returns what is wrong, with a place and what to do; nothing is
//! mended here and there is no list of known offenders.

mod crates;
mod markdown;
mod rust;
mod smells;
mod tests_of_tests;

use std::{fmt::Write as _, io, path::Path};

/// One broken rule at one place.
pub(crate) struct Finding {
    pub(crate) rule: &'static str,
    pub(crate) place: String,
    pub(crate) what: String,
}

impl Finding {
    fn new(rule: &'static str, place: impl Into<String>, what: impl Into<String>) -> Self {
        Self { rule, place: place.into(), what: what.into() }
    }
}

/// Runs every check over the tree at `root`; true when there is nothing to mend.
pub(crate) fn run(root: &Path) -> io::Result<bool> {
    let sources =
        rust::find(root, "rs")?.iter().map(|file| rust::Source::read(root, file)).collect::<io::Result<Vec<_>>>()?;
    let mut findings = crates::check(root)?;
    findings.extend(smells::check(&sources));
    findings.extend(tests_of_tests::check(&sources));
    findings.extend(markdown::check(root)?);
    findings.sort_by(|a, b| (a.rule, &a.place).cmp(&(b.rule, &b.place)));
    println!("{}", report(&findings, &sources));
    Ok(findings.is_empty())
}

fn report(findings: &[Finding], sources: &[rust::Source]) -> String {
    let mut out = String::new();
    let mut rule = "";
    for finding in findings {
        if finding.rule != rule {
            rule = finding.rule;
            let _ = writeln!(out, "{rule}:");
        }
        let _ = writeln!(out, "  {}: {}", finding.place, finding.what);
    }
    let lines: usize = sources.iter().map(rust::Source::production_lines).sum();
    let long = sources.iter().filter(|s| s.production_lines() > smells::FILE_SOFT).count();
    let _ = write!(
        out,
        "tidy: {} files, {lines} production lines, {long} files over the soft limit of {}, {} to mend",
        sources.len(),
        smells::FILE_SOFT,
        findings.len()
    );
    out
}
