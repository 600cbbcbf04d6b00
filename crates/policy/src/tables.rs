//! Compiled form of one direction's rule set: what `datapath` loads, and what `explain` and `simulate` ask.

mod members;

use nexin_abi::Identity;
use nexin_abi::maps::policy::{Decision, Page, Policy, Slot, Verdict};
use nexin_verdict::Tables;

pub use members::Members;

/// Content address of a rule set: equal rules (and equal shadow rules) have equal keys, whoever they select.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PolicyKey(pub u128);

/// Decision tables with indices of their own (from 0); `datapath` maps them to kernel numbers.
///
/// A new identity only ever appends: to `members`, and when it brings a new class to the other lists. Existing entries
/// never change under the same key, so a loaded policy is extended in place, never rewritten.
#[derive(Clone, Debug)]
pub struct PolicyTables {
    pub key: PolicyKey,
    /// Class (index into `decisions`) of identities that are not in `members`.
    pub everyone_else: u32,
    /// Identity -> class, where it differs from `everyone_else`.
    pub members: Members,
    pub decisions: Vec<Decision>,
    pub ports: Vec<Page>,
    pub blocks: Vec<Page>,
    pub verdicts: Vec<Verdict>,
}

impl Tables for PolicyTables {
    fn policy(&self, _policy: u32) -> Option<Policy> {
        Some(Policy { classifier: 1, base: 0 })
    }

    fn class(&self, _classifier: u32, identity: Identity) -> Option<u32> {
        Some(self.members.get(identity).unwrap_or(self.everyone_else))
    }

    fn decision(&self, index: u32) -> Option<Decision> {
        self.decisions.get(index as usize).copied()
    }

    fn port(&self, table: u32, high: u8) -> Option<Slot> {
        self.ports.get(table as usize).map(|page| page.0[usize::from(high)])
    }

    fn block(&self, block: u32, low: u8) -> Option<Slot> {
        self.blocks.get(block as usize).map(|page| page.0[usize::from(low)])
    }

    fn verdict(&self, index: u32) -> Option<Verdict> {
        self.verdicts.get(index as usize).copied()
    }
}
