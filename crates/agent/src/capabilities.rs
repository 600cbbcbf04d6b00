//! Least privilege: what the agent keeps, and why. Everything else is given up at start, for good.

use caps::{CapSet, Capability};

use crate::error::AgentError;

/// Kept capabilities, each with its reason.
pub(crate) const KEPT: &[(Capability, &str)] = &[
    (Capability::CAP_NET_ADMIN, "links, addresses, routes, tc and sysctls of network namespaces"),
    (Capability::CAP_BPF, "maps and programs"),
    (Capability::CAP_PERFMON, "programs that read packets by pointer"),
    (Capability::CAP_SYS_ADMIN, "setns into workloads, mounting the bpf file system"),
    (Capability::CAP_SYS_PTRACE, "network namespaces of processes of other users (/proc/PID/ns/net)"),
    (Capability::CAP_DAC_OVERRIDE, "state and sockets in directories of other owners, /proc/sys"),
    (Capability::CAP_CHOWN, "the control socket's group"),
];

/// Gives up what is not in [`KEPT`]. Must run before other threads exist: capabilities belong to threads.
pub(crate) fn drop_unneeded() -> Result<(), AgentError> {
    let kept: caps::CapsHashSet = KEPT.iter().map(|(capability, _)| *capability).collect();
    for capability in caps::read(None, CapSet::Bounding)?.difference(&kept) {
        // Without CAP_SETPCAP the bounding set cannot be changed; the permitted set below is what counts then.
        if caps::drop(None, CapSet::Bounding, *capability).is_err() {
            break;
        }
    }
    let permitted = caps::read(None, CapSet::Permitted)?;
    let keep: caps::CapsHashSet = permitted.intersection(&kept).copied().collect();
    caps::clear(None, CapSet::Ambient).or_else(|error| if keep.is_empty() { Ok(()) } else { Err(error) })?;
    caps::set(None, CapSet::Inheritable, &caps::CapsHashSet::new())?;
    caps::set(None, CapSet::Effective, &keep)?;
    caps::set(None, CapSet::Permitted, &keep)?;
    Ok(())
}

/// Kept capabilities that this process does not have.
pub(crate) fn missing() -> Vec<(Capability, &'static str)> {
    let effective = caps::read(None, CapSet::Effective).unwrap_or_default();
    KEPT.iter().filter(|(capability, _)| !effective.contains(capability)).copied().collect()
}
