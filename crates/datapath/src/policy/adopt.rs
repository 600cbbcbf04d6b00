//! Reading back what an earlier process loaded, so that a restart rewrites nothing that is right.

use std::collections::{BTreeMap, BTreeSet};

use nexin_abi::maps::policy::{ClassKey, Decision, Policy};
use nexin_policy::tables::PolicyTables;

use super::classify::Classifier;
use super::{LoadedPolicy, PolicyStore, decision_slots, page_slots};
use crate::error::Result;

impl PolicyStore {
    /// Takes over the loaded policies that `in_use` names; everything else that is loaded goes at the next sweep.
    pub(super) fn adopt(&mut self, in_use: &BTreeSet<u32>) -> Result<()> {
        let mut found: BTreeMap<u32, Policy> = BTreeMap::new();
        self.policies.visit(|keys, values| {
            found.extend(keys.iter().copied().zip(values.iter().copied()).filter(|(_, policy)| policy.classifier != 0));
        })?;
        let mut classifiers: BTreeMap<u32, Classifier> = BTreeMap::new();
        let mut total = 0;
        self.classes.visit(|keys, values| {
            total += keys.len();
            for (ClassKey { classifier, identity }, class) in keys.iter().zip(values) {
                let known = classifiers.entry(*classifier).or_default();
                known.members.insert(*identity, *class);
                known.classes = known.classes.max(*class as usize + 1);
            }
        })?;
        self.class_entries = total;
        for (&number, policy) in &found {
            if !in_use.contains(&number) {
                // Written by a process that died before an endpoint was switched to it. Its number stays taken until it is
                // swept away; nobody looks at its decisions.
                let half_done = LoadedPolicy { classifier: policy.classifier, ..LoadedPolicy::default() };
                self.retired.insert(number, half_done);
                continue;
            }
            let classifier = classifiers.entry(policy.classifier).or_default();
            classifier.classes = classifier.classes.clamp(1, self.decisions.capacity() as usize);
            let adopted = self.adopt_policy(*policy, classifier.classes as u32)?;
            self.loaded.insert(number, adopted);
        }
        self.ports.finish_adoption();
        self.blocks.finish_adoption();
        self.verdicts.finish_adoption();
        self.classifiers = classifiers;
        self.drop_unused_classifiers();
        Ok(())
    }

    /// A policy with `classes`, in which equal decisions are one.
    fn adopt_policy(&mut self, policy: Policy, classes: u32) -> Result<LoadedPolicy> {
        let range = self.decisions.adopt(policy.base, classes);
        let mut decisions: Vec<Decision> = Vec::new();
        let mut decided = Vec::with_capacity(classes as usize);
        for class in 0..classes {
            let decision = self.decisions.read(policy.base, class)?;
            let index = match decisions.iter().position(|known| *known == decision) {
                Some(index) => index,
                None => {
                    self.adopt_decision(&decision)?;
                    decisions.push(decision);
                    decisions.len() - 1
                }
            };
            decided.push(index as u32);
        }
        Ok(LoadedPolicy { tables: None, classifier: policy.classifier, range, decisions, decided })
    }

    /// References to what `decision` points to, and those below when something is met first.
    fn adopt_decision(&mut self, decision: &Decision) -> Result<()> {
        for slot in decision_slots(decision) {
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

    /// An unclaimed policy that decides just what `tables` (with the kernel's `decisions`) do, and the tables' class for each
    /// of its classes. Those that the endpoints `held` are asked first.
    pub(super) fn claim(
        &mut self,
        tables: &PolicyTables,
        decisions: &[Decision],
        held: &BTreeSet<u32>,
    ) -> Result<Option<(u32, Vec<u32>)>> {
        let unclaimed = |number: &u32| self.loaded.get(number).is_some_and(|policy| policy.tables.is_none());
        let candidates = held.iter().chain(self.loaded.keys()).filter(|number| unclaimed(number));
        let Some((number, decided)) =
            candidates.filter_map(|number| Some((*number, self.serves(*number, tables, decisions)?))).next()
        else {
            return Ok(None);
        };
        // Classes that no identity is of may say anything; make them say what is remembered of them.
        if let Some(policy) = self.loaded.get(&number) {
            self.decisions.repair(policy.range.start, super::kernel(decisions, &decided))?;
        }
        Ok(Some((number, decided)))
    }

    fn serves(&self, number: u32, tables: &PolicyTables, decisions: &[Decision]) -> Option<Vec<u32>> {
        let policy = self.loaded.get(&number)?;
        let classifier = self.classifiers.get(&policy.classifier)?;
        let says = |class: u32| policy.decisions.get(*policy.decided.get(class as usize)? as usize);
        let wants = |class: u32| decisions.get(class as usize);
        if says(0)? != wants(tables.everyone_else)? {
            return None;
        }
        let mut decided = vec![tables.everyone_else; policy.decided.len()];
        for (_, class, wanted) in classifier.pairs(tables) {
            if says(class)? != wants(wanted)? {
                return None;
            }
            if class != 0 {
                decided[class as usize] = wanted;
            }
        }
        Some(decided)
    }
}
