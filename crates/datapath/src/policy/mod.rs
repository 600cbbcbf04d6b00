//! Policies in the kernel: numbers, classes and shared tables.
//!
//! A policy is written beside whatever is in force, never over it: verdicts, then blocks, ports, decisions, then the
//! identities' classes, and the policy's own entry last. Which endpoint uses which policy is not known here. Numbers and
//! indices come back into use only after [`PolicyStore::sweep`], which the caller runs after a grace period.

mod adopt;
mod load;
mod pool;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use nexin_abi::Identity;
use nexin_abi::maps::policy::{
    Blocks, ClassKey, Classes, Decision, Decisions, Page, Policies, Policy, Ports, Slot, Verdicts,
};
use nexin_bpf::{Loaded, Map};
use nexin_policy::tables::{PolicyKey, PolicyTables};

use crate::error::{Error, Result};
use pool::Pool;

/// Everything the kernel knows of policies.
pub(crate) struct PolicyStore {
    policies: Map<Policies>,
    classes: Map<Classes>,
    decisions: Pool<Decisions>,
    ports: Pool<Ports>,
    blocks: Pool<Blocks>,
    verdicts: Pool<Verdicts>,
    /// In force or ready to be, by number.
    loaded: BTreeMap<u32, LoadedPolicy>,
    by_key: HashMap<PolicyKey, u32>,
    /// Out of use, but a packet under way may still see it.
    retired: BTreeMap<u32, LoadedPolicy>,
    stale: BTreeSet<(u32, Identity)>,
    /// Out of anyone's sight, to be deleted.
    dead: BTreeMap<u32, LoadedPolicy>,
    dead_classes: BTreeSet<(u32, Identity)>,
    /// Entries of `nx_class`, stale ones included.
    class_entries: usize,
}

/// A policy in the kernel. Each element of `classes` is a reference to a decision.
#[derive(Default)]
pub(crate) struct LoadedPolicy {
    /// `None` for one that an earlier process left and that nobody has asked for yet.
    tables: Option<Arc<PolicyTables>>,
    /// Kernel class of each class of `tables`; for an unclaimed policy the classes it uses.
    classes: Vec<u32>,
    everyone_else: u32,
    members: BTreeMap<Identity, u32>,
}

/// What [`PolicyStore::ensure`] had to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ensured {
    Unchanged,
    /// An earlier process had loaded the same content.
    Adopted,
    /// New identities (and classes) were added in place, or identities taken out.
    Extended,
    Loaded,
}

impl PolicyStore {
    /// The store over `kernel`'s maps, with what `in_use` policies (those that endpoints name) left there.
    pub(crate) fn open(kernel: &Loaded, in_use: &BTreeSet<u32>) -> Result<Self> {
        let mut store = Self {
            policies: kernel.map()?,
            classes: kernel.map()?,
            decisions: Pool::new(kernel.map()?),
            ports: Pool::new(kernel.map()?),
            blocks: Pool::new(kernel.map()?),
            verdicts: Pool::new(kernel.map()?),
            loaded: BTreeMap::new(),
            by_key: HashMap::new(),
            retired: BTreeMap::new(),
            stale: BTreeSet::new(),
            dead: BTreeMap::new(),
            dead_classes: BTreeSet::new(),
            class_entries: 0,
        };
        store.adopt(in_use)?;
        Ok(store)
    }

    /// A policy number whose entry is never loaded: whoever points to it is denied everything.
    pub(crate) fn closed(&self) -> u32 {
        self.policies.raw().max_entries() - 1
    }

    pub(crate) fn number(&self, key: PolicyKey) -> Option<u32> {
        self.by_key.get(&key).copied()
    }

