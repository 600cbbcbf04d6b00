//! Translating a policy's own indices into the kernel's, and writing it.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use nexin_abi::maps::KernelMap;
use nexin_abi::maps::policy::{Decision, Page, Policies, Slot};
use nexin_policy::tables::PolicyTables;

use super::{LoadedPolicy, PolicyStore, decision_slots, kernel, page_slots};
use crate::error::{Error, Result};

/// Kernel indices of one policy's pages while it is being translated.
#[derive(Default)]
struct Translated {
    ports: HashMap<u32, u32>,
    blocks: HashMap<u32, u32>,
}

impl PolicyStore {
    /// `tables.decisions[from..]` with the kernel's indices, a reference for each, and everything below them written. On
    /// error none is kept.
    pub(super) fn acquire_decisions(&mut self, tables: &PolicyTables, from: usize) -> Result<Vec<Decision>> {
        let mut cache = Translated::default();
        let mut decisions = Vec::with_capacity(tables.decisions.len() - from);
        for decision in &tables.decisions[from..] {
            match self.acquire_decision(tables, decision, &mut cache) {
                Ok(decision) => decisions.push(decision),
                Err(e) => {
                    self.release_decisions(&decisions);
                    return Err(e);
                }
            }
        }
        // Bottom up: nothing in the kernel ever points to what is not there yet.
        self.verdicts.flush()?;
        self.blocks.flush()?;
        self.ports.flush()?;
        Ok(decisions)
    }

    fn acquire_decision(
        &mut self,
        tables: &PolicyTables,
        decision: &Decision,
        cache: &mut Translated,
    ) -> Result<Decision> {
        let wanted = [decision.tcp, decision.udp, decision.sctp, decision.icmp, decision.icmp6, decision.other];
        let mut slots = [Slot::default(); 6];
        let mut held = Vec::new();
        for (slot, wanted) in slots.iter_mut().zip(wanted) {
            match self.acquire_slot(tables, wanted, Level::Decision, cache) {
                Ok(acquired) => {
                    *slot = acquired;
                    held.push(acquired);
                }
                Err(e) => {
                    self.release_slots(&held, Level::Decision);
                    return Err(e);
                }
            }
        }
        let [tcp, udp, sctp, icmp, icmp6, other] = slots;
        let translated = Decision { tcp, udp, sctp, icmp, icmp6, other };
        self.settle(held, Some(decision_slots(&translated)), Level::Decision);
        Ok(translated)
    }

    /// A reference to what `slot` of `tables` means, as the kernel's slot.
    fn acquire_slot(
        &mut self,
        tables: &PolicyTables,
        slot: Slot,
        level: Level,
        cache: &mut Translated,
    ) -> Result<Slot> {
        let index = slot.index();
        if !slot.is_table() {
            // Broken tables must not open anything, so what is missing is a denial.
            let verdict = tables.verdicts.get(index as usize).copied().unwrap_or_default();
            return Ok(Slot::verdict(self.verdicts.acquire(verdict)?.index));
        }
        let (known, pages, below) = match level {
            Level::Decision => (cache.ports.get(&index).copied(), &tables.ports, Level::Ports),
            Level::Ports => (cache.blocks.get(&index).copied(), &tables.blocks, Level::Blocks),
            // A block has verdicts only; anything else denies.
            Level::Blocks => return Ok(Slot::verdict(self.verdicts.acquire(Default::default())?.index)),
        };
        if let Some(known) = known {
            self.retain_page(known, below);
            return Ok(Slot::table(known));
        }
        let Some(page) = pages.get(index as usize) else {
            return Ok(Slot::verdict(self.verdicts.acquire(Default::default())?.index));
        };
        let kernel = self.acquire_page(tables, page, below, cache)?;
        match below {
            Level::Ports => cache.ports.insert(index, kernel),
            Level::Blocks | Level::Decision => cache.blocks.insert(index, kernel),
        };
        Ok(Slot::table(kernel))
    }

