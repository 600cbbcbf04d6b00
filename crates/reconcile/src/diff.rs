//! What has to change so that actual becomes desired.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;

/// Steps from actual to desired, in no particular order within a kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan<K, V> {
    /// Desired and missing.
    pub insert: Vec<(K, V)>,
    /// There with another value.
    pub update: Vec<(K, V)>,
    /// There, ours, and not desired.
    pub remove: Vec<K>,
    /// Desired, but the place is taken by something that is not ours; left alone.
    pub conflict: Vec<K>,
}

impl<K, V> Default for Plan<K, V> {
    fn default() -> Self {
        Self { insert: Vec::new(), update: Vec::new(), remove: Vec::new(), conflict: Vec::new() }
    }
}

impl<K, V> Plan<K, V> {
    /// Number of changes, conflicts not counted.
    pub fn len(&self) -> usize {
        self.insert.len() + self.update.len() + self.remove.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The plan when everything actual is ours. `desired` has each key once; it is walked a second time only when something
/// has to be removed.
pub fn diff<K, V, D>(desired: D, actual: &HashMap<K, V>) -> Plan<K, V>
where
    K: Eq + Hash + Clone,
    V: PartialEq,
    D: IntoIterator<Item = (K, V)> + Clone,
{
    diff_owned(desired, actual, |_, _| true)
}

/// The plan when only what `ours` accepts may be touched. Mark and sweep: what is desired is marked, what is ours and
/// unmarked goes.
pub fn diff_owned<K, V, D>(desired: D, actual: &HashMap<K, V>, ours: impl Fn(&K, &V) -> bool) -> Plan<K, V>
where
    K: Eq + Hash + Clone,
    V: PartialEq,
    D: IntoIterator<Item = (K, V)> + Clone,
{
    let mut plan = Plan::default();
    let mut marked = 0;
    for (key, value) in desired.clone() {
        let Some(there) = actual.get(&key) else {
            plan.insert.push((key, value));
            continue;
        };
        marked += 1;
        if *there == value {
            continue;
        }
        if ours(&key, there) {
            plan.update.push((key, value));
        } else {
            plan.conflict.push(key);
        }
    }
    if marked < actual.len() {
        let desired: HashSet<K> = desired.into_iter().map(|(key, _)| key).collect();
        let unmarked = actual.iter().filter(|(key, there)| !desired.contains(key) && ours(key, there));
        plan.remove.extend(unmarked.map(|(key, _)| key.clone()));
    }
    plan
}

#[cfg(test)]
mod tests {
    use proptest::collection::hash_map;
    use proptest::prelude::*;

    use super::*;

    fn carry_out(plan: &Plan<u8, u8>, actual: &HashMap<u8, u8>) -> HashMap<u8, u8> {
        let mut result = actual.clone();
        for (key, value) in &plan.insert {
            assert_eq!(result.insert(*key, *value), None, "an insert must not overwrite");
        }
        for (key, value) in &plan.update {
            assert!(result.insert(*key, *value).is_some_and(|old| old != *value), "an update must change something");
        }
        for key in &plan.remove {
            assert!(result.remove(key).is_some(), "only what is there can be removed");
        }
        result
    }

    proptest! {
        #[test]
        fn carrying_the_plan_out_makes_actual_desired(
            desired in hash_map(any::<u8>(), 0u8..3, 0..40),
            actual in hash_map(any::<u8>(), 0u8..3, 0..40),
        ) {
            let plan = diff(desired.clone(), &actual);
            prop_assert!(plan.conflict.is_empty());
            prop_assert_eq!(&carry_out(&plan, &actual), &desired);
            prop_assert!(diff(desired.clone(), &desired).is_empty());
        }

        #[test]
        fn what_is_not_ours_is_never_touched(
            desired in hash_map(any::<u8>(), 0u8..3, 0..40),
            actual in hash_map(any::<u8>(), 0u8..6, 0..40),
        ) {
            let ours = |_: &u8, value: &u8| *value < 3;
            let plan = diff_owned(desired.clone(), &actual, ours);
            let result = carry_out(&plan, &actual);
            for (key, value) in actual.iter().filter(|(_, value)| **value >= 3) {
                prop_assert_eq!(result.get(key), Some(value));
                prop_assert_eq!(plan.conflict.contains(key), desired.contains_key(key));
            }
            for (key, value) in &desired {
                prop_assert!(result.get(key) == Some(value) || plan.conflict.contains(key));
            }
        }
    }
}
