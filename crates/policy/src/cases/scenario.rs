//! A small cluster as plain values, and what is expected of it.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use nexin_model::{LabelSet, NamedPorts, Protocol};

use crate::engine::Config;
use crate::rule::Document;

/// Keys and values without a source, as namespaces and nodes have them.
pub type PlainLabels = Vec<(Arc<str>, Arc<str>)>;

/// Everything that verdicts depend on.
#[derive(Clone, Debug, Default)]
pub struct Scenario {
    pub config: Config,
    /// Labels of nodes are part of their identities (`enable-node-selector-labels`).
    pub node_labels: bool,
    /// Namespaces with their labels. A workload's namespace need not be listed; it has no labels then.
    pub namespaces: BTreeMap<Arc<str>, PlainLabels>,
    pub workloads: Vec<Workload>,
    pub nodes: Vec<Node>,
    /// DNS names with the addresses they resolved to.
    pub names: BTreeMap<Arc<str>, Vec<IpAddr>>,
    /// Addresses of the API server outside the cluster.
    pub kube_apiserver: Vec<IpAddr>,
    pub documents: Vec<Document>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workload {
    pub namespace: Arc<str>,
    pub name: Arc<str>,
    pub labels: LabelSet,
    pub service_account: Option<Arc<str>>,
    pub addresses: Vec<IpAddr>,
    pub named_ports: NamedPorts,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    pub name: Arc<str>,
    /// The node that policies are looked at from: `reserved:host`.
    pub local: bool,
    pub labels: PlainLabels,
    pub addresses: Vec<IpAddr>,
    pub kube_apiserver: bool,
}

/// A scenario with what is expected of it.
#[derive(Clone, Debug)]
pub struct Case {
    pub name: Arc<str>,
    pub file: Arc<str>,
    /// Of the case in the file, from 1.
    pub line: u32,
    pub scenario: Scenario,
    pub rows: Vec<Row>,
}

/// One flow and its expected verdicts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub from: PeerRef,
    pub to: PeerRef,
    pub protocol: Protocol,
    /// Destination port, for ICMP `type << 8 | code`.
    pub port: u16,
    /// `None`: any verdict will do (the row is only there to be shown).
    pub expect: Expectation,
    /// Of the row in the file, from 1; 0 = not from a file.
    pub line: u32,
}

/// What must come out, as far as it is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Expectation {
    /// Both sides together.
    pub combined: Option<bool>,
    pub ingress: Option<bool>,
    pub egress: Option<bool>,
}

/// Who sends or receives, as people write it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PeerRef {
    /// `namespace/name`
    Workload { namespace: Arc<str>, name: Arc<str> },
    /// A workload's, a node's or an outside one.
    Address(IpAddr),
    /// `reserved:host`
    Reserved(Arc<str>),
    /// `node:name`
    Node(Arc<str>),
    /// A DNS name that the scenario resolves.
    Name(Arc<str>),
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no peer: write namespace/name, an address, a DNS name, node:NAME or reserved:NAME")]
pub struct PeerRefError {
    text: String,
}

impl FromStr for PeerRef {
    type Err = PeerRefError;

    fn from_str(text: &str) -> Result<Self, PeerRefError> {
        if let Ok(address) = text.parse() {
            return Ok(Self::Address(address));
        }
        if let Some(name) = text.strip_prefix("reserved:") {
            return Ok(Self::Reserved(name.into()));
        }
        if let Some(name) = text.strip_prefix("node:") {
            return Ok(Self::Node(name.into()));
        }
        match text.split_once('/') {
            Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() => {
                Ok(Self::Workload { namespace: namespace.into(), name: name.into() })
            }
            None if text.contains('.') && !text.contains(' ') => Ok(Self::Name(text.trim_end_matches('.').into())),
            _ => Err(PeerRefError { text: text.to_owned() }),
        }
    }
}

impl fmt::Display for PeerRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Workload { namespace, name } => write!(f, "{namespace}/{name}"),
            Self::Address(address) => write!(f, "{address}"),
            Self::Reserved(name) => write!(f, "reserved:{name}"),
            Self::Node(name) => write!(f, "node:{name}"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_are_read_back_as_written() {
        for text in ["shop/web", "10.0.0.7", "fd00::7", "reserved:host", "node:a", "api.example.com"] {
            assert_eq!(text.parse::<PeerRef>().map(|peer| peer.to_string()), Ok(text.to_owned()));
        }
        assert!("web".parse::<PeerRef>().is_err());
        assert!("/web".parse::<PeerRef>().is_err());
    }
}
