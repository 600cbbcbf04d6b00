//! The recent past: events for `monitor --last`, and distinct flows for `policy simulate`. Bounded.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;

use nexin_api::v1::{FlowEvent, PortProtocol, Protocol};

/// A conversation, seen from its originator, without its source port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct SeenFlow {
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    pub(crate) port: PortProtocol,
}

#[derive(Debug)]
pub(crate) struct Recorder {
    events: VecDeque<Arc<FlowEvent>>,
    most_events: usize,
    flows: HashMap<SeenFlow, u64>,
    /// Order of first sight, for making room.
    order: VecDeque<SeenFlow>,
    most_flows: usize,
}

impl Recorder {
    pub(crate) fn new(most_events: usize, most_flows: usize) -> Self {
        Self { events: VecDeque::new(), most_events, flows: HashMap::new(), order: VecDeque::new(), most_flows }
    }

    pub(crate) fn record(&mut self, event: &Arc<FlowEvent>) {
        if let Some(flow) = seen(event) {
            self.count(flow);
        }
        self.events.push_back(event.clone());
        while self.events.len() > self.most_events {
            self.events.pop_front();
        }
    }

    fn count(&mut self, flow: SeenFlow) {
        if let Some(count) = self.flows.get_mut(&flow) {
            *count += 1;
            return;
        }
        while self.order.len() >= self.most_flows {
            let Some(oldest) = self.order.pop_front() else { return };
            self.flows.remove(&oldest);
        }
        self.flows.insert(flow, 1);
        self.order.push_back(flow);
    }

    /// The last `count` events that pass `filter`, oldest first.
    pub(crate) fn last(&self, count: usize, filter: impl Fn(&FlowEvent) -> bool) -> Vec<Arc<FlowEvent>> {
        let mut events: Vec<_> = self.events.iter().rev().filter(|event| filter(event)).take(count).cloned().collect();
        events.reverse();
        events
    }

    pub(crate) fn flows(&self) -> impl Iterator<Item = (SeenFlow, u64)> {
        self.flows.iter().map(|(flow, count)| (*flow, *count))
    }
}

/// The conversation of an event, when it is one whose direction is known.
fn seen(event: &FlowEvent) -> Option<SeenFlow> {
    let reply = event.is_reply?;
    let (source, destination) =
        if reply { (&event.destination, &event.source) } else { (&event.source, &event.destination) };
    let port = match (event.protocol, event.icmp) {
        (Protocol::Icmp | Protocol::Icmp6, Some((kind, _))) if !reply => u16::from(kind),
        (Protocol::Icmp | Protocol::Icmp6, _) => return None,
        _ => destination.port,
    };
    let port = PortProtocol { port, protocol: event.protocol };
    Some(SeenFlow { source: source.address, destination: destination.address, port })
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
