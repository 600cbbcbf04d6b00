//! Policy documents, what is said of them, and explanations.

use std::fmt;
use std::str::FromStr;

pub use nexin_model::Direction;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{Labels, PeerRef, PortProtocol, Timestamp, Verdict};

/// Kinds of documents that the agent takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
pub enum PolicyKind {
    NetworkPolicy,
    CiliumNetworkPolicy,
    CiliumClusterwideNetworkPolicy,
    #[serde(rename = "CiliumCIDRGroup")]
    CiliumCidrGroup,
    ClusterNetworkPolicy,
}

impl PolicyKind {
    pub const ALL: &'static [Self] = &[
        Self::NetworkPolicy,
        Self::CiliumNetworkPolicy,
        Self::CiliumClusterwideNetworkPolicy,
        Self::CiliumCidrGroup,
        Self::ClusterNetworkPolicy,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::NetworkPolicy => "NetworkPolicy",
            Self::CiliumNetworkPolicy => "CiliumNetworkPolicy",
            Self::CiliumClusterwideNetworkPolicy => "CiliumClusterwideNetworkPolicy",
            Self::CiliumCidrGroup => "CiliumCIDRGroup",
            Self::ClusterNetworkPolicy => "ClusterNetworkPolicy",
        }
    }
}

impl fmt::Display for PolicyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a kind of policy: use netpol, cnp, ccnp, ccg, cluster-netpol or the full name")]
pub struct PolicyKindError(pub String);

impl FromStr for PolicyKind {
    type Err = PolicyKindError;

    /// The full name in any case, or kubectl's short name.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let lower = text.to_ascii_lowercase();
        match lower.as_str() {
            "netpol" | "networkpolicies" => return Ok(Self::NetworkPolicy),
            "cnp" | "ciliumnp" => return Ok(Self::CiliumNetworkPolicy),
            "ccnp" => return Ok(Self::CiliumClusterwideNetworkPolicy),
            "ccg" => return Ok(Self::CiliumCidrGroup),
            "cluster-netpol" => return Ok(Self::ClusterNetworkPolicy),
            _ => {}
        }
        let found = Self::ALL.iter().find(|kind| kind.name().eq_ignore_ascii_case(text));
        found.copied().ok_or_else(|| PolicyKindError(text.to_owned()))
    }
}

/// Names one document.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PolicyRef {
    pub kind: PolicyKind,
    /// None for cluster-wide kinds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    pub name: String,
}

impl fmt::Display for PolicyRef {
    /// `CiliumNetworkPolicy/shop/web`; cluster-wide kinds have `-` for the namespace, as in paths of the API.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.kind, self.namespace.as_deref().unwrap_or("-"), self.name)
    }
}

/// Query of `POST /v1/policies` and `POST /v1/policies/validate`; the body is YAML.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PolicyUpload {
    /// Name of the file for messages and explanations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Namespace of documents that name none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
}

/// `POST /v1/policies/set`: several files that are one change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PolicySet {
    pub files: Vec<PolicyFile>,
    /// Namespace of documents that name none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
}

/// A file of a [`PolicySet`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PolicyFile {
    /// Its name for messages and explanations.
    pub file: String,
    /// YAML documents.
    pub yaml: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Means something, though perhaps not what was meant.
    Warning,
    /// Valid, but needs a part that is not enforced yet.
    NotEnforceable,
    Error,
}

/// Something to say of a place in a document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Diagnostic {
    pub severity: Severity,
    pub file: String,
    /// 1-based; 0 where the document as a whole is meant.
    pub line: u32,
    pub column: u32,
    /// Path of the field, such as `spec.ingress[0].toPorts`.
    pub field: String,
    pub message: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub hint: Option<String>,
}

/// Answer of `POST /v1/policies`: the policy is in force in the kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PolicyApplyReply {
    pub applied: Vec<PolicyRef>,
    pub unchanged: Vec<PolicyRef>,
    pub warnings: Vec<Diagnostic>,
    /// Endpoints whose policy changed.
    pub endpoints_changed: u32,
    /// Epoch of the datapath from which on it holds.
    pub epoch: u32,
}

/// Answer of `POST /v1/policies/validate`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ValidateReply {
    pub documents: Vec<PolicyRef>,
    pub diagnostics: Vec<Diagnostic>,
    /// Would be applied as it stands.
    pub valid: bool,
}

/// Where a document came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PolicyOrigin {
    /// `POST /v1/policies`
    Api,
    /// The watched directory; its file decides, the API may not change it.
    Directory,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PolicyState {
    Enforced,
    /// Judged beside the others, nothing enforced.
    Shadow,
    /// The file's newer version is bad; this is the last good one.
    Stale,
}

/// A document as applied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Policy {
    #[serde(flatten)]
    pub reference: PolicyRef,
    pub origin: PolicyOrigin,
    pub state: PolicyState,
    pub file: String,
    pub line: u32,
    pub rules: u32,
    /// Local endpoints it selects.
    pub endpoints: Vec<u16>,
    pub applied: Timestamp,
    /// The document as it was written.
    pub yaml: String,
}

/// `GET /v1/policies/explain?from=...&to=...&port=80/TCP`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ExplainQuery {
    #[schema(value_type = String)]
    #[param(value_type = String)]
    pub from: PeerRef,
    #[schema(value_type = String)]
    #[param(value_type = String)]
    pub to: PeerRef,
    #[schema(value_type = String)]
    #[param(value_type = String)]
    pub port: PortProtocol,
}

/// A rule that matches the question, strongest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SpokenRule {
    pub policy: PolicyRef,
    pub file: String,
    pub line: u32,
    /// Path of the rule in the document, such as `spec.ingress[0]`.
    pub field: String,
    pub verdict: Verdict,
    /// Decides.
    pub winner: bool,
    /// Only evaluated beside the others.
    pub shadow: bool,
    /// Why it wins or loses, for people.
    pub reason: String,
}

/// What one side's policy says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DirectionAnswer {
    #[schema(value_type = String)]
    pub direction: Direction,
    /// False where no policy isolates this direction, or the side is not a workload.
    pub enforced: bool,
    pub verdict: Verdict,
    pub rules: Vec<SpokenRule>,
    /// Policies that isolate this direction, so that what no rule allows is refused.
    pub isolated_by: Vec<PolicyRef>,
    /// Why, in one line.
    pub reason: String,
    /// What it would be with shadow policies in force, where that differs.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub shadow_verdict: Option<Verdict>,
    /// Verdict read from the kernel's tables, for local endpoints: always the same, or something is broken.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub kernel_verdict: Option<Verdict>,
}

/// Answer of `GET /v1/policies/explain`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ExplainReply {
    pub from_identity: u32,
    pub from_labels: Labels,
    pub to_identity: u32,
    pub to_labels: Labels,
    #[schema(value_type = String)]
    pub port: PortProtocol,
    /// Both sides together.
    pub verdict: Verdict,
    pub egress: DirectionAnswer,
    pub ingress: DirectionAnswer,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_found_by_every_name() {
        for kind in PolicyKind::ALL {
            assert_eq!(kind.name().parse(), Ok(*kind));
            assert_eq!(kind.name().to_lowercase().parse(), Ok(*kind));
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.name());
        }
        assert_eq!("cnp".parse(), Ok(PolicyKind::CiliumNetworkPolicy));
        assert!("pod".parse::<PolicyKind>().is_err());
    }
}
