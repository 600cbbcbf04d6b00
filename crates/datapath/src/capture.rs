//! Copies of chosen packets. A capture takes one of the kernel's few slots and gives it back when it is stopped; while none
//! is under way the programs do not look at any filter.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::os::fd::{AsFd, BorrowedFd};

use ipnet::IpNet;
use nexin_abi::Identity;
use nexin_abi::maps::KernelMap;
use nexin_abi::maps::capture::{CAPTURES, CaptureFilter, CaptureFilters, CaptureRing, CaptureSide, Captured, MAX_SNAP};
use nexin_abi::maps::config::Config;
use nexin_abi::maps::metrics::Lost;
use nexin_bpf::{Loaded, Map, Ring};
use zerocopy::FromBytes;

use crate::Datapath;
use crate::error::{Error, Result};

/// What one side of a packet must be; `None` is anything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PacketSide {
    pub prefix: Option<IpNet>,
    pub identity: Option<u32>,
    /// Local endpoint.
    pub endpoint: Option<u16>,
    /// ICMP has no ports and does not match any.
    pub ports: Option<RangeInclusive<u16>>,
}

/// Which packets are copied, and how much of each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PacketFilter {
    pub source: PacketSide,
    pub destination: PacketSide,
    /// Packets match as well with their sides swapped.
    pub either_way: bool,
    /// 4 or 6.
    pub family: Option<u8>,
    /// IP protocol.
    pub protocol: Option<u8>,
    pub forwarded: bool,
    pub dropped: bool,
    /// Bytes of a packet, at most [`PacketFilter::MAX_SNAP`].
    pub snap: u32,
}

impl PacketFilter {
    pub const MAX_SNAP: u32 = MAX_SNAP;

    /// No condition but what becomes of the packet.
    fn takes_all(&self) -> bool {
        self.source == PacketSide::default()
            && self.destination == PacketSide::default()
            && self.family.is_none()
            && self.protocol.is_none()
    }

    fn encode(&self) -> CaptureFilter {
        let flag = |wanted: bool, flag: u32| if wanted { flag } else { 0 };
        CaptureFilter {
            flags: CaptureFilter::ACTIVE
                | flag(self.either_way, CaptureFilter::EITHER_WAY)
                | flag(self.forwarded, CaptureFilter::FORWARDED)
                | flag(self.dropped, CaptureFilter::DROPPED)
                | flag(self.dropped && self.takes_all(), CaptureFilter::UNREADABLE),
            snap: self.snap.clamp(1, MAX_SNAP),
            source: self.source.encode(),
            destination: self.destination.encode(),
            family: self.family_needed(),
            protocol: self.protocol.unwrap_or(0),
            reserved: 0,
        }
    }

    /// A prefix binds the filter to its family: as bytes, addresses of the other could match.
    fn family_needed(&self) -> u8 {
        let of = |side: &PacketSide| side.prefix.map(|net| if net.addr().is_ipv4() { 4 } else { 6 });
        self.family.or(of(&self.source)).or(of(&self.destination)).unwrap_or(0)
    }
}

impl PacketSide {
    fn encode(&self) -> CaptureSide {
        let (mut address, mut mask) = ([0; 16], [0; 16]);
        if let Some(net) = self.prefix {
            put(net.network(), &mut address);
            put(net.netmask(), &mut mask);
        }
        let ports = self.ports.clone().unwrap_or(0..=0);
        CaptureSide {
            address,
            mask,
            identity: Identity(self.identity.unwrap_or(0)),
            endpoint: self.endpoint.unwrap_or(0),
            reserved: 0,
            first_port: *ports.start(),
            last_port: *ports.end(),
        }
    }
}

fn put(ip: IpAddr, into: &mut [u8; 16]) {
    match ip {
        IpAddr::V4(ip) => into[..4].copy_from_slice(&ip.octets()),
        IpAddr::V6(ip) => *into = ip.octets(),
    }
}

/// A capture under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CaptureId(u32);

impl CaptureId {
    /// The packet was chosen by this capture.
    pub fn chose(self, header: &Captured) -> bool {
        header.filters & 1 << self.0 != 0
    }
}

/// The one reader of copies. The descriptor is readable when some wait.
pub struct Copies {
    ring: Ring,
    lost: Map<Lost>,
}

