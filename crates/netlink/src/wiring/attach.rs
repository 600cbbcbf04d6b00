//! Making and removing. Blocking; called in the host's network namespace.

use super::settle::settle;
use super::{GatewayPlan, Swept, WiredLinks, WorkloadSpec};
use crate::{
    Address, Error, Family, IfName, Link, LinkSysctl, Netlink, Netns, NodeSysctl, Request, Result, VethSpec,
    name::looks_like_ours, route::RouteSpec,
};
use ipnet::IpNet;
use nix::errno::Errno;
use std::{collections::BTreeSet, net::IpAddr};

/// Of `linux/ip.h`.
const IPV4_DEVCONF_FORWARDING: u16 = 1;
const IPV4_DEVCONF_SEND_REDIRECTS: u16 = 5;
const IPV4_DEVCONF_RP_FILTER: u16 = 8;
/// `lo` is the first link of every namespace (`LOOPBACK_IFINDEX`).
const LOOPBACK: u32 = 1;
/// What the kernel takes as an alias (`IFALIASZ`), less our prefix.
const OWNER_LIMIT: usize = 240;
/// So many interface numbers are tried when the kernel's own choice is no good.
const INDEX_TRIES: u32 = 16;
/// Of `accept_ra`: accept advertisements although forwarding.
const ACCEPT_RA_ALWAYS: i64 = 2;

pub(super) fn prepare_node(netlink: &mut Netlink, plan: &GatewayPlan) -> Result<()> {
    if plan.forwarding {
        forward(netlink, plan)?;
    }
    let wanted: BTreeSet<_> = plan.addresses().collect();
    let stale =
        netlink.addresses()?.into_iter().filter(|a| a.ifindex == LOOPBACK && a.ours && !wanted.contains(&a.net));
    let mut requests: Vec<_> = stale.map(|a| Address::delete(LOOPBACK, a.net)).collect();
    requests.push(Link::set_up(LOOPBACK, true));
    requests.extend(wanted.iter().map(|net| Address::add(LOOPBACK, *net)));
    netlink.run(&requests)?;
    settle(netlink, wanted.iter().map(IpNet::addr))
}

fn forward(netlink: &mut Netlink, plan: &GatewayPlan) -> Result<()> {
    if plan.v4.is_some() && NodeSysctl::ForwardAll(Family::V4).read()? != 1 {
        NodeSysctl::ForwardAll(Family::V4).write(1)?;
    }
    if let Some(v6) = plan.v6 {
        if !Family::V6.available() {
            return Err(Error::NoIpv6(v6));
        }
        if NodeSysctl::ForwardAll(Family::V6).read()? != 1 {
            keep_router_advertisements(netlink)?;
            NodeSysctl::ForwardAll(Family::V6).write(1)?;
        }
    }
    Ok(())
}

/// A forwarding host ignores router advertisements unless told otherwise: one that lives on them would lose its address.
fn keep_router_advertisements(netlink: &mut Netlink) -> Result<()> {
    for link in netlink.links()?.iter().filter(|link| !link.loopback && link.owner().is_none()) {
        let Ok(name) = IfName::new(&link.name) else { continue };
        // Links with a tiny MTU have no IPv6 settings at all.
        if LinkSysctl::AcceptRa.read(Family::V6, &name).is_ok_and(|value| value == 1) {
            LinkSysctl::AcceptRa.write(Family::V6, &name, ACCEPT_RA_ALWAYS)?;
        }
    }
    Ok(())
}

pub(super) fn attach(netlink: &mut Netlink, netns: &Netns, spec: &WorkloadSpec) -> Result<WiredLinks> {
    let (host, existed) = obtain(netlink, netns, spec)?;
    let done = finish(netlink, netns, spec, &host, existed);
    if done.is_err() && !existed {
        undo(netlink, &host);
    }
    done
}

