//! The cluster's words as plain data: labels, selectors, identities, ports, endpoints.
//!
//! Nothing here decides anything and nothing here does I/O; what a label or a selector *means* is the `policy` crate's.

mod endpoint;
mod identity;
mod label;
mod label_set;
mod port;
mod selector;

pub use endpoint::{
    CLUSTER_LABEL, EndpointLabels, LabelFilter, NAMESPACE_LABEL, NAMESPACE_LABELS_PREFIX, SERVICE_ACCOUNT_LABEL,
};
pub use identity::{Identity, RESERVED, ReservedIdentity, reserved_by_name, reserved_labels};
pub use label::{Label, LabelError, Source};
pub use label_set::LabelSet;
pub use port::{IcmpFamily, IcmpType, NamedPorts, PortRange, Protocol, ProtocolError};
pub use selector::{KeyMatch, Operator, Requirement, Selector, SelectorError};

/// Side of a workload a rule speaks about: `Ingress` = traffic to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    Ingress,
    Egress,
}

impl Direction {
    pub const BOTH: [Self; 2] = [Self::Ingress, Self::Egress];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Ingress => "ingress",
            Self::Egress => "egress",
        }
    }
}

impl std::fmt::Display for Direction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// Tier of a rule; an earlier tier speaks first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    Admin,
    #[default]
    Normal,
    Baseline,
    /// What the engine itself adds: the allow of the local host, the open end of policies without default deny.
    Default,
}
