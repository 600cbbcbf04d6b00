//! What may change while programs run. What may not is a `.rodata` global of the kernel program.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::kernel_map;

/// Node-wide run-time configuration, one entry.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Config {
    /// Raised after every change of a policy, an identity or an address. A flow admitted under another epoch is judged
    /// again at its next packet. Never 0.
    pub epoch: u32,
    /// [`Config::AUDIT`] and what the programs tell ([`Telling`]). It shares a word with the epoch, which each packet
    /// reads, so that asking costs nothing. 0 = they tell nothing.
    pub flags: u32,
}

impl Config {
    /// Policy denials are reported and let through.
    pub const AUDIT: u32 = 1;
    /// Drops are told.
    pub const DROPS: u32 = 1 << 1;
    /// Policy verdicts are told.
    pub const VERDICTS: u32 = 1 << 2;
    /// The opening and closing of flows is told, and packets that belong to none.
    pub const FLOWS: u32 = 1 << 3;
    /// The first reply of a flow is told.
    pub const REPLIES: u32 = 1 << 4;
    /// Every packet is told where it leaves.
    pub const PACKETS: u32 = 1 << 5;
    /// And where it came in ([`crate::Event::entered`]).
    pub const ENTRIES: u32 = 1 << 6;
    /// Packets are compared with the capture filters.
    pub const CAPTURE: u32 = 1 << 7;
    /// TCP flags of which each new one in a flow is told: eight bits from here on.
    pub const TCP_FLAGS_SHIFT: u32 = 8;
    /// Eight bits from here on: 256 minus the time between two reports of a running flow in units of 256 ticks, 0 = no
    /// such reports. (A sum that reaches 256 is one addition and one shift for the programs.)
    pub const IMPATIENCE_SHIFT: u32 = 16;

    /// TCP flags of which each new one in a flow is told.
    #[inline(always)]
    pub const fn tcp_flags(flags: u32) -> u8 {
        (flags >> Self::TCP_FLAGS_SHIFT) as u8
    }

    /// A flow that was told of `elapsed` units (of 256 ticks, at most 255) ago is to be told of again.
    #[inline(always)]
    pub const fn is_due(flags: u32, elapsed: u8) -> bool {
        elapsed as u32 + (flags >> Self::IMPATIENCE_SHIFT & 0xff) > 255
    }
}

/// What the programs tell, as bits of [`Config::flags`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Telling {
    pub drops: bool,
    pub verdicts: bool,
    pub traces: bool,
    pub aggregation: Aggregation,
    /// TCP flags of which each new one in a flow is told (with [`Aggregation::Medium`]).
    pub tcp_flags: u8,
    /// Seconds between two reports of a running flow (with [`Aggregation::Medium`] and [`Aggregation::Maximum`]).
    pub interval_s: u32,
}

/// How much of the forwarded traffic is told. The names are those of Cilium's monitor-aggregation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Aggregation {
    /// Every packet, where it comes in and where it leaves.
    None,
    /// Every packet, where it leaves.
    Low,
    /// A flow's first packet, its first reply, new TCP flags, its end, and in between once an interval.
    #[default]
    Medium,
    /// A flow's beginning and end, and in between once an interval.
    Maximum,
}

impl Telling {
    /// FIN, SYN, RST.
    pub const DEFAULT_TCP_FLAGS: u8 = 7;

    /// The bits of [`Config::flags`] for a kernel of `hz` ticks a second. Intervals are rounded up to units of 256 ticks,
    /// of which 255 are the longest.
    pub const fn bits(&self, hz: u32) -> u32 {
        let mut bits = 0;
        if self.drops {
            bits |= Config::DROPS;
        }
        if self.verdicts {
            bits |= Config::VERDICTS;
        }
        if !self.traces {
            return bits;
        }
        let ticks = self.interval_s.saturating_mul(hz);
        let units = match ticks.div_ceil(256) {
            0 => 1,
            units if units > 255 => 255,
            units => units,
        };
        let interval = (256 - units) << Config::IMPATIENCE_SHIFT;
        bits | match self.aggregation {
            Aggregation::None => Config::PACKETS | Config::ENTRIES,
            Aggregation::Low => Config::PACKETS,
            Aggregation::Medium => {
                let flags = (self.tcp_flags as u32) << Config::TCP_FLAGS_SHIFT;
                Config::FLOWS | Config::REPLIES | flags | interval
            }
            Aggregation::Maximum => Config::FLOWS | interval,
        }
    }
}

impl Default for Telling {
    fn default() -> Self {
        Self {
            drops: true,
            verdicts: true,
            traces: true,
            aggregation: Aggregation::Medium,
            tcp_flags: Self::DEFAULT_TCP_FLAGS,
            interval_s: 5,
        }
    }
}

kernel_map!(
    /// Index 0 only.
    ConfigMap, "nx_config", Array, 1, u32, Config
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_are_due_after_the_interval_and_not_before() {
        let bits = Telling { interval_s: 5, ..Telling::default() }.bits(250);
        // 1250 ticks are five units of 256.
        assert!(!Config::is_due(bits, 0) && !Config::is_due(bits, 4) && Config::is_due(bits, 5));
        let longest = Telling { interval_s: u32::MAX, ..Telling::default() }.bits(1000);
        assert!(!Config::is_due(longest, 254) && Config::is_due(longest, 255));
        let shortest = Telling { interval_s: 0, ..Telling::default() }.bits(100);
        assert!(!Config::is_due(shortest, 0) && Config::is_due(shortest, 1));
    }

    #[test]
    fn levels_are_bits_that_do_not_overlap() {
        let bits = |aggregation| Telling { aggregation, ..Telling::default() }.bits(250);
        assert_eq!(bits(Aggregation::None), Config::DROPS | Config::VERDICTS | Config::PACKETS | Config::ENTRIES);
        assert_eq!(Config::tcp_flags(bits(Aggregation::Medium)), 7);
        assert_eq!(Config::tcp_flags(bits(Aggregation::Maximum)), 0);
        assert!(!Config::is_due(bits(Aggregation::Low), 255), "each packet is told anyhow");
        let silent = Telling { drops: false, verdicts: false, traces: false, ..Telling::default() };
        assert_eq!(silent.bits(250), 0);
    }
}
