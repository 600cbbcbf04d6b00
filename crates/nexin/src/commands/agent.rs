//! `nexin agent`: every setting of the agent as a flag.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};
use nexin_agent::Settings;
use nexin_runtime::settings::{Environment, Sources};

use super::Context;
use crate::error::Result;

/// Read by hand: the flags follow from the settings' declarations.
pub(crate) struct Agent {
    sources: Sources,
    action: Action,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Run,
    /// Print the settings in force and end.
    Show,
    /// Remove everything that an agent with these settings left in the kernel and on disk.
    CleanUp,
}

fn flag(key: &str) -> String {
    key.replace(['.', '_'], "-")
}

impl Args for Agent {
    fn augment_args(command: Command) -> Command {
        let command = command
            .arg(
                Arg::new("config")
                    .long("config")
                    .value_name("FILE")
                    .env("NEXIN_CONFIG")
                    .value_parser(clap::value_parser!(PathBuf))
                    .help("Settings file (TOML); flags and the environment go over it"),
            )
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
                    .conflicts_with("clean-up")
                    .help("Print the settings in force, and where each came from, and end"),
            )
            .arg(
                Arg::new("clean-up")
                    .long("clean-up")
                    .action(ArgAction::SetTrue)
                    .help("Remove what an agent with these settings left: links, routes, pinned maps, state; and end"),
            );
        Settings::fields().into_iter().fold(command, |command, field| {
            command.arg(
                Arg::new(field.key)
                    .long(flag(field.key))
                    .value_name("VALUE")
                    .help_heading("Settings")
                    .help(format!("{} [default: {}]", field.doc, field.default)),
            )
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Agent {
    fn from_arg_matches(matches: &ArgMatches) -> std::result::Result<Self, clap::Error> {
        let mut flags: Vec<(String, String)> = Vec::new();
        // The flag that every verb has names the same thing.
        if matches.value_source("socket").is_some_and(|source| source != ValueSource::DefaultValue)
            && let Some(socket) = matches.get_one::<PathBuf>("socket")
        {
            flags.push(("api.socket".to_owned(), socket.display().to_string()));
        }
        flags.extend(matches.get_many::<(String, String)>("set").into_iter().flatten().cloned());
        for field in Settings::fields() {
            if let Some(value) = matches.get_one::<String>(field.key) {
                flags.push((field.key.to_owned(), value.clone()));
            }
        }
        let action = match (matches.get_flag("show-settings"), matches.get_flag("clean-up")) {
            (true, _) => Action::Show,
            (_, true) => Action::CleanUp,
            _ => Action::Run,
        };
        let file = matches.get_one("config").cloned();
        Ok(Self { sources: Sources { file, environment: Environment::of_process(), flags }, action })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> std::result::Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

pub(crate) fn agent(context: &Context, args: &Agent) -> Result<ExitCode> {
    let loaded = Settings::load(&args.sources)?;
    match args.action {
        Action::Show => {
            let shown: Vec<(&str, &str, String)> = loaded
                .origins
                .iter()
                .map(|(key, (value, origin))| (*key, value.as_str(), origin.to_string()))
                .collect();
            context.out.show(&shown, |style| {
                let mut table = crate::output::Table::new(&["SETTING", "VALUE", "FROM"], "");
                for (key, value, origin) in &shown {
                    table.row([(*key).into(), (*value).into(), origin.as_str().into()]);
                }
                table.render(style)
            })?;
        }
        Action::CleanUp => {
            let report = nexin_agent::cleanup(&loaded.settings)?;
            context.out.text(&format!(
                "removed {} programs, {} links, {} routes, and the state on disk",
                report.programs,
                report.links.len(),
                report.routes
            ))?;
        }
        Action::Run => nexin_agent::run(loaded)?,
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use crate::cli::{Cli, Verb};

    fn flags(args: &[&str]) -> Vec<(String, String)> {
        let cli = Cli::try_parse_from([&["nexin", "agent"], args].concat()).unwrap();
        let Verb::Agent(agent) = cli.verb else { panic!("not the agent") };
        agent.sources.flags
    }

    #[test]
    fn every_setting_is_a_flag() {
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(flags(&["--policy-audit", "true"]), [pair("policy.audit", "true")]);
        assert_eq!(flags(&["--set", "agent.node_name=n1"]), [pair("agent.node_name", "n1")]);
        assert_eq!(flags(&["--socket", "/x"]), [pair("api.socket", "/x")]);
        assert_eq!(flags(&[]), []);
    }
}
