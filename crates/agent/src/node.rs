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

    /// The address by which other nodes reach this one: of the first device that has one.
    pub(crate) fn main_address(&self, prefer_v6: bool) -> Option<IpAddr> {
        let far = |ip: &&IpAddr| match ip {
            IpAddr::V4(ip) => !ip.is_loopback() && !ip.is_link_local(),
            IpAddr::V6(ip) => !ip.is_loopback() && !ip.is_unicast_link_local(),
        };
        let of = |v6: bool| self.addresses.iter().filter(far).find(|ip| ip.is_ipv6() == v6).copied();
        let device = |v6: bool| {
            let mut devices = self.devices.values();
            devices.find_map(|device| {
                if v6 { device.masquerade_v6.map(IpAddr::V6) } else { device.masquerade_v4.map(IpAddr::V4) }
            })
        };
        [prefer_v6, !prefer_v6].into_iter().find_map(|v6| device(v6).or_else(|| of(v6)))
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

#[cfg(test)]
mod tests {
    use nexin_netlink::Route;

    use super::*;

    fn link(index: u32, name: &str, alias: Option<&str>) -> Link {
        Link {
            index,
            name: name.into(),
            alias: alias.map(str::to_owned),
            mac: None,
            mtu: 1400 + index,
            up: true,
            loopback: name == "lo",
            ethernet: name != "tun0",
            veth: false,
            forwarding_v4: None,
            forwarding_v6: None,
            peer_index: None,
            master: None,
        }
    }

    fn address(ifindex: u32, net: &str) -> Address {
        Address {
            ifindex,
            net: net.parse().unwrap(),
            global: true,
            secondary: false,
            tentative: false,
            deprecated: false,
            temporary: false,
            ours: false,
        }
    }

    fn default_route(ifindex: u32) -> Route {
        Route {
            destination: "0.0.0.0/0".parse().unwrap(),
            gateway: None,
            ifindex: Some(ifindex),
            source: None,
            table: 254,
            protocol: 3,
            metric: 0,
            unicast: true,
        }
    }

    fn view() -> NodeView {
        NodeView {
            links: vec![
                link(1, "lo", None),
                link(2, "eth0", None),
                link(3, "nx00000001", Some("nexin:c/eth0")),
                link(4, "tun0", None),
            ],
            addresses: vec![
                Address { secondary: true, ..address(2, "192.0.2.9/24") },
                address(2, "192.0.2.1/24"),
                Address { tentative: true, ..address(2, "2001:db8::1/64") },
                address(3, "10.0.0.9/32"),
                address(4, "198.51.100.1/32"),
            ],
            routes: vec![default_route(2)],
        }
    }

    #[test]
    fn the_device_with_the_default_route_is_chosen_and_masquerades_with_its_first_address() {
        let node = Node::from_view(&view(), &NetworkSettings::default());
        assert_eq!(node.devices.keys().collect::<Vec<_>>(), [&2]);
        let device = &node.devices[&2];
        assert_eq!(device.masquerade_v4, Some([192, 0, 2, 1].into()));
        assert_eq!((device.masquerade_v6, device.mtu, node.mtu()), (None, 1402, 1402));
        let own: Vec<IpAddr> =
            ["192.0.2.1", "192.0.2.9", "198.51.100.1", "2001:db8::1"].map(|ip| ip.parse().unwrap()).into();
        assert_eq!(node.addresses.into_iter().collect::<Vec<_>>(), own);
    }

    #[test]
    fn settings_name_devices_and_switch_masquerading_off() {
        let settings = NetworkSettings {
            devices: vec!["tun0".into(), "eth7".into()],
            masquerade: false,
            ..NetworkSettings::default()
        };
        let node = Node::from_view(&view(), &settings);
        assert_eq!((node.devices[&4].no_l2, node.devices[&4].masquerade_v4), (true, None));
        assert_eq!((node.devices.len(), node.missing_devices), (1, vec!["eth7".to_owned()]));
    }

    #[test]
    fn a_node_without_devices_uses_the_usual_mtu() {
        assert_eq!(Node::default().mtu(), 1500);
    }
}
