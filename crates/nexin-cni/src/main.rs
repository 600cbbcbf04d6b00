//! `nexin-cni`: the CNI plugin, a thin client of the agent.
//!
//! A container runtime starts it once for each operation: parameters in `CNI_*` variables, the network configuration on
//! standard input, the result or an error as JSON on standard output (CNI specification 1.1, section 2). It wires
//! nothing itself and keeps nothing but the queue of deletions that no agent was there to take.

mod agent;
mod check;
mod config;
mod error;
mod invocation;
mod log;
mod operation;
mod queue;
mod result;

use error::{Code, Error};
use invocation::Invocation;
use nexin_runtime::settings::Environment;
use std::{
    io::{Read, Write},
    process::ExitCode,
};

/// Far more than any configuration; a runtime that sends more is broken.
const INPUT_LIMIT: u64 = 16 << 20;

fn main() -> ExitCode {
    let (answer, code) = match run() {
        Ok(answer) => (answer, ExitCode::SUCCESS),
        Err((error, version)) => (Some(error.to_json(&version)), ExitCode::FAILURE),
    };
    let text = answer.map(|answer| format!("{answer}\n")).unwrap_or_default();
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => code,
        Err(_) => ExitCode::FAILURE,
    }
}

/// The answer to print, if any; an error with the version of the protocol it is to be told in.
fn run() -> Result<Option<serde_json::Value>, (Error, String)> {
    let newest = || config::SpecVersion::NEWEST.to_string();
    let mut input = Vec::new();
    let read = std::io::stdin().take(INPUT_LIMIT).read_to_end(&mut input);
    read.map_err(|e| (Error::new(Code::Io, format!("cannot read the network configuration: {e}")), newest()))?;
    let environment = Environment::with_prefix("CNI_").0.into_iter().collect();
    let invocation = Invocation::read(&environment).map_err(|e| (e, newest()))?;
    operation::perform(&invocation, &input).map_err(|e| (e, config::version_of(&input).unwrap_or_else(newest)))
}
