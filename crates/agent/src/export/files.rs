//! Flow logs at work: files (or the program's output) that exporters write to, and the configuration file that is read again while the
//! agent runs. What a line holds is `nexin_flows::export`.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use nexin_flows::Event;
use nexin_flows::export::{DEFAULT_MAX_BACKUPS, DEFAULT_MAX_SIZE_MB, ExportError, Exporter, FlowLog, STDOUT};
use nexin_flows::metrics::{Metric, MetricKind};

use super::rotate::{RotatingFile, Rotation};
use crate::flows::FlowHook;
use crate::hubble_metrics::{OwnMetric, wall_clock};

/// How often the configuration file is read.
const RELOAD: Duration = Duration::from_secs(5);
/// How often at most a file that cannot be written is complained of.
const COMPLAINTS: Duration = Duration::from_secs(30);

/// Where lines go.
enum Target {
    Output,
    File(Box<RotatingFile>),
}

impl Target {
    fn new(log: &FlowLog) -> Self {
        if log.file_path == STDOUT {
            return Self::Output;
        }
        let or = |value: i64, default: i64| if value == 0 { default } else { value };
        let megabytes = u64::try_from(or(log.file_max_size_mb, DEFAULT_MAX_SIZE_MB)).unwrap_or(0);
        let backups = usize::try_from(or(log.file_max_backups, DEFAULT_MAX_BACKUPS)).unwrap_or(0);
        let rotation = Rotation { max_bytes: megabytes << 20, max_backups: backups, compress: log.file_compress };
        Self::File(Box::new(RotatingFile::new(Path::new(&log.file_path), rotation)))
    }

    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        match self {
            Self::Output => io::stdout().lock().write_all(lines),
            Self::File(file) => file.write(lines, SystemTime::now()),
        }
    }
}

/// One exporter and where it writes.
struct Running {
    log: FlowLog,
    exporter: Exporter,
    target: Target,
    flushed: Instant,
    complained: Option<Instant>,
    lines: Vec<u8>,
}

impl Running {
    fn new(log: FlowLog) -> Result<Self, ExportError> {
        Ok(Self {
            exporter: Exporter::new(&log)?,
            target: Target::new(&log),
            flushed: Instant::now(),
            complained: None,
            lines: Vec::new(),
            log,
        })
    }

    fn events(&mut self, events: &[Event], status: &Status) {
        if self.log.is_active(wall_clock()) {
            events.iter().for_each(|event| self.exporter.event(event, &mut self.lines));
        }
        self.write(status);
    }

    fn flush(&mut self, status: &Status) {
        self.flushed = Instant::now();
        self.exporter.flush(&mut self.lines);
        self.write(status);
    }

    fn write(&mut self, status: &Status) {
        if self.lines.is_empty() {
            return;
        }
        let count = self.lines.iter().filter(|byte| **byte == b'\n').count() as u64;
        let mut told = status.told();
        match self.target.write(&self.lines) {
            Ok(()) => told.written.count(&self.log.name, count),
            Err(error) => {
                told.failed.count(&self.log.name, count);
                if self.complained.is_none_or(|at| at.elapsed() >= COMPLAINTS) {
                    self.complained = Some(Instant::now());
                    tracing::error!(%error, path = self.log.file_path, "flows cannot be written; they are counted");
                }
            }
        }
        self.lines.clear();
    }
}

/// What is told of exporters. Clones are one.
#[derive(Clone)]
pub(crate) struct Status(Arc<Mutex<Told>>);

struct Told {
    /// Of the exporters that a file configures.
    logs: Vec<FlowLog>,
    dynamic: bool,
    reconfigurations: OwnMetric,
    hash: OwnMetric,
    applied: OwnMetric,
    written: OwnMetric,
    failed: OwnMetric,
}

