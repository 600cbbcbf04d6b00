//! From a filter of the wire to its checks, field after field in the order in which Hubble looks at them: the order decides
//! which error is told.

use nexin_hubble::flow::FlowFilter;
use nexin_hubble::gotext::quote;

use super::address::Addresses;
use super::cel::Program;
use super::check::{Check, Name, Protocol, Side, Status};
use super::label::Selector;
use super::pattern::{NodePattern, Pattern};
use super::regexp::Regexp;
use super::{FilterError, PortError};
use crate::view::TcpFlags;

/// Monitor message of L7 records.
const L7: i32 = 129;

pub(super) fn checks(filter: &FlowFilter) -> Result<Vec<Check>, FilterError> {
    let mut checks = Checks(Vec::new());
    checks.add(&filter.uuid, |uuids| Check::Uuid(uuids.iter().cloned().collect()));
    checks.add(&filter.event_type, |types| Check::EventType(types.to_vec()));
    checks.add(&filter.verdict, |verdicts| Check::Verdict(verdicts.to_vec()));
    checks.add(&filter.drop_reason_desc, |reasons| Check::DropReason(reasons.to_vec()));
    checks.add(&filter.reply, |replies| Check::Reply(replies.to_vec()));
    checks.add(&filter.encrypted, |encrypted| Check::Encrypted(encrypted.to_vec()));
    checks.add(&filter.source_identity, |ids| Check::Identity(Side::Source, ids.to_vec()));
    checks.add(&filter.destination_identity, |ids| Check::Identity(Side::Destination, ids.to_vec()));
    checks.parse(&filter.protocol, |all| all.iter().map(|text| protocol(text)).collect(), Check::Protocol)?;
    checks.parse(&filter.source_ip, Addresses::build, |all| Check::Address(Side::Source, all))?;
    checks.parse(&filter.destination_ip, Addresses::build, |all| Check::Address(Side::Destination, all))?;
    checks.parse(&filter.source_ip_xlated, Addresses::build, Check::Translated)?;
    checks.parse(&filter.source_pod, pods, |all| Check::Pod(Side::Source, all))?;
    checks.parse(&filter.destination_pod, pods, |all| Check::Pod(Side::Destination, all))?;
    checks.add(&filter.source_workload, |all| Check::Workload(Side::Source, all.to_vec()));
    checks.add(&filter.destination_workload, |all| Check::Workload(Side::Destination, all.to_vec()));
    let services = |side| move |all: &[String]| names(all).ok_or(FilterError::EmptyService(side));
    checks.parse(&filter.source_service, services("source"), |all| Check::Service(Side::Source, all))?;
    checks.parse(&filter.destination_service, services("destination"), |all| Check::Service(Side::Destination, all))?;
    checks.parse(&filter.source_fqdn, patterns, |all| Check::Names(Side::Source, all))?;
    checks.parse(&filter.destination_fqdn, patterns, |all| Check::Names(Side::Destination, all))?;
    checks.parse(&filter.dns_query, |all| regexps("DNS query", all), Check::DnsQuery)?;
    let labels = |which| move |all: &[String]| selectors(which, all);
    checks.parse(&filter.source_label, labels("source"), |all| Check::Labels(Side::Source, all))?;
    checks.parse(&filter.destination_label, labels("destination"), |all| Check::Labels(Side::Destination, all))?;
    checks.parse(&filter.node_labels, labels("node"), Check::NodeLabels)?;
    checks.parse(&filter.source_port, |all| ports("source", all), |all| Check::Port(Side::Source, all))?;
    checks.parse(
        &filter.destination_port,
        |all| ports("destination", all),
        |all| Check::Port(Side::Destination, all),
    )?;
    http(&mut checks, filter)?;
    checks.add(&filter.tcp_flags, |flags| Check::Flags(flags.iter().map(TcpFlags::from).collect()));
    checks.parse(&filter.node_name, nodes, Check::Node)?;
    checks.parse(&filter.source_cluster_name, clusters, |all| Check::Cluster(Side::Source, all))?;
    checks.parse(&filter.destination_cluster_name, clusters, |all| Check::Cluster(Side::Destination, all))?;
    checks.add(&filter.ip_version, |versions| Check::IpVersion(versions.to_vec()));
    checks.add(&filter.trace_id, |ids| Check::TraceId(ids.to_vec()));
    checks.add(&filter.traffic_direction, |directions| Check::Direction(directions.to_vec()));
    if let Some(experimental) = &filter.experimental {
        checks.parse(&experimental.cel_expression, programs, Check::Cel)?;
    }
    checks.add(&filter.interface, |interfaces| Check::Interface(interfaces.to_vec()));
    checks.add(&filter.ip_trace_id, |ids| Check::IpTraceId(ids.to_vec()));
    let mut checks = checks.0;
    checks.sort_by_key(cost);
    Ok(checks)
}

