//! One label: `source:key=value`.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Who says so. Written before the key, with a colon.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Source {
    K8s,
    /// Nexin's (and Cilium's) own: `reserved:host`.
    Reserved,
    /// An address prefix: the key is the prefix in CIDR notation.
    Cidr,
    /// Membership of a CIDR group.
    CidrGroup,
    /// A DNS name that was resolved to the address: the key is the name.
    Fqdn,
    /// A label of a node.
    Node,
    Container,
    /// Not told.
    Unspec,
    Other(Arc<str>),
}

impl Source {
    pub fn name(&self) -> &str {
        match self {
            Self::K8s => "k8s",
            Self::Reserved => "reserved",
            Self::Cidr => "cidr",
            Self::CidrGroup => "cidrgroup",
            Self::Fqdn => "fqdn",
            Self::Node => "node",
            Self::Container => "container",
            Self::Unspec => "unspec",
            Self::Other(name) => name,
        }
    }

    pub fn from_name(name: &str) -> Self {
        match name {
            "k8s" => Self::K8s,
            "reserved" => Self::Reserved,
            "cidr" => Self::Cidr,
            "cidrgroup" => Self::CidrGroup,
            "fqdn" => Self::Fqdn,
            "node" => Self::Node,
            "container" => Self::Container,
            "unspec" => Self::Unspec,
            other => Self::Other(other.into()),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A label. Cheap to clone: its texts are shared.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Label {
    pub source: Source,
    pub key: Arc<str>,
    /// Empty for labels that are only a name (`reserved:host`).
    pub value: Arc<str>,
}

impl Label {
    pub fn new(source: Source, key: impl Into<Arc<str>>, value: impl Into<Arc<str>>) -> Self {
        Self { source, key: key.into(), value: value.into() }
    }

    pub fn k8s(key: impl Into<Arc<str>>, value: impl Into<Arc<str>>) -> Self {
        Self::new(Source::K8s, key, value)
    }

    pub fn reserved(name: impl Into<Arc<str>>) -> Self {
        Self::new(Source::Reserved, name, "")
    }

    /// Label of an address prefix.
    pub fn cidr(prefix: ipnet::IpNet) -> Self {
        Self::new(Source::Cidr, prefix.trunc().to_string(), "")
    }

    /// Label of a DNS name (lower case, without the closing dot).
    pub fn fqdn(name: &str) -> Self {
        Self::new(Source::Fqdn, name.trim_end_matches('.').to_ascii_lowercase(), "")
    }

    /// Reads `source:key=value`; without a source, `default_source` is taken.
    ///
    /// # Errors
    /// [`LabelError`] when there is no key.
    pub fn parse(text: &str, default_source: Source) -> Result<Self, LabelError> {
        let (name, value) = text.split_once('=').unwrap_or((text, ""));
        let (source, key) = match name.split_once(':') {
            Some((source, key)) => (Source::from_name(source), key),
            None => (default_source, name),
        };
        if key.is_empty() {
            return Err(LabelError::NoKey { text: text.to_owned() });
        }
        Ok(Self::new(source, key, value))
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.source, self.key)?;
        if !self.value.is_empty() {
            write!(f, "={}", self.value)?;
        }
        Ok(())
    }
}

impl FromStr for Label {
    type Err = LabelError;

    /// As [`Label::parse`] with source `unspec`.
    fn from_str(text: &str) -> Result<Self, LabelError> {
        Self::parse(text, Source::Unspec)
    }
}

impl Serialize for Label {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Label {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LabelError {
    #[error("label {text:?} has no key; write key=value or source:key=value")]
    NoKey { text: String },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_read_back_as_written() {
        for text in ["k8s:app=web", "reserved:host", "unspec:a=b=c", "cidr:10.0.0.0/8", "mesos:x=y"] {
            assert_eq!(text.parse::<Label>().map(|label| label.to_string()), Ok(text.to_owned()));
        }
        assert_eq!(Label::parse("app=web", Source::K8s).map(|label| label.to_string()), Ok("k8s:app=web".to_owned()));
        assert!("=x".parse::<Label>().is_err());
    }

    #[test]
    fn an_ipv6_prefix_is_a_key() {
        let label: Result<Label, _> = "cidr:fd00::/8".parse();
        assert_eq!(label.map(|label| label.key.to_string()), Ok("fd00::/8".to_owned()));
    }
}
