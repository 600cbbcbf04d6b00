//! What a change of an identity adds to tables that are loaded already.

use nexin_abi::maps::policy::{Decision, Page, Verdict};
use nexin_model::Identity;

use crate::tables::{PolicyKey, PolicyTables};

/// Change of one policy's tables: entries to append, then a member to set or to take away.
#[derive(Clone, Debug, PartialEq)]
pub struct Extension {
    pub key: PolicyKey,
    pub identity: Identity,
    pub change: MemberChange,
    /// Each list with the index its first entry gets.
    pub decisions: (usize, Vec<Decision>),
    pub ports: (usize, Vec<Page>),
    pub blocks: (usize, Vec<Page>),
    pub verdicts: (usize, Vec<Verdict>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemberChange {
    /// Is of this class now.
    Joins(u32),
    /// Is "everyone else" now (or gone).
    Leaves,
}

/// Lengths of a policy's lists at some moment.
pub(super) struct Mark {
    decisions: usize,
    ports: usize,
    blocks: usize,
    verdicts: usize,
}

impl Mark {
    pub(super) fn of(tables: &PolicyTables) -> Self {
        Self {
            decisions: tables.decisions.len(),
            ports: tables.ports.len(),
            blocks: tables.blocks.len(),
            verdicts: tables.verdicts.len(),
        }
    }

    /// What came since.
    pub(super) fn extension(self, tables: &PolicyTables, identity: Identity, change: MemberChange) -> Extension {
        Extension {
            key: tables.key,
            identity,
            change,
            decisions: (self.decisions, tables.decisions[self.decisions..].to_vec()),
            ports: (self.ports, tables.ports[self.ports..].to_vec()),
            blocks: (self.blocks, tables.blocks[self.blocks..].to_vec()),
            verdicts: (self.verdicts, tables.verdicts[self.verdicts..].to_vec()),
        }
    }
}

impl PolicyTables {
    /// Tables without any entry: nothing can be decided by them yet.
    pub(super) fn empty(key: PolicyKey) -> Self {
        Self {
            key,
            everyone_else: 0,
            members: crate::tables::Members::default(),
            decisions: Vec::new(),
            ports: Vec::new(),
            blocks: Vec::new(),
            verdicts: Vec::new(),
        }
    }

    /// Brings a copy of the tables up to date. Extensions must come in the order the engine gave them.
    ///
    /// Returns false, and changes nothing, when an extension before this one is missing.
    pub fn extend(&mut self, extension: &Extension) -> bool {
        let fits = self.key == extension.key
            && self.decisions.len() == extension.decisions.0
            && self.ports.len() == extension.ports.0
            && self.blocks.len() == extension.blocks.0
            && self.verdicts.len() == extension.verdicts.0;
        if !fits {
            return false;
        }
        self.decisions.extend_from_slice(&extension.decisions.1);
        self.ports.extend_from_slice(&extension.ports.1);
        self.blocks.extend_from_slice(&extension.blocks.1);
        self.verdicts.extend_from_slice(&extension.verdicts.1);
        match extension.change {
            MemberChange::Joins(class) => self.members.insert(extension.identity, class),
            MemberChange::Leaves => self.members.remove(extension.identity),
        };
        true
    }
}
