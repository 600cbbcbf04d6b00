//! `nexin`: the agent of a node and everything people do with it, as verbs of one program.

mod cli;
mod commands;
mod error;
mod output;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use cli::{Cli, Verb};
use commands::{
    Context, agent, bugtool, capture, completion, ct, endpoint, flows, identity, ipam, lab, map, monitor, observe,
    policy, relay, run, status,
};
use error::{CliError, Result};
use output::{Format, Out, Paint, Style};

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().collect();
    let terminal = std::io::stderr().is_terminal();
    let (format, style, done) = match observe::meant(&arguments) {
        // Its flags, help texts and errors are its own.
        Some((house, words)) => (Format::Table, Style::new(terminal), at_once(observe::run(house, words))),
        None => {
            let cli = Cli::parse();
            (cli.global.output, Style::new(!cli.global.no_color && terminal), dispatch(cli))
        }
    };
    match done {
        Ok(code) => code,
        Err(error) if error.is_closed_pipe() => ExitCode::SUCCESS,
        Err(error) => {
            eprint!("{}", complaint(&error, format, style));
            ExitCode::FAILURE
        }
    }
}

fn complaint(error: &CliError, format: Format, style: Style) -> String {
    if let Some(body) = format.of(&error.body()) {
        return body;
    }
    let mut text = format!("{} {error}\n{}", style.paint(Paint::Bad, "nexin:"), error.places());
    if let Some(next) = error.next() {
        text.push_str(&format!("{} {next}\n", style.paint(Paint::Warn, "hint:")));
    }
    text
}

/// Runs a command to its end on a runtime of one thread.
fn at_once(command: impl Future<Output = Result<ExitCode>>) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|source| CliError::system("start the runtime", source))?;
    runtime.block_on(command)
}

fn dispatch(cli: Cli) -> Result<ExitCode> {
    let context = Context { out: Out::new(cli.global.output, cli.global.no_color), socket: cli.global.socket };
    if let Verb::Agent(args) = &cli.verb {
        // Builds a runtime of its own, with as many threads as it needs.
        return agent::agent(&context, args);
    }
    if let Verb::Relay(args) = &cli.verb {
        return relay::relay(&context, args);
    }
    at_once(verb(&context, &cli.verb))
}

async fn verb(context: &Context, verb: &Verb) -> Result<ExitCode> {
    match verb {
        Verb::Agent(args) => return agent::agent(context, args),
        Verb::Relay(args) => return relay::relay(context, args),
        Verb::Status(args) => return status::status(context, args).await,
        Verb::Doctor(_) => return status::doctor(context).await,
        Verb::Policy(args) => return policy::policy(context, args).await,
        Verb::Run(args) => return run::run(context, args).await,
        Verb::RunReaper(args) => return run::reaper::reap(context.socket.clone(), args).await,
        Verb::Lab(args) => return lab::lab(context, args).await,
        Verb::Observe(words) => return observe::observe(words).await,
        Verb::Flows(verb) => return flows::flows(verb).await,
        Verb::Capture(args) => return capture::capture(context, args).await,
        Verb::Hubble(words) => return observe::hubble(words).await,
        Verb::Endpoint(args) => endpoint::endpoint(context, args).await?,
        Verb::Identity(args) => identity::identity(context, args).await?,
        Verb::Ipam(args) => ipam::ipam(context, args).await?,
        Verb::Map(args) => map::map(context, args).await?,
        Verb::Ct(args) => ct::ct(context, args).await?,
        Verb::Monitor(args) => monitor::monitor(context, args).await?,
        Verb::Bugtool(args) => bugtool::bugtool(context, args).await?,
        Verb::Completion(args) => completion::completion(context, args, Cli::command())?,
        Verb::Version(_) => status::version(context).await?,
    }
    Ok(ExitCode::SUCCESS)
}
