//! The recent past of a node: the last so many events, for any number of readers.
//!
//! Events arrive in batches, and a batch stays one immutable value. The ring is a list of them under a lock that is held for
//! moving a few pointers, never while anything is filtered, copied or freed: readers keep no writer waiting. A reader that is
//! overtaken learns exactly what it missed. Nothing here waits or wakes: who follows is told by others that there is more.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::event::Event;

#[cfg(test)]
pub(crate) mod tests;

/// Number of events a ring holds: a power of two less one, at most 65,535.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity(u32);

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is no capacity of a flow ring: take a power of two less one, up to 65535 (1, 3, 7 ... 4095 ... 65535)")]
pub struct BadCapacity(pub u32);

impl Capacity {
    pub const MAX: Self = Self(65_535);

    pub fn get(self) -> usize {
        self.0 as usize
    }
}

impl Default for Capacity {
    fn default() -> Self {
        Self(4_095)
    }
}

impl TryFrom<u32> for Capacity {
    type Error = BadCapacity;

    fn try_from(events: u32) -> Result<Self, BadCapacity> {
        let fits = events > 0 && events <= Self::MAX.0 && (events + 1).is_power_of_two();
        fits.then_some(Self(events)).ok_or(BadCapacity(events))
    }
}

/// Sums over events, from the first one ever.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sums {
    flows: u64,
    /// As told by lost events.
    lost: u64,
}

impl Sums {
    fn add(&mut self, event: &Event) {
        match event {
            Event::Flow(_) => self.flows += 1,
            Event::Lost(notice) => self.lost += notice.what.num_events_lost,
            Event::Agent(_) | Event::Debug(_) => {}
        }
    }

    fn plus(mut self, events: &[Event]) -> Self {
        events.iter().for_each(|event| self.add(event));
        self
    }
}

#[derive(Clone)]
struct Batch {
    /// Position of the first event.
    first: u64,
    /// Before the first event.
    sums: Sums,
    events: Arc<[Event]>,
}

impl Batch {
    fn end(&self) -> u64 {
        self.first + self.events.len() as u64
    }

    /// Events from position `from` on.
    fn from(&self, from: u64) -> &[Event] {
        let skip = from.saturating_sub(self.first) as usize;
        self.events.get(skip..).unwrap_or_default()
    }
}

#[derive(Default)]
struct State {
    batches: VecDeque<Batch>,
    /// Position after the last event: how many there ever were.
    head: u64,
    sums: Sums,
}

/// See the module.
pub struct Ring {
    capacity: Capacity,
    state: Mutex<State>,
}

/// Where a ring stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Position of the oldest event that is there.
    pub floor: u64,
    /// Position after the newest one.
    pub head: u64,
    /// Flows ever appended.
    pub flows: u64,
}

impl Ring {
    pub fn new(capacity: Capacity) -> Self {
        Self { capacity, state: Mutex::default() }
    }

    pub fn capacity(&self) -> usize {
        self.capacity.get()
    }

    pub fn window(&self) -> Window {
        let state = self.state();
        Window { floor: self.floor(&state), head: state.head, flows: state.sums.flows }
    }

    /// Flows that can be read now; lost and other events are not counted.
    pub fn stored_flows(&self) -> u64 {
        let (oldest, floor, flows) = {
            let state = self.state();
            (state.batches.front().cloned(), self.floor(&state), state.sums.flows)
        };
        let Some(oldest) = oldest else { return 0 };
        let gone = floor.saturating_sub(oldest.first) as usize;
        flows - oldest.sums.plus(oldest.events.get(..gone).unwrap_or_default()).flows
    }

    /// Adds events; the oldest make room. The batch is given back for others to look at without copying.
    pub fn append(&self, events: Vec<Event>) -> Arc<[Event]> {
        let events: Arc<[Event]> = events.into();
        if events.is_empty() {
            return events;
        }
        let added = Sums::default().plus(&events);
        let mut gone = Vec::new();
        {
            let mut state = self.state();
            let batch = Batch { first: state.head, sums: state.sums, events: events.clone() };
            state.head = batch.end();
            state.sums.flows += added.flows;
            state.sums.lost += added.lost;
            state.batches.push_back(batch);
            let floor = self.floor(&state);
            while state.batches.front().is_some_and(|oldest| oldest.end() <= floor) {
                gone.extend(state.batches.pop_front());
            }
        }
        // Freed here, where nobody waits for it.
        drop(gone);
        events
    }

