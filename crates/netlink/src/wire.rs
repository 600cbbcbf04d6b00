//! The netlink message format (`linux/netlink.h`): building requests and walking answers. Knows lengths and alignment,
//! not what an attribute means.

use crate::{Error, Result};
use std::net::IpAddr;

pub(crate) const HEADER: usize = 16;
const ATTR_HEADER: usize = 4;

fn align(n: usize) -> usize {
    (n + 3) & !3
}

/// A request under construction. Lengths are filled in by [`Builder::finish`] and at the end of each nest.
pub(crate) struct Builder {
    bytes: Vec<u8>,
}

impl Builder {
    /// `body` is the fixed header of the message type (`ifinfomsg`, `rtmsg` ...), a multiple of four bytes.
    pub(crate) fn new(kind: u16, flags: i32, body: &[u8]) -> Self {
        let mut bytes = Vec::with_capacity(256);
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(&((flags | libc::NLM_F_REQUEST) as u16).to_ne_bytes());
        bytes.extend_from_slice(&[0; 8]);
        bytes.extend_from_slice(body);
        Self { bytes }
    }

    pub(crate) fn attr(mut self, kind: u16, value: &[u8]) -> Self {
        self.bytes.extend_from_slice(&((ATTR_HEADER + value.len()) as u16).to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(value);
        self.bytes.resize(align(self.bytes.len()), 0);
        self
    }

    pub(crate) fn u32(self, kind: u16, value: u32) -> Self {
        self.attr(kind, &value.to_ne_bytes())
    }

    /// A string with the closing zero that most of rtnetlink expects.
    pub(crate) fn string(self, kind: u16, value: &str) -> Self {
        let mut bytes = value.as_bytes().to_vec();
        bytes.push(0);
        self.attr(kind, &bytes)
    }

    pub(crate) fn ip(self, kind: u16, value: IpAddr) -> Self {
        match value {
            IpAddr::V4(v4) => self.attr(kind, &v4.octets()),
            IpAddr::V6(v6) => self.attr(kind, &v6.octets()),
        }
    }

    /// An attribute whose value is `prefix` followed by more attributes.
    pub(crate) fn nest(mut self, kind: u16, prefix: &[u8], fill: impl FnOnce(Self) -> Self) -> Self {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 2]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(prefix);
        let mut done = fill(self);
        let length = (done.bytes.len() - start) as u16;
        done.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        done
    }

    pub(crate) fn finish(mut self) -> Vec<u8> {
        let length = self.bytes.len() as u32;
        self.bytes[..4].copy_from_slice(&length.to_ne_bytes());
        self.bytes
    }
}

/// One message of an answer.
#[derive(Clone, Copy)]
pub(crate) struct Message<'a> {
    pub(crate) kind: u16,
    pub(crate) flags: u16,
    pub(crate) seq: u32,
    pub(crate) body: &'a [u8],
}

/// The messages in one datagram.
pub(crate) fn messages(mut datagram: &[u8]) -> impl Iterator<Item = Result<Message<'_>>> {
    std::iter::from_fn(move || {
        if datagram.is_empty() {
            return None;
        }
        let length = u32_at(datagram, 0).map_or(0, |n| n as usize);
        if length < HEADER || length > datagram.len() {
            datagram = &[];
            return Some(Err(Error::Malformed("message length beyond the datagram")));
        }
        let (this, rest) = datagram.split_at(align(length).min(datagram.len()));
        datagram = rest;
        Some(Ok(Message {
            kind: u16_at(this, 4).unwrap_or(0),
            flags: u16_at(this, 6).unwrap_or(0),
            seq: u32_at(this, 8).unwrap_or(0),
            body: &this[HEADER..length],
        }))
    })
}

/// The attributes in `bytes`; stops at the first that is cut short. The nested and byte-order bits are stripped.
pub(crate) fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16_at(bytes, 0)?);
        let kind = u16_at(bytes, 2)? & 0x3fff;
        let value = bytes.get(ATTR_HEADER..length)?;
        bytes = bytes.get(align(length)..).unwrap_or(&[]);
        Some((kind, value))
    })
}

pub(crate) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

pub(crate) fn text(value: &[u8]) -> String {
    let end = value.iter().position(|b| *b == 0).unwrap_or(value.len());
    String::from_utf8_lossy(&value[..end]).into_owned()
}

pub(crate) fn ip(value: &[u8]) -> Option<IpAddr> {
    match value.len() {
        4 => Some(IpAddr::from(*value.first_chunk::<4>()?)),
        16 => Some(IpAddr::from(*value.first_chunk::<16>()?)),
        _ => None,
    }
}

pub(crate) fn family(ip: IpAddr) -> u8 {
    match ip {
        IpAddr::V4(_) => libc::AF_INET as u8,
        IpAddr::V6(_) => libc::AF_INET6 as u8,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn built_messages_are_walked_back() {
        let bytes = Builder::new(16, 4, &[7; 4])
            .u32(1, 42)
            .string(2, "eth0")
            .nest(3, &[9; 4], |b| b.attr(4, &[1, 2, 3]).ip(5, "fd00::1".parse().unwrap()))
            .finish();
        let all: Vec<_> = messages(&bytes).map(Result::unwrap).collect();
        assert_eq!((all.len(), all[0].kind, all[0].flags), (1, 16, 5));
        let attrs: Vec<_> = attributes(&all[0].body[4..]).collect();
        assert_eq!(attrs[0], (1, &42u32.to_ne_bytes()[..]));
        assert_eq!(text(attrs[1].1), "eth0");
        let inner: Vec<_> = attributes(&attrs[2].1[4..]).collect();
        assert_eq!(inner[0], (4, &[1u8, 2, 3][..]));
        assert_eq!(ip(inner[1].1), Some("fd00::1".parse().unwrap()));
    }

    proptest! {
        #[test]
        fn garbage_ends_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let walked: usize = messages(&bytes).flatten().map(|m| attributes(m.body).count()).sum();
            prop_assert!(walked <= bytes.len());
            prop_assert!(attributes(&bytes).count() <= bytes.len() / 4);
        }
    }
}
