//! What the wiring of a workload consists of: one statement, from which it is made and against which it is checked.

use crate::{IfName, Mac, Neighbour, RouteSpec, route::default_destination, wire};
use ipnet::IpNet;
use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::PathBuf,
};

/// A workload's address and the gateway it goes through (the node's own address in that family).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressPlan {
    pub address: IpAddr,
    /// Same family as `address`; an address of the node (see [`crate::Wiring::prepare_node`]).
    pub gateway: IpAddr,
}

/// How a workload is to be connected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkloadSpec {
    /// Who it is for; written into the host link's alias. At most 240 bytes.
    pub owner: String,
    /// Bind mount or `/proc/<pid>/ns/net`.
    pub netns: PathBuf,
    pub host_ifname: IfName,
    pub container_ifname: IfName,
    /// Of the workload's interface; none: derived from the owner.
    pub mac: Option<Mac>,
    /// Of both ends, in bytes.
    pub mtu: u32,
    pub addresses: Vec<AddressPlan>,
    /// Whether the workload's default routes lead here.
    pub default_route: bool,
}

/// The wired result, as the datapath needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WiredLinks {
    pub host_ifindex: u32,
    pub host_ifname: IfName,
    /// Of the workload's interface.
    pub mac: Mac,
    /// Of the host's side, which stands for the gateway.
    pub gateway_mac: Mac,
    pub container_ifindex: u32,
    pub container_ifname: IfName,
    pub mtu: u32,
    /// True when the pair was made by this call, false when it was found.
    pub created: bool,
}

/// What the node itself needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GatewayPlan {
    pub v4: Option<Ipv4Addr>,
    pub v6: Option<Ipv6Addr>,
    /// Switch forwarding on for the node, for the families above. Without it only packets that the datapath redirects
    /// itself get through.
    pub forwarding: bool,
}

impl GatewayPlan {
    pub(crate) fn addresses(&self) -> impl Iterator<Item = IpNet> {
        let v4 = self.v4.map(|ip| IpNet::from(IpAddr::from(ip)));
        v4.into_iter().chain(self.v6.map(|ip| IpNet::from(IpAddr::from(ip))))
    }
}

impl WorkloadSpec {
    pub fn workload_mac(&self) -> Mac {
        self.mac.unwrap_or_else(|| Mac::derived(&format!("{}/{}", self.owner, self.container_ifname)))
    }

    pub fn gateway_mac(&self) -> Mac {
        Mac::derived(&format!("{}/{}/gateway", self.owner, self.container_ifname))
    }

    pub(crate) fn has_v6(&self) -> bool {
        self.addresses.iter().any(|plan| plan.address.is_ipv6())
    }

    pub(crate) fn workload_addresses(&self) -> impl Iterator<Item = IpNet> {
        self.addresses.iter().map(|plan| IpNet::from(plan.address))
    }

    /// To the workload, from the gateway's address.
    pub(crate) fn host_routes(&self, ifindex: u32) -> impl Iterator<Item = RouteSpec> {
        let route = move |plan: &AddressPlan| RouteSpec {
            destination: plan.address.into(),
            ifindex,
            gateway: None,
            source: Some(plan.gateway),
        };
        self.addresses.iter().map(route)
    }

    pub(crate) fn host_neighbours(&self, ifindex: u32) -> impl Iterator<Item = Neighbour> {
        self.addresses.iter().map(move |plan| Neighbour::fixed(ifindex, plan.address, self.workload_mac()))
    }

    /// The gateway is on the link though the prefix is a host's; everything else goes through it.
    pub(crate) fn workload_routes(&self, ifindex: u32) -> Vec<RouteSpec> {
        let mut routes = Vec::with_capacity(4);
        for AddressPlan { address, gateway } in &self.addresses {
            // The one IPv4 source is named so that a second address on `lo` is never taken instead.
            let source = Some(*address).filter(IpAddr::is_ipv4);
            routes.push(RouteSpec { destination: (*gateway).into(), ifindex, gateway: None, source });
            if self.default_route {
                routes.push(RouteSpec {
                    destination: default_destination(*gateway),
                    ifindex,
                    gateway: Some(*gateway),
                    source,
                });
            }
        }
        // With two addresses of one family the first one's routes count.
        let mut seen = std::collections::BTreeSet::new();
        routes.retain(|route| seen.insert((route.destination, wire::family(route.destination.addr()))));
        routes
    }

    pub(crate) fn workload_neighbours(&self, ifindex: u32) -> impl Iterator<Item = Neighbour> {
        self.addresses.iter().map(move |plan| Neighbour::fixed(ifindex, plan.gateway, self.gateway_mac()))
    }
}
