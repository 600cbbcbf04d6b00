//! `list nodes` and `list namespaces`.

use nexin_hubble::json;
use nexin_hubble::observer::{Namespace, Node};
use nexin_hubble::relay::NodeState;

use crate::error::Error;
use crate::gotext;
use crate::print::table;
use crate::settings::Settings;
use crate::verbs::{indented, server};
use crate::{Run, remote};

/// `-o` of lists.
enum Format {
    Json,
    Table { wide: bool },
}

fn format(settings: &Settings<'_>) -> Result<Format, Error> {
    match settings.flags.text("output").unwrap_or("table") {
        "json" => Ok(Format::Json),
        "table" => Ok(Format::Table { wide: false }),
        "wide" => Ok(Format::Table { wide: true }),
        other => Err(Error::Usage(format!("unknown output format: {other}"))),
    }
}

pub(super) async fn nodes(run: &mut Run<'_>, settings: &Settings<'_>) -> Result<(), Error> {
    let client = remote::client(settings, &server(run.house, settings))?;
    let mut nodes = client.get_nodes().await.map_err(Error::Remote)?.nodes;
    remote::compare(&client.versions(), run.now, run.console.err);
    nodes.sort_by(|a, b| a.name.cmp(&b.name));
    let text = match format(settings)? {
        Format::Json => json_list(nodes.iter().map(json::text)),
        Format::Table { wide } => node_table(&nodes, wide),
    };
    Ok(run.console.out.write_all(text.as_bytes())?)
}

pub(super) async fn namespaces(run: &mut Run<'_>, settings: &Settings<'_>) -> Result<(), Error> {
    let client = remote::client(settings, &server(run.house, settings))?;
    let namespaces = client.get_namespaces().await.map_err(Error::Remote)?.namespaces;
    remote::compare(&client.versions(), run.now, run.console.err);
    let text = match format(settings)? {
        Format::Json => json_list(namespaces.iter().map(json::text)),
        Format::Table { wide } => namespace_table(&namespaces, wide),
    };
    Ok(run.console.out.write_all(text.as_bytes())?)
}

/// An empty list is `null`, as in Go.
fn json_list(items: impl Iterator<Item = String>) -> String {
    let items: Vec<String> = items.collect();
    if items.is_empty() { "null\n".to_owned() } else { format!("{}\n", indented(&format!("[{}]", items.join(",")))) }
}

fn namespace_table(namespaces: &[Namespace], wide: bool) -> String {
    let mut text = String::from(if wide { "NAMESPACE\tCLUSTER\n" } else { "NAMESPACE\n" });
    for namespace in namespaces {
        text.push_str(&namespace.namespace);
        if wide && !namespace.cluster.is_empty() {
            text.push_str(&format!("\t{}", namespace.cluster));
        }
        text.push('\n');
    }
    table::align(&text, 2, 3)
}

fn node_table(nodes: &[Node], wide: bool) -> String {
    let mut text = String::from("NAME\tSTATUS\tAGE\tFLOWS/S\tCURRENT/MAX-FLOWS");
    text.push_str(if wide { "\tVERSION\tADDRESS\tTLS\n" } else { "\n" });
    for node in nodes {
        text.push_str(&node_row(node, wide));
    }
    table::align(&text, 2, 3)
}

fn node_row(node: &Node, wide: bool) -> String {
    let missing = || "N/A".to_owned();
    // Whole seconds, halves away from zero; what does not fit a signed number is no age.
    let seconds = i64::try_from(node.uptime_ns).map_or(0, |age| age.saturating_add(500_000_000) / 1_000_000_000);
    let (age, rate) = if seconds > 0 {
        let rate = node.seen_flows as f64 / seconds as f64;
        (gotext::duration(seconds.saturating_mul(1_000_000_000)), format!("{rate:.2}"))
    } else {
        (missing(), missing())
    };
    let ratio = match node.max_flows {
        0 => missing(),
        max => format!("{}/{max} ({:6.2}%)", node.num_flows, node.num_flows as f64 / max as f64 * 100.0),
    };
    let state = match NodeState::try_from(node.state) {
        Ok(NodeState::NodeConnected) => "Connected",
        Ok(NodeState::NodeUnavailable) => "Unavailable",
        Ok(NodeState::NodeGone) => "Gone",
        Ok(NodeState::NodeError) => "Error",
        Ok(NodeState::UnknownNodeState) | Err(_) => "Unknown",
    };
    let mut row = format!("{}\t{state}\t{age}\t{rate}\t{ratio}", node.name);
    if wide {
        let version = if node.version.is_empty() { missing() } else { node.version.clone() };
        let tls = match &node.tls {
            None => "N/A",
            Some(tls) if tls.enabled => "Enabled",
            Some(_) => "Disabled",
        };
        row.push_str(&format!("\t{version}\t{}\t{tls}", node.address));
    }
    row + "\n"
}
