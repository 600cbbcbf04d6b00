//! Address pools of the node.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Allocation {
    #[schema(value_type = String)]
    pub address: IpAddr,
    /// Endpoint (`container id/interface`) or purpose.
    pub owner: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Pool {
    #[schema(value_type = String)]
    pub cidr: ipnet::IpNet,
    #[schema(value_type = String)]
    pub gateway: IpAddr,
    /// Addresses that workloads can get (saturating for large IPv6 pools).
    pub capacity: u64,
    pub used: u64,
    pub allocations: Vec<Allocation>,
}

/// Answer of `GET /v1/ipam`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct IpamReply {
    pub pools: Vec<Pool>,
}
