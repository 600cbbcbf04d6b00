//! The server's state.

use std::io::{self, Write};

use nexin_hubble::observer::ServerStatusResponse;

use super::escape::{Colours, Palette};
use super::{Output, line, table};
use crate::gotext;

/// `status`, after the health check.
pub(crate) fn status(response: &ServerStatusResponse, output: Output, out: &mut dyn Write) -> io::Result<()> {
    let text = match output {
        Output::Json => return line(out, response),
        Output::JsonLegacy => return Ok(()),
        Output::Table => table::align(&tabbed(response), 2, 3),
        Output::Dict => dict(response),
        Output::Compact => compact(response),
    };
    out.write_all(Palette::new(Colours::Never).escape(&text).as_bytes())
}

fn uptime(nanoseconds: u64) -> String {
    i64::try_from(nanoseconds).map_or_else(|_| format!("{nanoseconds}ns"), gotext::duration)
}

fn rate(response: &ServerStatusResponse) -> Option<String> {
    (response.flows_rate > 0.0).then(|| format!("{:.2}", response.flows_rate))
}

/// Values in the order of columns.
fn values(response: &ServerStatusResponse) -> [String; 8] {
    let available = || "N/A".to_owned();
    let count = |number: Option<u32>| number.map_or_else(available, |number| number.to_string());
    [
        gotext::grouped(response.num_flows),
        gotext::grouped(response.max_flows),
        gotext::grouped(response.seen_flows),
        rate(response).unwrap_or_else(available),
        uptime(response.uptime_ns),
        count(response.num_connected_nodes),
        count(response.num_unavailable_nodes),
        response.version.clone(),
    ]
}

fn tabbed(response: &ServerStatusResponse) -> String {
    let heading = [
        "NUM FLOWS",
        "MAX FLOWS",
        "SEEN FLOWS",
        "FLOWS PER SECOND",
        "UPTIME",
        "NUM CONNECTED NODES",
        "NUM UNAVAILABLE NODES",
        "VERSION",
    ];
    format!("{}\n{}\n", heading.join("\t"), values(response).join("\t"))
}

fn dict(response: &ServerStatusResponse) -> String {
    let names = [
        "NUM FLOWS",
        "MAX FLOWS",
        "SEEN FLOWS",
        "FLOWS PER SECOND",
        "UPTIME",
        "NUM CONNECTED NODES",
        "NUM UNAVAIL. NODES",
        "VERSION",
    ];
    let rows = names.iter().zip(values(response));
    rows.map(|(name, value)| format!("{name:>19}: {value}\n")).collect()
}

fn compact(response: &ServerStatusResponse) -> String {
    let (now, most) = (response.num_flows, response.max_flows);
    let ratio = if most > 0 { format!(" ({:.2}%)", now as f64 / most as f64 * 100.0) } else { String::new() };
    let mut text = format!("Current/Max Flows: {}/{}{ratio}\n", gotext::grouped(now), gotext::grouped(most));
    // Where the server does not say, the rate since it started. Beyond 292 years the time is negative.
    let seconds = response.uptime_ns as i64 as f64 / 1e9;
    let since_start = || (seconds > 0.0).then(|| format!("{:.2}", response.seen_flows as f64 / seconds));
    let rate = rate(response).or_else(since_start).unwrap_or_else(|| "N/A".to_owned());
    text.push_str(&format!("Flows/s: {rate}\n"));
    if let Some(connected) = response.num_connected_nodes {
        let all = response.num_unavailable_nodes.map(|missing| format!("/{}", missing.wrapping_add(connected)));
        text.push_str(&format!("Connected Nodes: {connected}{}\n", all.unwrap_or_default()));
    }
    if let Some(missing) = response.num_unavailable_nodes.filter(|missing| *missing > 0) {
        text.push_str(&format!("Unavailable Nodes: {missing}\n"));
        let mut nodes = response.unavailable_nodes.clone();
        nodes.sort_unstable();
        let more = u64::from(missing).saturating_sub(nodes.len() as u64);
        if !nodes.is_empty() && more > 0 {
            nodes.push(format!("and {more} more..."));
        }
        text.extend(nodes.iter().map(|node| format!("  - {node}\n")));
    }
    text
}
