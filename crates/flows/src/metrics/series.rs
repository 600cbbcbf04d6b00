//! Series of one metric: label values and what was counted. A series that exists is found without an allocation.

use std::collections::HashMap;
use std::time::Duration;

/// Stands between label values in a key. It is the lowest character, so keys sort as their values do; in values it is
/// replaced.
pub(crate) const SEPARATOR: char = '\0';

/// Upper bounds in seconds; the last bucket has none.
pub const BUCKETS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// What a metric's series hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    Counter,
    /// A value that goes up and down. No plugin has one; what tells of the program itself does.
    Gauge,
    Histogram,
}

/// A trace that stands for the events counted.
#[derive(Clone, Debug, PartialEq)]
pub struct Exemplar {
    pub trace_id: Box<str>,
    pub value: f64,
    /// Since the epoch.
    pub at: Duration,
}

impl Exemplar {
    /// Runes that OpenMetrics allows in an exemplar's labels, less those of the label's name.
    const MAX_ID: usize = 128 - "traceID".len();

    pub(crate) fn new(trace_id: &str, value: f64, at: Duration) -> Option<Self> {
        let fits = !trace_id.is_empty() && trace_id.chars().count() <= Self::MAX_ID;
        fits.then(|| Self { trace_id: trace_id.into(), value, at })
    }
}

/// Values sorted into [`BUCKETS`]; counts are of one bucket each, not cumulative.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Histogram {
    pub buckets: [u64; BUCKETS.len() + 1],
    pub sum: f64,
    pub exemplars: [Option<Box<Exemplar>>; BUCKETS.len() + 1],
}

impl Histogram {
    pub fn observe(&mut self, value: f64, exemplar: Option<Exemplar>) {
        let bucket = BUCKETS.iter().position(|bound| value <= *bound).unwrap_or(BUCKETS.len());
        self.buckets[bucket] += 1;
        self.sum += value;
        if let Some(exemplar) = exemplar {
            self.exemplars[bucket] = Some(Box::new(exemplar));
        }
    }

    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }
}

/// What one series holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Sample {
    Counter { count: u64, exemplar: Option<Box<Exemplar>> },
    Gauge(f64),
    Histogram(Box<Histogram>),
}

/// One event for a series.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Observation {
    One(Option<Exemplar>),
    Seconds(f64, Option<Exemplar>),
}

impl Sample {
    fn add(&mut self, observation: Observation) {
        match (self, observation) {
            (Self::Counter { count, exemplar: kept }, Observation::One(exemplar)) => {
                *count += 1;
                if let Some(exemplar) = exemplar {
                    *kept = Some(Box::new(exemplar));
                }
            }
            (Self::Histogram(histogram), Observation::Seconds(value, exemplar)) => histogram.observe(value, exemplar),
            // Plugins pair metrics with observations of their kind; the other pairs have nothing to add to.
            (Self::Counter { .. }, Observation::Seconds(..))
            | (Self::Histogram(_), Observation::One(_))
            | (Self::Gauge(_), _) => {}
        }
    }
}

/// All series of one metric.
#[derive(Clone, Debug)]
pub(crate) struct SeriesSet {
    kind: MetricKind,
    series: HashMap<Box<str>, Sample>,
    /// Most series that may exist.
    limit: usize,
    /// Events that found no room for a new series.
    overflow: u64,
}

impl SeriesSet {
    pub(crate) fn new(kind: MetricKind, limit: usize) -> Self {
        Self { kind, series: HashMap::new(), limit, overflow: 0 }
    }

    /// `key`: values in order, each followed by [`SEPARATOR`].
    pub(crate) fn add(&mut self, key: &str, observation: Observation) {
        if let Some(sample) = self.series.get_mut(key) {
            sample.add(observation);
            return;
        }
        if self.series.len() >= self.limit {
            self.overflow += 1;
            return;
        }
        let mut sample = match self.kind {
            MetricKind::Counter => Sample::Counter { count: 0, exemplar: None },
            MetricKind::Gauge => Sample::Gauge(0.0),
            MetricKind::Histogram => Sample::Histogram(Box::default()),
        };
        sample.add(observation);
        self.series.insert(key.into(), sample);
    }

    pub(crate) fn kind(&self) -> MetricKind {
        self.kind
    }

    pub(crate) fn len(&self) -> usize {
        self.series.len()
    }

    pub(crate) fn overflow(&self) -> u64 {
        self.overflow
    }

    /// Keeps the series whose values `keep` agrees to.
    pub(crate) fn retain(&mut self, keep: impl Fn(&[&str]) -> bool) {
        self.series.retain(|key, _| keep(&values(key)));
    }

    /// Sorted by values.
    pub(crate) fn sorted(&self) -> Vec<(Vec<&str>, &Sample)> {
        let mut sorted: Vec<_> = self.series.iter().collect();
        sorted.sort_unstable_by_key(|(key, _)| *key);
        sorted.into_iter().map(|(key, sample)| (values(key), sample)).collect()
    }
}

fn values(key: &str) -> Vec<&str> {
    let mut values: Vec<&str> = key.split(SEPARATOR).collect();
    values.pop();
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one() -> Observation {
        Observation::One(None)
    }

    #[test]
    fn a_full_set_counts_what_it_cannot_hold_and_keeps_counting_what_it_has() {
        let mut set = SeriesSet::new(MetricKind::Counter, 2);
        for key in ["a\0", "b\0", "c\0", "a\0", "d\0"] {
            set.add(key, one());
        }
        let found: Vec<_> = set.sorted().into_iter().map(|(values, sample)| (values[0], sample.clone())).collect();
        let counter = |count| Sample::Counter { count, exemplar: None };
        assert_eq!(found, [("a", counter(2)), ("b", counter(1))]);
        assert_eq!(set.overflow(), 2);
    }

    #[test]
    fn keys_sort_as_their_values() {
        let mut set = SeriesSet::new(MetricKind::Counter, 9);
        for key in ["ab\0c\0", "a\0z\0", "a\0\0", "\0z\0"] {
            set.add(key, one());
        }
        let order: Vec<_> = set.sorted().into_iter().map(|(values, _)| values).collect();
        assert_eq!(order, [vec!["", "z"], vec!["a", ""], vec!["a", "z"], vec!["ab", "c"]]);
    }

    #[test]
    fn a_bucket_takes_its_bound() {
        let mut histogram = Histogram::default();
        for value in [0.0, 0.005, 0.0051, 10.0, 10.1] {
            histogram.observe(value, None);
        }
        assert_eq!((histogram.buckets[0], histogram.buckets[1]), (2, 1));
        assert_eq!((histogram.buckets[10], histogram.buckets[11], histogram.count()), (1, 1, 5));
    }

    #[test]
    fn an_exemplar_that_would_break_the_format_is_left_out() {
        let at = Duration::from_secs(1);
        assert!(Exemplar::new(&"é".repeat(121), 1.0, at).is_some());
        assert!(Exemplar::new(&"é".repeat(122), 1.0, at).is_none());
        assert!(Exemplar::new("", 1.0, at).is_none());
    }
}
