//! The precedence rules, once: the compiler settles every port interval with them, `explain` shows what they saw.
//!
//! Facts: cilium `pkg/policy/mapstate.go` and `pkg/policy/rules.go` (1.19 and later). Lower levels speak first. Within a
//! level deny beats redirect (better listener first) beats allow beats pass. A pass skips the rest of its tier.

/// What a matching rule says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Call {
    Deny,
    /// To a proxy; a lower listener priority wins.
    Redirect(u8),
    Allow,
    Pass,
}

/// A rule that matches, ready to be weighed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Voice {
    /// Tier, then rank inside it; lower speaks first. The upper eight bits are the tier.
    pub level: u64,
    pub call: Call,
    /// How many ports it covers: of two that are otherwise equal, the narrower one decides.
    pub breadth: u32,
}

impl Voice {
    /// Tier of guard rails that a policy may override.
    pub const TIER_BASELINE: u8 = 2;

    /// Level for a tier, a priority (lower is stronger) and a place among equals.
    pub const fn level(tier: u8, priority: i32, index: u32) -> u64 {
        let priority = (priority as u32) ^ (1 << 31);
        ((tier as u64) << 56) | ((priority as u64) << 24) | (index as u64 & 0xff_ffff)
    }

    pub const fn tier(self) -> u8 {
        (self.level >> 56) as u8
    }
}

/// Index of the voice that decides, `None` when nobody does and the default applies.
///
/// `voices` must be sorted by level. `isolated`: a rule isolates, so that an allow of the baseline tier opens nothing
/// (network-policy-api, "v1.NetworkPolicy always makes a final decision for selected pods"); its denials still count.
pub fn settle(voices: &[Voice], isolated: bool) -> Option<usize> {
    let mut passed: Option<u8> = None;
    let mut best: Option<usize> = None;
    for (index, voice) in voices.iter().enumerate() {
        if let Some(leader) = best.and_then(|leader| voices.get(leader))
            && leader.level != voice.level
        {
            if leader.call != Call::Pass {
                return best;
            }
            passed = Some(leader.tier());
            best = None;
        }
        let void =
            isolated && voice.tier() == Voice::TIER_BASELINE && matches!(voice.call, Call::Allow | Call::Redirect(_));
        if void || passed == Some(voice.tier()) {
            continue;
        }
        let stronger = best
            .and_then(|leader| voices.get(leader))
            .is_none_or(|leader| (voice.call, voice.breadth) < (leader.call, leader.breadth));
        if stronger {
            best = Some(index);
        }
    }
    best.filter(|index| voices.get(*index).is_some_and(|voice| voice.call != Call::Pass))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn voice(tier: u8, priority: i32, call: Call) -> Voice {
        Voice { level: Voice::level(tier, priority, 0), call, breadth: 1 }
    }

    #[test]
    fn inside_a_level_deny_beats_redirect_beats_allow_beats_pass() {
        let order = [Call::Pass, Call::Allow, Call::Redirect(101), Call::Redirect(3), Call::Deny];
        for (index, call) in order.iter().enumerate().skip(1) {
            let voices: Vec<Voice> = order[..=index].iter().map(|call| voice(1, 0, *call)).collect();
            assert_eq!(settle(&voices, true).map(|winner| voices[winner].call), Some(*call));
        }
        assert_eq!(settle(&[voice(1, 0, Call::Pass)], true), None);
    }

    #[test]
    fn an_earlier_level_wins_and_negative_priorities_come_first() {
        let voices = [voice(0, -5, Call::Allow), voice(0, 0, Call::Deny), voice(1, 0, Call::Deny)];
        assert!(voices.is_sorted_by_key(|voice| voice.level));
        assert_eq!(settle(&voices, false), Some(0));
    }

    #[test]
    fn a_pass_skips_the_rest_of_its_tier_only() {
        let voices = [voice(0, 1, Call::Pass), voice(0, 2, Call::Deny), voice(1, 0, Call::Allow)];
        assert_eq!(settle(&voices, false), Some(2));
        assert_eq!(settle(&voices[..2], false), None);
    }

    #[test]
    fn a_baseline_allow_opens_nothing_that_is_isolated() {
        let voices = [voice(2, 1, Call::Allow), voice(2, 2, Call::Deny)];
        assert_eq!(settle(&voices, false), Some(0));
        assert_eq!(settle(&voices, true), Some(1));
        assert_eq!(settle(&voices[..1], true), None);
    }

    #[test]
    fn of_equals_the_narrower_decides() {
        let wide = Voice { breadth: 100, ..voice(1, 0, Call::Allow) };
        assert_eq!(settle(&[wide, voice(1, 0, Call::Allow)], true), Some(1));
    }
}
