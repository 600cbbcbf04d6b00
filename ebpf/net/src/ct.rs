//! Conntrack: entries come with the first packet of a flow and go when it closes. One entry serves both directions.

use core::mem::offset_of;
use core::ptr;

use nexin_abi::maps::ct::{Counter, CtEntry, CtState};
use nexin_abi::maps::endpoint::{Endpoint, EndpointState};
use nexin_packet::protocol;

use crate::atomic;
use crate::config::Setting;
use crate::family::Family;
use crate::maps;
use crate::packet::Packet;
use crate::skb::Skb;

/// A flow's entry in the map: other CPUs change it meanwhile. Counters and the half-open mark are atomic; the other fields
/// are plain stores of independent facts, of which the last one wins.
#[derive(Clone, Copy)]
pub struct Flow(*mut CtEntry);

macro_rules! fields {
    ($($get:ident, $set:ident = $field:ident: $ty:ty;)*) => {
        $(
            #[inline(always)]
            pub fn $get(self) -> $ty {
                // SAFETY: `Flow` is only made of live map values.
                unsafe { ptr::read_volatile(&raw const (*self.0).$field) }
            }

            #[inline(always)]
            pub fn $set(self, value: $ty) {
                // SAFETY: as above; one aligned store.
                unsafe { ptr::write_volatile(&raw mut (*self.0).$field, value) }
            }
        )*
    };
}

impl Flow {
    #[inline(always)]
    pub fn from_map(value: *mut CtEntry) -> Option<Self> {
        if value.is_null() { None } else { Some(Self(value)) }
    }

    #[inline(always)]
    pub fn as_ptr(self) -> *mut CtEntry {
        self.0
    }

    fields! {
        expires, set_expires = expires: u32;
        epoch, set_epoch = epoch: u32;
        source, set_source = source_endpoint: u16;
        target, set_target = target: u16;
        state, set_state = state: u8;
        seen, set_seen = seen: u8;
        reported, set_reported = reported: u8;
        nat_addr, set_nat_addr = nat_addr: u8;
    }

    #[inline(always)]
    pub fn life(self) -> u8 {
        self.state() & CtEntry::STATE_MASK
    }

    #[inline(always)]
    pub fn set_life(self, life: CtState) {
        self.set_state(self.state() & !CtEntry::STATE_MASK | life as u8);
    }

    #[inline(always)]
    pub fn has(self, bit: u8) -> bool {
        self.state() & bit != 0
    }

    /// Counts a packet.
    #[inline(always)]
    pub fn count(self, forward: bool, bytes: u32) {
        let offset = if forward { offset_of!(CtEntry, forward) } else { offset_of!(CtEntry, reverse) };
        // SAFETY: both counters are aligned u64s of a live entry.
        unsafe { atomic::add(self.0.byte_add(offset).cast(), Counter::packet(bytes)) };
    }

    #[inline(always)]
    pub fn counters(self) -> (u64, u64) {
        // SAFETY: live entry; aligned loads.
        unsafe {
            (ptr::read_volatile(&raw const (*self.0).forward.0), ptr::read_volatile(&raw const (*self.0).reverse.0))
        }
    }

    /// Takes the half-open mark off; true for the one caller that did.
    #[inline(always)]
    pub fn take_half_open(self) -> bool {
        const WORD: usize = offset_of!(CtEntry, source_endpoint);
        const MARK: u64 = u64::from_le_bytes([0, 0, 0, 0, CtEntry::HALF_OPEN, 0, 0, 0]);
        const { assert!(WORD.is_multiple_of(8) && offset_of!(CtEntry, state) == WORD + 4) };
        // SAFETY: the last eight bytes of a live entry, aligned.
        unsafe { atomic::fetch_and(self.0.byte_add(WORD).cast(), !MARK) & MARK != 0 }
    }

    #[inline(always)]
    pub fn expired(self, now: u32) -> bool {
        (self.expires().wrapping_sub(now) as i32) < 0
    }

    /// Extends a flow's life. To spare the cache line it is only written when it moves by more than 256 ticks.
    #[inline(always)]
    pub fn extend(self, now: u32, ticks: u32) {
        let expires = now.wrapping_add(ticks);
        if expires.wrapping_sub(self.expires()).wrapping_add(256) > 512 {
            self.set_expires(expires);
        }
    }
}

/// Ticks a flow lives after a packet in this state.
#[inline(always)]
pub fn lifetime(proto: u8, life: u8) -> u32 {
    let seconds = if proto != protocol::TCP {
        Setting::NX_OTHER_S()
    } else if life == CtState::Established as u8 {
        Setting::NX_TCP_ESTABLISHED_S()
    } else if life == CtState::New as u8 {
        Setting::NX_TCP_SYN_S()
    } else {
        Setting::NX_TCP_FIN_S()
    };
    seconds * Setting::NX_HZ()
}

/// Units of 256 ticks, as in [`CtEntry::reported`].
#[inline(always)]
pub fn report_time(now: u32) -> u8 {
    (now >> 8) as u8
}

/// Adds a flow for the packet in hand, whose sender is its originator, and counts the packet. False: the map is full.
#[inline(always)]
pub fn create<F: Family>(skb: Skb, p: &Packet<F>, epoch: u32, source: u16, target: u16, half_open: bool) -> bool {
    let origin = if p.sender_is_low { 0 } else { CtEntry::ORIGIN_IS_HIGH };
    let entry = CtEntry {
        forward: Counter(Counter::packet(skb.len())),
        expires: p.now.wrapping_add(lifetime(p.protocol, CtState::New as u8)),
        epoch,
        source_endpoint: source,
        target,
        state: CtState::New as u8 | origin | if half_open { CtEntry::HALF_OPEN } else { 0 },
        seen: p.tcp_flags,
        reported: report_time(p.now),
        ..CtEntry::default()
    };
    // VERIFIER: before 6.6 or so a map key must be on the stack of the function itself.
    let key = p.key;
    F::ct().set(&key, &entry)
}

/// Takes a place in the half-open quota; false when there is none left.
#[inline(always)]
pub fn half_open_opened(source: u16) -> bool {
    let state = half_open_state(source);
    if state.is_null() {
        return true;
    }
    let limit = Setting::NX_HALF_OPEN_LIMIT();
    // SAFETY: a live map value, aligned; `half_open` is its low word on the little-endian machines this is built for.
    unsafe {
        if limit != 0 && ptr::read_volatile(&raw const (*state).half_open) >= limit {
            return false;
        }
        atomic::add(state.cast(), 1);
    }
    true
}

/// Gives a place in the quota back.
#[inline(always)]
pub fn half_open_closed(source: u16) {
    let state = half_open_state(source);
    if state.is_null() {
        return;
    }
    // SAFETY: as above.
    unsafe {
        if ptr::read_volatile(&raw const (*state).half_open) != 0 {
            atomic::add(state.cast(), u64::MAX);
        }
    }
}

/// Flows that no local workload opened share counter 0.
#[inline(always)]
fn half_open_state(source: u16) -> *mut EndpointState {
    let number = if u32::from(source) < Endpoint::COUNT { u32::from(source) } else { 0 };
    maps::ENDPOINT_STATES.find(&number)
}
