//! Configuration files as Hubble reads them: YAML taken as JSON, keys without regard to case, unknown keys passed over, and errors in
//! the words of its decoder. Here are only values; what they mean is for the callers.

use nexin_hubble::flow::FlowFilter;
use nexin_hubble::json;
use serde_json::{Map, Value};

mod go;
mod yaml;

/// Why a document is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    #[error("error converting YAML to JSON: yaml: {0}")]
    NotYaml(String),
    /// A value of another kind than the field takes.
    #[error(
        "error unmarshaling JSON: while decoding JSON: json: cannot unmarshal {found} into {place}of type {wanted}"
    )]
    WrongKind { found: String, place: String, wanted: &'static str },
    /// Text that its own type refuses: a time, a duration, a filter.
    #[error("error unmarshaling JSON: while decoding JSON: {0}")]
    Refused(String),
}

/// A whole file.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Document(Map<String, Value>);

impl Document {
    /// `root` is the name of the type that a file holds, for errors.
    pub(crate) fn parse(text: &str, root: &'static str) -> Result<Self, DocumentError> {
        match yaml::load(text)? {
            Value::Null => Ok(Self(Map::new())),
            Value::Object(map) => Ok(Self(map)),
            other => {
                let place = "Go value ".to_owned();
                Err(DocumentError::WrongKind { found: kind(&other).to_owned(), place, wanted: root })
            }
        }
    }

    pub(crate) fn root(&self) -> Entry<'_> {
        Entry { map: &self.0, type_name: "", path: String::new() }
    }
}

/// An object in a document.
#[derive(Clone, Debug)]
pub(crate) struct Entry<'a> {
    map: &'a Map<String, Value>,
    type_name: &'static str,
    path: String,
}

impl<'a> Entry<'a> {
    /// `type_name` is the name that errors give to this object.
    pub(crate) fn of(mut self, type_name: &'static str) -> Self {
        self.type_name = type_name;
        self
    }

    fn present(&self, key: &str) -> Option<&'a Value> {
        let any_case = || self.map.iter().find(|(name, _)| name.eq_ignore_ascii_case(key)).map(|(_, value)| value);
        self.map.get(key).or_else(any_case)
    }

    fn get(&self, key: &str) -> Option<&'a Value> {
        self.present(key).filter(|value| !value.is_null())
    }

    fn wrong(&self, key: &str, found: &Value, wanted: &'static str) -> DocumentError {
        self.mismatch(key, kind(found).to_owned(), wanted)
    }

    fn mismatch(&self, key: &str, found: String, wanted: &'static str) -> DocumentError {
        let place = format!("Go struct field {}.{}{key} ", self.type_name, self.path);
        DocumentError::WrongKind { found, place, wanted }
    }

    /// Text; numbers and truth values are taken as they are written. Empty where there is none.
    pub(crate) fn string(&self, key: &str) -> Result<String, DocumentError> {
        let Some(value) = self.get(key) else { return Ok(String::new()) };
        text(value).ok_or_else(|| self.wrong(key, value, "string"))
    }

    /// Nanoseconds; zero where there is none. Unlike other values, an empty one is a mistake.
    pub(crate) fn duration(&self, key: &str) -> Result<i64, DocumentError> {
        match self.present(key) {
            None => Ok(0),
            Some(Value::String(text)) => go::duration(text),
            Some(other) => go::duration(&other.to_string()),
        }
    }

    /// Seconds since the epoch, and nanoseconds.
    pub(crate) fn time(&self, key: &str) -> Result<Option<(i64, u32)>, DocumentError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::String(text)) => go::time(text).map(Some),
            Some(_) => Err(DocumentError::Refused("Time.UnmarshalJSON: input is not a JSON string".to_owned())),
        }
    }

    pub(crate) fn flag(&self, key: &str) -> Result<bool, DocumentError> {
        match self.get(key) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(other) => Err(self.wrong(key, other, "bool")),
        }
    }

    pub(crate) fn integer(&self, key: &str) -> Result<i64, DocumentError> {
        let Some(value) = self.get(key) else { return Ok(0) };
        let whole = value.as_f64().filter(|float| value.is_f64() && float.fract() == 0.0 && float.abs() < 9e15);
        if let Some(number) = value.as_i64().or_else(|| whole.map(|float| float as i64)) {
            return Ok(number);
        }
        let digits =
            value.as_f64().filter(|_| value.is_f64()).map_or_else(|| value.to_string(), |float| float.to_string());
        let found = if value.is_number() { format!("number {digits}") } else { kind(value).to_owned() };
        Err(self.mismatch(key, found, "int"))
    }

    pub(crate) fn strings(&self, key: &str, wanted: &'static str) -> Result<Vec<String>, DocumentError> {
        match self.get(key) {
            None => Ok(Vec::new()),
            Some(Value::Array(values)) => values
                .iter()
                .map(|value| match value {
                    Value::Null => Ok(String::new()),
                    value => text(value).ok_or_else(|| self.wrong(key, value, "string")),
                })
                .collect(),
            Some(other) => Err(self.wrong(key, other, wanted)),
        }
    }

    /// Objects; `None` for an entry that is left empty. `wanted` is the list's type and `entry` that of its entries.
    pub(crate) fn list(
        &self,
        key: &str,
        wanted: &'static str,
        entry: &'static str,
    ) -> Result<Vec<Option<Entry<'a>>>, DocumentError> {
        let values = match self.get(key) {
            None => return Ok(Vec::new()),
            Some(Value::Array(values)) => values,
            Some(other) => return Err(self.wrong(key, other, wanted)),
        };
        let path = format!("{}{key}.", self.path);
        let objects = values.iter().map(|value| match value {
            Value::Null => Ok(None),
            Value::Object(map) => Ok(Some(Entry { map, type_name: self.type_name, path: path.clone() })),
            other => Err(self.wrong(key, other, entry)),
        });
        objects.collect()
    }

    pub(crate) fn filters(&self, key: &str, wanted: &'static str) -> Result<Vec<FlowFilter>, DocumentError> {
        let values = match self.get(key) {
            None => return Ok(Vec::new()),
            Some(Value::Array(values)) => values,
            Some(other) => return Err(self.wrong(key, other, wanted)),
        };
        let filters = values.iter().map(|value| {
            if value.is_null() {
                return Ok(FlowFilter::default());
            }
            let text = escaped(&value.to_string());
            json::read(text.as_bytes(), json::Unknown::Refuse)
                .map_err(|error| DocumentError::Refused(error.to_string()))
        });
        filters.collect()
    }
}

/// JSON as Go writes it before a message reads it: positions in errors count from there.
fn escaped(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for character in json.chars() {
        match character {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                text.push_str(&format!("\\u{:04x}", u32::from(character)));
            }
            other => text.push(other),
        }
    }
    text
}

/// A scalar as a text field takes it.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(match number.as_f64().filter(|_| number.is_f64()) {
            Some(float) => crate::metrics::float(float, crate::metrics::Format::Prometheus),
            None => number.to_string(),
        }),
        Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}
