//! Routes of the main table (reads see all tables).

use crate::{Error, Netlink, PROTOCOL, Request, Result, wire};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use nix::errno::Errno;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const RT_TABLE_MAIN: u8 = 254;
const RTNH_F_ONLINK: u32 = 4;

/// A route as the kernel reports it. Of a multipath route, device and gateway are those of its first hop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    pub destination: IpNet,
    pub gateway: Option<IpAddr>,
    pub ifindex: Option<u32>,
    pub source: Option<IpAddr>,
    pub table: u32,
    pub protocol: u8,
    pub metric: u32,
    /// `RTN_UNICAST`; others are local, broadcast, blackhole ...
    pub unicast: bool,
}

impl Route {
    pub fn is_ours(&self) -> bool {
        self.protocol == PROTOCOL
    }

    pub fn is_default(&self) -> bool {
        self.unicast && self.table == u32::from(RT_TABLE_MAIN) && self.destination.prefix_len() == 0
    }

    pub(crate) fn read(body: &[u8]) -> Option<Self> {
        let v6 = *body.first()? == libc::AF_INET6 as u8;
        let any: IpAddr = if v6 { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
        let mut destination = any;
        let mut route = Self {
            destination: IpNet::from(any),
            gateway: None,
            ifindex: None,
            source: None,
            table: u32::from(*body.get(4)?),
            protocol: *body.get(5)?,
            metric: 0,
            unicast: *body.get(7)? == libc::RTN_UNICAST,
        };
        for (kind, value) in wire::attributes(body.get(12..)?) {
            match kind {
                libc::RTA_DST => destination = wire::ip(value)?,
                libc::RTA_GATEWAY => route.gateway = wire::ip(value),
                libc::RTA_OIF => route.ifindex = wire::u32_at(value, 0),
                libc::RTA_PREFSRC => route.source = wire::ip(value),
                libc::RTA_TABLE => route.table = wire::u32_at(value, 0)?,
                libc::RTA_PRIORITY => route.metric = wire::u32_at(value, 0)?,
                libc::RTA_MULTIPATH => {
                    route.ifindex = wire::u32_at(value, 4);
                    let hop = value.get(8..usize::from(wire::u16_at(value, 0)?))?;
                    route.gateway =
                        wire::attributes(hop).find(|(k, _)| *k == libc::RTA_GATEWAY).and_then(|(_, v)| wire::ip(v));
                }
                _ => {}
            }
        }
        route.destination = IpNet::new(destination, *body.get(1)?).ok()?;
        Some(route)
    }
}

/// A unicast route to put into the main table, with our protocol number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouteSpec {
    pub destination: IpNet,
    pub ifindex: u32,
    /// Taken as reachable on the link, whatever other routes say. None: the destination itself is on the link.
    pub gateway: Option<IpAddr>,
    /// Source address for packets that the local stack sends; must be an address of this namespace.
    pub source: Option<IpAddr>,
}

impl RouteSpec {
    /// The specification of an existing route of ours; none for one without a device.
    pub fn of(route: &Route) -> Option<Self> {
        Some(Self {
            destination: route.destination,
            ifindex: route.ifindex?,
            gateway: route.gateway,
            source: route.source,
        })
    }

    /// Replaces a route to the same destination.
    pub fn add(&self) -> Request {
        let mut builder = self.message(libc::RTM_NEWROUTE, libc::NLM_F_CREATE | libc::NLM_F_REPLACE);
        if let Some(source) = self.source {
            builder = builder.ip(libc::RTA_PREFSRC, source);
        }
        Request::new(builder, format!("route replace {self}"))
    }

    /// The same as an administrator's route (protocol `static`): for networks that are built around a node, which its agent
    /// must not take for its own and sweep.
    pub fn add_static(&self) -> Request {
        let mut request = self.add();
        request.bytes[wire::HEADER + 5] = libc::RTPROT_STATIC;
        request
    }

    /// Success when it is not there.
    pub fn delete(&self) -> Request {
        Request::new(self.message(libc::RTM_DELROUTE, 0), format!("route delete {self}"))
            .fine_if(&[Errno::ESRCH, Errno::ENODEV])
    }

    /// The kernel's entry is this one.
    pub fn is(&self, route: &Route) -> bool {
        route.unicast
            && route.is_ours()
            && route.destination == self.destination
            && route.ifindex == Some(self.ifindex)
            && route.gateway == self.gateway
            && (self.source.is_none() || route.source == self.source)
    }

