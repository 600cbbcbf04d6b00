//! The decision tables of `nexin-verdict` where the kernel keeps them.

use nexin_abi::Identity;
use nexin_abi::maps::policy::{ClassKey, Decision, Policy, Slot, Verdict};
use nexin_verdict::Tables;

use crate::maps;

/// The tables in the kernel's maps.
pub struct Kernel;

impl Tables for Kernel {
    #[inline(always)]
    fn policy(&self, policy: u32) -> Option<Policy> {
        maps::POLICIES.get(&policy)
    }

    #[inline(always)]
    fn class(&self, classifier: u32, identity: Identity) -> Option<u32> {
        maps::CLASSES.get(&ClassKey { classifier, identity })
    }

    #[inline(always)]
    fn decision(&self, index: u32) -> Option<Decision> {
        maps::DECISIONS.peek(&index).copied()
    }

    #[inline(always)]
    fn port(&self, table: u32, high: u8) -> Option<Slot> {
        maps::PORTS.peek(&table).map(|page| page.0[usize::from(high)])
    }

    #[inline(always)]
    fn block(&self, block: u32, low: u8) -> Option<Slot> {
        maps::BLOCKS.peek(&block).map(|page| page.0[usize::from(low)])
    }

    #[inline(always)]
    fn verdict(&self, index: u32) -> Option<Verdict> {
        maps::VERDICTS.peek(&index).copied()
    }
}
