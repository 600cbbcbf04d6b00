//! The `hubble` command: its flags, filters, outputs and errors, for `nexin observe`, `nexin hubble` and a link named
//! `hubble`. It reads flows from a server or a file and prints them.
//!
//! Nothing here reads the environment or exits the process: the caller hands both in and gets an exit code back.

mod command;
mod error;
mod filters;
mod flags;
mod gotext;
mod log;
mod matching;
mod names;
mod offline;
mod print;
mod remote;
mod selection;
mod settings;
mod time;
mod verbs;
mod why;

use std::io::{Read, Write};

use prost_types::Timestamp;

pub use error::Error;
pub use selection::{Selection, filters};
pub use settings::Environment;

/// One run of the command.
pub struct Run<'a> {
    /// What follows the program's name.
    pub arguments: Vec<String>,
    pub environment: Environment,
    pub console: Console<'a>,
    /// For times like "an hour ago".
    pub now: Timestamp,
    pub house: House,
}

/// Where a run reads and writes.
pub struct Console<'a> {
    pub input: &'a mut (dyn Read + Send),
    pub out: &'a mut dyn Write,
    pub err: &'a mut dyn Write,
    /// Standard output is a terminal.
    pub terminal: bool,
}

/// Whose command it is: what differs between `hubble` and `nexin observe`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum House {
    /// The official command, to the letter.
    Hubble,
    /// Our own words: another default server, and `--why`.
    Nexin,
}

/// The agent's own socket, which [`House::Nexin`] asks where nobody names a server.
pub const OWN_SERVER: &str = "unix:/run/nexin/hubble.sock";

/// Runs the command. Errors have been printed; the answer is the exit code.
pub async fn run(mut run: Run<'_>) -> u8 {
    match verbs::run(&mut run).await {
        Ok(()) => 0,
        Err(error) if error.is_closed_pipe() => 0,
        Err(error) => {
            // Nothing is left to tell the failure to when this fails too.
            let _ = writeln!(run.console.err, "{error}");
            1
        }
    }
}
