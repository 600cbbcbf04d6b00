//! The registry of metrics, and what every program tells of itself.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

/// All metrics of a program under one prefix. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Arc<Mutex<Registry>>,
}

/// The text format that [`Metrics::encode`] writes.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

impl Metrics {
    /// `prefix` stands before every name, followed by `_`; empty for none.
    pub fn new(prefix: &str) -> Self {
        let mut registry = if prefix.is_empty() { Registry::default() } else { Registry::with_prefix(prefix) };
        registry.register_collector(Box::new(Process));
        Self { registry: Arc::new(Mutex::new(registry)) }
    }

    /// Adds metrics. Done once, at start.
    pub fn register(&self, add: impl FnOnce(&mut Registry)) {
        add(&mut self.registry.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// OpenMetrics text of everything.
    pub fn encode(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        let registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        prometheus_client::encoding::text::encode(&mut text, &registry)?;
        Ok(text)
    }
}

/// The older text, for whoever does not ask for OpenMetrics: the same metrics, where a counter's whole name stands in its title too.
pub fn plain(text: &str) -> String {
    let kind = |line: &str| line.strip_prefix("# TYPE ")?.strip_suffix(" counter").map(str::to_owned);
    let counters: HashSet<String> = text.lines().filter_map(kind).collect();
    let mut plain = String::with_capacity(text.len());
    for line in text.lines() {
        let title = ["# HELP ", "# TYPE "].into_iter().find_map(|start| Some((start, line.strip_prefix(start)?)));
        match title.and_then(|(start, rest)| Some((start, rest.split_once(' ')?))) {
            Some((start, (name, rest))) if counters.contains(name) => {
                plain.extend([start, name, "_total ", rest, "\n"]);
            }
            None if line.starts_with('#') => {}
            _ => plain.extend([line.split_once(" # {").map_or(line, |(sample, _)| sample), "\n"]),
        }
    }
    plain
}

/// What [`plain`] writes.
pub const PLAIN_CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Resident memory of this process in bytes; 0 where /proc does not say.
pub fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or(0) * 1024
}

#[derive(Debug)]
struct Process;

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let memory = i64::try_from(resident_bytes()).unwrap_or(i64::MAX);
        let files = std::fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count());
        let gauges = [
            ("process_resident_memory_bytes", "Resident memory", memory),
            ("process_open_fds", "Open file descriptors", i64::try_from(files).unwrap_or(i64::MAX)),
        ];
        for (name, help, value) in gauges {
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(
                name,
                help,
                None,
                prometheus_client::metrics::MetricType::Gauge,
            )?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::counter::Counter;

    use super::*;

    #[test]
    fn names_carry_the_prefix_and_the_process_speaks_for_itself() {
        let metrics = Metrics::new("nexin");
        let counter = Counter::<u64>::default();
        metrics.register(|registry| registry.register("things", "Things", counter.clone()));
        counter.inc_by(3);
        let text = metrics.encode().unwrap();
        assert!(text.contains("nexin_things_total 3\n"), "{text}");
        assert!(text.contains("nexin_process_open_fds "), "{text}");
        assert!(resident_bytes() > 100_000);
        let plain = plain(&text);
        assert!(plain.contains("# TYPE nexin_things_total counter\nnexin_things_total 3\n"), "{plain}");
        assert!(plain.contains("# TYPE nexin_process_open_fds gauge\n") && !plain.contains("# EOF"), "{plain}");
    }
}
