//! What the parser takes and refuses, rule by rule, and what it says.

mod cilium;
mod cluster;
mod hostile;
mod lists;
mod netpol;
mod yaml;

use nexin_policy::input::{self, Options, Parsed, Strictness};

pub(crate) fn parse(text: &str) -> Parsed {
    input::parse(text, "test.yaml", Strictness::Strict)
}

/// Errors as `path: message`.
pub(crate) fn errors(text: &str, options: impl Into<Options>) -> Vec<String> {
    let parsed = input::parse(text, "test.yaml", options);
    let lines = parsed.diagnostics.iter().filter(|diagnostic| diagnostic.is_error());
    lines.map(|diagnostic| format!("{}: {}", diagnostic.path, diagnostic.message)).collect()
}

#[track_caller]
pub(crate) fn check_taken(text: &str) {
    let parsed = parse(text);
    assert!(!parsed.has_errors() && parsed.documents.len() == 1, "{text:.400}\n{:#?}", parsed.diagnostics);
}

/// Refuses, and some error is at the place and has the words.
#[track_caller]
pub(crate) fn check_refused(text: &str, path: &str, words: &str) {
    let parsed = parse(text);
    assert_eq!(parsed.documents.len(), 0, "{text:.400}");
    let found = parsed.diagnostics.iter().any(|diagnostic| {
        let all = format!("{} {}", diagnostic.message, diagnostic.help.as_deref().unwrap_or_default());
        diagnostic.is_error() && diagnostic.path == path && all.contains(words)
    });
    assert!(found, "{text:.400}\nno error at {path} with {words:?} in {:#?}", parsed.diagnostics);
}

/// Refuses, or accepts with a warning when pruning.
#[track_caller]
pub(crate) fn check_lapse(text: &str, path: &str, words: &str) {
    check_refused(text, path, words);
    let pruned = input::parse(text, "test.yaml", Strictness::Prune);
    assert!(!pruned.has_errors() && pruned.documents.len() == 1, "{text:.400}\n{:#?}", pruned.diagnostics);
    assert!(pruned.diagnostics.iter().any(|diagnostic| diagnostic.path == path), "{:#?}", pruned.diagnostics);
}
