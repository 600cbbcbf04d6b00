//! Permanent neighbour entries.

use crate::{Error, Mac, Netlink, PROTOCOL, Request, Result, wire};
use nix::errno::Errno;
use std::net::IpAddr;

const NDA_DST: u16 = 1;
const NDA_LLADDR: u16 = 2;
const NDA_PROTOCOL: u16 = 12;
const NUD_PERMANENT: u16 = 0x80;

/// An entry of the ARP or neighbour discovery table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Neighbour {
    pub ifindex: u32,
    pub ip: IpAddr,
    pub mac: Option<Mac>,
    pub permanent: bool,
    /// Carries our protocol number.
    pub ours: bool,
}

impl Neighbour {
    /// One of ours: permanent, so that the kernel never asks.
    pub fn fixed(ifindex: u32, ip: IpAddr, mac: Mac) -> Self {
        Self { ifindex, ip, mac: Some(mac), permanent: true, ours: true }
    }

    fn read(body: &[u8]) -> Option<Self> {
        let (mut ip, mut mac, mut ours) = (None, None, false);
        for (kind, value) in wire::attributes(body.get(12..)?) {
            match kind {
                NDA_DST => ip = wire::ip(value),
                NDA_LLADDR => mac = <[u8; 6]>::try_from(value).ok().map(Mac),
                NDA_PROTOCOL => ours = value.first() == Some(&PROTOCOL),
                _ => {}
            }
        }
        Some(Self {
            ifindex: wire::u32_at(body, 4)?,
            ip: ip?,
            mac,
            permanent: wire::u16_at(body, 8)? & NUD_PERMANENT != 0,
            ours,
        })
    }

    /// Replaces what is there for the same address, as a permanent entry of ours.
    pub fn add(&self) -> Request {
        let mac = self.mac.map_or([0; 6], |mac| mac.0);
        let builder =
            wire::Builder::new(libc::RTM_NEWNEIGH, libc::NLM_F_CREATE | libc::NLM_F_REPLACE, &self.body(NUD_PERMANENT))
                .ip(NDA_DST, self.ip)
                .attr(NDA_LLADDR, &mac)
                .attr(NDA_PROTOCOL, &[PROTOCOL]);
        Request::new(builder, format!("neighbour replace {} dev {}", self.ip, self.ifindex))
    }

    /// Success when it is not there.
    pub fn delete(&self) -> Request {
        let builder = wire::Builder::new(libc::RTM_DELNEIGH, 0, &self.body(0)).ip(NDA_DST, self.ip);
        Request::new(builder, format!("neighbour delete {} dev {}", self.ip, self.ifindex))
            .fine_if(&[Errno::ENOENT, Errno::ENODEV])
    }

    fn body(&self, state: u16) -> [u8; 12] {
        let mut body = [0; 12];
        body[0] = wire::family(self.ip);
        body[4..8].copy_from_slice(&self.ifindex.to_ne_bytes());
        body[8..10].copy_from_slice(&state.to_ne_bytes());
        body
    }
}

impl Netlink {
    pub fn neighbours(&mut self) -> Result<Vec<Neighbour>> {
        let request = Request::new(wire::Builder::new(libc::RTM_GETNEIGH, 0, &[0; 12]), "neighbour show".into());
        // Entries without an IP address belong to bridges' tables.
        let with_address =
            |body: &[u8]| matches!(i32::from(body.first().copied().unwrap_or(0)), libc::AF_INET | libc::AF_INET6);
        let answers = self.dump(&request)?;
        answers
            .iter()
            .filter(|a| with_address(&a.body))
            .map(|a| Neighbour::read(&a.body).ok_or(Error::Malformed("neighbour")))
            .collect()
    }
}
