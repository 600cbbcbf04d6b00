//! `POST /v1/capture`: copies of chosen packets, one JSON object a line.

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{FlowEvent, LostEvents, PeerRef, PortRange, Protocol};

/// What one side of a packet must be; what is not given may be anything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CaptureSide {
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub prefix: Option<IpNet>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity: Option<u32>,
    /// A workload of this node, an address, or an identity; labels are not possible.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub workload: Option<PeerRef>,
    /// ICMP has no ports and does not match any.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub ports: Option<PortRange>,
}

/// Which packets: all that is given must match.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CaptureFilter {
    pub source: CaptureSide,
    pub destination: CaptureSide,
    /// Packets match as well with their sides swapped.
    pub either_way: bool,
    /// 4 or 6.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub family: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub protocol: Option<Protocol>,
    /// Packets that go on.
    pub forwarded: bool,
    /// Packets that are dropped.
    pub dropped: bool,
}

impl Default for CaptureFilter {
    /// Every packet.
    fn default() -> Self {
        let (source, destination) = (CaptureSide::default(), CaptureSide::default());
        let (either_way, forwarded, dropped) = (false, true, true);
        Self { source, destination, either_way, family: None, protocol: None, forwarded, dropped }
    }
}

/// Packets that match any of the filters; without filters all of them. The node has eight filters for everybody.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CaptureRequest {
    pub filters: Vec<CaptureFilter>,
    /// Bytes of each packet, at most 8192.
    pub snap: u32,
}

impl Default for CaptureRequest {
    fn default() -> Self {
        Self { filters: Vec::new(), snap: 256 }
    }
}

/// A packet as it left, or as it was when it was dropped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CapturedPacket {
    /// What is known of it: identities, verdict, reason, rule.
    pub event: FlowEvent,
    /// Bytes of the packet; `data` may hold fewer.
    pub length: u32,
    /// The data begin with an Ethernet header, else with that of IP.
    pub ethernet: bool,
    /// In base64 (RFC 4648, with padding).
    pub data: String,
}

/// One line of the stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum CaptureRecord {
    Packet(Box<CapturedPacket>),
    Lost(LostEvents),
}
