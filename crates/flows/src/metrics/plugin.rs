//! What each metric counts, and under which labels.

use std::time::Duration;

use nexin_hubble::flow;
use nexin_hubble::flow::layer7::Record as L7Record;

use super::config::{ContextOption, MetricConfig};
use super::context::{Added, Context, ContextError};
use super::labels::{Own, is_answer};
use super::names::event;
use super::series::{Exemplar, MetricKind, Observation, SEPARATOR, SeriesSet};
use crate::view::{L4, TcpFlags, View};

/// A metric's name in a configuration, with its own options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plugin {
    Dns { query: bool, ignore_aaaa: bool },
    Drop,
    Flow,
    ToWorld { any_drop: bool, port: bool, syn_only: bool },
    Http { v2: bool, exemplars: bool },
    Icmp,
    Ports,
    Tcp,
    Policy,
    Sctp,
}

#[derive(Clone, Copy, Debug)]
enum Label {
    Own(Own),
    Context(Added),
}

/// One metric with its labels, sorted by name, and its series.
#[derive(Clone, Debug)]
pub(crate) struct Family {
    pub(crate) name: &'static str,
    pub(crate) help: &'static str,
    labels: Vec<(&'static str, Label)>,
    pub(crate) series: SeriesSet,
}

impl Plugin {
    /// Names are case sensitive, options are not; an option counts by being there, whatever its value.
    pub(crate) fn parse(config: &MetricConfig) -> Option<Self> {
        let has = |name: &str| config.options.iter().any(|option| option.name.to_lowercase() == name);
        Some(match config.name.as_str() {
            "dns" => Self::Dns { query: has("query"), ignore_aaaa: has("ignoreaaaa") },
            "drop" => Self::Drop,
            "flow" => Self::Flow,
            "flows-to-world" => {
                Self::ToWorld { any_drop: has("any-drop"), port: has("port"), syn_only: has("syn-only") }
            }
            "http" => Self::Http { v2: false, exemplars: exemplars(&config.options) },
            "httpV2" => Self::Http { v2: true, exemplars: exemplars(&config.options) },
            "icmp" => Self::Icmp,
            "port-distribution" => Self::Ports,
            "tcp" => Self::Tcp,
            "policy" => Self::Policy,
            "sctp" => Self::Sctp,
            _ => return None,
        })
    }

    /// The plugin that cannot be enabled beside this one.
    pub(crate) fn conflict(name: &str) -> Option<&'static str> {
        match name {
            "http" => Some("httpV2"),
            "httpV2" => Some("http"),
            _ => None,
        }
    }

    /// The configuration in one line.
    pub(crate) fn status(self, context: &Context) -> String {
        let with = |own: &[(bool, &str)]| {
            let on = own.iter().filter(|(on, _)| *on).map(|(_, name)| (*name).to_owned());
            on.chain([context.status()]).collect::<Vec<_>>().join(",")
        };
        match self {
            Self::Dns { query, ignore_aaaa } => with(&[(query, "query"), (ignore_aaaa, "ignoreAAAA")]),
            Self::ToWorld { any_drop, port, syn_only } => {
                with(&[(any_drop, "any-drop"), (port, "port"), (syn_only, "syn-only")])
            }
            Self::Http { exemplars, .. } => format!("{},exemplars={exemplars}", context.status()),
            _ => context.status(),
        }
    }

