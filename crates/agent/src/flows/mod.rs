//! Flows on their way from the kernel to people: taken, named once, kept, and given to whoever asks or looks.

mod answers;
mod channel;
mod directory;
mod hooks;
mod notices;
mod observer;
mod reader;
mod serve;
#[cfg(test)]
mod tests;

use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use nexin_api::hubble::Peers;
use nexin_api::v1::LostCounts;
use nexin_datapath::{Class, Events};
use nexin_flows::Event;
use nexin_flows::record::Node;
use nexin_flows::ring::Capacity;
use nexin_flows::tally::{Namespaces, Rate};
use nexin_hubble::flow::LostEventSource;
use nexin_runtime::settings::Choice;
use nexin_runtime::tasks::Lifetime;

use crate::agent::Agent;
use crate::error::AgentError;
use crate::settings::Settings;

pub(crate) use answers::{Shape, answers};
pub(crate) use channel::Channel;
pub(crate) use directory::{LocalEndpoint, SharedDirectory};
pub(crate) use hooks::FlowHook;
pub(crate) use reader::both_clocks;
pub(crate) use serve::{peers, serve};

/// Nanoseconds since the epoch.
pub(crate) fn wall_ns() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// Sums of what is counted a flow.
struct Tally {
    rate: Rate,
    namespaces: Namespaces,
}

struct Shared {
    directory: SharedDirectory,
    flows: Channel,
    debug: Channel,
    peers: Peers,
    tally: Mutex<Tally>,
    /// Events that found a kernel ring full since the rings were made, by class.
    kernel_lost: [AtomicU64; 3],
    lost_by_clients: AtomicU64,
    started: SystemTime,
}

/// See the module. Clones are one.
#[derive(Clone)]
pub(crate) struct Flows(Arc<Shared>);

impl Flows {
    pub(crate) fn new(settings: &Settings) -> Self {
        Self::with(node(settings), settings.hubble.capacity())
    }

    fn with(node: Node, capacity: Capacity) -> Self {
        let tally = Tally { rate: Rate::new(wall_ns()), namespaces: Namespaces::default() };
        Self(Arc::new(Shared {
            directory: SharedDirectory::new(node),
            flows: Channel::new(capacity),
            debug: Channel::new(Capacity::default()),
            peers: Peers::default(),
            tally: Mutex::new(tally),
            kernel_lost: Default::default(),
            lost_by_clients: AtomicU64::new(0),
            started: SystemTime::now(),
        }))
    }

    pub(crate) fn directory(&self) -> &SharedDirectory {
        &self.0.directory
    }

    pub(crate) fn peers(&self) -> &Peers {
        &self.0.peers
    }

    /// Flows, and what was lost of them.
    pub(crate) fn channel(&self) -> &Channel {
        &self.0.flows
    }

    pub(crate) fn node(&self) -> Arc<Node> {
        self.0.directory.names().node().clone()
    }

    /// The one way in for flows.
    pub(crate) fn append(&self, batch: Vec<Event>) -> Arc<[Event]> {
        let events = self.0.flows.append(batch);
        let mut tally = self.tally();
        let records = events.iter().filter_map(Event::as_flow);
        let mut count = 0;
        for record in records {
            count += 1;
            let parties = [record.shared_source(), record.shared_destination()];
            parties.into_iter().flatten().for_each(|party| tally.namespaces.see(party, record.time_ns()));
        }
        if count > 0 {
            tally.rate.add(wall_ns(), count);
        }
        events
    }

    fn set_kernel_lost(&self, class: Class, count: u64) {
        self.0.kernel_lost[class as usize].store(count, Ordering::Relaxed);
    }

    pub(crate) fn lost(&self) -> LostCounts {
        let [drop, verdict, trace] = self.0.kernel_lost.each_ref().map(|count| count.load(Ordering::Relaxed));
        LostCounts { drop, verdict, trace }
    }

    /// Counts a loss that a client is told of, when it was the client's own.
    pub(crate) fn count_told(&self, event: &Event) {
        if let Event::Lost(lost) = event
            && lost.what.source == LostEventSource::HubbleRingBuffer as i32
        {
            self.0.lost_by_clients.fetch_add(lost.what.num_events_lost, Ordering::Relaxed);
        }
    }

    /// Flows a second over the last minute.
    fn rate(&self, now: u64) -> f64 {
        self.tally().rate.per_second(now)
    }

    /// Cluster and name of namespaces with flows in the last hour.
    fn namespaces(&self) -> Vec<(String, String)> {
        self.tally().namespaces.list(wall_ns())
    }

    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.0.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn lost_by_clients(&self) -> u64 {
        self.0.lost_by_clients.load(Ordering::Relaxed)
    }
}

/// Name of this node in flows and peers: the setting, or the host's name.
pub(crate) fn node_name(settings: &Settings) -> String {
    match &settings.agent.node_name {
        Choice::Value(name) => name.clone(),
        Choice::Auto | Choice::Off => {
            std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned()
        }
    }
}

fn node(settings: &Settings) -> Node {
    let random = RandomState::new();
    let mut labels = settings.hubble.node_labels.clone();
    labels.sort_unstable();
    Node {
        name: Node::full_name(&settings.agent.cluster_name, &node_name(settings)),
        labels,
        emitter: Node::emitter(),
        seed: u128::from(random.hash_one(0)) << 64 | u128::from(random.hash_one(1)),
    }
}

/// Starts the reader of the kernel's events and the thread of `hooks`.
pub(crate) fn start(agent: &Agent, events: Events, hooks: Vec<Box<dyn FlowHook>>) -> Result<(), AgentError> {
    let system = |source| AgentError::System { what: "start the event reader", source };
    let flows = agent.0.flows.clone();
    let (queue, worker) = hooks::hook_queue(agent.settings().hubble.queue_size as usize, flows.node());
    let queue = Arc::new(queue);
    flows.directory().notices().connect(queue.clone());
    flows.directory().notices().agent_started();
    let (readers, lost) = events.into_parts();
    let seen = agent.settings().agent.run_dir.join("events-lost");
    let reader = reader::Reader::new(flows, queue, readers, lost, seen);
    let stop = agent.0.tasks.stop().clone();
    agent.0.tasks.thread("events", Lifetime::Program, move || reader.run(&stop)).map_err(system)?;
    agent.0.tasks.thread("flow-hooks", Lifetime::Program, move || worker.run(hooks)).map_err(system)
}
