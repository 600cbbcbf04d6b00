//! `nexin lab`: nodes and workloads on this machine.

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use nexin_lab::{LabSpec, LabStatus, Preset, Up};

use super::Context;
use super::endpoint::short_labels;
use super::run::exit_code;
use crate::error::{CliError, Result};
use crate::output::{Cell, Paint, Progress, Style, Table};

#[derive(Subcommand)]
pub(crate) enum Lab {
    /// Make a lab
    Up(UpArgs),
    /// Remove a lab and everything in it
    Down {
        #[command(flatten)]
        which: Which,
        /// Remove every lab
        #[arg(long, conflicts_with = "name")]
        all: bool,
    },
    /// Run a command in a workload, a node or the outside
    Exec {
        #[command(flatten)]
        which: Which,
        /// Where: the name of a workload or node, or `outside`
        part: String,
        /// The command
        #[arg(last = true, required = true, value_name = "CMD")]
        command: Vec<OsString>,
    },
    /// What there is
    Status {
        #[command(flatten)]
        which: Which,
    },
    /// Three ships: workloads talk, are refused, and are told why
    Demo {
        /// Leave it up afterwards, to play with
        #[arg(long)]
        keep: bool,
    },
}

#[derive(Args)]
pub(crate) struct Which {
    /// The lab; not needed while there is only one
    #[arg(long)]
    name: Option<String>,
}

#[derive(Args)]
pub(crate) struct UpArgs {
    /// A lab file
    #[arg(short, long, value_name = "FILE", required_unless_present = "preset")]
    file: Option<PathBuf>,
    /// A lab that needs no file
    #[arg(long, value_enum, conflicts_with = "file")]
    preset: Option<PresetName>,
    /// Another name than the file's
    #[arg(long)]
    name: Option<String>,
}

#[derive(Clone, Copy, ValueEnum)]
enum PresetName {
    /// A deathstar, a tiefighter, an xwing on one node
    ThreeShips,
    /// Two nodes with a workload each
    TwoNodes,
}

impl From<PresetName> for Preset {
    fn from(name: PresetName) -> Self {
        match name {
            PresetName::ThreeShips => Self::ThreeShips,
            PresetName::TwoNodes => Self::TwoNodes,
        }
    }
}

pub(crate) async fn lab(context: &Context, verb: &Lab) -> Result<ExitCode> {
    match verb {
        Lab::Up(args) => up(context, args).await?,
        Lab::Down { which, all } => down(context, which, *all)?,
        Lab::Exec { which, part, command } => {
            let lab = nexin_lab::Lab::open(which.name.as_deref())?;
            return Ok(exit_code(lab.exec(part, command)?));
        }
        Lab::Status { which } => {
            let status = nexin_lab::Lab::open(which.name.as_deref())?.status().await?;
            context.out.show(&status, |style| render(&status, style))?;
        }
        Lab::Demo { keep } => nexin_lab::demo::run(&this_program()?, *keep).await?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Nodes of a lab run the same binary.
fn this_program() -> Result<PathBuf> {
    env::current_exe().map_err(|source| CliError::system("find this program's own file", source))
}

fn spec(args: &UpArgs) -> Result<LabSpec> {
    let mut spec = match (&args.file, args.preset) {
        (Some(file), _) => nexin_lab::read_spec(file)?,
        (None, Some(preset)) => Preset::from(preset).spec(),
        (None, None) => return Err(CliError::input("no lab to make", "give -f FILE or --preset NAME")),
    };
    if let Some(name) = &args.name {
        spec.name.clone_from(name);
    }
    Ok(spec)
}

async fn up(context: &Context, args: &UpArgs) -> Result<()> {
    let progress = Progress::new();
    let mut tell = |what: &str| progress.say(what);
    let (lab, _agents) = nexin_lab::Lab::up(spec(args)?, Up { program: this_program()?, progress: &mut tell }).await?;
    drop(progress);
    if let Some(preset) = args.preset
        && let Err(error) = Preset::from(preset).furnish(&lab)
    {
        // The network is there; who wants to talk starts other servers.
        eprintln!("nexin: the preset's servers do not run: {error}");
    }
    let status = lab.status().await?;
    Ok(context.out.show(&status, |style| format!("{}{}", render(&status, style), hints(&status, style)))?)
}

fn down(context: &Context, which: &Which, all: bool) -> Result<()> {
    let names = if all {
        nexin_lab::Lab::names()?
    } else {
        vec![nexin_lab::Lab::open(which.name.as_deref())?.name().to_owned()]
    };
    for name in names {
        let progress = Progress::new();
        nexin_lab::Lab::open(Some(&name))?.down(&mut |what| progress.say(what))?;
        drop(progress);
        context.out.item(&name, |_| format!("lab {name} removed"))?;
    }
    Ok(())
}

fn render(status: &LabStatus, style: Style) -> String {
    let mut nodes = Table::new(&["NODE", "AGENT", "SOCKET"], "");
    for node in &status.nodes {
        let ready = if node.ready { Cell::new(Paint::Good, "ready") } else { Cell::new(Paint::Bad, "not ready") };
        nodes.row([node.name.as_str().into(), ready, node.socket.display().to_string().into()]);
    }
    let mut workloads = Table::new(&["WORKLOAD", "NODE", "ID", "IPV4", "IPV6", "LABELS"], "no workloads");
    for workload in &status.workloads {
        let endpoint = workload.endpoint.as_ref();
        workloads.row([
            workload.name.as_str().into(),
            workload.node.as_str().into(),
            Cell::maybe(endpoint.map(|endpoint| endpoint.id)),
            Cell::maybe(endpoint.and_then(|endpoint| endpoint.ipv4)),
            Cell::maybe(endpoint.and_then(|endpoint| endpoint.ipv6)),
            Cell::maybe(endpoint.map(|endpoint| short_labels(&endpoint.labels))),
        ]);
    }
    let outside: Vec<String> = status.outside.iter().map(ToString::to_string).collect();
    format!("{}\n{}\noutside (the world): {}\n", nodes.render(style), workloads.render(style), outside.join(" "))
}

fn hints(status: &LabStatus, style: Style) -> String {
    let mut text = String::from("\ntry:\n");
    if let [first, .., last] = &status.workloads[..] {
        let address =
            last.endpoint.as_ref().and_then(|endpoint| endpoint.ipv4).map_or("ADDRESS".to_owned(), |ip| ip.to_string());
        text.push_str(&format!("  nexin lab exec --name {} {} -- ping -c 1 {address}\n", status.name, first.name));
    }
    if let Some(node) = status.nodes.first() {
        text.push_str(&format!("  export NEXIN_SOCKET={}; nexin endpoint list\n", node.socket.display()));
    }
    text.push_str(&format!("  nexin lab down --name {}\n", status.name));
    style.dim(&text)
}
