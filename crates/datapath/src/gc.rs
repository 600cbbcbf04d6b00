//! Collecting what has ended, in slices, so that whoever owns the datapath is never away for long.
//!
//! A walk goes over the flows of both families, then over their translations. It removes flows out of time or of endpoints
//! that no longer exist, each with its translation, and translations that belong to no flow; and it corrects counters that
//! only a walk can know.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::time::{Duration, Instant};

use nexin_abi::maps::KernelMap;
use nexin_abi::maps::ct::CtEntry;
use nexin_bpf::Cursor;
use nexin_bpf::clock::Jiffies;

use crate::ct::{Family, Tracked, V4, V6, expired, local, nat_key};
use crate::error::Result;
use crate::{Datapath, NX};

/// What a walk over the flows found and did, up to now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GcReport {
    /// Flows that are alive.
    pub flows: usize,
    pub expired: usize,
    /// Flows of endpoints that no longer exist.
    pub orphaned: usize,
    /// Translations removed, with their flow or since they had none.
    pub translations: usize,
    /// Half-open counters that were off.
    pub recounted: usize,
    /// Time spent in this walk.
    pub elapsed: Duration,
    /// The walk has come to its end.
    pub complete: bool,
    /// When to call again: to go on with the walk, or to begin the next one.
    pub next: Duration,
}

/// State between calls of [`Datapath::gc`].
pub(crate) struct Collector {
    interval: Duration,
    walk: Option<Walk>,
    four: Suspects<V4>,
    six: Suspects<V6>,
    /// How far each endpoint's half-open counter was off at the end of the last walk.
    excess: HashMap<u16, i64>,
}

/// One walk under way.
#[derive(Default)]
struct Walk {
    stage: Stage,
    cursor: Cursor,
    half_open: HashMap<u16, u32>,
    /// Half-open flows that this walk removed and that no program counts down.
    ended_half_open: HashMap<u16, u32>,
    report: GcReport,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Policies,
    Four,
    Six,
    Done,
}

/// Translations in doubt.
struct Suspects<F: Family> {
    /// Seen with a flow in this walk.
    used: HashSet<<F::Nat as KernelMap>::Key>,
    /// Without a flow in the last walk. A flow younger than that walk may have come since.
    unused: HashSet<<F::Nat as KernelMap>::Key>,
}

impl<F: Family> Default for Suspects<F> {
    fn default() -> Self {
        Self { used: HashSet::new(), unused: HashSet::new() }
    }
}

impl Default for Collector {
    fn default() -> Self {
        let (four, six) = (Suspects::default(), Suspects::default());
        Self { interval: SHORTEST, walk: None, four, six, excess: HashMap::new() }
    }
}

/// Time of one slice.
const SLICE: Duration = Duration::from_millis(5);
/// Classes deleted at once.
const CLASSES: usize = 4096;
/// Pause between slices.
const PAUSE: Duration = Duration::from_millis(10);
const SHORTEST: Duration = Duration::from_secs(5);
const LONGEST: Duration = Duration::from_secs(300);

impl Datapath {
    /// Removes what has ended: flows, translations, policies and table entries out of use. One call does a slice of some
    /// milliseconds; the report says when to call again.
    pub fn gc(&mut self) -> Result<GcReport> {
        let start = Instant::now();
        let mut walk = self.collector.walk.take().unwrap_or_default();
        while walk.stage != Stage::Done && start.elapsed() < SLICE {
            self.step(&mut walk)?;
        }
        walk.report.elapsed += start.elapsed();
        if walk.stage != Stage::Done {
            let report = GcReport { next: PAUSE, ..walk.report };
            self.collector.walk = Some(walk);
            return Ok(report);
        }
        self.finish(walk)
    }

    fn step(&mut self, walk: &mut Walk) -> Result<()> {
        if walk.stage == Stage::Policies {
            if !self.grace() || self.policies.sweep(CLASSES)? {
                walk.stage = Stage::Four;
            }
            return Ok(());
        }
        let endpoints = self.tables.endpoints.known();
        let exists = |number: u16| endpoints.contains_key(&u32::from(number));
        let jiffies = &self.flows.jiffies;
        if walk.stage == Stage::Four {
            if self.flows.four.piece(jiffies, &exists, walk, &mut self.collector.four)? {
                walk.report.translations += self.flows.four.drop_unused(&mut self.collector.four)?;
                walk.stage = Stage::Six;
            }
        } else if self.flows.six.piece(jiffies, &exists, walk, &mut self.collector.six)? {
            walk.report.translations += self.flows.six.drop_unused(&mut self.collector.six)?;
            walk.stage = Stage::Done;
        }
        Ok(())
    }

    fn finish(&mut self, walk: Walk) -> Result<GcReport> {
        let Walk { half_open, ended_half_open, mut report, .. } = walk;
        report.recounted = self.tables.recount_half_open(&half_open, &ended_half_open, &mut self.collector.excess)?;
        let share = |(_, used, room): &(&str, u32, u32)| f64::from(*used) / f64::from((*room).max(1));
        let fullest = self.flows.pressure().iter().map(share).fold(0.0, f64::max);
        self.collector.interval = next_interval(self.collector.interval, report.expired, report.flows, fullest);
        report.complete = true;
        report.next = self.collector.interval;
        tracing::debug!(target: NX, ?report, "flows collected");
        Ok(report)
    }
}

