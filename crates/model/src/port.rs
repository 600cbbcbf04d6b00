//! Protocols, port ranges, named ports, ICMP types.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A transport protocol by its IP protocol number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    Tcp,
    Udp,
    Sctp,
    Icmp,
    Icmp6,
    Other(u8),
}

impl Protocol {
    pub const fn number(self) -> u8 {
        match self {
            Self::Icmp => 1,
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Icmp6 => 58,
            Self::Sctp => 132,
            Self::Other(number) => number,
        }
    }

    pub const fn from_number(number: u8) -> Self {
        match number {
            1 => Self::Icmp,
            6 => Self::Tcp,
            17 => Self::Udp,
            58 => Self::Icmp6,
            132 => Self::Sctp,
            other => Self::Other(other),
        }
    }

    /// Has ports (and not, as ICMP, types).
    pub const fn has_ports(self) -> bool {
        matches!(self, Self::Tcp | Self::Udp | Self::Sctp)
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp => f.write_str("TCP"),
            Self::Udp => f.write_str("UDP"),
            Self::Sctp => f.write_str("SCTP"),
            Self::Icmp => f.write_str("ICMP"),
            Self::Icmp6 => f.write_str("ICMPv6"),
            Self::Other(number) => write!(f, "protocol {number}"),
        }
    }
}

impl FromStr for Protocol {
    type Err = ProtocolError;

    /// Names in any case, or an IP protocol number.
    fn from_str(text: &str) -> Result<Self, ProtocolError> {
        let known = match text.to_ascii_lowercase().as_str() {
            "tcp" => Some(Self::Tcp),
            "udp" => Some(Self::Udp),
            "sctp" => Some(Self::Sctp),
            "icmp" | "icmpv4" | "icmp4" => Some(Self::Icmp),
            "icmpv6" | "icmp6" => Some(Self::Icmp6),
            number => number.parse().ok().map(Self::from_number),
        };
        known.ok_or_else(|| ProtocolError { text: text.to_owned() })
    }
}

impl Serialize for Protocol {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Other(number) => serializer.collect_str(number),
            named => serializer.collect_str(named),
        }
    }
}

impl<'de> Deserialize<'de> for Protocol {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("protocol {text:?} is not known; write TCP, UDP, SCTP, ICMP, ICMPv6 or a number")]
pub struct ProtocolError {
    text: String,
}

/// Ports `first..=last`, in host order. Never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PortRange {
    first: u16,
    last: u16,
}

impl PortRange {
    pub const ALL: Self = Self { first: 0, last: u16::MAX };

    /// `None` when `last` is below `first`.
    pub const fn new(first: u16, last: u16) -> Option<Self> {
        if first <= last { Some(Self { first, last }) } else { None }
    }

    pub const fn single(port: u16) -> Self {
        Self { first: port, last: port }
    }

    pub const fn first(self) -> u16 {
        self.first
    }

    pub const fn last(self) -> u16 {
        self.last
    }

    pub const fn contains(self, port: u16) -> bool {
        self.first <= port && port <= self.last
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last { write!(f, "{}", self.first) } else { write!(f, "{}-{}", self.first, self.last) }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum IcmpFamily {
    V4,
    V6,
}

/// An ICMP message type (every code of it).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IcmpType {
    pub family: IcmpFamily,
    pub kind: u8,
}

impl IcmpType {
    pub const fn protocol(self) -> Protocol {
        match self.family {
            IcmpFamily::V4 => Protocol::Icmp,
            IcmpFamily::V6 => Protocol::Icmp6,
        }
    }

    /// The type and all its codes as a range of the datapath's "port" (`type << 8 | code`).
    pub const fn as_ports(self) -> PortRange {
        let first = (self.kind as u16) << 8;
        PortRange { first, last: first | 0xff }
    }
}

/// Names a workload gives to its ports. A name may stand for several protocols, each with its own number.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NamedPorts(Arc<BTreeMap<(Arc<str>, Protocol), u16>>);

impl NamedPorts {
    pub fn get(&self, name: &str, protocol: Protocol) -> Option<u16> {
        self.0.get(&(Arc::from(name), protocol)).copied()
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, Protocol, u16)> {
        self.0.iter().map(|((name, protocol), port)| (&**name, *protocol, *port))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<N: Into<Arc<str>>> FromIterator<(N, Protocol, u16)> for NamedPorts {
    fn from_iter<I: IntoIterator<Item = (N, Protocol, u16)>>(ports: I) -> Self {
        Self(Arc::new(ports.into_iter().map(|(name, protocol, port)| ((name.into(), protocol), port)).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protocols_have_names_and_numbers() {
        assert_eq!("icmpv6".parse(), Ok(Protocol::Icmp6));
        assert_eq!("47".parse(), Ok(Protocol::Other(47)));
        assert!("quic".parse::<Protocol>().is_err());
        for number in 0..=u8::MAX {
            assert_eq!(Protocol::from_number(number).number(), number);
        }
    }

    #[test]
    fn an_icmp_type_spans_its_codes() {
        let echo = IcmpType { family: IcmpFamily::V4, kind: 8 }.as_ports();
        assert_eq!((echo.first(), echo.last()), (0x800, 0x8ff));
        assert_eq!(PortRange::new(2, 1), None);
    }

    #[test]
    fn a_name_may_stand_for_two_protocols() {
        let ports: NamedPorts = [("dns", Protocol::Udp, 53), ("dns", Protocol::Tcp, 5353)].into_iter().collect();
        assert_eq!(ports.get("dns", Protocol::Tcp), Some(5353));
        assert_eq!(ports.get("dns", Protocol::Sctp), None);
    }
}