/// Only the pair, signed and down: nothing can pass until [`attach`] completes it.
pub(super) fn make(netlink: &mut Netlink, netns: &Netns, spec: &WorkloadSpec) -> Result<WiredLinks> {
    let (host, existed) = obtain(netlink, netns, spec)?;
    let container_ifindex = host.peer_index.ok_or(Error::Malformed("veth link without a peer"))?;
    Ok(wired(spec, &host, container_ifindex, existed))
}

/// The pair and whether it was there, signed.
fn obtain(netlink: &mut Netlink, netns: &Netns, spec: &WorkloadSpec) -> Result<(Link, bool)> {
    if let Some(v6) = spec.addresses.iter().find_map(|plan| as_v6(plan.address)).filter(|_| !Family::V6.available()) {
        return Err(Error::NoIpv6(v6));
    }
    if spec.owner.len() > OWNER_LIMIT {
        return Err(Error::OwnerTooLong(spec.owner.clone()));
    }
    if let Some(link) = find(netlink, netns, spec)? {
        return Ok((link, true));
    }
    let host = create(netlink, netns, spec)?;
    let signed = netlink.run(&[Link::set_owner(host.index, &spec.owner), Link::set_no_link_local(host.index)]);
    if signed.is_err() {
        undo(netlink, &host);
    }
    signed.map(|()| (host, false))
}

/// The error that stopped the wiring is the one to report; a later sweep gets what this cannot remove.
fn undo(netlink: &mut Netlink, host: &Link) {
    if let Err(e) = netlink.run(&[Link::delete(host.index)]) {
        tracing::warn!(link = host.name, error = %e, "link of a failed attach stays until the next sweep");
    }
}

fn wired(spec: &WorkloadSpec, host: &Link, container_ifindex: u32, existed: bool) -> WiredLinks {
    WiredLinks {
        host_ifindex: host.index,
        host_ifname: spec.host_ifname.clone(),
        mac: spec.workload_mac(),
        gateway_mac: spec.gateway_mac(),
        container_ifindex,
        container_ifname: spec.container_ifname.clone(),
        mtu: spec.mtu,
        created: !existed,
    }
}

fn finish(netlink: &mut Netlink, netns: &Netns, spec: &WorkloadSpec, host: &Link, existed: bool) -> Result<WiredLinks> {
    let (mut inside, container) = netns.run(|| wire_workload(spec, existed))??;
    let mut requests = Vec::new();
    if host.mac != Some(spec.gateway_mac()) {
        requests.push(Link::set_mac(host.index, spec.gateway_mac()));
    }
    if host.mtu != spec.mtu {
        requests.push(Link::set_mtu(host.index, spec.mtu));
    }
    // Forwarding also lets the datapath's own route look-up work; the reverse path filter would judge packets that the
    // datapath has judged already.
    let settings = [(IPV4_DEVCONF_FORWARDING, 1), (IPV4_DEVCONF_RP_FILTER, 0), (IPV4_DEVCONF_SEND_REDIRECTS, 0)];
    requests.push(Link::set_inet_conf(host.index, &settings));
    requests.push(Link::set_no_link_local(host.index));
    requests.push(Link::set_up(host.index, true));
    if existed {
        requests.extend(stale_routes(netlink, spec, host.index)?);
    }
    if spec.has_v6() {
        write_if_different(LinkSysctl::DisableIpv6, &spec.host_ifname, 0)?;
        write_if_different(LinkSysctl::AcceptRa, &spec.host_ifname, 0)?;
        write_if_different(LinkSysctl::Forwarding, &spec.host_ifname, 1)?;
    }
    requests.extend(spec.host_routes(host.index).map(|route| route.add()));
    requests.extend(spec.host_neighbours(host.index).map(|neighbour| neighbour.add()));
    netlink.run(&requests)?;
    // The end that came up first had no carrier yet, and drops packets until the kernel's link watcher has run. Asking for
    // a link makes it run (`rtnl_getlink`, Linux 6.8).
    inside.link(&spec.container_ifname)?;
    netlink.link(&spec.host_ifname)?;
    settle(&mut inside, spec.addresses.iter().map(|plan| plan.address))?;
    Ok(wired(spec, host, container.index, existed))
}