    /// Makes `tables` available under a number. On error nothing is changed for whoever uses the old number of this key.
    pub(crate) fn ensure(&mut self, tables: &Arc<PolicyTables>) -> Result<(u32, Ensured)> {
        if let Some(&number) = self.by_key.get(&tables.key)
            && let Some(old) = self.loaded.get(&number).and_then(|policy| policy.tables.clone())
        {
            if Arc::ptr_eq(&old, tables) {
                return Ok((number, Ensured::Unchanged));
            }
            if let Some(changed) = load::extension(&old, tables) {
                return self.extend(number, tables, &changed);
            }
        }
        let classes = self.acquire_classes(tables, 0)?;
        let wanted = LoadedPolicy::new(tables.clone(), classes);
        if let Some(number) = self.claim(&wanted) {
            // The unclaimed policy held references of its own; ours replace them.
            if let Some(unclaimed) = self.loaded.insert(number, wanted) {
                self.release_classes(&unclaimed.classes);
            }
            self.by_key.insert(tables.key, number);
            return Ok((number, Ensured::Adopted));
        }
        let number = match self.write(&wanted) {
            Ok(number) => number,
            Err(e) => {
                self.release_classes(&wanted.classes);
                return Err(e);
            }
        };
        self.loaded.insert(number, wanted);
        self.by_key.insert(tables.key, number);
        Ok((number, Ensured::Loaded))
    }

    /// An unclaimed policy with exactly this content.
    fn claim(&self, wanted: &LoadedPolicy) -> Option<u32> {
        let same = |found: &LoadedPolicy| {
            found.tables.is_none() && found.everyone_else == wanted.everyone_else && found.members == wanted.members
        };
        self.loaded.iter().find(|(_, found)| same(found)).map(|(number, _)| *number)
    }

    /// Takes every policy out of use that `keep` does not accept (by number).
    pub(crate) fn retire(&mut self, keep: impl Fn(u32) -> bool) -> usize {
        let gone: Vec<u32> = self.loaded.keys().copied().filter(|number| !keep(*number)).collect();
        for number in &gone {
            if let Some(policy) = self.loaded.remove(number) {
                if let Some(tables) = &policy.tables
                    && self.by_key.get(&tables.key) == Some(number)
                {
                    self.by_key.remove(&tables.key);
                }
                self.retired.insert(*number, policy);
            }
        }
        gone.len()
    }

    /// Whether anything waits for a grace period.
    pub(crate) fn needs_grace(&self) -> bool {
        !self.retired.is_empty() || !self.stale.is_empty()
    }

    /// Whether anything waits for a sweep, after a grace period or before it.
    pub(crate) fn needs_sweep(&self) -> bool {
        self.needs_grace() || !self.dead.is_empty() || !self.dead_classes.is_empty()
    }

    /// A grace period has passed: whatever was out of use before it is seen by nobody now.
    pub(crate) fn graced(&mut self) {
        self.dead.append(&mut self.retired);
        self.dead_classes.append(&mut self.stale);
    }

    /// Deletes what nobody sees, at most about `limit` classes. `true` when nothing is left to delete.
    pub(crate) fn sweep(&mut self, limit: usize) -> Result<bool> {
        let mut keys: Vec<ClassKey> = Vec::new();
        while keys.len() < limit
            && let Some((policy, identity)) = self.dead_classes.pop_first()
        {
            keys.push(ClassKey { policy, identity });
        }
        let mut emptied = Vec::new();
        for (&number, policy) in &mut self.dead {
            while keys.len() < limit
                && let Some((identity, _)) = policy.members.pop_first()
            {
                keys.push(ClassKey { policy: number, identity });
            }
            if policy.members.is_empty() {
                emptied.push(number);
            }
        }
        self.class_entries -= self.classes.remove_many(&keys)?.min(self.class_entries);
        for number in emptied {
            self.policies.set(&number, &Policy::default())?;
            if let Some(policy) = self.dead.remove(&number) {
                self.release_classes(&policy.classes);
            }
        }
        self.sweep_pools();
        Ok(self.dead.is_empty() && self.dead_classes.is_empty())
    }

    /// Frees table entries without references. Nothing that a packet can reach refers to them: references are given back
    /// only by policies that are dead, or were never in use.
    fn sweep_pools(&mut self) {
        let Self { decisions, ports, blocks, verdicts, .. } = self;
        let mut lower: Vec<Slot> = Vec::new();
        decisions.sweep(|decision| lower.extend(decision_slots(&decision)));
        for slot in lower.drain(..) {
            if slot.is_table() { ports.release(slot.index()) } else { verdicts.release(slot.index()) }
        }
        ports.sweep(|page| lower.extend(page_slots(&page)));
        for slot in lower.drain(..) {
            if slot.is_table() { blocks.release(slot.index()) } else { verdicts.release(slot.index()) }
        }
        blocks.sweep(|page| lower.extend(page_slots(&page)));
        for slot in lower.drain(..) {
            verdicts.release(slot.index());
        }
        verdicts.sweep(|_| {});
    }

