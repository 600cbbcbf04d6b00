//! What a node says of its flows as a whole: how many a second, and of which namespaces.

use std::collections::HashMap;

use nexin_hubble::flow;

/// Seconds that a rate is taken over.
const MINUTE: u64 = 60;
/// Seconds after which a namespace without flows is forgotten.
const HOUR: u64 = 3_600;
const SECOND_NS: u64 = 1_000_000_000;

/// Flows a second over the last minute, or since the start where that is less.
#[derive(Clone, Debug)]
pub struct Rate {
    started: u64,
    /// Flows of a second, and which second that was.
    seconds: [(u64, u64); MINUTE as usize],
}

impl Rate {
    /// `now` in nanoseconds since the epoch.
    pub fn new(now: u64) -> Self {
        Self { started: now / SECOND_NS, seconds: [(0, 0); MINUTE as usize] }
    }

    pub fn add(&mut self, now: u64, flows: u64) {
        let second = now / SECOND_NS;
        let slot = &mut self.seconds[(second % MINUTE) as usize];
        *slot = if slot.0 == second { (second, slot.1 + flows) } else { (second, flows) };
    }

    pub fn per_second(&self, now: u64) -> f64 {
        let second = now / SECOND_NS;
        let recent = self.seconds.iter().filter(|(of, _)| *of <= second && second - of < MINUTE);
        let flows: u64 = recent.map(|(_, flows)| flows).sum();
        let seconds = second.saturating_sub(self.started).clamp(1, MINUTE);
        flows as f64 / seconds as f64
    }
}

/// Namespaces that had flows in the last hour.
#[derive(Clone, Debug, Default)]
pub struct Namespaces {
    /// Cluster and namespace; when it was seen last, seconds since the epoch.
    seen: HashMap<(String, String), u64>,
    /// What was looked at last: flows come in runs.
    last: Option<(String, String)>,
    last_second: u64,
}

impl Namespaces {
    /// `now` in nanoseconds since the epoch.
    pub fn see(&mut self, party: &flow::Endpoint, now: u64) {
        if party.namespace.is_empty() {
            return;
        }
        let second = now / SECOND_NS;
        let same =
            |(cluster, namespace): &(String, String)| *cluster == party.cluster_name && *namespace == party.namespace;
        if second == self.last_second && self.last.as_ref().is_some_and(same) {
            return;
        }
        let key = (party.cluster_name.clone(), party.namespace.clone());
        self.seen.insert(key.clone(), second);
        (self.last, self.last_second) = (Some(key), second);
    }

    /// Sorted by cluster, then name. Forgets those that are too old.
    pub fn list(&mut self, now: u64) -> Vec<(String, String)> {
        let second = now / SECOND_NS;
        self.seen.retain(|_, seen| second.saturating_sub(*seen) <= HOUR);
        let mut list: Vec<_> = self.seen.keys().cloned().collect();
        list.sort_unstable();
        list
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_covers_the_last_minute_or_the_time_since_the_start() {
        let at = |second: u64| second * SECOND_NS;
        let mut rate = Rate::new(at(1_000));
        assert_eq!(rate.per_second(at(1_000)), 0.0);
        rate.add(at(1_001), 30);
        rate.add(at(1_001), 10);
        rate.add(at(1_002), 20);
        assert_eq!(rate.per_second(at(1_010)), 6.0);
        assert_eq!(rate.per_second(at(1_060)), 1.0);
        assert_eq!(rate.per_second(at(1_061)), 20.0 / 60.0);
        rate.add(at(1_122), 120);
        assert_eq!(rate.per_second(at(1_122)), 2.0);
        assert_eq!(rate.per_second(at(5_000)), 0.0);
    }

    #[test]
    fn namespaces_are_remembered_for_an_hour() {
        let party = |namespace: &str| flow::Endpoint { namespace: namespace.into(), ..flow::Endpoint::default() };
        let mut namespaces = Namespaces::default();
        for (name, second) in [("b", 10), ("b", 10), ("a", 10), ("", 10), ("b", 2_000)] {
            namespaces.see(&party(name), second * SECOND_NS);
        }
        let names = |list: Vec<(String, String)>| list.into_iter().map(|(_, name)| name).collect::<Vec<_>>();
        assert_eq!(names(namespaces.list(3_000 * SECOND_NS)), ["a", "b"]);
        assert_eq!(names(namespaces.list(4_000 * SECOND_NS)), ["b"]);
    }
}
