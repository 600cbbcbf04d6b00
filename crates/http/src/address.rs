//! Addresses as people write them: where to listen, whom to call.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Why a text is no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    #[error("{0:?} has no port: write host:port, such as localhost:4245")]
    NoPort(String),
    #[error("the port of {0:?} is not a number from 0 to 65535")]
    BadPort(String),
    #[error("{0:?} names no IP address to listen on: write :4244, 10.0.0.1:4244 or [fd00::1]:4244")]
    BadHost(String),
    #[error("{0:?} names no socket: write unix:/run/nexin/hubble.sock")]
    NoPath(String),
    #[error("{0:?} names no host")]
    NoHost(String),
}

/// Where to listen on TCP: `:4244` (every address of the host), `10.0.0.1:4244`, `[fd00::1]:4244`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ListenAddress {
    /// None: every address, both families where the host has both.
    pub ip: Option<IpAddr>,
    pub port: u16,
}

impl ListenAddress {
    pub const fn every(port: u16) -> Self {
        Self { ip: None, port }
    }

    /// What to hand to bind(2). Of [`Self::every`], the IPv6 wildcard, which also takes IPv4.
    pub fn socket_addr(&self) -> SocketAddr {
        SocketAddr::new(self.ip.unwrap_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED)), self.port)
    }
}

impl From<SocketAddr> for ListenAddress {
    fn from(address: SocketAddr) -> Self {
        Self { ip: Some(address.ip()), port: address.port() }
    }
}

impl FromStr for ListenAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (host, port) = split_port(text)?;
        if host.is_empty() {
            return Ok(Self::every(port));
        }
        let ip = if host == "localhost" { Ok(IpAddr::from([127, 0, 0, 1])) } else { host.parse() };
        Ok(Self { ip: Some(ip.map_err(|_| AddressError::BadHost(text.to_owned()))?), port })
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.ip {
            None => write!(f, ":{}", self.port),
            Some(ip) => SocketAddr::new(ip, self.port).fmt(f),
        }
    }
}

impl Serialize for ListenAddress {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ListenAddress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Whom to call.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Target {
    Unix(PathBuf),
    Tcp { host: String, port: u16 },
}

impl FromStr for Target {
    type Err = AddressError;

    /// `unix:/path`, `unix:///path`, `host:port`, `[v6]:port`; `dns:` and `passthrough:` before a host mean nothing more.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(path) = text.strip_prefix("unix:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            return if path.is_empty() {
                Err(AddressError::NoPath(text.to_owned()))
            } else {
                Ok(Self::Unix(path.into()))
            };
        }
        let host = ["dns:", "passthrough:"].iter().find_map(|scheme| text.strip_prefix(scheme)).unwrap_or(text);
        let host = host.strip_prefix("//").map_or(host, |rest| rest.split_once('/').map_or(rest, |(_, name)| name));
        let (host, port) = split_port(host.trim_start_matches('/'))?;
        if host.is_empty() {
            return Err(AddressError::NoHost(text.to_owned()));
        }
        Ok(Self::Tcp { host: host.to_owned(), port })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // Two slashes in front would be read as the scheme's.
            Self::Unix(path) if path.as_os_str().as_encoded_bytes().starts_with(b"//") => {
                write!(f, "unix://{}", path.display())
            }
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            // A host that is called like a scheme.
            Self::Tcp { host, port } if ["unix", "dns", "passthrough"].contains(&host.as_str()) => {
                write!(f, "dns:{host}:{port}")
            }
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
        }
    }
}

impl Serialize for Target {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Target {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Host without brackets, and port.
fn split_port(text: &str) -> Result<(&str, u16), AddressError> {
    let (host, port) = text.rsplit_once(':').ok_or_else(|| AddressError::NoPort(text.to_owned()))?;
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    if bare.is_none() && host.contains(':') {
        // An IPv6 address without brackets: its last group is no port.
        return Err(AddressError::NoPort(text.to_owned()));
    }
    let port = port.parse().map_err(|_| AddressError::BadPort(text.to_owned()))?;
    Ok((bare.unwrap_or(host), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listening_addresses_round_trip() {
        for text in [":4244", "10.0.0.1:4244", "[fd00::1]:80", "0.0.0.0:0"] {
            assert_eq!(text.parse::<ListenAddress>().unwrap().to_string(), text);
        }
        assert_eq!("localhost:1".parse::<ListenAddress>().unwrap().to_string(), "127.0.0.1:1");
        assert_eq!(":4244".parse::<ListenAddress>().unwrap().socket_addr().to_string(), "[::]:4244");
        assert_eq!("4244".parse::<ListenAddress>(), Err(AddressError::NoPort("4244".into())));
        assert_eq!("fd00::1".parse::<ListenAddress>(), Err(AddressError::NoPort("fd00::1".into())));
        assert_eq!("a:70000".parse::<ListenAddress>(), Err(AddressError::BadPort("a:70000".into())));
        assert_eq!("a.b:1".parse::<ListenAddress>(), Err(AddressError::BadHost("a.b:1".into())));
    }

    #[test]
    fn targets_are_read_as_the_official_command_reads_them() {
        let tcp = |host: &str, port| Ok(Target::Tcp { host: host.into(), port });
        assert_eq!("localhost:4245".parse(), tcp("localhost", 4245));
        assert_eq!("[::1]:4245".parse(), tcp("::1", 4245));
        assert_eq!("dns:///relay.kube-system:80".parse(), tcp("relay.kube-system", 80));
        assert_eq!("passthrough:///10.0.0.1:1".parse(), tcp("10.0.0.1", 1));
        for text in ["unix:/run/h.sock", "unix:///run/h.sock"] {
            assert_eq!(text.parse(), Ok(Target::Unix("/run/h.sock".into())));
        }
        assert_eq!("unix:h.sock".parse(), Ok(Target::Unix("h.sock".into())));
        let doubled = Target::Unix("//run/h.sock".into());
        assert_eq!(doubled.to_string().parse(), Ok(doubled));
        for text in ["dns:unix:2", "dns:dns:2", "dns:passthrough:2"] {
            let odd: Target = text.parse().unwrap();
            assert_eq!(odd.to_string().parse(), Ok(odd), "{text}");
        }
        assert_eq!("unix://".parse::<Target>(), Err(AddressError::NoPath("unix://".into())));
        assert_eq!(":80".parse::<Target>(), Err(AddressError::NoHost(":80".into())));
        assert_eq!("localhost".parse::<Target>(), Err(AddressError::NoPort("localhost".into())));
        let v6: Target = "[::1]:4245".parse().unwrap();
        assert_eq!(v6.to_string(), "[::1]:4245");
    }
}
