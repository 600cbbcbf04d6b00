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
