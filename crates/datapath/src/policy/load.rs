//! Translating a policy's own indices into the kernel's, and writing it.

use std::collections::HashMap;
use std::sync::Arc;

use nexin_abi::Identity;
use nexin_abi::maps::KernelMap;
use nexin_abi::maps::policy::{ClassKey, Decision, Page, Policies, Policy, Slot};
use nexin_policy::tables::PolicyTables;

use super::{Ensured, LoadedPolicy, PolicyStore, decision_slots, page_slots};
use crate::error::{Error, Result};

/// Identities that came or went from `old` to `new`, where nothing else differs but what was appended to the tables.
pub(super) fn extension(old: &PolicyTables, new: &PolicyTables) -> Option<Vec<Identity>> {
    let appended = new.everyone_else == old.everyone_else
        && new.decisions.starts_with(&old.decisions)
        && new.ports.starts_with(&old.ports)
        && new.blocks.starts_with(&old.blocks)
        && new.verdicts.starts_with(&old.verdicts);
    let changed = new.members.changed_since(&old.members);
    // An identity that changes its class is no extension: the kernel's entry for it would be rewritten in place.
    let moved = |identity: &Identity| old.members.get(*identity).is_some() && new.members.get(*identity).is_some();
    (appended && !changed.iter().any(moved)).then_some(changed)
}

/// Kernel indices of one policy's pages while it is being translated.
#[derive(Default)]
struct Translated {
    ports: HashMap<u32, u32>,
    blocks: HashMap<u32, u32>,
}

impl PolicyStore {
    /// References to the kernel classes of `tables.decisions[from..]`, with everything below them written. On error none is kept.
    pub(super) fn acquire_classes(&mut self, tables: &PolicyTables, from: usize) -> Result<Vec<u32>> {
        let mut cache = Translated::default();
        let mut classes = Vec::with_capacity(tables.decisions.len() - from);
        for decision in &tables.decisions[from..] {
            match self.acquire_decision(tables, decision, &mut cache) {
                Ok(class) => classes.push(class),
                Err(e) => {
                    self.release_classes(&classes);
                    return Err(e);
                }
            }
        }
        // Bottom up: nothing in the kernel ever points to what is not there yet.
        self.verdicts.flush()?;
        self.blocks.flush()?;
        self.ports.flush()?;
        self.decisions.flush()?;
        Ok(classes)
    }

    fn acquire_decision(&mut self, tables: &PolicyTables, decision: &Decision, cache: &mut Translated) -> Result<u32> {
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
        let acquired = match self.decisions.acquire(translated) {
            Ok(acquired) => acquired,
            Err(e) => {
                self.release_slots(&held, Level::Decision);
                return Err(e);
            }
        };
        self.settle(held, acquired.new.then(|| decision_slots(&translated)), Level::Decision);
        Ok(acquired.index)
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
    fn settle(&mut self, held: Vec<Slot>, owns: Option<std::collections::BTreeSet<Slot>>, level: Level) {
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

    /// Writes the classes of `policy`'s identities and then its entry, under a number that nobody uses.
    pub(super) fn write(&mut self, policy: &LoadedPolicy) -> Result<u32> {
        let number = (1..self.closed())
            .find(|number| [&self.loaded, &self.retired, &self.dead].iter().all(|taken| !taken.contains_key(number)))
            .ok_or(Error::TableFull { table: Policies::NAME, entries: self.policies.raw().max_entries() })?;
        let entries: Vec<(ClassKey, u32)> =
            policy.members.iter().map(|(&identity, &class)| (ClassKey { policy: number, identity }, class)).collect();
        self.insert_classes(&entries)?;
        self.policies.set(&number, &Policy { everyone_else: policy.everyone_else, loaded: 1 })?;
        Ok(number)
    }

    /// All of them or none.
    fn insert_classes(&mut self, entries: &[(ClassKey, u32)]) -> Result<()> {
        if self.class_entries + entries.len() > self.classes.raw().max_entries() as usize {
            return Err(self.full());
        }
        if let Err(e) = self.classes.set_many(entries) {
            let keys: Vec<ClassKey> = entries.iter().map(|entry| entry.0).collect();
            self.classes.remove_many(&keys)?;
            return Err(if matches!(e, nexin_bpf::Error::Full { .. }) { self.full() } else { e.into() });
        }
        self.class_entries += entries.len();
        Ok(())
    }

    /// Brings a loaded policy to `new`, which extends it by `changed` identities.
    pub(super) fn extend(
        &mut self,
        number: u32,
        new: &Arc<PolicyTables>,
        changed: &[Identity],
    ) -> Result<(u32, Ensured)> {
        let known = self.loaded.get(&number).map_or(0, |policy| policy.classes.len());
        let classes = self.acquire_classes(new, known)?;
        let Some(policy) = self.loaded.get_mut(&number) else {
            self.release_classes(&classes);
            return Err(Error::NoSuchPolicy(new.key));
        };
        policy.classes.extend_from_slice(&classes);
        let added: Vec<(ClassKey, u32)> = changed
            .iter()
            .filter_map(|&identity| {
                let class = policy.classes.get(new.members.get(identity)? as usize).copied().unwrap_or(0);
                Some((ClassKey { policy: number, identity }, class))
            })
            .collect();
        // An identity that went and came back before the sweep still has its entry counted.
        let gone = |identity| [&self.stale, &self.dead_classes].iter().any(|gone| gone.contains(&(number, identity)));
        let back = added.iter().filter(|(key, _)| gone(key.identity)).count();
        self.class_entries -= back.min(self.class_entries);
        if let Err(e) = self.insert_classes(&added) {
            self.class_entries += back;
            if let Some(policy) = self.loaded.get_mut(&number) {
                policy.classes.truncate(known);
            }
            self.release_classes(&classes);
            return Err(e);
        }
        if let Some(policy) = self.loaded.get_mut(&number) {
            for identity in changed.iter().filter(|identity| new.members.get(**identity).is_none()) {
                policy.members.remove(identity);
                self.stale.insert((number, *identity));
            }
            for (key, class) in added {
                policy.members.insert(key.identity, class);
                self.stale.remove(&(number, key.identity));
                self.dead_classes.remove(&(number, key.identity));
            }
            policy.tables = Some(new.clone());
        }
        Ok((number, Ensured::Extended))
    }
}

/// What a slot stands in.
#[derive(Clone, Copy)]
enum Level {
    Decision,
    Ports,
    Blocks,
}
