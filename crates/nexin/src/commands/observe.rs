//! `nexin observe`, `nexin hubble` and a link named `hubble`: one command, with our house's words or the official ones.

use std::ffi::OsString;
use std::io::{self, BufWriter, IsTerminal};
use std::path::Path;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;
use nexin_observe::{Console, House, Run};
use nexin_runtime::settings::Environment;
use prost_types::Timestamp;

use crate::error::{CliError, Result};

/// Words that are read by the command itself, not by this program's own reader of flags.
#[derive(Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Words {
    /// See `nexin observe --help`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "FLAGS")]
    words: Vec<OsString>,
}

/// The command line, where it is one of this command's: by the program's name, or by its first word.
pub(crate) fn meant(arguments: &[OsString]) -> Option<(House, Vec<OsString>)> {
    let (program, rest) = arguments.split_first()?;
    if Path::new(program).file_name().is_some_and(|name| name == "hubble") {
        return Some((House::Hubble, rest.to_vec()));
    }
    match rest.first()?.to_str()? {
        "hubble" => Some((House::Hubble, rest[1..].to_vec())),
        "observe" => Some((House::Nexin, rest.to_vec())),
        _ => None,
    }
}

pub(crate) async fn observe(words: &Words) -> Result<ExitCode> {
    let all = std::iter::once("observe".into()).chain(words.words.iter().cloned()).collect();
    run(House::Nexin, all).await
}

pub(crate) async fn hubble(words: &Words) -> Result<ExitCode> {
    run(House::Hubble, words.words.clone()).await
}

pub(crate) async fn run(house: House, words: Vec<OsString>) -> Result<ExitCode> {
    let run = Run {
        arguments: words.iter().map(|word| word.to_string_lossy().into_owned()).collect(),
        environment: environment(),
        console: Console {
            input: &mut io::stdin(),
            out: &mut BufWriter::new(io::stdout()),
            err: &mut io::stderr(),
            terminal: io::stdout().is_terminal(),
        },
        now: now()?,
        house,
    };
    Ok(ExitCode::from(nexin_observe::run(run).await))
}

/// Every variable: `HUBBLE_*` for settings, some others for paths and colours.
pub(crate) fn environment() -> nexin_observe::Environment {
    Environment::with_prefix("").0.into_iter().collect()
}

pub(crate) fn now() -> Result<Timestamp> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.map_err(|error| CliError::system("read the clock", io::Error::other(error)))?;
    Ok(Timestamp { seconds: now.as_secs() as i64, nanos: now.subsec_nanos() as i32 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_programs_name_or_the_first_word() {
        let meant = |words: &[&str]| {
            let words: Vec<OsString> = words.iter().map(OsString::from).collect();
            meant(&words).map(|(house, rest)| (house, rest.len()))
        };
        assert_eq!(meant(&["/usr/bin/hubble", "observe", "-f"]), Some((House::Hubble, 2)));
        assert_eq!(meant(&["nexin", "hubble", "status"]), Some((House::Hubble, 1)));
        assert_eq!(meant(&["nexin", "observe", "-f"]), Some((House::Nexin, 2)));
        assert_eq!(meant(&["nexin", "status"]), None);
    }
}
