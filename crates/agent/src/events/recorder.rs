//! Distinct flows of the recent past, for `policy simulate`. Bounded.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;

use nexin_api::v1::{PortProtocol, Protocol};
use nexin_flows::Record;

/// A conversation, seen from its originator, without its source port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct SeenFlow {
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    pub(crate) port: PortProtocol,
}

#[derive(Debug)]
pub(crate) struct Recorder {
    flows: HashMap<SeenFlow, u64>,
    /// Order of first sight, for making room.
    order: VecDeque<SeenFlow>,
    most: usize,
}

impl Recorder {
    pub(crate) fn new(most: usize) -> Self {
        Self { flows: HashMap::new(), order: VecDeque::new(), most }
    }

    pub(crate) fn record(&mut self, record: &Record) {
        if let Some(flow) = seen(record) {
            self.count(flow);
        }
    }

    fn count(&mut self, flow: SeenFlow) {
        if let Some(count) = self.flows.get_mut(&flow) {
            *count += 1;
            return;
        }
        while self.order.len() >= self.most {
            let Some(oldest) = self.order.pop_front() else { return };
            self.flows.remove(&oldest);
        }
        self.flows.insert(flow, 1);
        self.order.push_back(flow);
    }

    pub(crate) fn flows(&self) -> impl Iterator<Item = (SeenFlow, u64)> {
        self.flows.iter().map(|(flow, count)| (*flow, *count))
    }
}

/// The conversation of an event, when it is one whose direction is known.
fn seen(record: &Record) -> Option<SeenFlow> {
    let reply = record.tracked_reply()?;
    let (source, destination) = record.addresses()?;
    let ports = record.raw_ports();
    let protocol = Protocol::from_number(record.protocol());
    let port = match protocol {
        // Type and code stand in place of the port.
        Protocol::Icmp | Protocol::Icmp6 if !reply => ports.1 >> 8,
        Protocol::Icmp | Protocol::Icmp6 => return None,
        _ if !protocol.has_ports() => 0,
        _ if reply => ports.0,
        _ => ports.1,
    };
    let (source, destination) = if reply { (destination, source) } else { (source, destination) };
    Some(SeenFlow { source, destination, port: PortProtocol { port, protocol } })
}

impl SeenFlow {
    /// A tracked flow of the datapath. ICMP is tracked by its identifier, which is no port: an echo is assumed.
    pub(crate) fn of_tracked(flow: &nexin_datapath::Flow) -> Self {
        let protocol = Protocol::from_number(flow.protocol);
        let port = match protocol {
            Protocol::Icmp => 8,
            Protocol::Icmp6 => 128,
            _ => flow.destination.1,
        };
        Self { source: flow.source.0, destination: flow.destination.0, port: PortProtocol { port, protocol } }
    }
}
