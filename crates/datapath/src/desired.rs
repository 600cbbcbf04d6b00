//! What the agent wants in the kernel, as plain values.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipnet::IpNet;
use nexin_abi::Identity;
use nexin_abi::maps::addr::AddrInfo;
use nexin_policy::tables::{PolicyKey, PolicyTables};

/// The whole wanted state of this node's datapath.
#[derive(Clone, Debug, Default)]
pub struct Desired {
    /// Local endpoints by number (1 to [`nexin_abi::maps::endpoint::Endpoint::COUNT`] - 1).
    pub endpoints: BTreeMap<u16, EndpointSpec>,
    /// Exact addresses: workloads, this node, other nodes, the gateway.
    pub addresses: BTreeMap<IpAddr, AddrInfo>,
    /// Prefixes that have an identity, asked where no exact address is known.
    pub cidrs: BTreeMap<IpNet, Identity>,
    /// Destinations that see workloads with their own addresses.
    pub no_masquerade: BTreeSet<IpNet>,
    /// Devices that lead to the network, by interface index.
    pub devices: BTreeMap<u32, DeviceSpec>,
    /// Decision tables of all policies that endpoints name.
    pub policies: BTreeMap<PolicyKey, Arc<PolicyTables>>,
    /// Denials are reported and let through, on the whole node.
    pub audit: bool,
}

/// A local endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointSpec {
    /// Host side of its veth pair.
    pub ifindex: u32,
    pub ifname: String,
    pub identity: Identity,
    /// MAC of the workload's own interface.
    pub mac: [u8; 6],
    /// MAC of the host side.
    pub gateway_mac: [u8; 6],
    pub mtu: u16,
    /// Policy of each direction, `None` = not isolated.
    pub ingress: Option<PolicyKey>,
    pub egress: Option<PolicyKey>,
    /// [`nexin_abi::maps::endpoint::Endpoint::AUDIT`] and friends.
    pub flags: u32,
}

/// A device that leads to the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceSpec {
    pub ifname: String,
    /// Source address of workloads' packets that leave here, `None` = their own.
    pub masquerade_v4: Option<Ipv4Addr>,
    pub masquerade_v6: Option<Ipv6Addr>,
    pub mtu: u16,
    /// Packets carry no Ethernet header.
    pub no_l2: bool,
}
