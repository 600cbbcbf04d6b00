//! What stands in a plugin's own labels.

use std::fmt::Write as _;

use nexin_hubble::flow;
use nexin_hubble::flow::layer7::Record as L7Record;

use super::names::{self, event};
use crate::view::{L4, View};

/// A label of a plugin's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Own {
    Protocol,
    Verdict,
    Type,
    Subtype,
    Reason,
    Rcode,
    Qtypes,
    IpsReturned,
    Query,
    DestinationPort,
    /// As above, with 0 for protocols without ports.
    PortOrZero,
    /// The packet's protocol, whatever made the event.
    L4Protocol,
    Method,
    HttpProtocol,
    Status,
    Reporter,
    IcmpFamily,
    IcmpType,
    Family,
    Direction,
    Match,
    Action,
    ChunkType,
    /// One of several things that one flow counts: a flag, a type of answer.
    Detail,
}

impl Own {
    /// Appends the label's value. `detail` is which of several things a flow counts.
    pub(crate) fn write<V: View>(self, flow: &V, detail: &str, value: &mut String) {
        let dns = || match flow.l7().and_then(|l7| l7.record.as_ref()) {
            Some(L7Record::Dns(dns)) => Some(dns),
            _ => None,
        };
        let http = || match flow.l7().and_then(|l7| l7.record.as_ref()) {
            Some(L7Record::Http(http)) => Some(http),
            _ => None,
        };
        match self {
            Self::Protocol => value.push_str(names::protocol(flow)),
            Self::L4Protocol => value.push_str(flow.l4().map_or("", names::l4_protocol)),
            Self::Verdict => named(names::verdict(flow.verdict()), flow.verdict(), value),
            Self::Reason => named(names::drop_reason(flow.drop_reason()), flow.drop_reason(), value),
            Self::Type => value.push_str(event_name(flow)),
            Self::Subtype => event_subtype(flow, value),
            Self::Rcode => match flow.verdict() == flow::Verdict::Dropped as i32 {
                true => value.push_str("Policy denied"),
                false if is_answer(flow) => value.push_str(names::rcode(dns().map_or(0, |dns| dns.rcode))),
                false => {}
            },
            Self::Qtypes => {
                for (index, kind) in dns().map_or(&[][..], |dns| dns.qtypes.as_slice()).iter().enumerate() {
                    value.push_str(if index > 0 { "," } else { "" });
                    value.push_str(kind);
                }
            }
            Self::IpsReturned => number(dns().map_or(0, |dns| dns.ips.len()), value),
            Self::Query => value.push_str(dns().map_or("", |dns| &dns.query)),
            Self::DestinationPort => {
                if let Some((_, port)) = flow.l4().and_then(L4::ports) {
                    number(port, value);
                }
            }
            Self::PortOrZero => number(flow.l4().and_then(L4::ports).map_or(0, |(_, port)| port), value),
            Self::Method => value.push_str(http().map_or("", |http| &http.method)),
            Self::HttpProtocol => value.push_str(http().map_or("", |http| &http.protocol)),
            Self::Status => number(http().map_or(0, |http| http.code), value),
            Self::Reporter => value.push_str(match flow::TrafficDirection::try_from(flow.traffic_direction()) {
                Ok(flow::TrafficDirection::Egress) => "client",
                Ok(flow::TrafficDirection::Ingress) => "server",
                _ => "unknown",
            }),
            Self::IcmpFamily => value.push_str(match flow.l4() {
                Some(L4::Icmp6 { .. }) => "IPv6",
                _ => "IPv4",
            }),
            Self::IcmpType => {
                // Writing to a string does not fail.
                let _ = match flow.l4() {
                    Some(L4::Icmp4 { kind, code }) => write!(value, "{}", names::IcmpName::v4(kind, code)),
                    Some(L4::Icmp6 { kind, code }) => write!(value, "{}", names::IcmpName::v6(kind, code)),
                    _ => Ok(()),
                };
            }
            Self::Family => {
                let version = flow.ip().map_or(0, |ip| ip.version);
                named(names::ip_version(version), version, value);
            }
            Self::Direction => lower(names::direction(flow.traffic_direction()), flow.traffic_direction(), value),
            Self::Match => policy_match(flow, value),
            Self::Action => lower(names::verdict(flow.verdict()), flow.verdict(), value),
            Self::ChunkType => {
                if let Some(L4::Sctp { chunk, .. }) = flow.l4() {
                    named(names::sctp_chunk(chunk), chunk, value);
                }
            }
            Self::Detail => value.push_str(detail),
        }
    }
}

fn event_name<V: View>(flow: &V) -> &'static str {
    match flow.event_type().map_or(0, |(kind, _)| kind) {
        event::ACCESS_LOG => "L7",
        event::DROP => "Drop",
        event::CAPTURE => "Capture",
        event::TRACE => "Trace",
        event::POLICY_VERDICT => "PolicyVerdict",
        _ => "Unknown",
    }
}

fn event_subtype<V: View>(flow: &V, value: &mut String) {
    match flow.event_type().unwrap_or_default() {
        (event::ACCESS_LOG, _) => value.push_str(match flow.l7().and_then(|l7| l7.record.as_ref()) {
            Some(L7Record::Dns(_)) => "DNS",
            Some(L7Record::Http(_)) => "HTTP",
            _ => "",
        }),
        (event::TRACE, point) => value.push_str(names::trace_point(point)),
        (event::DROP | event::CAPTURE | event::POLICY_VERDICT, _) => {}
        (unknown, _) => number(unknown, value),
    }
}

fn policy_match<V: View>(flow: &V, value: &mut String) {
    if !matches!(flow.event_type(), Some((event::ACCESS_LOG, _))) {
        value.push_str(names::policy_match(flow.policy_match_type()));
        return;
    }
    value.push_str(match flow.l7().and_then(|l7| l7.record.as_ref()) {
        Some(L7Record::Dns(_)) => "l7/dns",
        Some(L7Record::Http(_)) => "l7/http",
        _ => "l7/",
    });
}

/// The name of an enumeration's value, or its number where it has none.
fn named(name: Option<&str>, unnamed: i32, value: &mut String) {
    match name {
        Some(name) => value.push_str(name),
        None => number(unnamed, value),
    }
}

/// As [`named`], in small letters.
pub(crate) fn lower(name: Option<&str>, unnamed: i32, value: &mut String) {
    let start = value.len();
    named(name, unnamed, value);
    value[start..].make_ascii_lowercase();
}

fn number(number: impl std::fmt::Display, value: &mut String) {
    // Writing to a string does not fail.
    let _ = write!(value, "{number}");
}

/// A name server's answer that passed; what was dropped counts as a question.
pub(crate) fn is_answer<V: View>(flow: &V) -> bool {
    flow.verdict() != flow::Verdict::Dropped as i32 && flow.is_reply() == Some(true)
}
