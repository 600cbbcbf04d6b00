//! What a ring holds and a stream delivers: flows, and what is said beside them.

use std::sync::Arc;

use nexin_hubble::flow;

use crate::record::{Node, Record};

/// Something said by a node at a time.
#[derive(Clone, Debug, PartialEq)]
pub struct Notice<T> {
    /// Nanoseconds since the epoch.
    pub time_ns: u64,
    pub node: Arc<Node>,
    pub what: T,
}

/// See the module. What is rare is boxed, so that a flow decides the size.
#[derive(Clone, Debug)]
pub enum Event {
    Flow(Record),
    Lost(Box<Notice<flow::LostEvent>>),
    Agent(Box<Notice<flow::AgentEvent>>),
    Debug(Box<Notice<flow::DebugEvent>>),
}

const _: () = assert!(size_of::<Event>() == size_of::<Record>());

impl Event {
    /// Nanoseconds since the epoch.
    pub fn time_ns(&self) -> u64 {
        match self {
            Self::Flow(record) => record.time_ns(),
            Self::Lost(notice) => notice.time_ns,
            Self::Agent(notice) => notice.time_ns,
            Self::Debug(notice) => notice.time_ns,
        }
    }

    pub fn node(&self) -> &Arc<Node> {
        match self {
            Self::Flow(record) => record.node(),
            Self::Lost(notice) => &notice.node,
            Self::Agent(notice) => &notice.node,
            Self::Debug(notice) => &notice.node,
        }
    }

    pub fn as_flow(&self) -> Option<&Record> {
        match self {
            Self::Flow(record) => Some(record),
            _ => None,
        }
    }

    /// `count` events from `source` that a stream misses, seen missing between `first` and `last` (nanoseconds since the epoch).
    pub fn lost(node: &Arc<Node>, source: flow::LostEventSource, count: u64, first_ns: u64, last_ns: u64) -> Self {
        let what = flow::LostEvent {
            source: source as i32,
            num_events_lost: count,
            cpu: None,
            first: Some(crate::record::timestamp(first_ns)),
            last: Some(crate::record::timestamp(last_ns)),
        };
        Self::Lost(Box::new(Notice { time_ns: last_ns, node: node.clone(), what }))
    }
}
