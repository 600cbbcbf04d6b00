//! Numbers of a flow as the words that stand in labels. They are a compatible format's: dashboards compare them as text.

use nexin_hubble::flow;
use nexin_hubble::flow::layer7::Record as L7Record;

use crate::view::{L4, View};

/// Message types of the monitor: what [`View::event_type`] holds first.
pub(crate) mod event {
    pub(crate) const DROP: i32 = 1;
    pub(crate) const CAPTURE: i32 = 3;
    pub(crate) const TRACE: i32 = 4;
    pub(crate) const POLICY_VERDICT: i32 = 5;
    pub(crate) const ACCESS_LOG: i32 = 129;
}

/// The protocol that describes a flow best: that of its seventh layer, else of its fourth.
pub(crate) fn protocol<V: View>(flow: &V) -> &'static str {
    match flow.event_type().map(|(kind, _)| kind) {
        Some(event::ACCESS_LOG) => match flow.l7().and_then(|l7| l7.record.as_ref()) {
            Some(L7Record::Dns(_)) => "DNS",
            Some(L7Record::Http(_)) => "HTTP",
            _ => "Unknown L7",
        },
        Some(event::DROP | event::TRACE | event::POLICY_VERDICT | event::CAPTURE) => {
            flow.l4().map_or("Unknown L4", l4_protocol)
        }
        _ => "Unknown flow",
    }
}

pub(crate) fn l4_protocol(l4: L4<'_>) -> &'static str {
    match l4 {
        L4::Tcp { .. } => "TCP",
        L4::Udp { .. } => "UDP",
        L4::Sctp { .. } => "SCTP",
        L4::Icmp4 { .. } => "ICMPv4",
        L4::Icmp6 { .. } => "ICMPv6",
        L4::Vrrp { .. } => "VRRP",
        L4::Igmp { .. } => "IGMP",
    }
}

/// Where a trace was taken; empty for numbers nobody gave a name.
pub(crate) fn trace_point(sub_type: i32) -> &'static str {
    // Only the low byte counts: see "numbers are cut" in the compatibility page.
    const NAMES: [&str; 14] = [
        "to-endpoint",
        "to-proxy",
        "to-host",
        "to-stack",
        "to-overlay",
        "from-endpoint",
        "from-proxy",
        "from-host",
        "from-stack",
        "from-overlay",
        "from-network",
        "to-network",
        "from-crypto",
        "to-crypto",
    ];
    NAMES.get(usize::from(sub_type as u8)).copied().unwrap_or_default()
}

/// How precisely a policy matched.
pub(crate) fn policy_match(kind: u32) -> &'static str {
    const NAMES: [&str; 7] = ["none", "l3-only", "l3-l4", "l4-only", "all", "l3-proto", "proto-only"];
    usize::try_from(kind).ok().and_then(|kind| NAMES.get(kind)).copied().unwrap_or("unknown")
}

/// The answer's code in words; empty for unknown ones.
pub(crate) fn rcode(code: u32) -> &'static str {
    match code {
        0 => "No Error",
        1 => "Format Error",
        2 => "Server Failure",
        3 => "Non-Existent Domain",
        4 => "Not Implemented",
        5 => "Query Refused",
        6 => "Name Exists when it should not",
        7 => "RR Set Exists when it should not",
        8 => "RR Set that should exist does not",
        9 => "Not Authorized",
        10 => "Name not contained in zone",
        11 => "DSO-TYPE Not Implemented",
        16 => "Bad OPT Version",
        17 => "Key not recognized",
        18 => "Signature out of time window",
        19 => "Bad TKEY Mode",
        20 => "Duplicate key name",
        21 => "Algorithm not supported",
        22 => "Bad Truncation",
        23 => "Bad/missing Server Cookie",
        _ => "",
    }
}

/// The name of an enumeration's number; `None` where the number has no name and prints as digits.
pub(crate) fn verdict(number: i32) -> Option<&'static str> {
    flow::Verdict::try_from(number).ok().map(|verdict| verdict.as_str_name())
}

pub(crate) fn drop_reason(number: i32) -> Option<&'static str> {
    flow::DropReason::try_from(number).ok().map(|reason| reason.as_str_name())
}

pub(crate) fn direction(number: i32) -> Option<&'static str> {
    flow::TrafficDirection::try_from(number).ok().map(|direction| direction.as_str_name())
}

pub(crate) fn ip_version(number: i32) -> Option<&'static str> {
    flow::IpVersion::try_from(number).ok().map(|version| version.as_str_name())
}

