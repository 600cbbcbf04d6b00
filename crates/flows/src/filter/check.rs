//! One field of a filter, compiled, and whether something passes it.

use std::collections::HashSet;

use nexin_hubble::flow::{
    Endpoint, EventTypeFilter, HttpHeader, Layer7, NetworkInterface, Verdict, Workload, layer7::Record,
};

use super::Seen;
use super::address::Addresses;
use super::cel::Program;
use super::label::Selector;
use super::pattern::{NodePattern, Pattern};
use super::regexp::Regexp;
use super::url;
use crate::view::{Ip, L4, TcpFlags, View};

/// Monitor messages of what is no flow.
const AGENT: i32 = 130;
const DEBUG: i32 = 2;

/// Which end of a flow is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Side {
    Source,
    Destination,
}

#[derive(Clone, Debug)]
pub(super) enum Check {
    Uuid(HashSet<String>),
    EventType(Vec<EventTypeFilter>),
    Verdict(Vec<i32>),
    DropReason(Vec<i32>),
    Reply(Vec<bool>),
    Encrypted(Vec<bool>),
    Identity(Side, Vec<u32>),
    Protocol(Vec<Protocol>),
    Address(Side, Addresses),
    Translated(Addresses),
    Pod(Side, Vec<Name>),
    Workload(Side, Vec<Workload>),
    Service(Side, Vec<Name>),
    Names(Side, Vec<Pattern>),
    DnsQuery(Vec<Regexp>),
    Labels(Side, Vec<Selector>),
    NodeLabels(Vec<Selector>),
    Port(Side, Vec<u16>),
    Status(Vec<Status>),
    Method(Vec<String>),
    Path(Vec<Regexp>),
    Url(Vec<Regexp>),
    Header(Vec<HttpHeader>),
    Flags(Vec<TcpFlags>),
    Node(Vec<NodePattern>),
    Cluster(Side, Vec<String>),
    IpVersion(Vec<i32>),
    TraceId(Vec<String>),
    Direction(Vec<i32>),
    Cel(Vec<Program>),
    Interface(Vec<NetworkInterface>),
    IpTraceId(Vec<u64>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Icmp,
    Icmp4,
    Icmp6,
    Tcp,
    Udp,
    Sctp,
    Vrrp,
    Igmp,
    Dns,
    Http,
}

/// `[namespace/]prefix`; no namespace stands for any.
#[derive(Clone, Debug)]
pub(super) struct Name {
    pub(super) namespace: Option<String>,
    pub(super) prefix: String,
}

/// Three digits, or the first one or two.
#[derive(Clone, Debug)]
pub(super) enum Status {
    Exact(u32),
    Prefix(String),
}

impl Check {
    pub(super) fn passes<V: View>(&self, seen: Seen<'_, V>) -> bool {
        match seen {
            Seen::Flow(flow) => self.passes_flow(flow),
            Seen::Lost => self.passes_other(|_| true),
            Seen::Agent(kind) => self.passes_other(|filter| event_type(filter, AGENT, kind)),
            Seen::Debug(kind) => self.passes_other(|filter| event_type(filter, DEBUG, kind)),
            Seen::Nothing => match self {
                Self::Encrypted(wanted) => wanted.contains(&false),
                _ => self.passes_other(|_| false),
            },
        }
    }

    /// What is no flow has no fields; what is asked of texts and sets can be true of nothing all the same.
    fn passes_other(&self, event_type: impl Fn(&EventTypeFilter) -> bool) -> bool {
        match self {
            Self::EventType(types) => types.iter().any(event_type),
            Self::Labels(_, selectors) | Self::NodeLabels(selectors) => selectors.iter().any(|own| own.matches(&[])),
            Self::TraceId(ids) => ids.iter().any(String::is_empty),
            Self::IpTraceId(ids) => ids.contains(&0),
            Self::Cel(programs) => Program::any(programs, &nexin_hubble::flow::Flow::default()),
            _ => false,
        }
    }

