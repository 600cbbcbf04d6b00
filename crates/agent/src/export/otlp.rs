//! Flows and metrics on their way to a collector: records wait in a bounded queue, go out in batches, and are tried again with growing
//! pauses. What finds no room, and what a collector does not take, is counted.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nexin_api::otlp::{Client, Failure, LogRecord, Origin, log_record, metric};
use nexin_flows::metrics::{Metric, MetricKind};
use nexin_flows::{Event, View as _};
use nexin_runtime::backoff::Backoff;
use nexin_runtime::tasks::CancellationToken;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::{Instant, sleep_until, timeout};

use crate::flows::{FlowHook, wall_ns};
use crate::hubble_metrics::{FlowMetrics, OwnMetric};

/// Records in one request.
const BATCH: usize = 512;
/// How long a record waits for others.
const LINGER: Duration = Duration::from_secs(1);
/// Pauses between tries, from and to.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));
/// For how long a batch is tried again before it is given up.
const PATIENCE: Duration = Duration::from_secs(300);
/// At shutdown, for what still waits.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Counts of what was sent and lost.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    waiting: AtomicUsize,
    pub(crate) sent: AtomicU64,
    /// No room in the queue.
    pub(crate) dropped: AtomicU64,
    /// Given up, or not taken by the collector.
    pub(crate) refused: AtomicU64,
    pub(crate) failures: AtomicU64,
}

impl Counts {
    /// Every metric of the export, one after the other.
    pub(crate) fn each(&self, tell: &mut dyn FnMut(&Metric<'_>)) {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let mut records = OwnMetric::new(
            "hubble_otlp_records_total",
            "Flows for an OTLP collector, by what became of them",
            MetricKind::Counter,
            "outcome",
        );
        records.count("sent", read(&self.sent));
        records.count("dropped", read(&self.dropped));
        records.count("refused", read(&self.refused));
        let mut failures = OwnMetric::new(
            "hubble_otlp_failures_total",
            "Requests that an OTLP collector did not take",
            MetricKind::Counter,
            "",
        );
        failures.count("", read(&self.failures));
        let mut waiting = OwnMetric::new("hubble_otlp_queue", "Flows that wait to be sent", MetricKind::Gauge, "");
        waiting.set("", self.waiting.load(Ordering::Relaxed) as f64);
        for metric in [&records, &failures, &waiting] {
            tell(&metric.view());
        }
    }
}

/// The queue's end that takes flows.
pub(crate) struct OtlpHook {
    queue: UnboundedSender<LogRecord>,
    counts: Arc<Counts>,
    most: usize,
}

