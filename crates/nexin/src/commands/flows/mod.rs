//! `nexin flows`: what was observed, kept and put to use.

mod record;
mod suggest;

use std::ffi::OsString;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use nexin_flows::recording;
use nexin_hubble::observer::GetFlowsResponse;
use nexin_observe::House;

pub(crate) use self::record::duration;
use super::observe;
use crate::error::{CliError, Result};

#[derive(Subcommand)]
pub(crate) enum Flows {
    /// Write flows to a file, or go on with one
    Record(record::Record),
    /// Print a recording with the flags and outputs of `nexin observe`
    Replay(Replay),
    /// The narrowest policies that let recorded traffic through
    SuggestPolicy(suggest::Suggest),
}

#[derive(Args)]
pub(crate) struct Replay {
    /// The recording, - for standard input
    file: PathBuf,
    /// Flags of `nexin observe`: which flows, and how to print them
    #[arg(last = true, value_name = "OBSERVE FLAGS")]
    observe: Vec<OsString>,
}

pub(crate) async fn flows(verb: &Flows) -> Result<ExitCode> {
    match verb {
        Flows::Record(args) => record::record(args).await,
        Flows::Replay(args) => replay(args).await,
        Flows::SuggestPolicy(args) => suggest::suggest(args).await,
    }
}

async fn replay(args: &Replay) -> Result<ExitCode> {
    let mut words: Vec<OsString> = ["observe", "--input-file"].map(OsString::from).to_vec();
    words.push(args.file.clone().into_os_string());
    words.extend(args.observe.iter().cloned());
    observe::run(House::Nexin, words).await
}

/// What a file holds, and how many of its lines are no flows.
pub(crate) struct Loaded {
    pub(crate) responses: Vec<GetFlowsResponse>,
    pub(crate) unreadable: u64,
}

/// Reads a whole recording. Lines that are no response are counted.
///
/// # Errors
/// The file cannot be read, or nothing in it is a response.
pub(crate) fn load(path: &Path) -> Result<Loaded> {
    let wrong = |source| CliError::file(path, source);
    let mut input: Box<dyn BufRead> = if path.as_os_str() == "-" {
        Box::new(BufReader::new(std::io::stdin()))
    } else {
        Box::new(BufReader::new(File::open(path).map_err(wrong)?))
    };
    let mut loaded = Loaded { responses: Vec::new(), unreadable: 0 };
    let mut line = Vec::new();
    while input.read_until(b'\n', &mut line).map_err(wrong)? > 0 {
        if !line.trim_ascii().is_empty() {
            match recording::read_line(&line) {
                Ok(response) => loaded.responses.push(response),
                Err(_) => loaded.unreadable += 1,
            }
        }
        line.clear();
    }
    if loaded.responses.is_empty() && loaded.unreadable > 0 {
        return Err(CliError::input(
            format!("{} is no recording: none of its {} lines is a flow", path.display(), loaded.unreadable),
            "make one with `nexin flows record FILE` or `hubble observe -o jsonpb`",
        ));
    }
    Ok(loaded)
}
