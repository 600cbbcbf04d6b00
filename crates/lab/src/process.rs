//! Processes by the network namespace they are in: the only way to find what a workload left running.

use std::os::unix::fs::MetadataExt;
use std::thread;
use std::time::{Duration, Instant};
use std::{fs, io};

use nexin_netlink::Netns;
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::{Error, Result};

/// How often is looked whether processes have ended.
const LOOK: Duration = Duration::from_millis(5);
/// Enough for a killed process to be gone; the kernel only has to close its files.
const KILLED: Duration = Duration::from_secs(10);

/// Stops every process in `netns` but the calling one: politely, and after `grace` for certain.
///
/// # Errors
/// A process may not be signalled, or does not end although it was killed.
pub fn stop_all_in(netns: &Netns, grace: Duration) -> Result<()> {
    let id = netns.id()?;
    for (signal, patience) in [(Signal::SIGTERM, grace), (Signal::SIGKILL, KILLED)] {
        let deadline = Instant::now() + patience;
        let mut told: Vec<Pid> = Vec::new();
        loop {
            let alive = processes_in(id)?;
            if alive.is_empty() {
                return Ok(());
            }
            for pid in alive.into_iter().filter(|pid| !told.contains(pid)).collect::<Vec<_>>() {
                send(pid, signal)?;
                told.push(pid);
            }
            if Instant::now() >= deadline {
                break;
            }
            thread::sleep(LOOK);
        }
    }
    let doing = format!("stop what runs in {}", netns.origin().display());
    Err(Error::system(doing, io::Error::from(io::ErrorKind::TimedOut)))
}

fn send(pid: Pid, signal: Signal) -> Result<()> {
    match kill(pid, signal) {
        // It ended in the meantime.
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(errno) => Err(Error::system(format!("send {signal} to process {pid}"), errno)),
    }
}

fn processes_in(id: (u64, u64)) -> Result<Vec<Pid>> {
    let all = fs::read_dir("/proc").map_err(|source| Error::file("/proc", source))?;
    let own = Pid::this();
    let inside = all.filter_map(|entry| {
        let entry = entry.ok()?;
        let pid = Pid::from_raw(entry.file_name().to_str()?.parse().ok()?);
        let netns = fs::metadata(entry.path().join("ns/net")).ok()?;
        (pid != own && (netns.dev(), netns.ino()) == id).then_some(pid)
    });
    Ok(inside.collect())
}
