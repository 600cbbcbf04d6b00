//! Copies of chosen packets. Nothing here runs unless a capture is under way ([`Config::CAPTURE`]), and nothing here
//! decides anything about a packet.

use core::mem::offset_of;
use core::ptr;

use aya_ebpf::helpers as bpf;
use nexin_abi::Event;
use nexin_abi::maps::addr::AddrInfo;
use nexin_abi::maps::capture::{CAPTURES, CaptureBuffer, CaptureFilter, CaptureSide, Captured, MAX_SNAP};
use nexin_abi::maps::config::Config;
use nexin_packet::protocol;

use crate::family::Family;
use crate::maps;
use crate::packet::Packet;
use crate::policy::{self, NX_ONLY};
use crate::skb::Skb;
use crate::stage::Stages;
use crate::{event, ring, tell};

/// One side of the packet in hand, as filters ask for it.
#[repr(C)]
struct Side {
    address: [u64; 2],
    identity: u32,
    endpoint: u32,
    port: u32,
    reserved: u32,
}

/// The packet in hand, as filters ask for it.
#[repr(C)]
struct Wanted {
    source: Side,
    destination: Side,
    /// The filters' bit for what becomes of it.
    what: u32,
    family: u8,
    protocol: u8,
    reserved: u16,
    /// The answer: filters that want it, and the most bytes that one of them asks for.
    filters: u32,
    snap: u32,
}

/// Copies a packet that is about to be dropped, if captures are under way. `facts` are the reason (upper byte) and the place.
#[inline(always)]
pub fn dropped<F: Stages>(skb: Skb, p: &mut Packet<F>, facts: u32) {
    if policy::config().flags & Config::CAPTURE != 0 {
        p.resolve(skb);
        F::copy(skb, p, CaptureFilter::DROPPED, facts);
    }
}

/// Stage: copies the packet if a filter wants it. It is resolved. `what` is the filters' bit for what becomes of it; `facts`
/// are where it leaves, or as for [`dropped`].
#[inline(always)]
pub fn copy<F: Family>(skb: Skb, p: &mut Packet<F>, what: u32, facts: u32) -> i32 {
    let buffer = maps::CAPTURE_BUFFERS.find(&NX_ONLY);
    if buffer.is_null() {
        return 0;
    }
    let (filters, snap) = wanted(p, what, buffer);
    if filters == 0 {
        return 0;
    }
    // SAFETY: this CPU's buffer; programs of one CPU do not interrupt one another.
    let event: &mut Event = unsafe { &mut (*buffer).header.event };
    if what == CaptureFilter::DROPPED {
        let ruling = event::ruling(p, (facts >> 24) as u8);
        tell::fill(event, skb, p, &event::note(p, facts >> 24, facts & 0x00ff_ffff, &ruling));
    } else {
        tell::fill(event, skb, p, &tell::passing(p, facts));
    }
    event.time_ns = ring::now();
    send(skb, buffer, filters, snap, p.l3 != 0);
    0
}

/// The same for a packet of which nothing is known.
#[inline(always)]
pub fn unreadable(skb: Skb, event: impl FnOnce(&mut Event)) {
    let (mut filters, mut snap) = (0, 0);
    for slot in 0..CAPTURES {
        let Some(filter) = maps::CAPTURE_FILTERS.peek(&slot) else { break };
        if filter.flags & CaptureFilter::UNREADABLE != 0 {
            (filters, snap) = (filters | 1 << slot, longer(snap, filter.snap));
        }
    }
    let buffer = maps::CAPTURE_BUFFERS.find(&NX_ONLY);
    if filters == 0 || buffer.is_null() {
        return;
    }
    // SAFETY: as above.
    event(unsafe { &mut (*buffer).header.event });
    send(skb, buffer, filters, snap, true);
}

/// Filters that want the packet, and the most bytes that one of them asks for. The question is put down where the packet's
/// bytes will be: there is no room for it on the stack.
#[inline(always)]
fn wanted<F: Family>(p: &Packet<F>, what: u32, buffer: *mut CaptureBuffer) -> (u32, u32) {
    const { assert!(size_of::<Wanted>() <= MAX_SNAP as usize && offset_of!(CaptureBuffer, bytes).is_multiple_of(8)) };
    // SAFETY: this CPU's buffer, large enough and aligned; any bytes are a `Wanted`.
    let packet: &mut Wanted = unsafe { &mut *(&raw mut (*buffer).bytes).cast() };
    (packet.source.address, packet.destination.address) = ([0; 2], [0; 2]);
    F::write_ends(&p.key, p.sender_is_low, &mut packet.source.address, &mut packet.destination.address);
    let (from_port, to_port) = F::ports(&p.key, p.sender_is_low);
    let has_ports = matches!(p.protocol, protocol::TCP | protocol::UDP | protocol::SCTP);
    packet.source.owned(p.sender, if has_ports { from_port.get() } else { 0 });
    packet.destination.owned(p.receiver, if has_ports { to_port.get() } else { 0 });
    packet.what = what;
    packet.family = F::VERSION;
    packet.protocol = p.protocol;
    (packet.filters, packet.snap) = (0, 0);
    for slot in 0..CAPTURES {
        nx_wants(slot, packet);
    }
    (packet.filters, packet.snap)
}

