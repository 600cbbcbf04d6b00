//! Flags as the official command reads them: POSIX shorthands, `--name value` and `--name=value`, values that may be
//! left out, each error in its words. Not clap: users, scripts and other tools match on those texts.
//! Refuses to know what a flag is for.

pub(crate) mod parse;
pub(crate) mod tables;
pub(crate) mod usage;

use std::collections::BTreeMap;

pub(crate) use parse::{FlagError, Parsed};

/// What values a flag takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Bool,
    Uint16,
    Uint64,
    Text,
    Duration,
    /// Comma-separated values, each use adds to them.
    List,
    /// One value each use.
    Array,
    /// A value of the flow filter, in the order of the command line.
    Filter,
}

impl Kind {
    /// Name in usage texts.
    pub(crate) fn shown(self) -> &'static str {
        match self {
            Self::Bool => "",
            Self::Uint16 => "uint16",
            Self::Uint64 => "uint",
            Self::Text => "string",
            Self::Duration => "duration",
            Self::List => "strings",
            Self::Array => "stringArray",
            Self::Filter => "filter",
        }
    }

    fn zero(self) -> &'static str {
        match self {
            Self::Bool => "false",
            Self::Uint16 | Self::Uint64 => "0",
            Self::Duration => "0s",
            Self::List | Self::Array => "[]",
            Self::Text | Self::Filter => "",
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Flag {
    pub(crate) name: &'static str,
    pub(crate) short: Option<char>,
    pub(crate) kind: Kind,
    pub(crate) usage: &'static str,
    /// Text of the value where the flag is not given.
    pub(crate) default: &'static str,
    /// Text of the value where the flag is given without one.
    pub(crate) implied: Option<&'static str>,
    /// What shells offer.
    pub(crate) values: &'static [&'static str],
}

impl Flag {
    pub(crate) const fn new(name: &'static str, kind: Kind, usage: &'static str) -> Self {
        let implied = if matches!(kind, Kind::Bool) { Some("true") } else { None };
        Self { name, short: None, kind, usage, default: "", implied, values: &[] }
    }

    pub(crate) const fn or(mut self, default: &'static str) -> Self {
        self.default = default;
        self
    }

    pub(crate) const fn short(mut self, short: char) -> Self {
        self.short = Some(short);
        self
    }

    pub(crate) const fn implied(mut self, value: &'static str) -> Self {
        self.implied = Some(value);
        self
    }

    pub(crate) const fn values(mut self, values: &'static [&'static str]) -> Self {
        self.values = values;
        self
    }

    pub(crate) fn default_text(&self) -> &'static str {
        if self.default.is_empty() { self.kind.zero() } else { self.default }
    }
}

/// A titled group of flags in a help text.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Group {
    pub(crate) title: &'static str,
    pub(crate) flags: &'static [Flag],
}

/// Every flag a command understands, by name.
#[derive(Clone, Debug, Default)]
pub(crate) struct FlagSet {
    flags: BTreeMap<&'static str, Flag>,
}

impl FlagSet {
    pub(crate) fn add(&mut self, flags: &[Flag]) {
        for flag in flags {
            self.flags.entry(flag.name).or_insert(*flag);
        }
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Flag> {
        self.flags.get(name)
    }

    pub(crate) fn short(&self, short: char) -> Option<&Flag> {
        self.flags.values().find(|flag| flag.short == Some(short))
    }

    /// In the order of names.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Flag> {
        self.flags.values()
    }
}
