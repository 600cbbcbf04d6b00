//! `nexin map`: the kernel's tables as they are.

use clap::Subcommand;
use nexin_api::v1::{MapContents, MapInfo};

use super::Context;
use crate::error::{CliError, Result};
use crate::output::{Cell, Paint, Style, Table};
use nexin_runtime::settings::nearest;

#[derive(Subcommand)]
pub(crate) enum Map {
    /// Every map with its size and use
    #[command(visible_alias = "ls")]
    List,
    /// The entries of a map, decoded
    Dump {
        /// Its name, such as nx_endpoint
        name: String,
    },
}

pub(crate) async fn map(context: &Context, verb: &Map) -> Result<()> {
    let client = context.client()?;
    match verb {
        Map::List => {
            let maps = client.maps().await?;
            context.out.show(&maps, |style| table(&maps, style))?;
        }
        Map::Dump { name } => match client.map(name).await {
            Ok(contents) => context.out.show(&contents, |style| entries(&contents, style))?,
            Err(error) if error.is_not_found() => return Err(unknown(name, &client.maps().await?)),
            Err(error) => return Err(error.into()),
        },
    }
    Ok(())
}

fn unknown(name: &str, maps: &[MapInfo]) -> CliError {
    let next = match nearest(name, maps.iter().map(|map| map.name.as_str())) {
        Some(near) => format!("did you mean {near}?"),
        None => "`nexin map list` shows those there are".to_owned(),
    };
    CliError::input(format!("no map named {name}"), next)
}

fn table(maps: &[MapInfo], style: Style) -> String {
    let head = ["NAME", "KIND", "ENTRIES", "MAX", "KEY", "VALUE", "MEMORY", "ID"];
    let mut table = Table::new(&head, "no maps: the datapath is not loaded");
    for map in maps {
        table.row([
            map.name.as_str().into(),
            format!("{:?}", map.kind).into(),
            used(map),
            map.max_entries.to_string().into(),
            map.key_bytes.to_string().into(),
            map.value_bytes.to_string().into(),
            Cell::maybe(map.memory_bytes.map(bytes)),
            map.id.to_string().into(),
        ]);
    }
    table.render(style)
}

fn used(map: &MapInfo) -> Cell {
    let Some(entries) = map.entries else { return Cell::maybe(None::<u64>) };
    let full = entries * 10 >= u64::from(map.max_entries) * 9 && map.max_entries > 16;
    Cell::new(if full { Paint::Warn } else { Paint::Plain }, entries.to_string())
}

fn bytes(count: u64) -> String {
    match count {
        0..1024 => format!("{count} B"),
        1024..1_048_576 => format!("{} KiB", count / 1024),
        _ => format!("{} MiB", count / 1_048_576),
    }
}

fn entries(contents: &MapContents, style: Style) -> String {
    let mut table = Table::new(&["KEY", "VALUE"], "no entries");
    for entry in &contents.contents {
        table.row([entry.key.as_str().into(), entry.value.as_str().into()]);
    }
    let mut text = table.render(style);
    if contents.truncated {
        let total = contents.info.entries.map_or_else(|| "more".to_owned(), |all| all.to_string());
        text.push_str(&style.dim(&format!("... {} of {total} entries shown\n", contents.contents.len())));
    }
    text
}
