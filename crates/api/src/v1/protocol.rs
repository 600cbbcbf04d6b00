//! Protocols and ports as people write them: `80/TCP`, `8/ICMP`, `ICMPv6`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An IP protocol. Written by name where it has one here, else by number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    #[default]
    Tcp,
    Udp,
    Sctp,
    Icmp,
    Icmp6,
    Number(u8),
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    #[error("{0:?} is not a protocol: use TCP, UDP, SCTP, ICMP, ICMPv6 or a number up to 255")]
    Protocol(String),
    #[error("{0:?} is not a port: use a number up to 65535, followed by /TCP, /UDP or /SCTP")]
    Port(String),
}

impl Protocol {
    pub const fn number(self) -> u8 {
        match self {
            Self::Icmp => 1,
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Icmp6 => 58,
            Self::Sctp => 132,
            Self::Number(n) => n,
        }
    }

    pub const fn from_number(number: u8) -> Self {
        match number {
            1 => Self::Icmp,
            6 => Self::Tcp,
            17 => Self::Udp,
            58 => Self::Icmp6,
            132 => Self::Sctp,
            n => Self::Number(n),
        }
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
            Self::Number(n) => write!(f, "{n}"),
        }
    }
}

impl FromStr for Protocol {
    type Err = ProtocolError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.to_ascii_lowercase().as_str() {
            "tcp" => Ok(Self::Tcp),
            "udp" => Ok(Self::Udp),
            "sctp" => Ok(Self::Sctp),
            "icmp" | "icmpv4" => Ok(Self::Icmp),
            "icmp6" | "icmpv6" => Ok(Self::Icmp6),
            other => other.parse().map(Self::from_number).map_err(|_| ProtocolError::Protocol(text.to_owned())),
        }
    }
}

/// A destination: port and protocol. For ICMP the "port" is the type; where the protocol has no ports it is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PortProtocol {
    pub port: u16,
    pub protocol: Protocol,
}

impl fmt::Display for PortProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.port, self.protocol)
    }
}

impl FromStr for PortProtocol {
    type Err = ProtocolError;

    /// `80/TCP`, `80` (TCP), `ICMP` (type 8, echo), `ICMPv6` (type 128, echo).
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (port, protocol) = match text.split_once('/') {
            Some((port, protocol)) => (port, protocol.parse()?),
            None if text.starts_with(|c: char| c.is_ascii_digit()) => (text, Protocol::Tcp),
            None => match text.parse()? {
                Protocol::Icmp => ("8", Protocol::Icmp),
                Protocol::Icmp6 => ("128", Protocol::Icmp6),
                other => ("0", other),
            },
        };
        let port = port.parse().map_err(|_| ProtocolError::Port(text.to_owned()))?;
        Ok(Self { port, protocol })
    }
}

macro_rules! serde_as_text {
    ($($ty:ty),*) => {$(
        impl Serialize for $ty {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $ty {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}
pub(super) use serde_as_text;

serde_as_text!(Protocol, PortProtocol);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_read_as_people_write_them() {
        let tcp80 = PortProtocol { port: 80, protocol: Protocol::Tcp };
        assert_eq!("80/TCP".parse(), Ok(tcp80));
        assert_eq!("80/tcp".parse(), Ok(tcp80));
        assert_eq!("80".parse(), Ok(tcp80));
        assert_eq!("ICMP".parse(), Ok(PortProtocol { port: 8, protocol: Protocol::Icmp }));
        assert_eq!(tcp80.to_string(), "80/TCP");
        assert!("http/TCP".parse::<PortProtocol>().is_err());
        assert!("80/TCPX".parse::<PortProtocol>().is_err());
        assert!("70000".parse::<PortProtocol>().is_err());
    }

    #[test]
    fn protocol_numbers_round_trip() {
        for number in 0..=255 {
            let protocol = Protocol::from_number(number);
            assert_eq!(protocol.number(), number);
            assert_eq!(protocol.to_string().parse(), Ok(protocol));
        }
    }
}
