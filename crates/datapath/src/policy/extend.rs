//! Identities that come and go: loaded policies are extended in place, all that share a classifier together.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use nexin_abi::Identity;
use nexin_policy::tables::{PolicyKey, PolicyTables};

use super::PolicyStore;
use super::grid::Grid;
use crate::error::{Error, Result};

/// What [`PolicyStore::extend`] did.
#[derive(Default)]
pub(crate) struct Extended {
    pub(crate) policies: usize,
    /// No room: these stay as they were.
    pub(crate) failed: BTreeMap<PolicyKey, Error>,
}

/// A loaded policy and what it is to become.
struct Change {
    number: u32,
    tables: Arc<PolicyTables>,
    identities: Vec<Identity>,
}

impl PolicyStore {
    /// Brings those of the loaded policies up to date that `wanted` has with more or fewer identities and no other change.
    pub(crate) fn extend(&mut self, wanted: &BTreeMap<PolicyKey, Arc<PolicyTables>>) -> Result<Extended> {
        let mut changes: BTreeMap<u32, Vec<Change>> = BTreeMap::new();
        for tables in wanted.values() {
            let Some(&number) = self.by_key.get(&tables.key) else { continue };
            let Some(policy) = self.loaded.get(&number) else { continue };
            let Some(old) = policy.tables.as_ref().filter(|old| !Arc::ptr_eq(old, tables)) else { continue };
            let Some(identities) = extension(old, tables) else { continue };
            let change = Change { number, tables: tables.clone(), identities };
            changes.entry(policy.classifier).or_default().push(change);
        }
        let mut extended = Extended::default();
        for (classifier, changes) in changes {
            match self.extend_users(classifier, &changes) {
                Ok(()) => extended.policies += changes.len(),
                Err(Error::TableFull { table, entries }) => {
                    let keys = changes.iter().map(|change| change.tables.key);
                    extended.failed.extend(keys.map(|key| (key, Error::TableFull { table, entries })));
                }
                Err(e) => return Err(e),
            }
        }
        Ok(extended)
    }

    /// `changes` of policies that share `classifier`: all of them or none.
    fn extend_users(&mut self, classifier: u32, changes: &[Change]) -> Result<()> {
        let mut appended: Vec<(u32, usize)> = Vec::new();
        for Change { number, tables, .. } in changes {
            let known = self.loaded.get(number).map_or(0, |policy| policy.decisions.len());
            match self.acquire_decisions(tables, known) {
                Ok(decisions) => {
                    if let Some(policy) = self.loaded.get_mut(number) {
                        policy.decisions.extend(decisions);
                    }
                    appended.push((*number, known));
                }
                Err(e) => {
                    self.take_back(&appended);
                    return Err(e);
                }
            }
        }
        if let Err(e) = self.reclassify(classifier, changes) {
            self.take_back(&appended);
            return Err(e);
        }
        for Change { number, tables, .. } in changes {
            if let Some(policy) = self.loaded.get_mut(number) {
                policy.tables = Some(tables.clone());
            }
        }
        Ok(())
    }

    /// Drops decisions that were added a moment ago. Classes that lead to them may be in the kernel, but no identity is of one.
    fn take_back(&mut self, appended: &[(u32, usize)]) {
        for (number, known) in appended {
            let Some(policy) = self.loaded.get_mut(number) else { continue };
            let decisions = policy.decisions.split_off((*known).min(policy.decisions.len()));
            for decided in policy.decided.iter_mut().filter(|decided| **decided as usize >= *known) {
                *decided = 0;
            }
            self.release_decisions(&decisions);
        }
    }

    /// Gives each changed identity the class that says of it what every policy of the classifier says.
    fn reclassify(&mut self, classifier: u32, changes: &[Change]) -> Result<()> {
        let Some(known) = self.classifiers.get(&classifier).cloned() else { return Ok(()) };
        let (mut columns, mut wanted) = (Vec::new(), Vec::new());
        let in_force: BTreeSet<u32> = self.loaded.keys().copied().collect();
        for (number, policy) in self.users(classifier) {
            columns.push(policy.decided.clone());
            let change = changes.iter().find(|change| change.number == number);
            wanted.push((in_force.contains(&number), change.map(|change| change.tables.clone())));
        }
        let mut grid = Grid::new(columns, known.classes);
        let everyone_else = grid.row(0);
        let identities: BTreeSet<Identity> = changes.iter().flat_map(|change| &change.identities).copied().collect();
        let (mut joined, mut left) = (Vec::new(), Vec::new());
        for identity in identities {
            let mut row = grid.row(known.class(identity));
            for (decided, (_, tables)) in row.iter_mut().zip(&wanted) {
                if let Some(tables) = tables {
                    *decided = tables.members.get(identity).unwrap_or(tables.everyone_else);
                }
            }
            let told_apart = row
                .iter()
                .zip(&everyone_else)
                .zip(&wanted)
                .any(|((own, others), (counts, _))| *counts && own != others);
            if told_apart {
                joined.push((identity, grid.place(row)));
            } else if known.members.contains(identity) {
                left.push(identity);
            }
        }
        let classes = grid.classes();
        self.widen(classifier, classes, grid.into_columns())?;
        self.write_classes(classifier, &joined)?;
        let Some(found) = self.classifiers.get_mut(&classifier) else { return Ok(()) };
        found.members.extend(joined);
        for identity in left {
            found.members.remove(identity);
            self.stale.insert((classifier, identity));
        }
        Ok(())
    }
}

/// Identities that came or went from `old` to `new`, where nothing else differs but what was appended to the tables.
fn extension(old: &PolicyTables, new: &PolicyTables) -> Option<Vec<Identity>> {
    let appended = new.everyone_else == old.everyone_else
        && new.decisions.starts_with(&old.decisions)
        && new.ports.starts_with(&old.ports)
        && new.blocks.starts_with(&old.blocks)
        && new.verdicts.starts_with(&old.verdicts);
    if !appended {
        return None;
    }
    let changed = new.members.changed_since(&old.members);
    // An identity that changes its class is no extension: the kernel's entry for it would be rewritten in place.
    let moved = |identity: &Identity| old.members.get(*identity).is_some() && new.members.get(*identity).is_some();
    (!changed.iter().any(moved)).then_some(changed)
}