    fn floor(&self, state: &State) -> u64 {
        state.head.saturating_sub(self.capacity.get() as u64)
    }

    /// The batch that holds `position`, or where that is gone, the oldest position there is. Without a batch, the position
    /// is the head. The sums are those before the position.
    fn at(&self, position: u64) -> (u64, Sums, Option<Batch>) {
        let (position, sums, batch) = {
            let state = self.state();
            let position = position.clamp(self.floor(&state), state.head);
            let found = state.batches.partition_point(|batch| batch.end() <= position);
            (position, state.sums, state.batches.get(found).cloned())
        };
        match batch {
            Some(batch) => {
                let before = (position - batch.first) as usize;
                let sums = batch.sums.plus(batch.events.get(..before).unwrap_or_default());
                (position, sums, Some(batch))
            }
            None => (position, sums, None),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a reader did not get because it was overtaken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Missed {
    pub flows: u64,
    /// Sum of the lost events that it missed too.
    pub lost: u64,
    /// When what it goes on with happened, nanoseconds since the epoch.
    pub until_ns: u64,
}

/// One step of a reader.
pub enum Step {
    /// Nothing more for now.
    End,
    /// Overtaken; goes on with the oldest event that is there.
    Missed(Missed),
    /// Events, and the position of the first of them.
    Events(u64, Slice),
}

/// Some events of a batch. Keeps the batch alive.
pub struct Slice {
    batch: Arc<[Event]>,
    range: Range<usize>,
}

impl std::ops::Deref for Slice {
    type Target = [Event];

    fn deref(&self) -> &[Event] {
        self.batch.get(self.range.clone()).unwrap_or_default()
    }
}

/// Reads a ring from a position on.
pub struct Reader {
    ring: Arc<Ring>,
    position: u64,
    /// What there was before `position`.
    sums: Sums,
}

impl Reader {
    /// From `position` on, or from the oldest event if that is gone.
    pub fn new(ring: Arc<Ring>, position: u64) -> Self {
        let (position, sums, _) = ring.at(position);
        Self { ring, position, sums }
    }

    /// Where it reads next.
    pub fn position(&self) -> u64 {
        self.position
    }

    pub fn ring(&self) -> &Arc<Ring> {
        &self.ring
    }

    /// The next events, up to the end of their batch.
    pub fn step(&mut self) -> Step {
        let (position, sums, batch) = self.ring.at(self.position);
        let Some(batch) = batch else { return Step::End };
        if position > self.position {
            let known = std::mem::replace(&mut self.sums, sums);
            self.position = position;
            let until_ns = batch.from(position).first().map_or(0, Event::time_ns);
            return Step::Missed(Missed { flows: sums.flows - known.flows, lost: sums.lost - known.lost, until_ns });
        }
        self.sums = sums.plus(batch.from(position));
        self.position = batch.end();
        let before = (position - batch.first) as usize;
        let range = before..batch.events.len();
        Step::Events(position, Slice { batch: batch.events, range })
    }
}

/// Goes through a ring from `before` backwards, batch by batch, as far as there is something.
pub struct Backwards {
    ring: Arc<Ring>,
    before: u64,
}

impl Backwards {
    pub fn new(ring: Arc<Ring>, before: u64) -> Self {
        Self { ring, before }
    }

    /// Events right before those of the last call, and the position of the first of them.
    pub fn step(&mut self) -> Option<(u64, Slice)> {
        let last = self.before.checked_sub(1)?;
        let (position, _, batch) = self.ring.at(last);
        let batch = batch.filter(|_| position == last)?;
        let floor = self.ring.window().floor;
        let first = batch.first.max(floor);
        if first >= self.before {
            // Overtaken between the two looks.
            return None;
        }
        let range = (first - batch.first) as usize..(self.before - batch.first) as usize;
        self.before = first;
        Some((first, Slice { batch: batch.events, range }))
    }
}
