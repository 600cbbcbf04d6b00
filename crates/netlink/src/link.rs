//! Links: read, make veth pairs, change, delete.

use crate::{Error, IfName, Mac, Netlink, Netns, Request, Result, wire};
use nix::errno::Errno;
use std::os::fd::AsRawFd;

const ALIAS_PREFIX: &str = "nexin:";
/// Name of the driver.
const VETH: &str = "veth";
/// `RTEXT_FILTER_SKIP_STATS`: counters are most of a link message and nobody here reads them.
const SKIP_STATS: u32 = 8;
const IFLA_EXT_MASK: u16 = 29;
const VETH_INFO_PEER: u16 = 1;
const IFLA_INET_CONF: u16 = 1;
const IFLA_INET6_ADDR_GEN_MODE: u16 = 8;
const ADDR_GEN_MODE_NONE: u8 = 1;
/// Place of `forwarding` among a link's settings, as 32-bit words: `IPV4_DEVCONF_FORWARDING` counts from one
/// (`linux/ip.h`), `DEVCONF_FORWARDING` from zero (`linux/ipv6.h`).
const FORWARDING_WORD: usize = 0;
const IFLA_INET6_CONF: u16 = 2;

/// A link as the kernel reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    pub index: u32,
    pub name: String,
    pub alias: Option<String>,
    pub mac: Option<Mac>,
    pub mtu: u32,
    /// Administratively up (`IFF_UP`).
    pub up: bool,
    pub loopback: bool,
    /// `ARPHRD_ETHER`; others (tunnels, PPP) carry packets without an Ethernet header.
    pub ethernet: bool,
    /// One end of a veth pair.
    pub veth: bool,
    /// Index of the other end, in the other end's namespace.
    pub peer_index: Option<u32>,
    /// Bridge or bond it belongs to.
    pub master: Option<u32>,
    /// Packets that come in here may go on to another link. None where the link has no IPv4 (IPv6) settings.
    pub forwarding_v4: Option<bool>,
    pub forwarding_v6: Option<bool>,
}

impl Link {
    /// Whose it is, when this crate made it.
    pub fn owner(&self) -> Option<&str> {
        self.alias.as_deref()?.strip_prefix(ALIAS_PREFIX)
    }

    pub(crate) fn read(body: &[u8]) -> Option<Self> {
        let flags = wire::u32_at(body, 8)?;
        let ethernet = wire::u16_at(body, 2)? == libc::ARPHRD_ETHER;
        let index = wire::u32_at(body, 4)?;
        let mut link = Self {
            index,
            name: String::new(),
            alias: None,
            mac: None,
            mtu: 0,
            up: flags & libc::IFF_UP as u32 != 0,
            loopback: flags & libc::IFF_LOOPBACK as u32 != 0,
            ethernet,
            veth: false,
            peer_index: None,
            master: None,
            forwarding_v4: None,
            forwarding_v6: None,
        };
        for (kind, value) in wire::attributes(body.get(16..)?) {
            match kind {
                libc::IFLA_IFNAME => link.name = wire::text(value),
                libc::IFLA_IFALIAS => link.alias = Some(wire::text(value)).filter(|a| !a.is_empty()),
                libc::IFLA_ADDRESS => link.mac = <[u8; 6]>::try_from(value).ok().map(Mac),
                libc::IFLA_MTU => link.mtu = wire::u32_at(value, 0)?,
                libc::IFLA_LINK => link.peer_index = wire::u32_at(value, 0).filter(|peer| *peer != 0),
                libc::IFLA_MASTER => link.master = wire::u32_at(value, 0),
                libc::IFLA_LINKINFO => {
                    let driver = wire::attributes(value).find(|(k, _)| *k == libc::IFLA_INFO_KIND);
                    link.veth = driver.is_some_and(|(_, name)| wire::text(name) == VETH);
                }
                libc::IFLA_AF_SPEC => {
                    link.forwarding_v4 = forwarding(value, libc::AF_INET, IFLA_INET_CONF);
                    link.forwarding_v6 = forwarding(value, libc::AF_INET6, IFLA_INET6_CONF);
                }
                _ => {}
            }
        }
        Some(link)
    }
}

