//! `nexin ct`: tracked connections.

use std::net::IpAddr;

use clap::{Args, Subcommand};
use nexin_api::v1::{CtEntry, CtQuery, CtState};

use super::{Context, endpoint};
use crate::error::Result;
use crate::output::{Cell, Paint, Style, Table};

#[derive(Subcommand)]
pub(crate) enum Ct {
    /// Flows that are tracked now
    #[command(visible_alias = "ls")]
    List(List),
    /// Forget tracked flows: each is judged anew at its next packet
    Flush {
        /// Only flows of this workload (number or namespace/name)
        #[arg(short, long, value_name = "ENDPOINT", required_unless_present = "all")]
        endpoint: Option<String>,
        /// Every flow of the node
        #[arg(long, conflicts_with = "endpoint")]
        all: bool,
    },
}

#[derive(Args)]
pub(crate) struct List {
    /// Only flows of this workload (number or namespace/name)
    #[arg(short, long, value_name = "ENDPOINT")]
    endpoint: Option<String>,
    /// At most so many
    #[arg(long, value_name = "COUNT")]
    limit: Option<u32>,
}

pub(crate) async fn ct(context: &Context, verb: &Ct) -> Result<()> {
    let client = context.client()?;
    let (Ct::List(List { endpoint, .. }) | Ct::Flush { endpoint, .. }) = verb;
    let endpoint = match endpoint {
        Some(name) => Some(endpoint::find(&client, name).await?.id),
        None => None,
    };
    match verb {
        Ct::List(List { limit, .. }) => {
            let flows = client.conntrack(&CtQuery { endpoint, limit: *limit }).await?;
            context.out.show(&flows, |style| table(&flows, style))?;
        }
        Ct::Flush { .. } => {
            let removed = client.flush_conntrack(&CtQuery { endpoint, limit: None }).await?;
            context.out.show(&removed, |_| format!("{removed} flows forgotten"))?;
        }
    }
    Ok(())
}

/// An address with a port, in the notation of its family; port 0 is left out.
pub(crate) fn socket(address: IpAddr, port: u16) -> String {
    match (address, port) {
        (_, 0) => address.to_string(),
        (IpAddr::V4(address), _) => format!("{address}:{port}"),
        (IpAddr::V6(address), _) => format!("[{address}]:{port}"),
    }
}

fn table(flows: &[CtEntry], style: Style) -> String {
    let head = ["PROTO", "SOURCE", "DESTINATION", "STATE", "LEFT", "PACKETS", "BYTES", "MASQUERADE"];
    let mut table = Table::new(&head, "no flow is tracked");
    for flow in flows {
        table.row([
            flow.protocol.to_string().into(),
            socket(flow.source, flow.source_port).into(),
            socket(flow.destination, flow.destination_port).into(),
            state(flow.state),
            format!("{}s", flow.expires_in.max(0)).into(),
            format!("{}/{}", flow.packets_forward, flow.packets_reverse).into(),
            format!("{}/{}", flow.bytes_forward, flow.bytes_reverse).into(),
            Cell::maybe(flow.masqueraded_as.map(|address| socket(address, flow.masquerade_port.unwrap_or(0)))),
        ]);
    }
    table.render(style)
}

fn state(state: CtState) -> Cell {
    match state {
        CtState::New => Cell::new(Paint::Dim, "new"),
        CtState::Established => Cell::new(Paint::Good, "established"),
        CtState::Closing => Cell::new(Paint::Dim, "closing"),
        CtState::LastAck => Cell::new(Paint::Dim, "last-ack"),
        CtState::Denied => Cell::new(Paint::Bad, "denied"),
    }
}

#[cfg(test)]
mod tests {
    use nexin_api::v1::Protocol;

    use super::*;

    #[test]
    fn sockets_are_written_as_their_family_does() {
        assert_eq!(socket("10.0.0.1".parse().unwrap(), 80), "10.0.0.1:80");
        assert_eq!(socket("fd00::1".parse().unwrap(), 80), "[fd00::1]:80");
        assert_eq!(socket("fd00::1".parse().unwrap(), 0), "fd00::1");
    }

    #[test]
    fn a_masqueraded_flow_shows_both_sources() {
        let flow = CtEntry {
            protocol: Protocol::Tcp,
            source: "10.0.0.5".parse().unwrap(),
            source_port: 40_000,
            destination: "192.0.2.1".parse().unwrap(),
            destination_port: 443,
            state: CtState::Established,
            source_endpoint: Some(5),
            destination_endpoint: None,
            expires_in: 21_600,
            packets_forward: 3,
            bytes_forward: 200,
            packets_reverse: 2,
            bytes_reverse: 1400,
            masqueraded_as: Some("192.0.2.7".parse().unwrap()),
            masquerade_port: Some(50_000),
            epoch: 1,
        };
        assert_eq!(
            table(&[flow], Style::new(false)).lines().nth(1),
            Some("TCP    10.0.0.5:40000  192.0.2.1:443  established  21600s  3/2      200/1400  192.0.2.7:50000")
        );
    }
}