/// HTTP fields ask for a filter that lets L7 records through.
fn http(checks: &mut Checks, filter: &FlowFilter) -> Result<(), FilterError> {
    let l7 = filter.event_type.is_empty() || filter.event_type.iter().any(|kind| kind.r#type == L7);
    let need = |what| if l7 { Ok(()) } else { Err(FilterError::NotL7(what)) };
    let wanted = |which| move |all: &[String]| regexps(which, all);
    checks.parse(
        &filter.http_status_code,
        |all| need("status code").and_then(|()| all.iter().map(|text| status(text)).collect()),
        Check::Status,
    )?;
    checks.parse(&filter.http_method, |all| need("method").map(|()| all.to_vec()), Check::Method)?;
    checks.parse(&filter.http_path, |all| need("path").and_then(|()| wanted("http path")(all)), Check::Path)?;
    checks.parse(&filter.http_url, |all| need("url").and_then(|()| wanted("http url")(all)), Check::Url)?;
    checks.parse(&filter.http_header, |all| need("headers").map(|()| all.to_vec()), Check::Header)
}

struct Checks(Vec<Check>);

impl Checks {
    fn add<T>(&mut self, values: &[T], check: impl FnOnce(&[T]) -> Check) {
        if !values.is_empty() {
            self.0.push(check(values));
        }
    }

    fn parse<T, P>(
        &mut self,
        values: &[T],
        parse: impl FnOnce(&[T]) -> Result<P, FilterError>,
        check: impl FnOnce(P) -> Check,
    ) -> Result<(), FilterError> {
        if !values.is_empty() {
            self.0.push(check(parse(values)?));
        }
        Ok(())
    }
}

/// All checks must pass, so the cheap ones are asked first.
fn cost(check: &Check) -> u8 {
    match check {
        Check::Verdict(_)
        | Check::DropReason(_)
        | Check::Direction(_)
        | Check::Reply(_)
        | Check::EventType(_)
        | Check::Identity(..)
        | Check::Port(..)
        | Check::Protocol(_)
        | Check::Flags(_) => 0,
        Check::Labels(..) | Check::NodeLabels(_) | Check::Names(..) | Check::Node(_) | Check::Uuid(_) => 2,
        Check::DnsQuery(_) | Check::Path(_) | Check::Url(_) => 3,
        Check::Cel(_) => 4,
        _ => 1,
    }
}

fn protocol(text: &str) -> Result<Protocol, FilterError> {
    Ok(match text.to_lowercase().as_str() {
        "icmp" => Protocol::Icmp,
        "icmpv4" => Protocol::Icmp4,
        "icmpv6" => Protocol::Icmp6,
        "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        "sctp" => Protocol::Sctp,
        "vrrp" => Protocol::Vrrp,
        "igmp" => Protocol::Igmp,
        "dns" => Protocol::Dns,
        "http" => Protocol::Http,

        _ => return Err(FilterError::Protocol(quote(text))),
    })
}

fn pods(all: &[String]) -> Result<Vec<Name>, FilterError> {
    names(all).ok_or(FilterError::EmptyName)
}

/// None where a name is empty. A bare name is one of the namespace `default`; what follows a second slash is passed over.
fn names(all: &[String]) -> Option<Vec<Name>> {
    let name = |text: &String| {
        let mut parts = text.split('/');
        let (namespace, prefix) = match (parts.next(), parts.next()) {
            (Some(""), None) => return None,
            (Some(name), None) => (Some("default"), name),
            (namespace, prefix) => (namespace.filter(|namespace| !namespace.is_empty()), prefix.unwrap_or_default()),
        };
        Some(Name { namespace: namespace.map(str::to_owned), prefix: prefix.to_owned() })
    };
    all.iter().map(name).collect()
}

fn patterns(all: &[String]) -> Result<Vec<Pattern>, FilterError> {
    Ok(all.iter().map(|text| Pattern::build(text)).collect::<Result<_, _>>()?)
}

fn nodes(all: &[String]) -> Result<Vec<NodePattern>, FilterError> {
    Ok(all.iter().map(|text| NodePattern::build(text)).collect::<Result<_, _>>()?)
}

fn clusters(all: &[String]) -> Result<Vec<String>, FilterError> {
    if all.iter().any(String::is_empty) { Err(FilterError::EmptyName) } else { Ok(all.to_vec()) }
}

fn selectors(which: &'static str, all: &[String]) -> Result<Vec<Selector>, FilterError> {
    all.iter().map(|text| Selector::build(text).map_err(|why| FilterError::Label { which, why })).collect()
}

fn ports(side: &'static str, all: &[String]) -> Result<Vec<u16>, FilterError> {
    let number = |text: &String| port(text).map_err(|why| FilterError::Port { side, text: quote(text), why });
    all.iter().map(number).collect()
}

/// As Go reads a decimal number of 16 bits: it tells what it meets first.
fn port(text: &str) -> Result<u16, PortError> {
    let mut value = 0_u32;
    for byte in text.bytes() {
        if !byte.is_ascii_digit() {
            return Err(PortError::Syntax);
        }
        value = value * 10 + u32::from(byte - b'0');
        if value > 65_535 {
            return Err(PortError::Range);
        }
    }
    if text.is_empty() { Err(PortError::Syntax) } else { Ok(value as u16) }
}

fn status(text: &str) -> Result<Status, FilterError> {
    let class =
        |text: &str| text.starts_with(|c| ('1'..='5').contains(&c)) && text.bytes().all(|byte| byte.is_ascii_digit());
    match text.strip_suffix('+') {
        Some(prefix) if class(prefix) && prefix.len() <= 2 => Ok(Status::Prefix(prefix.to_owned())),
        None if class(text) && text.len() == 3 => Ok(Status::Exact(text.parse().unwrap_or_default())),
        _ => Err(FilterError::Status(quote(text))),
    }
}

fn regexps(which: &'static str, all: &[String]) -> Result<Vec<Regexp>, FilterError> {
    let build = |text: &String| {
        Regexp::build(text).map_err(|why| {
            let before = if which == "DNS query" { "failed to compile regexp".to_owned() } else { text.clone() };
            FilterError::Regexp { which, before, why }
        })
    };
    all.iter().map(build).collect()
}

fn programs(all: &[String]) -> Result<Vec<Program>, FilterError> {
    Ok(all.iter().map(|text| Program::compile(text)).collect::<Result<_, _>>()?)
}
