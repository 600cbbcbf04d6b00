//! Several streams, each in order of time, become one. Pure: no clock, no task.
//!
//! An entry leaves once every open lane has shown what it has next, so the result is in order. A lane that shows nothing is
//! waited for, but not longer than the drain time: a silent node stalls nobody. Nothing is ever thrown away: a lane that is not
//! [wanted](Merge::wants) is not read, and its node then counts what it could not send.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::time::{Duration, Instant};

/// A time on the wire: seconds and nanoseconds.
pub(crate) type Key = (i64, i32);
pub(crate) type LaneId = u64;

#[derive(Debug)]
struct Entry<T> {
    key: Key,
    /// Order of arrival decides between equal times, and keeps a lane's own order.
    number: u64,
    arrived: Instant,
    lane: LaneId,
    item: T,
}

impl<T> PartialEq for Entry<T> {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl<T> Eq for Entry<T> {}

impl<T> PartialOrd for Entry<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Entry<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.key, self.number).cmp(&(other.key, other.number))
    }
}

#[derive(Debug)]
struct Lane {
    /// Entries of this lane in the buffer.
    entries: usize,
    /// Since when there are none.
    empty_since: Instant,
    /// It has never shown anything.
    fresh: bool,
    open: bool,
    last: Key,
}

/// What to hold back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Entries in the buffer before a live merge lets the oldest go.
    pub(crate) entries: usize,
    /// How long a silent lane is waited for.
    pub(crate) drain: Duration,
    /// Lanes are live: they may be silent for long, and reading them late makes them lose entries.
    pub(crate) live: bool,
}

#[derive(Debug)]
pub(crate) struct Merge<T> {
    limits: Limits,
    buffer: BinaryHeap<Reverse<Entry<T>>>,
    lanes: BTreeMap<LaneId, Lane>,
    /// Open lanes without entries.
    empty: BTreeSet<(Instant, LaneId)>,
    /// Those of them that never had any.
    fresh: BTreeSet<(Instant, LaneId)>,
    next_number: u64,
}

impl<T> Merge<T> {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits,
            buffer: BinaryHeap::new(),
            lanes: BTreeMap::new(),
            empty: BTreeSet::new(),
            fresh: BTreeSet::new(),
            next_number: 0,
        }
    }

    pub(crate) fn open(&mut self, id: LaneId, now: Instant) {
        let lane = Lane { entries: 0, empty_since: now, fresh: true, open: true, last: (i64::MIN, 0) };
        self.lanes.insert(id, lane);
        self.empty.insert((now, id));
        self.fresh.insert((now, id));
    }

    /// Nothing more will come from this lane; what it has shown still leaves.
    pub(crate) fn close(&mut self, id: LaneId) {
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        lane.open = false;
        self.empty.remove(&(lane.empty_since, id));
        self.fresh.remove(&(lane.empty_since, id));
        if lane.entries == 0 {
            self.lanes.remove(&id);
        }
    }

    /// Takes what a lane shows. Without a time, it belongs right after what the lane showed before.
    pub(crate) fn push(&mut self, id: LaneId, key: Option<Key>, item: T, now: Instant) {
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        self.empty.remove(&(lane.empty_since, id));
        self.fresh.remove(&(lane.empty_since, id));
        lane.fresh = false;
        lane.entries += 1;
        lane.last = key.map_or(lane.last, |key| key.max(lane.last));
        let number = self.next_number;
        self.next_number += 1;
        self.buffer.push(Reverse(Entry { key: lane.last, number, arrived: now, lane: id, item }));
    }

    /// Whether to read this lane now.
    pub(crate) fn wants(&self, id: LaneId) -> bool {
        let lane = self.lanes.get(&id);
        lane.is_some_and(|lane| lane.open && (lane.entries == 0 || self.buffer.len() < self.limits.entries))
    }

    /// The next entry, if it need not wait.
    pub(crate) fn pop(&mut self, now: Instant) -> Option<T> {
        if self.free_at().is_some_and(|free| now < free) {
            return None;
        }
        let Reverse(entry) = self.buffer.pop()?;
        if let Some(lane) = self.lanes.get_mut(&entry.lane) {
            lane.entries -= 1;
            if lane.entries == 0 && lane.open {
                lane.empty_since = now;
                self.empty.insert((now, entry.lane));
            } else if lane.entries == 0 {
                self.lanes.remove(&entry.lane);
            }
        }
        Some(entry.item)
    }

    /// When the next entry leaves even if nothing more comes; None while there is none, or when it may leave at once.
    pub(crate) fn free_at(&self) -> Option<Instant> {
        if self.buffer.is_empty() {
            return None;
        }
        // A live lane with an entry is not left unread for the sake of another that is silent, except at the very start.
        let full = self.limits.live && self.buffer.len() >= self.limits.entries;
        let waited_for = if full { &self.fresh } else { &self.empty };
        let (since, _) = waited_for.last()?;
        let free = *since + self.limits.drain;
        if !self.limits.live {
            return Some(free);
        }
        let oldest = self.buffer.iter().map(|Reverse(entry)| entry.arrived).min()?;
        Some(free.min(oldest + self.limits.drain))
    }

    /// No lane is open and nothing is held.
    pub(crate) fn is_done(&self) -> bool {
        self.lanes.is_empty()
    }
}

#[cfg(test)]
mod tests;
