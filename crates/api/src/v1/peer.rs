//! How a question names a side of a conversation.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Labels;
use super::protocol::serde_as_text;

/// One side: `endpoint:7` (or `7`), `shop/web` (namespace and name), `10.0.0.7`, `identity:4711`, `reserved:world` (or
/// `world`), or labels `app=web,tier=front`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerRef {
    Endpoint(u16),
    Workload {
        namespace: String,
        name: String,
    },
    Address(IpAddr),
    Identity(u32),
    /// A reserved identity's name, without `reserved:`.
    Reserved(String),
    Labels(Labels),
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} names no peer: use an endpoint number, namespace/name, an address, identity:NUMBER, reserved:NAME or labels key=value[,key=value]"
)]
pub struct PeerRefError(pub String);

impl FromStr for PeerRef {
    type Err = PeerRefError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || PeerRefError(text.to_owned());
        if let Ok(address) = text.parse() {
            return Ok(Self::Address(address));
        }
        if let Some(number) = text.strip_prefix("endpoint:") {
            return number.parse().map(Self::Endpoint).map_err(|_| bad());
        }
        if let Some(number) = text.strip_prefix("identity:") {
            return number.parse().map(Self::Identity).map_err(|_| bad());
        }
        if let Some(name) = text.strip_prefix("reserved:") {
            return Ok(Self::Reserved(name.to_owned()));
        }
        if let Ok(number) = text.parse() {
            return Ok(Self::Endpoint(number));
        }
        if text.contains('=') {
            let pairs: Option<Vec<_>> = text
                .split(',')
                .map(|pair| pair.split_once('=').map(|(key, value)| (key.trim(), value.trim())))
                .collect();
            let pairs = pairs.ok_or_else(bad)?;
            return Ok(Self::Labels(pairs.into_iter().collect()));
        }
        match text {
            "host" | "world" | "world-ipv4" | "world-ipv6" | "init" | "health" | "remote-node" | "kube-apiserver"
            | "ingress" | "unmanaged" => Ok(Self::Reserved(text.to_owned())),
            _ => match text.split_once('/') {
                Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() => {
                    Ok(Self::Workload { namespace: namespace.to_owned(), name: name.to_owned() })
                }
                Some(_) => Err(bad()),
                None if text.is_empty() => Err(bad()),
                None => Ok(Self::Workload { namespace: "default".to_owned(), name: text.to_owned() }),
            },
        }
    }
}

impl fmt::Display for PeerRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Endpoint(number) => write!(f, "endpoint:{number}"),
            Self::Workload { namespace, name } => write!(f, "{namespace}/{name}"),
            Self::Address(address) => write!(f, "{address}"),
            Self::Identity(number) => write!(f, "identity:{number}"),
            Self::Reserved(name) => write!(f, "reserved:{name}"),
            // With every equals sign: a label without a value would be read as a workload's name.
            Self::Labels(labels) => {
                let pairs: Vec<String> = labels.0.iter().map(|(key, value)| format!("{key}={value}")).collect();
                f.write_str(&pairs.join(","))
            }
        }
    }
}

serde_as_text!(PeerRef);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_are_read_and_written_alike() {
        for text in [
            "endpoint:7",
            "shop/web",
            "10.0.0.7",
            "fd00::7",
            "identity:4711",
            "reserved:world",
            "app=web,tier=x",
            "app=",
        ] {
            let peer: PeerRef = text.parse().unwrap();
            assert_eq!(peer.to_string(), text);
            assert_eq!(peer.to_string().parse(), Ok(peer));
        }
        assert_eq!("7".parse(), Ok(PeerRef::Endpoint(7)));
        assert_eq!("world".parse(), Ok(PeerRef::Reserved("world".into())));
        assert_eq!("web".parse(), Ok(PeerRef::Workload { namespace: "default".into(), name: "web".into() }));
        for text in ["", "/x", "x/", "endpoint:x", "a=b,c"] {
            assert_eq!(text.parse::<PeerRef>(), Err(PeerRefError(text.into())));
        }
    }
}