    fn passes_flow<V: View>(&self, flow: &V) -> bool {
        match self {
            Self::Uuid(uuids) => uuids.iter().any(|uuid| flow.uuid_is(uuid)),
            Self::EventType(types) => {
                flow.event_type().is_some_and(|(kind, sub)| types.iter().any(|filter| event_type(filter, kind, sub)))
            }
            Self::Verdict(wanted) => wanted.contains(&flow.verdict()),
            Self::DropReason(wanted) => dropped(flow) && wanted.contains(&flow.drop_reason()),
            // Old clients ask for the old field, in which a dropped packet is no reply.
            Self::Reply(wanted) => match flow.is_reply() {
                None if !dropped(flow) => false,
                reply => wanted.contains(&reply.unwrap_or(false)),
            },
            Self::Encrypted(wanted) => wanted.contains(&flow.ip().is_some_and(|ip| ip.encrypted)),
            Self::Identity(side, wanted) => {
                endpoint(flow, *side).is_some_and(|endpoint| wanted.contains(&endpoint.identity))
            }
            Self::Protocol(wanted) => {
                let (l4, l7) = (flow.l4(), flow.l7().and_then(|l7| l7.record.as_ref()));
                wanted.iter().any(|protocol| protocol.is(l4, l7))
            }
            Self::Address(side, wanted) => flow.ip().is_some_and(|ip| wanted.contains(address(ip, *side))),
            Self::Translated(wanted) => flow.ip().is_some_and(|ip| wanted.contains(ip.source_xlated)),
            Self::Pod(side, names) => {
                endpoint(flow, *side).is_some_and(|endpoint| Name::any(names, &endpoint.namespace, &endpoint.pod_name))
            }
            Self::Workload(side, wanted) => {
                let workloads = endpoint(flow, *side).map_or(&[][..], |endpoint| &endpoint.workloads);
                workloads.iter().any(|workload| wanted.iter().any(|wanted| is_workload(wanted, workload)))
            }
            Self::Service(side, names) => match side {
                Side::Source => flow.source_service(),
                Side::Destination => flow.destination_service(),
            }
            .is_some_and(|service| Name::any(names, &service.namespace, &service.name)),
            Self::Names(side, patterns) => match side {
                Side::Source => flow.source_names(),
                Side::Destination => flow.destination_names(),
            }
            .iter()
            .any(|name| patterns.iter().any(|pattern| pattern.matches(name))),
            Self::Labels(side, selectors) => {
                let labels = endpoint(flow, *side).map_or(&[][..], |endpoint| &endpoint.labels);
                selectors.iter().any(|selector| selector.matches(labels))
            }
            Self::NodeLabels(selectors) => selectors.iter().any(|selector| selector.matches(flow.node_labels())),
            Self::Port(side, wanted) => port(flow.l4(), *side).is_some_and(|port| wanted.contains(&port)),
            Self::Flags(wanted) => match flow.l4() {
                Some(L4::Tcp { flags: Some(flags), .. }) => wanted.iter().any(|wanted| flags.has(wanted.0)),
                _ => false,
            },
            Self::Node(patterns) => {
                let name = flow.node_name();
                let (cluster, node) = name.split_once('/').unwrap_or(("default", name));
                !name.is_empty() && patterns.iter().any(|pattern| pattern.matches(cluster, node))
            }
            Self::Cluster(side, wanted) => {
                endpoint(flow, *side).is_some_and(|endpoint| wanted.contains(&endpoint.cluster_name))
            }
            Self::IpVersion(wanted) => wanted.contains(&flow.ip().map_or(0, |ip| ip.version)),
            Self::TraceId(ids) => ids.iter().any(|id| id == flow.trace_id()),
            Self::Direction(wanted) => wanted.contains(&flow.traffic_direction()),
            Self::Cel(programs) => Program::any(programs, &flow.flow()),
            Self::Interface(wanted) => flow.interface().is_some_and(|own| {
                wanted.iter().any(|wanted| {
                    (wanted.index == 0 || wanted.index == own.0) && (wanted.name.is_empty() || wanted.name == own.1)
                })
            }),
            Self::IpTraceId(ids) => ids.contains(&flow.ip_trace_id()),
            Self::DnsQuery(_) | Self::Status(_) | Self::Method(_) | Self::Path(_) | Self::Url(_) | Self::Header(_) => {
                flow.l7().is_some_and(|l7| self.passes_l7(l7))
            }
        }
    }

