//! Policies in the kernel: numbers, classifiers and shared tables.
//!
//! A policy is written beside whatever is in force, never over it: verdicts, then blocks, ports, then the identities'
//! classes, decisions, and the policy's own entry last. Which endpoint uses which policy is not known here. Numbers and
//! indices come back into use only after [`PolicyStore::sweep`], which the caller runs after a grace period.

mod adopt;
mod classify;
mod extend;
mod grid;
mod load;
mod pool;
mod ranges;
mod repair;
mod share;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use nexin_abi::Identity;
use nexin_abi::maps::policy::{Blocks, ClassKey, Classes, Decision, Page, Policies, Policy, Ports, Slot, Verdicts};
use nexin_bpf::{Loaded, Map};
use nexin_policy::tables::{PolicyKey, PolicyTables};

use crate::error::{Error, Result};
use classify::Classifier;
use pool::Pool;
use ranges::{Range, Ranges};

/// Everything the kernel knows of policies.
pub(crate) struct PolicyStore {
    policies: Map<Policies>,
    classes: Map<Classes>,
    decisions: Ranges,
    ports: Pool<Ports>,
    blocks: Pool<Blocks>,
    verdicts: Pool<Verdicts>,
    /// In force or ready to be, by number.
    loaded: BTreeMap<u32, LoadedPolicy>,
    by_key: HashMap<PolicyKey, u32>,
    /// Who is told apart, by number: what the kernel has, without what is stale.
    classifiers: BTreeMap<u32, Classifier>,
    /// Out of use, but a packet under way may still see it.
    retired: BTreeMap<u32, LoadedPolicy>,
    stale: BTreeSet<(u32, Identity)>,
    stale_ranges: Vec<Range>,
    /// Out of anyone's sight, to be deleted.
    dead: BTreeMap<u32, LoadedPolicy>,
    dead_classes: BTreeSet<(u32, Identity)>,
    /// Classifiers that no policy uses, with what the kernel still has of them.
    dying: BTreeMap<u32, BTreeSet<Identity>>,
    /// Entries of `nx_class`, stale ones included.
    class_entries: usize,
}

/// A policy in the kernel.
#[derive(Default)]
pub(crate) struct LoadedPolicy {
    /// `None` for one that an earlier process left and that nobody has asked for yet.
    tables: Option<Arc<PolicyTables>>,
    classifier: u32,
    range: Range,
    /// Decisions by the tables' classes (for an unclaimed policy: the distinct ones), with the kernel's indices. Each holds a
    /// reference to what it points to.
    decisions: Vec<Decision>,
    /// For each class of the classifier the index of its decision. Empty if an earlier process left it half done.
    decided: Vec<u32>,
}

/// What [`PolicyStore::ensure`] had to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ensured {
    Unchanged,
    /// An earlier process had loaded the same content.
    Adopted,
    Loaded,
}

