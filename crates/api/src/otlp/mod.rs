//! OTLP: flows as log records and metrics, pushed to a collector over gRPC or as protobuf over HTTP. One request a call; the caller
//! batches, waits and tries again, and counts what is lost.

mod client;
mod logs;
mod metrics;
#[cfg(test)]
mod tests;

pub use client::{Accepted, Client, Endpoint, EndpointError, Failure, Protocol};
pub use logs::log_record;
pub use metrics::metric;
pub use opentelemetry_proto::tonic::logs::v1::LogRecord;
pub use opentelemetry_proto::tonic::metrics::v1::Metric;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::logs::v1::{ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::{ResourceMetrics, ScopeMetrics};
use opentelemetry_proto::tonic::resource::v1::Resource;

/// Who measured: this program on this node.
#[derive(Clone, Debug, PartialEq)]
pub struct Origin {
    resource: Resource,
    scope: InstrumentationScope,
}

impl Origin {
    /// `node` and `cluster` may be empty.
    pub fn new(node: &str, cluster: &str) -> Self {
        const VERSION: &str = env!("CARGO_PKG_VERSION");
        let mut attributes = vec![text("service.name", "nexin"), text("service.version", VERSION)];
        for (key, value) in [("host.name", node), ("k8s.node.name", node), ("k8s.cluster.name", cluster)] {
            if !value.is_empty() {
                attributes.push(text(key, value));
            }
        }
        let scope =
            InstrumentationScope { name: "nexin".to_owned(), version: VERSION.to_owned(), ..Default::default() };
        Self { resource: Resource { attributes, ..Default::default() }, scope }
    }

    /// A request that carries log records.
    pub fn logs(&self, log_records: Vec<LogRecord>) -> ExportLogsServiceRequest {
        let scope = ScopeLogs { scope: Some(self.scope.clone()), log_records, ..Default::default() };
        let resource =
            ResourceLogs { resource: Some(self.resource.clone()), scope_logs: vec![scope], ..Default::default() };
        ExportLogsServiceRequest { resource_logs: vec![resource] }
    }

    /// A request that carries metrics.
    pub fn metrics(&self, metrics: Vec<Metric>) -> ExportMetricsServiceRequest {
        let scope = ScopeMetrics { scope: Some(self.scope.clone()), metrics, ..Default::default() };
        let resource =
            ResourceMetrics { resource: Some(self.resource.clone()), scope_metrics: vec![scope], ..Default::default() };
        ExportMetricsServiceRequest { resource_metrics: vec![resource] }
    }
}

fn value(value: any_value::Value) -> Option<AnyValue> {
    Some(AnyValue { value: Some(value) })
}

fn text(key: &str, text: &str) -> KeyValue {
    KeyValue { key: key.to_owned(), value: value(any_value::Value::StringValue(text.to_owned())), ..Default::default() }
}

fn integer(key: &str, number: i64) -> KeyValue {
    KeyValue { key: key.to_owned(), value: value(any_value::Value::IntValue(number)), ..Default::default() }
}

fn flag(key: &str, flag: bool) -> KeyValue {
    KeyValue { key: key.to_owned(), value: value(any_value::Value::BoolValue(flag)), ..Default::default() }
}

/// Left out where there is nothing to list.
fn list<'a>(key: &str, texts: impl Iterator<Item = &'a str>) -> Option<KeyValue> {
    let values: Vec<AnyValue> =
        texts.filter_map(|text| value(any_value::Value::StringValue(text.to_owned()))).collect();
    let array = opentelemetry_proto::tonic::common::v1::ArrayValue { values };
    (!array.values.is_empty()).then(|| KeyValue {
        key: key.to_owned(),
        value: value(any_value::Value::ArrayValue(array)),
        ..Default::default()
    })
}

/// The bytes of a W3C trace id; empty where the text is none.
fn trace_id(text: &str) -> Vec<u8> {
    let byte = |at: usize| text.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok());
    let bytes: Option<Vec<u8>> = (0..32).step_by(2).map(byte).collect();
    let valid = text.len() == 32 && text.bytes().all(|digit| digit.is_ascii_hexdigit());
    bytes.filter(|bytes| valid && bytes.iter().any(|byte| *byte != 0)).unwrap_or_default()
}
