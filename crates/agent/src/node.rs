//! The node's own addresses and the devices that lead to the network, chosen from what the kernel shows. No I/O.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use nexin_datapath::DeviceSpec;
use nexin_netlink::{Address, Link, NodeView};

use crate::settings::NetworkSettings;

/// What the datapath needs to know of the node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Node {
    /// Addresses of links that are not workloads', loopback included.
    pub(crate) addresses: BTreeSet<IpAddr>,
    /// By interface index.
    pub(crate) devices: BTreeMap<u32, DeviceSpec>,
    /// Devices the settings name and the node does not have.
    pub(crate) missing_devices: Vec<String>,
}

/// MTU of workloads where no device says otherwise.
const DEFAULT_MTU: u16 = 1500;

impl Node {
    pub(crate) fn from_view(view: &NodeView, settings: &NetworkSettings) -> Self {
        let foreign: BTreeMap<u32, &Link> =
            view.links.iter().filter(|link| link.owner().is_none()).map(|link| (link.index, link)).collect();
        let addresses = view
            .addresses
            .iter()
            .filter(|address| foreign.contains_key(&address.ifindex))
            .map(|address| address.net.addr());
        let chosen: Vec<&Link> = if settings.devices.is_empty() {
            let with_default: BTreeSet<u32> =
                view.routes.iter().filter(|route| route.is_default()).filter_map(|route| route.ifindex).collect();
            foreign.values().copied().filter(|link| with_default.contains(&link.index) && !link.loopback).collect()
        } else {
            foreign.values().copied().filter(|link| settings.devices.contains(&link.name)).collect()
        };
        let missing = settings.devices.iter().filter(|name| !chosen.iter().any(|link| link.name == **name));
        Self {
            addresses: addresses.collect(),
            devices: chosen.iter().map(|link| (link.index, device(link, view, settings.masquerade))).collect(),
            missing_devices: missing.cloned().collect(),
        }
    }

    /// MTU for workload links: what fits through every device.
    pub(crate) fn mtu(&self) -> u16 {
        self.devices.values().map(|device| device.mtu).min().unwrap_or(DEFAULT_MTU)
    }
}

fn device(link: &Link, view: &NodeView, masquerade: bool) -> DeviceSpec {
    let mut own: Vec<&Address> = view
        .addresses
        .iter()
        .filter(|address| address.ifindex == link.index && masquerade && usable(address))
        .collect();
    own.sort_by_key(|address| (address.secondary, address.temporary));
    let v4 = own.iter().find_map(|address| match address.net {
        IpNet::V4(net) => Some(net.addr()),
        IpNet::V6(_) => None,
    });
    let v6 = own.iter().find_map(|address| match address.net {
        IpNet::V6(net) => Some(net.addr()),
        IpNet::V4(_) => None,
    });
    DeviceSpec {
        ifname: link.name.clone(),
        masquerade_v4: v4,
        masquerade_v6: v6,
        mtu: u16::try_from(link.mtu).unwrap_or(u16::MAX),
        no_l2: !link.ethernet,
    }
}

/// May stand as the source of packets that go far.
fn usable(address: &Address) -> bool {
    address.global && !address.tentative && !address.deprecated
}
