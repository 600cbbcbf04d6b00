//! What the running kernel can do, asked by trying. For `nexin doctor` and for choosing between ways.

use std::fs;
use std::io;
use std::os::fd::AsFd;

use crate::sys;

/// One thing the kernel has or lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Feature {
    pub name: &'static str,
    pub presence: Presence,
    /// First kernel that has it.
    pub since: &'static str,
    /// What it costs to do without.
    pub without: &'static str,
    /// Nexin cannot run without it.
    pub required: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    Present,
    Absent,
    /// It could not be found out, for lack of privileges or of the file that tells.
    Unknown,
}

impl From<io::Result<bool>> for Presence {
    fn from(result: io::Result<bool>) -> Self {
        match result {
            Ok(true) => Self::Present,
            Ok(false) => Self::Absent,
            Err(_) => Self::Unknown,
        }
    }
}

/// Helper numbers (`enum bpf_func_id`).
mod helper {
    pub(super) const FIB_LOOKUP: i32 = 69;
    pub(super) const JIFFIES64: i32 = 118;
    pub(super) const RINGBUF_RESERVE: i32 = 131;
    pub(super) const REDIRECT_NEIGH: i32 = 152;
    pub(super) const REDIRECT_PEER: i32 = 155;
}

/// Everything, in the order in which a person wants to read it.
pub fn features() -> Vec<Feature> {
    let feature =
        |name, presence: Presence, since, without, required| Feature { name, presence, since, without, required };
    let helper = |id| Presence::from(sys::helper_known(id));
    vec![
        feature(
            "BPF programs",
            sys::load_return_zero().map(|_| true).into(),
            "4.1",
            "Nexin cannot run: it needs root, or CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON, and a kernel with CONFIG_BPF_SYSCALL",
            true,
        ),
        feature(
            "BPF JIT",
            jit(),
            "3.0",
            "programs are interpreted, several times slower: sysctl net.core.bpf_jit_enable=1",
            false,
        ),
        feature("ring buffer", helper(helper::RINGBUF_RESERVE), "5.8", "no events: Nexin cannot run", true),
        feature("fib_lookup", helper(helper::FIB_LOOKUP), "4.18", "no routing in BPF: Nexin cannot run", true),
        feature(
            "redirect_peer",
            helper(helper::REDIRECT_PEER),
            "5.10",
            "no delivery to workloads: Nexin cannot run",
            true,
        ),
        feature(
            "redirect_neigh",
            helper(helper::REDIRECT_NEIGH),
            "5.10",
            "no sending to the network: Nexin cannot run",
            true,
        ),
        feature("jiffies64", helper(helper::JIFFIES64), "5.6", "no cheap clock for flows: Nexin cannot run", true),
        feature(
            "map batches",
            batches().into(),
            "5.6",
            "flows and policies are read and written one entry a call, some ten times slower",
            false,
        ),
        feature(
            "tcx",
            if tcx() { Presence::Present } else { Presence::Absent },
            "6.6",
            "programs go on by clsact: no pinned links, and other tools may remove the qdisc (which is repaired)",
            false,
        ),
        feature(
            "kernel BTF",
            exists("/sys/kernel/btf/vmlinux"),
            "5.4",
            "no tracing programs (CONFIG_DEBUG_INFO_BTF); networking is not affected",
            false,
        ),
        feature(
            "bpffs",
            crate::bpffs::is_bpffs("/sys/fs/bpf".as_ref()).into(),
            "4.4",
            "not mounted at /sys/fs/bpf: the agent mounts it; in a container, mount it from the host or a restart loses state",
            false,
        ),
        feature(
            "grace periods on demand",
            sys::wait_for_programs().map(|()| true).into(),
            "4.3",
            "freed table entries wait a second longer before they are used again (full dynticks kernels)",
            false,
        ),
    ]
}

/// Whether programs can be attached by tcx links.
pub fn tcx() -> bool {
    // The loopback device is interface 1 of every network namespace; kernels without tcx do not know the attach type.
    const LOOPBACK: u32 = 1;
    const TCX_INGRESS: u32 = 46;
    sys::prog_query(LOOPBACK, TCX_INGRESS).is_ok()
}

fn jit() -> Presence {
    match fs::read_to_string("/proc/sys/net/core/bpf_jit_enable") {
        Ok(value) => Presence::from(Ok(value.trim() != "0")),
        Err(_) => Presence::Unknown,
    }
}

fn exists(path: &str) -> Presence {
    Presence::from(fs::exists(path))
}

/// Whether hash maps have batch operations.
fn batches() -> io::Result<bool> {
    let shape = sys::MapShape { kind: 1, key_size: 4, value_size: 4, max_entries: 1, flags: 0 };
    let map = sys::map_create("nx_probe", shape)?;
    let (key, value) = (1u32.to_ne_bytes(), 1u32.to_ne_bytes());
    match sys::map_update_batch(map.as_fd(), &key, &value, 1) {
        Ok(()) => Ok(true),
        Err((_, e)) if e.raw_os_error() == Some(libc::EINVAL) => Ok(false),
        Err((_, e)) => Err(e),
    }
}
