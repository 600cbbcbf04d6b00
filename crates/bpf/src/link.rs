//! tcx links (Linux 6.6): a program on a device, pinned so that it outlives us, replaced atomically on upgrade.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use crate::error::{Error, Result};
use crate::map::c_path;
use crate::program::Program;
use crate::sys;

/// Which packets of a device a program sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Hook {
    /// Packets that come in from the device (what a workload sends, on its host side).
    Ingress,
    /// Packets that go out through the device.
    Egress,
}

impl Hook {
    /// `BPF_TCX_INGRESS`, `BPF_TCX_EGRESS`.
    fn tcx(self) -> u32 {
        match self {
            Self::Ingress => 46,
            Self::Egress => 47,
        }
    }
}

/// A tcx link.
#[derive(Debug)]
pub struct Link {
    fd: OwnedFd,
}

impl Link {
    /// Attaches `program` before all others on the device.
    pub fn attach(program: &Program, ifindex: u32, hook: Hook) -> Result<Self> {
        let fd = sys::link_create(program.as_fd(), ifindex, hook.tcx(), true)
            .map_err(|source| attach_error(program, ifindex, source))?;
        Ok(Self { fd })
    }

    /// The link pinned at `path`, `None` if there is no pin.
    pub fn open_pin(path: &Path) -> Result<Option<Self>> {
        match sys::open_pin(&c_path(path)?) {
            Ok(fd) => Ok(Some(Self { fd })),
            Err(e) if e.raw_os_error() == Some(libc::ENOENT) => Ok(None),
            Err(source) => Err(Error::Pin { path: path.into(), source }),
        }
    }

    pub fn pin(&self, path: &Path) -> Result<()> {
        sys::pin(self.fd.as_fd(), &c_path(path)?).map_err(|source| Error::Pin { path: path.into(), source })
    }

    /// Replaces the program; no packet sees the device without one.
    pub fn update(&self, program: &Program) -> Result<()> {
        sys::link_update(self.fd.as_fd(), program.as_fd()).map_err(|source| attach_error(program, 0, source))
    }

    /// Takes the program off the device, whoever else holds the link.
    pub fn detach(&self) -> Result<()> {
        match sys::link_detach(self.fd.as_fd()) {
            // The device has gone, and the attachment with it.
            Err(e) if e.raw_os_error() == Some(libc::ENOLINK) => Ok(()),
            other => other.map_err(|source| Error::Call { call: "link detach", source }),
        }
    }

    pub fn status(&self) -> Result<LinkStatus> {
        let info = sys::link_info(self.fd.as_fd()).map_err(|source| Error::Call { call: "link info", source })?;
        Ok(LinkStatus { id: info.id, program: info.prog_id, ifindex: info.ifindex })
    }
}

/// What the kernel says of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkStatus {
    pub id: u32,
    /// Id of the program it runs.
    pub program: u32,
    /// 0 when it is attached to nothing any more: the device has gone or somebody detached it.
    pub ifindex: u32,
}

/// Ids of the tcx programs on `hook` of `ifindex`, in the order they run.
pub fn attached(ifindex: u32, hook: Hook) -> Result<Vec<u32>> {
    sys::prog_query(ifindex, hook.tcx()).map_err(|source| Error::Call { call: "BPF_PROG_QUERY", source })
}

fn attach_error(program: &Program, interface: u32, source: io::Error) -> Error {
    Error::Attach { program: program.name().to_owned(), interface, source }
}