impl Status {
    pub(super) fn new(dynamic: bool) -> Self {
        use MetricKind::{Counter, Gauge};
        let own = OwnMetric::new;
        Self(Arc::new(Mutex::new(Told {
            logs: Vec::new(),
            dynamic,
            reconfigurations: own(
                "hubble_dynamic_exporter_reconfigurations_total",
                "Number of dynamic exporters reconfigurations",
                Counter,
                "op",
            ),
            hash: own("hubble_dynamic_exporter_config_hash", "Hash of last applied config", Gauge, ""),
            applied: own("hubble_dynamic_exporter_config_last_applied", "Timestamp of last applied config", Gauge, ""),
            written: own("hubble_exporter_lines_total", "Lines written by exporters", Counter, "name"),
            failed: own("hubble_exporter_failed_lines_total", "Lines that could not be written", Counter, "name"),
        })))
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every metric of the exporters, one after the other.
    pub(crate) fn each(&self, tell: &mut dyn FnMut(&Metric<'_>)) {
        let told = self.told();
        tell(&told.written.view());
        tell(&told.failed.view());
        if !told.dynamic {
            return;
        }
        let mut count = OwnMetric::new(
            "hubble_dynamic_exporter_exporters_total",
            "Number of configured exporters",
            MetricKind::Gauge,
            "status",
        );
        let mut up =
            OwnMetric::new("hubble_dynamic_exporter_up", "Status of individual exporters", MetricKind::Gauge, "name");
        let now = wall_clock();
        let active = told.logs.iter().filter(|log| log.is_active(now)).count();
        count.set("active", active as f64);
        count.set("inactive", (told.logs.len() - active) as f64);
        for log in &told.logs {
            up.set(&log.name, f64::from(u8::from(log.is_active(now))));
        }
        for metric in [&count, &up, &told.reconfigurations, &told.hash, &told.applied] {
            tell(&metric.view());
        }
    }
}

/// All exporters of flows to files.
pub(crate) struct FilesHook {
    fixed: Vec<Running>,
    dynamic: BTreeMap<String, Running>,
    file: Option<PathBuf>,
    read: Instant,
    /// What was complained of last.
    trouble: String,
    status: Status,
}

impl FilesHook {
    /// `fixed`: exporters that stay; `file`: where others are configured.
    pub(crate) fn new(fixed: Vec<FlowLog>, file: Option<PathBuf>) -> Result<Self, ExportError> {
        let fixed = fixed.into_iter().map(Running::new).collect::<Result<_, _>>()?;
        let status = Status::new(file.is_some());
        let mut hook =
            Self { fixed, dynamic: BTreeMap::new(), file, read: Instant::now(), trouble: String::new(), status };
        hook.reload();
        Ok(hook)
    }

    pub(crate) fn status(&self) -> Status {
        self.status.clone()
    }

    pub(super) fn reload(&mut self) {
        let Some(path) = &self.file else { return };
        self.read = Instant::now();
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) => return self.refuse(format!("failed to read config file {path:?}: {error}")),
        };
        match FlowLog::parse_all(&text) {
            Ok(logs) => self.apply(logs, hash(text.as_bytes())),
            Err(error) => {
                let message = format!("failed to parse config file {path:?}: {error}");
                self.refuse(message);
            }
        }
    }

    /// Everything stays as it is.
    fn refuse(&mut self, message: String) {
        self.status.told().reconfigurations.count("failure", 1);
        if self.trouble != message {
            tracing::error!("{message}");
        }
        self.trouble = message;
    }

    fn apply(&mut self, logs: Vec<FlowLog>, hash: u64) {
        self.trouble.clear();
        let gone: Vec<String> =
            self.dynamic.keys().filter(|name| !logs.iter().any(|log| log.name == **name)).cloned().collect();
        for log in logs {
            let name = log.name.clone();
            let op = match self.dynamic.get(&name) {
                Some(running) if running.log == log => continue,
                Some(_) => "update",
                None => "add",
            };
            match Running::new(log) {
                Ok(running) => {
                    if let Some(mut old) = self.dynamic.insert(name, running) {
                        old.flush(&self.status);
                    }
                    self.status.told().reconfigurations.count(op, 1);
                }
                Err(error) => tracing::error!(name, %error, "Failed to create exporter for config"),
            }
        }
        for name in gone {
            if let Some(mut old) = self.dynamic.remove(&name) {
                old.flush(&self.status);
            }
            self.status.told().reconfigurations.count("remove", 1);
        }
        let mut told = self.status.told();
        told.logs = self.dynamic.values().map(|running| running.log.clone()).collect();
        told.hash.set("", hash as f64);
        told.applied.set("", wall_clock().as_secs_f64());
    }

    fn running(&mut self) -> impl Iterator<Item = &mut Running> {
        self.fixed.iter_mut().chain(self.dynamic.values_mut())
    }
}

impl FlowHook for FilesHook {
    fn events(&mut self, events: &[Event]) {
        let status = self.status.clone();
        self.running().for_each(|running| running.events(events, &status));
    }

    fn tick(&mut self) {
        let status = self.status.clone();
        for running in self.running() {
            if running.exporter.interval().is_some_and(|interval| running.flushed.elapsed() >= interval) {
                running.flush(&status);
            }
        }
        if self.read.elapsed() >= RELOAD {
            self.reload();
        }
    }
}

impl Drop for FilesHook {
    fn drop(&mut self) {
        let status = self.status.clone();
        self.running().for_each(|running| running.flush(&status));
    }
}

/// Tells texts apart, nothing more (FNV-1a).
fn hash(text: &[u8]) -> u64 {
    text.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}