    fn passes_l7(&self, l7: &Layer7) -> bool {
        let http = match l7.record.as_ref() {
            Some(Record::Http(http)) => http,
            Some(Record::Dns(dns)) => {
                return match self {
                    Self::DnsQuery(queries) => queries.iter().any(|query| query.is_match(&dns.query)),
                    _ => false,
                };
            }
            _ => return false,
        };
        match self {
            Self::Status(wanted) => http.code != 0 && wanted.iter().any(|wanted| wanted.is(http.code)),
            Self::Method(wanted) => {
                !http.method.is_empty() && wanted.iter().any(|method| folded_equal(method, &http.method))
            }
            Self::Path(paths) => {
                url::path(&http.url).is_some_and(|path| paths.iter().any(|wanted| wanted.is_match(&path)))
            }
            Self::Url(urls) => !http.url.is_empty() && urls.iter().any(|wanted| wanted.is_match(&http.url)),
            Self::Header(wanted) => http.headers.iter().any(|header| wanted.contains(header)),
            _ => false,
        }
    }
}

impl Protocol {
    fn is(self, l4: Option<L4<'_>>, l7: Option<&Record>) -> bool {
        match self {
            Self::Icmp => matches!(l4, Some(L4::Icmp4 { .. } | L4::Icmp6 { .. })),
            Self::Icmp4 => matches!(l4, Some(L4::Icmp4 { .. })),
            Self::Icmp6 => matches!(l4, Some(L4::Icmp6 { .. })),
            Self::Tcp => matches!(l4, Some(L4::Tcp { .. })),
            Self::Udp => matches!(l4, Some(L4::Udp { .. })),
            Self::Sctp => matches!(l4, Some(L4::Sctp { .. })),
            Self::Vrrp => matches!(l4, Some(L4::Vrrp { .. })),
            Self::Igmp => matches!(l4, Some(L4::Igmp { .. })),
            Self::Dns => matches!(l7, Some(Record::Dns(_))),
            Self::Http => matches!(l7, Some(Record::Http(_))),
        }
    }
}

impl Name {
    /// Whether one of the names is that of a thing that has a name or a namespace.
    fn any(names: &[Self], namespace: &str, name: &str) -> bool {
        !(namespace.is_empty() && name.is_empty())
            && names
                .iter()
                .any(|own| own.namespace.as_ref().is_none_or(|own| own == namespace) && name.starts_with(&own.prefix))
    }
}

impl Status {
    fn is(&self, code: u32) -> bool {
        match self {
            Self::Exact(own) => *own == code,
            Self::Prefix(prefix) => format!("{code:03}").starts_with(prefix),
        }
    }
}

fn event_type(filter: &EventTypeFilter, kind: i32, sub: i32) -> bool {
    (filter.r#type == 0 || filter.r#type == kind) && (!filter.match_sub_type || filter.sub_type == sub)
}

fn dropped<V: View>(flow: &V) -> bool {
    flow.verdict() == Verdict::Dropped as i32
}

pub(super) fn endpoint<V: View>(flow: &V, side: Side) -> Option<&Endpoint> {
    match side {
        Side::Source => flow.source(),
        Side::Destination => flow.destination(),
    }
}

pub(super) fn address(ip: Ip<'_>, side: Side) -> crate::view::Address<'_> {
    match side {
        Side::Source => ip.source,
        Side::Destination => ip.destination,
    }
}

/// Hubble cuts ports to 16 bits.
pub(super) fn port(l4: Option<L4<'_>>, side: Side) -> Option<u16> {
    let (source, destination) = l4?.ports()?;
    Some(match side {
        Side::Source => source as u16,
        Side::Destination => destination as u16,
    })
}

fn is_workload(wanted: &Workload, workload: &Workload) -> bool {
    (wanted.name.is_empty() || wanted.name == workload.name) && (wanted.kind.is_empty() || wanted.kind == workload.kind)
}

fn folded_equal(a: &str, b: &str) -> bool {
    a.eq_ignore_ascii_case(b) || !a.is_ascii() && a.to_lowercase() == b.to_lowercase()
}
