//! From one producer to many listeners. A listener that is too slow loses events, and is told how many.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use futures_util::stream::{self, Stream};
use nexin_api::v1::{EventType, FlowEvent, LostCounts, LostEvents, MonitorFilter, MonitorRecord, Timestamp};
use tokio::sync::broadcast::{self, error::RecvError};

use super::recorder::{Recorder, SeenFlow};
use crate::settings::EventSettings;

/// Events that found a kernel ring full, since the rings were made.
#[derive(Debug, Default)]
pub(crate) struct LostSoFar {
    drop: AtomicU64,
    verdict: AtomicU64,
    trace: AtomicU64,
}

impl LostSoFar {
    /// Sets the counter of a class; says by how much it grew.
    fn set(&self, class: EventType, count: u64) -> u64 {
        let counter = match class {
            EventType::Drop => &self.drop,
            EventType::Verdict => &self.verdict,
            EventType::Trace => &self.trace,
        };
        count.saturating_sub(counter.swap(count, Ordering::Relaxed))
    }

    pub(crate) fn counts(&self) -> LostCounts {
        LostCounts {
            drop: self.drop.load(Ordering::Relaxed),
            verdict: self.verdict.load(Ordering::Relaxed),
            trace: self.trace.load(Ordering::Relaxed),
        }
    }
}

#[derive(Clone, Debug)]
enum Message {
    Flow(Arc<FlowEvent>),
    /// So many found the kernel's ring full.
    Lost(u64),
}

/// See the module. Clones are one hub.
#[derive(Clone, Debug)]
pub(crate) struct Hub {
    sender: broadcast::Sender<Message>,
    recorder: Arc<Mutex<Recorder>>,
    lost: Arc<LostSoFar>,
    lost_by_clients: Arc<AtomicU64>,
}

impl Hub {
    pub(crate) fn new(settings: &EventSettings) -> Self {
        let recorder = Recorder::new(settings.recorded as usize, settings.flows as usize);
        Self {
            sender: broadcast::Sender::new((settings.queue as usize).max(1)),
            recorder: Arc::new(Mutex::new(recorder)),
            lost: Arc::default(),
            lost_by_clients: Arc::default(),
        }
    }

    pub(crate) fn publish(&self, events: Vec<FlowEvent>) {
        for event in events {
            let event = Arc::new(event);
            self.recorder().record(&event);
            // Nobody listening is the normal case.
            let _ = self.sender.send(Message::Flow(event));
        }
    }

    /// The kernel's count of lost events of a class, as it is now.
    pub(crate) fn kernel_lost(&self, class: EventType, count: u64) {
        let grown = self.lost.set(class, count);
        if grown > 0 {
            let _ = self.sender.send(Message::Lost(grown));
        }
    }

    pub(crate) fn lost(&self) -> LostCounts {
        self.lost.counts()
    }

    pub(crate) fn lost_by_clients(&self) -> u64 {
        self.lost_by_clients.load(Ordering::Relaxed)
    }

    pub(crate) fn listeners(&self) -> usize {
        self.sender.receiver_count()
    }

    pub(crate) fn seen_flows(&self) -> Vec<(SeenFlow, u64)> {
        self.recorder().flows().collect()
    }

    /// Recorded events first, when the filter asks for them, then new ones as they come.
    pub(crate) fn listen(&self, filter: MonitorFilter) -> impl Stream<Item = MonitorRecord> + Send + 'static {
        let receiver = self.sender.subscribe();
        let wanted = filter.last.unwrap_or(if filter.no_follow { u64::MAX } else { 0 });
        let wanted = usize::try_from(wanted).unwrap_or(usize::MAX);
        let past: VecDeque<_> = self.recorder().last(wanted, |event| filter.matches(event)).into();
        let left = filter.limit.unwrap_or(u64::MAX);
        let listener = Listener { receiver, past, filter, left, lost_by_clients: self.lost_by_clients.clone() };
        stream::unfold(listener, |mut listener| async move {
            let record = listener.next().await?;
            Some((record, listener))
        })
    }

    fn recorder(&self) -> MutexGuard<'_, Recorder> {
        self.recorder.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Listener {
    receiver: broadcast::Receiver<Message>,
    past: VecDeque<Arc<FlowEvent>>,
    filter: MonitorFilter,
    left: u64,
    lost_by_clients: Arc<AtomicU64>,
}

