//! YAML of version 1.1, as Go's reader takes it, to a tree of JSON: `yes` is true, `010` is eight, `<<` merges, of a key that stands
//! twice the last counts, and only the first document is read. Depth and size are limited.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Tag};
use serde_json::{Map, Number, Value};

use super::DocumentError;

/// Bytes of a file; more is something else.
const MAX_BYTES: usize = 4 << 20;
const MAX_DEPTH: usize = 64;
/// Values, with aliases unfolded.
const MAX_NODES: usize = 1 << 18;

pub(super) fn load(text: &str) -> Result<Value, DocumentError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.len() > MAX_BYTES {
        return Err(refused(format!("the file has {} bytes, the limit is {MAX_BYTES}", text.len())));
    }
    let mut loader = Loader::default();
    let mut parser = Parser::new_from_str(text);
    while let Some(event) = parser.next_event() {
        let (event, _) = event.map_err(|error| unreadable(&error))?;
        let done = match event {
            Event::StreamEnd | Event::DocumentEnd => break,
            Event::Scalar(text, style, anchor, tag) => Some((anchor, scalar(&text, style, tag.as_deref())?)),
            Event::Alias(anchor) => {
                let node = loader.anchors.get(&anchor).cloned().unwrap_or_default();
                loader.count(nodes(&node))?;
                Some((0, node))
            }
            Event::SequenceStart(anchor, _) => {
                loader.open(Open::List(anchor, Vec::new()))?;
                None
            }
            Event::MappingStart(anchor, _) => {
                loader.open(Open::Map { anchor, map: Map::new(), merged: Vec::new(), key: None })?;
                None
            }
            Event::SequenceEnd | Event::MappingEnd => loader.close(),
            Event::Nothing | Event::StreamStart | Event::DocumentStart(_) => None,
        };
        if let Some((anchor, node)) = done {
            loader.place(anchor, node)?;
        }
    }
    Ok(loader.root)
}

fn refused(message: String) -> DocumentError {
    DocumentError::NotYaml(message)
}

/// The reader's words as Go's would say them. That one counts lines from zero where the structure is wrong, names none for
/// the first, and finds the end of a text behind its last line.
fn unreadable(error: &ScanError) -> DocumentError {
    const TAB: &str = "found character that cannot start any token";
    let info = error.info();
    let (context, what) =
        info.rsplit_once(", ").filter(|(context, _)| context.starts_with("while ")).unwrap_or(("", info));
    let of_structure = context.starts_with("while parsing") || what.starts_with("did not find expected");
    let line = match error.marker().line() {
        line if of_structure => line.saturating_sub(1),
        line if what == "found unexpected end of stream" => line + 1,
        1 => 0,
        line => line,
    };
    let what = if what.starts_with("tabs disallowed") { TAB } else { what };
    refused(if line == 0 { what.to_owned() } else { format!("line {line}: {what}") })
}

#[derive(Default)]
struct Loader {
    root: Value,
    stack: Vec<Open>,
    anchors: HashMap<usize, Value>,
    count: usize,
}

enum Open {
    List(usize, Vec<Value>),
    Map { anchor: usize, map: Map<String, Value>, merged: Vec<Value>, key: Option<String> },
}

impl Loader {
    fn count(&mut self, nodes: usize) -> Result<(), DocumentError> {
        self.count += nodes;
        let fits = self.count <= MAX_NODES;
        if fits { Ok(()) } else { Err(refused(format!("more than {MAX_NODES} values"))) }
    }

    fn open(&mut self, open: Open) -> Result<(), DocumentError> {
        if self.stack.len() >= MAX_DEPTH {
            return Err(refused(format!("nested deeper than {MAX_DEPTH} levels")));
        }
        self.stack.push(open);
        Ok(())
    }

    fn close(&mut self) -> Option<(usize, Value)> {
        Some(match self.stack.pop()? {
            Open::List(anchor, list) => (anchor, Value::Array(list)),
            Open::Map { anchor, mut map, merged, .. } => {
                // What a map says itself goes before what it merges.
                for (key, value) in merged.into_iter().flat_map(entries) {
                    map.entry(key).or_insert(value);
                }
                (anchor, Value::Object(map))
            }
        })
    }

    fn place(&mut self, anchor: usize, node: Value) -> Result<(), DocumentError> {
        self.count(1)?;
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        match self.stack.last_mut() {
            None => self.root = node,
            Some(Open::List(_, list)) => list.push(node),
            Some(Open::Map { map, merged, key, .. }) => match key.take() {
                None => {
                    let name = super::text(&node).or_else(|| node.is_null().then(|| "null".to_owned()));
                    *key = Some(name.ok_or_else(|| refused(format!("invalid map key: {node}")))?);
                }
                Some(name) if name == "<<" => merged.push(node),
                Some(name) => {
                    map.insert(name, node);
                }
            },
        }
        Ok(())
    }
}

/// What a merge brings: of a list of maps, the first goes before the later ones.
fn entries(node: Value) -> Vec<(String, Value)> {
    match node {
        Value::Object(map) => map.into_iter().collect(),
        Value::Array(list) => list.into_iter().flat_map(entries).collect(),
        _ => Vec::new(),
    }
}

fn nodes(node: &Value) -> usize {
    match node {
        Value::Array(list) => 1 + list.iter().map(nodes).sum::<usize>(),
        Value::Object(map) => 1 + map.values().map(nodes).sum::<usize>(),
        _ => 1,
    }
}

fn scalar(text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Result<Value, DocumentError> {
    let tag = tag.filter(|tag| tag.is_yaml_core_schema()).map(|tag| tag.suffix.as_str());
    if style != ScalarStyle::Plain || tag == Some("str") {
        return Ok(Value::String(text.to_owned()));
    }
    let value = plain(text);
    let fits = match tag {
        Some("int") => value.is_i64() || value.is_u64(),
        Some("float") => value.is_number(),
        Some("bool") => value.is_boolean(),
        Some("null") => value.is_null(),
        _ => true,
    };
    if fits { Ok(value) } else { Err(refused(format!("cannot decode !!str `{text}` as a !!{}", tag.unwrap_or("str")))) }
}

fn plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => return Value::Bool(true),
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            return Value::Bool(false);
        }
        _ => {}
    }
    let digits = text.replace('_', "");
    if let Some(number) = integer(&digits) {
        return Value::Number(number);
    }
    let body = digits.strip_prefix(['+', '-']).unwrap_or(&digits);
    let decimal = body.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && body.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-'));
    let float = decimal.then(|| digits.parse::<f64>().ok()).flatten();
    float.and_then(Number::from_f64).map_or_else(|| Value::String(text.to_owned()), Value::Number)
}

/// Decimal, or with one of the prefixes `0x`, `0b`, `0o` and `0`.
fn integer(text: &str) -> Option<Number> {
    let (sign, body) = match text.strip_prefix('-') {
        Some(body) => ("-", body),
        None => ("", text.strip_prefix('+').unwrap_or(text)),
    };
    let (radix, digits) = match body.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, &body[2..]),
        [b'0', b'b' | b'B', ..] => (2, &body[2..]),
        [b'0', b'o' | b'O', ..] => (8, &body[2..]),
        [b'0', _, ..] => (8, &body[1..]),
        _ => (10, body),
    };
    // The standard parser takes a second sign.
    if !digits.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        return None;
    }
    let signed = i64::from_str_radix(&format!("{sign}{digits}"), radix).ok().map(Number::from);
    signed.or_else(|| u64::from_str_radix(digits, radix).ok().filter(|_| sign.is_empty()).map(Number::from))
}
