//! The time of trace events. Reading the clock costs as much as all else in an event, so where events come thick it is
//! read once for several of them. Times never go back on a CPU, and are exact where events are few. No drop or verdict
//! takes its time from here.

use core::ptr;

use nexin_abi::maps::metrics::Clock;

use crate::maps;
use crate::policy::NX_ONLY;
use crate::ring;
use crate::skb::jiffies;

/// So many events of a timer tick (and CPU) have exact times.
const EXACT: u32 = 8;
/// Beyond those the clock is read for one in so many; the others follow it a nanosecond apart. A power of two.
const EVERY: u32 = 16;

/// `CLOCK_MONOTONIC` in nanoseconds.
#[inline(always)]
pub fn now() -> u64 {
    let clock = maps::CLOCK.find(&NX_ONLY);
    if clock.is_null() {
        return ring::now();
    }
    let tick = jiffies();
    // SAFETY: this CPU's value; programs of one CPU do not interrupt one another.
    unsafe {
        let Clock { time_ns, tick: last, events } = ptr::read_volatile(clock);
        let events = if last == tick { events.wrapping_add(1) } else { 0 };
        if events >= EXACT && events & (EVERY - 1) != 0 {
            ptr::write_volatile(&raw mut (*clock).events, events);
            return time_ns + u64::from(events & (EVERY - 1));
        }
        let time_ns = ring::now();
        ptr::write_volatile(clock, Clock { time_ns, tick, events });
        time_ns
    }
}
