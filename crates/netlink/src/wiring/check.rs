//! Comparing the kernel's state with the plan. Changes nothing.

use super::WorkloadSpec;
use crate::{Link, Mac, Neighbour, Netlink, Netns, Result, Route, RouteSpec};
use ipnet::IpNet;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::IpAddr,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    Host,
    Workload,
}

/// One difference between plan and kernel.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Drift {
    NamespaceGone,
    LinkMissing(Side),
    /// There is a link of that name, but it is not the workload's.
    LinkForeign(Side),
    LinkDown(Side),
    Mac {
        side: Side,
        want: Mac,
        got: Option<Mac>,
    },
    Mtu {
        side: Side,
        want: u32,
        got: u32,
    },
    Address(IpNet),
    /// Missing, or to another device or gateway.
    Route {
        side: Side,
        destination: IpNet,
    },
    /// Missing, not permanent, or with another MAC.
    Neighbour {
        side: Side,
        ip: IpAddr,
    },
    /// Forwarding is off on the host's side.
    Forwarding,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Host => "host side",
            Self::Workload => "workload side",
        })
    }
}

impl fmt::Display for Drift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NamespaceGone => f.write_str("the network namespace is gone"),
            Self::LinkMissing(side) => write!(f, "{side}: link missing"),
            Self::LinkForeign(side) => write!(f, "{side}: a link of that name belongs to something else"),
            Self::LinkDown(side) => write!(f, "{side}: link down"),
            Self::Mac { side, want, got: Some(got) } => write!(f, "{side}: MAC address {got} instead of {want}"),
            Self::Mac { side, want, got: None } => write!(f, "{side}: no MAC address, {want} expected"),
            Self::Mtu { side, want, got } => write!(f, "{side}: MTU {got} instead of {want}"),
            Self::Address(net) => write!(f, "workload side: address {net} missing"),
            Self::Route { side, destination } => write!(f, "{side}: route to {destination} missing or changed"),
            Self::Neighbour { side, ip } => write!(f, "{side}: neighbour entry of {ip} missing or changed"),
            Self::Forwarding => f.write_str("host side: forwarding is off"),
        }
    }
}

/// Tables as they are looked up during a check.
struct Tables {
    routes: BTreeMap<(u32, IpNet), Route>,
    neighbours: BTreeSet<(u32, IpAddr, Option<Mac>)>,
}

impl Tables {
    fn read(netlink: &mut Netlink) -> Result<Self> {
        let routes = netlink.our_routes()?.into_iter().filter_map(|r| Some(((r.ifindex?, r.destination), r))).collect();
        let neighbours =
            netlink.neighbours()?.into_iter().filter(|n| n.permanent).map(|n| (n.ifindex, n.ip, n.mac)).collect();
        Ok(Self { routes, neighbours })
    }

    fn compare(
        &self,
        side: Side,
        routes: impl IntoIterator<Item = RouteSpec>,
        neighbours: impl Iterator<Item = Neighbour>,
    ) -> Vec<Drift> {
        let same =
            |want: &RouteSpec| self.routes.get(&(want.ifindex, want.destination)).is_some_and(|got| want.is(got));
        let missing = routes
            .into_iter()
            .filter(|want| !same(want))
            .map(|want| Drift::Route { side, destination: want.destination });
        let known = |want: &Neighbour| self.neighbours.contains(&(want.ifindex, want.ip, want.mac));
        missing
            .chain(neighbours.filter(|want| !known(want)).map(|want| Drift::Neighbour { side, ip: want.ip }))
            .collect()
    }
}

/// Also returns the link, when it is the workload's.
pub(super) fn host(netlink: &mut Netlink, spec: &WorkloadSpec) -> Result<(Vec<Drift>, Option<Link>)> {
    let link = netlink.link(&spec.host_ifname)?;
    let tables = Tables::read(netlink)?;
    Ok(host_side(link, &tables, spec))
}

pub(super) fn hosts(netlink: &mut Netlink, specs: &[WorkloadSpec]) -> Result<BTreeMap<String, Vec<Drift>>> {
    let mut links: BTreeMap<_, _> = netlink.links()?.into_iter().map(|link| (link.name.clone(), link)).collect();
    let tables = Tables::read(netlink)?;
    let mut differing = BTreeMap::new();
    for spec in specs {
        let (drift, _) = host_side(links.remove(spec.host_ifname.as_str()), &tables, spec);
        if !drift.is_empty() {
            differing.insert(spec.owner.clone(), drift);
        }
    }
    Ok(differing)
}

fn host_side(link: Option<Link>, tables: &Tables, spec: &WorkloadSpec) -> (Vec<Drift>, Option<Link>) {
    let Some(link) = link else { return (vec![Drift::LinkMissing(Side::Host)], None) };
    if link.owner() != Some(&spec.owner) {
        return (vec![Drift::LinkForeign(Side::Host)], None);
    }
    let mut drift = link_itself(&link, Side::Host, spec.gateway_mac(), spec.mtu);
    drift.extend(tables.compare(Side::Host, spec.host_routes(link.index), spec.host_neighbours(link.index)));
    if link.forwarding_v4 == Some(false) || (spec.has_v6() && link.forwarding_v6 == Some(false)) {
        drift.push(Drift::Forwarding);
    }
    (drift, Some(link))
}

pub(super) fn workload(netns: &Netns, spec: &WorkloadSpec, host: &Link) -> Result<Vec<Drift>> {
    let mut netlink = netns.netlink()?;
    let Some(link) = netlink.link(&spec.container_ifname)? else { return Ok(vec![Drift::LinkMissing(Side::Workload)]) };
    if link.peer_index != Some(host.index) || host.peer_index != Some(link.index) {
        return Ok(vec![Drift::LinkForeign(Side::Workload)]);
    }
    let mut drift = link_itself(&link, Side::Workload, spec.workload_mac(), spec.mtu);
    let here: BTreeSet<_> =
        netlink.addresses()?.into_iter().filter(|a| a.ifindex == link.index).map(|a| a.net).collect();
    drift.extend(spec.workload_addresses().filter(|net| !here.contains(net)).map(Drift::Address));
    let tables = Tables::read(&mut netlink)?;
    drift.extend(tables.compare(
        Side::Workload,
        spec.workload_routes(link.index),
        spec.workload_neighbours(link.index),
    ));
    Ok(drift)
}

fn link_itself(link: &Link, side: Side, mac: Mac, mtu: u32) -> Vec<Drift> {
    let down = (!link.up).then_some(Drift::LinkDown(side));
    let other_mac = (link.mac != Some(mac)).then_some(Drift::Mac { side, want: mac, got: link.mac });
    let other_mtu = (link.mtu != mtu).then_some(Drift::Mtu { side, want: mtu, got: link.mtu });
    [down, other_mac, other_mtu].into_iter().flatten().collect()
}
