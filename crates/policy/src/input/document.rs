//! A document that was read: what kind it is, whose, and what it says.

use std::sync::Arc;

use super::cidr_group::CidrGroup;
use super::cilium::Rule;
use super::cluster::ClusterPolicy;
use super::diagnostic::{Diagnostic, Pos};
use super::meta::Meta;
use super::netpol::NetworkPolicy;
use crate::rule::{DocumentKey, Kind};

/// What [`super::parse`] found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Parsed {
    /// Documents without errors, in the order they were written.
    pub documents: Vec<Document>,
    /// By place.
    pub diagnostics: Vec<Diagnostic>,
}

impl Parsed {
    pub fn has_errors(&self) -> bool {
        self.diagnostics.iter().any(Diagnostic::is_error)
    }
}

/// One policy or CIDR group.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    pub kind: Kind,
    pub meta: Meta,
    pub body: Body,
    pub file: Arc<str>,
    /// Where the document begins.
    pub at: Pos,
}

/// What a document says.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// NetworkPolicy.
    Network(NetworkPolicy),
    /// CiliumNetworkPolicy and CiliumClusterwideNetworkPolicy: `spec`, then `specs`.
    Cilium(Vec<Rule>),
    /// ClusterNetworkPolicy.
    Cluster(ClusterPolicy),
    /// CiliumCIDRGroup.
    CidrGroup(CidrGroup),
}

/// Namespace of an object that names none. Source: Kubernetes.
const DEFAULT_NAMESPACE: &str = "default";

impl Document {
    /// The namespace the document is in; `None` for kinds that have none.
    pub fn namespace(&self) -> Option<&str> {
        match self.kind {
            Kind::NetworkPolicy | Kind::CiliumNetworkPolicy => {
                Some(self.meta.namespace.as_deref().unwrap_or(DEFAULT_NAMESPACE))
            }
            Kind::CiliumClusterwideNetworkPolicy | Kind::ClusterNetworkPolicy | Kind::CiliumCIDRGroup => None,
        }
    }

    pub fn key(&self) -> DocumentKey {
        DocumentKey {
            kind: self.kind,
            namespace: self.namespace().map(Arc::from),
            name: self.meta.name.as_str().into(),
        }
    }
}