impl Side {
    #[inline(always)]
    fn owned(&mut self, owner: AddrInfo, port: u16) {
        self.identity = owner.identity.0;
        self.endpoint = owner.endpoint.into();
        self.port = port.into();
    }
}

/// Stage (see [`crate::stage`]): asks one filter. VERIFIER: the answer goes by memory, since of eight answers in registers it
/// would walk every combination.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn nx_wants(slot: u32, packet: *mut Wanted) -> i32 {
    // SAFETY: null, or the caller's.
    let (Some(filter), Some(packet)) = (maps::CAPTURE_FILTERS.peek(&slot), unsafe { packet.as_mut() }) else {
        return 0;
    };
    let differs = |wanted: u8, is: u8| wanted != 0 && wanted != is;
    if filter.flags & packet.what == 0
        || differs(filter.family, packet.family)
        || differs(filter.protocol, packet.protocol)
    {
        return 0;
    }
    let (from, to) = (&packet.source, &packet.destination);
    let as_it_is = nx_amiss(&filter.source, from) | nx_amiss(&filter.destination, to);
    let swapped = nx_amiss(&filter.source, to) | nx_amiss(&filter.destination, from);
    if as_it_is == 0 || swapped == 0 && filter.flags & CaptureFilter::EITHER_WAY != 0 {
        packet.filters |= 1 << slot;
        packet.snap = longer(packet.snap, filter.snap);
    }
    0
}

/// Stage (see [`crate::stage`]): 0 if the side is what is wanted.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn nx_amiss(wanted: *const CaptureSide, side: *const Side) -> i32 {
    // SAFETY: null, or the caller's.
    let (Some(wanted), Some(side)) = (unsafe { wanted.as_ref() }, unsafe { side.as_ref() }) else { return 1 };
    let (address, mask) = (ptr::from_ref(&wanted.address).cast::<u32>(), ptr::from_ref(&wanted.mask).cast::<u32>());
    let is = ptr::from_ref(&side.address).cast::<u32>();
    let mut amiss = 0;
    for n in 0..4 {
        // SAFETY: four words each, aligned: the structs are, and all lie at multiples of four.
        unsafe { amiss |= address.add(n).read() ^ is.add(n).read() & mask.add(n).read() };
    }
    let unless_any = |wanted: u32, is: u32| wanted & 0_u32.wrapping_sub(u32::from(wanted != is));
    amiss |= unless_any(wanted.identity.0, side.identity) | unless_any(wanted.endpoint.into(), side.endpoint);
    let (first, last) = (u32::from(wanted.first_port), u32::from(wanted.last_port));
    let outside = side.port < first || side.port > last;
    i32::from(amiss != 0 || last != 0 && outside)
}

#[inline(always)]
fn longer(a: u32, b: u32) -> u32 {
    if a > b { a } else { b }
}

/// Puts the packet's bytes behind the header in `buffer` and the whole into the ring.
#[inline(always)]
fn send(skb: Skb, buffer: *mut CaptureBuffer, filters: u32, snap: u32, ethernet: bool) {
    let length = longer(skb.len(), 1);
    let wanted = if length < snap { length } else { longer(snap, 1) };
    let wanted = if wanted < MAX_SNAP { wanted } else { MAX_SNAP };
    let bytes = u64::from(bounded(wanted - 1)) + 1;
    // SAFETY: the buffer is this CPU's, and `bytes` fit into it.
    unsafe {
        let to = (&raw mut (*buffer).bytes).cast();
        let copied = bpf::bpf_skb_load_bytes(skb.context().cast(), 0, to, bytes as u32) == 0;
        let header = &raw mut (*buffer).header;
        (*header).bytes = if copied { bytes as u32 } else { 0 };
        (*header).filters = filters;
        (*header).ethernet = u32::from(ethernet);
        (*header).reserved = 0;
        let size = size_of::<Captured>() as u64 + bytes;
        if bpf::bpf_ringbuf_output(maps::CAPTURE_RING.as_ptr(), buffer.cast(), size, 0) != 0 {
            ring::count(maps::LOST.find(&NX_ONLY));
        }
    }
}

/// VERIFIER: it must see the bound, which the compiler, who knows it already, would leave out.
#[inline(always)]
fn bounded(bytes: u32) -> u32 {
    const { assert!(MAX_SNAP == 8192) };
    #[cfg(target_arch = "bpf")]
    {
        let mut bytes = u64::from(bytes);
        // SAFETY: arithmetic on a register.
        unsafe { core::arch::asm!("{0} &= 8191", inout(reg) bytes, options(nostack, preserves_flags)) };
        bytes as u32
    }
    #[cfg(not(target_arch = "bpf"))]
    {
        bytes & (MAX_SNAP - 1)
    }
}
