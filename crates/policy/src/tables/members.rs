//! Which identity is of which class: a map that is cheap to copy and to compare with a copy of itself.
//!
//! Tables are published to the datapath after every new identity, and compared there with what is loaded. Both would cost
//! time in the number of identities; here they cost time in the number of changes since the last consolidation.

use std::collections::BTreeMap;
use std::sync::Arc;

use nexin_abi::Identity;

/// Changes are kept apart until there are this many.
const CONSOLIDATE: usize = 256;

#[derive(Clone, Debug, Default)]
pub struct Members {
    base: Arc<BTreeMap<Identity, u32>>,
    /// What differs from `base`; `None` = gone.
    changes: BTreeMap<Identity, Option<u32>>,
    len: usize,
}

impl Members {
    pub fn get(&self, identity: Identity) -> Option<u32> {
        match self.changes.get(&identity) {
            Some(change) => *change,
            None => self.base.get(&identity).copied(),
        }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Sets an identity's class; returns the one it had.
    pub fn insert(&mut self, identity: Identity, class: u32) -> Option<u32> {
        let before = self.get(identity);
        if before != Some(class) {
            self.len += usize::from(before.is_none());
            self.change(identity, Some(class));
        }
        before
    }

    pub fn remove(&mut self, identity: Identity) -> Option<u32> {
        let before = self.get(identity)?;
        self.len -= 1;
        self.change(identity, None);
        Some(before)
    }

    /// Identities with their classes, by number.
    pub fn iter(&self) -> impl Iterator<Item = (Identity, u32)> + '_ {
        let mut changed = self.changes.iter().peekable();
        let mut kept = self.base.iter().filter(|(identity, _)| !self.changes.contains_key(identity)).peekable();
        std::iter::from_fn(move || {
            loop {
                let first = match (kept.peek(), changed.peek()) {
                    (Some((kept_id, _)), Some((changed_id, _))) => changed_id < kept_id,
                    (None, Some(_)) => true,
                    (_, None) => false,
                };
                if !first {
                    return kept.next().map(|(identity, class)| (*identity, *class));
                }
                if let (identity, Some(class)) = changed.next()? {
                    return Some((*identity, *class));
                }
            }
        })
    }

    /// Identities whose class is another than in `old` (or that are in one of the two only).
    pub fn changed_since(&self, old: &Self) -> Vec<Identity> {
        let differs = |identity: &Identity| self.get(*identity) != old.get(*identity);
        let mut candidates: Vec<Identity> = self.changes.keys().chain(old.changes.keys()).copied().collect();
        if !Arc::ptr_eq(&self.base, &old.base) {
            candidates.extend(self.base.keys().chain(old.base.keys()));
        }
        candidates.sort_unstable();
        candidates.dedup();
        candidates.retain(differs);
        candidates
    }

    fn change(&mut self, identity: Identity, class: Option<u32>) {
        self.changes.insert(identity, class);
        // While nobody else has the base, a change of it is as cheap as one beside it.
        if self.changes.len() >= CONSOLIDATE || Arc::get_mut(&mut self.base).is_some() {
            let base = Arc::make_mut(&mut self.base);
            for (identity, class) in std::mem::take(&mut self.changes) {
                match class {
                    Some(class) => base.insert(identity, class),
                    None => base.remove(&identity),
                };
            }
        }
    }
}

impl PartialEq for Members {
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len && self.changed_since(other).is_empty()
    }
}

impl FromIterator<(Identity, u32)> for Members {
    fn from_iter<I: IntoIterator<Item = (Identity, u32)>>(members: I) -> Self {
        let base: BTreeMap<Identity, u32> = members.into_iter().collect();
        Self { len: base.len(), base: Arc::new(base), changes: BTreeMap::new() }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_map_and_knows_what_changed(
            steps in proptest::collection::vec((0_u32..300, proptest::option::of(0_u32..4), 0_u8..12), 0..900),
        ) {
            let mut plain: BTreeMap<Identity, u32> = BTreeMap::new();
            let mut members = Members::default();
            let (mut old, mut old_plain) = (members.clone(), plain.clone());
            for (identity, class, copy) in steps {
                let identity = Identity(identity);
                let before = match class {
                    Some(class) => (members.insert(identity, class), plain.insert(identity, class)),
                    None => (members.remove(identity), plain.remove(&identity)),
                };
                assert_eq!(before.0, before.1);
                if copy == 0 {
                    (old, old_plain) = (members.clone(), plain.clone());
                }
            }
            assert!(members.iter().eq(plain.iter().map(|(identity, class)| (*identity, *class))));
            assert_eq!(members.len(), plain.len());
            let changed: Vec<Identity> = (0..300).map(Identity)
                .filter(|identity| plain.get(identity) != old_plain.get(identity)).collect();
            assert_eq!(members.changed_since(&old), changed);
            assert_eq!(members == old, plain == old_plain);
            assert_eq!(plain.into_iter().collect::<Members>(), members);
        }
    }
}