    fn message(&self, kind: u16, flags: i32) -> wire::Builder {
        let (address, prefix) = (self.destination.addr(), self.destination.prefix_len());
        let on_link = self.gateway.is_none() && address.is_ipv4();
        let scope = if on_link { libc::RT_SCOPE_LINK } else { libc::RT_SCOPE_UNIVERSE };
        let mut body =
            [wire::family(address), prefix, 0, 0, RT_TABLE_MAIN, PROTOCOL, scope, libc::RTN_UNICAST, 0, 0, 0, 0];
        if self.gateway.is_some() {
            body[8..].copy_from_slice(&RTNH_F_ONLINK.to_ne_bytes());
        }
        let mut builder = wire::Builder::new(kind, flags, &body).u32(libc::RTA_OIF, self.ifindex);
        if prefix > 0 {
            builder = builder.ip(libc::RTA_DST, address);
        }
        match self.gateway {
            Some(gateway) => builder.ip(libc::RTA_GATEWAY, gateway),
            None => builder,
        }
    }
}

impl std::fmt::Display for RouteSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} dev {}", self.destination, self.ifindex)?;
        if let Some(gateway) = self.gateway {
            write!(f, " via {gateway}")?;
        }
        self.source.map_or(Ok(()), |source| write!(f, " src {source}"))
    }
}

impl Netlink {
    /// Unicast routes and others, both families, all tables.
    pub fn routes(&mut self) -> Result<Vec<Route>> {
        self.dump_routes(0)
    }

    /// Routes with our protocol number.
    pub fn our_routes(&mut self) -> Result<Vec<Route>> {
        let mut routes = self.dump_routes(PROTOCOL)?;
        // The kernel filters, except where a family is not compiled in and the generic dump answers.
        routes.retain(Route::is_ours);
        Ok(routes)
    }

    /// Packets to `ip` are for this namespace itself.
    pub(crate) fn is_local(&mut self, ip: IpAddr) -> Result<bool> {
        let body = [wire::family(ip), if ip.is_ipv4() { 32 } else { 128 }, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let builder = wire::Builder::new(libc::RTM_GETROUTE, 0, &body).ip(libc::RTA_DST, ip);
        let unreachable = &[Errno::ENETUNREACH, Errno::EHOSTUNREACH];
        let answers = self.ask(&[Request::new(builder, format!("route get {ip}")).fine_if(unreachable)])?;
        Ok(answers.iter().flatten().any(|answer| answer.body.get(7) == Some(&libc::RTN_LOCAL)))
    }

    fn dump_routes(&mut self, protocol: u8) -> Result<Vec<Route>> {
        let mut all = Vec::new();
        for family in [libc::AF_INET, libc::AF_INET6] {
            let mut body = [0; 12];
            body[0] = family as u8;
            body[5] = protocol;
            let request = Request::new(wire::Builder::new(libc::RTM_GETROUTE, 0, &body), "route show".into())
                .fine_if(&[Errno::ENOENT]);
            for answer in self.dump(&request)? {
                all.push(Route::read(&answer.body).ok_or(Error::Malformed("route"))?);
            }
        }
        Ok(all)
    }
}

/// `0.0.0.0/0` or `::/0`, the family of `like`.
pub(crate) fn default_destination(like: IpAddr) -> IpNet {
    match like {
        IpAddr::V4(_) => IpNet::V4(Ipv4Net::default()),
        IpAddr::V6(_) => IpNet::V6(Ipv6Net::default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_built_is_what_is_read(v6: bool, bits: u128, prefix in 0u8..=32, ifindex in 1u32.., via: bool, from: bool) {
            let ip = |bits: u128| if v6 { IpAddr::from(bits.to_be_bytes()) } else { IpAddr::from((bits as u32).to_be_bytes()) };
            let spec = RouteSpec {
                destination: IpNet::new(ip(bits), prefix).unwrap().trunc(),
                ifindex,
                gateway: via.then(|| ip(bits ^ 1)),
                source: from.then(|| ip(bits ^ 2)),
            };
            let bytes = spec.add().bytes;
            let route = Route::read(&bytes[wire::HEADER..]).unwrap();
            prop_assert!(spec.is(&route), "{spec} != {route:?}");
            let other = RouteSpec { ifindex: ifindex ^ 1, ..spec };
            prop_assert!(!other.is(&route));
        }

        #[test]
        fn garbage_is_no_route_and_no_panic(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
            let read = Route::read(&bytes);
            prop_assert!(read.is_none() || bytes.len() >= 12);
        }
    }
}