    /// The plugin's metrics, empty. `limit` is the most series of each.
    pub(crate) fn families(self, context: &Context, limit: usize) -> Vec<Family> {
        use Own as O;
        let family = |name, help, own: &[(&'static str, Own)]| Family::new(name, help, own, context, limit);
        match self {
            Self::Dns { query, .. } => {
                let query: &[_] = if query { &[("query", O::Query)] } else { &[] };
                let rcode = rcode_name(context.added().len(), !query.is_empty());
                let codes = [(rcode, O::Rcode), ("qtypes", O::Qtypes), ("ips_returned", O::IpsReturned)];
                let codes: Vec<_> = codes.iter().chain(query).copied().collect();
                let types: Vec<_> = [("type", O::Detail), ("qtypes", O::Qtypes)].iter().chain(query).copied().collect();
                vec![
                    family("dns_queries_total", "Number of DNS queries observed", &codes),
                    family("dns_responses_total", "Number of DNS responses observed", &codes),
                    family("dns_response_types_total", "Number of DNS response types observed", &types),
                ]
            }
            Self::Drop => {
                vec![family("drop_total", "Number of drops", &[("reason", O::Reason), ("protocol", O::Protocol)])]
            }
            Self::Flow => vec![family(
                "flows_processed_total",
                "Total number of flows processed",
                &[("protocol", O::Protocol), ("type", O::Type), ("subtype", O::Subtype), ("verdict", O::Verdict)],
            )],
            Self::ToWorld { port, .. } => {
                let mut own = vec![("protocol", O::Protocol), ("verdict", O::Verdict)];
                own.extend(port.then_some(("port", O::DestinationPort)));
                vec![family("flows_to_world_total", "Total number of flows to reserved:world", &own)]
            }
            Self::Http { v2, .. } => http_families(v2, context, limit),
            Self::Icmp => vec![family(
                "icmp_total",
                "Number of ICMP messages",
                &[("family", O::IcmpFamily), ("type", O::IcmpType)],
            )],
            Self::Ports => vec![family(
                "port_distribution_total",
                "Numbers of packets distributed by destination port",
                &[("protocol", O::L4Protocol), ("port", O::PortOrZero)],
            )],
            Self::Tcp => {
                vec![family("tcp_flags_total", "TCP flag occurrences", &[("flag", O::Detail), ("family", O::Family)])]
            }
            Self::Policy => vec![family(
                "policy_verdicts_total",
                "Total number of Cilium network policy verdicts",
                &[("direction", O::Direction), ("match", O::Match), ("action", O::Action)],
            )],
            Self::Sctp => vec![family(
                "sctp_chunk_types_total",
                "SCTP chunk type occurrences",
                &[("chunk_type", O::ChunkType), ("family", O::Family)],
            )],
        }
    }

    /// Whether the plugin has anything to count in this flow.
    pub(crate) fn concerns<V: View>(self, flow: &V) -> bool {
        const FORWARDED: i32 = flow::Verdict::Forwarded as i32;
        const REDIRECTED: i32 = flow::Verdict::Redirected as i32;
        let passed = || matches!(flow.verdict(), FORWARDED | REDIRECTED);
        let record = || flow.l7().and_then(|l7| l7.record.as_ref());
        match self {
            Self::Dns { ignore_aaaa, .. } => match record() {
                Some(L7Record::Dns(dns)) => !(ignore_aaaa && dns.qtypes.len() == 1 && dns.qtypes[0] == "AAAA"),
                _ => false,
            },
            Self::Drop => flow.verdict() == flow::Verdict::Dropped as i32,
            Self::Flow => true,
            Self::ToWorld { any_drop, syn_only, .. } => to_world(flow, any_drop, syn_only),
            Self::Http { v2, .. } => {
                let kind = flow.l7().map_or(0, |l7| l7.r#type);
                let response = kind == flow::L7FlowType::Response as i32;
                let request = kind == flow::L7FlowType::Request as i32;
                matches!(record(), Some(L7Record::Http(_))) && (response || (request && !v2))
            }
            Self::Icmp => matches!(flow.l4(), Some(L4::Icmp4 { .. } | L4::Icmp6 { .. })),
            Self::Ports => passed() && flow.is_reply() == Some(false) && flow.l4().is_some(),
            Self::Tcp => passed() && flow.ip().is_some() && matches!(flow.l4(), Some(L4::Tcp { flags: Some(_), .. })),
            Self::Policy => match flow.event_type() {
                // The host may reach every workload of its own; its verdicts say nothing about policy.
                Some((event::POLICY_VERDICT, _)) => flow.source().is_none_or(|source| source.identity != HOST),
                Some((event::ACCESS_LOG, _)) => true,
                _ => false,
            },
            Self::Sctp => {
                const UNSUPPORTED: i32 = flow::SctpChunkType::Unsupported as i32;
                let counted = |l4| matches!(l4, L4::Sctp { chunk, .. } if chunk != UNSUPPORTED);
                passed() && flow.ip().is_some() && flow.l4().is_some_and(counted)
            }
        }
    }

    /// Counts a flow that [`concerns`](Self::concerns) the plugin. `at` is now, since the epoch.
    pub(crate) fn count<V: View>(
        self,
        families: &mut [Family],
        context: &Context,
        flow: &V,
        at: Duration,
        key: &mut String,
    ) {
        let mut add = |family: usize, detail: &str, observation: Observation| {
            if let Some(family) = families.get_mut(family) {
                family.add(context, flow, self, detail, observation, key);
            }
        };
        let one = || Observation::One(None);
        match self {
            Self::Dns { .. } => match flow.l7().and_then(|l7| l7.record.as_ref()) {
                Some(L7Record::Dns(dns)) if is_answer(flow) => {
                    add(1, "", one());
                    for kind in &dns.rrtypes {
                        add(2, kind, one());
                    }
                }
                _ => add(0, "", one()),
            },
            Self::Http { v2, exemplars } => {
                let trace_id = if exemplars { flow.trace_id() } else { "" };
                let l7 = flow.l7();
                if l7.is_some_and(|l7| l7.r#type == flow::L7FlowType::Request as i32) {
                    add(1, "", Observation::One(Exemplar::new(trace_id, 1.0, at)));
                } else {
                    let seconds = l7.map_or(0, |l7| l7.latency_ns) as f64 / 1e9;
                    let responses = if v2 { 1 } else { 2 };
                    add(responses, "", Observation::One(Exemplar::new(trace_id, 1.0, at)));
                    add(0, "", Observation::Seconds(seconds, Exemplar::new(trace_id, seconds, at)));
                }
            }
            Self::Tcp => {
                let Some(L4::Tcp { flags: Some(flags), .. }) = flow.l4() else { return };
                let syn = if flags.has(TcpFlags::SYN | TcpFlags::ACK) { "SYN-ACK" } else { "SYN" };
                for (bit, name) in [(TcpFlags::FIN, "FIN"), (TcpFlags::SYN, syn), (TcpFlags::RST, "RST")] {
                    if flags.has(bit) {
                        add(0, name, one());
                    }
                }
            }
            _ => add(0, "", one()),
        }
    }
}

const HOST: u32 = 1;

/// Only the first `exemplars` counts, and only the exact word.
fn exemplars(options: &[ContextOption]) -> bool {
    let first = options.iter().find(|option| option.name.to_lowercase() == "exemplars");
    first.and_then(|option| option.values.first()).is_some_and(|value| value == "true")
}

/// With some numbers of context labels Hubble declares the answer's code under the name of another metric's label, and
/// so real scrapes have it: with 5, and with 9 to 13. (With 9 to 12 and `query` it cannot start; there the name is right.)
fn rcode_name(context_labels: usize, query: bool) -> &'static str {
    match (context_labels, query) {
        (5 | 13, _) | (9..=12, false) => "type",
        _ => "rcode",
    }
}

fn http_families(v2: bool, context: &Context, limit: usize) -> Vec<Family> {
    use Own as O;
    let request = [("method", O::Method), ("protocol", O::HttpProtocol), ("reporter", O::Reporter)];
    let response: Vec<_> = request.iter().chain(&[("status", O::Status)]).copied().collect();
    let duration = [("method", O::Method), ("reporter", O::Reporter)];
    let requests: &[_] = if v2 { &response } else { &request };
    let mut families = vec![
        Family::new(
            "http_request_duration_seconds",
            "Quantiles of HTTP request duration in seconds",
            &duration,
            context,
            limit,
        ),
        Family::new("http_requests_total", "Count of HTTP requests", requests, context, limit),
    ];
    families[0].series = SeriesSet::new(MetricKind::Histogram, limit);
    if !v2 {
        families.push(Family::new("http_responses_total", "Count of HTTP responses", &response, context, limit));
    }
    families
}

fn to_world<V: View>(flow: &V, any_drop: bool, syn_only: bool) -> bool {
    const WORLD: [&str; 3] = ["reserved:world", "reserved:world-ipv4", "reserved:world-ipv6"];
    let world = |endpoint: &flow::Endpoint| endpoint.labels.iter().any(|label| WORLD.contains(&label.as_str()));
    if !flow.destination().is_some_and(world) || flow.event_type().is_none() || !flow.has_l4() {
        return false;
    }
    let dropped = flow.verdict() == flow::Verdict::Dropped as i32;
    if dropped && !any_drop && flow.drop_reason() != flow::DropReason::PolicyDenied as i32 {
        return false;
    }
    // The destination port of an answer is the client's, and there are as many of these as ports.
    let reply = flow.is_reply() == Some(true);
    if reply && !dropped {
        return false;
    }
    let syn = || matches!(flow.l4(), Some(L4::Tcp { flags: Some(flags), .. }) if flags.has(TcpFlags::SYN));
    !syn_only || (syn() && !reply)
}

impl Family {
    fn new(
        name: &'static str,
        help: &'static str,
        own: &[(&'static str, Own)],
        context: &Context,
        limit: usize,
    ) -> Self {
        let own = own.iter().map(|(name, own)| (*name, Label::Own(*own)));
        let added = context.added().into_iter().map(|added| (added.name(), Label::Context(added)));
        let mut labels: Vec<_> = own.chain(added).collect();
        labels.sort_by_key(|(name, _)| *name);
        Self { name, help, labels, series: SeriesSet::new(MetricKind::Counter, limit) }
    }

    pub(crate) fn label_names(&self) -> Vec<&'static str> {
        self.labels.iter().map(|(name, _)| *name).collect()
    }

    fn add<V: View>(
        &mut self,
        context: &Context,
        flow: &V,
        plugin: Plugin,
        detail: &str,
        observation: Observation,
        key: &mut String,
    ) {
        key.clear();
        let swapped = matches!(plugin, Plugin::Http { v2: true, .. });
        for (_, label) in &self.labels {
            let start = key.len();
            match label {
                Label::Own(own) => own.write(flow, detail, key),
                Label::Context(added) => context.write(*added, flow, swapped, key),
            }
            if key.as_bytes()[start..].contains(&0) {
                let clean = key[start..].replace(SEPARATOR, "\u{fffd}");
                key.replace_range(start.., &clean);
            }
            key.push(SEPARATOR);
        }
        self.series.add(key, observation);
    }
}

impl From<ContextError> for super::config::MetricError {
    fn from(error: ContextError) -> Self {
        Self::Context(error)
    }
}
