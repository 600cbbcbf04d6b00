//! Merging of the three sources, and what comes out.

use std::collections::BTreeMap;
use std::fmt;
use std::fmt::Write as _;
use std::path::PathBuf;

use serde::Serialize;
use serde::de::DeserializeOwned;
use toml::Value;

use super::nearest;

/// One key that a component knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Dotted: `section.name`.
    pub key: &'static str,
    pub doc: &'static str,
    /// The Rust type, as declared.
    pub declared: &'static str,
    /// As it would stand in the TOML file.
    pub default: String,
}

impl Field {
    /// Name of the environment variable: `NEXIN_SECTION_NAME`.
    pub fn variable(&self) -> String {
        format!("NEXIN_{}", self.key.replace('.', "_").to_ascii_uppercase())
    }
}

/// Another name of a key, for files that were written for another program.
#[derive(Clone, Copy, Debug)]
pub struct Alias {
    /// Stands at the top of the file, in no section.
    pub name: &'static str,
    /// Of [`Field::key`].
    pub key: &'static str,
    /// From that program's text to the one the key takes.
    pub translate: fn(&str) -> String,
}

/// A component's settings; made by [`section!`](crate::section).
pub trait Section: Sized {
    fn fields() -> Vec<Field>;
    /// Takes the section's keys out of `values`, defaults for what is not given.
    fn take(values: &mut Values) -> Result<Self, SettingsError>;
}

/// Where a value came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    Default,
    File,
    Environment,
    Flag,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Default => "default",
            Self::File => "file",
            Self::Environment => "environment",
            Self::Flag => "flag",
        })
    }
}

#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    #[error("cannot read the settings file {}: {source}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("the settings file {} is not TOML: {source}", path.display())]
    Syntax { path: PathBuf, source: Box<toml::de::Error> },
    #[error("no setting is called {key} ({origin}){}", hint(suggestion))]
    NoSuchKey { key: String, origin: Origin, suggestion: Option<String> },
    #[error("setting {key} ({origin}) does not take {value}: {reason} (wanted: {declared})")]
    BadValue { key: &'static str, origin: Origin, value: String, declared: &'static str, reason: String },
    #[error("settings contradict each other: {reason}")]
    Contradiction { reason: String },
}

fn hint(suggestion: &Option<String>) -> String {
    suggestion.as_ref().map(|key| format!("; did you mean {key}?")).unwrap_or_default()
}

/// The environment variables that may be settings.
#[derive(Clone, Debug, Default)]
pub struct Environment(pub Vec<(String, String)>);

impl Environment {
    /// All variables of this process that begin with `NEXIN_` and are text.
    pub fn of_process() -> Self {
        Self::with_prefix("NEXIN_")
    }

    /// The same for another prefix: what a runtime tells a program that it starts.
    pub fn with_prefix(prefix: &str) -> Self {
        let text =
            std::env::vars_os().filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)));
        Self(text.filter(|(key, _)| key.starts_with(prefix)).collect())
    }
}

/// What to load from, weakest first.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    pub file: Option<PathBuf>,
    pub environment: Environment,
    /// Dotted keys and values.
    pub flags: Vec<(String, String)>,
}

/// Settings, and where each came from.
#[derive(Clone, Debug)]
pub struct Loaded<T> {
    pub settings: T,
    /// Key -> value as TOML, and origin.
    pub origins: BTreeMap<&'static str, (String, Origin)>,
    /// `NEXIN_*` variables that belong to no section: not errors, since other programs may use the prefix; worth a warning.
    pub foreign_variables: Vec<String>,
}

enum Given {
    Toml(Value),
    Text(String),
}

/// Values on their way into sections.
pub struct Values {
    given: BTreeMap<String, (Given, Origin)>,
    origins: BTreeMap<&'static str, (String, Origin)>,
}

impl Sources {
    /// Reads everything and fills `T` by `build`, which takes each section once.
    pub fn load<T>(
        &self,
        fields: &[Field],
        build: impl FnOnce(&mut Values) -> Result<T, SettingsError>,
    ) -> Result<Loaded<T>, SettingsError> {
        self.load_aliased(fields, &[], build)
    }

    /// The same; the file may have `aliases` at its top.
    pub fn load_aliased<T>(
        &self,
        fields: &[Field],
        aliases: &[Alias],
        build: impl FnOnce(&mut Values) -> Result<T, SettingsError>,
    ) -> Result<Loaded<T>, SettingsError> {
        let mut given = BTreeMap::new();
        if let Some(path) = &self.file {
            read_file(path, aliases, &mut given)?;
        }
        let foreign_variables = self.take_environment(fields, &mut given)?;
        for (key, value) in &self.flags {
            given.insert(key.clone(), (Given::Text(value.clone()), Origin::Flag));
        }
        let unknown = given.iter().find(|(key, _)| !fields.iter().any(|field| field.key == key.as_str()));
        if let Some((key, (_, origin))) = unknown {
            let suggestion = nearest(key, fields.iter().map(|field| field.key)).map(str::to_owned);
            return Err(SettingsError::NoSuchKey { key: key.clone(), origin: *origin, suggestion });
        }
        let mut values = Values { given, origins: BTreeMap::new() };
        let settings = build(&mut values)?;
        Ok(Loaded { settings, origins: values.origins, foreign_variables })
    }

