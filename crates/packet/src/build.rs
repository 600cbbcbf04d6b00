//! Writes packets, headers and checksums complete. For tests and measurements; nothing is sent from here.

use core::net::IpAddr;

use nexin_abi::{Addr4, Addr6, Be16, Be32};
use zerocopy::IntoBytes;

use crate::header::{Ethernet, Extension, Fragment6, Icmp, Ipv4, Ipv6, Sctp, Tcp, Udp};
use crate::{checksum, ether, protocol};

/// Transport header of a packet to build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Tcp {
        source: u16,
        destination: u16,
        flags: u8,
    },
    /// `checksum: false` leaves it zero (IPv4: "none").
    Udp {
        source: u16,
        destination: u16,
        checksum: bool,
    },
    Sctp {
        source: u16,
        destination: u16,
    },
    /// ICMP or ICMPv6, by the family of the addresses.
    Icmp {
        kind: u8,
        code: u8,
        id: u16,
        sequence: u16,
    },
    /// Another protocol, without a header of its own.
    Raw(u8),
}

/// Fragmentation of a packet to build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    pub id: u32,
    /// Bytes, a multiple of 8. Fragments other than the first carry no transport header.
    pub offset: u16,
    pub more: bool,
}

/// A packet to build. Mixed address families give no packet.
#[derive(Clone, Copy, Debug)]
pub struct Spec<'a> {
    pub source_mac: [u8; 6],
    pub destination_mac: [u8; 6],
    pub source: IpAddr,
    pub destination: IpAddr,
    pub ttl: u8,
    pub dont_fragment: bool,
    pub fragment: Option<Fragment>,
    /// IPv4: that many words of options. IPv6: that many destination-options headers of 8 bytes.
    pub options: u8,
    pub transport: Transport,
    pub payload: &'a [u8],
}

impl<'a> Spec<'a> {
    /// A TTL of 64, no fragmentation, no options, no payload.
    pub fn new(source: IpAddr, destination: IpAddr, transport: Transport) -> Self {
        Self {
            source_mac: [2, 0, 0, 0, 0, 1],
            destination_mac: [2, 0, 0, 0, 0, 2],
            source,
            destination,
            ttl: 64,
            dont_fragment: true,
            fragment: None,
            options: 0,
            transport,
            payload: &[],
        }
    }

    pub fn macs(mut self, source: [u8; 6], destination: [u8; 6]) -> Self {
        (self.source_mac, self.destination_mac) = (source, destination);
        self
    }

    pub fn payload(mut self, payload: &'a [u8]) -> Self {
        self.payload = payload;
        self
    }

    pub fn ttl(mut self, ttl: u8) -> Self {
        self.ttl = ttl;
        self
    }

    pub fn options(mut self, count: u8) -> Self {
        self.options = count;
        self
    }

    pub fn fragment(mut self, id: u32, offset: u16, more: bool) -> Self {
        self.fragment = Some(Fragment { id, offset, more });
        self.dont_fragment = false;
        self
    }

