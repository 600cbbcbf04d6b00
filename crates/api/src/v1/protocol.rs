//! Protocols and ports as people write them: `80/TCP`, `8/ICMP`, `ICMPv6`.

use std::fmt;
use std::str::FromStr;

pub use nexin_model::Protocol;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PortProtocolError {
    #[error(transparent)]
    Protocol(#[from] nexin_model::ProtocolError),
    #[error("{0:?} is not a port: use a number up to 65535, followed by /TCP, /UDP or /SCTP")]
    Port(String),
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
    type Err = PortProtocolError;

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
        let port = port.parse().map_err(|_| PortProtocolError::Port(text.to_owned()))?;
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

serde_as_text!(PortProtocol);

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
}
