//! Reading back what an earlier process loaded, so that a restart rewrites nothing that is right.

use std::collections::{BTreeMap, BTreeSet};

use nexin_abi::Identity;
use nexin_abi::maps::policy::{ClassKey, Policy};

use super::{LoadedPolicy, PolicyStore, decision_slots, page_slots};
use crate::error::Result;

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
        for (&number, policy) in loaded.iter().filter(|(number, _)| in_use.contains(number)) {
            let members = members.remove(&number).unwrap_or_default();
            let mut classes: BTreeSet<u32> = members.values().copied().collect();
            classes.insert(policy.everyone_else);
            for &class in &classes {
                self.adopt_class(class)?;
            }
            let everyone_else = policy.everyone_else;
            let classes = classes.into_iter().collect();
            self.loaded.insert(number, LoadedPolicy { tables: None, classes, everyone_else, members });
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

    /// One reference to `class`, and the references below it when it is met first.
    fn adopt_class(&mut self, class: u32) -> Result<()> {
        let Some(decision) = self.decisions.adopt(class)? else { return Ok(()) };
        for slot in decision_slots(&decision) {
            match slot.is_table() {
                true => self.adopt_ports(slot.index())?,
                false => drop(self.verdicts.adopt(slot.index())?),
            }
        }
        Ok(())
    }

    fn adopt_ports(&mut self, index: u32) -> Result<()> {
        let Some(page) = self.ports.adopt(index)? else { return Ok(()) };
        for slot in page_slots(&page) {
            match slot.is_table() {
                true => self.adopt_block(slot.index())?,
                false => drop(self.verdicts.adopt(slot.index())?),
            }
        }
        Ok(())
    }

    fn adopt_block(&mut self, index: u32) -> Result<()> {
        let Some(page) = self.blocks.adopt(index)? else { return Ok(()) };
        for slot in page_slots(&page) {
            self.verdicts.adopt(slot.index())?;
        }
        Ok(())
    }
}