/// Both ends of a veth pair; the peer is made directly in the other namespace, so nothing has to be moved or renamed.
#[derive(Clone, Copy, Debug)]
pub struct VethSpec<'a> {
    pub name: &'a IfName,
    pub mac: Mac,
    pub peer_name: &'a IfName,
    pub peer_mac: Mac,
    pub peer_netns: &'a Netns,
    /// Of both ends, in bytes.
    pub mtu: u32,
}

impl VethSpec<'_> {
    /// Both ends stay down. Refused with `EEXIST` when either name is taken, and then nothing is made.
    pub fn create(&self) -> Request {
        self.create_as(0)
    }

    /// With a number for this end; 0: the kernel's choice, as that of the peer always is. `EBUSY` when it is taken.
    pub(crate) fn create_as(&self, index: u32) -> Request {
        let builder =
            wire::Builder::new(libc::RTM_NEWLINK, libc::NLM_F_CREATE | libc::NLM_F_EXCL, &ifinfo(index, 0, 0));
        let builder = self.end(self.name, self.mac)(builder).nest(libc::IFLA_LINKINFO, &[], |b| {
            b.string(libc::IFLA_INFO_KIND, VETH).nest(libc::IFLA_INFO_DATA, &[], |b| {
                b.nest(VETH_INFO_PEER, &ifinfo(0, 0, 0), |b| {
                    let fd = self.peer_netns.file().as_raw_fd().cast_unsigned();
                    self.end(self.peer_name, self.peer_mac)(b).u32(libc::IFLA_NET_NS_FD, fd)
                })
            })
        });
        let peer = format!("{} in {}", self.peer_name, self.peer_netns.origin().display());
        Request::new(builder, format!("link add {} type veth peer {peer}", self.name))
    }

    fn end(&self, name: &IfName, mac: Mac) -> impl FnOnce(wire::Builder) -> wire::Builder {
        move |b| {
            b.string(libc::IFLA_IFNAME, name.as_str()).attr(libc::IFLA_ADDRESS, &mac.0).u32(libc::IFLA_MTU, self.mtu)
        }
    }
}

/// Changes of one existing link, each its own request.
impl Link {
    pub(crate) fn set_up(index: u32, up: bool) -> Request {
        let flag = libc::IFF_UP as u32;
        let builder = wire::Builder::new(libc::RTM_SETLINK, 0, &ifinfo(index, if up { flag } else { 0 }, flag));
        Request::new(builder, format!("link set {index} {}", if up { "up" } else { "down" }))
    }

    pub(crate) fn set_owner(index: u32, owner: &str) -> Request {
        let alias = format!("{ALIAS_PREFIX}{owner}");
        let builder =
            wire::Builder::new(libc::RTM_SETLINK, 0, &ifinfo(index, 0, 0)).attr(libc::IFLA_IFALIAS, alias.as_bytes());
        Request::new(builder, format!("link set {index} alias {alias}"))
    }

    pub(crate) fn set_mac(index: u32, mac: Mac) -> Request {
        let builder = wire::Builder::new(libc::RTM_SETLINK, 0, &ifinfo(index, 0, 0)).attr(libc::IFLA_ADDRESS, &mac.0);
        Request::new(builder, format!("link set {index} address {mac}"))
    }

    pub(crate) fn set_mtu(index: u32, mtu: u32) -> Request {
        let builder = wire::Builder::new(libc::RTM_SETLINK, 0, &ifinfo(index, 0, 0)).u32(libc::IFLA_MTU, mtu);
        Request::new(builder, format!("link set {index} mtu {mtu}"))
    }

