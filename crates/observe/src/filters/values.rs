//! Values of single filter flags, each with its error text.

use nexin_hubble::flow::{DropReason, EventTypeFilter, IpVersion, TcpFlags, TrafficDirection, Verdict, Workload};

use crate::gotext::{self, UintError};
use crate::names::{AGENT_SUBTYPES, MESSAGE_TYPES, RESERVED_IDENTITIES, TRACE_POINTS};

/// A value that its flag does not take.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ValueError {
    #[error("invalid security identity, expected one of [{}] or a numeric value", reserved_names())]
    Identity,
    #[error("invalid --ip-trace-id value; must be greater than 0")]
    ZeroTraceId,
    #[error("invalid --ip-trace-id value: {0}")]
    TraceId(UintError),
    #[error("invalid --verdict value: {0}")]
    Verdict(String),
    #[error("empty --drop-reason-desc value")]
    NoDropReason,
    #[error("invalid --drop-reason-desc value: {0}")]
    DropReason(String),
    #[error("invalid http-header value {}, expected name:value", gotext::quote(.0))]
    Header(String),
    #[error("{0}: invalid traffic direction, expected ingress or egress")]
    Direction(String),
    #[error("unknown tcp flag: {0}")]
    TcpFlag(String),
    #[error("unable to parse type '{kind}', not a known type name and unable to parse as numeric value: {why}")]
    Type { kind: String, why: UintError },
    #[error(
        "unable to parse event sub-type '{subtype}', not a known sub-type name and unable to parse as numeric value: {why}"
    )]
    Subtype { subtype: String, why: UintError },
}

/// Identities that have names, but for "unknown".
fn reserved_names() -> String {
    let names: Vec<&str> = RESERVED_IDENTITIES.iter().skip(1).map(|(_, name)| *name).collect();
    names.join(" ")
}

/// Kinds of messages that know subtypes by name.
const TRACE: i32 = 4;
const AGENT: i32 = 130;

/// `kind/name`, `kind/` or `name`.
pub(super) fn workload(value: &str) -> Workload {
    let (kind, name) = value.split_once('/').unwrap_or(("", value));
    Workload { name: name.to_owned(), kind: kind.to_owned() }
}

pub(super) fn identity(value: &str) -> Result<u32, ValueError> {
    let reserved = RESERVED_IDENTITIES.iter().skip(1).find(|(_, name)| *name == value);
    if let Some((number, _)) = reserved {
        return Ok(*number);
    }
    let number = gotext::parse_uint(value, 0, 32).ok().and_then(|number| u32::try_from(number).ok());
    number.ok_or(ValueError::Identity)
}

/// What is not a version means "not IP".
pub(super) fn ip_version(value: &str) -> IpVersion {
    match value.to_lowercase().as_str() {
        "4" | "v4" | "ipv4" | "ip4" => IpVersion::IPv4,
        "6" | "v6" | "ipv6" | "ip6" => IpVersion::IPv6,
        _ => IpVersion::IpNotUsed,
    }
}

pub(super) fn ip_trace_id(value: &str) -> Result<u64, ValueError> {
    if value == "0" {
        return Err(ValueError::ZeroTraceId);
    }
    gotext::uint(value, 10, 64).map_err(ValueError::TraceId)
}

pub(super) fn verdict(value: &str) -> Result<i32, ValueError> {
    Verdict::from_str_name(value).map(i32::from).ok_or_else(|| ValueError::Verdict(value.to_owned()))
}

pub(super) fn drop_reason(value: &str) -> Result<i32, ValueError> {
    if value.is_empty() {
        return Err(ValueError::NoDropReason);
    }
    let reason = DropReason::from_str_name(value);
    reason.map(i32::from).ok_or_else(|| ValueError::DropReason(value.to_owned()))
}

pub(super) fn header(value: &str) -> Result<(&str, &str), ValueError> {
    value.split_once(':').ok_or_else(|| ValueError::Header(value.to_owned()))
}

pub(super) fn direction(value: &str) -> Result<TrafficDirection, ValueError> {
    match value.to_lowercase().as_str() {
        "ingress" => Ok(TrafficDirection::Ingress),
        "egress" => Ok(TrafficDirection::Egress),
        other => Err(ValueError::Direction(other.to_owned())),
    }
}

pub(super) fn tcp_flags(value: &str) -> Result<TcpFlags, ValueError> {
    let mut flags = TcpFlags::default();
    for name in value.split(',') {
        let flag = match name.to_uppercase().as_str() {
            "SYN" => &mut flags.syn,
            "FIN" => &mut flags.fin,
            "RST" => &mut flags.rst,
            "PSH" => &mut flags.psh,
            "ACK" => &mut flags.ack,
            "URG" => &mut flags.urg,
            "ECE" => &mut flags.ece,
            "CWR" => &mut flags.cwr,
            "NS" => &mut flags.ns,
            _ => return Err(ValueError::TcpFlag(name.to_owned())),
        };
        *flag = true;
    }
    Ok(flags)
}

/// `TYPE` or `TYPE:SUBTYPE`. Subtypes have names only where the type was given by name.
pub(super) fn event_type(value: &str) -> Result<EventTypeFilter, ValueError> {
    let (kind, subtype) = match value.split_once(':') {
        Some((kind, subtype)) => (kind, Some(subtype)),
        None => (value, None),
    };
    let named = MESSAGE_TYPES.iter().find(|(_, name)| *name == kind).map(|(number, _)| *number);
    let number = match named {
        Some(number) => number,
        None => {
            let number = gotext::uint(kind, 10, 32);
            number.map_err(|why| ValueError::Type { kind: kind.to_owned(), why })? as i32
        }
    };
    let mut filter = EventTypeFilter { r#type: number, ..EventTypeFilter::default() };
    let Some(subtype) = subtype else { return Ok(filter) };
    let names: &[(i32, &str)] = match named {
        Some(TRACE) => TRACE_POINTS,
        Some(AGENT) => AGENT_SUBTYPES,
        _ => &[],
    };
    filter.match_sub_type = true;
    filter.sub_type = match names.iter().find(|(_, name)| *name == subtype) {
        Some((number, _)) => *number,
        None => {
            let number = gotext::uint(subtype, 10, 32);
            number.map_err(|why| ValueError::Subtype { subtype: subtype.to_owned(), why })? as i32
        }
    };
    Ok(filter)
}
