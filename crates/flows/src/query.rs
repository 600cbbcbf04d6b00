//! Which events of a ring a request is answered with: first, last, since, until, follow.
//!
//! The rules are those of Hubble's server (the reference in `docs/design/flows.md`); where it counts events that the answer
//! then leaves out, this counts only those that are in it. Filters are the caller's: they come as a function.

use std::sync::Arc;

use nexin_hubble::flow::LostEventSource;
use nexin_hubble::observer::{GetAgentEventsRequest, GetDebugEventsRequest, GetFlowsRequest};
use prost_types::Timestamp;

use crate::event::Event;
use crate::record::Node;
use crate::ring::{Backwards, Missed, Reader, Ring, Step};

#[cfg(test)]
mod tests;

/// What part of the past and the future is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// So many events; 0 is any number.
    pub number: u64,
    /// The oldest ones instead of the newest.
    pub first: bool,
    /// Go on with what happens from now.
    pub follow: bool,
    /// Not before this, nanoseconds since the epoch.
    pub since: Option<u64>,
    /// Not after this, nanoseconds since the epoch.
    pub until: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    #[error("first cannot be specified with follow")]
    FirstAndFollow,
    #[error("{0} is no time: seconds and nanoseconds are out of range")]
    BadTime(&'static str),
}

impl Query {
    fn new(
        (number, first, follow): (u64, bool, bool),
        since: Option<Timestamp>,
        until: Option<Timestamp>,
    ) -> Result<Self, QueryError> {
        if first && follow {
            return Err(QueryError::FirstAndFollow);
        }
        Ok(Self { number, first, follow, since: nanoseconds("since", since)?, until: nanoseconds("until", until)? })
    }

    fn in_time(&self, event: &Event) -> bool {
        let time = event.time_ns();
        self.since.is_none_or(|since| time >= since) && self.until.is_none_or(|until| time <= until)
    }
}

/// Times before the epoch are its beginning: nothing happened earlier.
fn nanoseconds(field: &'static str, time: Option<Timestamp>) -> Result<Option<u64>, QueryError> {
    let Some(time) = time else { return Ok(None) };
    let nanos = u64::try_from(time.nanos).ok().filter(|nanos| *nanos < 1_000_000_000);
    let nanos = nanos.ok_or(QueryError::BadTime(field))?;
    let seconds = u64::try_from(time.seconds).unwrap_or(0);
    Ok(Some(seconds.saturating_mul(1_000_000_000).saturating_add(nanos)))
}

impl TryFrom<&GetFlowsRequest> for Query {
    type Error = QueryError;

    fn try_from(r: &GetFlowsRequest) -> Result<Self, QueryError> {
        Self::new((r.number, r.first, r.follow), r.since, r.until)
    }
}

impl TryFrom<&GetAgentEventsRequest> for Query {
    type Error = QueryError;

    fn try_from(r: &GetAgentEventsRequest) -> Result<Self, QueryError> {
        Self::new((r.number, r.first, r.follow), r.since, r.until)
    }
}

impl TryFrom<&GetDebugEventsRequest> for Query {
    type Error = QueryError;

    fn try_from(r: &GetDebugEventsRequest) -> Result<Self, QueryError> {
        Self::new((r.number, r.first, r.follow), r.since, r.until)
    }
}

/// Says of an event (never a lost one) whether it is wanted.
pub type Keep<'a> = &'a (dyn Fn(&Event) -> bool + 'a);

/// How far a selection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// There may be more at once.
    More,
    /// There is more when the ring has grown.
    Waiting,
    Done,
}

/// The answer to a query, step by step.
pub struct Selection {
    query: Query,
    reader: Reader,
    /// Where the answer ends if it does not follow.
    end: Option<u64>,
    left: Option<u64>,
    node: Arc<Node>,
    /// Time of the last event that was looked at.
    last_ns: u64,
}

impl Selection {
    /// `node` is whom a loss is told of.
    pub fn start(ring: Arc<Ring>, query: Query, node: Arc<Node>, keep: Keep<'_>) -> Self {
        let window = ring.window();
        let newest = !query.first && query.number > 0 && query.since.is_none();
        let position = if query.follow && query.number == 0 && query.since.is_none() {
            window.head
        } else if newest && query.number < window.head - window.floor {
            rewind(&ring, window.head, query, keep)
        } else {
            window.floor
        };
        let limited = query.number > 0 && !query.follow;
        Self {
            query,
            reader: Reader::new(ring, position),
            end: (!query.follow).then_some(window.head),
            left: limited.then_some(query.number),
            node,
            last_ns: 0,
        }
    }

    /// Hands on the next events, at most a batch of them. Lost events come whatever the filter is.
    pub fn step(&mut self, keep: Keep<'_>, mut each: impl FnMut(&Event)) -> Progress {
        if self.left == Some(0) || self.end.is_some_and(|end| self.reader.position() >= end) {
            return Progress::Done;
        }
        match self.reader.step() {
            Step::End => Progress::Waiting,
            Step::Missed(missed) => {
                self.tell(missed, each);
                Progress::More
            }
            Step::Events(first, events) => {
                let until_end = self.end.map_or(events.len(), |end| end.saturating_sub(first) as usize);
                for event in events.iter().take(until_end) {
                    self.last_ns = event.time_ns();
                    if self.query.follow && self.query.until.is_some_and(|until| event.time_ns() > until) {
                        return Progress::Done;
                    }
                    let lost = matches!(event, Event::Lost(_));
                    if !self.query.in_time(event) || !lost && !keep(event) {
                        continue;
                    }
                    each(event);
                    if let Some(left) = self.left.as_mut().filter(|_| !lost) {
                        *left -= 1;
                        if *left == 0 {
                            return Progress::Done;
                        }
                    }
                }
                Progress::More
            }
        }
    }

    fn tell(&self, missed: Missed, mut each: impl FnMut(&Event)) {
        let first_ns = if self.last_ns == 0 { missed.until_ns } else { self.last_ns };
        let parts = [
            (LostEventSource::HubbleRingBuffer, missed.flows),
            // What it would have been told of others' losses.
            (LostEventSource::PerfEventRingBuffer, missed.lost),
        ];
        for (source, count) in parts.into_iter().filter(|(_, count)| *count > 0) {
            each(&Event::lost(&self.node, source, count, first_ns, missed.until_ns));
        }
    }
}

/// Position of the oldest of the last `query.number` events before `head` that are wanted.
fn rewind(ring: &Arc<Ring>, head: u64, query: Query, keep: Keep<'_>) -> u64 {
    let mut left = query.number;
    let mut position = head;
    let mut backwards = Backwards::new(ring.clone(), head);
    while let Some((first, events)) = backwards.step() {
        for (index, event) in events.iter().enumerate().rev() {
            let wanted = !matches!(event, Event::Lost(_)) && query.in_time(event) && keep(event);
            left -= u64::from(wanted);
            if left == 0 {
                return first + index as u64;
            }
        }
        position = first;
    }
    position
}
