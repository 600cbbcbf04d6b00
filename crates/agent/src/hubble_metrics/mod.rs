//! Hubble's metrics at work: counted from batches of events, served on their own address, configured by a string or by a file that is
//! read again. What is counted, and how it is written, is `nexin_flows::metrics`.

mod own;
#[cfg(test)]
pub(crate) mod tests;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use nexin_flows::Event;
use nexin_flows::metrics::{Config, ConfigError, Format, Metric, MetricKind, Metrics, write};
use nexin_http::{TextReply, TextRequest};
use nexin_hubble::flow::agent_event::Notification;
use nexin_hubble::flow::{AgentEvent, AgentEventType, LostEventSource};

use crate::flows::FlowHook;
pub(crate) use own::OwnMetric;

/// How often the configuration file is read.
const RELOAD: Duration = Duration::from_secs(10);

/// Why a configuration is not in force.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MetricsFileError {
    #[error("cannot read {}: {source}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{}: {source}", path.display())]
    Config { path: PathBuf, source: Box<ConfigError> },
}

/// See the module. Clones are one.
#[derive(Clone)]
pub(crate) struct FlowMetrics(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    open_metrics: bool,
    file: Option<PathBuf>,
}

/// Hands each of somebody's metrics to a taker.
type Teller = Arc<dyn Fn(&mut dyn FnMut(&Metric<'_>)) + Send + Sync>;

struct State {
    metrics: Metrics,
    lost: OwnMetric,
    overflow: OwnMetric,
    requests: OwnMetric,
    request_seconds: OwnMetric,
    reloads: OwnMetric,
    /// Metrics of others that are told here.
    others: Vec<Teller>,
    /// The text that was read last.
    text: String,
}

impl FlowMetrics {
    pub(crate) fn new(config: &str, limit: usize, open_metrics: bool) -> Result<Self, ConfigError> {
        let metrics = Metrics::new(&Config::parse_static(config), limit)?;
        for name in metrics.unknown() {
            tracing::warn!(name, "Skipping unknown hubble metric");
        }
        for (name, status) in metrics.status() {
            tracing::info!(name, status, "Configured metrics plugin");
        }
        Ok(Self::with(metrics, open_metrics, None))
    }

    /// Configured by a file, which need not be there yet.
    pub(crate) fn from_file(path: &Path, limit: usize, open_metrics: bool) -> Self {
        let metrics = Metrics::new(&Config::default(), limit).unwrap_or_default();
        let metrics = Self::with(metrics, open_metrics, Some(path.to_owned()));
        if let Err(error) = metrics.reload() {
            tracing::error!(%error, "no metrics of flows until the file is put right");
        }
        metrics
    }

    fn with(metrics: Metrics, open_metrics: bool, file: Option<PathBuf>) -> Self {
        use MetricKind::{Counter, Histogram};
        let state = State {
            metrics,
            lost: OwnMetric::new("hubble_lost_events_total", "Number of lost events", Counter, "source"),
            overflow: OwnMetric::new(
                "hubble_metrics_overflow_total",
                "Events not counted because their metric has as many series as it may",
                Counter,
                "metric",
            ),
            requests: OwnMetric::new(
                "hubble_metrics_http_handler_requests_total",
                "A counter for requests to Hubble metrics handler.",
                Counter,
                "code",
            ),
            request_seconds: OwnMetric::new(
                "hubble_metrics_http_handler_request_duration_seconds",
                "A histogram of latencies of Hubble metrics handler.",
                Histogram,
                "code",
            ),
            reloads: OwnMetric::new(
                "hubble_metrics_reconfigurations_total",
                "Readings of a changed file of metrics",
                Counter,
                "outcome",
            ),
            others: Vec::new(),
            text: String::new(),
        };
        Self(Arc::new(Shared { state: Mutex::new(state), open_metrics, file }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells somebody else's metrics beside these.
    pub(crate) fn tell_too(&self, other: impl Fn(&mut dyn FnMut(&Metric<'_>)) + Send + Sync + 'static) {
        self.state().others.push(Arc::new(other));
    }

    /// Whether the configuration comes from a file.
    pub(crate) fn has_file(&self) -> bool {
        self.0.file.is_some()
    }

    /// Reads the file; does nothing where it says what it said. A file that cannot be used leaves everything as it is.
    pub(crate) fn reload(&self) -> Result<(), MetricsFileError> {
        let Some(path) = &self.0.file else { return Ok(()) };
        let text =
            std::fs::read_to_string(path).map_err(|source| MetricsFileError::Read { path: path.clone(), source })?;
        let mut state = self.state();
        if state.text == text {
            return Ok(());
        }
        state.text.clone_from(&text);
        let applied = Config::parse_yaml(&text).and_then(|config| state.metrics.reconfigure(&config));
        state.reloads.count(if applied.is_ok() { "success" } else { "failure" }, 1);
        applied.map_err(|error| MetricsFileError::Config { path: path.clone(), source: Box::new(error) })
    }

    /// Counts a batch.
    fn events(&self, events: &[Event], now: Duration) {
        let mut state = self.state();
        for event in events {
            match event {
                Event::Flow(record) => state.metrics.observe(record, now),
                Event::Lost(lost) => state.lost.count(&source(lost.what.source), lost.what.num_events_lost),
                Event::Agent(notice) => state.workload(&notice.what, now),
                Event::Debug(_) => {}
            }
        }
    }

    /// Answers `GET /metrics`.
    pub(crate) fn answer(&self, request: &TextRequest) -> TextReply {
        if request.path != "/metrics" {
            return TextReply::not_found();
        }
        let begun = Instant::now();
        let format = Format::negotiate(&request.accept, self.0.open_metrics);
        let mut text = String::new();
        self.each(&mut |metric| write(metric, format, &mut text));
        text.push_str(format.end());
        let mut state = self.state();
        state.requests.count("200", 1);
        state.request_seconds.seconds("200", begun.elapsed().as_secs_f64());
        TextReply::ok(format.content_type(), text)
    }

    /// Every metric there is, one after the other.
    pub(crate) fn each(&self, tell: &mut dyn FnMut(&Metric<'_>)) {
        let state = &mut *self.state();
        let mut overflows = Vec::new();
        for metric in state.metrics.metrics() {
            if metric.overflow > 0 {
                overflows.push((metric.name.clone(), metric.overflow));
            }
            tell(&metric);
        }
        let told = [&state.lost, &state.requests, &state.request_seconds, &state.reloads];
        for metric in told {
            tell(&metric.view());
        }
        let mut overflow = state.overflow.clone();
        for (name, count) in overflows {
            overflow.count(&name, count);
        }
        tell(&overflow.view());
        for other in &state.others {
            other(tell);
        }
    }
}

impl State {
    /// Series of a workload that is gone go a little later; those of one that came back stay.
    fn workload(&mut self, event: &AgentEvent, now: Duration) {
        let Some(Notification::EndpointUpdate(endpoint)) = &event.notification else { return };
        match AgentEventType::try_from(event.r#type) {
            Ok(AgentEventType::EndpointDeleted) => {
                self.metrics.deleted(&endpoint.namespace, &endpoint.pod_name, now);
            }
            Ok(AgentEventType::EndpointCreated) => self.metrics.created(&endpoint.namespace, &endpoint.pod_name),
            _ => {}
        }
    }
}

fn source(number: i32) -> String {
    LostEventSource::try_from(number).map_or(number.to_string(), |source| source.as_str_name().to_lowercase())
}

/// Since the epoch.
pub(crate) fn wall_clock() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

/// Metrics among those who look at every flow.
pub(crate) struct MetricsHook {
    metrics: FlowMetrics,
    reloaded: Instant,
}

impl MetricsHook {
    pub(crate) fn new(metrics: FlowMetrics) -> Self {
        Self { metrics, reloaded: Instant::now() }
    }
}

impl FlowHook for MetricsHook {
    fn events(&mut self, events: &[Event]) {
        self.metrics.events(events, wall_clock());
    }

    fn tick(&mut self) {
        let swept = self.metrics.state().metrics.sweep(wall_clock());
        if swept > 0 {
            tracing::debug!(swept, "series of deleted workloads are gone");
        }
        if self.metrics.has_file() && self.reloaded.elapsed() >= RELOAD {
            self.reloaded = Instant::now();
            if let Err(error) = self.metrics.reload() {
                tracing::error!(%error, "the metrics of flows stay as they are");
            }
        }
    }
}
