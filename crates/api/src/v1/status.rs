//! How the agent is.

use std::net::{Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Timestamp;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ComponentState {
    Ok,
    /// Not yet.
    Starting,
    /// Works in part; the message says what is missing.
    Degraded,
    Failed,
}

/// A part of the agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Component {
    pub name: String,
    pub health: ComponentState,
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub message: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub hint: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AgentInfo {
    pub version: String,
    pub node: String,
    pub pid: u32,
    pub started: Timestamp,
    /// Kernel release.
    pub kernel: String,
    /// Layout version of the pinned maps.
    pub layout: u32,
    /// How programs are attached: `tcx` or `clsact`.
    pub attach: String,
    /// Resident memory, bytes.
    pub memory_bytes: u64,
    /// Policy denials are let through and reported.
    pub audit: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EndpointCounts {
    pub ready: u32,
    pub init: u32,
    pub restoring: u32,
    pub broken: u32,
}

/// A policy file or document that is not in force as it is written now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PolicyStatus {
    pub file: String,
    pub message: String,
    /// An earlier version of it is in force.
    pub last_good_in_force: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MapPressure {
    pub map: String,
    pub entries: u64,
    pub max_entries: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LostCounts {
    pub drop: u64,
    pub verdict: u64,
    pub trace: u64,
}

/// What was found changed behind the agent's back and repaired.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Drift {
    /// Kind of object: a map's name, `link`, `route`, `neighbour`, `address`, `program`.
    pub object: String,
    pub repaired: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SyncStatus {
    /// Desired state reached the kernel.
    pub last: Option<Timestamp>,
    /// Kernel read back and compared.
    pub last_check: Option<Timestamp>,
    pub epoch: u32,
    /// Last error, until a sync succeeds.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeviceStatus {
    pub name: String,
    pub ifindex: u32,
    #[schema(value_type = Option<String>)]
    pub masquerade_ipv4: Option<Ipv4Addr>,
    #[schema(value_type = Option<String>)]
    pub masquerade_ipv6: Option<Ipv6Addr>,
}

/// Answer of `GET /v1/status`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StatusReply {
    pub agent: AgentInfo,
    /// Everything below works: endpoints may be made.
    pub ready: bool,
    pub components: Vec<Component>,
    pub endpoints: EndpointCounts,
    pub identities: u32,
    /// Documents in force.
    pub policies: u32,
    pub policy_problems: Vec<PolicyStatus>,
    pub devices: Vec<DeviceStatus>,
    pub maps: Vec<MapPressure>,
    pub lost_events: LostCounts,
    pub drift: Vec<Drift>,
    pub sync: SyncStatus,
    /// State files that could not be read and were set aside.
    pub quarantined: Vec<String>,
}
