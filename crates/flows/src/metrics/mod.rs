//! Hubble's metrics from flows: plugins, their options, and the text that is scraped. State and text only: the caller says what time it is,
//! serves the text, and reads the files.

mod config;
mod context;
mod labels;
mod names;
mod plugin;
mod series;
mod text;

use std::collections::HashMap;
use std::time::Duration;

pub use config::{Config, ConfigError, ContextOption, MetricConfig, MetricError};
pub use context::ContextError;
pub use names::IcmpName;
pub use series::{BUCKETS, Exemplar, Histogram, MetricKind, Sample};
pub use text::{Format, float, write};

pub use crate::document::DocumentError;
use crate::filter::{Filters, Seen};
use crate::view::View;
use context::{Added, Context, ContextLabel, Side};
use plugin::{Family, Plugin};

/// How long the series of a deleted workload stay, so that a last scrape sees them.
pub const GRACE: Duration = Duration::from_secs(60);

/// Most series of one metric unless told otherwise.
pub const DEFAULT_LIMIT: usize = 100_000;

/// All metrics that a configuration asks for.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    handlers: Vec<Handler>,
    limit: usize,
    /// Names that nobody knows. They are passed over, as Hubble does.
    unknown: Vec<String>,
    /// Deleted workloads (namespace, name), and when their series go.
    deleted: HashMap<(Box<str>, Box<str>), Duration>,
    /// Where keys are built.
    key: String,
}

/// A plugin at work.
#[derive(Clone, Debug)]
struct Handler {
    config: MetricConfig,
    plugin: Plugin,
    context: Context,
    filters: Filters,
    families: Vec<Family>,
}

impl Handler {
    fn new(config: &MetricConfig, plugin: Plugin, limit: usize) -> Result<Self, ConfigError> {
        let failed = |error: MetricError| ConfigError::Metric { metric: config.name.clone(), error };
        let context = Context::parse(&config.options).map_err(|error| failed(error.into()))?;
        Ok(Self {
            filters: Filters::compile(&config.include, &config.exclude).map_err(|error| failed(error.into()))?,
            families: plugin.families(&context, limit),
            config: config.clone(),
            plugin,
            context,
        })
    }

    fn observe<V: View>(&mut self, flow: &V, at: Duration, key: &mut String) {
        if self.plugin.concerns(flow) && self.filters.matches(Seen::Flow(flow)) {
            self.plugin.count(&mut self.families, &self.context, flow, at, key);
        }
    }
}

/// One series, for those who send metrics instead of being scraped.
#[derive(Clone, Debug, PartialEq)]
pub struct Series<'a> {
    /// Sorted by name.
    pub labels: Vec<(&'static str, &'a str)>,
    pub sample: &'a Sample,
}

/// One metric with its series.
#[derive(Clone, Debug, PartialEq)]
pub struct Metric<'a> {
    /// With Hubble's prefix.
    pub name: String,
    pub help: &'static str,
    pub kind: MetricKind,
    pub series: Vec<Series<'a>>,
    /// Events that were not counted because the metric is full.
    pub overflow: u64,
}

impl Metrics {
    /// `limit` is the most series that each metric may have.
    pub fn new(config: &Config, limit: usize) -> Result<Self, ConfigError> {
        let mut metrics = Self { limit, ..Self::default() };
        let mut chosen: Vec<(&MetricConfig, Plugin)> = Vec::new();
        for metric in &config.metrics {
            match Plugin::parse(metric) {
                Some(plugin) => chosen.push((metric, plugin)),
                None => metrics.unknown.push(metric.name.clone()),
            }
        }
        let named = |name: &str| config.metrics.iter().any(|metric| metric.name == name);
        for (metric, _) in &chosen {
            if let Some(other) = Plugin::conflict(&metric.name).filter(|other| named(other)) {
                return Err(ConfigError::Conflict(metric.name.clone(), other));
            }
        }
        for (metric, plugin) in chosen {
            let handler = Handler::new(metric, plugin, limit)?;
            if metrics.handlers.iter().any(|other| other.config.name == metric.name) {
                return Err(ConfigError::Duplicate);
            }
            metrics.handlers.push(handler);
        }
        Ok(metrics)
    }

    /// Goes on to another configuration. Metrics that stay keep what they counted; those whose filters changed go on
    /// with the new ones. Labels of a metric that stays cannot change: then nothing does.
    pub fn reconfigure(&mut self, config: &Config) -> Result<(), ConfigError> {
        let current = Config { metrics: self.handlers.iter().map(|handler| handler.config.clone()).collect() };
        current.refuses(config)?;
        let mut next = Self::new(config, self.limit)?;
        for handler in &mut next.handlers {
            if let Some(old) = self.handlers.iter_mut().find(|old| old.config.name == handler.config.name) {
                handler.families = std::mem::take(&mut old.families);
            }
        }
        self.handlers = next.handlers;
        self.unknown = next.unknown;
        Ok(())
    }

