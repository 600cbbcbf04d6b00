//! The kernel's monotonic time as wall time.

/// Difference between both clocks, as it was measured last.
///
/// The wall clock is slewed and stepped, and goes on while the machine is suspended, which the monotonic one does not; so the
/// difference has to be measured again and again. An event from before the last measurement but one gets the difference of its time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Clock {
    offset: i64,
    /// Monotonic time of the measurement before.
    before: u64,
    offset_before: i64,
    measured: u64,
    /// The last time told.
    last: u64,
}

/// Backward corrections up to this are slewing: time stands still meanwhile, so that events keep their order.
const SLEW_NS: u64 = 1_000_000_000;

impl Clock {
    /// `wall_ns` since the epoch and `monotonic_ns` were read one right after the other.
    pub fn new(wall_ns: u64, monotonic_ns: u64) -> Self {
        let offset = wall_ns.wrapping_sub(monotonic_ns) as i64;
        Self { offset, before: 0, offset_before: offset, measured: monotonic_ns, last: 0 }
    }

    /// Measured again, before events up to `monotonic_ns` are told.
    pub fn measure(&mut self, wall_ns: u64, monotonic_ns: u64) {
        self.before = self.measured;
        self.offset_before = self.offset;
        self.measured = monotonic_ns;
        self.offset = wall_ns.wrapping_sub(monotonic_ns) as i64;
    }

    /// Wall time in nanoseconds since the epoch. Events are to be asked for in their order.
    pub fn wall(&mut self, monotonic_ns: u64) -> u64 {
        let offset = if monotonic_ns <= self.before { self.offset_before } else { self.offset };
        let wall = monotonic_ns.wrapping_add_signed(offset);
        if wall < self.last && self.last - wall < SLEW_NS {
            return self.last;
        }
        self.last = wall;
        wall
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;

    #[test]
    fn a_suspended_machine_moves_only_later_events() {
        let mut clock = Clock::new(1_000 * S, 10 * S);
        assert_eq!(clock.wall(11 * S), 1_001 * S);
        clock.measure(1_002 * S, 12 * S);
        // An hour's sleep, during which monotonic time stood.
        clock.measure(4_603 * S, 13 * S);
        assert_eq!(clock.wall(12 * S), 1_002 * S);
        assert_eq!(clock.wall(13 * S), 4_603 * S);
    }

    #[test]
    fn slewing_back_keeps_the_order_and_a_step_is_followed() {
        let mut clock = Clock::new(1_000 * S, 10 * S);
        assert_eq!(clock.wall(11 * S), 1_001 * S);
        clock.measure(1_001 * S - 1_000, 11 * S);
        assert_eq!(clock.wall(11 * S + 500), 1_001 * S);
        assert_eq!(clock.wall(11 * S + 2_000), 1_001 * S + 1_000);
        clock.measure(500 * S, 12 * S);
        assert_eq!(clock.wall(12 * S + 7), 500 * S + 7);
    }
}
