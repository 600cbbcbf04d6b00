//! Conntrack entries.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Protocol;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CtState {
    New,
    Established,
    Closing,
    LastAck,
    /// Policy refused the running flow after a change.
    Denied,
}

/// A flow, seen from its originator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CtEntry {
    #[schema(value_type = String)]
    pub protocol: Protocol,
    #[schema(value_type = String)]
    pub source: IpAddr,
    pub source_port: u16,
    #[schema(value_type = String)]
    pub destination: IpAddr,
    pub destination_port: u16,
    pub state: CtState,
    pub source_endpoint: Option<u16>,
    pub destination_endpoint: Option<u16>,
    /// Seconds of life left without further packets.
    pub expires_in: i64,
    /// Modulo 2^24.
    pub packets_forward: u64,
    /// Modulo 2^40.
    pub bytes_forward: u64,
    pub packets_reverse: u64,
    pub bytes_reverse: u64,
    /// Source after masquerading.
    #[schema(value_type = Option<String>)]
    pub masqueraded_as: Option<IpAddr>,
    pub masquerade_port: Option<u16>,
    pub epoch: u32,
}

/// Query of `GET /v1/ct`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct CtQuery {
    /// Only flows of this endpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<u16>,
    /// At most so many.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// Answer of `DELETE /v1/ct`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CtFlushReply {
    pub removed: u64,
}
