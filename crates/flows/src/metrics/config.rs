//! Which metrics are made: the option strings people give on a command line, and the file that may change while the agent runs.

use std::collections::HashSet;

use nexin_hubble::flow::FlowFilter;

use super::context::ContextError;
use crate::document::{Document, DocumentError, Entry};

/// An option of a metric, with its values in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContextOption {
    pub name: String,
    pub values: Vec<String>,
}

/// One metric that was asked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MetricConfig {
    pub name: String,
    pub options: Vec<ContextOption>,
    /// A flow counts if one of these matches; all do where there is none.
    pub include: Vec<FlowFilter>,
    /// ... and none of these.
    pub exclude: Vec<FlowFilter>,
}

/// Metrics in the order in which they were asked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Config {
    pub metrics: Vec<MetricConfig>,
}

/// Why metrics cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MetricError {
    #[error(transparent)]
    Context(ContextError),
    #[error(transparent)]
    Filter(#[from] crate::filter::FilterError),
}

/// Why a configuration is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    #[error("unable to initialize metric '{metric}': {error}")]
    Metric { metric: String, error: MetricError },
    #[error("plugin {0} conflicts with plugin {1}")]
    Conflict(String, &'static str),
    /// The same metric twice.
    #[error("duplicate metrics collector registration attempted")]
    Duplicate,
    #[error("cannot parse yaml: {0}")]
    Unreadable(#[from] DocumentError),
    /// All findings, one a line.
    #[error("invalid yaml config file: {}", .0.join("\n"))]
    Invalid(Vec<String>),
}

impl Config {
    /// White space separates metrics; `name:option;option=value` is one. Values are separated by `|`, those of
    /// `labelsContext` by commas. Everything can be read; what it means is judged when metrics are made from it.
    pub fn parse_static(text: &str) -> Self {
        Self { metrics: text.split_whitespace().map(static_metric).collect() }
    }

    /// A YAML document with a list `metrics`. Keys that mean nothing are passed over, as they are by Hubble.
    pub fn parse_yaml(text: &str) -> Result<Self, ConfigError> {
        let mut config = Self::default();
        let document = Document::parse(text, "api.Config")?;
        for entry in document.root().of("Config").list("metrics", "[]*api.MetricConfig", "api.MetricConfig")? {
            config.metrics.push(match entry {
                Some(entry) => yaml_metric(&entry.of("MetricConfig"))?,
                None => MetricConfig::default(),
            });
        }
        let findings = config.findings();
        if findings.is_empty() { Ok(config) } else { Err(ConfigError::Invalid(findings)) }
    }

    fn findings(&self) -> Vec<String> {
        let mut names = HashSet::new();
        let mut findings = Vec::new();
        for (index, metric) in self.metrics.iter().enumerate() {
            if metric.name.is_empty() {
                findings.push(missing_name(index));
            } else if !names.insert(&metric.name) {
                findings.push(format!("metric config validation failed - duplicate metric specified: {}", metric.name));
            }
        }
        findings
    }

    /// What forbids to go on to `next` while series of this configuration are being scraped: labels of a metric are fixed.
    pub fn refuses(&self, next: &Self) -> Result<(), ConfigError> {
        let changed =
            |new: &&MetricConfig| self.metrics.iter().any(|old| old.name == new.name && old.options != new.options);
        let finding = |metric: &MetricConfig| {
            format!(
                "metric config validation failed - label set cannot be changed without restarting Prometheus. metric: {}",
                metric.name
            )
        };
        let findings: Vec<String> = next.metrics.iter().filter(changed).map(finding).collect();
        if findings.is_empty() { Ok(()) } else { Err(ConfigError::Invalid(findings)) }
    }
}

fn missing_name(index: usize) -> String {
    format!("metric config validation failed - missing metric name at: {index}")
}

fn static_metric(text: &str) -> MetricConfig {
    let (name, options) = text.split_once(':').unwrap_or((text, ""));
    let options = options.split(';').filter(|option| !option.is_empty()).map(static_option).collect();
    MetricConfig { name: name.to_owned(), options, ..MetricConfig::default() }
}

fn static_option(text: &str) -> ContextOption {
    let Some((name, values)) = text.split_once('=') else {
        return ContextOption { name: text.to_owned(), values: vec![String::new()] };
    };
    let separator = if name.to_lowercase() == "labelscontext" { ',' } else { '|' };
    let values = values.split(separator).filter(|value| !value.is_empty()).map(str::to_owned).collect();
    ContextOption { name: name.to_owned(), values }
}

fn yaml_metric(entry: &Entry<'_>) -> Result<MetricConfig, DocumentError> {
    // In the order of the alphabet, in which the first mistake is found.
    let options = entry.list("contextOptions", "[]*api.ContextOptionConfig", "api.ContextOptionConfig")?;
    let options = options.into_iter().flatten().map(|option| {
        let option = option.of("ContextOptionConfig");
        let (name, values) = (option.string("name")?, option.strings("values", "api.ContextValues")?);
        Ok(ContextOption { name, values })
    });
    Ok(MetricConfig {
        options: options.collect::<Result<_, DocumentError>>()?,
        exclude: entry.filters("excludeFilters", "[]*flow.FlowFilter")?,
        include: entry.filters("includeFilters", "[]*flow.FlowFilter")?,
        name: entry.string("name")?,
    })
}
