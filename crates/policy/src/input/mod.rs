//! What people write, read exactly: YAML and JSON to typed documents with places, and on to rules.
//!
//! Accepts and refuses what an API server with Cilium's definitions and Cilium's agent accept and refuse, except where
//! that would open more than was written; each such case is in `docs/compatibility.md`. Nothing here evaluates a policy,
//! reads a file or knows an identity.

pub mod cidr_group;
pub mod cilium;
pub mod cluster;
pub(crate) mod decode;
mod diagnostic;
mod document;
pub(crate) mod kinds;
pub(crate) mod load;
mod lower;
mod meta;
mod names;
pub mod netpol;
pub(crate) mod node;
mod prefix;
mod regex_syntax;
mod scalar;
pub mod selector;
mod suggest;

use std::sync::Arc;

pub use decode::Spanned;
pub use diagnostic::{Diagnostic, Pos, Severity};
pub use document::{Body, Document, Parsed};
pub use meta::Meta;

use crate::rule::LowerOptions;

/// What is done with what an API server would drop without a word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strictness {
    /// It is an error: a policy that lost a line is another policy.
    #[default]
    Strict,
    /// It is dropped as an API server does, with a warning.
    Prune,
}

impl Strictness {
    /// Severity of what Cilium lets pass and its documentation does not.
    const fn lapse(self) -> Severity {
        match self {
            Self::Strict => Severity::Error,
            Self::Prune => Severity::Warning,
        }
    }
}

/// Settings that decide what is accepted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    pub strictness: Strictness,
    /// Labels of nodes take part in identities, so `fromNodes`, `toNodes` and `nodes` can select them.
    pub node_selector_labels: bool,
    /// Rules may name protocols without ports (GRE, ESP ...) and leave the port out.
    pub extended_protocols: bool,
}

impl From<Strictness> for Options {
    fn from(strictness: Strictness) -> Self {
        Self { strictness, ..Self::default() }
    }
}

/// Reads every document of a text. `file` is the name that diagnostics and rules carry.
pub fn parse(text: &str, file: &str, options: impl Into<Options>) -> Parsed {
    let options = options.into();
    let file: Arc<str> = file.into();
    let (roots, mut diagnostics) = load::documents(text, &file, options.strictness);
    let mut documents = Vec::new();
    for root in &roots {
        let mut cx = decode::Context::new(&file, options);
        let found = kinds::documents(&root.node, &mut cx);
        documents.extend(found.into_iter().filter(|_| !root.faulty));
        diagnostics.append(&mut cx.into_diagnostics());
    }
    diagnostics.sort_by_key(|diagnostic| (diagnostic.line, diagnostic.column));
    Parsed { documents, diagnostics }
}

/// [`parse`], and the documents without errors as rules.
pub fn load(
    text: &str,
    file: &str,
    options: impl Into<Options>,
    lowering: &LowerOptions,
) -> (Vec<crate::rule::Document>, Vec<Diagnostic>) {
    let Parsed { documents, diagnostics } = parse(text, file, options);
    (documents.iter().map(|document| document.lower(lowering)).collect(), diagnostics)
}
