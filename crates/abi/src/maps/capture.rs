//! Copies of chosen packets for user space: which, and what a copy looks like.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::kernel_map;
use crate::{Event, Identity};

/// What one side of a packet must be. Zero in a field means "any".
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct CaptureSide {
    /// As in the packet; IPv4 occupies the first four bytes. Bits outside `mask` are zero.
    pub address: [u8; 16],
    pub mask: [u8; 16],
    pub identity: Identity,
    /// Local endpoint.
    pub endpoint: u16,
    pub reserved: u16,
    /// Both ports included; `last_port` 0 = any port. ICMP has none and matches "any" only.
    pub first_port: u16,
    pub last_port: u16,
}

/// Which packets are copied.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct CaptureFilter {
    /// [`CaptureFilter::ACTIVE`] and friends; 0 = the slot is free.
    pub flags: u32,
    /// Bytes of a packet that are copied, at most [`MAX_SNAP`].
    pub snap: u32,
    pub source: CaptureSide,
    pub destination: CaptureSide,
    /// IP version, 0 = both.
    pub family: u8,
    /// IP protocol, 0 = any.
    pub protocol: u8,
    pub reserved: u16,
}

impl CaptureFilter {
    pub const ACTIVE: u32 = 1;
    /// Packets match as well with their sides swapped.
    pub const EITHER_WAY: u32 = 1 << 1;
    /// Packets that go on.
    pub const FORWARDED: u32 = 1 << 2;
    /// Packets that are dropped.
    pub const DROPPED: u32 = 1 << 3;
    /// And dropped packets whose addresses cannot be read.
    pub const UNREADABLE: u32 = 1 << 4;
}

/// Captures that can be under way at once.
pub const CAPTURES: u32 = 8;
/// Most bytes of a packet that are copied.
pub const MAX_SNAP: u32 = 8 << 10;

/// Header of a copy in the ring; so many bytes of the packet as it left (or as it was when it was dropped) follow.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Captured {
    /// The packet as events tell of it: a [`crate::EventKind::Trace`] or a [`crate::EventKind::Drop`].
    pub event: Event,
    /// Bytes that follow; the packet's length is the event's.
    pub bytes: u32,
    /// Filters that it matched: bit n stands for slot n.
    pub filters: u32,
    /// 1 = the bytes begin with an Ethernet header, 0 = with an IP header.
    pub ethernet: u32,
    pub reserved: u32,
}

/// Where a program composes a copy.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct CaptureBuffer {
    pub header: Captured,
    pub bytes: [u8; MAX_SNAP as usize],
}

kernel_map!(
    /// Slot -> filter.
    CaptureFilters, "nx_capfilter", Array, CAPTURES, u32, CaptureFilter
);
kernel_map!(
    /// Index 0 only.
    CaptureBuffers, "nx_capbuf", PerCpuArray, 1, u32, CaptureBuffer
);
kernel_map!(
    /// Copies of packets. What finds no room is counted in [`super::metrics::Lost`], index 0.
    CaptureRing, "nx_capture", RingBuf, 1 << 22, (), ()
);

const _: () = assert!(size_of::<CaptureFilter>() == 100 && size_of::<Captured>() == 160);
