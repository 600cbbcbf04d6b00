//! `nexin agent`: every setting of the agent as a flag.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};
use nexin_agent::Settings;
use nexin_runtime::settings::Sources;

use super::{Context, settings};
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

impl Args for Agent {
    fn augment_args(command: Command) -> Command {
        settings::augment(command, Settings::fields(), None).arg(
            Arg::new("clean-up")
                .long("clean-up")
                .action(ArgAction::SetTrue)
                .conflicts_with("show-settings")
                .help("Remove what an agent with these settings left: links, routes, pinned maps, state; and end"),
        )
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
        let action = match (matches.get_flag("show-settings"), matches.get_flag("clean-up")) {
            (true, _) => Action::Show,
            (_, true) => Action::CleanUp,
            _ => Action::Run,
        };
        Ok(Self { sources: settings::sources(matches, Settings::fields(), flags), action })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> std::result::Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

pub(crate) fn agent(context: &Context, args: &Agent) -> Result<ExitCode> {
    let loaded = Settings::load(&args.sources)?;
    match args.action {
        Action::Show => settings::show(context, &loaded)?,
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