impl PolicyStore {
    /// The store over `kernel`'s maps, with what `in_use` policies (those that endpoints name) left there.
    pub(crate) fn open(kernel: &Loaded, in_use: &BTreeSet<u32>) -> Result<Self> {
        let mut store = Self {
            policies: kernel.map()?,
            classes: kernel.map()?,
            decisions: Ranges::new(kernel.map()?),
            ports: Pool::new(kernel.map()?),
            blocks: Pool::new(kernel.map()?),
            verdicts: Pool::new(kernel.map()?),
            loaded: BTreeMap::new(),
            by_key: HashMap::new(),
            classifiers: BTreeMap::new(),
            retired: BTreeMap::new(),
            stale: BTreeSet::new(),
            stale_ranges: Vec::new(),
            dead: BTreeMap::new(),
            dead_classes: BTreeSet::new(),
            dying: BTreeMap::new(),
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

    /// Makes `tables` available under a number. `held`: policies that the endpoints which are to have this one have now; what
    /// they tell apart is likely to serve again. On error nothing is changed for whoever uses the old number of this key.
    pub(crate) fn ensure(&mut self, tables: &Arc<PolicyTables>, held: &BTreeSet<u32>) -> Result<(u32, Ensured)> {
        if let Some(&number) = self.by_key.get(&tables.key)
            && let Some(old) = self.loaded.get(&number).and_then(|policy| policy.tables.as_ref())
            && Arc::ptr_eq(old, tables)
        {
            return Ok((number, Ensured::Unchanged));
        }
        let decisions = self.acquire_decisions(tables, 0)?;
        if let Some((number, decided)) = self.claim(tables, &decisions, held)? {
            if let Some(policy) = self.loaded.get_mut(&number) {
                // The unclaimed policy held references of its own; ours replace them.
                let unclaimed = std::mem::replace(&mut policy.decisions, decisions);
                policy.decided = decided;
                policy.tables = Some(tables.clone());
                self.release_decisions(&unclaimed);
            }
            self.by_key.insert(tables.key, number);
            return Ok((number, Ensured::Adopted));
        }
        match self.load(tables, &decisions, held) {
            Ok((number, policy)) => {
                self.loaded.insert(number, LoadedPolicy { decisions, ..policy });
                self.by_key.insert(tables.key, number);
                Ok((number, Ensured::Loaded))
            }
            Err(e) => {
                self.release_decisions(&decisions);
                self.drop_unused_classifiers();
                Err(e)
            }
        }
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
        !(self.retired.is_empty() && self.stale.is_empty() && self.stale_ranges.is_empty())
    }

    /// Whether anything waits for a sweep, after a grace period or before it.
    pub(crate) fn needs_sweep(&self) -> bool {
        self.needs_grace() || !(self.dead.is_empty() && self.dead_classes.is_empty() && self.dying.is_empty())
    }

    /// A grace period has passed: whatever was out of use before it is seen by nobody now.
    pub(crate) fn graced(&mut self) {
        self.dead.append(&mut self.retired);
        self.dead_classes.append(&mut self.stale);
        for range in self.stale_ranges.drain(..) {
            self.decisions.release(range);
        }
    }

    /// Deletes what nobody sees, at most about `limit` classes. `true` when nothing is left to delete.
    pub(crate) fn sweep(&mut self, limit: usize) -> Result<bool> {
        for (number, policy) in std::mem::take(&mut self.dead) {
            self.policies.set(&number, &Policy::default())?;
            self.decisions.release(policy.range);
            self.release_decisions(&policy.decisions);
        }
        self.drop_unused_classifiers();
        let mut keys: Vec<ClassKey> = Vec::new();
        while keys.len() < limit
            && let Some((classifier, identity)) = self.dead_classes.pop_first()
        {
            keys.push(ClassKey { classifier, identity });
        }
        for (&classifier, identities) in &mut self.dying {
            while keys.len() < limit
                && let Some(identity) = identities.pop_first()
            {
                keys.push(ClassKey { classifier, identity });
            }
        }
        self.class_entries -= self.classes.remove_many(&keys)?.min(self.class_entries);
        self.dying.retain(|_, identities| !identities.is_empty());
        self.sweep_pools();
        Ok(self.dying.is_empty() && self.dead_classes.is_empty())
    }

    /// A classifier goes with the last policy that uses it: then no packet looks at it any more.
    fn drop_unused_classifiers(&mut self) {
        let policies = self.loaded.values().chain(self.retired.values()).chain(self.dead.values());
        let used: BTreeSet<u32> = policies.map(|policy| policy.classifier).collect();
        let unused: Vec<u32> = self.classifiers.keys().copied().filter(|number| !used.contains(number)).collect();
        for number in unused {
            let members = self.classifiers.remove(&number).unwrap_or_default().members;
            let gone = self.dying.entry(number).or_default();
            gone.extend(members.iter().map(|(identity, _)| identity));
            for left in [&mut self.stale, &mut self.dead_classes] {
                let own: Vec<_> = left.range((number, Identity(0))..=(number, Identity(u32::MAX))).copied().collect();
                for entry in own {
                    left.remove(&entry);
                    gone.insert(entry.1);
                }
            }
        }
    }

    /// Frees table entries without references. Nothing that a packet can reach refers to them: references are given back
    /// only by policies that are dead, or were never in use.
    fn sweep_pools(&mut self) {
        let Self { ports, blocks, verdicts, .. } = self;
        let mut lower: Vec<Slot> = Vec::new();
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

    /// Policies through which a packet may look at `classifier`, those in force first.
    fn users(&mut self, classifier: u32) -> impl Iterator<Item = (u32, &mut LoadedPolicy)> {
        let all = self.loaded.iter_mut().chain(&mut self.retired).map(|(number, policy)| (*number, policy));
        all.filter(move |(_, policy)| policy.classifier == classifier && !policy.decided.is_empty())
    }

    fn full(&self) -> Error {
        Error::TableFull { table: "nx_class", entries: self.classes.raw().max_entries() }
    }

    /// Used and available entries of each table.
    pub(crate) fn pressure(&self) -> [(&'static str, u32, u32); 6] {
        let numbers = (self.loaded.len() + self.retired.len() + self.dead.len()) as u32;
        let policies = self.loaded.values().chain(self.retired.values()).chain(self.dead.values());
        let decisions = 1 + policies.map(|policy| policy.decided.len()).sum::<usize>();
        [
            ("nx_policy", numbers, self.policies.raw().max_entries()),
            ("nx_class", self.class_entries as u32, self.classes.raw().max_entries()),
            ("nx_decision", decisions as u32, self.decisions.capacity()),
            ("nx_ports", self.ports.used(), self.ports.capacity()),
            ("nx_block", self.blocks.used(), self.blocks.capacity()),
            ("nx_verdict", self.verdicts.used(), self.verdicts.capacity()),
        ]
    }
}

impl LoadedPolicy {
    /// What the kernel has to hold for it, by the classifier's classes.
    fn kernel(&self) -> impl Iterator<Item = Decision> + '_ {
        kernel(&self.decisions, &self.decided)
    }

    fn entry(&self) -> Policy {
        Policy { classifier: self.classifier, base: self.range.start }
    }
}

fn kernel<'a>(decisions: &'a [Decision], decided: &'a [u32]) -> impl Iterator<Item = Decision> + 'a {
    decided.iter().map(|index| decisions.get(*index as usize).copied().unwrap_or_default())
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
