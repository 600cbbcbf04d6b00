//! What a change of policy would do to flows that run or ran.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Diagnostic, Labels, PolicyRef, PortProtocol, RuleRef, Verdict};

/// `POST /v1/policies/simulate`. Nothing is applied.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SimulateRequest {
    /// YAML documents to apply on top of what is in force.
    #[serde(default)]
    pub yaml: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Documents to take away.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub delete: Vec<PolicyRef>,
    /// Also list flows whose verdict stays.
    #[serde(default)]
    pub all: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SimulatedFlow {
    #[schema(value_type = String)]
    pub source: IpAddr,
    pub source_identity: u32,
    pub source_labels: Labels,
    /// `namespace/name` of a local endpoint.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub source_workload: Option<String>,
    #[schema(value_type = String)]
    pub destination: IpAddr,
    pub destination_identity: u32,
    pub destination_labels: Labels,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub destination_workload: Option<String>,
    #[schema(value_type = String)]
    pub port: PortProtocol,
    /// In conntrack now (else recorded before).
    pub running: bool,
    /// How often it was seen.
    pub seen: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FlowChange {
    pub flow: SimulatedFlow,
    pub before: Verdict,
    pub after: Verdict,
    /// Rule that decides before and after, where one does.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub rule_before: Option<RuleRef>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub rule_after: Option<RuleRef>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SimulateReply {
    /// Flows looked at.
    pub flows: u64,
    pub changes: Vec<FlowChange>,
    /// Only with `all`.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub unchanged: Vec<FlowChange>,
    pub warnings: Vec<Diagnostic>,
    /// Events lost since the agent started: flows that may be missing here.
    pub lost_events: u64,
}
