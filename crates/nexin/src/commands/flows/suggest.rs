//! `nexin flows suggest-policy`: from recordings, or from what the agent remembers.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use futures_util::StreamExt as _;
use nexin_flows::recording;
use nexin_flows::suggest::{self, Options, Report, Suggestion};
use nexin_hubble::flow::Flow;
use nexin_hubble::observer::GetFlowsResponse;
use nexin_observe::Selection;
use nexin_policy::input::{self, Diagnostic, Strictness};
use nexin_policy::rule::LowerOptions;
use nexin_runtime::files::write_atomic;

use super::super::observe;
use super::load;
use crate::error::{CliError, Result};

#[derive(Args)]
pub(crate) struct Suggest {
    /// Recordings, - for standard input. Without one: all flows that the agent remembers
    files: Vec<PathBuf>,
    /// Only for workloads of this namespace
    #[arg(short, long, value_name = "NAME")]
    namespace: Option<String>,
    /// More addresses outside than this become `world`
    #[arg(long, value_name = "COUNT", default_value_t = Options::default().most_addresses)]
    most_addresses: usize,
    /// Write a file for each policy into this directory, instead of printing them
    #[arg(short, long, value_name = "DIRECTORY")]
    directory: Option<PathBuf>,
}

pub(crate) async fn suggest(args: &Suggest) -> Result<ExitCode> {
    let responses = if args.files.is_empty() {
        remembered().await?
    } else {
        let mut all = Vec::new();
        for file in &args.files {
            let loaded = load(file)?;
            if loaded.unreadable > 0 {
                eprintln!("{}: {} lines are no flows and were left out", file.display(), loaded.unreadable);
            }
            all.extend(loaded.responses);
        }
        all
    };
    let flows: Vec<&Flow> = responses.iter().filter_map(recording::flow).collect();
    let options = Options { namespace: args.namespace.clone(), most_addresses: args.most_addresses };
    let report = suggest::suggest(flows.iter().copied(), &options);
    for suggestion in &report.suggestions {
        check(suggestion)?;
    }
    write(args, &report)?;
    say(&report, responses.iter().map(recording::lost).sum());
    Ok(if report.suggestions.is_empty() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Everything in the agent's ring.
async fn remembered() -> Result<Vec<GetFlowsResponse>> {
    let selection = Selection::read(&["--all".to_owned()], &observe::environment(), observe::now()?)?;
    let mut answers = selection.client.get_flows(selection.request);
    let mut all = Vec::new();
    while let Some(answer) = answers.next().await {
        let next = "name a recording, or start the agent with [hubble] enabled";
        all.push(
            answer.map_err(|refusal| CliError::input(format!("{}: {}", selection.server, refusal.message), next))?,
        );
    }
    Ok(all)
}

/// Our own reader must take what we suggest.
fn check(suggestion: &Suggestion) -> Result<()> {
    let (_, said) = input::load(&suggestion.yaml, &suggestion.name, Strictness::Strict, &LowerOptions::default());
    let wrong: Vec<String> = said.iter().filter(|one| Diagnostic::is_error(one)).map(ToString::to_string).collect();
    if wrong.is_empty() {
        return Ok(());
    }
    let what = format!("the policy suggested for {} is not valid: {}", suggestion.name, wrong.join("; "));
    Err(CliError::input(what, "this is a defect of Nexin: please report it with the recording"))
}

fn write(args: &Suggest, report: &Report) -> Result<()> {
    let Some(directory) = &args.directory else {
        let documents: Vec<&str> = report.suggestions.iter().map(|suggestion| suggestion.yaml.as_str()).collect();
        print!("{}", documents.join("---\n"));
        return Ok(());
    };
    std::fs::create_dir_all(directory).map_err(|source| CliError::file(directory, source))?;
    for suggestion in &report.suggestions {
        let namespace = if suggestion.namespace.is_empty() { "cluster" } else { &suggestion.namespace };
        let path = directory.join(format!("{namespace}-{}.yaml", suggestion.name));
        write_atomic(&path, suggestion.yaml.as_bytes()).map_err(|source| CliError::file(&path, source))?;
    }
    Ok(())
}

/// What the documents rest on, for people.
fn say(report: &Report, lost: u64) {
    let left = &report.left_out;
    eprintln!("{} policies from {} flows", report.suggestions.len(), report.used);
    for (count, why) in [
        (left.not_let_through, "were not let through"),
        (left.not_opening, "were replies, or of no known direction"),
        (left.not_decided_here, "were seen before the decision, or within a proxy or socket"),
        (left.not_expressible, "have an end or a protocol that a policy cannot name"),
    ] {
        if count > 0 {
            eprintln!("  {count} flows left out: they {why}");
        }
    }
    if lost > 0 {
        eprintln!("  {lost} events were lost while recording: something may be missing");
    }
}
