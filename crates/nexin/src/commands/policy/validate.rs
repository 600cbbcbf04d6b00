//! `nexin policy validate`: every mistake with its place, without an agent.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use nexin_agent::words::{diagnostic, policy_ref};
use nexin_api::v1::{Diagnostic, Severity, ValidateReply};
use nexin_policy::input;

use super::super::Context;
use super::files;
use crate::error::Result;
use crate::output::{Paint, Style};

#[derive(Args)]
pub(crate) struct Validate {
    /// Files or directories of YAML documents, - for standard input
    #[arg(short, long = "file", required_unless_present = "paths", value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The same, without the flag
    #[arg(value_name = "FILE", conflicts_with = "files")]
    paths: Vec<PathBuf>,
    /// Take documents as a Kubernetes API server would: unknown fields are dropped with a warning
    #[arg(long)]
    lenient: bool,
    /// Fail on warnings too
    #[arg(long)]
    strict: bool,
}

pub(crate) fn validate(context: &Context, args: &Validate) -> Result<ExitCode> {
    let strictness = if args.lenient { input::Strictness::Prune } else { input::Strictness::Strict };
    let mut reply = ValidateReply { valid: true, ..ValidateReply::default() };
    let mut texts = BTreeMap::new();
    for file in files::read(&[&args.files[..], &args.paths[..]].concat())? {
        let parsed = input::parse(&file.text, &file.name, strictness);
        reply.documents.extend(parsed.documents.iter().map(|document| policy_ref(&document.key())));
        reply.diagnostics.extend(parsed.diagnostics.iter().map(diagnostic));
        let missing = parsed.documents.iter().flat_map(input::Document::unenforceable);
        reply.diagnostics.extend(missing.map(|diagnostic| not_enforceable(&diagnostic)));
        texts.insert(file.name, file.text);
    }
    let worst = reply.diagnostics.iter().map(|diagnostic| diagnostic.severity).max();
    reply.valid = worst < Some(Severity::NotEnforceable);
    context.out.show(&reply, |style| render(&reply, &texts, style))?;
    let fails = !reply.valid || (args.strict && worst.is_some());
    Ok(if fails { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn not_enforceable(said: &input::Diagnostic) -> Diagnostic {
    let mut said = Diagnostic { severity: Severity::NotEnforceable, ..diagnostic(said) };
    // The severity says so already.
    if let Some(what) = said.message.strip_prefix("not enforceable yet: ") {
        said.message = what.to_owned();
    }
    said
}

fn render(reply: &ValidateReply, texts: &BTreeMap<String, String>, style: Style) -> String {
    let mut text = String::new();
    for diagnostic in &reply.diagnostics {
        let source = texts.get(&diagnostic.file).map_or("", String::as_str);
        text.push_str(&one(diagnostic, source, style));
        text.push('\n');
    }
    let count = |severity| reply.diagnostics.iter().filter(|diagnostic| diagnostic.severity == severity).count();
    let plural = |count: usize| if count == 1 { "" } else { "s" };
    let notes = [
        (Severity::Error, format!("error{}", plural(count(Severity::Error)))),
        (Severity::NotEnforceable, "not enforceable yet".to_owned()),
        (Severity::Warning, format!("warning{}", plural(count(Severity::Warning)))),
    ];
    let notes: String = notes
        .iter()
        .filter(|(severity, _)| count(*severity) > 0)
        .map(|(severity, name)| format!("; {} {name}", count(*severity)))
        .collect();
    let (paint, verdict) = if reply.valid { (Paint::Good, "valid") } else { (Paint::Bad, "refused") };
    let documents = reply.documents.len();
    let documents = format!("{documents} document{} without errors", plural(documents));
    text.push_str(&format!("{}: {documents}{notes}\n", style.paint(paint, verdict)));
    text
}

/// Diagnostics with the lines of `source` that they are about; without a source only the places.
pub(super) fn diagnostics(diagnostics: &[Diagnostic], source: &str, style: Style) -> String {
    diagnostics.iter().map(|diagnostic| one(diagnostic, source, style)).collect()
}

fn one(diagnostic: &Diagnostic, source: &str, style: Style) -> String {
    let (paint, kind) = match diagnostic.severity {
        Severity::Error => (Paint::Bad, "error"),
        Severity::NotEnforceable => (Paint::Bad, "not enforceable yet"),
        Severity::Warning => (Paint::Warn, "warning"),
    };
    let mut text = format!("{}: {}\n", style.paint(paint, kind), diagnostic.message);
    let field = if diagnostic.field.is_empty() { String::new() } else { format!(" {}", diagnostic.field) };
    let place = format!("  --> {}:{}:{}{field}\n", diagnostic.file, diagnostic.line, diagnostic.column);
    text.push_str(&style.dim(&place));
    if let Some(line) = diagnostic.line.checked_sub(1).and_then(|line| source.lines().nth(line as usize)) {
        let number = diagnostic.line.to_string();
        let margin = " ".repeat(number.len());
        let indent = " ".repeat(diagnostic.column.saturating_sub(1) as usize);
        text.push_str(&format!("{margin} |\n{number} | {line}\n{margin} | {indent}{}\n", style.paint(paint, "^")));
    }
    if let Some(hint) = &diagnostic.hint {
        text.push_str(&format!("  help: {hint}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn diagnostic() -> Diagnostic {
        Diagnostic {
            severity: Severity::Error,
            file: "p.yaml".into(),
            line: 2,
            column: 3,
            field: "spec.ingres".into(),
            message: "no field is called `ingres`".into(),
            hint: Some("did you mean `ingress`?".into()),
        }
    }

    #[test]
    fn the_line_is_shown_with_a_mark() {
        assert_eq!(
            one(&diagnostic(), "spec:\n  ingres: []\n", Style::new(false)),
            "error: no field is called `ingres`\n  --> p.yaml:2:3 spec.ingres\n  |\n2 |   ingres: []\n  |   ^\n  help: did you mean `ingress`?\n"
        );
    }

    #[test]
    fn without_the_source_the_place_is_enough() {
        let text = one(&Diagnostic { line: 9, ..diagnostic() }, "", Style::new(false));
        assert_eq!(text.lines().nth(1), Some("  --> p.yaml:9:3 spec.ingres"));
        assert_eq!(text.lines().count(), 3);
    }
}
