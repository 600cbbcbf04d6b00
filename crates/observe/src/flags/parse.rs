//! From arguments to values.

use std::collections::BTreeMap;

use super::{Flag, FlagSet, Kind};
use crate::filters::{FilterError, FlowFilters};
use crate::gotext::{self, CsvError, DurationError, UintError, quote, quote_char};

/// Why a command line was refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FlagError {
    #[error("bad flag syntax: {0}")]
    Syntax(String),
    #[error("unknown flag: --{0}")]
    Name(String),
    #[error("unknown shorthand flag: {} in -{within}", quote_char(*.short))]
    Shorthand { short: char, within: String },
    #[error("flag needs an argument: --{0}")]
    Missing(String),
    #[error("flag needs an argument: {} in -{within}", quote_char(*.short))]
    MissingShort { short: char, within: String },
    #[error("invalid argument {} for {} flag: {why}", quote(.value), quote(.flag))]
    Value { value: String, flag: String, why: Why },
}

/// Why a value does not fit its flag.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Why {
    #[error(transparent)]
    Bool(#[from] BoolError),
    #[error(transparent)]
    Uint(#[from] UintError),
    #[error(transparent)]
    Duration(#[from] DurationError),
    #[error(transparent)]
    List(#[from] CsvError),
    #[error(transparent)]
    Filter(#[from] FilterError),
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("strconv.ParseBool: parsing {}: invalid syntax", quote(.0))]
pub(crate) struct BoolError(pub(crate) String);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Value {
    Bool(bool),
    Number(u64),
    Text(String),
    List(Vec<String>),
}

/// What a command line said.
#[derive(Debug, Default)]
pub(crate) struct Parsed {
    values: BTreeMap<&'static str, Value>,
    pub(crate) filters: FlowFilters,
    /// What is not a flag.
    pub(crate) arguments: Vec<String>,
    /// `--help`, or the shorthand of it.
    pub(crate) help: bool,
    /// Number of arguments before `--`, where there is one.
    pub(crate) dash: Option<usize>,
}

impl Parsed {
    /// Reads until the first error, as the official command does: what came before it has been set.
    pub(crate) fn read(flags: &FlagSet, arguments: &[String]) -> (Self, Result<(), FlagError>) {
        let mut parsed = Self::default();
        let result = parsed.all(flags, arguments);
        (parsed, result)
    }

    pub(crate) fn is_set(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }

    pub(crate) fn bool(&self, name: &str) -> Option<bool> {
        match self.values.get(name)? {
            Value::Bool(value) => Some(*value),
            _ => None,
        }
    }

    pub(crate) fn number(&self, name: &str) -> Option<u64> {
        match self.values.get(name)? {
            Value::Number(value) => Some(*value),
            _ => None,
        }
    }

    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        match self.values.get(name)? {
            Value::Text(value) => Some(value),
            _ => None,
        }
    }

    pub(crate) fn list(&self, name: &str) -> Option<&[String]> {
        match self.values.get(name)? {
            Value::List(value) => Some(value),
            _ => None,
        }
    }

    fn all(&mut self, flags: &FlagSet, arguments: &[String]) -> Result<(), FlagError> {
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            if let Some(name) = argument.strip_prefix("--") {
                if name.is_empty() {
                    self.dash = Some(self.arguments.len());
                    self.arguments.extend(rest.cloned());
                    return Ok(());
                }
                self.long(flags, argument, name, &mut rest)?;
            } else if let Some(shorts) = argument.strip_prefix('-').filter(|shorts| !shorts.is_empty()) {
                self.shorts(flags, shorts, &mut rest)?;
            } else {
                self.arguments.push(argument.clone());
            }
        }
        Ok(())
    }

    fn long<'a>(
        &mut self,
        flags: &FlagSet,
        argument: &str,
        name: &str,
        rest: &mut impl Iterator<Item = &'a String>,
    ) -> Result<(), FlagError> {
        if name.starts_with(['-', '=']) {
            return Err(FlagError::Syntax(argument.to_owned()));
        }
        let (name, given) = match name.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (name, None),
        };
        let flag = flags.get(name).ok_or_else(|| FlagError::Name(name.to_owned()))?;
        let value = match given.or(flag.implied) {
            Some(value) => value,
            None => rest.next().ok_or_else(|| FlagError::Missing(name.to_owned()))?,
        };
        self.set(flag, value)
    }

    fn shorts<'a>(
        &mut self,
        flags: &FlagSet,
        shorts: &str,
        rest: &mut impl Iterator<Item = &'a String>,
    ) -> Result<(), FlagError> {
        let mut left = shorts;
        while let Some(short) = left.chars().next() {
            let after = &left[short.len_utf8()..];
            let within = || left.to_owned();
            let flag = flags.short(short).ok_or_else(|| FlagError::Shorthand { short, within: within() })?;
            let (value, next) = match (after.strip_prefix('='), flag.implied) {
                (Some(value), _) if !value.is_empty() => (value, ""),
                (_, Some(implied)) => (implied, after),
                (_, None) if !after.is_empty() => (after, ""),
                (_, None) => match rest.next() {
                    Some(value) => (value.as_str(), ""),
                    None => return Err(FlagError::MissingShort { short, within: within() }),
                },
            };
            self.set(flag, value)?;
            left = next;
        }
        Ok(())
    }

    fn set(&mut self, flag: &Flag, text: &str) -> Result<(), FlagError> {
        let value = self.value(flag, text).map_err(|why| FlagError::Value {
            value: text.to_owned(),
            flag: match flag.short {
                Some(short) => format!("-{short}, --{}", flag.name),
                None => format!("--{}", flag.name),
            },
            why,
        })?;
        if flag.name == "help" {
            self.help = value == Value::Bool(true);
        }
        self.values.insert(flag.name, value);
        Ok(())
    }

    fn value(&mut self, flag: &Flag, text: &str) -> Result<Value, Why> {
        let so_far = || self.list(flag.name).map(<[String]>::to_vec).unwrap_or_default();
        Ok(match flag.kind {
            Kind::Bool => Value::Bool(gotext::parse_bool(text).ok_or_else(|| BoolError(text.to_owned()))?),
            Kind::Uint16 => Value::Number(gotext::uint(text, 0, 16)?),
            Kind::Uint64 => Value::Number(gotext::uint(text, 0, 64)?),
            Kind::Text => Value::Text(text.to_owned()),
            Kind::Duration => Value::Text(gotext::duration(gotext::parse_duration(text)?)),
            Kind::List => {
                let mut all = so_far();
                all.extend(gotext::read_csv(text)?);
                Value::List(all)
            }
            Kind::Array => {
                let mut all = so_far();
                all.push(text.to_owned());
                Value::List(all)
            }
            Kind::Filter => {
                self.filters.set(flag.name, text)?;
                Value::Text(text.to_owned())
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flags::tables;

    fn read(arguments: &[&str]) -> Result<Parsed, String> {
        let mut flags = FlagSet::default();
        for table in [tables::SELECTORS, tables::FILTERS, tables::FORMATTING, tables::OTHER, tables::SERVER] {
            flags.add(table);
        }
        let arguments: Vec<String> = arguments.iter().map(|text| (*text).to_owned()).collect();
        let (parsed, result) = Parsed::read(&flags, &arguments);
        result.map(|()| parsed).map_err(|error| error.to_string())
    }

    #[test]
    fn values_in_all_forms() {
        let parsed = read(&["-fo", "dict", "--last=0x10", "a", "--field-mask", "a,b", "--field-mask=c", "--", "-x"]);
        let parsed = parsed.expect("a good command line");
        assert_eq!(parsed.bool("follow"), Some(true));
        assert_eq!(parsed.text("output"), Some("dict"));
        assert_eq!(parsed.number("last"), Some(16));
        assert_eq!(parsed.list("field-mask"), Some(["a", "b", "c"].map(str::to_owned).as_slice()));
        assert_eq!(parsed.arguments, ["a", "-x"]);
        assert_eq!(parsed.dash, Some(1));
    }

    #[test]
    fn errors_are_the_official_ones() {
        for (arguments, expected) in [
            (&["--bogus"][..], "unknown flag: --bogus"),
            (&["-Z"], "unknown shorthand flag: 'Z' in -Z"),
            (&["-fZ"], "unknown shorthand flag: 'Z' in -Z"),
            (&["---"], "bad flag syntax: ---"),
            (&["--since"], "flag needs an argument: --since"),
            (&["-fo"], "flag needs an argument: 'o' in -o"),
            (
                &["--follow=x"],
                "invalid argument \"x\" for \"-f, --follow\" flag: strconv.ParseBool: parsing \"x\": invalid syntax",
            ),
            (
                &["--timeout", "3"],
                "invalid argument \"3\" for \"--timeout\" flag: time: missing unit in duration \"3\"",
            ),
        ] {
            assert_eq!(read(arguments).map(drop), Err(expected.to_owned()), "{arguments:?}");
        }
    }
}