    /// IPv4 settings of a link (`IPV4_DEVCONF_*` numbers of `linux/ip.h`), set without touching `/proc`.
    pub(crate) fn set_inet_conf(index: u32, settings: &[(u16, u32)]) -> Request {
        let builder =
            wire::Builder::new(libc::RTM_SETLINK, 0, &ifinfo(index, 0, 0)).nest(libc::IFLA_AF_SPEC, &[], |b| {
                b.nest(libc::AF_INET as u16, &[], |b| {
                    b.nest(IFLA_INET_CONF, &[], |b| settings.iter().fold(b, |b, (key, value)| b.u32(*key, *value)))
                })
            });
        Request::new(builder, format!("link set {index} IPv4 settings"))
    }

    /// No link-local address: the host's side of a workload link is no neighbour to anybody.
    pub(crate) fn set_no_link_local(index: u32) -> Request {
        let builder =
            wire::Builder::new(libc::RTM_SETLINK, 0, &ifinfo(index, 0, 0)).nest(libc::IFLA_AF_SPEC, &[], |b| {
                b.nest(libc::AF_INET6 as u16, &[], |b| b.attr(IFLA_INET6_ADDR_GEN_MODE, &[ADDR_GEN_MODE_NONE]))
            });
        Request::new(builder, format!("link set {index} addrgenmode none")).fine_if(&[Errno::EAFNOSUPPORT])
    }

    /// Success when there is no such link.
    pub(crate) fn delete(index: u32) -> Request {
        let builder = wire::Builder::new(libc::RTM_DELLINK, 0, &ifinfo(index, 0, 0));
        Request::new(builder, format!("link delete {index}")).fine_if(&[Errno::ENODEV])
    }

    pub(crate) fn get(name: &IfName) -> Request {
        let builder = wire::Builder::new(libc::RTM_GETLINK, 0, &ifinfo(0, 0, 0))
            .string(libc::IFLA_IFNAME, name.as_str())
            .u32(IFLA_EXT_MASK, SKIP_STATS);
        Request::new(builder, format!("link show {name}"))
    }
}

impl Netlink {
    pub fn links(&mut self) -> Result<Vec<Link>> {
        let builder = wire::Builder::new(libc::RTM_GETLINK, 0, &ifinfo(0, 0, 0)).u32(IFLA_EXT_MASK, SKIP_STATS);
        let answers = self.dump(&Request::new(builder, "link show".into()))?;
        answers.iter().map(|a| Link::read(&a.body).ok_or(Error::Malformed("link"))).collect()
    }

    pub fn link(&mut self, name: &IfName) -> Result<Option<Link>> {
        match self.ask(&[Link::get(name)]) {
            Ok(answers) => {
                answers.iter().flatten().next().map(|a| Link::read(&a.body).ok_or(Error::Malformed("link"))).transpose()
            }
            Err(e) if e.is_gone() => Ok(None),
            Err(e) => Err(e),
        }
    }

    pub fn set_up(&mut self, name: &IfName, up: bool) -> Result<()> {
        let link = self.link(name)?.ok_or_else(|| Error::NoSuchLink(name.to_string()))?;
        self.run(&[Link::set_up(link.index, up)])
    }

    /// True when there was such a link. The other end of a veth pair goes with it, and so do both ends' addresses,
    /// routes and neighbours.
    pub fn delete_link(&mut self, name: &IfName) -> Result<bool> {
        match self.link(name)? {
            Some(link) => self.run(&[Link::delete(link.index)]).map(|()| true),
            None => Ok(false),
        }
    }
}

fn forwarding(families: &[u8], family: i32, settings: u16) -> Option<bool> {
    let (_, own) = wire::attributes(families).find(|(kind, _)| i32::from(*kind) == family)?;
    let (_, words) = wire::attributes(own).find(|(kind, _)| *kind == settings)?;
    wire::u32_at(words, FORWARDING_WORD * 4).map(|value| value != 0)
}

/// `struct ifinfomsg`.
fn ifinfo(index: u32, flags: u32, change: u32) -> [u8; 16] {
    let mut body = [0; 16];
    body[4..8].copy_from_slice(&index.to_ne_bytes());
    body[8..12].copy_from_slice(&flags.to_ne_bytes());
    body[12..16].copy_from_slice(&change.to_ne_bytes());
    body
}
