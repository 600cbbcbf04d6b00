//! The command line: which verbs there are. What a verb's flags are stands beside the verb in [`crate::commands`].

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::commands::{
    agent, bugtool, capture, completion, ct, endpoint, flows, identity, ipam, lab, map, monitor, observe, policy,
    relay, run, status,
};
use crate::output::Format;

#[derive(Parser)]
#[command(name = "nexin", version, about = "Networking, identity policy and an explained verdict for Linux workloads")]
#[command(disable_help_subcommand = true, arg_required_else_help = true, infer_long_args = false)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// Flags that every verb has.
#[derive(Args)]
#[command(next_help_heading = "Everywhere")]
pub(crate) struct Global {
    /// The agent's socket
    #[arg(long, global = true, value_name = "PATH", env = "NEXIN_SOCKET", default_value = nexin_api::DEFAULT_SOCKET)]
    pub(crate) socket: PathBuf,
    /// How to print answers
    #[arg(short, long, global = true, value_enum, default_value_t, value_name = "FORMAT")]
    pub(crate) output: Format,
    /// Never colour (also: any NO_COLOR in the environment)
    #[arg(long, global = true, env = "NO_COLOR", value_parser = is_set, default_value = "", default_missing_value = "1",
          num_args = 0..=1, require_equals = true, hide_default_value = true, hide_env = true, value_name = "YES")]
    pub(crate) no_color: bool,
}

/// NO_COLOR's rule: any text but none means yes.
fn is_set(text: &str) -> Result<bool, std::convert::Infallible> {
    Ok(!text.is_empty())
}

#[derive(Subcommand)]
pub(crate) enum Verb {
    /// Run the agent of this node (or of this network namespace)
    Agent(agent::Agent),
    /// What the agent does and how it is
    Status(status::Status),
    /// What this kernel can do, what is missing and what that costs
    Doctor(status::Doctor),
    /// The workloads of this node
    #[command(subcommand, visible_alias = "ep")]
    Endpoint(endpoint::Endpoint),
    /// The numbers that stand for sets of labels
    #[command(subcommand)]
    Identity(identity::Identity),
    /// Rules, and what they say of traffic
    #[command(subcommand)]
    Policy(policy::Policy),
    /// Address pools and who has which address
    Ipam(ipam::Ipam),
    /// The kernel's tables
    #[command(subcommand)]
    Map(map::Map),
    /// Tracked connections
    #[command(subcommand)]
    Ct(ct::Ct),
    /// Drops, verdicts and traces as they happen
    Monitor(monitor::Monitor),
    /// Answer Hubble's API for many nodes at one address
    Relay(relay::Relay),
    /// Flows: who talks to whom, what was dropped and why. Flags and outputs are those of `hubble observe`
    Observe(observe::Words),
    /// Recordings of flows: make them, print them, turn them into policies
    #[command(subcommand)]
    Flows(flows::Flows),
    /// Packets of chosen flows as pcapng, each with what was decided about it and why
    Capture(capture::Capture),
    /// Hubble's command, as the official one answers; a link named `hubble` to this program does the same
    Hubble(observe::Words),
    /// Run a command as a workload of its own: network namespace, labels, policy
    Run(run::Run),
    /// The watcher of a `run`
    #[command(hide = true)]
    RunReaper(run::reaper::Reap),
    /// Nodes and workloads on this machine, to try, teach and test
    #[command(subcommand)]
    Lab(lab::Lab),
    /// Collect what a bug report needs, without secrets
    Bugtool(bugtool::Bugtool),
    /// Print a shell's completion script
    Completion(completion::Completion),
    /// Version of this program and of the agent
    Version(status::Version),
}

#[cfg(test)]
mod tests;