/// In the workload's namespace. IPv6 is settled before the link comes up, or the kernel would begin to look for routers
/// and duplicates.
fn wire_workload(spec: &WorkloadSpec, existed: bool) -> Result<(Netlink, Link)> {
    let mut netlink = Netlink::open()?;
    let name = &spec.container_ifname;
    let link = netlink.link(name)?.ok_or_else(|| Error::NoSuchLink(name.to_string()))?;
    if spec.has_v6() {
        for (setting, value) in [(LinkSysctl::AcceptRa, 0), (LinkSysctl::AcceptDad, 0), (LinkSysctl::DisableIpv6, 0)] {
            write_if_different(setting, name, value)?;
        }
    }
    let mut requests = vec![Link::set_up(LOOPBACK, true)];
    if link.mac != Some(spec.workload_mac()) {
        requests.push(Link::set_mac(link.index, spec.workload_mac()));
    }
    if link.mtu != spec.mtu {
        requests.push(Link::set_mtu(link.index, spec.mtu));
    }
    requests.push(Link::set_up(link.index, true));
    if existed {
        let wanted: BTreeSet<_> = spec.workload_addresses().collect();
        let stale =
            netlink.addresses()?.into_iter().filter(|a| a.ifindex == link.index && a.ours && !wanted.contains(&a.net));
        requests.extend(stale.map(|a| Address::delete(link.index, a.net)));
    }
    requests.extend(spec.workload_addresses().map(|net| Address::add(link.index, net)));
    requests.extend(spec.workload_routes(link.index).iter().map(RouteSpec::add));
    requests.extend(spec.workload_neighbours(link.index).map(|neighbour| neighbour.add()));
    netlink.run(&requests)?;
    Ok((netlink, link))
}

/// The pair if it is there and whole. What an attach that was cut off left behind is removed.
fn find(netlink: &mut Netlink, netns: &Netns, spec: &WorkloadSpec) -> Result<Option<Link>> {
    let Some(link) = netlink.link(&spec.host_ifname)? else { return Ok(None) };
    let ours = link.owner() == Some(&spec.owner);
    if !ours && !is_remnant(&link) {
        return Err(Error::Occupied { name: link.name.clone(), owner: link.owner().map(str::to_owned) });
    }
    let mut inside = netns.netlink()?;
    let peer = inside.link(&spec.container_ifname)?;
    let joined = |peer: &Link| link.peer_index == Some(peer.index) && peer.peer_index == Some(link.index);
    if ours && peer.as_ref().is_some_and(joined) {
        return Ok(Some(link));
    }
    netlink.run(&[Link::delete(link.index)])?;
    Ok(None)
}

/// Made by this crate, by its name and kind, but its maker died before it could sign.
fn is_remnant(link: &Link) -> bool {
    link.alias.is_none() && link.veth && looks_like_ours(&link.name)
}

fn create(netlink: &mut Netlink, netns: &Netns, spec: &WorkloadSpec) -> Result<Link> {
    let made = create_pair(netlink, netns, spec, 0)?;
    if made.peer_index != Some(made.index) {
        return Ok(made);
    }
    // Two ends with one number, as happens in new namespaces: the kernel takes that for "no other end" and may wait a
    // second before it lets packets pass (`linkwatch_urgent_event`). The peer's next number is the one after this.
    netlink.run(&[Link::delete(made.index)])?;
    for index in made.index + 2..made.index + 2 + INDEX_TRIES {
        match create_pair(netlink, netns, spec, index) {
            Err(Error::Refused { errno: Errno::EBUSY, .. }) => {}
            other => return other,
        }
    }
    create_pair(netlink, netns, spec, 0)
}

