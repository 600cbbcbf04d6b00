//! Reading typed values from trees, and telling all that is wrong on the way.
//!
//! A reader returns `None` when its node is of the wrong kind and has then said so; it goes on past what is wrong inside,
//! so that one run tells everything. Whether a document is taken is decided once, by the number of errors.

use std::fmt;
use std::sync::Arc;

use super::Options;
use super::diagnostic::{Diagnostic, Pos, Severity};
use super::load::MAX_FINDINGS;
use super::node::{Entry, Node, Value};
use super::suggest;

/// A value and where it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spanned<T> {
    pub value: T,
    pub at: Pos,
}

/// Where in the document a reader is. Lives on the stack; text is made only for diagnostics.
#[derive(Clone, Copy)]
pub(crate) struct Path<'a> {
    parent: Option<&'a Path<'a>>,
    segment: Segment<'a>,
}

#[derive(Clone, Copy)]
enum Segment<'a> {
    Root,
    Key(&'a str),
    Index(usize),
}

impl<'a> Path<'a> {
    pub(crate) const ROOT: Path<'static> = Path { parent: None, segment: Segment::Root };

    pub(crate) const fn key(&'a self, key: &'a str) -> Self {
        Self { parent: Some(self), segment: Segment::Key(key) }
    }

    /// Below `spec` or `specs`, where a line without a value is one that restricts less than it seems to.
    fn in_spec(&self) -> bool {
        match (self.parent, self.segment) {
            (Some(Path { parent: None, .. }), segment) => matches!(segment, Segment::Key("spec" | "specs")),
            (Some(parent), _) => parent.in_spec(),
            (None, _) => false,
        }
    }

    pub(crate) const fn index(&'a self, index: usize) -> Self {
        Self { parent: Some(self), segment: Segment::Index(index) }
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(parent) = self.parent else { return Ok(()) };
        parent.fmt(f)?;
        match self.segment {
            Segment::Root => Ok(()),
            Segment::Index(index) => write!(f, "[{index}]"),
            Segment::Key(key) if parent.parent.is_none() => f.write_str(key),
            Segment::Key(key) => write!(f, ".{key}"),
        }
    }
}

/// Collects what is found.
pub(crate) struct Context<'a> {
    pub(crate) file: &'a Arc<str>,
    pub(crate) options: Options,
    diagnostics: Vec<Diagnostic>,
    errors: usize,
}

impl<'a> Context<'a> {
    pub(crate) const fn new(file: &'a Arc<str>, options: Options) -> Self {
        Self { file, options, diagnostics: Vec::new(), errors: 0 }
    }

    pub(crate) fn into_diagnostics(self) -> Vec<Diagnostic> {
        self.diagnostics
    }

    pub(crate) fn errors(&self) -> usize {
        self.errors
    }

    pub(crate) fn error(&mut self, path: &Path<'_>, at: Pos, message: impl Into<String>, help: Option<String>) {
        self.report(Severity::Error, path, at, message.into(), help);
    }

    pub(crate) fn warning(&mut self, path: &Path<'_>, at: Pos, message: impl Into<String>, help: Option<String>) {
        self.report(Severity::Warning, path, at, message.into(), help);
    }

    /// What Cilium lets pass and its documentation does not: an error unless pruning was asked for.
    pub(crate) fn lapse(&mut self, path: &Path<'_>, at: Pos, message: impl Into<String>, help: Option<String>) {
        self.report(self.options.strictness.lapse(), path, at, message.into(), help);
    }

    /// Enough has been told; more is counted only.
    fn is_full(&self) -> bool {
        self.diagnostics.len() >= MAX_FINDINGS
    }

    fn report(&mut self, severity: Severity, path: &Path<'_>, at: Pos, message: String, help: Option<String>) {
        self.errors += usize::from(severity == Severity::Error);
        // A warning must not take the place of the error that refuses the document.
        if self.is_full() && (severity == Severity::Warning || self.errors > 1) {
            return;
        }
        self.diagnostics.push(Diagnostic {
            severity,
            message,
            file: self.file.clone(),
            line: at.line,
            column: at.column,
            path: path.to_string(),
            help,
        });
    }

    fn wrong_kind(&mut self, node: &Node, path: &Path<'_>, wanted: &str, help: Option<String>) {
        self.error(path, node.at, format!("this must be {wanted}, it is {}", node.kind()), help);
    }
}

/// A mapping being read. Null values are as if they were not written, as an API server has it.
#[derive(Clone, Copy)]
pub(crate) struct Object<'n> {
    pub(crate) node: &'n Node,
}