impl<F: Family> Tracked<F> {
    /// Looks at the next piece of the flows. `true` at the end.
    fn piece(
        &mut self,
        jiffies: &Jiffies,
        exists: &dyn Fn(u16) -> bool,
        walk: &mut Walk,
        suspects: &mut Suspects<F>,
    ) -> Result<bool> {
        let now = jiffies.now()?;
        let addresses = self.nat_addresses()?;
        let mut ended = Vec::new();
        let before = walk.report.flows;
        let Walk { cursor, half_open, report, .. } = walk;
        let end = self.ct.visit_more(cursor, |keys, entries| {
            for (key, entry) in keys.iter().zip(entries) {
                if expired(entry, now) || !keeps(entry, exists) {
                    ended.push(*key);
                    continue;
                }
                report.flows += 1;
                if entry.state & CtEntry::HALF_OPEN != 0 {
                    *half_open.entry(counted_for(entry)).or_default() += 1;
                }
                suspects.used.extend(nat_key::<F>(key, entry, &addresses));
            }
        })?;
        let alive = (walk.report.flows - before) as u32;
        // A piece from the beginning of the map starts the count anew.
        self.flows = if std::mem::take(&mut self.counting) { self.flows + alive } else { alive };
        self.counting = !end;
        self.end(&ended, now, exists, walk)?;
        Ok(end)
    }

    /// Removes flows that are still over now, with their translations.
    fn end(
        &self,
        ended: &[<F::Ct as KernelMap>::Key],
        now: u32,
        exists: &dyn Fn(u16) -> bool,
        walk: &mut Walk,
    ) -> Result<()> {
        let addresses = self.nat_addresses()?;
        let (mut flows, mut translations) = (Vec::new(), Vec::new());
        for key in ended {
            // A packet may have refreshed it since the walk saw it.
            let Some(entry) = self.ct.get(key)? else { continue };
            if expired(&entry, now) {
                walk.report.expired += 1;
            } else if !keeps(&entry, exists) {
                walk.report.orphaned += 1;
            } else {
                continue;
            }
            if entry.state & CtEntry::HALF_OPEN != 0 {
                *walk.ended_half_open.entry(counted_for(&entry)).or_default() += 1;
            }
            flows.push(*key);
            translations.extend(nat_key::<F>(key, &entry, &addresses));
        }
        self.ct.remove_many(&flows)?;
        walk.report.translations += self.nat.remove_many(&translations)?;
        Ok(())
    }

    /// Removes translations that no flow had in this walk and in the one before.
    fn drop_unused(&mut self, suspects: &mut Suspects<F>) -> Result<usize>
    where
        <F::Nat as KernelMap>::Key: Eq + Hash,
    {
        let used = std::mem::take(&mut suspects.used);
        let mut unused = HashSet::new();
        let mut count = 0;
        self.nat.visit(|keys, _| {
            count += keys.len() as u32;
            unused.extend(keys.iter().filter(|key| !used.contains(key)).copied());
        })?;
        self.translations = count;
        let gone: Vec<_> = unused.intersection(&suspects.unused).copied().collect();
        suspects.unused = unused;
        Ok(self.nat.remove_many(&gone)?)
    }
}

/// The endpoint in whose quota a half-open flow counts; 0 = all that come from outside.
fn counted_for(entry: &CtEntry) -> u16 {
    local(entry.source_endpoint).unwrap_or(0)
}

/// The endpoints on both sides still exist.
fn keeps(entry: &CtEntry, exists: &dyn Fn(u16) -> bool) -> bool {
    let target = if entry.state & CtEntry::MASQUERADED != 0 { None } else { local(entry.target) };
    local(entry.source_endpoint).is_none_or(exists) && target.is_none_or(exists)
}

/// When to walk again: sooner when a walk found much to remove or a map fills up, later when it found little.
fn next_interval(last: Duration, expired: usize, alive: usize, fullest: f64) -> Duration {
    let share = expired as f64 / (expired + alive).max(1) as f64;
    let next = if fullest > 0.75 {
        SHORTEST
    } else if share > 0.25 {
        last / 2
    } else if share < 0.05 {
        last * 3 / 2
    } else {
        last
    };
    next.clamp(SHORTEST, LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_follows_what_is_found() {
        let minute = Duration::from_secs(60);
        assert_eq!(next_interval(minute, 50, 50, 0.1), minute / 2);
        assert_eq!(next_interval(minute, 10, 90, 0.1), minute);
        assert_eq!(next_interval(minute, 0, 100, 0.1), minute * 3 / 2);
        assert_eq!(next_interval(minute, 0, 100, 0.9), SHORTEST);
        assert_eq!(next_interval(LONGEST, 0, 0, 0.0), LONGEST);
        assert_eq!(next_interval(SHORTEST, 100, 0, 0.0), SHORTEST);
    }

    #[test]
    fn expiry_survives_the_tick_counters_wrap() {
        let entry = |expires| CtEntry { expires, ..CtEntry::default() };
        assert!(expired(&entry(99), 100) && !expired(&entry(100), 100) && !expired(&entry(101), 100));
        assert!(!expired(&entry(5), u32::MAX - 5) && expired(&entry(u32::MAX - 5), 5));
    }
}
