//! The words in brackets at the end of a line of `hubble observe`, and names of kernel source files.
//!
//! The words are those of Hubble's packet library (gopacket `layers`), since people search for them.

use nexin_abi::SourceFile;

use crate::metrics::IcmpName;
use crate::record::{Record, protocol};
use crate::view::{TcpFlags, View};

/// Summary of a flow: TCP flags, ICMP type and code, or the name of the innermost layer.
pub fn text(record: &Record) -> String {
    if let Some(l7) = record.l7() {
        return layer7(l7);
    }
    let (_, both) = record.raw_ports();
    let (kind, code) = (u32::from(both >> 8), u32::from(both & 0xff));
    match (record.family(), record.protocol()) {
        (0, _) => "Ethernet".to_owned(),
        (_, protocol::TCP) => format!("TCP Flags: {}", tcp_flags(TcpFlags(u16::from(record.tcp_flags())))),
        (_, protocol::UDP) => "UDP".to_owned(),
        (_, protocol::SCTP) => "SCTP".to_owned(),
        (_, protocol::ICMP) => format!("ICMPv4 {}", IcmpName::v4(kind, code)),
        (_, protocol::ICMP6) => format!("ICMPv6 {}", IcmpName::v6(kind, code)),
        (_, protocol::VRRP) => "VRRP".to_owned(),
        (_, protocol::IGMP) => "IGMP".to_owned(),
        (4, _) => "IPv4".to_owned(),
        _ => "IPv6".to_owned(),
    }
}

/// Names of the flags that are set, in the order people know from Hubble.
pub fn tcp_flags(flags: TcpFlags) -> String {
    const ORDER: [(u16, &str); 9] = [
        (TcpFlags::SYN, "SYN"),
        (TcpFlags::ACK, "ACK"),
        (TcpFlags::RST, "RST"),
        (TcpFlags::FIN, "FIN"),
        (TcpFlags::PSH, "PSH"),
        (TcpFlags::URG, "URG"),
        (TcpFlags::ECE, "ECE"),
        (TcpFlags::CWR, "CWR"),
        (TcpFlags::NS, "NS"),
    ];
    let set: Vec<&str> = ORDER.iter().filter(|(flag, _)| flags.has(*flag)).map(|(_, name)| *name).collect();
    set.join(", ")
}

/// One line on a request or an answer. Source of the shapes: cilium `pkg/hubble/parser/seven`.
pub fn layer7(l7: &nexin_hubble::flow::Layer7) -> String {
    use nexin_hubble::flow::L7FlowType;
    use nexin_hubble::flow::layer7::Record as R;
    let request = l7.r#type == L7FlowType::Request as i32;
    match &l7.record {
        Some(R::Dns(dns)) => {
            let kinds = dns.qtypes.join(",");
            let source = if dns.observation_source.is_empty() || dns.observation_source == "proxy" {
                String::new()
            } else {
                format!("{}: ", dns.observation_source)
            };
            if request {
                return format!("DNS {source}Query {} {kinds}", dns.query).trim_end().to_owned();
            }
            let mut answer = format!("\"{}\"", dns.ips.join(","));
            if !dns.cnames.is_empty() {
                answer = format!("{answer} CNAMEs: \"{}\"", dns.cnames.join(","));
            }
            format!("DNS {source}Answer {answer} TTL: {} (Query {} {kinds})", dns.ttl, dns.query)
        }
        Some(R::Http(http)) if request => format!("{} {} {}", http.protocol, http.method, http.url),
        Some(R::Http(http)) => {
            let milliseconds = l7.latency_ns / 1_000_000;
            format!("{} {} {milliseconds}ms ({} {})", http.protocol, http.code, http.method, http.url)
        }
        #[allow(deprecated)]
        Some(R::Kafka(kafka)) if request => {
            format!("Kafka request {} correlation id {} topic '{}'", kafka.api_key, kafka.correlation_id, kafka.topic)
        }
        #[allow(deprecated)]
        Some(R::Kafka(kafka)) => {
            format!(
                "Kafka response {} correlation id {} topic '{}' return code {}",
                kafka.api_key, kafka.correlation_id, kafka.topic, kafka.error_code
            )
        }
        None => String::new(),
    }
}

/// Name of a kernel source file by its number in events.
pub fn source_file(code: u8) -> &'static str {
    const NAMES: [(SourceFile, &str); 11] = [
        (SourceFile::FromWorkload, "from_workload.rs"),
        (SourceFile::ToWorkload, "to_workload.rs"),
        (SourceFile::FromNetwork, "from_network.rs"),
        (SourceFile::ToNetwork, "to_network.rs"),
        (SourceFile::Parse, "parse.rs"),
        (SourceFile::Ct, "ct.rs"),
        (SourceFile::Nat, "nat.rs"),
        (SourceFile::Policy, "policy.rs"),
        (SourceFile::Deliver, "deliver.rs"),
        (SourceFile::Icmp, "icmp.rs"),
        (SourceFile::Frag, "frag.rs"),
    ];
    NAMES.iter().find(|(file, _)| *file as u8 == code).map_or("unknown", |(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_stand_in_hubbles_order() {
        assert_eq!(tcp_flags(TcpFlags(TcpFlags::FIN | TcpFlags::ACK | TcpFlags::SYN)), "SYN, ACK, FIN");
        assert_eq!(tcp_flags(TcpFlags(0)), "");
    }
}