impl FlowHook for OtlpHook {
    fn events(&mut self, events: &[Event]) {
        let observed = wall_ns();
        for record in events.iter().filter_map(Event::as_flow) {
            if self.counts.waiting.load(Ordering::Relaxed) >= self.most {
                self.counts.dropped.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            self.counts.waiting.fetch_add(1, Ordering::Relaxed);
            if self.queue.send(log_record(&record.flow(), observed)).is_err() {
                self.counts.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// The end that sends.
pub(crate) struct LogSender {
    queue: UnboundedReceiver<LogRecord>,
    counts: Arc<Counts>,
    way: Way,
}

/// A queue of at most `most` flows.
pub(crate) fn logs(client: Client, origin: Origin, most: usize, counts: &Arc<Counts>) -> (OtlpHook, LogSender) {
    let (sender, queue) = unbounded_channel();
    let hook = OtlpHook { queue: sender, counts: counts.clone(), most };
    (hook, LogSender { queue, counts: counts.clone(), way: Way { client, origin, counts: counts.clone() } })
}

impl LogSender {
    /// Until the queue is closed; when `stop` is cancelled, what waits gets a short while.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            let stopping = tokio::select! {
                filled = fill(&mut self.queue, &mut batch) => !filled,
                () = stop.cancelled() => {
                    let _ = self.queue.try_recv().map(|record| batch.push(record));
                    while batch.len() < BATCH && let Ok(record) = self.queue.try_recv() {
                        batch.push(record);
                    }
                    true
                }
            };
            if !batch.is_empty() {
                self.counts.waiting.fetch_sub(batch.len(), Ordering::Relaxed);
                let records = std::mem::take(&mut batch);
                let (count, sent) = (records.len() as u64, self.way.logs(records, &stop));
                let outcome = if stopping { timeout(LAST_WORDS, sent).await.unwrap_or(None) } else { sent.await };
                let taken = outcome.map_or(0, |rejected| count.saturating_sub(rejected));
                self.counts.sent.fetch_add(taken, Ordering::Relaxed);
                self.counts.refused.fetch_add(count - taken, Ordering::Relaxed);
            } else if stopping {
                return;
            }
            if stopping && self.queue.is_empty() {
                return;
            }
        }
    }
}

/// Fills a batch; false when there will be no more.
async fn fill(queue: &mut UnboundedReceiver<LogRecord>, batch: &mut Vec<LogRecord>) -> bool {
    if batch.is_empty() {
        match queue.recv().await {
            Some(record) => batch.push(record),
            None => return false,
        }
    }
    let until = Instant::now() + LINGER;
    while batch.len() < BATCH {
        tokio::select! {
            more = queue.recv_many(batch, BATCH - batch.len()) => if more == 0 { return false },
            () = sleep_until(until) => return true,
        }
    }
    true
}

/// A collector, and patience with it.
struct Way {
    client: Client,
    origin: Origin,
    counts: Arc<Counts>,
}

impl Way {
    /// Records that the collector did not take; `None` when the batch was given up.
    async fn logs(&mut self, records: Vec<LogRecord>, stop: &CancellationToken) -> Option<u64> {
        let request = self.origin.logs(records);
        let mut patience = Patience::new();
        loop {
            match self.client.logs(request.clone()).await {
                Ok(accepted) => {
                    if accepted.rejected > 0 {
                        tracing::warn!(accepted.rejected, accepted.message, "the collector did not take all flows");
                    }
                    return Some(accepted.rejected);
                }
                Err(failure) => {
                    self.counts.failures.fetch_add(1, Ordering::Relaxed);
                    let pause = patience.after(&failure)?;
                    tokio::select! {
                        () = tokio::time::sleep(pause) => {}
                        () = stop.cancelled() => return None,
                    }
                }
            }
        }
    }
}

/// How long one batch is tried.
struct Patience {
    backoff: Backoff,
    since: Instant,
}

impl Patience {
    fn new() -> Self {
        Self { backoff: Backoff::new(PAUSES.0, PAUSES.1), since: Instant::now() }
    }

    /// How long to pause before the next try; `None` to give up.
    fn after(&mut self, failure: &Failure) -> Option<Duration> {
        let pause = failure.after.unwrap_or_else(|| jitter(self.backoff.failed()));
        let worth = failure.again && self.since.elapsed() + pause < PATIENCE;
        if self.backoff.failures() <= 1 || !worth {
            tracing::warn!(failure.message, again = worth, "the OTLP collector did not take flows");
        }
        worth.then_some(pause)
    }
}

/// Between half of a pause and all of it, so that nodes do not come back together.
fn jitter(pause: Duration) -> Duration {
    use std::hash::{BuildHasher as _, RandomState};
    let share = RandomState::new().hash_one(pause) % 512;
    pause / 2 + pause.mul_f64(share as f64 / 1024.0)
}

/// Sends all metrics every `interval`. A try that fails is not repeated: the next one carries the same counts.
pub(crate) async fn send_metrics(
    mut client: Client,
    origin: Origin,
    metrics: FlowMetrics,
    interval: Duration,
    counts: Arc<Counts>,
    stop: CancellationToken,
) {
    let start = wall_ns();
    let complaint = Mutex::new(String::new());
    let mut every = tokio::time::interval(interval);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let last = tokio::select! {
            _ = every.tick() => false,
            () = stop.cancelled() => true,
        };
        let mut all = Vec::new();
        metrics.each(&mut |each| all.extend(metric(each, start, wall_ns())));
        let sent = client.metrics(origin.metrics(all));
        let sent = if last { timeout(LAST_WORDS, sent).await.unwrap_or(Ok(Default::default())) } else { sent.await };
        let mut complaint = complaint.lock().unwrap_or_else(PoisonError::into_inner);
        match sent {
            Ok(_) => complaint.clear(),
            Err(failure) => {
                counts.failures.fetch_add(1, Ordering::Relaxed);
                if *complaint != failure.message {
                    tracing::warn!(failure.message, "the OTLP collector did not take metrics");
                }
                *complaint = failure.message;
            }
        }
        if last {
            return;
        }
    }
}
