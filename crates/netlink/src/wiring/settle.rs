//! Waiting until what was set is in force.
//!
//! The kernel finishes an IPv6 address in a work queue (`addrconf_dad_work`), also one without duplicate detection: for a
//! moment it is listed and yet packets for it are not taken in.

use crate::{Netlink, Result};
use std::{
    net::IpAddr,
    thread,
    time::{Duration, Instant},
};

/// First pause between two looks, and the longest one.
const PAUSES: (Duration, Duration) = (Duration::from_micros(50), Duration::from_millis(2));
/// A work queue that takes longer is the machine's trouble and not the workload's: the address will come.
const PATIENCE: Duration = Duration::from_secs(2);

/// Returns when the kernel delivers packets for each IPv6 address of `addresses` locally.
pub(super) fn settle(netlink: &mut Netlink, addresses: impl Iterator<Item = IpAddr>) -> Result<()> {
    let (start, mut pause) = (Instant::now(), PAUSES.0);
    for ip in addresses.filter(IpAddr::is_ipv6) {
        while !netlink.is_local(ip)? {
            if start.elapsed() > PATIENCE {
                tracing::warn!(%ip, "the kernel has not yet put the address into use; going on");
                return Ok(());
            }
            thread::sleep(pause);
            pause = (pause * 2).min(PAUSES.1);
        }
    }
    Ok(())
}
