//! `nexin completion`.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::Context;
use crate::cli::Cli;
use crate::error::Result;

#[derive(Args)]
pub(crate) struct Completion {
    /// For which shell
    shell: Shell,
}

pub(crate) fn completion(context: &Context, args: &Completion) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "nexin", &mut script);
    Ok(context.out.text(&String::from_utf8_lossy(&script))?)
}
