//! Chores of the house as programs; `./x` calls them. Nothing here is needed to run Nexin.

mod tidy;

use std::{error::Error, path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};

/// Documents may name these.
const VERBS: [&str; 1] = ["tidy"];

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
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize()?;
    let clean = match Arguments::parse().verb {
        Verb::Tidy => tidy::run(&root)?,
    };
    Ok(if clean { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
