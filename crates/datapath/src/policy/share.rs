//! Which classifier a policy gets, and what has to be written for it.

use std::collections::BTreeSet;

use nexin_abi::Identity;
use nexin_abi::maps::policy::ClassKey;
use nexin_policy::tables::PolicyTables;

use super::classify::{Classifier, Fit};
use super::grid::{ANY, Grid};
use super::{PolicyStore, kernel};
use crate::error::Result;

/// Classes beside twice those a policy needs that a classifier may have for it.
const SPARE_CLASSES: usize = 64;

impl PolicyStore {
    /// A classifier for `tables`, and the tables' class for each of its classes: one that is there if it serves or can be made
    /// to serve cheaply, else a new one.
    pub(super) fn classify(&mut self, tables: &PolicyTables, held: &BTreeSet<u32>) -> Result<(u32, Vec<u32>)> {
        let same = self.classifiers.iter().find_map(|(number, found)| Some((*number, found.is_of(tables)?)));
        if let Some(found) = same {
            return Ok(found);
        }
        let held: BTreeSet<u32> =
            held.iter().filter_map(|number| self.loaded.get(number)).map(|policy| policy.classifier).collect();
        let (mut best, mut cost) = (None, tables.members.len() / 2);
        for number in held {
            // One that tells many more apart than is needed would cost every policy that uses it.
            let spare = 2 * tables.decisions.len() + SPARE_CLASSES;
            let Some(found) = self.classifiers.get(&number).filter(|found| found.classes <= spare) else { continue };
            let fit = found.fit(tables);
            if fit.moves.len() <= cost {
                cost = fit.moves.len();
                best = Some((number, fit));
            }
        }
        match best {
            Some((number, fit)) => Ok((number, self.refine(number, fit, tables.everyone_else)?)),
            None => {
                let (classifier, decided) = Classifier::of(tables);
                let taken = |number: &u32| self.classifiers.contains_key(number) || self.dying.contains_key(number);
                let number = (1..u32::MAX).find(|number| !taken(number)).ok_or_else(|| self.full())?;
                let entries: Vec<_> = classifier.members.iter().collect();
                self.write_classes(number, &entries)?;
                self.classifiers.insert(number, classifier);
                Ok((number, decided))
            }
        }
    }

    /// Moves identities to classes of their own where `fit` asks for it. Nothing changes for policies that use the classifier.
    fn refine(&mut self, number: u32, fit: Fit, everyone_else: u32) -> Result<Vec<u32>> {
        let mut columns: Vec<Vec<u32>> = self.users(number).map(|(_, policy)| policy.decided.clone()).collect();
        columns.push(fit.decided.iter().map(|class| class.unwrap_or(ANY)).collect());
        let mut grid = Grid::new(columns, fit.decided.len());
        let mut moved = Vec::with_capacity(fit.moves.len());
        for (identity, class, wanted) in fit.moves {
            let mut row = grid.row(class);
            if let Some(last) = row.last_mut() {
                *last = wanted;
            }
            moved.push((identity, grid.place(row)));
        }
        let (classes, mut columns) = (grid.classes(), grid.into_columns());
        let decided = columns.pop().unwrap_or_default();
        self.widen(number, classes, columns)?;
        self.write_classes(number, &moved)?;
        if let Some(classifier) = self.classifiers.get_mut(&number) {
            classifier.members.extend(moved);
        }
        Ok(decided.into_iter().map(|class| if class == ANY { everyone_else } else { class }).collect())
    }

    /// Gives every policy that uses a classifier its decisions for the classes it is about to have: `columns` as
    /// [`Self::users`] come.
    pub(super) fn widen(&mut self, number: u32, classes: usize, columns: Vec<Vec<u32>>) -> Result<()> {
        let known = self.classifiers.get(&number).map_or(0, |classifier| classifier.classes);
        let users: Vec<u32> = self.users(number).map(|(user, _)| user).collect();
        for (user, column) in users.into_iter().zip(columns) {
            let Some(policy) = self.loaded.get_mut(&user).or(self.retired.get_mut(&user)) else { continue };
            if column.len() <= policy.range.room as usize {
                let start = policy.range.start + known as u32;
                self.decisions.write(start, kernel(&policy.decisions, &column[known..]))?;
                policy.decided = column;
                continue;
            }
            // The copy says what the original says, so it does not matter which of the two a packet reads.
            let range = self.decisions.allocate(column.len())?;
            self.decisions.write(range.start, kernel(&policy.decisions, &column))?;
            policy.decided = column;
            self.stale_ranges.push(std::mem::replace(&mut policy.range, range));
            self.policies.set(&user, &policy.entry())?;
        }
        if let Some(classifier) = self.classifiers.get_mut(&number) {
            classifier.classes = classes;
        }
        Ok(())
    }

    /// Classes of identities: of all of them or, where there is no room, of none.
    pub(super) fn write_classes(&mut self, number: u32, classes: &[(Identity, u32)]) -> Result<()> {
        let known = self.classifiers.get(&number);
        let gone = |identity| [&self.stale, &self.dead_classes].iter().any(|gone| gone.contains(&(number, identity)));
        // An identity that went and came back before the sweep still has its entry.
        let is_new = |identity: &Identity| {
            !gone(*identity) && known.is_none_or(|classifier| !classifier.members.contains(*identity))
        };
        let new: Vec<ClassKey> = classes
            .iter()
            .filter(|(identity, _)| is_new(identity))
            .map(|(identity, _)| ClassKey { classifier: number, identity: *identity })
            .collect();
        if self.class_entries + new.len() > self.classes.raw().max_entries() as usize {
            return Err(self.full());
        }
        let entries: Vec<(ClassKey, u32)> = classes
            .iter()
            .map(|(identity, class)| (ClassKey { classifier: number, identity: *identity }, *class))
            .collect();
        if let Err(e) = self.classes.set_many(&entries) {
            self.classes.remove_many(&new)?;
            return Err(if matches!(e, nexin_bpf::Error::Full { .. }) { self.full() } else { e.into() });
        }
        self.class_entries += new.len();
        for (identity, _) in classes {
            self.stale.remove(&(number, *identity));
            self.dead_classes.remove(&(number, *identity));
        }
        Ok(())
    }
}