    fn release_classes(&mut self, classes: &[u32]) {
        for &class in classes {
            self.decisions.release(class);
        }
    }

    fn full(&self) -> Error {
        Error::TableFull { table: "nx_class", entries: self.classes.raw().max_entries() }
    }

    /// Used and available entries of each table.
    pub(crate) fn pressure(&self) -> [(&'static str, u32, u32); 6] {
        let numbers = (self.loaded.len() + self.retired.len() + self.dead.len()) as u32;
        [
            ("nx_policy", numbers, self.policies.raw().max_entries()),
            ("nx_class", self.class_entries as u32, self.classes.raw().max_entries()),
            ("nx_decision", self.decisions.used(), self.decisions.capacity()),
            ("nx_ports", self.ports.used(), self.ports.capacity()),
            ("nx_block", self.blocks.used(), self.blocks.capacity()),
            ("nx_verdict", self.verdicts.used(), self.verdicts.capacity()),
        ]
    }

    /// Rewrites whatever differs in the kernel from what was written. Returns how many entries did.
    pub(crate) fn repair(&mut self) -> Result<usize> {
        let mut repaired =
            self.verdicts.repair()? + self.blocks.repair()? + self.ports.repair()? + self.decisions.repair()?;
        repaired += self.repair_classes()?;
        for (number, policy) in &self.loaded {
            let wanted = Policy { everyone_else: policy.everyone_else, loaded: 1 };
            if self.policies.get(number)? != Some(wanted) {
                self.policies.set(number, &wanted)?;
                repaired += 1;
            }
        }
        Ok(repaired)
    }

    fn repair_classes(&mut self) -> Result<usize> {
        let policies = || self.loaded.iter().chain(&self.retired).chain(&self.dead);
        let members: BTreeMap<u32, &BTreeMap<Identity, u32>> =
            policies().map(|(number, policy)| (*number, &policy.members)).collect();
        let (mut present, mut wrong, mut foreign) = (0, Vec::new(), Vec::new());
        self.classes.visit(|keys, values| {
            for (key, class) in keys.iter().zip(values) {
                let gone = (key.policy, key.identity);
                match members.get(&key.policy).and_then(|members| members.get(&key.identity)) {
                    Some(right) => {
                        present += 1;
                        if right != class {
                            wrong.push((*key, *right));
                        }
                    }
                    None if self.stale.contains(&gone) || self.dead_classes.contains(&gone) => {}
                    None => foreign.push(*key),
                }
            }
        })?;
        // Only when some are missing is each looked for.
        if present < members.values().map(|members| members.len()).sum::<usize>() {
            for (&policy, members) in &members {
                for (&identity, &class) in *members {
                    let key = ClassKey { policy, identity };
                    if self.classes.get(&key)?.is_none() {
                        wrong.push((key, class));
                    }
                }
            }
        }
        self.classes.set_many(&wrong)?;
        self.classes.remove_many(&foreign)?;
        Ok(wrong.len() + foreign.len())
    }
}

impl LoadedPolicy {
    fn new(tables: Arc<PolicyTables>, classes: Vec<u32>) -> Self {
        let kernel = |class: u32| classes.get(class as usize).copied().unwrap_or(0);
        let members = tables.members.iter().map(|(identity, class)| (identity, kernel(class))).collect();
        let everyone_else = kernel(tables.everyone_else);
        Self { tables: Some(tables), everyone_else, members, classes }
    }
}

/// The references that a decision holds: each distinct target once.
fn decision_slots(decision: &Decision) -> BTreeSet<Slot> {
    let Decision { tcp, udp, sctp, icmp, icmp6, other } = *decision;
    BTreeSet::from([tcp, udp, sctp, icmp, icmp6, other])
}

/// The references that a page holds: each distinct target once.
fn page_slots(page: &Page) -> BTreeSet<Slot> {
    page.0.iter().copied().collect()
}