    /// Writes the packet and returns its length; `None` if it does not fit or the families differ.
    pub fn write(&self, out: &mut [u8]) -> Option<usize> {
        let mut writer = Writer { out, len: 0 };
        let kind = if self.source.is_ipv4() { ether::IPV4 } else { ether::IPV6 };
        writer.put(&Ethernet { destination: self.destination_mac, source: self.source_mac, kind: Be16::new(kind) })?;
        match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                self.ipv4(&mut writer, source.into(), destination.into())?
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                self.ipv6(&mut writer, source.into(), destination.into())?
            }
            _ => return None,
        }
        Some(writer.len)
    }

    fn protocol(&self) -> u8 {
        match self.transport {
            Transport::Tcp { .. } => protocol::TCP,
            Transport::Udp { .. } => protocol::UDP,
            Transport::Sctp { .. } => protocol::SCTP,
            Transport::Icmp { .. } if self.source.is_ipv4() => protocol::ICMP,
            Transport::Icmp { .. } => protocol::ICMP6,
            Transport::Raw(proto) => proto,
        }
    }

    fn is_later_fragment(&self) -> bool {
        self.fragment.is_some_and(|f| f.offset != 0)
    }

    fn transport_len(&self) -> usize {
        let header = match self.transport {
            _ if self.is_later_fragment() => 0,
            Transport::Tcp { .. } => Tcp::LEN,
            Transport::Udp { .. } => Udp::LEN,
            Transport::Sctp { .. } => Sctp::LEN,
            Transport::Icmp { .. } => Icmp::LEN,
            Transport::Raw(_) => 0,
        };
        header + self.payload.len()
    }

    fn ipv4(&self, writer: &mut Writer<'_>, source: Addr4, destination: Addr4) -> Option<()> {
        let options = usize::from(self.options.min(10));
        let len = self.transport_len();
        let mut flags = if self.dont_fragment { Ipv4::DONT_FRAGMENT } else { 0 };
        if let Some(fragment) = self.fragment {
            flags |= fragment.offset >> 3 | if fragment.more { Ipv4::MORE_FRAGMENTS } else { 0 };
        }
        let at = writer.len;
        writer.put(&Ipv4 {
            version_len: Ipv4::PLAIN + options as u8,
            total_len: Be16::new((Ipv4::LEN + options * 4 + len) as u16),
            id: Be16::new(self.fragment.map_or(0, |f| f.id as u16)),
            fragment: Be16::new(flags),
            ttl: self.ttl,
            protocol: self.protocol(),
            source,
            destination,
            ..Ipv4::default()
        })?;
        for _ in 0..options {
            writer.put(&[1u8; 4])?; // No operation.
        }
        let check = checksum::finish(checksum::sum(writer.out.get(at..writer.len)?, 0));
        writer.patch(at + 10, check)?;
        self.transport(writer, checksum::pseudo4(source, destination, self.protocol(), len as u16), false)
    }

    fn ipv6(&self, writer: &mut Writer<'_>, source: Addr6, destination: Addr6) -> Option<()> {
        let len = self.transport_len();
        let extensions = usize::from(self.options) * Extension::LEN;
        let fragment = if self.fragment.is_some() { Fragment6::LEN } else { 0 };
        let proto = self.protocol();
        let behind_options = if self.fragment.is_some() { protocol::FRAGMENT } else { proto };
        writer.put(&Ipv6 {
            version_class_flow: Be32::new(6 << 28),
            payload_len: Be16::new((extensions + fragment + len) as u16),
            next_header: if self.options == 0 { behind_options } else { protocol::DESTINATION_OPTIONS },
            hop_limit: self.ttl,
            source,
            destination,
        })?;
        for n in 1..=self.options {
            let next_header = if n == self.options { behind_options } else { protocol::DESTINATION_OPTIONS };
            // One padding option of six bytes.
            writer.put(&Extension { next_header, len: 0, rest: [1, 4, 0, 0, 0, 0] })?;
        }
        if let Some(f) = self.fragment {
            let offset = Be16::new(f.offset & 0xfff8 | u16::from(f.more));
            writer.put(&Fragment6 { next_header: proto, reserved: 0, offset, id: Be32::new(f.id) })?;
        }
        self.transport(writer, checksum::pseudo6(&source, &destination, proto, len as u32), true)
    }

    fn transport(&self, writer: &mut Writer<'_>, pseudo: u32, six: bool) -> Option<()> {
        if self.is_later_fragment() {
            return writer.append(self.payload);
        }
        let at = writer.len;
        let (field, seed) = match self.transport {
            Transport::Tcp { source, destination, flags } => {
                let (source, destination) = (Be16::new(source), Be16::new(destination));
                writer.put(&Tcp { source, destination, flags, offset: 5 << 4, ..Tcp::default() })?;
                (Some(16), pseudo)
            }
            Transport::Udp { source, destination, checksum } => {
                let (source, destination) = (Be16::new(source), Be16::new(destination));
                let len = Be16::new((Udp::LEN + self.payload.len()) as u16);
                writer.put(&Udp { source, destination, len, checksum: Be16::default() })?;
                (checksum.then_some(6), pseudo)
            }
            Transport::Sctp { source, destination } => {
                let (source, destination) = (Be16::new(source), Be16::new(destination));
                writer.put(&Sctp { source, destination, ..Sctp::default() })?;
                (None, 0)
            }
            Transport::Icmp { kind, code, id, sequence } => {
                let (id, sequence) = (Be16::new(id), Be16::new(sequence));
                writer.put(&Icmp { kind, code, id, sequence, ..Icmp::default() })?;
                (Some(2), if six { pseudo } else { 0 })
            }
            Transport::Raw(_) => (None, 0),
        };
        writer.append(self.payload)?;
        if let Some(field) = field {
            let check = checksum::finish(checksum::sum(writer.out.get(at..writer.len)?, seed));
            writer.patch(at + field, check)?;
        }
        Some(())
    }
}

struct Writer<'a> {
    out: &'a mut [u8],
    len: usize,
}

impl Writer<'_> {
    fn put<T: IntoBytes + zerocopy::Immutable>(&mut self, header: &T) -> Option<()> {
        self.append(header.as_bytes())
    }

    fn append(&mut self, bytes: &[u8]) -> Option<()> {
        self.out.get_mut(self.len..self.len + bytes.len())?.copy_from_slice(bytes);
        self.len += bytes.len();
        Some(())
    }

    fn patch(&mut self, at: usize, value: Be16) -> Option<()> {
        self.out.get_mut(at..at + 2)?.copy_from_slice(&value.raw().to_ne_bytes());
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use zerocopy::FromBytes;

    use super::*;

    fn built(spec: &Spec<'_>) -> Vec<u8> {
        let mut out = vec![0; 2048];
        let len = spec.write(&mut out).expect("fits");
        out.truncate(len);
        out
    }

    proptest! {
        #[test]
        fn what_is_written_sums_up(source: [u8; 4], destination: [u8; 4], p: u16, q: u16, flags: u8, payload in proptest::collection::vec(any::<u8>(), 0..100)) {
            let transport = Transport::Tcp { source: p, destination: q, flags };
            let spec = Spec::new(IpAddr::from(source), IpAddr::from(destination), transport).payload(&payload);
            let bytes = built(&spec);
            prop_assert_eq!(checksum::finish(checksum::sum(&bytes[14..34], 0)).raw(), 0);
            let (ip, rest) = Ipv4::read_from_prefix(&bytes[14..]).unwrap();
            let pseudo = checksum::pseudo4(ip.source, ip.destination, protocol::TCP, rest.len() as u16);
            prop_assert_eq!(checksum::finish(checksum::sum(rest, pseudo)).raw(), 0);
        }

        #[test]
        fn no_buffer_is_too_small_to_try(len in 0usize..200, options in 0u8..12) {
            let six: IpAddr = "fd00::1".parse().unwrap();
            let spec = Spec::new(six, six, Transport::Sctp { source: 1, destination: 2 }).options(options).fragment(7, 0, true);
            let needed = built(&spec).len();
            prop_assert_eq!(spec.write(&mut vec![0; len]).is_some(), len >= needed);
        }
    }

    #[test]
    fn families_do_not_mix() {
        let spec = Spec::new("10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap(), Transport::Raw(47));
        assert_eq!(spec.write(&mut [0; 200]), None);
    }
}
