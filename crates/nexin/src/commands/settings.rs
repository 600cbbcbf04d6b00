//! Settings as flags, for verbs that run a program: every key is a flag, a file and `--set` work alike, and what is in force can be
//! shown instead of used.

use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Command};
use nexin_runtime::settings::{Environment, Field, Loaded, Sources};

use super::Context;
use crate::error::Result;

/// `policy.audit` is `--policy-audit`.
fn flag(key: &str) -> String {
    key.replace(['.', '_'], "-")
}

/// Adds `--config`, `--set`, `--show-settings` and a flag a key. Keys of `section` also have a flag without it.
pub(super) fn augment(command: Command, fields: Vec<Field>, section: Option<&str>) -> Command {
    let config = Arg::new("config")
        .long("config")
        .value_name("FILE")
        .value_parser(clap::value_parser!(PathBuf))
        .help("Settings file (TOML); flags and the environment go over it");
    let command = command
        // The agent's file would be full of keys that no other program knows.
        .arg(if section.is_none() { config.env("NEXIN_CONFIG") } else { config })
        .arg(
            Arg::new("set")
                .long("set")
                .value_name("KEY=VALUE")
                .action(ArgAction::Append)
                .value_parser(super::endpoint::label)
                .help("Any setting by its key in the file, such as policy.audit=true"),
        )
        .arg(
            Arg::new("show-settings")
                .long("show-settings")
                .action(ArgAction::SetTrue)
                .help("Print the settings in force, and where each came from, and end"),
        );
    fields.into_iter().fold(command, |command, field| {
        let short = section.and_then(|section| field.key.strip_prefix(section)?.strip_prefix('.'));
        let arg = Arg::new(field.key)
            .long(flag(field.key))
            .value_name("VALUE")
            .help_heading("Settings")
            .help(format!("{} [default: {}]", field.doc, field.default));
        command.arg(match short.map(flag) {
            // Every verb has a flag of this name.
            Some(alias) if alias != "socket" => arg.alias(alias),
            _ => arg,
        })
    })
}

/// What [`augment`]'s flags say. `first` goes under them.
pub(super) fn sources(matches: &ArgMatches, fields: Vec<Field>, first: Vec<(String, String)>) -> Sources {
    let mut flags = first;
    flags.extend(matches.get_many::<(String, String)>("set").into_iter().flatten().cloned());
    for field in fields {
        if let Some(value) = matches.get_one::<String>(field.key) {
            flags.push((field.key.to_owned(), value.clone()));
        }
    }
    Sources { file: matches.get_one("config").cloned(), environment: Environment::of_process(), flags }
}

/// Prints the settings in force.
pub(super) fn show<T>(context: &Context, loaded: &Loaded<T>) -> Result<()> {
    let shown: Vec<(&str, &str, String)> =
        loaded.origins.iter().map(|(key, (value, origin))| (*key, value.as_str(), origin.to_string())).collect();
    context.out.show(&shown, |style| {
        let mut table = crate::output::Table::new(&["SETTING", "VALUE", "FROM"], "");
        for (key, value, origin) in &shown {
            table.row([(*key).into(), (*value).into(), origin.as_str().into()]);
        }
        table.render(style)
    })?;
    Ok(())
}
