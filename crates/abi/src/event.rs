//! What the kernel tells user space, one record a ring-buffer entry.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, TryFromBytes};

use crate::{Be16, Identity};

/// Which ring buffer (class) an event belongs to: drops are never crowded out by traces.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, TryFromBytes, IntoBytes, Immutable, KnownLayout)]
pub enum EventKind {
    Drop = 1,
    Verdict = 2,
    Trace = 3,
}

/// Direction of the policy or counter that speaks: as seen from the workload.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, TryFromBytes, IntoBytes, Immutable, KnownLayout)]
pub enum Direction {
    Ingress = 0,
    Egress = 1,
}

/// What a policy says of a packet.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, TryFromBytes, IntoBytes, Immutable, KnownLayout)]
pub enum Action {
    /// No rule allows it while the policy isolates this direction.
    DefaultDeny = 0,
    /// A deny rule matched.
    Deny = 1,
    /// A rule allows it, or nothing isolates this direction.
    Allow = 2,
}

/// Where a trace event was taken. Numbers are Cilium's trace observation points (`pkg/monitor/api`).
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, TryFromBytes, IntoBytes, Immutable, KnownLayout)]
pub enum Observation {
    ToEndpoint = 0,
    ToProxy = 1,
    ToHost = 2,
    ToStack = 3,
    ToOverlay = 4,
    FromEndpoint = 5,
    FromProxy = 6,
    FromHost = 7,
    FromStack = 8,
    FromOverlay = 9,
    FromNetwork = 10,
    ToNetwork = 11,
}

/// The kernel source file that speaks, so that a drop names its line.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, TryFromBytes, IntoBytes, Immutable, KnownLayout)]
pub enum SourceFile {
    Unknown = 0,
    FromWorkload = 1,
    ToWorkload = 2,
    FromNetwork = 3,
    ToNetwork = 4,
    Parse = 5,
    Ct = 6,
    Nat = 7,
    Policy = 8,
    Deliver = 9,
    Icmp = 10,
    Frag = 11,
}

/// One event. Fixed size (144 bytes), so that a ring-buffer reservation is one bounds check.
///
/// Enumerations are stored as raw bytes: an agent must survive an event of a newer kernel program. `kind` is
/// [`EventKind`], `direction` [`Direction`], `action` and `shadow_action` [`Action`], `observation` [`Observation`],
/// `file` [`SourceFile`], `reason` a [`crate::DropReason`] for drops.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Event {
    /// `CLOCK_MONOTONIC` nanoseconds (bpf_ktime_get_ns).
    pub time_ns: u64,
    pub kind: u8,
    pub reason: u8,
    pub direction: u8,
    pub action: u8,
    pub observation: u8,
    pub file: u8,
    /// Line of `file` that emitted the event.
    pub line: u16,
    /// 4 or 6.
    pub family: u8,
    pub protocol: u8,
    /// TCP flags of the packet.
    pub tcp_flags: u8,
    /// Bit 0: reply direction. Bit 1: of a flow that existed before. Bit 2: audited (denied, let through). Bit 3: flow
    /// closed. Bit 4: related (ICMP error). Bit 5: shadow verdict present. Bit 6: is_reply is known.
    pub flags: u8,
    pub ifindex: u32,
    /// IPv4 addresses occupy the first four bytes.
    pub source: [u8; 16],
    pub destination: [u8; 16],
    pub source_port: Be16,
    /// Destination port; for ICMP the type in the high and the code in the low byte.
    pub destination_port: Be16,
    pub source_identity: Identity,
    pub destination_identity: Identity,
    /// Local endpoint numbers, 0 where the side is not a local workload.
    pub source_endpoint: u16,
    pub destination_endpoint: u16,
    /// Length of the packet in bytes from the Ethernet header on.
    pub length: u32,
    /// Rule that decided ([`crate::maps::policy::RuleId`]), 0 = none (default deny, or nothing isolates).
    pub rule: u32,
    /// Policy (kernel number, [`crate::maps::policy`]) in which `rule` was looked up.
    pub policy: u32,
    pub shadow_rule: u32,
    pub shadow_action: u8,
    /// [`Observation`] + 1 where the packet came in, when that is to be told as well: the record stands for two events.
    /// 0 = it is not.
    pub entered: u8,
    pub reserved: [u8; 2],
    /// Source that masquerading gave the packet or will give it, zero where it keeps its own.
    pub nat_source: [u8; 16],
    pub nat_port: Be16,
    pub source_mac: [u8; 6],
    pub destination_mac: [u8; 6],
    pub reserved2: [u8; 6],
    /// Flow counters at this moment, [`crate::maps::ct::Counter`] encoded: originator's direction, then replies.
    pub forward: u64,
    pub reverse: u64,
}

impl Event {
    pub const REPLY: u8 = 1;
    /// Not the first packet of its flow.
    pub const ESTABLISHED: u8 = 1 << 1;
    pub const AUDIT: u8 = 1 << 2;
    pub const CLOSED: u8 = 1 << 3;
    pub const RELATED: u8 = 1 << 4;
    pub const SHADOW: u8 = 1 << 5;
    pub const REPLY_KNOWN: u8 = 1 << 6;
}

const _: () = assert!(size_of::<Event>() == 144);
