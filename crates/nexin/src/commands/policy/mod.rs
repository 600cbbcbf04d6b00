//! `nexin policy`: rules, and what they say of traffic.

mod apply;
mod explain;
mod files;
mod get;
mod offline;
mod recorded;
mod simulate;
mod test;
mod validate;

use std::process::ExitCode;

use clap::Subcommand;

use super::Context;
use crate::error::Result;

#[derive(Subcommand)]
pub(crate) enum Policy {
    /// Put documents in force
    Apply(apply::Apply),
    /// Documents in force, or one of them
    #[command(visible_alias = "list")]
    Get(get::Get),
    /// Take documents out of force
    #[command(visible_alias = "rm")]
    Delete(get::Delete),
    /// Check documents without an agent: every mistake with its place and what was probably meant
    Validate(validate::Validate),
    /// Why traffic is allowed or refused: every rule that speaks, and the winner
    Explain(explain::Explain),
    /// Which flows would be judged differently if documents were applied or deleted
    Simulate(simulate::Simulate),
    /// Check policies against expected verdicts in files; needs no agent and no root
    Test(test::Test),
}

pub(crate) async fn policy(context: &Context, verb: &Policy) -> Result<ExitCode> {
    match verb {
        Policy::Apply(args) => apply::apply(context, args).await,
        Policy::Get(args) => get::get(context, args).await,
        Policy::Delete(args) => get::delete(context, args).await,
        Policy::Validate(args) => validate::validate(context, args),
        Policy::Explain(args) => explain::explain(context, args).await,
        Policy::Simulate(args) => simulate::simulate(context, args).await,
        Policy::Test(args) => test::test(context, args),
    }
}
