//! The configuration file: flat YAML.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use saphyr::{LoadableYamlNode, Scalar, Yaml};

use crate::gotext;

/// A value as a file or the environment gives it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Given {
    Bool(bool),
    Number(i64),
    Text(String),
    List(Vec<String>),
}

impl Given {
    pub(crate) fn as_bool(&self) -> bool {
        match self {
            Self::Bool(value) => *value,
            Self::Number(number) => *number != 0,
            Self::Text(text) => gotext::parse_bool(text).unwrap_or(false),
            Self::List(_) => false,
        }
    }

    pub(crate) fn as_text(&self) -> String {
        match self {
            Self::Bool(value) => value.to_string(),
            Self::Number(number) => number.to_string(),
            Self::Text(text) => text.clone(),
            Self::List(_) => String::new(),
        }
    }

    /// A text is split at white space.
    pub(crate) fn as_list(&self) -> Vec<String> {
        match self {
            Self::List(list) => list.clone(),
            Self::Text(text) => text.split_whitespace().map(str::to_owned).collect(),
            other => vec![other.as_text()],
        }
    }

    /// As YAML, for the place after `key: `.
    pub(crate) fn yaml(&self, indent: usize) -> String {
        match self {
            Self::Bool(value) => value.to_string(),
            Self::Number(number) => number.to_string(),
            Self::Text(text) => yaml_text(text),
            Self::List(list) if list.is_empty() => "[]".to_owned(),
            Self::List(list) => list.iter().map(|item| format!("\n{:indent$}- {}", "", yaml_text(item))).collect(),
        }
    }
}

/// A YAML scalar that reads back as this text.
pub(crate) fn yaml_text(text: &str) -> String {
    if text.chars().any(|c| c != '\n' && !gotext::is_print(c)) || text.contains('\n') {
        return gotext::quote(text);
    }
    let document = Yaml::load_from_str(text);
    let as_written = document.is_ok_and(|documents| match documents.as_slice() {
        [Yaml::Value(Scalar::String(read))] => read.as_ref() == text,
        _ => false,
    });
    let old_bool = matches!(text.to_lowercase().as_str(), "y" | "n" | "yes" | "no" | "on" | "off");
    let other_type = Yaml::load_from_str(text).is_ok_and(
        |documents| matches!(documents.as_slice(), [Yaml::Value(scalar)] if !matches!(scalar, Scalar::String(_))),
    );
    let marks = text
        .starts_with(['-', '?', ':', '@', '`', '%', '!', '&', '*', '\'', '"', '|', '>', '{', '[', '#', ','])
        || text.contains(": ")
        || text.contains(" #")
        || text.ends_with(':')
        || text.starts_with(' ')
        || text.ends_with(' ');
    match () {
        () if text.is_empty() || old_bool || other_type => format!("\"{text}\""),
        () if as_written && !marks => text.to_owned(),
        () => format!("'{}'", text.replace('\'', "''")),
    }
}

/// Top-level keys, in lower case. `None` where there is no such file or it is no YAML mapping.
pub(crate) fn read(path: &str) -> Option<BTreeMap<String, Given>> {
    let text = std::fs::read_to_string(path).ok()?;
    parse(&text)
}

fn parse(text: &str) -> Option<BTreeMap<String, Given>> {
    let documents = Yaml::load_from_str(text).ok()?;
    let Some(document) = documents.first() else { return Some(BTreeMap::new()) };
    let mapping = match document {
        Yaml::Mapping(mapping) => mapping,
        Yaml::Value(Scalar::Null) => return Some(BTreeMap::new()),
        _ => return None,
    };
    let pairs = mapping.iter().filter_map(|(key, value)| Some((scalar(key)?.as_text().to_lowercase(), given(value)?)));
    Some(pairs.collect())
}

fn given(node: &Yaml<'_>) -> Option<Given> {
    match node {
        Yaml::Sequence(items) => {
            Some(Given::List(items.iter().filter_map(scalar).map(|item| item.as_text()).collect()))
        }
        other => scalar(other),
    }
}

fn scalar(node: &Yaml<'_>) -> Option<Given> {
    match node {
        Yaml::Value(Scalar::String(text)) => Some(Given::Text(text.to_string())),
        Yaml::Value(Scalar::Boolean(value)) => Some(Given::Bool(*value)),
        Yaml::Value(Scalar::Integer(number)) => Some(Given::Number(*number)),
        Yaml::Value(Scalar::FloatingPoint(number)) => Some(Given::Text(number.to_string())),
        _ => None,
    }
}

/// Sets one key and leaves the others. The file and its directory are made where they are missing.
pub(crate) fn update(path: &Path, key: &str, value: Given) -> io::Result<()> {
    let mut values = match std::fs::read_to_string(path) {
        Ok(text) => parse(&text).ok_or_else(|| io::Error::other("not a YAML mapping of keys to values"))?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
        Err(error) => return Err(error),
    };
    values.insert(key.to_owned(), value);
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory)?;
    }
    nexin_runtime::files::write_atomic(path, document(&values).as_bytes())
}

pub(crate) fn document(values: &BTreeMap<String, Given>) -> String {
    values.iter().map(|(key, value)| line(key, value)).collect()
}

pub(crate) fn line(key: &str, value: &Given) -> String {
    let text = value.yaml(4);
    let space = if text.starts_with('\n') { "" } else { " " };
    format!("{key}:{space}{text}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_read_back() {
        for (text, expected) in [
            ("localhost:4245", "localhost:4245"),
            ("", "\"\""),
            ("4245", "\"4245\""),
            ("true", "\"true\""),
            ("{\"a\":[\"it's\"]}", "'{\"a\":[\"it''s\"]}'"),
            ("12s", "12s"),
            ("a: b", "'a: b'"),
        ] {
            assert_eq!(yaml_text(text), expected);
        }
    }

    #[test]
    fn keys_are_kept() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("sub/config.yaml");
        update(&path, "server", Given::Text("unix:x".into())).expect("written");
        update(&path, "tls", Given::Bool(true)).expect("written");
        let text = std::fs::read_to_string(&path).expect("there");
        assert_eq!(text, "server: unix:x\ntls: true\n");
        let path = path.to_str().expect("UTF-8");
        assert_eq!(read(path).map(|values| values.len()), Some(2));
    }
}