/// `index` of the host's end; 0 leaves the choice to the kernel.
fn create_pair(netlink: &mut Netlink, netns: &Netns, spec: &WorkloadSpec, index: u32) -> Result<Link> {
    let veth = VethSpec {
        name: &spec.host_ifname,
        mac: spec.gateway_mac(),
        peer_name: &spec.container_ifname,
        peer_mac: spec.workload_mac(),
        peer_netns: netns,
        mtu: spec.mtu,
    };
    match netlink.run(&[veth.create_as(index)]) {
        Ok(()) => netlink.link(&spec.host_ifname)?.ok_or_else(|| Error::NoSuchLink(spec.host_ifname.to_string())),
        Err(Error::Refused { errno: Errno::EEXIST, .. }) => Err(taken(netlink, netns, spec)?),
        Err(e) => Err(e),
    }
}

/// Which of the two names is in use, and by whom.
fn taken(netlink: &mut Netlink, netns: &Netns, spec: &WorkloadSpec) -> Result<Error> {
    let inside = netns.netlink()?.link(&spec.container_ifname)?;
    let holder = match inside {
        Some(link) => Some(link),
        None => netlink.link(&spec.host_ifname)?,
    };
    let holder = holder.ok_or_else(|| Error::NoSuchLink(spec.host_ifname.to_string()))?;
    Ok(Error::Occupied { owner: holder.owner().map(str::to_owned), name: holder.name })
}

fn stale_routes(netlink: &mut Netlink, spec: &WorkloadSpec, ifindex: u32) -> Result<Vec<Request>> {
    let wanted: BTreeSet<_> = spec.host_routes(ifindex).map(|route| route.destination).collect();
    let mut routes = netlink.our_routes()?;
    routes.retain(|route| route.ifindex == Some(ifindex) && !wanted.contains(&route.destination));
    Ok(routes.iter().filter_map(RouteSpec::of).map(|route| route.delete()).collect())
}

pub(super) fn detach(netlink: &mut Netlink, name: &IfName, owner: &str) -> Result<bool> {
    match netlink.link(name)? {
        Some(link) if link.owner() == Some(owner) || is_remnant(&link) => {
            netlink.run(&[Link::delete(link.index)]).map(|()| true)
        }
        _ => Ok(false),
    }
}

pub(super) fn sweep(netlink: &mut Netlink, live: &BTreeSet<String>) -> Result<Swept> {
    let links = netlink.links()?;
    let dead = |link: &&Link| link.owner().map_or_else(|| is_remnant(link), |owner| !live.contains(owner));
    let gone: Vec<_> = links.iter().filter(dead).collect();
    netlink.run(&gone.iter().map(|link| Link::delete(link.index)).collect::<Vec<_>>())?;

    let kept: BTreeSet<_> =
        links.iter().filter(|link| link.owner().is_some_and(|o| live.contains(o))).map(|l| l.index).collect();
    let mut routes = netlink.our_routes()?;
    routes.retain(|route| !route.ifindex.is_some_and(|index| kept.contains(&index)));
    let deletions: Vec<_> = routes.iter().filter_map(RouteSpec::of).map(|route| route.delete()).collect();
    netlink.run(&deletions)?;
    Ok(Swept { links: gone.into_iter().map(|link| link.name.clone()).collect(), routes: deletions.len() })
}

/// Writing takes the kernel's network lock even when nothing changes; reading does not.
fn write_if_different(setting: LinkSysctl, link: &IfName, value: i64) -> Result<()> {
    if setting.read(Family::V6, link)? == value { Ok(()) } else { setting.write(Family::V6, link, value) }
}

fn as_v6(ip: IpAddr) -> Option<std::net::Ipv6Addr> {
    match ip {
        IpAddr::V6(v6) => Some(v6),
        IpAddr::V4(_) => None,
    }
}