impl Copies {
    /// Hands at most `limit` copies to `each`, oldest first: header, and the packet's first bytes. Returns how many there were.
    pub fn read(&mut self, limit: usize, mut each: impl FnMut(Captured, &[u8])) -> usize {
        self.ring.drain_bytes(limit, |record| {
            let Ok((header, rest)) = Captured::read_from_prefix(record) else { return };
            let bytes = &rest[..rest.len().min(header.bytes as usize)];
            each(header, bytes);
        })
    }

    /// Copies that found no room since the maps were made.
    pub fn lost(&self) -> Result<u64> {
        Ok(self.lost.per_cpu(&0)?.iter().sum())
    }
}

impl AsFd for Copies {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ring.as_fd()
    }
}

/// The slots.
pub(crate) struct Captures {
    filters: Map<CaptureFilters>,
    used: [bool; CAPTURES as usize],
}

impl Captures {
    /// Slots of an earlier process are freed.
    pub(crate) fn open(kernel: &Loaded) -> Result<Self> {
        let filters: Map<CaptureFilters> = kernel.map()?;
        for slot in 0..CAPTURES {
            filters.set(&slot, &CaptureFilter::default())?;
        }
        Ok(Self { filters, used: [false; CAPTURES as usize] })
    }
}

impl Datapath {
    /// Copies packets that match, from the next one on.
    ///
    /// # Errors
    /// [`Error::TooManyCaptures`] when all slots are taken; a failed call of the kernel.
    pub fn capture(&mut self, filter: &PacketFilter) -> Result<CaptureId> {
        let free = (0..).zip(&mut self.captures.used).find(|(_, used)| !**used);
        let (slot, used) = free.ok_or(Error::TooManyCaptures(CAPTURES))?;
        self.captures.filters.set(&slot, &filter.encode())?;
        *used = true;
        self.tables.tell(Config::CAPTURE, Config::CAPTURE)?;
        Ok(CaptureId(slot))
    }

    /// Ends a capture. Copies that wait in the ring stay.
    pub fn stop_capture(&mut self, capture: CaptureId) -> Result<()> {
        self.captures.filters.set(&capture.0, &CaptureFilter::default())?;
        if let Some(used) = self.captures.used.get_mut(capture.0 as usize) {
            *used = false;
        }
        if self.captures.used.contains(&true) {
            return Ok(());
        }
        self.tables.tell(0, Config::CAPTURE)
    }

    /// The reader of copies. There must be no other one.
    pub fn copies(&self) -> Result<Copies> {
        let ring = Ring::new(self.kernel.raw_map(CaptureRing::NAME)?)?;
        Ok(Copies { ring, lost: self.kernel.map()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn everything() -> PacketFilter {
        let (source, destination) = (PacketSide::default(), PacketSide::default());
        let (forwarded, dropped) = (true, true);
        PacketFilter {
            source,
            destination,
            either_way: true,
            family: None,
            protocol: None,
            forwarded,
            dropped,
            snap: 0,
        }
    }

    #[test]
    fn prefixes_become_address_mask_and_family() {
        let side = |net: &str| PacketSide { prefix: Some(net.parse().unwrap()), ..PacketSide::default() };
        let four = PacketFilter { destination: side("10.1.2.3/20"), ..everything() }.encode();
        assert_eq!((four.family, &four.destination.address[..5]), (4, &[10, 1, 0, 0, 0][..]));
        assert_eq!(&four.destination.mask[..5], &[255, 255, 240, 0, 0]);
        let six = PacketFilter { source: side("fd00::/8"), ..everything() }.encode();
        assert_eq!((six.family, six.source.address[0], six.source.mask[1]), (6, 0xfd, 0));
    }

    #[test]
    fn only_what_takes_everything_takes_the_unreadable() {
        assert_ne!(everything().encode().flags & CaptureFilter::UNREADABLE, 0);
        let tcp = PacketFilter { protocol: Some(6), ..everything() };
        assert_eq!(tcp.encode().flags & CaptureFilter::UNREADABLE, 0);
        let forwarded = PacketFilter { dropped: false, ..everything() };
        assert_eq!(forwarded.encode().flags & CaptureFilter::UNREADABLE, 0);
    }

    #[test]
    fn the_snap_length_is_kept_in_bounds() {
        assert_eq!(everything().encode().snap, 1);
        assert_eq!(PacketFilter { snap: u32::MAX, ..everything() }.encode().snap, MAX_SNAP);
    }
}
