//! A ring, and the news that it has grown.

use std::sync::Arc;

use nexin_flows::Event;
use nexin_flows::ring::{Capacity, Ring};
use tokio::sync::watch;

pub(crate) struct Channel {
    ring: Arc<Ring>,
    grown: watch::Sender<()>,
}

impl Channel {
    pub(crate) fn new(capacity: Capacity) -> Self {
        Self { ring: Arc::new(Ring::new(capacity)), grown: watch::Sender::new(()) }
    }

    pub(crate) fn ring(&self) -> &Arc<Ring> {
        &self.ring
    }

    /// Gives the events back, for others to look at.
    pub(crate) fn append(&self, events: Vec<Event>) -> Arc<[Event]> {
        let events = self.ring.append(events);
        if !events.is_empty() {
            self.grown.send_replace(());
        }
        events
    }

    pub(crate) fn growth(&self) -> watch::Receiver<()> {
        self.grown.subscribe()
    }

    /// Who follows now.
    pub(crate) fn followers(&self) -> usize {
        self.grown.receiver_count()
    }
}
