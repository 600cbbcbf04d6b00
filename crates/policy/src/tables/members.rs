//! Which identity is of which class: a map that is cheap to copy and to compare with a copy of itself.
//!
//! Tables are published to the datapath after every new identity, and compared there with what is loaded. Identities are
//! numbered densely, so classes lie in pieces by number; a copy shares all pieces but those that one of both changed since.

use std::collections::BTreeMap;
use std::sync::Arc;

use nexin_abi::Identity;

/// Identities of a piece: one costs its bytes even where it has a single member.
const PIECE: u32 = 64;
/// No class.
const NONE: u32 = u32::MAX;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Members {
    /// Classes of [`PIECE`] identities each, by the first one's number divided by that. None is without a member.
    pieces: BTreeMap<u32, Arc<[u32; PIECE as usize]>>,
    len: usize,
}

impl Members {
    pub fn get(&self, identity: Identity) -> Option<u32> {
        self.pieces.get(&(identity.0 / PIECE)).map(|piece| piece[place(identity)]).filter(|class| *class != NONE)
    }

    pub fn contains(&self, identity: Identity) -> bool {
        self.get(identity).is_some()
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Sets an identity's class (not `u32::MAX`); returns the one it had.
    pub fn insert(&mut self, identity: Identity, class: u32) -> Option<u32> {
        let before = self.get(identity);
        if before != Some(class) {
            let piece = self.pieces.entry(identity.0 / PIECE).or_insert_with(|| Arc::new([NONE; PIECE as usize]));
            Arc::make_mut(piece)[place(identity)] = class;
            self.len += usize::from(before.is_none());
        }
        before
    }

    pub fn remove(&mut self, identity: Identity) -> Option<u32> {
        let before = self.get(identity)?;
        let number = identity.0 / PIECE;
        if let Some(piece) = self.pieces.get_mut(&number) {
            let piece = Arc::make_mut(piece);
            piece[place(identity)] = NONE;
            if piece.iter().all(|class| *class == NONE) {
                self.pieces.remove(&number);
            }
        }
        self.len -= 1;
        Some(before)
    }

    /// Identities with their classes, by number.
    pub fn iter(&self) -> impl Iterator<Item = (Identity, u32)> + '_ {
        self.pieces.iter().flat_map(|(number, piece)| {
            let all = piece.iter().zip(number * PIECE..).filter(|(class, _)| **class != NONE);
            all.map(|(class, identity)| (Identity(identity), *class))
        })
    }

    /// Identities whose class is another than in `old` (or that are in one of the two only), by number.
    pub fn changed_since(&self, old: &Self) -> Vec<Identity> {
        let same = |number: &u32| match (self.pieces.get(number), old.pieces.get(number)) {
            (Some(new), Some(old)) => Arc::ptr_eq(new, old),
            _ => false,
        };
        let gone = old.pieces.keys().filter(|number| !self.pieces.contains_key(number));
        let mut numbers: Vec<u32> = self.pieces.keys().chain(gone).copied().filter(|number| !same(number)).collect();
        numbers.sort_unstable();
        let identities = numbers.into_iter().flat_map(|number| (number * PIECE..).take(PIECE as usize)).map(Identity);
        identities.filter(|identity| self.get(*identity) != old.get(*identity)).collect()
    }
}

fn place(identity: Identity) -> usize {
    (identity.0 % PIECE) as usize
}

impl FromIterator<(Identity, u32)> for Members {
    fn from_iter<I: IntoIterator<Item = (Identity, u32)>>(members: I) -> Self {
        let mut all = Self::default();
        all.extend(members);
        all
    }
}

impl Extend<(Identity, u32)> for Members {
    fn extend<I: IntoIterator<Item = (Identity, u32)>>(&mut self, members: I) {
        for (identity, class) in members {
            self.insert(identity, class);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use std::collections::BTreeMap;

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
