//! Metrics of flows as OTLP has them: the same names, labels and numbers as the exposition, since the program started.

use nexin_flows::metrics::{BUCKETS, Exemplar, Histogram, Metric, MetricKind, Sample, Series};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::metrics::v1 as otlp;
use otlp::number_data_point::Value;

use super::{text, trace_id};

/// `start_ns` and `now_ns`: between which was counted, in nanoseconds since the epoch. `None` where there is no series.
pub fn metric(metric: &Metric<'_>, start_ns: u64, now_ns: u64) -> Option<otlp::Metric> {
    if metric.series.is_empty() {
        return None;
    }
    let span = Span { start_ns, now_ns };
    let cumulative = otlp::AggregationTemporality::Cumulative as i32;
    let data = match metric.kind {
        MetricKind::Counter => otlp::metric::Data::Sum(otlp::Sum {
            data_points: metric.series.iter().filter_map(|series| span.number(series)).collect(),
            aggregation_temporality: cumulative,
            is_monotonic: true,
        }),
        MetricKind::Gauge => otlp::metric::Data::Gauge(otlp::Gauge {
            data_points: metric.series.iter().filter_map(|series| span.number(series)).collect(),
        }),
        MetricKind::Histogram => otlp::metric::Data::Histogram(otlp::Histogram {
            data_points: metric.series.iter().filter_map(|series| span.histogram(series)).collect(),
            aggregation_temporality: cumulative,
        }),
    };
    let unit = if metric.name.ends_with("_seconds") { "s" } else { "1" };
    Some(otlp::Metric {
        name: metric.name.clone(),
        description: metric.help.to_owned(),
        unit: unit.to_owned(),
        data: Some(data),
        ..Default::default()
    })
}

struct Span {
    start_ns: u64,
    now_ns: u64,
}

impl Span {
    fn number(&self, series: &Series<'_>) -> Option<otlp::NumberDataPoint> {
        let (value, exemplars) = match series.sample {
            Sample::Counter { count, exemplar: kept } => {
                let value = Value::AsInt(i64::try_from(*count).unwrap_or(i64::MAX));
                (value, kept.iter().map(|kept| exemplar(kept)).collect())
            }
            Sample::Gauge(value) => (Value::AsDouble(*value), Vec::new()),
            Sample::Histogram(_) => return None,
        };
        Some(otlp::NumberDataPoint {
            attributes: attributes(series),
            start_time_unix_nano: self.start_ns,
            time_unix_nano: self.now_ns,
            exemplars,
            value: Some(value),
            ..Default::default()
        })
    }

    fn histogram(&self, series: &Series<'_>) -> Option<otlp::HistogramDataPoint> {
        let Sample::Histogram(histogram) = series.sample else { return None };
        let Histogram { buckets, sum, exemplars } = histogram.as_ref();
        Some(otlp::HistogramDataPoint {
            attributes: attributes(series),
            start_time_unix_nano: self.start_ns,
            time_unix_nano: self.now_ns,
            count: histogram.count(),
            sum: Some(*sum),
            bucket_counts: buckets.to_vec(),
            explicit_bounds: BUCKETS.to_vec(),
            exemplars: exemplars.iter().flatten().map(|kept| exemplar(kept)).collect(),
            ..Default::default()
        })
    }
}

fn attributes(series: &Series<'_>) -> Vec<KeyValue> {
    series.labels.iter().map(|(name, value)| text(name, value)).collect()
}

fn exemplar(exemplar: &Exemplar) -> otlp::Exemplar {
    otlp::Exemplar {
        time_unix_nano: u64::try_from(exemplar.at.as_nanos()).unwrap_or(u64::MAX),
        trace_id: trace_id(&exemplar.trace_id),
        value: Some(otlp::exemplar::Value::AsDouble(exemplar.value)),
        ..Default::default()
    }
}
