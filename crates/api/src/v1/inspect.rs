//! Kernel maps as they are.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum MapKind {
    Array,
    PerCpuArray,
    Hash,
    LruHash,
    LpmTrie,
    RingBuf,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MapInfo {
    pub name: String,
    pub kind: MapKind,
    /// Kernel's number of the map.
    pub id: u32,
    pub key_bytes: u32,
    pub value_bytes: u32,
    /// Entries in use; None where they cannot be counted (arrays, rings).
    pub entries: Option<u64>,
    pub max_entries: u32,
    /// Memory the kernel accounts to it, bytes.
    pub memory_bytes: Option<u64>,
    pub pin: String,
}

/// One entry: decoded where the layout is known, as fields of the key and the value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MapEntry {
    pub key: String,
    pub value: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MapContents {
    #[serde(flatten)]
    pub info: MapInfo,
    pub contents: Vec<MapEntry>,
    /// More entries exist than are shown.
    pub truncated: bool,
}
