//! Per-CPU counters by reason and direction, and events that found no room.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::kernel_map;

/// Packets and bytes of one (reason, direction).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Traffic {
    pub packets: u64,
    pub bytes: u64,
}

/// A CPU's clock for trace events: when it was last read, and how many events there were since in the same tick.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Clock {
    pub time_ns: u64,
    /// Jiffies, low 32 bits.
    pub tick: u32,
    pub events: u32,
}

/// Index of a counter: reason 0 is "forwarded", others are [`crate::DropReason`]s; direction as in [`crate::Direction`].
#[inline(always)]
pub const fn index(reason: u8, direction: u8) -> u32 {
    (reason as u32) << 1 | (direction & 1) as u32
}

kernel_map!(
    /// [`index`] -> traffic.
    Metrics, "nx_metrics", PerCpuArray, 512, u32, Traffic
);
kernel_map!(
    /// [`crate::EventKind`] -> events lost since the ring buffer was full; 0 -> captured packets lost.
    Lost, "nx_lost", PerCpuArray, 4, u32, u64
);
kernel_map!(
    /// [`crate::EventKind`] -> events that the rate limit withheld.
    Withheld, "nx_withheld", PerCpuArray, 4, u32, u64
);
kernel_map!(
    /// [`crate::EventKind`] -> when the class's next event would be on time (nanoseconds): the state of its rate limit.
    Pace, "nx_pace", Array, 4, u32, u64
);
kernel_map!(
    /// Index 0 only.
    Clocks, "nx_clock", PerCpuArray, 1, u32, Clock
);
kernel_map!(
    /// Drop events. Entries are bytes of the ring.
    DropEvents, "nx_ev_drop", RingBuf, 1 << 20, (), ()
);
kernel_map!(
    /// Policy verdict events.
    VerdictEvents, "nx_ev_verdict", RingBuf, 1 << 20, (), ()
);
kernel_map!(
    /// Trace events and flow reports.
    TraceEvents, "nx_ev_trace", RingBuf, 1 << 22, (), ()
);