impl<'n> Object<'n> {
    /// Opens a mapping and tells of keys that are not known.
    pub(crate) fn open(node: &'n Node, path: &Path<'_>, cx: &mut Context<'_>, known: &[&str]) -> Option<Self> {
        Self::open_with(node, path, cx, known, |_| None)
    }

    /// As [`Self::open`]; `hint` knows what to say of keys that belong elsewhere.
    pub(crate) fn open_with(
        node: &'n Node,
        path: &Path<'_>,
        cx: &mut Context<'_>,
        known: &[&str],
        hint: impl Fn(&str) -> Option<String>,
    ) -> Option<Self> {
        for entry in entries(node, path, cx)? {
            if !known.contains(&entry.key.as_str()) {
                let guess = || hint(&entry.key).or_else(|| suggest::did_you_mean(&entry.key, known));
                let help = if cx.is_full() { None } else { guess() };
                let message = format!("the field `{}` is not known here", entry.key);
                cx.lapse(&path.key(&entry.key), entry.key_at, message, help);
            } else if entry.node.is_null() && path.in_spec() {
                no_value(entry, path, cx);
            }
        }
        Some(Self { node })
    }

    /// Opens a mapping whose keys are looked at elsewhere.
    pub(crate) fn open_any(node: &'n Node, path: &Path<'_>, cx: &mut Context<'_>) -> Option<Self> {
        entries(node, path, cx).map(|_| Self { node })
    }

    pub(crate) const fn at(&self) -> Pos {
        self.node.at
    }

    pub(crate) fn get(&self, key: &str) -> Option<&'n Entry> {
        self.node.get(key)
    }

    /// Where a field is written; where it is not, the mapping's own place.
    pub(crate) fn place(&self, key: &str) -> Pos {
        self.get(key).map_or(self.at(), |entry| entry.key_at)
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.node.get(key).is_some()
    }

    /// The field, or a diagnostic that it is missing.
    pub(crate) fn require(&self, key: &str, path: &Path<'_>, cx: &mut Context<'_>) -> Option<&'n Entry> {
        let entry = self.get(key);
        if entry.is_none() {
            cx.error(path, self.at(), format!("the field `{key}` is missing"), None);
        }
        entry
    }

    /// Reads a field where it is written.
    pub(crate) fn read<T>(
        &self,
        key: &str,
        path: &Path<'_>,
        cx: &mut Context<'_>,
        reader: impl FnOnce(&'n Node, &Path<'_>, &mut Context<'_>) -> Option<T>,
    ) -> Option<T> {
        let entry = self.get(key)?;
        reader(&entry.node, &path.key(key), cx)
    }

    /// Reads a field that is a list, item by item. `None`: the list is not written.
    pub(crate) fn list<T>(
        &self,
        key: &str,
        path: &Path<'_>,
        cx: &mut Context<'_>,
        reader: impl FnMut(&'n Node, &Path<'_>, &mut Context<'_>) -> Option<T>,
    ) -> Option<Vec<T>> {
        self.read(key, path, cx, |node, path, cx| list(node, path, cx, reader))
    }

    pub(crate) fn text(&self, key: &str, path: &Path<'_>, cx: &mut Context<'_>) -> Option<Spanned<String>> {
        self.read(key, path, cx, text)
    }

    /// Which of these fields are written; says so unless it is exactly one.
    pub(crate) fn exactly_one(&self, keys: &[&str], path: &Path<'_>, cx: &mut Context<'_>) {
        let written: Vec<&str> = keys.iter().copied().filter(|key| self.has(key)).collect();
        match written.as_slice() {
            [_] => {}
            [] => cx.error(path, self.at(), format!("one of {} is needed", words(keys)), None),
            more => cx.error(path, self.at(), format!("only one of {} can be given", words(more)), None),
        }
    }
}

/// `a`, `b` and `c`, in backquotes.
pub(crate) fn words(list: &[&str]) -> String {
    let quoted: Vec<String> = list.iter().map(|word| format!("`{word}`")).collect();
    match quoted.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        _ => quoted.join(""),
    }
}

pub(crate) fn entries<'n>(node: &'n Node, path: &Path<'_>, cx: &mut Context<'_>) -> Option<&'n [Entry]> {
    if let Value::Map(entries) = &node.value {
        return Some(entries);
    }
    let help = match &node.value {
        Value::List(_) => Some("leave the `-` out".to_owned()),
        _ => None,
    };
    cx.wrong_kind(node, path, "a mapping of fields", help);
    None
}

