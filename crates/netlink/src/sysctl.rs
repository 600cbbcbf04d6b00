//! `/proc/sys/net`, of the calling thread's network namespace: the settings this project needs, and no other.

use crate::{Error, IfName, Result};
use std::{fs, io, path::PathBuf};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    V4,
    V6,
}

impl Family {
    fn directory(self) -> &'static str {
        match self {
            Self::V4 => "/proc/sys/net/ipv4/conf",
            Self::V6 => "/proc/sys/net/ipv6/conf",
        }
    }

    /// False for IPv6 on a kernel that was booted without it.
    pub fn available(self) -> bool {
        fs::metadata(self.directory()).is_ok()
    }
}

/// A setting of one link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LinkSysctl {
    Forwarding,
    /// IPv4 only. The stricter of this and the `all` value counts.
    RpFilter,
    /// IPv6 only: router advertisements.
    AcceptRa,
    /// IPv6 only: duplicate address detection.
    AcceptDad,
    /// IPv6 only.
    DisableIpv6,
    /// IPv4 only: ICMP redirects, pointless on a link with one station.
    SendRedirects,
}

impl LinkSysctl {
    fn file(self) -> &'static str {
        match self {
            Self::Forwarding => "forwarding",
            Self::RpFilter => "rp_filter",
            Self::AcceptRa => "accept_ra",
            Self::AcceptDad => "accept_dad",
            Self::DisableIpv6 => "disable_ipv6",
            Self::SendRedirects => "send_redirects",
        }
    }

    pub fn read(self, family: Family, link: &IfName) -> Result<i64> {
        read(self.path(family, link))
    }

    pub fn write(self, family: Family, link: &IfName, value: i64) -> Result<()> {
        write(self.path(family, link), value)
    }

    fn path(self, family: Family, link: &IfName) -> PathBuf {
        PathBuf::from(family.directory()).join(link.as_str()).join(self.file())
    }
}

/// A setting of the whole namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NodeSysctl {
    /// Forwarding between all links (`conf/all/forwarding`): writing it also sets every link and the default for new ones.
    ForwardAll(Family),
    /// The floor for every link's value. IPv4 only.
    RpFilterAll,
}

impl NodeSysctl {
    pub fn read(self) -> Result<i64> {
        read(self.path())
    }

    pub fn write(self, value: i64) -> Result<()> {
        write(self.path(), value)
    }

    fn path(self) -> PathBuf {
        match self {
            Self::ForwardAll(family) => PathBuf::from(family.directory()).join("all/forwarding"),
            Self::RpFilterAll => PathBuf::from(Family::V4.directory()).join("all/rp_filter"),
        }
    }
}

fn read(path: PathBuf) -> Result<i64> {
    let text = fs::read_to_string(&path).map_err(|e| Error::io(format!("read {}", path.display()), e))?;
    text.trim()
        .parse()
        .map_err(|_| Error::io(format!("read {}", path.display()), io::Error::from(io::ErrorKind::InvalidData)))
}

fn write(path: PathBuf, value: i64) -> Result<()> {
    fs::write(&path, value.to_string()).map_err(|e| Error::io(format!("write {value} to {}", path.display()), e))
}
