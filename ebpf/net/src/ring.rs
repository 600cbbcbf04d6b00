//! The rings of events: room for an event, or its loss counted; the rate limit; when a reader is woken. What an event says is
//! [`crate::tell`]'s.

use core::ptr;

use aya_ebpf::helpers as bpf;
use nexin_abi::{Event, EventKind};

use crate::config::Setting;
use crate::maps;

/// `CLOCK_MONOTONIC` in nanoseconds.
#[inline(always)]
pub fn now() -> u64 {
    // SAFETY: no argument.
    unsafe { bpf::bpf_ktime_get_ns() }
}

/// An event in its ring, to be filled; counted when there is none.
#[inline(always)]
pub fn reserve(kind: EventKind) -> Option<&'static mut Event> {
    if Setting::NX_EVENT_GAP_NS() != 0 && is_withheld(kind) {
        count(maps::WITHHELD.find(&u32::from(kind as u8)));
        return None;
    }
    // SAFETY: the ring is a ring-buffer map; the kernel gives out aligned memory of the size asked for, or null.
    let entry = unsafe { bpf::bpf_ringbuf_reserve(ring(kind), size_of::<Event>() as u64, 0) }.cast::<Event>();
    if entry.is_null() {
        count(maps::LOST.find(&u32::from(kind as u8)));
        return None;
    }
    // SAFETY: `entry` is exclusively ours until it is submitted, is wholly written before, and any bytes are an `Event`.
    unsafe { Some(&mut *entry) }
}

#[inline(always)]
pub fn count(counter: *mut u64) {
    if !counter.is_null() {
        // SAFETY: this CPU's counter.
        unsafe { *counter += 1 };
    }
}

/// The class has used up its rate: events `NX_EVENT_GAP_NS` apart on the average, and up to `NX_EVENT_BURST_NS` of them at
/// once. (Generic cell rate algorithm: one word of state, which is when the next event would be on time.)
#[inline(always)]
fn is_withheld(kind: EventKind) -> bool {
    let pace = maps::PACE.find(&u32::from(kind as u8));
    if pace.is_null() {
        return false;
    }
    let now = now();
    // SAFETY: a live map value, aligned.
    let due = unsafe { ptr::read_volatile(pace) };
    if due > now && due - now > u64::from(Setting::NX_EVENT_BURST_NS()) {
        return true;
    }
    // Whoever comes at the same time may pass as well; what passes and what does not is counted all the same.
    let next = if due > now { due } else { now } + u64::from(Setting::NX_EVENT_GAP_NS());
    // SAFETY: as above.
    unsafe { ptr::write_volatile(pace, next) };
    false
}

/// Publishes an event. A reader is woken once for every [`NX_WAKE_BYTES`](Setting) that are written, since a wake-up costs
/// more than everything else here; fewer are found when it polls.
#[inline(always)]
pub fn submit(event: &'static mut Event, wake: u64) {
    // SAFETY: the entry came from a ring and is not used afterwards.
    unsafe { bpf::bpf_ringbuf_submit(ptr::from_mut(event).cast(), wake) };
}

/// What [`submit`] takes for the entry at this place: a ring is a piece of memory, so whoever passes a boundary in it wakes the
/// reader. (Asking how much is waiting would cost a third of an event.)
#[inline(always)]
pub fn wake(event: &mut Event) -> u64 {
    const BPF_RB_NO_WAKEUP: u64 = 1;
    const BPF_RB_FORCE_WAKEUP: u64 = 2;
    /// What an event takes in the ring, its header included.
    const ENTRY: u64 = size_of::<Event>() as u64 + 8;
    let place = &raw mut event.time_ns;
    // VERIFIER: no arithmetic but addition is allowed on a pointer; one that comes back from memory is a number. The field is
    // written over before anybody can read it.
    // SAFETY: an aligned field of the entry.
    let address = unsafe {
        ptr::write_volatile(place, place as u64);
        ptr::read_volatile(place)
    };
    let beyond = address & (u64::from(Setting::NX_WAKE_BYTES()) - 1);
    if beyond < ENTRY { BPF_RB_FORCE_WAKEUP } else { BPF_RB_NO_WAKEUP }
}

#[inline(always)]
fn ring(kind: EventKind) -> *mut core::ffi::c_void {
    match kind {
        EventKind::Drop => maps::DROP_EVENTS.as_ptr(),
        EventKind::Verdict => maps::VERDICT_EVENTS.as_ptr(),
        EventKind::Trace => maps::TRACE_EVENTS.as_ptr(),
    }
}