    fn take_environment(
        &self,
        fields: &[Field],
        given: &mut BTreeMap<String, (Given, Origin)>,
    ) -> Result<Vec<String>, SettingsError> {
        let names: BTreeMap<String, &str> = fields.iter().map(|field| (field.variable(), field.key)).collect();
        let is_ours = |name: &str| {
            let sections = fields.iter().filter_map(|field| field.key.split_once('.'));
            sections
                .into_iter()
                .any(|(section, _)| name.starts_with(&format!("NEXIN_{}_", section.to_ascii_uppercase())))
        };
        let mut foreign = Vec::new();
        for (name, value) in &self.environment.0 {
            if let Some(key) = names.get(name) {
                given.insert((*key).to_owned(), (Given::Text(value.clone()), Origin::Environment));
            } else if is_ours(name) {
                let suggestion = nearest(name, names.keys().map(String::as_str)).map(str::to_owned);
                return Err(SettingsError::NoSuchKey { key: name.clone(), origin: Origin::Environment, suggestion });
            } else {
                foreign.push(name.clone());
            }
        }
        Ok(foreign)
    }
}

fn read_file(
    path: &PathBuf,
    aliases: &[Alias],
    given: &mut BTreeMap<String, (Given, Origin)>,
) -> Result<(), SettingsError> {
    let text = std::fs::read_to_string(path).map_err(|source| SettingsError::Read { path: path.clone(), source })?;
    let syntax = |source| SettingsError::Syntax { path: path.clone(), source: Box::new(source) };
    let table: toml::Table = text.parse().map_err(syntax)?;
    for (section, value) in table {
        match value {
            Value::Table(keys) => {
                for (key, value) in keys {
                    given.insert(format!("{section}.{key}"), (Given::Toml(value), Origin::File));
                }
            }
            other => match aliases.iter().find(|alias| alias.name == section) {
                Some(alias) => {
                    let text = other.as_str().map_or_else(|| other.to_string(), str::to_owned);
                    given.entry(alias.key.to_owned()).or_insert((Given::Text((alias.translate)(&text)), Origin::File));
                }
                None => {
                    given.insert(section, (Given::Toml(other), Origin::File));
                }
            },
        }
    }
    Ok(())
}

impl Values {
    /// The value of `key`, or its default.
    pub fn take<T: Serialize + DeserializeOwned>(
        &mut self,
        key: &'static str,
        declared: &'static str,
        default: T,
    ) -> Result<T, SettingsError> {
        let Some((given, origin)) = self.given.remove(key) else {
            self.origins.insert(key, (default_text(&default), Origin::Default));
            return Ok(default);
        };
        let (value, text) = match given {
            Given::Toml(value) => (value.clone().try_into::<T>(), value.to_string()),
            Given::Text(text) => (from_text(&text), text),
        };
        match value {
            Ok(value) => {
                self.origins.insert(key, (default_text(&value), origin));
                Ok(value)
            }
            Err(error) => {
                let reason = error.to_string().trim().to_owned();
                Err(SettingsError::BadValue { key, origin, value: text, declared, reason })
            }
        }
    }
}

/// Text of a flag or a variable: as it stands, as a TOML value, or as a list separated by commas; the first that fits.
fn from_text<T: DeserializeOwned>(text: &str) -> Result<T, toml::de::Error> {
    let literal = format!("v = {text}").parse::<toml::Table>().ok().and_then(|mut table| table.remove("v"));
    let list = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    let list = Value::Array(list.map(|part| Value::String(part.to_owned())).collect());
    let plain: Result<T, _> = Value::String(text.to_owned()).try_into();
    plain.or_else(|error| {
        let others = literal.into_iter().chain([list]);
        let found = others.into_iter().find_map(|value| value.try_into().ok());
        found.ok_or(error)
    })
}

/// A value as it would stand in the TOML file.
pub fn default_text<T: Serialize>(value: &T) -> String {
    Value::try_from(value).map(|value| value.to_string()).unwrap_or_else(|_| "(unset)".to_owned())
}

