//! Those who look at every flow: metrics, exporters, the recorder. They run on one thread behind a bounded queue, so that a
//! slow disk costs them events (which they are told), and neither the ring nor the kernel's readers.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nexin_flows::Event;
use nexin_flows::record::Node;
use nexin_hubble::flow::LostEventSource;

/// Looks at events, lost ones included, in their order.
pub(crate) trait FlowHook: Send {
    fn events(&mut self, events: &[Event]);
    /// Called about once a second, whether there were events or not.
    fn tick(&mut self) {}
}

/// How often hooks are called at least.
const TICK: Duration = Duration::from_secs(1);

/// Events, or none where there will be no more.
type Message = Option<Arc<[Event]>>;

/// What the queue had no room for, since it last had some.
#[derive(Clone, Copy, Default)]
struct LeftOut {
    count: u64,
    first_ns: u64,
    last_ns: u64,
}

/// The queue's end that takes events. Never waits.
pub(crate) struct HookQueue {
    sender: Sender<Message>,
    waiting: Arc<AtomicUsize>,
    most: usize,
    left_out: Mutex<LeftOut>,
    node: Arc<Node>,
}

/// The end that gives them to the hooks.
pub(crate) struct HookWorker {
    inbox: Receiver<Message>,
    waiting: Arc<AtomicUsize>,
}

/// A queue of at most `most` events.
pub(crate) fn hook_queue(most: usize, node: Arc<Node>) -> (HookQueue, HookWorker) {
    let (sender, inbox) = channel();
    let waiting = Arc::new(AtomicUsize::new(0));
    let queue = HookQueue { sender, waiting: waiting.clone(), most, left_out: Mutex::default(), node };
    (queue, HookWorker { inbox, waiting })
}

impl HookQueue {
    /// Hands events on, or counts those that are left out and says so before the next ones that are not.
    pub(crate) fn push(&self, events: &Arc<[Event]>) {
        let mut left_out = self.left_out.lock().unwrap_or_else(PoisonError::into_inner);
        let full = self.waiting.load(Ordering::Relaxed) + events.len() > self.most;
        if full {
            for event in events.iter() {
                match event {
                    Event::Flow(_) => left_out.count += 1,
                    Event::Lost(lost) => left_out.count += lost.what.num_events_lost,
                    Event::Agent(_) | Event::Debug(_) => continue,
                }
                if left_out.first_ns == 0 {
                    left_out.first_ns = event.time_ns();
                }
                left_out.last_ns = event.time_ns();
            }
            return;
        }
        self.tell(std::mem::take(&mut *left_out));
        self.send(events.clone());
    }

    fn tell(&self, left_out: LeftOut) {
        let LeftOut { count, first_ns, last_ns } = left_out;
        if count > 0 {
            tracing::warn!(count, "metrics and exporters are too slow; events were left out (hubble.queue_size)");
            let lost = Event::lost(&self.node, LostEventSource::ObserverEventsQueue, count, first_ns, last_ns);
            self.send(Arc::from([lost]));
        }
    }

    /// The hooks see what was pushed before, and end.
    pub(crate) fn close(&self) {
        let mut left_out = self.left_out.lock().unwrap_or_else(PoisonError::into_inner);
        self.tell(std::mem::take(&mut *left_out));
        drop(self.sender.send(None));
    }

    fn send(&self, events: Arc<[Event]>) {
        self.waiting.fetch_add(events.len(), Ordering::Relaxed);
        // The hooks ended: the program is stopping.
        drop(self.sender.send(Some(events)));
    }
}

impl HookWorker {
    /// Until the queue is closed.
    pub(crate) fn run(self, mut hooks: Vec<Box<dyn FlowHook>>) {
        let mut ticked = std::time::Instant::now();
        loop {
            match self.inbox.recv_timeout(TICK.saturating_sub(ticked.elapsed())) {
                Ok(Some(events)) => {
                    hooks.iter_mut().for_each(|hook| hook.events(&events));
                    self.waiting.fetch_sub(events.len(), Ordering::Relaxed);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Ok(None) | Err(RecvTimeoutError::Disconnected) => break,
            }
            if ticked.elapsed() >= TICK {
                hooks.iter_mut().for_each(|hook| hook.tick());
                ticked = std::time::Instant::now();
            }
        }
        hooks.iter_mut().for_each(|hook| hook.tick());
    }
}
