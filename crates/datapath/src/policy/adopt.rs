//! Reading back what an earlier process loaded, so that a restart rewrites nothing that is right.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use nexin_abi::Identity;
use nexin_abi::maps::policy::{ClassKey, Decision, Page, Policy, Verdict};

use super::{LoadedPolicy, PolicyStore, decision_slots, page_slots};
use crate::error::Result;

/// The kernel's tables as they were found.
struct Found {
    decisions: HashMap<u32, Decision>,
    ports: HashMap<u32, Page>,
    blocks: HashMap<u32, Page>,
    verdicts: HashMap<u32, Verdict>,
}

impl PolicyStore {
    /// Takes over the loaded policies that `in_use` names; everything else that is loaded goes at the next sweep.
    pub(super) fn adopt(&mut self, in_use: &BTreeSet<u32>) -> Result<()> {
        let mut loaded: BTreeMap<u32, Policy> = BTreeMap::new();
        self.policies.visit(|keys, values| {
            loaded.extend(keys.iter().copied().zip(values.iter().copied()).filter(|(_, policy)| policy.loaded != 0));
        })?;
        let mut members: BTreeMap<u32, BTreeMap<Identity, u32>> = BTreeMap::new();
        let mut total = 0;
        self.classes.visit(|keys, values| {
            total += keys.len();
            for (ClassKey { policy, identity }, class) in keys.iter().zip(values) {
                members.entry(*policy).or_default().insert(*identity, *class);
            }
        })?;
        self.class_entries = total;
        if !loaded.is_empty() {
            let found = self.read_tables()?;
            for (&number, policy) in loaded.iter().filter(|(number, _)| in_use.contains(number)) {
                let members = members.remove(&number).unwrap_or_default();
                let mut classes: BTreeSet<u32> = members.values().copied().collect();
                classes.insert(policy.everyone_else);
                for &class in &classes {
                    self.adopt_class(&found, class);
                }
                let everyone_else = policy.everyone_else;
                let classes = classes.into_iter().collect();
                self.loaded.insert(number, LoadedPolicy { tables: None, classes, everyone_else, members });
            }
        }
        self.decisions.finish_adoption();
        self.ports.finish_adoption();
        self.blocks.finish_adoption();
        self.verdicts.finish_adoption();
        // Left over from a process that died in the middle: policies nobody uses, and classes of policies that are not loaded.
        // Their numbers stay taken until these are swept away.
        for number in loaded.into_keys().filter(|number| !in_use.contains(number)) {
            let members = members.remove(&number).unwrap_or_default();
            self.retired.insert(number, LoadedPolicy { members, ..LoadedPolicy::default() });
        }
        for (number, members) in members {
            if number < self.policies.raw().max_entries() {
                self.retired.insert(number, LoadedPolicy { members, ..LoadedPolicy::default() });
            } else {
                self.stale.extend(members.into_keys().map(|identity| (number, identity)));
            }
        }
        Ok(())
    }

    fn read_tables(&self) -> Result<Found> {
        Ok(Found {
            decisions: self.decisions.read()?,
            ports: self.ports.read()?,
            blocks: self.blocks.read()?,
            verdicts: self.verdicts.read()?,
        })
    }

    /// One reference to `class`, and the references below it when it is met first.
    fn adopt_class(&mut self, found: &Found, class: u32) {
        let Some(decision) = found.decisions.get(&class) else { return };
        if !self.decisions.adopt(class, *decision) {
            return;
        }
        for slot in decision_slots(decision) {
            match slot.is_table() {
                true => self.adopt_ports(found, slot.index()),
                false => self.adopt_verdict(found, slot.index()),
            }
        }
    }

    fn adopt_ports(&mut self, found: &Found, index: u32) {
        let Some(page) = found.ports.get(&index) else { return };
        if !self.ports.adopt(index, *page) {
            return;
        }
        for slot in page_slots(page) {
            match slot.is_table() {
                true => self.adopt_block(found, slot.index()),
                false => self.adopt_verdict(found, slot.index()),
            }
        }
    }

    fn adopt_block(&mut self, found: &Found, index: u32) {
        let Some(page) = found.blocks.get(&index) else { return };
        if !self.blocks.adopt(index, *page) {
            return;
        }
        for slot in page_slots(page).into_iter().filter(|slot| !slot.is_table()) {
            self.adopt_verdict(found, slot.index());
        }
    }

    fn adopt_verdict(&mut self, found: &Found, index: u32) {
        if let Some(verdict) = found.verdicts.get(&index) {
            self.verdicts.adopt(index, *verdict);
        }
    }
}
