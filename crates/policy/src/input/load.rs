//! YAML (and so JSON) text to trees, with bounded work.
//!
//! Documents are read one by one, so that a mistake in one leaves the others readable. No recursion: depth, size and
//! what aliases may unfold to are limited, and a text past a limit is refused, never cut short.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span, Tag};

use super::Strictness;
use super::diagnostic::{Diagnostic, Pos, Severity};
use super::node::{Entry, Node, Value};
use super::scalar;

/// Bytes of one text. A policy of 10,000 rules takes about 2 MiB.
const MAX_BYTES: usize = 16 << 20;
/// Levels of nesting. The deepest field of any policy kind is at 13.
const MAX_DEPTH: usize = 64;
/// Values of one document, with aliases unfolded. What has an anchor counts twice: it is kept until the end.
const MAX_NODES: usize = 1 << 20;
/// Findings of one document that are told; a text with more is something else.
pub(super) const MAX_FINDINGS: usize = 1000;

/// A document that was read.
pub(crate) struct Root {
    pub(crate) node: Node,
    /// Reading it found errors (keys written twice); it must not be used, only looked through for more.
    pub(crate) faulty: bool,
}

/// Reads all documents of a text. Those that cannot be read are missing, with a diagnostic.
pub(crate) fn documents(text: &str, file: &Arc<str>, strictness: Strictness) -> (Vec<Root>, Vec<Diagnostic>) {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut diagnostics = Vec::new();
    let mut nodes = Vec::new();
    if text.len() > MAX_BYTES {
        let message = format!("the text has {} bytes, the limit is {MAX_BYTES}", text.len());
        diagnostics.push(error(
            file,
            Pos { line: 1, column: 1 },
            message,
            Some("split it into several files".to_owned()),
        ));
        return (nodes, diagnostics);
    }
    if let Some((at, character)) = unprintable(text) {
        let help = "what stands behind it would be read as another text; take it out, or write it as an escape in double quotes";
        let message = format!("the character U+{:04X} may not stand in YAML", u32::from(character));
        diagnostics.push(error(file, at, message, Some(help.to_owned())));
        return (nodes, diagnostics);
    }
    for (first_line, chunk) in chunks(text) {
        let mut loader =
            Loader { file, first_line, strictness, diagnostics: &mut diagnostics, anchors: HashMap::new(), nodes: 0 };
        let before = loader.diagnostics.len();
        match loader.read(chunk) {
            Ok(roots) => {
                let faulty = loader.diagnostics[before..].iter().any(Diagnostic::is_error);
                nodes.extend(roots.into_iter().map(|node| Root { node, faulty }));
            }
            Err(diagnostic) => loader.diagnostics.push(diagnostic),
        }
    }
    (nodes, diagnostics)
}

fn error(file: &Arc<str>, at: Pos, message: String, help: Option<String>) -> Diagnostic {
    Diagnostic {
        severity: Severity::Error,
        message,
        file: file.clone(),
        line: at.line,
        column: at.column,
        path: String::new(),
        help,
    }
}

/// The first character outside YAML's `c-printable` (YAML 1.2.2, section 5.1), which a parser may take for the end of the text.
fn unprintable(text: &str) -> Option<(Pos, char)> {
    let allowed = |c: char| {
        matches!(c, '\t' | '\n' | '\r' | ' '..='~' | '\u{85}' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
            && c != '\u{feff}'
    };
    let (offset, character) = text.char_indices().find(|(_, c)| !allowed(*c))?;
    let before = &text[..offset];
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    Some((Pos { line: line as u32, column: column as u32 }, character))
}

/// Cuts a text before each `---` line. Gives the number of lines before each piece; leaves out pieces without content.
fn chunks(text: &str) -> Vec<(u32, &str)> {
    let mut cuts = vec![(0_u32, 0_usize)];
    let mut offset = 0;
    for (line, content) in (0_u32..).zip(text.split_inclusive('\n')) {
        if offset > 0 && is_marker(content) {
            cuts.push((line, offset));
        }
        offset += content.len();
    }
    let ends = cuts.iter().skip(1).map(|(_, offset)| *offset).chain([text.len()]);
    cuts.iter()
        .zip(ends)
        .map(|((line, start), end)| (*line, &text[*start..end]))
        .filter(|(_, chunk)| has_content(chunk))
        .collect()
}

fn is_marker(line: &str) -> bool {
    line.strip_prefix("---").is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
}

fn has_content(chunk: &str) -> bool {
    chunk.lines().any(|line| {
        let line = if is_marker(line) { &line[3..] } else { line };
        let line = line.trim();
        !(line.is_empty() || line == "..." || line.starts_with('#') || line.starts_with("%YAML"))
    })
}

struct Loader<'a> {
    file: &'a Arc<str>,
    /// Lines of the text before this piece.
    first_line: u32,
    strictness: Strictness,
    diagnostics: &'a mut Vec<Diagnostic>,
    /// What is finished and has an anchor.
    anchors: HashMap<usize, Built>,
    nodes: usize,
}

