//! Expositions: the text that Prometheus scrapes, plain and as OpenMetrics. Byte for byte as Hubble's server writes them.

use std::fmt::Write as _;

use super::Metric;
use super::series::{BUCKETS, Exemplar, Histogram, MetricKind, Sample};

/// Which of the two texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Prometheus,
    /// With exemplars.
    OpenMetrics,
}

impl Format {
    /// For the header of the answer.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8; escaping=underscores",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=underscores",
        }
    }

    /// What a scraper gets that sends this `Accept` header. OpenMetrics only if it is on and asked for.
    pub fn negotiate(accept: &str, open_metrics: bool) -> Self {
        let asked = accept.split(',').any(|kind| {
            let kind = kind.split(';').next().unwrap_or_default().trim();
            kind.eq_ignore_ascii_case("application/openmetrics-text")
        });
        if open_metrics && asked { Self::OpenMetrics } else { Self::Prometheus }
    }

    /// What ends a whole exposition.
    pub fn end(self) -> &'static str {
        match self {
            Self::Prometheus => "",
            Self::OpenMetrics => "# EOF\n",
        }
    }
}

/// Appends a metric with all its series; nothing where there are none.
pub fn write(metric: &Metric<'_>, format: Format, text: &mut String) {
    if metric.series.is_empty() {
        return;
    }
    let name = metric.name.as_str();
    let title = match (format, metric.kind) {
        (Format::OpenMetrics, MetricKind::Counter) => name.strip_suffix("_total").unwrap_or(name),
        _ => name,
    };
    let kind = match metric.kind {
        MetricKind::Counter => "counter",
        MetricKind::Gauge => "gauge",
        MetricKind::Histogram => "histogram",
    };
    // Writing to a string does not fail.
    let _ = writeln!(text, "# HELP {title} {}\n# TYPE {title} {kind}", metric.help);
    let mut labels = String::new();
    for series in &metric.series {
        labels.clear();
        for (name, value) in &series.labels {
            let _ = write!(labels, "{}{name}=\"", if labels.is_empty() { "" } else { "," });
            escape(value, &mut labels);
            labels.push('"');
        }
        match series.sample {
            Sample::Counter { count, exemplar } => {
                line(text, (name, ""), &labels, &float(*count as f64, format), format, exemplar.as_deref());
            }
            Sample::Gauge(value) => line(text, (name, ""), &labels, &float(*value, format), format, None),
            Sample::Histogram(histogram) => buckets(text, name, &labels, histogram, format),
        }
    }
}

fn buckets(text: &mut String, name: &str, labels: &str, histogram: &Histogram, format: Format) {
    let separator = if labels.is_empty() { "" } else { "," };
    let mut total = 0;
    let bounds = BUCKETS.iter().map(|bound| float(*bound, format)).chain(["+Inf".to_owned()]);
    for ((bound, count), exemplar) in bounds.zip(histogram.buckets).zip(&histogram.exemplars) {
        total += count;
        let labels = format!("{labels}{separator}le=\"{bound}\"");
        line(text, (name, "_bucket"), &labels, &total.to_string(), format, exemplar.as_deref());
    }
    line(text, (name, "_sum"), labels, &float(histogram.sum, format), format, None);
    line(text, (name, "_count"), labels, &total.to_string(), format, None);
}

fn line(
    text: &mut String,
    (name, suffix): (&str, &str),
    labels: &str,
    value: &str,
    format: Format,
    exemplar: Option<&Exemplar>,
) {
    let (open, close) = if labels.is_empty() { ("", "") } else { ("{", "}") };
    let _ = write!(text, "{name}{suffix}{open}{labels}{close} {value}");
    if let (Format::OpenMetrics, Some(exemplar)) = (format, exemplar) {
        text.push_str(" # {traceID=\"");
        escape(&exemplar.trace_id, text);
        let (value, at) = (float(exemplar.value, format), float(exemplar.at.as_secs_f64(), format));
        let _ = write!(text, "\"}} {value} {at}");
    }
    text.push('\n');
}

/// Appends a label's value as it stands between quotes.
fn escape(value: &str, text: &mut String) {
    for character in value.chars() {
        match character {
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '"' => text.push_str("\\\""),
            other => text.push(other),
        }
    }
}

/// The shortest digits that give the number back; with an exponent from a million up and below a ten thousandth.
pub fn float(value: f64, format: Format) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if value != 0.0 && !(-4..6).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{digits}e{sign}{:02}", exponent.abs());
    }
    let plain = format!("{value}");
    match format {
        Format::OpenMetrics if !plain.contains('.') => plain + ".0",
        _ => plain,
    }
}
