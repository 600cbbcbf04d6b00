//! A set of slots (dense small numbers): a sorted list while small, a bitmap once that is smaller.

/// From this many members on, a bitmap of 64 Ki slots takes no more room than the list.
const DENSE_FROM: usize = 2_048;

/// Set of slots.
#[derive(Clone, Debug)]
pub(crate) enum SlotSet {
    /// Sorted, without duplicates.
    Sparse(Vec<u32>),
    Dense {
        words: Vec<u64>,
        len: usize,
    },
}

impl Default for SlotSet {
    fn default() -> Self {
        Self::Sparse(Vec::new())
    }
}

impl SlotSet {
    /// `slots` must be sorted and without duplicates.
    pub(crate) fn from_sorted(slots: Vec<u32>) -> Self {
        let mut set = Self::Sparse(slots);
        set.densify();
        set
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Sparse(slots) => slots.len(),
            Self::Dense { len, .. } => *len,
        }
    }

    #[inline]
    pub(crate) fn contains(&self, slot: u32) -> bool {
        match self {
            Self::Sparse(slots) => slots.binary_search(&slot).is_ok(),
            Self::Dense { words, .. } => {
                words.get(slot as usize / 64).is_some_and(|word| word & (1 << (slot % 64)) != 0)
            }
        }
    }

    /// Returns whether `slot` was absent.
    pub(crate) fn insert(&mut self, slot: u32) -> bool {
        match self {
            Self::Sparse(slots) => {
                // Slots mostly come in rising order.
                if slots.last().is_none_or(|last| *last < slot) {
                    slots.push(slot);
                } else {
                    match slots.binary_search(&slot) {
                        Ok(_) => return false,
                        Err(index) => slots.insert(index, slot),
                    }
                }
                self.densify();
                true
            }
            Self::Dense { words, len } => {
                let index = slot as usize / 64;
                if index >= words.len() {
                    words.resize(index + 1, 0);
                }
                let bit = 1 << (slot % 64);
                let absent = words[index] & bit == 0;
                words[index] |= bit;
                *len += usize::from(absent);
                absent
            }
        }
    }

    /// Returns whether `slot` was present.
    pub(crate) fn remove(&mut self, slot: u32) -> bool {
        match self {
            Self::Sparse(slots) => slots.binary_search(&slot).map(|index| slots.remove(index)).is_ok(),
            Self::Dense { words, len } => {
                let Some(word) = words.get_mut(slot as usize / 64) else { return false };
                let bit = 1 << (slot % 64);
                let present = *word & bit != 0;
                *word &= !bit;
                *len -= usize::from(present);
                present
            }
        }
    }

    /// Members in rising order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        let (list, words): (&[u32], &[u64]) = match self {
            Self::Sparse(slots) => (slots, &[]),
            Self::Dense { words, .. } => (&[], words),
        };
        let bits = words.iter().enumerate().filter(|(_, word)| **word != 0).flat_map(|(index, word)| {
            let base = index as u32 * 64;
            Bits(*word).map(move |bit| base + bit)
        });
        list.iter().copied().chain(bits)
    }

    /// Members that `keep` holds for. Word by word where both sets are bitmaps.
    pub(crate) fn intersection(&self, other: &Self) -> Self {
        match (self, other) {
            (Self::Dense { words: a, .. }, Self::Dense { words: b, .. }) => {
                Self::from_words(a.iter().zip(b).map(|(a, b)| a & b).collect())
            }
            (Self::Sparse(slots), other) | (other, Self::Sparse(slots)) => {
                Self::Sparse(slots.iter().copied().filter(|slot| other.contains(*slot)).collect())
            }
        }
    }

    pub(crate) fn difference(&self, other: &Self) -> Self {
        match (self, other) {
            (Self::Dense { words: a, .. }, Self::Dense { words: b, .. }) => {
                let b = b.iter().copied().chain(std::iter::repeat(0));
                Self::from_words(a.iter().zip(b).map(|(a, b)| a & !b).collect())
            }
            (Self::Sparse(slots), other) => {
                Self::Sparse(slots.iter().copied().filter(|slot| !other.contains(*slot)).collect())
            }
            (Self::Dense { .. }, Self::Sparse(slots)) => {
                let mut rest = self.clone();
                for slot in slots {
                    rest.remove(*slot);
                }
                rest
            }
        }
    }

    pub(crate) fn union(&self, other: &Self) -> Self {
        let (mut all, more) = if self.len() >= other.len() { (self.clone(), other) } else { (other.clone(), self) };
        match (&mut all, more) {
            (Self::Dense { words, len }, Self::Dense { words: more, .. }) => {
                if words.len() < more.len() {
                    words.resize(more.len(), 0);
                }
                for (word, more) in words.iter_mut().zip(more) {
                    *word |= more;
                }
                *len = words.iter().map(|word| word.count_ones() as usize).sum();
            }
            (Self::Sparse(slots), Self::Sparse(more)) => {
                slots.extend_from_slice(more);
                slots.sort_unstable();
                slots.dedup();
                all.densify();
            }
            (all, more) => {
                for slot in more.iter() {
                    all.insert(slot);
                }
            }
        }
        all
    }

    fn from_words(words: Vec<u64>) -> Self {
        let len = words.iter().map(|word| word.count_ones() as usize).sum();
        Self::Dense { words, len }
    }

    fn densify(&mut self) {
        let Self::Sparse(slots) = self else { return };
        let Some(last) = slots.last().filter(|_| slots.len() >= DENSE_FROM) else { return };
        let mut words = vec![0_u64; *last as usize / 64 + 1];
        for slot in slots.iter() {
            words[*slot as usize / 64] |= 1 << (slot % 64);
        }
        *self = Self::Dense { words, len: slots.len() };
    }
}

struct Bits(u64);

impl Iterator for Bits {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        if self.0 == 0 {
            return None;
        }
        let bit = self.0.trailing_zeros();
        self.0 &= self.0 - 1;
        Some(bit)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn both(slots: &BTreeSet<u32>) -> [SlotSet; 2] {
        let mut words = vec![0_u64; slots.last().map_or(0, |last| *last as usize / 64 + 1)];
        for slot in slots {
            words[*slot as usize / 64] |= 1 << (slot % 64);
        }
        [SlotSet::Sparse(slots.iter().copied().collect()), SlotSet::from_words(words)]
    }

    proptest! {
        #[test]
        fn both_forms_behave_as_a_set(
            a in proptest::collection::btree_set(0_u32..400, 0..60),
            b in proptest::collection::btree_set(0_u32..400, 0..60),
            slot in 0_u32..400,
        ) {
            for left in both(&a) {
                for right in both(&b) {
                    assert!(left.intersection(&right).iter().eq(a.intersection(&b).copied()));
                    assert!(left.difference(&right).iter().eq(a.difference(&b).copied()));
                    assert!(left.union(&right).iter().eq(a.union(&b).copied()));
                    assert_eq!(left.union(&right).len(), a.union(&b).count());
                }
                let mut changed = left.clone();
                assert_eq!(changed.insert(slot), !a.contains(&slot));
                assert!(changed.contains(slot));
                assert!(changed.remove(slot));
                assert!(!changed.remove(slot));
                assert_eq!(changed.len(), changed.iter().count());
            }
        }
    }
}