impl Listener {
    async fn next(&mut self) -> Option<MonitorRecord> {
        loop {
            if self.left == 0 {
                return None;
            }
            if let Some(event) = self.past.pop_front() {
                return Some(self.flow(&event));
            }
            if self.filter.no_follow {
                return None;
            }
            match self.receiver.recv().await {
                Ok(Message::Flow(event)) if self.filter.matches(&event) => return Some(self.flow(&event)),
                Ok(Message::Flow(_)) => {}
                Ok(Message::Lost(count)) => return Some(lost(count, 0)),
                Err(RecvError::Lagged(count)) => {
                    self.lost_by_clients.fetch_add(count, Ordering::Relaxed);
                    return Some(lost(0, count));
                }
                Err(RecvError::Closed) => return None,
            }
        }
    }

    fn flow(&mut self, event: &Arc<FlowEvent>) -> MonitorRecord {
        self.left -= 1;
        MonitorRecord::Flow(Box::new(FlowEvent::clone(event)))
    }
}

fn lost(kernel: u64, client: u64) -> MonitorRecord {
    MonitorRecord::Lost(LostEvents { time: Timestamp::from(SystemTime::now()), kernel, client })
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::pin::pin;

    use futures_util::StreamExt as _;
    use nexin_api::v1::{Direction, Labels, Party, Protocol};

    use super::*;

    fn event(port: u16) -> FlowEvent {
        let party = |last, port| Party {
            address: IpAddr::from([10, 0, 0, last]),
            port,
            identity: 300,
            labels: Labels::default(),
            endpoint: None,
            workload: None,
        };
        FlowEvent {
            time: Timestamp(0),
            event: EventType::Trace,
            source: party(1, 40_000),
            destination: party(2, port),
            protocol: Protocol::Tcp,
            tcp_flags: String::new(),
            icmp: None,
            direction: Direction::Egress,
            verdict: None,
            reason_code: None,
            reason: None,
            explanation: None,
            rule: None,
            isolated_by: Vec::new(),
            shadow_verdict: None,
            shadow_rule: None,
            observation: None,
            is_reply: Some(false),
            closed: false,
            ifindex: 1,
            length: 60,
            forward: None,
            reverse: None,
            masqueraded_from: None,
            kernel_source: String::new(),
        }
    }

    fn hub(queue: u32) -> Hub {
        Hub::new(&EventSettings { queue, recorded: 3, flows: 2 })
    }

    fn ports(records: &[MonitorRecord]) -> Vec<u16> {
        let port = |record: &MonitorRecord| match record {
            MonitorRecord::Flow(flow) => flow.destination.port,
            MonitorRecord::Lost(lost) => panic!("{lost:?}"),
        };
        records.iter().map(port).collect()
    }

    #[tokio::test]
    async fn the_recorded_past_is_bounded_filtered_and_ends() {
        let hub = hub(16);
        hub.publish((1..=5).map(event).collect());
        let all = MonitorFilter { no_follow: true, ..MonitorFilter::default() };
        assert_eq!(ports(&hub.listen(all.clone()).collect::<Vec<_>>().await), [3, 4, 5]);
        let last = MonitorFilter { last: Some(2), port: vec!["3-4".parse().unwrap()], ..all };
        assert_eq!(ports(&hub.listen(last).collect::<Vec<_>>().await), [3, 4]);
        let seen: std::collections::BTreeSet<u16> = hub.seen_flows().iter().map(|(flow, _)| flow.port.port).collect();
        assert_eq!(seen, [4, 5].into());
    }

    #[tokio::test]
    async fn a_slow_client_is_told_what_it_lost() {
        let hub = hub(4);
        let mut listener = pin!(hub.listen(MonitorFilter { limit: Some(4), ..MonitorFilter::default() }));
        hub.publish((1..=10).map(event).collect());
        let Some(MonitorRecord::Lost(lost)) = listener.next().await else { panic!("nothing was told") };
        assert_eq!((lost.kernel, lost.client), (0, 6));
        assert_eq!(ports(&listener.collect::<Vec<_>>().await), [7, 8, 9, 10]);
        assert_eq!(hub.lost_by_clients(), 6);
    }

    #[tokio::test]
    async fn the_kernels_losses_are_told_once() {
        let hub = hub(4);
        let mut listener = pin!(hub.listen(MonitorFilter::default()));
        hub.kernel_lost(EventType::Drop, 5);
        hub.kernel_lost(EventType::Drop, 5);
        hub.kernel_lost(EventType::Trace, 2);
        for expected in [5, 2] {
            let Some(MonitorRecord::Lost(lost)) = listener.next().await else { panic!("nothing was told") };
            assert_eq!((lost.kernel, lost.client), (expected, 0));
        }
        assert_eq!(hub.lost(), LostCounts { drop: 5, verdict: 0, trace: 2 });
    }
}
