//! The machine that figures belong to, and which of its cores is measured.

use std::fs;

use nexin_testbed::{Result, tool};
use nix::{
    sched::{CpuSet, sched_setaffinity},
    unistd::Pid,
};

/// Client, server and the path between them share this core; everything else stays off it.
fn measured_core() -> Result<usize> {
    Ok(core_count()?.saturating_sub(1))
}

fn core_count() -> Result<usize> {
    Ok(fs::read_to_string("/proc/cpuinfo")?.lines().filter(|l| l.starts_with("processor")).count())
}

/// Moves this process, and what it starts from now on, to another core.
pub(crate) fn stay_off_the_measured_core() -> Result {
    pin(measured_core()?.saturating_sub(1))
}

pub(crate) fn move_to_the_measured_core() -> Result {
    pin(measured_core()?)
}

fn pin(core: usize) -> Result {
    let mut set = CpuSet::new();
    set.set(core)?;
    Ok(sched_setaffinity(Pid::from_raw(0), &set)?)
}

/// One line for the report.
pub(crate) fn describe() -> Result<String> {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo")?;
    let model = cpuinfo.lines().find_map(|l| l.strip_prefix("model name")).unwrap_or("").trim_matches([' ', '\t', ':']);
    let memory = fs::read_to_string("/proc/meminfo")?;
    let kilobytes = memory.split_whitespace().nth(1).and_then(|k| k.parse::<u64>().ok()).unwrap_or_default();
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let date = tool("date", ["-u", "+%Y-%m-%d"])?;
    Ok(format!(
        "{} x {model}, {} GiB, Linux {}, {}",
        core_count()?,
        (kilobytes + (1 << 19)) >> 20,
        kernel.trim(),
        date.trim()
    ))
}
