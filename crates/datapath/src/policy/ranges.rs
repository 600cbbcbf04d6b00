//! Room in `nx_decision`: each policy has a run of entries there, one for each class of its classifier.
//!
//! It knows lengths and places, not what they are for. Index 0 is never given out: it stays all-zero, which denies.

use std::collections::BTreeMap;

use nexin_abi::maps::KernelMap;
use nexin_abi::maps::policy::{Decision, Decisions};
use nexin_bpf::Map;

use crate::error::{Error, Result};

/// A run of entries that belongs to one policy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) start: u32,
    pub(super) room: u32,
}

pub(super) struct Ranges {
    map: Map<Decisions>,
    /// Free runs by their first entry; no two touch.
    free: BTreeMap<u32, u32>,
}

impl Ranges {
    pub(super) fn new(map: Map<Decisions>) -> Self {
        let free = BTreeMap::from([(1, map.raw().max_entries().saturating_sub(1))]);
        Self { map, free }
    }

    pub(super) fn capacity(&self) -> u32 {
        self.map.raw().max_entries()
    }

    /// Room for `classes`, and for some that may come. Nothing is written.
    pub(super) fn allocate(&mut self, classes: usize) -> Result<Range> {
        let needed = u32::try_from(classes).unwrap_or(u32::MAX);
        let spacious = needed.saturating_add(4 + needed / 4);
        let first = |room: u32| self.free.iter().find(|(_, length)| **length >= room).map(|(start, _)| (*start, room));
        let (start, room) = first(spacious)
            .or_else(|| first(needed))
            .ok_or(Error::TableFull { table: Decisions::NAME, entries: self.capacity() })?;
        let range = Range { start, room };
        self.take(range);
        Ok(range)
    }

    /// Takes over what an earlier process left. Where it is not free as a whole, the run gets no room that could be given
    /// back twice.
    pub(super) fn adopt(&mut self, start: u32, room: u32) -> Range {
        let range = Range { start, room };
        if self.take(range) { range } else { Range { start, room: 0 } }
    }

    /// Takes `range` out of the free run that holds it.
    fn take(&mut self, range: Range) -> bool {
        let Range { start, room } = range;
        let Some((&free, &length)) = self.free.range(..=start).next_back() else { return false };
        let Some(rest) = (free + length).checked_sub(start + room) else { return false };
        self.free.remove(&free);
        if start > free {
            self.free.insert(free, start - free);
        }
        if rest > 0 {
            self.free.insert(start + room, rest);
        }
        true
    }

    /// Gives a run back. Only when no packet can look at it any more.
    pub(super) fn release(&mut self, range: Range) {
        let Range { mut start, mut room } = range;
        if room == 0 {
            return;
        }
        if let Some((&before, &length)) = self.free.range(..start).next_back()
            && before + length == start
        {
            self.free.remove(&before);
            (start, room) = (before, room + length);
        }
        if let Some(length) = self.free.remove(&(start + room)) {
            room += length;
        }
        self.free.insert(start, room);
    }

    /// Writes decisions from entry `start` on.
    pub(super) fn write(&self, start: u32, decisions: impl Iterator<Item = Decision>) -> Result<()> {
        let entries: Vec<(u32, Decision)> = (start..).zip(decisions).collect();
        Ok(self.map.set_many(&entries)?)
    }

    /// The decision of class `class` of a policy with `base`.
    pub(super) fn read(&self, base: u32, class: u32) -> Result<Decision> {
        match base.checked_add(class).filter(|index| *index < self.capacity()) {
            Some(index) => Ok(self.map.get(&index)?.unwrap_or_default()),
            None => Ok(Decision::default()),
        }
    }

    /// Rewrites the entries from `start` on that are not as they should be. Returns how many differed.
    pub(super) fn repair(&self, start: u32, decisions: impl Iterator<Item = Decision>) -> Result<usize> {
        let mut wrong = Vec::new();
        for (index, decision) in (start..).zip(decisions) {
            if self.map.get(&index)? != Some(decision) {
                wrong.push((index, decision));
            }
        }
        self.map.set_many(&wrong)?;
        Ok(wrong.len())
    }
}
