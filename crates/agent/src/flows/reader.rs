//! From the kernel's rings to everybody: one thread takes the events of all classes, puts them into the order of their times,
//! names them once, and hands the result to the ring and the queue of hooks.

use std::collections::VecDeque;
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nexin_abi::Event as KernelEvent;
use nexin_datapath::{Class, EventReader, Lost};
use nexin_flows::Event;
use nexin_flows::decode::{Clock, decode};
use nexin_hubble::flow::LostEventSource;
use nexin_runtime::tasks::CancellationToken;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::time::{ClockId, clock_gettime};

use super::{Flows, hooks::HookQueue, wall_ns};

/// How long the first event of a quiet time is waited for.
const WAIT_MS: u8 = 50;
/// How long others are given to come along. Far shorter than it takes to fill a ring.
const GATHER: Duration = Duration::from_millis(2);
/// Events of one ring that are taken at a time: drops never wait long behind traces. Fewer than this came, and there is no hurry.
const BATCH: usize = 512;
/// How often the kernel is asked for what it lost.
const LOST_EVERY: Duration = Duration::from_millis(200);

/// Events of a ring that are taken and not yet told.
struct Source {
    reader: EventReader,
    taken: VecDeque<KernelEvent>,
}

/// See the module.
pub(super) struct Reader {
    flows: Flows,
    queue: Arc<HookQueue>,
    clock: Clock,
    sources: [Source; 3],
    lost: LostReader,
    number: u64,
}

impl Reader {
    pub(super) fn new(
        flows: Flows,
        queue: Arc<HookQueue>,
        readers: [EventReader; 3],
        lost: Lost,
        seen: PathBuf,
    ) -> Self {
        let (wall, monotonic) = both_clocks();
        Self {
            lost: LostReader::new(lost, seen),
            flows,
            queue,
            clock: Clock::new(wall, monotonic),
            sources: readers.map(|reader| Source { reader, taken: VecDeque::new() }),
            number: 0,
        }
    }

    pub(super) fn run(mut self, stop: &CancellationToken) {
        while !stop.is_cancelled() {
            let told = self.round();
            if let Some(events) = self.lost.look(&self.flows) {
                self.tell(events);
            }
            if told >= BATCH {
                continue;
            }
            if told == 0 && self.sources.iter().all(|source| source.taken.is_empty()) {
                let mut fds =
                    self.sources.each_ref().map(|source| PollFd::new(source.reader.as_fd(), PollFlags::POLLIN));
                // An interrupted wait is a short wait.
                let _ = poll(&mut fds, PollTimeout::from(WAIT_MS));
            }
            // A descriptor is readable at the first event; a round for each would cost more than all else.
            std::thread::sleep(GATHER);
        }
        self.queue.close();
    }

    /// Takes and tells what there is, but for what is too young; says of how many events.
    fn round(&mut self) -> usize {
        let (wall, monotonic) = both_clocks();
        self.clock.measure(wall, monotonic);
        // Everything up to here is in its ring already; what comes later may come in any order.
        let mut until = monotonic;
        for source in &mut self.sources {
            let room = BATCH.saturating_sub(source.taken.len());
            let taken = source.reader.read(room, |event| source.taken.push_back(event));
            if taken >= room {
                until = until.min(source.taken.back().map_or(until, |event| event.time_ns));
            }
        }
        let batch = self.merge(until);
        let told = batch.len();
        if told > 0 {
            self.tell(batch);
        }
        told
    }

    /// Events up to `until` (monotonic), in the order of their times, with names.
    fn merge(&mut self, until: u64) -> Vec<Event> {
        let names = self.flows.directory().names();
        let mut batch = Vec::with_capacity(self.sources.iter().map(|source| source.taken.len()).sum());
        loop {
            let next = self.sources.iter_mut().filter_map(|source| {
                let time = source.taken.front()?.time_ns;
                (time <= until).then_some((time, source))
            });
            let Some(event) = next.min_by_key(|(time, _)| *time).and_then(|(_, source)| source.taken.pop_front())
            else {
                return batch;
            };
            let time = self.clock.wall(event.time_ns);
            if let Some(record) = decode(&event, &names, time, self.number) {
                self.number += 1;
                batch.push(Event::Flow(record));
            }
        }
    }

    fn tell(&self, batch: Vec<Event>) {
        let events = self.flows.append(batch);
        self.queue.push(&events);
    }
}

/// Wall and monotonic time of one moment, in nanoseconds. The wall is read between two readings of the other clock.
pub(crate) fn both_clocks() -> (u64, u64) {
    let before = monotonic_ns();
    let wall = wall_ns();
    (wall, before.midpoint(monotonic_ns()))
}

fn monotonic_ns() -> u64 {
    // The clock exists on every Linux; without it, events carry times since boot.
    let time = clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Duration::from);
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Follows the kernel's counters of events that it had no room for. They outlive the agent, and so does what was told of them.
struct LostReader {
    counters: Lost,
    told: [u64; 3],
    file: PathBuf,
    looked: Instant,
    looked_ns: u64,
}

impl LostReader {
    fn new(counters: Lost, file: PathBuf) -> Self {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        let mut numbers = text.split_whitespace().map(|number| number.parse().unwrap_or(0));
        let told = [(); 3].map(|()| numbers.next().unwrap_or(0));
        Self { counters, told, file, looked: Instant::now(), looked_ns: wall_ns() }
    }

    fn look(&mut self, flows: &Flows) -> Option<Vec<Event>> {
        if self.looked.elapsed() < LOST_EVERY {
            return None;
        }
        let (since, now) = (self.looked_ns, wall_ns());
        (self.looked, self.looked_ns) = (Instant::now(), now);
        let mut events = Vec::new();
        for (class, told) in Class::ALL.into_iter().zip(&mut self.told) {
            let Ok(count) = self.counters.count(class) else { continue };
            // Smaller than what was told: the maps are new.
            let grown = if count < *told { count } else { count - *told };
            *told = count;
            flows.set_kernel_lost(class, count);
            if grown > 0 {
                let node = flows.node();
                events.push(Event::lost(&node, LostEventSource::PerfEventRingBuffer, grown, since, now));
            }
        }
        if events.is_empty() {
            return None;
        }
        let text = self.told.map(|count| count.to_string()).join(" ");
        if let Err(error) = std::fs::write(&self.file, text) {
            tracing::debug!(%error, file = %self.file.display(), "lost events may be told twice after a restart");
        }
        Some(events)
    }
}
