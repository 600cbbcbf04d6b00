//! Settings of the agent that tests change, by name, so that a renamed key is one edit.

/// Eight IPv4 addresses for workloads.
pub(crate) const POOL4_OF_EIGHT: &str = "ipam.ipv4_pool = \"10.78.7.0/29\"";
/// Attach by clsact although the kernel has tcx.
pub(crate) const CLSACT: &str = "datapath.attach = \"clsact\"";
/// What lies behind the world sees workloads' own addresses.
pub(crate) const NO_MASQUERADE_FAR: &str = "network.masquerade_exclude = [\"192.0.2.0/24\", \"2001:db8::/32\"]";
/// Denials are let through and reported.
pub(crate) const AUDIT: &str = "policy.audit = true";
/// Very small connection tables.
pub(crate) const FEW_FLOWS: &str = "datapath.ct4_entries = 64\ndatapath.ct6_entries = 64";
/// The kernel is read back often.
pub(crate) const CHECK_OFTEN: &str = "agent.check_interval = \"200ms\"";
/// Other constants in the kernel programs: the agent must load and swap them.
pub(crate) const OTHER_PROGRAMS: &str = "datapath.half_open_limit = 8191";
/// Neither verdicts nor traces are told.
pub(crate) const ONLY_DROPS: &str = "events.verdicts = false\nevents.traces = false";
/// As many flows are kept as can be.
pub(crate) const LARGEST_RING: &str = "hubble.buffer_capacity = 65535";
