//! The kernel's tick, by which programs date flows.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use crate::error::{Error, Result};
use crate::sys;

/// Reads jiffies as programs see them: by running a program of two instructions.
#[derive(Debug)]
pub struct Jiffies {
    program: OwnedFd,
    hz: u32,
}

impl Jiffies {
    pub fn new() -> Result<Self> {
        let program =
            sys::load_jiffies().map_err(|source| Error::Call { call: "loading the jiffies program", source })?;
        Ok(Self { program, hz: hz()? })
    }

    /// Ticks a second.
    pub fn hz(&self) -> u32 {
        self.hz
    }

    /// The low 32 bits of the tick counter. Compare by wrapping difference.
    pub fn now(&self) -> Result<u32> {
        let packet = [0; 14];
        sys::test_run(self.program.as_fd(), &packet, &mut [], &mut [], 1)
            .map(|ran| ran.retval)
            .map_err(|source| Error::Call { call: "running the jiffies program", source })
    }

    /// How far `ticks` is from `now`: positive when it is still to come.
    pub fn until(&self, ticks: u32, now: u32) -> Offset {
        let ahead = ticks.wrapping_sub(now) as i32;
        let span = Duration::from_nanos(u64::from(ahead.unsigned_abs()) * 1_000_000_000 / u64::from(self.hz));
        if ahead > 0 { Offset::Ahead(span) } else { Offset::Passed(span) }
    }
}

/// Distance of a moment from now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offset {
    Ahead(Duration),
    Passed(Duration),
}

/// `CONFIG_HZ` of the running kernel: the coarse clocks advance once a tick, and say so as their resolution.
pub fn hz() -> Result<u32> {
    let mut resolution = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call writes one timespec, which is live and exclusively borrowed.
    let failed = unsafe { libc::clock_getres(libc::CLOCK_MONOTONIC_COARSE, &raw mut resolution) } != 0;
    if failed || resolution.tv_nsec <= 0 {
        return Err(Error::Call { call: "clock_getres", source: io::Error::last_os_error() });
    }
    Ok((1_000_000_000 / resolution.tv_nsec) as u32)
}
