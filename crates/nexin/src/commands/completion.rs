//! `nexin completion`.

use clap::{Args, Command};
use clap_complete::Shell;

use super::Context;
use crate::error::Result;

#[derive(Args)]
pub(crate) struct Completion {
    /// For which shell
    shell: Shell,
}

/// `cli` is the whole command line.
pub(crate) fn completion(context: &Context, args: &Completion, mut cli: Command) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut cli, "nexin", &mut script);
    Ok(context.out.text(&String::from_utf8_lossy(&script))?)
}