/// A finished value, with what it costs to have it again.
#[derive(Clone)]
struct Built {
    node: Node,
    /// Values in it, itself included.
    nodes: usize,
    /// Levels of nesting below it.
    height: usize,
}

/// A collection that is not closed yet.
struct Frame {
    at: Pos,
    anchor: usize,
    /// Height of the highest value in it.
    height: usize,
    /// Nodes made before this one.
    before: usize,
    open: Open,
}

enum Open {
    List(Vec<Node>),
    Map { entries: Vec<Entry>, seen: HashMap<String, usize>, key: Option<(String, Pos)> },
}

impl Loader<'_> {
    fn read(&mut self, chunk: &str) -> Result<Vec<Node>, Diagnostic> {
        let mut parser = Parser::new_from_str(chunk);
        let mut roots = Vec::new();
        let mut stack: Vec<Frame> = Vec::new();
        while let Some(event) = parser.next_event() {
            let (event, span) = event.map_err(|error| self.unreadable(&error, chunk))?;
            let at = self.pos(&span);
            let finished = match event {
                Event::StreamEnd => break,
                Event::Scalar(text, style, anchor, tag) => {
                    let value = self.scalar(&text, style, tag.as_deref(), at)?;
                    self.count(1, at)?;
                    let built = Built { node: Node { value, at }, nodes: 1, height: 0 };
                    self.remember(anchor, &built)?;
                    Some(built)
                }
                Event::Alias(anchor) => Some(self.alias(anchor, at, stack.len())?),
                Event::SequenceStart(anchor, tag) => {
                    self.open(&mut stack, at, anchor, tag.as_deref(), Open::List(Vec::new()))?;
                    None
                }
                Event::MappingStart(anchor, tag) => {
                    let map = Open::Map { entries: Vec::new(), seen: HashMap::new(), key: None };
                    self.open(&mut stack, at, anchor, tag.as_deref(), map)?;
                    None
                }
                Event::SequenceEnd | Event::MappingEnd => stack.pop().map(|frame| self.close(frame)).transpose()?,
                Event::Nothing | Event::StreamStart | Event::DocumentStart(_) | Event::DocumentEnd => None,
            };
            if let Some(built) = finished {
                match stack.last_mut() {
                    Some(frame) => self.place(frame, built)?,
                    None => roots.push(built.node),
                }
            }
        }
        Ok(roots)
    }

    fn open(
        &mut self,
        stack: &mut Vec<Frame>,
        at: Pos,
        anchor: usize,
        tag: Option<&Tag>,
        open: Open,
    ) -> Result<(), Diagnostic> {
        if let Some(tag) = tag
            && !(tag.is_yaml_core_schema() && matches!(&*tag.suffix, "map" | "seq"))
        {
            return Err(self.error(at, format!("the tag {}{} is not known", tag.handle, tag.suffix), None));
        }
        if stack.len() >= MAX_DEPTH {
            return Err(self.error(at, format!("nested deeper than {MAX_DEPTH} levels"), None));
        }
        let before = self.nodes;
        self.count(1, at)?;
        stack.push(Frame { at, anchor, height: 0, before, open });
        Ok(())
    }

    fn close(&mut self, frame: Frame) -> Result<Built, Diagnostic> {
        let value = match frame.open {
            Open::List(items) => Value::List(items),
            Open::Map { entries, .. } => Value::Map(self.merge(entries)?),
        };
        let node = Node { value, at: frame.at };
        let built = Built { node, nodes: self.nodes - frame.before, height: frame.height };
        self.remember(frame.anchor, &built)?;
        Ok(built)
    }

    fn place(&mut self, frame: &mut Frame, built: Built) -> Result<(), Diagnostic> {
        let Built { node, height, .. } = built;
        frame.height = frame.height.max(height + 1);
        let (entries, seen, pending) = match &mut frame.open {
            Open::List(items) => {
                items.push(node);
                return Ok(());
            }
            Open::Map { entries, seen, key } => (entries, seen, key),
        };
        let Some((key, key_at)) = pending.take() else {
            *pending = Some((self.key(&node)?, node.at));
            return Ok(());
        };
        match seen.get(&key) {
            None => {
                seen.insert(key.clone(), entries.len());
                entries.push(Entry { key, key_at, node });
            }
            Some(&earlier) => {
                let first = entries[earlier].key_at;
                let message = format!("`{key}` is written twice; the first is in line {}", first.line);
                let help = Some("one of the two is lost: join or remove them".to_owned());
                let severity = self.strictness.lapse();
                self.diagnostics.push(Diagnostic { severity, ..error(self.file, key_at, message, help) });
                entries[earlier] = Entry { key, key_at, node };
                if self.diagnostics.len() > MAX_FINDINGS {
                    return Err(self.error(key_at, "more is wrong than can be told".to_owned(), None));
                }
            }
        }
        Ok(())
    }

    fn key(&self, node: &Node) -> Result<String, Diagnostic> {
        match &node.value {
            Value::String(text) => Ok(text.clone()),
            Value::Int(number) => Ok(number.to_string()),
            Value::Float(number) => Ok(number.to_string()),
            Value::Bool(value) => Ok(value.to_string()),
            Value::Null => Err(self.error(node.at, "a key is empty".to_owned(), None)),
            Value::List(_) | Value::Map(_) => {
                Err(self.error(node.at, format!("a key must be a word, this is {}", node.kind()), None))
            }
        }
    }

    /// Unfolds `<<: *anchor`: keys of the other mappings that are not written here.
    fn merge(&mut self, mut entries: Vec<Entry>) -> Result<Vec<Entry>, Diagnostic> {
        let Some(at) = entries.iter().position(|entry| entry.key == "<<") else { return Ok(entries) };
        let merged = entries.remove(at);
        let others = match merged.node.value {
            Value::List(items) => items,
            value => vec![Node { value, at: merged.node.at }],
        };
        let mut written: HashSet<String> = entries.iter().map(|entry| entry.key.clone()).collect();
        for other in others {
            let Value::Map(more) = other.value else {
                let help = Some("write `<<: *anchor`".to_owned());
                return Err(self.error(other.at, format!("`<<` takes mappings, this is {}", other.kind()), help));
            };
            entries.extend(more.into_iter().filter(|entry| written.insert(entry.key.clone())));
        }
        Ok(entries)
    }

    fn remember(&mut self, anchor: usize, built: &Built) -> Result<(), Diagnostic> {
        if anchor > 0 {
            self.count(built.nodes, built.node.at)?;
            self.anchors.insert(anchor, built.clone());
        }
        Ok(())
    }

    fn alias(&mut self, anchor: usize, at: Pos, depth: usize) -> Result<Built, Diagnostic> {
        let Some(built) = self.anchors.get(&anchor).cloned() else {
            return Err(self.error(at, "this alias refers to what it is a part of".to_owned(), None));
        };
        if depth + built.height >= MAX_DEPTH {
            return Err(self.error(at, format!("nested deeper than {MAX_DEPTH} levels"), None));
        }
        self.count(built.nodes, at)?;
        Ok(built)
    }

    fn count(&mut self, nodes: usize, at: Pos) -> Result<(), Diagnostic> {
        self.nodes = self.nodes.saturating_add(nodes);
        if self.nodes > MAX_NODES {
            let help = Some("aliases count as often as they are used".to_owned());
            return Err(self.error(at, format!("more than {MAX_NODES} values in one document"), help));
        }
        Ok(())
    }

    fn scalar(&self, text: &str, style: ScalarStyle, tag: Option<&Tag>, at: Pos) -> Result<Value, Diagnostic> {
        let plain = style == ScalarStyle::Plain;
        let Some(tag) = tag else {
            return Ok(if plain { scalar::resolve(text) } else { Value::String(text.to_owned()) });
        };
        let unknown = || self.error(at, format!("the tag {}{} is not known", tag.handle, tag.suffix), None);
        if !tag.is_yaml_core_schema() {
            return Err(unknown());
        }
        let value = scalar::resolve(text);
        match (&*tag.suffix, &value) {
            ("str", _) => Ok(Value::String(text.to_owned())),
            ("int", Value::Int(_)) | ("bool", Value::Bool(_)) | ("null", Value::Null) => Ok(value),
            ("float", Value::Int(_) | Value::Float(_)) => Ok(value),
            ("int" | "bool" | "null" | "float", _) => {
                Err(self.error(at, format!("{text:?} is no {}", tag.suffix), None))
            }
            _ => Err(unknown()),
        }
    }

    fn pos(&self, span: &Span) -> Pos {
        self.marker(span.start.line(), span.start.col())
    }

    fn marker(&self, line: usize, column: usize) -> Pos {
        let line = u32::try_from(line).unwrap_or(u32::MAX).saturating_add(self.first_line);
        Pos { line, column: u32::try_from(column).unwrap_or(u32::MAX).saturating_add(1) }
    }

    fn error(&self, at: Pos, message: String, help: Option<String>) -> Diagnostic {
        error(self.file, at, message, help)
    }

    fn unreadable(&self, scan: &ScanError, chunk: &str) -> Diagnostic {
        let marker = scan.marker();
        // What is wrong is often noticed at the end of the line before.
        let near = chunk.lines().skip(marker.line().saturating_sub(1)).take(2);
        let tab = near.into_iter().any(|line| line.trim_start_matches(' ').starts_with('\t'));
        let help = tab.then(|| "a line here begins with a tab; YAML is indented with spaces".to_owned());
        let message = match scan.info() {
            info if info.contains("recursion limit") => format!("nested deeper than {MAX_DEPTH} levels"),
            info => format!("not readable as YAML: {info}"),
        };
        self.error(self.marker(marker.line(), marker.col()), message, help)
    }
}