    /// Counts a flow. `at` is now, since the epoch; it dates exemplars.
    pub fn observe<V: View>(&mut self, flow: &V, at: Duration) {
        for handler in &mut self.handlers {
            handler.observe(flow, at, &mut self.key);
        }
    }

    /// Whether there is nothing to count.
    pub fn is_empty(&self) -> bool {
        self.handlers.is_empty()
    }

    /// Names in the configuration that are no metrics.
    pub fn unknown(&self) -> &[String] {
        &self.unknown
    }

    /// Each metric's configuration in one line, by name.
    pub fn status(&self) -> Vec<(&str, String)> {
        let status = |handler: &Handler| handler.plugin.status(&handler.context);
        self.handlers.iter().map(|handler| (handler.config.name.as_str(), status(handler))).collect()
    }

    /// The exposition, without the mark that ends it (so that others can add theirs).
    pub fn encode(&self, format: Format) -> String {
        let mut text = String::new();
        for metric in self.metrics() {
            write(&metric, format, &mut text);
        }
        text
    }

    /// Everything counted, sorted by name.
    pub fn metrics(&self) -> Vec<Metric<'_>> {
        let mut metrics: Vec<Metric<'_>> = self.families().map(metric).collect();
        metrics.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        metrics
    }

    /// Every name in the expositions of this configuration, whether it has series or not.
    pub fn names(&self) -> Vec<String> {
        self.families().map(|family| format!("hubble_{}", family.name)).collect()
    }

    /// Series there are.
    pub fn series(&self) -> usize {
        self.families().map(|family| family.series.len()).sum()
    }

    fn families(&self) -> impl Iterator<Item = &Family> {
        self.handlers.iter().flat_map(|handler| &handler.families)
    }

    // === workloads that are gone ===

    /// A workload was deleted at `now`: its series go after [`GRACE`].
    pub fn deleted(&mut self, namespace: &str, name: &str, now: Duration) {
        if !name.is_empty() {
            self.deleted.insert((namespace.into(), name.into()), now + GRACE);
        }
    }

    /// A workload of that name exists (again): its series stay.
    pub fn created(&mut self, namespace: &str, name: &str) {
        self.deleted.remove(&(Box::from(namespace), Box::from(name)));
    }

    /// Drops the series of workloads that were deleted long enough ago; says how many.
    pub fn sweep(&mut self, now: Duration) -> usize {
        let due: Vec<(Box<str>, Box<str>)> =
            self.deleted.iter().filter(|(_, at)| **at <= now).map(|(name, _)| name.clone()).collect();
        if due.is_empty() {
            return 0;
        }
        let before = self.series();
        for name in &due {
            self.deleted.remove(name);
        }
        for handler in &mut self.handlers {
            for family in &mut handler.families {
                forget(family, &handler.context, &due);
            }
        }
        before - self.series()
    }
}

fn metric(family: &Family) -> Metric<'_> {
    let names = family.label_names();
    let series = family.series.sorted().into_iter();
    let series = series.map(|(values, sample)| Series { labels: names.iter().copied().zip(values).collect(), sample });
    Metric {
        name: format!("hubble_{}", family.name),
        help: family.help,
        kind: family.series.kind(),
        series: series.collect(),
        overflow: family.series.overflow(),
    }
}

/// Drops a metric's series that are about one of these workloads (namespace, name).
fn forget(family: &mut Family, context: &Context, due: &[(Box<str>, Box<str>)]) {
    let names = family.label_names();
    let position = |added: Added| names.iter().position(|name| *name == added.name());
    let whole =
        [Side::Source, Side::Destination].map(|side| position(Added::Side(side)).filter(|_| context.names_pods(side)));
    let parts = [Side::Source, Side::Destination].map(|side| {
        let namespace = position(Added::Label(ContextLabel::Namespace(side)))?;
        Some((namespace, position(Added::Label(ContextLabel::Pod(side)))?))
    });
    if whole.iter().all(Option::is_none) && parts.iter().all(Option::is_none) {
        return;
    }
    family.series.retain(|values| {
        let is_whole = |namespace: &str, name: &str| {
            whole.iter().flatten().any(|index| values[*index].split_once('/') == Some((namespace, name)))
        };
        let is_parts = |namespace: &str, name: &str| {
            parts.iter().flatten().any(|(first, second)| values[*first] == namespace && values[*second] == name)
        };
        !due.iter().any(|(namespace, name)| is_whole(namespace, name) || is_parts(namespace, name))
    });
}

#[cfg(test)]
mod tests;
