//! When to try again, as data: the caller owns the clock and the doing.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

/// Waits that double from `first` up to `most`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    pub first: Duration,
    pub most: Duration,
}

impl Backoff {
    /// The wait after failure number `failures` (from 1).
    pub fn wait(&self, failures: u32) -> Duration {
        let doublings = failures.saturating_sub(1).min(31);
        self.first.saturating_mul(1 << doublings).min(self.most)
    }
}

/// Things that failed and are to be tried again. Times are durations since any fixed moment.
#[derive(Clone, Debug)]
pub struct Retries<K> {
    backoff: Backoff,
    failed: HashMap<K, Failed>,
}

#[derive(Clone, Copy, Debug)]
struct Failed {
    failures: u32,
    due: Duration,
}

impl<K: Eq + Hash + Ord + Clone> Retries<K> {
    pub fn new(backoff: Backoff) -> Self {
        Self { backoff, failed: HashMap::new() }
    }

    /// Notes a failure and returns when to try again.
    pub fn failed(&mut self, key: K, now: Duration) -> Duration {
        let entry = self.failed.entry(key).or_insert(Failed { failures: 0, due: now });
        entry.failures = entry.failures.saturating_add(1);
        entry.due = now + self.backoff.wait(entry.failures);
        entry.due
    }

    /// It worked, or nobody wants it any more.
    pub fn forget(&mut self, key: &K) {
        self.failed.remove(key);
    }

    /// What may be tried now, sorted.
    pub fn due(&self, now: Duration) -> Vec<K> {
        let mut due: Vec<K> = self.failed.iter().filter(|(_, f)| f.due <= now).map(|(key, _)| key.clone()).collect();
        due.sort();
        due
    }

    /// When the next one is due.
    pub fn next_due(&self) -> Option<Duration> {
        self.failed.values().map(|f| f.due).min()
    }

    pub fn len(&self) -> usize {
        self.failed.len()
    }

    pub fn is_empty(&self) -> bool {
        self.failed.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BACKOFF: Backoff = Backoff { first: Duration::from_millis(100), most: Duration::from_secs(10) };

    proptest! {
        #[test]
        fn waits_grow_and_stay_bounded(failures in 1u32..u32::MAX) {
            let wait = BACKOFF.wait(failures);
            prop_assert!(BACKOFF.first <= wait && wait <= BACKOFF.most);
            prop_assert!(wait <= BACKOFF.wait(failures + 1));
        }
    }

    #[test]
    fn a_failure_is_due_after_its_wait_and_gone_when_forgotten() {
        let mut retries = Retries::new(BACKOFF);
        assert_eq!(retries.failed("a", Duration::ZERO), Duration::from_millis(100));
        assert_eq!(retries.due(Duration::from_millis(99)), Vec::<&str>::new());
        assert_eq!(retries.due(Duration::from_millis(100)), ["a"]);
        assert_eq!(retries.failed("a", Duration::from_millis(100)), Duration::from_millis(300));
        assert_eq!(retries.next_due(), Some(Duration::from_millis(300)));
        retries.forget(&"a");
        assert!(retries.is_empty() && retries.next_due().is_none());
    }
}