pub(crate) fn list<'n, T>(
    node: &'n Node,
    path: &Path<'_>,
    cx: &mut Context<'_>,
    mut reader: impl FnMut(&'n Node, &Path<'_>, &mut Context<'_>) -> Option<T>,
) -> Option<Vec<T>> {
    let Value::List(items) = &node.value else {
        cx.wrong_kind(node, path, "a list", Some("write `- ` before each item".to_owned()));
        return None;
    };
    Some(items.iter().enumerate().filter_map(|(index, item)| reader(item, &path.index(index), cx)).collect())
}

pub(crate) fn text(node: &Node, path: &Path<'_>, cx: &mut Context<'_>) -> Option<Spanned<String>> {
    match &node.value {
        Value::String(value) => Some(Spanned { value: value.clone(), at: node.at }),
        Value::Bool(_) | Value::Int(_) | Value::Float(_) => {
            let help = "put it in quotes: unquoted numbers, yes, no, on and off are not text in YAML";
            cx.wrong_kind(node, path, "text", Some(help.to_owned()));
            None
        }
        _ => {
            cx.wrong_kind(node, path, "text", None);
            None
        }
    }
}

pub(crate) fn boolean(node: &Node, path: &Path<'_>, cx: &mut Context<'_>) -> Option<bool> {
    if let Value::Bool(value) = node.value {
        return Some(value);
    }
    cx.wrong_kind(node, path, "true or false", Some("without quotes".to_owned()));
    None
}

/// A whole number between `low` and `high`.
pub(crate) fn integer(node: &Node, path: &Path<'_>, cx: &mut Context<'_>, low: i64, high: i64) -> Option<i64> {
    let Value::Int(number) = node.value else {
        let help = matches!(&node.value, Value::String(text) if text.parse::<i64>().is_ok())
            .then(|| "write the number without quotes".to_owned());
        cx.wrong_kind(node, path, "a whole number", help);
        return None;
    };
    match i64::try_from(number) {
        Ok(number) if (low..=high).contains(&number) => Some(number),
        _ => {
            cx.error(path, node.at, format!("{number} is not between {low} and {high}"), None);
            None
        }
    }
}

/// One of a few words.
pub(crate) fn one_of<T: Copy>(
    node: &Node,
    path: &Path<'_>,
    cx: &mut Context<'_>,
    choices: &[(&str, T)],
) -> Option<Spanned<T>> {
    let word = text(node, path, cx)?;
    if let Some((_, value)) = choices.iter().find(|(name, _)| *name == word.value) {
        return Some(Spanned { value: *value, at: word.at });
    }
    let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
    let message = format!("{:?} is not one of {}", word.value, words(&names));
    let help = suggest::nearest(word.value.trim(), names.iter().copied()).map(|name| format!("did you mean `{name}`?"));
    cx.error(path, word.at, message, help);
    None
}

/// Tells of a field that is written without a value. An API server takes it as not written.
fn no_value(entry: &Entry, path: &Path<'_>, cx: &mut Context<'_>) {
    let message = format!("`{}` has no value, so it counts as not written", entry.key);
    // Widely written for "every workload of the namespace", which is also what it means.
    if entry.key == "podSelector" && matches!(path.segment, Segment::Key("spec")) {
        let help = Some("write `podSelector: {}`".to_owned());
        cx.warning(&path.key(&entry.key), entry.key_at, message, help);
        return;
    }
    let help = Some("remove the line, or write a value; an empty list is `[]`, an empty text `\"\"`".to_owned());
    cx.lapse(&path.key(&entry.key), entry.key_at, message, help);
}

/// A mapping of words to text; a value that is null is empty text, as Kubernetes has it.
pub(crate) fn text_map(
    node: &Node,
    path: &Path<'_>,
    cx: &mut Context<'_>,
) -> Option<Vec<(Spanned<String>, Spanned<String>)>> {
    let entries = entries(node, path, cx)?;
    let mut pairs = Vec::with_capacity(entries.len());
    for entry in entries {
        let key = Spanned { value: entry.key.clone(), at: entry.key_at };
        if entry.node.is_null() {
            if path.in_spec() {
                no_value(entry, path, cx);
            }
            pairs.push((key, Spanned { value: String::new(), at: entry.node.at }));
        } else if let Some(value) = text(&entry.node, &path.key(&entry.key), cx) {
            pairs.push((key, value));
        }
    }
    Some(pairs)
}
