//! Settings in force.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SettingOrigin {
    Default,
    File,
    Environment,
    Flag,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SettingValue {
    /// As it would stand in the TOML file.
    pub value: String,
    pub origin: SettingOrigin,
}

/// Answer of `GET /v1/config`: key -> value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
pub struct ConfigReply(pub BTreeMap<String, SettingValue>);