    fn acquire_page(
        &mut self,
        tables: &PolicyTables,
        page: &Page,
        level: Level,
        cache: &mut Translated,
    ) -> Result<u32> {
        // Pages repeat few slots many times: translate each distinct one once.
        let mut translation: HashMap<Slot, Slot> = HashMap::new();
        let mut held = Vec::new();
        for wanted in page_slots(page) {
            match self.acquire_slot(tables, wanted, level, cache) {
                Ok(acquired) => {
                    translation.insert(wanted, acquired);
                    held.push(acquired);
                }
                Err(e) => {
                    self.release_slots(&held, level);
                    return Err(e);
                }
            }
        }
        let translated = Page(page.0.map(|slot| translation.get(&slot).copied().unwrap_or_default()));
        let acquired = match level {
            Level::Ports => self.ports.acquire(translated),
            Level::Blocks | Level::Decision => self.blocks.acquire(translated),
        };
        let acquired = match acquired {
            Ok(acquired) => acquired,
            Err(e) => {
                self.release_slots(&held, level);
                return Err(e);
            }
        };
        self.settle(held, acquired.new.then(|| page_slots(&translated)), level);
        Ok(acquired.index)
    }

    /// A new entry keeps one of the `held` references for each distinct target, and all others are given back; an entry that
    /// existed has its own.
    fn settle(&mut self, held: Vec<Slot>, owns: Option<BTreeSet<Slot>>, level: Level) {
        let mut owns = owns.unwrap_or_default();
        let surplus: Vec<Slot> = held.into_iter().filter(|slot| !owns.remove(slot)).collect();
        self.release_slots(&surplus, level);
    }

    /// Gives back references that something at `level` held.
    fn release_slots(&mut self, slots: &[Slot], level: Level) {
        for slot in slots {
            match (slot.is_table(), level) {
                (true, Level::Decision) => self.ports.release(slot.index()),
                (true, Level::Ports | Level::Blocks) => self.blocks.release(slot.index()),
                (false, _) => self.verdicts.release(slot.index()),
            }
        }
    }

    fn retain_page(&mut self, index: u32, level: Level) {
        match level {
            Level::Ports => self.ports.retain(index),
            Level::Blocks | Level::Decision => self.blocks.retain(index),
        }
    }

    /// Gives back the references of decisions that no packet sees.
    pub(super) fn release_decisions(&mut self, decisions: &[Decision]) {
        for decision in decisions {
            let slots: Vec<Slot> = decision_slots(decision).into_iter().collect();
            self.release_slots(&slots, Level::Decision);
        }
    }

    /// Writes `tables`, which `decisions` were made from, under a number that nobody uses. The caller keeps the decisions.
    pub(super) fn load(
        &mut self,
        tables: &Arc<PolicyTables>,
        decisions: &[Decision],
        held: &BTreeSet<u32>,
    ) -> Result<(u32, LoadedPolicy)> {
        let number = (1..self.closed())
            .find(|number| [&self.loaded, &self.retired, &self.dead].iter().all(|taken| !taken.contains_key(number)))
            .ok_or(Error::TableFull { table: Policies::NAME, entries: self.policies.raw().max_entries() })?;
        let (classifier, decided) = self.classify(tables, held)?;
        let range = self.decisions.allocate(decided.len())?;
        let policy = LoadedPolicy { tables: Some(tables.clone()), classifier, range, decided, decisions: Vec::new() };
        let written = self
            .decisions
            .write(range.start, kernel(decisions, &policy.decided))
            .and_then(|()| Ok(self.policies.set(&number, &policy.entry())?));
        if let Err(e) = written {
            self.decisions.release(range);
            return Err(e);
        }
        Ok((number, policy))
    }
}

/// What a slot stands in.
#[derive(Clone, Copy)]
enum Level {
    Decision,
    Ports,
    Blocks,
}
