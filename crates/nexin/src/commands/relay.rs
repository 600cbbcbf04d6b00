//! `nexin relay`: one Hubble endpoint over many nodes; every setting of the relay as a flag, under Hubble's names too.

use std::process::ExitCode;

use clap::{ArgMatches, Args, Command, FromArgMatches};
use nexin_relay::Settings;
use nexin_runtime::settings::Sources;

use super::{Context, settings};
use crate::error::Result;

/// Read by hand: the flags follow from the settings' declarations.
pub(crate) struct Relay {
    sources: Sources,
    show: bool,
}

impl Args for Relay {
    fn augment_args(command: Command) -> Command {
        settings::augment(command, Settings::fields(), Some("relay"))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Relay {
    fn from_arg_matches(matches: &ArgMatches) -> std::result::Result<Self, clap::Error> {
        let sources = settings::sources(matches, Settings::fields(), Vec::new());
        Ok(Self { sources, show: matches.get_flag("show-settings") })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> std::result::Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

pub(crate) fn relay(context: &Context, args: &Relay) -> Result<ExitCode> {
    let loaded = Settings::load(&args.sources)?;
    if args.show {
        settings::show(context, &loaded)?;
    } else {
        nexin_relay::run(loaded)?;
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use crate::cli::{Cli, Verb};

    #[test]
    fn settings_go_by_hubbles_names_too() {
        let cli = Cli::try_parse_from(["nexin", "relay", "--peer-service", "a:1", "--relay-listen-address", ":1"]);
        let Verb::Relay(relay) = cli.unwrap().verb else { panic!("not the relay") };
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(relay.sources.flags, [pair("relay.peer_service", "a:1"), pair("relay.listen_address", ":1")]);
    }
}
