//! Lines of JSON from flows and from what is said beside them.

use std::collections::HashMap;
use std::time::Duration;

use nexin_hubble::flow::{self, FlowFilter, TrafficDirection};
use nexin_hubble::json::Json as _;
use nexin_hubble::observer::ExportEvent;
use nexin_hubble::observer::export_event::ResponseTypes;
use prost::Message as _;
use prost_types::Timestamp;

use super::FlowLog;
use crate::filter::{FilterError, Filters, Seen};
use crate::mask::{Mask, MaskError};
use crate::record::timestamp;
use crate::{Event, View};

/// Why there is no such exporter. The text is Hubble's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExportError {
    #[error("failed to apply option: {0}")]
    Filter(#[from] FilterError),
    #[error("failed to apply option: {0}")]
    Mask(#[from] MaskError),
}

/// Groups that are counted at a time. When there are more, the counts are written early.
const MAX_GROUPS: usize = 65_536;

/// One exporter at work. Lines are appended to what the caller gives.
#[derive(Debug)]
pub struct Exporter {
    filters: Filters,
    mask: Option<Mask>,
    /// What the mask copies to: fields that it does not reach in a flow keep what an earlier one had, as Hubble's do.
    masked: flow::Flow,
    aggregate: Option<Aggregate>,
}

impl Exporter {
    pub fn new(log: &FlowLog) -> Result<Self, ExportError> {
        let filters = Filters::compile(&log.include, &log.exclude)?;
        let mask = Mask::new(&log.field_mask)?;
        let fields = Mask::new(&log.field_aggregate)?;
        let interval = u64::try_from(log.aggregation_interval).ok().filter(|nanos| *nanos > 0);
        let aggregate = fields.zip(interval).map(|(fields, interval)| Aggregate {
            fields,
            interval: Duration::from_nanos(interval),
            groups: HashMap::new(),
            order: Vec::new(),
        });
        let masked = mask.as_ref().map(Mask::blank).unwrap_or_default();
        Ok(Self { filters, mask, masked, aggregate })
    }

    /// How often [`flush`](Self::flush) is due; `None` where flows are written one by one.
    pub fn interval(&self) -> Option<Duration> {
        self.aggregate.as_ref().map(|aggregate| aggregate.interval)
    }

    /// Writes whatever a ring holds.
    pub fn event(&mut self, event: &Event, out: &mut Vec<u8>) {
        let said = match event {
            Event::Flow(record) => return self.flow(record, out),
            Event::Lost(notice) => ResponseTypes::LostEvents(notice.what),
            Event::Agent(notice) => ResponseTypes::AgentEvent(notice.what.clone()),
            Event::Debug(notice) => ResponseTypes::DebugEvent(notice.what.clone()),
        };
        self.said(said, &event.node().name, Some(timestamp(event.time_ns())), out);
    }

    /// Writes or counts a flow.
    pub fn flow<V: View>(&mut self, flow: &V, out: &mut Vec<u8>) {
        if !self.filters.matches(Seen::Flow(flow)) {
            return;
        }
        let flow = flow.flow();
        if let Some(aggregate) = &mut self.aggregate {
            aggregate.add(&flow, out);
            return;
        }
        let Some(mask) = &self.mask else {
            line(event_of(flow.into_owned()), out);
            return;
        };
        mask.apply_onto(&flow, &mut self.masked);
        let written = line(event_of(std::mem::take(&mut self.masked)), out);
        if let Some(ResponseTypes::Flow(masked)) = written.response_types {
            self.masked = masked;
        }
    }

    /// Writes what is not a flow; neither mask nor counting concerns it.
    pub fn said(&mut self, said: ResponseTypes, node: &str, time: Option<Timestamp>, out: &mut Vec<u8>) {
        let seen = match &said {
            ResponseTypes::Flow(flow) => return self.flow(flow, out),
            ResponseTypes::NodeStatus(_) => return,
            ResponseTypes::LostEvents(_) => Seen::Lost,
            ResponseTypes::AgentEvent(event) => Seen::Agent(event.r#type),
            ResponseTypes::DebugEvent(event) => Seen::Debug(event.r#type),
        };
        if self.filters.matches::<flow::Flow>(seen) {
            line(ExportEvent { node_name: node.to_owned(), time, response_types: Some(said) }, out);
        }
    }

    /// Writes what was counted since the last time.
    pub fn flush(&mut self, out: &mut Vec<u8>) {
        if let Some(aggregate) = &mut self.aggregate {
            aggregate.flush(out);
        }
    }
}

fn event_of(flow: flow::Flow) -> ExportEvent {
    ExportEvent { node_name: flow.node_name.clone(), time: flow.time, response_types: Some(ResponseTypes::Flow(flow)) }
}

fn line(event: ExportEvent, out: &mut Vec<u8>) -> ExportEvent {
    event.write(out);
    out.push(b'\n');
    event
}

/// Flows counted by the fields they share.
#[derive(Debug)]
struct Aggregate {
    fields: Mask,
    interval: Duration,
    /// Encoded fields, and where the group is.
    groups: HashMap<Vec<u8>, usize>,
    /// In the order in which they were first seen.
    order: Vec<flow::Flow>,
}

impl Aggregate {
    fn add(&mut self, flow: &flow::Flow, out: &mut Vec<u8>) {
        let mut group = self.fields.apply(flow);
        let key = group.encode_to_vec();
        if self.groups.len() >= MAX_GROUPS && !self.groups.contains_key(&key) {
            self.flush(out);
        }
        let order = &mut self.order;
        let index = *self.groups.entry(key).or_insert_with(|| {
            group.time = flow.time;
            group.aggregate = Some(flow::Aggregate::default());
            order.push(group);
            order.len() - 1
        });
        let Some(counts) = order.get_mut(index).and_then(|group| group.aggregate.as_mut()) else { return };
        let count = match TrafficDirection::try_from(flow.traffic_direction) {
            Ok(TrafficDirection::Ingress) => &mut counts.ingress_flow_count,
            Ok(TrafficDirection::Egress) => &mut counts.egress_flow_count,
            _ => &mut counts.unknown_direction_flow_count,
        };
        *count = count.saturating_add(1);
    }

    fn flush(&mut self, out: &mut Vec<u8>) {
        self.groups.clear();
        for group in self.order.drain(..) {
            line(event_of(group), out);
        }
    }
}

/// Filters as one text: JSON objects one after the other, as the static exporter's options have them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("failed to decode flow filters {text:?}: {error}")]
pub struct FilterTextError {
    text: String,
    error: String,
}

/// Reads [`FlowFilter`]s from a text of JSON objects.
pub fn parse_filters(text: &str) -> Result<Vec<FlowFilter>, FilterTextError> {
    let failed = |error: String| FilterTextError { text: text.to_owned(), error };
    let mut objects = serde_json::Deserializer::from_str(text).into_iter::<serde::de::IgnoredAny>();
    let mut filters = Vec::new();
    let mut start = 0;
    while let Some(object) = objects.next() {
        object.map_err(|error| failed(error.to_string()))?;
        let end = objects.byte_offset();
        let json = text[start..end].trim();
        let filter = nexin_hubble::json::read(json.as_bytes(), nexin_hubble::json::Unknown::Refuse);
        filters.push(filter.map_err(|error| failed(error.to_string()))?);
        start = end;
    }
    Ok(filters)
}
