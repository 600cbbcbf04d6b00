//! `config`: the merged settings, and changes to the configuration file.

use std::path::Path;

use crate::Run;
use crate::error::Error;
use crate::flags::parse::BoolError;
use crate::flags::{Flag, Kind};
use crate::gotext;
use crate::settings::{self, Given, Settings};
use crate::verbs::{too_many, unfit};

pub(super) fn view(run: &mut Run<'_>, settings: &Settings<'_>) -> Result<(), Error> {
    for flag in settings::bindable() {
        let line = settings::file_line(flag.name, &settings.merged(flag));
        run.console.out.write_all(line.as_bytes())?;
    }
    Ok(())
}

pub(super) fn get(run: &mut Run<'_>, settings: &Settings<'_>) -> Result<(), Error> {
    let key = match settings.flags.arguments.as_slice() {
        [] => return view(run, settings),
        [key] => key,
        many => return Err(too_many("get", "0 or 1 argument", many)),
    };
    let flag = flag(key)?;
    let value = match (flag.kind, settings.merged(flag)) {
        (Kind::Bool, given) => Given::Bool(given.as_bool()),
        (Kind::List, given) => Given::List(given.as_list()),
        (_, given) => given,
    };
    let text = value.yaml(0);
    Ok(writeln!(run.console.out, "{}", text.trim_start_matches('\n'))?)
}

pub(super) fn set(run: &mut Run<'_>, settings: &Settings<'_>) -> Result<(), Error> {
    match settings.flags.arguments.as_slice() {
        [key] => store(run, settings, key, ""),
        [key, value] => store(run, settings, key, value),
        other => Err(too_many("set", "1 or 2 argument(s)", other)),
    }
}

/// One key, or all, to the default.
pub(super) fn reset(run: &mut Run<'_>, settings: &Settings<'_>) -> Result<(), Error> {
    match settings.flags.arguments.as_slice() {
        [] => settings::bindable().into_iter().try_for_each(|flag| store(run, settings, flag.name, "")),
        [key] => store(run, settings, key, ""),
        many => Err(too_many("reset", "0 or 1 argument", many)),
    }
}

fn flag(key: &str) -> Result<&'static Flag, Error> {
    let found = settings::bindable().into_iter().find(|flag| flag.name == key);
    found.ok_or_else(|| Error::Usage(format!("unknown key: {key}")))
}

fn store(run: &Run<'_>, settings: &Settings<'_>, key: &str, value: &str) -> Result<(), Error> {
    let flag = flag(key)?;
    let text = if value.is_empty() { settings::default_of(flag, &run.environment) } else { value.to_owned() };
    let stored = match flag.kind {
        Kind::Bool => {
            Given::Bool(gotext::parse_bool(&text).ok_or_else(|| unfit(value, key, "bool", &BoolError(text.clone())))?)
        }
        Kind::Duration => {
            let parsed = gotext::parse_duration(&text).map_err(|why| unfit(value, key, "duration", &why))?;
            Given::Text(gotext::duration(parsed))
        }
        Kind::Uint16 | Kind::Uint64 => {
            let number = gotext::uint(&text, 0, 16).map_err(|why| unfit(value, key, "uint16", &why))?;
            Given::Number(number as i64)
        }
        Kind::List | Kind::Array => {
            let inner = text.strip_prefix('[').unwrap_or(&text);
            let inner = inner.strip_suffix(']').unwrap_or(inner);
            Given::List(gotext::read_csv(inner).map_err(|why| unfit(value, key, "stringSlice", &why))?)
        }
        Kind::Text | Kind::Filter => Given::Text(text),
    };
    let path = settings.text("config");
    if path.is_empty() {
        return Err(Error::usage("config file undefined"));
    }
    Ok(settings::update_file(Path::new(&path), key, stored)?)
}
