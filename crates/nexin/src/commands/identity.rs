//! `nexin identity`.

use clap::Subcommand;
use nexin_api::v1;

use super::Context;
use crate::error::{CliError, Result};
use crate::output::{Cell, Style, Table, facts};

#[derive(Subcommand)]
pub(crate) enum Identity {
    /// Every identity that the agent knows
    #[command(visible_alias = "ls")]
    List,
    /// One identity
    Get {
        /// Its number
        id: u32,
    },
}

pub(crate) async fn identity(context: &Context, verb: &Identity) -> Result<()> {
    let identities = context.client()?.identities().await?;
    match verb {
        Identity::List => context.out.show(&identities, |style| table(&identities, style))?,
        Identity::Get { id } => {
            let found = identities.iter().find(|identity| identity.id == *id).ok_or_else(|| {
                CliError::input(format!("no identity {id} on this node"), "`nexin identity list` shows those there are")
            })?;
            context.out.show(found, |style| detail(found, style))?;
        }
    }
    Ok(())
}

pub(crate) fn numbers(ids: &[u16]) -> String {
    ids.iter().map(u16::to_string).collect::<Vec<_>>().join(",")
}

fn table(identities: &[v1::Identity], style: Style) -> String {
    let mut table = Table::new(&["IDENTITY", "ENDPOINTS", "LABELS"], "no identities");
    for identity in identities {
        table.row([
            identity.id.to_string().into(),
            numbers(&identity.endpoints).into(),
            identity.labels.to_string().into(),
        ]);
    }
    table.render(style)
}

fn detail(identity: &v1::Identity, style: Style) -> String {
    facts(
        style,
        &[
            ("identity", identity.id.to_string().into()),
            ("labels", identity.labels.to_string().into()),
            ("endpoints", numbers(&identity.endpoints).into()),
            ("cidr", Cell::maybe(identity.cidr)),
        ],
    )
}
