//! Interface addresses.

use crate::{Error, Netlink, PROTOCOL, Request, Result, wire};
use ipnet::IpNet;
use nix::errno::Errno;
use std::net::IpAddr;

/// `IFA_PROTO`, kernel 5.18; older kernels ignore it.
const IFA_PROTO: u16 = 11;
const IFA_FLAGS: u16 = 8;

/// An address of a link as the kernel reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    pub ifindex: u32,
    /// Host address with its prefix length.
    pub net: IpNet,
    /// Usable beyond this machine (`RT_SCOPE_UNIVERSE`).
    pub global: bool,
    /// Added as a second address of the same subnet.
    pub secondary: bool,
    /// Not usable (yet): duplicate detection runs or has failed.
    pub tentative: bool,
    /// Past its preferred lifetime: not to be chosen for new connections.
    pub deprecated: bool,
    /// A privacy address that the kernel replaces from time to time.
    pub temporary: bool,
    /// Carries our protocol number. Always false before kernel 5.18.
    pub ours: bool,
}

impl Address {
    pub(crate) fn read(body: &[u8]) -> Option<Self> {
        let prefix = *body.get(1)?;
        let (mut local, mut address, mut ours) = (None, None, false);
        let mut flags = u32::from(*body.get(2)?);
        for (kind, value) in wire::attributes(body.get(8..)?) {
            match kind {
                libc::IFA_LOCAL => local = wire::ip(value),
                libc::IFA_ADDRESS => address = wire::ip(value),
                IFA_FLAGS => flags = wire::u32_at(value, 0)?,
                IFA_PROTO => ours = value.first() == Some(&PROTOCOL),
                _ => {}
            }
        }
        let ip = local.or(address)?;
        // For IPv6 the same bit means "temporary".
        let low_bit = flags & libc::IFA_F_SECONDARY != 0;
        Some(Self {
            ifindex: wire::u32_at(body, 4)?,
            net: IpNet::new(ip, prefix).ok()?,
            global: *body.get(3)? == libc::RT_SCOPE_UNIVERSE,
            secondary: low_bit && ip.is_ipv4(),
            temporary: low_bit && ip.is_ipv6(),
            tentative: flags & (libc::IFA_F_TENTATIVE | libc::IFA_F_DADFAILED) != 0,
            deprecated: flags & libc::IFA_F_DEPRECATED != 0,
            ours,
        })
    }

    /// Usable at once: no duplicate address detection. Success when it is there already.
    pub(crate) fn add(ifindex: u32, net: IpNet) -> Request {
        Request::new(
            message(libc::RTM_NEWADDR, libc::NLM_F_CREATE | libc::NLM_F_REPLACE, ifindex, net),
            format!("address add {net} dev {ifindex}"),
        )
        .fine_if(&[Errno::EEXIST])
    }

    /// Success when it is not there.
    pub(crate) fn delete(ifindex: u32, net: IpNet) -> Request {
        Request::new(message(libc::RTM_DELADDR, 0, ifindex, net), format!("address delete {net} dev {ifindex}"))
            .fine_if(&[Errno::EADDRNOTAVAIL, Errno::ENODEV])
    }
}

impl Netlink {
    pub fn addresses(&mut self) -> Result<Vec<Address>> {
        let request = Request::new(wire::Builder::new(libc::RTM_GETADDR, 0, &[0; 8]), "address show".into());
        self.dump(&request)?.iter().map(|a| Address::read(&a.body).ok_or(Error::Malformed("address"))).collect()
    }

    /// See [`Address`]: no duplicate detection, marked as ours; success when it is there already.
    pub fn add_address(&mut self, ifindex: u32, net: IpNet) -> Result<()> {
        self.run(&[Address::add(ifindex, net)])
    }

    /// Success when it is not there.
    pub fn delete_address(&mut self, ifindex: u32, net: IpNet) -> Result<()> {
        self.run(&[Address::delete(ifindex, net)])
    }
}

fn message(kind: u16, flags: i32, ifindex: u32, net: IpNet) -> wire::Builder {
    let ip = net.addr();
    let mut body = [wire::family(ip), net.prefix_len(), 0, libc::RT_SCOPE_UNIVERSE, 0, 0, 0, 0];
    body[4..].copy_from_slice(&ifindex.to_ne_bytes());
    let builder = wire::Builder::new(kind, flags, &body)
        .ip(libc::IFA_LOCAL, ip)
        .ip(libc::IFA_ADDRESS, ip)
        .attr(IFA_PROTO, &[PROTOCOL]);
    match ip {
        IpAddr::V4(_) => builder,
        IpAddr::V6(_) => builder.u32(IFA_FLAGS, libc::IFA_F_NODAD),
    }
}