/// The reference page of settings, Markdown.
pub fn reference_table(fields: &[Field]) -> String {
    let mut page = String::new();
    let mut section = "";
    for field in fields {
        let this = field.key.split_once('.').map_or("", |(section, _)| section);
        if this != section {
            section = this;
            let _ =
                writeln!(page, "\n## [{section}]\n\n| key | default | environment | what it does |\n|---|---|---|---|");
        }
        let _ = writeln!(
            page,
            "| `{}` | `{}` | `{}` | {} |",
            field.key,
            field.default.replace('|', "\\|"),
            field.variable(),
            field.doc.replace('|', "\\|")
        );
    }
    page
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::settings::{Choice, HumanDuration};

    crate::section! {
        /// For the tests.
        struct Sample in "sample" {
            /// A path.
            dir: PathBuf = PathBuf::from("/run"),
            /// A number.
            count: u32 = 7,
            /// A list.
            names: Vec<String> = vec!["a".to_owned()],
            /// A span.
            every: HumanDuration = HumanDuration::seconds(30),
            /// An address.
            listen: Choice<SocketAddr> = Choice::Off,
        }
    }

    fn load(
        file: Option<&str>,
        variables: &[(&str, &str)],
        flags: &[(&str, &str)],
    ) -> Result<Loaded<Sample>, SettingsError> {
        let pairs = |list: &[(&str, &str)]| list.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let dir = tempfile::tempdir().unwrap();
        let path = file.map(|text| {
            let path = dir.path().join("nexin.toml");
            std::fs::write(&path, text).unwrap();
            path
        });
        let sources = Sources { file: path, environment: Environment(pairs(variables)), flags: pairs(flags) };
        sources.load(&Sample::fields(), Sample::take)
    }

    #[test]
    fn flags_beat_the_environment_which_beats_the_file() {
        let file = "[sample]\ncount = 1\ndir = \"/file\"\nevery = \"1s\"\nnames = [\"x\", \"y\"]";
        let loaded = load(
            Some(file),
            &[("NEXIN_SAMPLE_COUNT", "2"), ("NEXIN_SAMPLE_DIR", "/env"), ("NEXIN_DATA", "/elsewhere")],
            &[("sample.count", "3"), ("sample.listen", "127.0.0.1:9962")],
        )
        .unwrap();
        let listen = Choice::Value("127.0.0.1:9962".parse().unwrap());
        let expected = Sample {
            dir: "/env".into(),
            count: 3,
            names: vec!["x".into(), "y".into()],
            every: HumanDuration::seconds(1),
            listen,
        };
        assert_eq!(loaded.settings, expected);
        assert_eq!(loaded.origins["sample.dir"], ("\"/env\"".to_owned(), Origin::Environment));
        assert_eq!(loaded.foreign_variables, ["NEXIN_DATA"]);
    }

    #[test]
    fn lists_come_with_commas_or_as_toml() {
        for text in ["x,y", "x, y", "[\"x\", \"y\"]"] {
            assert_eq!(load(None, &[], &[("sample.names", text)]).unwrap().settings.names, ["x", "y"]);
        }
        assert!(load(None, &[], &[("sample.names", "")]).unwrap().settings.names.is_empty());
    }

    #[test]
    fn unknown_keys_name_the_key_that_was_meant() {
        let suggestion = |result: Result<Loaded<Sample>, SettingsError>| match result {
            Err(SettingsError::NoSuchKey { suggestion, .. }) => suggestion,
            other => panic!("{other:?}"),
        };
        assert_eq!(suggestion(load(Some("[sample]\ncuont = 1"), &[], &[])).as_deref(), Some("sample.count"));
        assert_eq!(suggestion(load(None, &[("NEXIN_SAMPLE_DRI", "x")], &[])).as_deref(), Some("NEXIN_SAMPLE_DIR"));
        assert_eq!(suggestion(load(None, &[], &[("something", "x")])), None);
        assert_eq!(suggestion(load(Some("[sampel]\ncount = 1"), &[], &[])).as_deref(), Some("sample.count"));
    }

    #[test]
    fn bad_values_name_key_and_origin() {
        let error = load(None, &[("NEXIN_SAMPLE_COUNT", "many")], &[]).unwrap_err().to_string();
        assert!(error.contains("sample.count") && error.contains("environment") && error.contains("many"), "{error}");
        let error = load(Some("[sample]\nevery = \"5 days\""), &[], &[]).unwrap_err().to_string();
        assert!(error.contains("sample.every") && error.contains("500ms"), "{error}");
    }

    #[test]
    fn the_reference_lists_every_key_once() {
        let page = reference_table(&Sample::fields());
        for field in Sample::fields() {
            assert_eq!(page.matches(&format!("| `{}` |", field.key)).count(), 1);
        }
        assert!(page.contains("| `sample.every` | `\"30s\"` | `NEXIN_SAMPLE_EVERY` | A span. |"), "{page}");
    }
}
