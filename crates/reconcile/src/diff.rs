//! What has to change so that actual becomes desired.

use std::collections::HashMap;
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

/// The plan when everything actual is ours.
pub fn diff<K, V>(desired: &HashMap<K, V>, actual: &HashMap<K, V>) -> Plan<K, V>
where
    K: Eq + Hash + Clone,
    V: PartialEq + Clone,
{
    diff_owned(desired, actual, |_, _| true)
}

/// The plan when only what `ours` accepts may be touched. Mark and sweep: what is desired is marked, what is ours and
/// unmarked goes.
pub fn diff_owned<K, V>(desired: &HashMap<K, V>, actual: &HashMap<K, V>, ours: impl Fn(&K, &V) -> bool) -> Plan<K, V>
where
    K: Eq + Hash + Clone,
    V: PartialEq + Clone,
{
    let mut plan = Plan::default();
    for (key, value) in desired {
        match actual.get(key) {
            None => plan.insert.push((key.clone(), value.clone())),
            Some(there) if there == value => {}
            Some(there) if ours(key, there) => plan.update.push((key.clone(), value.clone())),
            Some(_) => plan.conflict.push(key.clone()),
        }
    }
    for (key, there) in actual {
        if !desired.contains_key(key) && ours(key, there) {
            plan.remove.push(key.clone());
        }
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
            let plan = diff(&desired, &actual);
            prop_assert!(plan.conflict.is_empty());
            prop_assert_eq!(&carry_out(&plan, &actual), &desired);
            prop_assert!(diff(&desired, &desired).is_empty());
        }

        #[test]
        fn what_is_not_ours_is_never_touched(
            desired in hash_map(any::<u8>(), 0u8..3, 0..40),
            actual in hash_map(any::<u8>(), 0u8..6, 0..40),
        ) {
            let ours = |_: &u8, value: &u8| *value < 3;
            let plan = diff_owned(&desired, &actual, ours);
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
