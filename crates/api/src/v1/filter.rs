//! Filters of the monitor. Every field is a list of alternatives; all fields that are given must match.

use std::fmt;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::{IntoParams, ToSchema};

use super::{EventType, FlowEvent, Labels, Party, PeerRef, Protocol, Verdict};

/// `80` or `8000-8080`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortRange {
    pub first: u16,
    pub last: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a port or a range of ports such as 8000-8080")]
pub struct PortRangeError(String);

impl FromStr for PortRange {
    type Err = PortRangeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = |_| PortRangeError(text.to_owned());
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let (first, last) = (first.parse().map_err(bad)?, last.parse().map_err(bad)?);
        if first > last {
            return Err(PortRangeError(text.to_owned()));
        }
        Ok(Self { first, last })
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last { write!(f, "{}", self.first) } else { write!(f, "{}-{}", self.first, self.last) }
    }
}

/// Query of `GET /v1/monitor`. Alternatives of one field are separated by commas (peers by `;`, since labels have
/// commas).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct MonitorFilter {
    #[serde(rename = "type", with = "commas", skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = String)]
    #[param(value_type = Option<String>)]
    pub types: Vec<EventType>,
    /// The source.
    #[serde(with = "semicolons", skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = String)]
    #[param(value_type = Option<String>)]
    pub from: Vec<PeerRef>,
    /// The destination.
    #[serde(with = "semicolons", skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = String)]
    #[param(value_type = Option<String>)]
    pub to: Vec<PeerRef>,
    /// Either side.
    #[serde(with = "semicolons", skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = String)]
    #[param(value_type = Option<String>)]
    pub peer: Vec<PeerRef>,
    #[serde(with = "commas", skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = String)]
    #[param(value_type = Option<String>)]
    pub verdict: Vec<Verdict>,
    /// Port of either side.
    #[serde(with = "commas", skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = String)]
    #[param(value_type = Option<String>)]
    pub port: Vec<PortRange>,
    #[serde(with = "commas", skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = String)]
    #[param(value_type = Option<String>)]
    pub protocol: Vec<Protocol>,
    /// Drop reasons, by name (`POLICY_DENIED`, any case) or number.
    #[serde(with = "commas", skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = String)]
    #[param(value_type = Option<String>)]
    pub reason: Vec<String>,
    /// End of the stream after so many records.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// So many recorded events first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<u64>,
    /// Only what is recorded: the stream ends instead of waiting for more.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub no_follow: bool,
}

impl MonitorFilter {
    pub fn matches(&self, event: &FlowEvent) -> bool {
        any(&self.types, |kind| *kind == event.event)
            && any(&self.from, |peer| is_peer(peer, &event.source))
            && any(&self.to, |peer| is_peer(peer, &event.destination))
            && any(&self.peer, |peer| is_peer(peer, &event.source) || is_peer(peer, &event.destination))
            && any(&self.verdict, |verdict| Some(*verdict) == event.verdict)
            && any(&self.port, |range| {
                let within = |port| (range.first..=range.last).contains(&port);
                within(event.source.port) || within(event.destination.port)
            })
            && any(&self.protocol, |protocol| *protocol == event.protocol)
            && any(&self.reason, |reason| is_reason(reason, event))
    }
}

fn any<T>(alternatives: &[T], test: impl Fn(&T) -> bool) -> bool {
    alternatives.is_empty() || alternatives.iter().any(test)
}

fn is_reason(wanted: &str, event: &FlowEvent) -> bool {
    let by_number = wanted.parse().is_ok_and(|code: u8| event.reason_code == Some(code));
    by_number || event.reason.as_deref().is_some_and(|name| name.eq_ignore_ascii_case(wanted))
}

fn is_peer(peer: &PeerRef, party: &Party) -> bool {
    match peer {
        PeerRef::Endpoint(number) => party.endpoint == Some(*number),
        PeerRef::Workload { namespace, name } => {
            let parts = party.workload.as_deref().and_then(|workload| workload.split_once('/'));
            parts == Some((namespace.as_str(), name.as_str()))
        }
        PeerRef::Address(address) => party.address == *address,
        PeerRef::Identity(number) => party.identity == *number,
        PeerRef::Reserved(name) => party.labels.0.contains_key(&format!("reserved:{name}")),
        PeerRef::Labels(labels) => has_labels(&party.labels, labels),
    }
}

/// Every wanted label is there; one without a source matches any source.
fn has_labels(labels: &Labels, wanted: &Labels) -> bool {
    wanted.0.iter().all(|(key, value)| {
        labels.0.iter().any(|(have, have_value)| {
            let plain = have.split_once(':').map_or(have.as_str(), |(_, key)| key);
            (have == key || plain == key) && have_value == value
        })
    })
}

/// Values that serde knows as strings, joined with one character.
fn join<T: Serialize>(values: &[T], separator: char) -> Result<String, serde_json::Error> {
    let texts: Result<Vec<_>, serde_json::Error> = values
        .iter()
        .map(|value| match serde_json::to_value(value)? {
            serde_json::Value::String(text) => Ok(text),
            other => Ok(other.to_string()),
        })
        .collect();
    Ok(texts?.join(separator.encode_utf8(&mut [0; 4])))
}

fn split<T: for<'de> Deserialize<'de>>(text: &str, separator: char) -> Result<Vec<T>, serde_json::Error> {
    let parts = text.split(separator).map(str::trim).filter(|part| !part.is_empty());
    parts.map(|part| serde_json::from_value(serde_json::Value::String(part.to_owned()))).collect()
}

macro_rules! joined {
    ($name:ident, $separator:literal) => {
        mod $name {
            use super::*;

            pub(super) fn serialize<T: Serialize, S: Serializer>(values: &[T], to: S) -> Result<S::Ok, S::Error> {
                use serde::ser::Error as _;
                to.serialize_str(&join(values, $separator).map_err(S::Error::custom)?)
            }

            pub(super) fn deserialize<'de, T, D>(from: D) -> Result<Vec<T>, D::Error>
            where
                T: for<'a> Deserialize<'a>,
                D: Deserializer<'de>,
            {
                let text = String::deserialize(from)?;
                split(&text, $separator).map_err(D::Error::custom)
            }
        }
    };
}

joined!(commas, ',');
joined!(semicolons, ';');

super::protocol::serde_as_text!(PortRange);
