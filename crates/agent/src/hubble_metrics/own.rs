//! Metrics that a program has about itself, in the form in which those of flows are written and sent.

use std::collections::BTreeMap;

use nexin_flows::metrics::{Histogram, Metric, MetricKind, Sample, Series};

/// One metric whose series are told apart by at most one label.
#[derive(Clone, Debug)]
pub(crate) struct OwnMetric {
    name: &'static str,
    help: &'static str,
    kind: MetricKind,
    /// Empty: there is one series without labels.
    label: &'static str,
    series: BTreeMap<String, Sample>,
}

impl OwnMetric {
    pub(crate) fn new(name: &'static str, help: &'static str, kind: MetricKind, label: &'static str) -> Self {
        Self { name, help, kind, label, series: BTreeMap::new() }
    }

    pub(crate) fn count(&mut self, label: &str, events: u64) {
        let sample = self.sample(label, || Sample::Counter { count: 0, exemplar: None });
        if let Sample::Counter { count, .. } = sample {
            *count += events;
        }
    }

    pub(crate) fn set(&mut self, label: &str, value: f64) {
        *self.sample(label, || Sample::Gauge(0.0)) = Sample::Gauge(value);
    }

    pub(crate) fn seconds(&mut self, label: &str, seconds: f64) {
        let sample = self.sample(label, || Sample::Histogram(Box::<Histogram>::default()));
        if let Sample::Histogram(histogram) = sample {
            histogram.observe(seconds, None);
        }
    }

    fn sample(&mut self, label: &str, empty: impl FnOnce() -> Sample) -> &mut Sample {
        self.series.entry(label.to_owned()).or_insert_with(empty)
    }

    pub(crate) fn view(&self) -> Metric<'_> {
        let labels = |value| if self.label.is_empty() { Vec::new() } else { vec![(self.label, value)] };
        let series = self.series.iter().map(|(value, sample)| Series { labels: labels(value.as_str()), sample });
        Metric { name: self.name.to_owned(), help: self.help, kind: self.kind, series: series.collect(), overflow: 0 }
    }
}
