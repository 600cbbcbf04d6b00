//! What this machine can do.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CheckState {
    Ok,
    /// A better way is missing; another is used.
    Degraded,
    /// Something does not work without it.
    Missing,
    /// Could not be found out.
    Unknown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CheckArea {
    Kernel,
    Permissions,
    Filesystems,
    Sysctls,
    Devices,
    State,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Check {
    pub name: String,
    pub area: CheckArea,
    pub result: CheckState,
    /// What was found.
    pub found: String,
    /// What its absence costs.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub cost: Option<String>,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub remedy: Option<String>,
}

/// Answer of `GET /v1/doctor`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DoctorReply {
    pub kernel: String,
    pub checks: Vec<Check>,
}

impl DoctorReply {
    /// The worst result.
    pub fn worst(&self) -> CheckState {
        let known = self.checks.iter().map(|check| check.result).filter(|state| *state != CheckState::Unknown);
        known.max().unwrap_or(CheckState::Ok)
    }
}
