//! From flow filters to what the kernel can choose packets by. What it cannot is refused, with what it can.

use ipnet::IpNet;
use nexin_api::v1::{CaptureFilter, CaptureSide, PeerRef, PortRange, Protocol};
use nexin_hubble::flow::{FlowFilter, IpVersion, Verdict};

use crate::error::{CliError, Result};

/// Filters that the node has, for everybody.
const MOST: usize = 8;

pub(super) fn filters(filters: &[FlowFilter], one_way: bool) -> Result<Vec<CaptureFilter>> {
    let mut all: Vec<CaptureFilter> = Vec::new();
    for filter in filters {
        refuse_others(filter)?;
        for chosen in expand(filter)? {
            let chosen = CaptureFilter { either_way: !one_way, ..chosen };
            // Where both ways match, the pair of "from or to" is one filter.
            let swapped = CaptureFilter {
                source: chosen.destination.clone(),
                destination: chosen.source.clone(),
                ..chosen.clone()
            };
            if !all.contains(&chosen) && (one_way || !all.contains(&swapped)) {
                all.push(chosen);
            }
        }
    }
    if all.len() > MOST {
        let what = format!("this means {} filters, and the kernel has room for {MOST}", all.len());
        return Err(CliError::input(what, "give fewer values, or one prefix for many addresses"));
    }
    Ok(all)
}

/// Fields that the kernel knows nothing of.
fn refuse_others(filter: &FlowFilter) -> Result<()> {
    let known = FlowFilter {
        source_ip: filter.source_ip.clone(),
        destination_ip: filter.destination_ip.clone(),
        source_pod: filter.source_pod.clone(),
        destination_pod: filter.destination_pod.clone(),
        source_identity: filter.source_identity.clone(),
        destination_identity: filter.destination_identity.clone(),
        source_port: filter.source_port.clone(),
        destination_port: filter.destination_port.clone(),
        protocol: filter.protocol.clone(),
        ip_version: filter.ip_version.clone(),
        verdict: filter.verdict.clone(),
        ..FlowFilter::default()
    };
    if known == *filter {
        return Ok(());
    }
    let next = "choose by --ip, --pod, --identity, --port (each with from- and to-), --protocol, -4, -6 and --verdict; the rest can be left to the reader of the file";
    Err(CliError::input("the kernel cannot choose packets by all of these flags", next))
}

/// Every combination of values. Of several verdicts, one filter.
fn expand(filter: &FlowFilter) -> Result<Vec<CaptureFilter>> {
    let mut all = vec![with_verdicts(&filter.verdict)?];
    let prefixes = |list: &[String]| list.iter().map(|text| prefix(text)).collect::<Result<Vec<_>>>();
    let workloads = |list: &[String]| list.iter().map(|text| workload(text)).collect::<Result<Vec<_>>>();
    let ports = |list: &[String]| list.iter().map(|text| port(text)).collect::<Result<Vec<_>>>();
    all = each(all, &prefixes(&filter.source_ip)?, |f, value| f.source.prefix = Some(*value));
    all = each(all, &prefixes(&filter.destination_ip)?, |f, value| f.destination.prefix = Some(*value));
    all = each(all, &workloads(&filter.source_pod)?, |f, value| f.source.workload = Some(value.clone()));
    all = each(all, &workloads(&filter.destination_pod)?, |f, value| f.destination.workload = Some(value.clone()));
    all = each(all, &filter.source_identity, |f, value| f.source.identity = Some(*value));
    all = each(all, &filter.destination_identity, |f, value| f.destination.identity = Some(*value));
    all = each(all, &ports(&filter.source_port)?, |f, value| f.source.ports = Some(*value));
    all = each(all, &ports(&filter.destination_port)?, |f, value| f.destination.ports = Some(*value));
    let protocols = filter.protocol.iter().map(|text| protocol(text)).collect::<Result<Vec<_>>>()?.concat();
    all = each(all, &protocols, |f, value| f.protocol = Some(*value));
    let families = filter.ip_version.iter().map(|version| family(*version)).collect::<Result<Vec<_>>>()?;
    Ok(each(all, &families, |f, value| f.family = Some(*value)))
}

fn each<T>(filters: Vec<CaptureFilter>, values: &[T], set: impl Fn(&mut CaptureFilter, &T)) -> Vec<CaptureFilter> {
    if values.is_empty() {
        return filters;
    }
    let with = |filter: &CaptureFilter, value: &T| {
        let mut filter = filter.clone();
        set(&mut filter, value);
        filter
    };
    filters.iter().flat_map(|filter| values.iter().map(move |value| with(filter, value))).collect()
}

