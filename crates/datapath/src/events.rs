//! Events out of the kernel: one ring buffer a class, so that traces never crowd out drops, and what was lost.

use std::os::fd::{AsFd, BorrowedFd};

use nexin_abi::maps::KernelMap;
use nexin_abi::maps::metrics::{DropEvents, Lost as LostMap, TraceEvents, VerdictEvents, Withheld};
use nexin_abi::{Event, EventKind};
use nexin_bpf::{Loaded, Map, Ring};

use crate::Datapath;
use crate::error::Result;

/// A class of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    Drop,
    Verdict,
    Trace,
}

impl Class {
    pub const ALL: [Self; 3] = [Self::Drop, Self::Verdict, Self::Trace];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Drop => "drop",
            Self::Verdict => "verdict",
            Self::Trace => "trace",
        }
    }

    const fn map(self) -> &'static str {
        match self {
            Self::Drop => DropEvents::NAME,
            Self::Verdict => VerdictEvents::NAME,
            Self::Trace => TraceEvents::NAME,
        }
    }

    const fn kind(self) -> EventKind {
        match self {
            Self::Drop => EventKind::Drop,
            Self::Verdict => EventKind::Verdict,
            Self::Trace => EventKind::Trace,
        }
    }
}

/// Readers of all classes. There must be no other reader of the same maps: records go to whoever takes them.
pub struct Events {
    readers: [EventReader; 3],
    lost: Lost,
}

impl Events {
    /// The readers, each to be waited for on its own, and the counters of what was lost.
    pub fn into_parts(self) -> ([EventReader; 3], Lost) {
        (self.readers, self.lost)
    }

    pub fn reader(&mut self, class: Class) -> &mut EventReader {
        match class {
            Class::Drop => &mut self.readers[0],
            Class::Verdict => &mut self.readers[1],
            Class::Trace => &mut self.readers[2],
        }
    }

    pub fn lost(&self) -> &Lost {
        &self.lost
    }
}

/// Reader of one class. The descriptor is readable when many bytes are waiting; fewer are found by polling a few times a second.
pub struct EventReader {
    class: Class,
    ring: Ring,
    malformed: u64,
}

impl EventReader {
    pub fn class(&self) -> Class {
        self.class
    }

    /// Hands the events of at most `limit` records to `each`, oldest first. Returns how many records were taken. A record
    /// that says where its packet came in as well ([`Event::entered`]) is two events.
    pub fn read(&mut self, limit: usize, mut each: impl FnMut(Event)) -> usize {
        let drained = self.ring.drain(limit, |event: Event| {
            if event.entered != 0 {
                each(entry(&event));
            }
            each(Event { entered: 0, ..event });
        });
        self.malformed += drained.malformed as u64;
        drained.records
    }

    /// Records that were too short to be an event: a kernel program of another layout wrote them.
    pub fn malformed(&self) -> u64 {
        self.malformed
    }
}

impl AsFd for EventReader {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ring.as_fd()
    }
}

/// The trace of where the packet of `event` came in.
fn entry(event: &Event) -> Event {
    const OF_PACKET: u8 = Event::REPLY | Event::ESTABLISHED | Event::RELATED | Event::REPLY_KNOWN;
    Event {
        kind: EventKind::Trace as u8,
        reason: 0,
        action: 0,
        observation: event.entered - 1,
        file: 0,
        line: 0,
        flags: event.flags & OF_PACKET,
        rule: 0,
        policy: 0,
        shadow_rule: 0,
        shadow_action: 0,
        entered: 0,
        nat_source: [0; 16],
        nat_port: nexin_abi::Be16::default(),
        ..*event
    }
}

/// Counters of events that were not told.
pub struct Lost {
    full: Map<LostMap>,
    withheld: Map<Withheld>,
}

impl Lost {
    /// Events of `class` lost since the maps were made: their ring buffer was full, or the rate limit withheld them.
    pub fn count(&self, class: Class) -> Result<u64> {
        let full: u64 = self.full.per_cpu(&(class.kind() as u32))?.iter().sum();
        Ok(full + self.withheld(class)?)
    }

    /// Those of them that the rate limit withheld.
    pub fn withheld(&self, class: Class) -> Result<u64> {
        Ok(self.withheld.per_cpu(&(class.kind() as u32))?.iter().sum())
    }
}

impl Datapath {
    /// Readers of the kernel's events. They do not borrow the datapath, so another task may own them.
    pub fn events(&self) -> Result<Events> {
        let reader = |class: Class| reader(&self.kernel, class);
        Ok(Events {
            readers: [reader(Class::Drop)?, reader(Class::Verdict)?, reader(Class::Trace)?],
            lost: Lost { full: self.kernel.map()?, withheld: self.kernel.map()? },
        })
    }
}

fn reader(kernel: &Loaded, class: Class) -> Result<EventReader> {
    Ok(EventReader { class, ring: Ring::new(kernel.raw_map(class.map())?)?, malformed: 0 })
}
