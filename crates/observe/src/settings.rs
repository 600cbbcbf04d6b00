//! Settings of the command: flags, then `HUBBLE_*` of the environment, then the configuration file, then defaults.

mod file;

use std::collections::BTreeMap;
use std::time::Duration;

pub(crate) use file::{Given, line as file_line, read as read_file, update as update_file, yaml_text};

use crate::flags::{Flag, Kind, Parsed, tables};
use crate::gotext;

/// The environment as the caller found it.
pub type Environment = BTreeMap<String, String>;

/// Where the configuration file is, unless a flag names one.
pub(crate) fn default_file(environment: &Environment) -> String {
    let set = |name: &str| environment.get(name).filter(|value| !value.is_empty());
    let directory = match (set("XDG_CONFIG_HOME"), set("HOME")) {
        (Some(directory), _) if directory.starts_with('/') => format!("{directory}/hubble"),
        (None, Some(home)) => format!("{home}/.config/hubble"),
        (Some(_), Some(home)) => format!("{home}/.hubble"),
        (_, None) => return String::new(),
    };
    format!("{directory}/config.yaml")
}

/// Default of a flag as text; the file's depends on the environment.
pub(crate) fn default_of(flag: &Flag, environment: &Environment) -> String {
    if flag.name == "config" { default_file(environment) } else { flag.default_text().to_owned() }
}

/// Flags, environment and file of one run.
pub(crate) struct Settings<'a> {
    pub(crate) flags: &'a Parsed,
    pub(crate) environment: &'a Environment,
    file: BTreeMap<String, Given>,
}

impl<'a> Settings<'a> {
    /// A file that is missing or no YAML counts as empty: the official command does not complain either.
    pub(crate) fn load(flags: &'a Parsed, environment: &'a Environment) -> Self {
        let mut settings = Self { flags, environment, file: BTreeMap::new() };
        let path = settings.text("config");
        settings.file = read_file(&path).unwrap_or_default();
        settings
    }

    fn variable(&self, name: &str) -> Option<&'a str> {
        let name = format!("HUBBLE_{}", name.to_uppercase().replace('-', "_"));
        self.environment.get(&name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// The value with the highest precedence below flags.
    fn below_flags(&self, name: &str) -> Option<Given> {
        let variable = self.variable(name).map(|text| Given::Text(text.to_owned()));
        variable.or_else(|| self.file.get(name).cloned())
    }

    /// Somebody said something about it.
    pub(crate) fn is_given(&self, name: &str) -> bool {
        self.flags.is_set(name) || self.below_flags(name).is_some()
    }

    pub(crate) fn bool(&self, name: &str) -> bool {
        self.flags
            .bool(name)
            .or_else(|| self.below_flags(name).map(|given| given.as_bool()))
            .unwrap_or_else(|| bound(name).is_some_and(|flag| flag.default_text() == "true"))
    }

    pub(crate) fn text(&self, name: &str) -> String {
        let text = self.flags.text(name).map(str::to_owned);
        text.or_else(|| self.below_flags(name).map(|given| given.as_text()))
            .unwrap_or_else(|| bound(name).map(|flag| default_of(flag, self.environment)).unwrap_or_default())
    }

    pub(crate) fn list(&self, name: &str) -> Vec<String> {
        let list = self.flags.list(name).map(<[String]>::to_vec);
        list.or_else(|| self.below_flags(name).map(|given| given.as_list())).unwrap_or_default()
    }

    pub(crate) fn duration(&self, name: &str) -> Duration {
        let text = self.text(name);
        let nanoseconds = gotext::parse_duration(&text).or_else(|_| gotext::parse_duration(&format!("{text}ns")));
        Duration::from_nanos(nanoseconds.ok().and_then(|number| u64::try_from(number).ok()).unwrap_or(0))
    }

    /// The merged value as `config view` shows it.
    pub(crate) fn merged(&self, flag: &Flag) -> Given {
        let name = flag.name;
        match flag.kind {
            Kind::Bool => {
                let given = self.flags.bool(name).map(Given::Bool).or_else(|| self.below_flags(name));
                given.unwrap_or_else(|| Given::Bool(flag.default_text() == "true"))
            }
            Kind::List | Kind::Array => {
                let given = self.flags.list(name).map(|list| Given::List(list.to_vec()));
                given.or_else(|| self.below_flags(name)).unwrap_or_else(|| Given::List(Vec::new()))
            }
            Kind::Uint16 | Kind::Uint64 => {
                let given = self.flags.number(name).map(|number| Given::Text(number.to_string()));
                given.or_else(|| self.below_flags(name)).unwrap_or_else(|| Given::Text(flag.default_text().to_owned()))
            }
            Kind::Text | Kind::Duration | Kind::Filter => {
                let given = self.flags.text(name).map(|text| Given::Text(text.to_owned()));
                given
                    .or_else(|| self.below_flags(name))
                    .unwrap_or_else(|| Given::Text(default_of(flag, self.environment)))
            }
        }
    }
}

/// Flags that the environment and the file may set, in the order of names.
pub(crate) fn bindable() -> Vec<&'static Flag> {
    let mut flags: Vec<&Flag> = tables::GLOBAL.iter().chain(tables::SERVER).collect();
    flags.sort_by_key(|flag| flag.name);
    flags
}

pub(crate) fn bound(name: &str) -> Option<&'static Flag> {
    tables::GLOBAL.iter().chain(tables::SERVER).chain(tables::RAW_FILTERS).find(|flag| flag.name == name)
}
