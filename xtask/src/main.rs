//! Chores of the house as programs; `./x` calls them. Nothing here is needed to run Nexin.

mod chore;
mod tidy;
mod vm;

use std::{
    path::PathBuf,
    process::{Command, ExitCode},
};

use clap::{Parser, Subcommand};

/// Documents may name these.
const VERBS: [&str; 3] = ["insns", "tidy", "vm"];

#[derive(Parser)]
#[command(about = "Chores of the Nexin tree")]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Checks the rules of the house: layers, sizes, smells, tests, Markdown.
    Tidy,
    /// Writes the table of verified instructions anew.
    Insns,
    /// Runs the netns suite on Debian's kernels under QEMU.
    Vm {
        /// smoke (a part, on all), 6.1 or 6.12; all of it on all without.
        which: Option<vm::Which>,
        /// Only tests whose names contain one of these.
        filters: Vec<String>,
    },
}

/// The tree this is run in: the next folder upwards that has `layers.toml`. (Not the one it was built in, which may be a copy.)
fn root() -> chore::Result<PathBuf> {
    let here = std::env::current_dir()?;
    let found = here.ancestors().find(|folder| folder.join("layers.toml").is_file());
    match found {
        Some(folder) => Ok(folder.to_owned()),
        None => chore::fail!("{} lies in no tree of Nexin", here.display()),
    }
}

fn main() -> chore::Result<ExitCode> {
    let root = root()?;
    let clean = match Arguments::parse().verb {
        Verb::Tidy => tidy::run(&root)?,
        Verb::Insns => {
            let test = ["test", "-q", "-p", "nexin-testbed", "--test", "prog", "insns::"];
            Command::new("cargo").args(test).env("TESTBED_BLESS", "1").current_dir(&root).status()?.success()
        }
        Verb::Vm { which, filters } => vm::run(&root, which, &filters)?,
    };
    Ok(if clean { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