fn with_verdicts(verdicts: &[i32]) -> Result<CaptureFilter> {
    let none = CaptureSide::default;
    let mut filter = CaptureFilter { source: none(), destination: none(), ..CaptureFilter::default() };
    if verdicts.is_empty() {
        return Ok(filter);
    }
    (filter.forwarded, filter.dropped) = (false, false);
    for verdict in verdicts {
        match Verdict::try_from(*verdict) {
            Ok(Verdict::Forwarded | Verdict::Audit) => filter.forwarded = true,
            Ok(Verdict::Dropped) => filter.dropped = true,
            _ => return Err(CliError::input("packets are FORWARDED or DROPPED", "use --verdict with one of them")),
        }
    }
    Ok(filter)
}

fn prefix(text: &str) -> Result<IpNet> {
    let address = || text.parse().ok().map(|address: std::net::IpAddr| IpNet::from(address));
    let found = text.parse().ok().or_else(address);
    found.ok_or_else(|| CliError::input(format!("{text:?} is no address and no prefix"), "such as 10.0.0.0/8"))
}

/// A workload's whole name. The namespace may be left out, as everywhere.
fn workload(text: &str) -> Result<PeerRef> {
    let (namespace, name) = text.split_once('/').unwrap_or(("default", text));
    if namespace.is_empty() || name.is_empty() {
        let next = "name one workload: --pod NAMESPACE/NAME";
        return Err(CliError::input(
            format!("{text:?} stands for many workloads, and the kernel knows single ones"),
            next,
        ));
    }
    Ok(PeerRef::Workload { namespace: namespace.to_owned(), name: name.to_owned() })
}

fn port(text: &str) -> Result<PortRange> {
    let port = text.parse::<u16>().ok().filter(|port| *port > 0);
    let one = |port| PortRange { first: port, last: port };
    port.map(one).ok_or_else(|| CliError::input(format!("{text:?} is no port"), "such as 80"))
}

fn protocol(text: &str) -> Result<Vec<Protocol>> {
    Ok(match text.to_lowercase().as_str() {
        "tcp" => vec![Protocol::Tcp],
        "udp" => vec![Protocol::Udp],
        "sctp" => vec![Protocol::Sctp],
        "icmp" => vec![Protocol::Icmp, Protocol::Icmp6],
        "icmpv4" => vec![Protocol::Icmp],
        "icmpv6" => vec![Protocol::Icmp6],
        _ => {
            let next = "use tcp, udp, sctp, icmp, icmpv4 or icmpv6";
            return Err(CliError::input(format!("the kernel does not know the protocol {text:?}"), next));
        }
    })
}

fn family(version: i32) -> Result<u8> {
    match IpVersion::try_from(version) {
        Ok(IpVersion::IPv4) => Ok(4),
        Ok(IpVersion::IPv6) => Ok(6),
        _ => Err(CliError::input("packets that are not IP do not pass here", "use -4 or -6")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(flags: &[&str], one_way: bool) -> Result<Vec<CaptureFilter>> {
        let words: Vec<String> = flags.iter().map(|flag| (*flag).to_owned()).collect();
        filters(&nexin_observe::filters(&words).expect("good flags").0, one_way)
    }

    #[test]
    fn either_end_is_one_filter_where_both_ways_match() {
        assert_eq!(chosen(&["--pod", "shop/web", "--protocol", "tcp"], false).expect("possible").len(), 1);
        assert_eq!(chosen(&["--pod", "shop/web", "--protocol", "tcp"], true).expect("possible").len(), 2);
        assert_eq!(chosen(&[], false).expect("possible"), []);
    }

    #[test]
    fn values_multiply() {
        let all =
            chosen(&["--from-ip", "10.0.0.0/8", "--to-port", "80", "--to-port", "443", "--verdict", "DROPPED"], false);
        let all = all.expect("possible");
        assert_eq!(all.len(), 2);
        assert!(all.iter().all(|filter| filter.dropped && !filter.forwarded && filter.either_way));
        assert_eq!(all[1].destination.ports, Some(PortRange { first: 443, last: 443 }));
    }

    #[test]
    fn what_the_kernel_cannot_is_refused() {
        for flags in [&["--label", "a=b"][..], &["--fqdn", "x.y"], &["--pod", "shop/"], &["--protocol", "http"]] {
            assert!(chosen(flags, false).is_err(), "{flags:?}");
        }
    }
}
