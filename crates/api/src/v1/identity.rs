//! Identities: numbers that stand for sets of labels.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Labels;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Identity {
    pub id: u32,
    pub labels: Labels,
    /// Local endpoints that have it.
    pub endpoints: Vec<u16>,
    /// The prefix, for identities that stand for a CIDR.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    #[schema(value_type = Option<String>)]
    pub cidr: Option<ipnet::IpNet>,
}