pub(crate) fn sctp_chunk(number: i32) -> Option<&'static str> {
    flow::SctpChunkType::try_from(number).ok().map(|chunk| chunk.as_str_name())
}

/// Names of an ICMP type and code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IcmpName {
    pub kind: u8,
    pub code: u8,
    name: Option<&'static str>,
    codes: &'static [&'static str],
}

impl IcmpName {
    /// Types and codes are cut to what fits into a header.
    pub fn v4(kind: u32, code: u32) -> Self {
        const UNREACHABLE: [&str; 16] = [
            "Net",
            "Host",
            "Protocol",
            "Port",
            "FragmentationNeeded",
            "SourceRoutingFailed",
            "NetUnknown",
            "HostUnknown",
            "SourceIsolated",
            "NetAdminProhibited",
            "HostAdminProhibited",
            "NetTOS",
            "HostTOS",
            "CommAdminProhibited",
            "HostPrecedence",
            "PrecedenceCutoff",
        ];
        let (name, codes): (_, &'static [&'static str]) = match kind as u8 {
            0 => ("EchoReply", &[]),
            3 => ("DestinationUnreachable", &UNREACHABLE),
            4 => ("SourceQuench", &[]),
            5 => ("Redirect", &["Net", "Host", "TOS+Net", "TOS+Host"]),
            8 => ("EchoRequest", &[]),
            9 => ("RouterAdvertisement", &[]),
            10 => ("RouterSolicitation", &[]),
            11 => ("TimeExceeded", &["TTLExceeded", "FragmentReassemblyTimeExceeded"]),
            12 => ("ParameterProblem", &["PointerIndicatesError", "MissingOption", "BadLength"]),
            13 => ("TimestampRequest", &[]),
            14 => ("TimestampReply", &[]),
            15 => ("InfoRequest", &[]),
            16 => ("InfoReply", &[]),
            17 => ("AddressMaskRequest", &[]),
            18 => ("AddressMaskReply", &[]),
            _ => ("", &[]),
        };
        Self::new(kind, code, name, codes)
    }

    /// See [`IcmpName::v4`].
    pub fn v6(kind: u32, code: u32) -> Self {
        const UNREACHABLE: [&str; 7] = [
            "NoRouteToDst",
            "AdminProhibited",
            "BeyondScopeOfSrc",
            "AddressUnreachable",
            "PortUnreachable",
            "SrcAddressFailedPolicy",
            "RejectRouteToDst",
        ];
        let (name, codes): (_, &'static [&'static str]) = match kind as u8 {
            1 => ("DestinationUnreachable", &UNREACHABLE),
            2 => ("PacketTooBig", &[]),
            3 => ("TimeExceeded", &["HopLimitExceeded", "FragmentReassemblyTimeExceeded"]),
            4 => ("ParameterProblem", &["ErroneousHeaderField", "UnrecognizedNextHeader", "UnrecognizedIPv6Option"]),
            128 => ("EchoRequest", &[]),
            129 => ("EchoReply", &[]),
            133 => ("RouterSolicitation", &[]),
            134 => ("RouterAdvertisement", &[]),
            135 => ("NeighborSolicitation", &[]),
            136 => ("NeighborAdvertisement", &[]),
            137 => ("Redirect", &[]),
            _ => ("", &[]),
        };
        Self::new(kind, code, name, codes)
    }

    fn new(kind: u32, code: u32, name: &'static str, codes: &'static [&'static str]) -> Self {
        Self { kind: kind as u8, code: code as u8, name: (!name.is_empty()).then_some(name), codes }
    }
}

impl std::fmt::Display for IcmpName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Some(name) = self.name else { return write!(f, "{}({})", self.kind, self.code) };
        match self.codes.get(usize::from(self.code)) {
            Some(code) => write!(f, "{name}({code})"),
            None if self.codes.is_empty() && self.code == 0 => f.write_str(name),
            None => write!(f, "{name}(Code: {})", self.code),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_have_names_only_where_the_type_uses_them() {
        for (name, text) in [
            (IcmpName::v4(8, 0), "EchoRequest"),
            (IcmpName::v4(8, 3), "EchoRequest(Code: 3)"),
            (IcmpName::v4(3, 4), "DestinationUnreachable(FragmentationNeeded)"),
            (IcmpName::v4(3, 99), "DestinationUnreachable(Code: 99)"),
            (IcmpName::v4(42, 7), "42(7)"),
            (IcmpName::v4(256 + 8, 256), "EchoRequest"),
            (IcmpName::v6(143, 0), "143(0)"),
            (IcmpName::v6(135, 0), "NeighborSolicitation"),
        ] {
            assert_eq!(name.to_string(), text);
        }
    }
}
