//! Classifiers: which identities are told apart, apart from what is decided about them.
//!
//! A policy can use any classifier that tells apart at least those that its rules do. So a change of rules keeps the
//! classifier, and a rule about few peers moves those few to classes of their own, which changes nothing for the
//! policies that use the classifier too.

use std::collections::HashMap;

use nexin_abi::Identity;
use nexin_policy::tables::{Members, PolicyTables};

#[derive(Clone, Debug, Default)]
pub(super) struct Classifier {
    /// Identities that are not of class 0.
    pub(super) members: Members,
    /// How many classes there are, class 0 included.
    pub(super) classes: usize,
}

/// How well a classifier serves a policy.
#[derive(Clone, Debug, Default)]
pub(super) struct Fit {
    /// The policy's class for each of the classifier's; `None` where no identity is of it.
    pub(super) decided: Vec<Option<u32>>,
    /// Identities that the policy tells from others of their class: the class they have and the policy's class.
    pub(super) moves: Vec<(Identity, u32, u32)>,
}

impl Classifier {
    /// The classifier that tells apart exactly what `tables` do, and the tables' class for each of its own.
    pub(super) fn of(tables: &PolicyTables) -> (Self, Vec<u32>) {
        let classes = tables.decisions.len().max(1);
        let members = tables.members.iter().map(|(identity, class)| (identity, own(tables, class))).collect();
        (Self { members, classes }, decided(tables, classes))
    }

    /// Whether it is what [`Self::of`] would make of `tables`; ends at the first difference.
    pub(super) fn is_of(&self, tables: &PolicyTables) -> Option<Vec<u32>> {
        let wanted = tables.members.iter().map(|(identity, class)| (identity, own(tables, class)));
        let same = self.members.len() == tables.members.len() && self.members.iter().eq(wanted);
        same.then(|| decided(tables, self.classes))
    }

    pub(super) fn class(&self, identity: Identity) -> u32 {
        self.members.get(identity).unwrap_or(0)
    }

    /// Each identity that either knows, with this class and the class `tables` have for it.
    pub(super) fn pairs<'a>(&'a self, tables: &'a PolicyTables) -> impl Iterator<Item = (Identity, u32, u32)> + 'a {
        let (mut mine, mut theirs) = (self.members.iter().peekable(), tables.members.iter().peekable());
        std::iter::from_fn(move || {
            let (left, right) =
                (mine.peek().map(|(identity, _)| *identity), theirs.peek().map(|(identity, _)| *identity));
            let first = match (left, right) {
                (Some(left), Some(right)) => left.min(right),
                (left, right) => left.or(right)?,
            };
            let class = mine.next_if(|(identity, _)| *identity == first).map_or(0, |(_, class)| class);
            let wanted =
                theirs.next_if(|(identity, _)| *identity == first).map_or(tables.everyone_else, |(_, class)| class);
            Some((first, class, wanted))
        })
    }

    /// How it would serve `tables`: each class gets the decision that most of its identities need.
    pub(super) fn fit(&self, tables: &PolicyTables) -> Fit {
        let pairs: Vec<_> = self.pairs(tables).collect();
        let mut counts: HashMap<(u32, u32), usize> = HashMap::new();
        for (_, class, wanted) in &pairs {
            *counts.entry((*class, *wanted)).or_default() += 1;
        }
        let mut best: Vec<Option<(usize, u32)>> = vec![None; self.classes];
        for ((class, wanted), count) in counts {
            if let Some(best) = best.get_mut(class as usize) {
                *best = (*best).max(Some((count, wanted)));
            }
        }
        let mut decided: Vec<Option<u32>> = best.into_iter().map(|best| Some(best?.1)).collect();
        // Class 0 is everybody whose number is not known.
        if let Some(first) = decided.first_mut() {
            *first = Some(tables.everyone_else);
        }
        let fits = |class: u32, wanted| decided.get(class as usize).copied().flatten() == Some(wanted);
        let moves = pairs.into_iter().filter(|(_, class, wanted)| !fits(*class, *wanted)).collect();
        Fit { decided, moves }
    }
}

/// The classifier's class for one of the tables': the same number, but class 0 is everyone else.
fn own(tables: &PolicyTables, class: u32) -> u32 {
    match class {
        _ if class == tables.everyone_else => 0,
        0 => tables.everyone_else,
        _ => class,
    }
}

/// The tables' class for each of `classes`.
fn decided(tables: &PolicyTables, classes: usize) -> Vec<u32> {
    let known = tables.decisions.len() as u32;
    (0..classes as u32)
        .map(|class| own(tables, class))
        .map(|class| if class < known { class } else { tables.everyone_else })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use nexin_abi::maps::policy::Decision;
    use nexin_policy::tables::PolicyKey;
    use proptest::prelude::*;

    use super::*;

    fn tables(everyone_else: u32, members: &BTreeMap<u32, u32>) -> PolicyTables {
        PolicyTables {
            key: PolicyKey(1),
            everyone_else,
            members: members.iter().map(|(identity, class)| (Identity(*identity), *class)).collect(),
            decisions: vec![Decision::default(); 4],
            ports: Vec::new(),
            blocks: Vec::new(),
            verdicts: Vec::new(),
        }
    }

    proptest! {
        #[test]
        fn a_fit_decides_for_everybody_or_moves_them(
            old in proptest::collection::btree_map(0_u32..40, 0_u32..4, 0..40),
            new in proptest::collection::btree_map(0_u32..40, 0_u32..4, 0..40),
            everyone_else in 0_u32..4,
        ) {
            let without = |members: &BTreeMap<u32, u32>, everyone: u32| -> BTreeMap<u32, u32> {
                members.iter().filter(|(_, class)| **class != everyone).map(|(i, class)| (*i, *class)).collect()
            };
            let (old, new) = (tables(0, &without(&old, 0)), tables(everyone_else, &without(&new, everyone_else)));
            let (classifier, decided) = Classifier::of(&old);
            prop_assert_eq!(classifier.is_of(&old), Some(decided));
            let fit = classifier.fit(&new);
            for identity in (0..41).map(Identity) {
                let wanted = new.members.get(identity).unwrap_or(everyone_else);
                let moved = fit.moves.iter().find(|(id, ..)| *id == identity);
                match moved {
                    Some((_, class, to)) => prop_assert_eq!((*class, *to), (classifier.class(identity), wanted)),
                    None => prop_assert_eq!(fit.decided[classifier.class(identity) as usize], Some(wanted)),
                }
            }
            let (own, own_decided) = Classifier::of(&new);
            prop_assert!(own.fit(&new).moves.is_empty());
            for identity in (0..41).map(Identity) {
                let wanted = new.members.get(identity).unwrap_or(everyone_else);
                prop_assert_eq!(own_decided[own.class(identity) as usize], wanted);
            }
        }
    }

    #[test]
    fn the_many_stay_where_they_are() {
        let all: BTreeMap<u32, u32> = (0..100).map(|identity| (identity, 1)).collect();
        let (classifier, _) = Classifier::of(&tables(0, &all));
        let mut but_one = all.clone();
        but_one.insert(0, 2);
        let fit = classifier.fit(&tables(0, &but_one));
        assert_eq!(fit.moves, [(Identity(0), 1, 2)]);
        assert!(
            classifier.fit(&tables(0, &BTreeMap::new())).moves.is_empty(),
            "nobody is told apart: no reason to move"
        );
    }
}
