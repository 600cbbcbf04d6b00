//! Equal complaints of many nodes become one. Pure: no clock.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How long the first complaint is held, so that those of other nodes can join it.
const GATHER: Duration = Duration::from_millis(500);

#[derive(Debug)]
struct Heard {
    nodes: Vec<String>,
    /// When to tell what was gathered.
    due: Instant,
    /// It was told before, within the window.
    told: bool,
}

/// Complaints by their text.
#[derive(Debug)]
pub(crate) struct Coalesce {
    window: Duration,
    heard: BTreeMap<String, Heard>,
}

impl Coalesce {
    /// Equal texts are told at most once a `window`.
    pub(crate) const fn new(window: Duration) -> Self {
        Self { window, heard: BTreeMap::new() }
    }

    pub(crate) fn add(&mut self, text: String, node: String, now: Instant) {
        let due = now + GATHER.min(self.window);
        let heard = self.heard.entry(text).or_insert_with(|| Heard { nodes: Vec::new(), due, told: false });
        if !heard.nodes.contains(&node) {
            heard.nodes.push(node);
        }
    }

    /// Complaints to tell now, each with its nodes.
    pub(crate) fn due(&mut self, now: Instant) -> Vec<(String, Vec<String>)> {
        let window = self.window;
        // Silent for a whole window: the next one is news again.
        self.heard.retain(|_, heard| !heard.nodes.is_empty() || now < heard.due);
        let due = self.heard.iter_mut().filter(|(_, heard)| !heard.nodes.is_empty() && heard.due <= now);
        due.map(|(text, heard)| {
            heard.due = now + window;
            heard.told = true;
            (text.clone(), std::mem::take(&mut heard.nodes))
        })
        .collect()
    }

    /// Does not wait for other nodes to join what `node` complained of: it is about to be news of yesterday.
    pub(crate) fn hurry(&mut self, node: &str, now: Instant) {
        let new = self.heard.values_mut().filter(|heard| !heard.told && heard.nodes.iter().any(|known| known == node));
        new.for_each(|heard| heard.due = now);
    }

    /// Everything that was not told yet.
    pub(crate) fn flush(&mut self) -> Vec<(String, Vec<String>)> {
        let heard = std::mem::take(&mut self.heard);
        heard.into_iter().map(|(text, heard)| (text, heard.nodes)).filter(|(_, nodes)| !nodes.is_empty()).collect()
    }

    /// When [`Self::due`] has something next.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.heard.values().filter(|heard| !heard.nodes.is_empty()).map(|heard| heard.due).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_complaints_are_told_together_and_seldom() {
        let start = Instant::now();
        let window = Duration::from_secs(10);
        let mut coalesce = Coalesce::new(window);
        for node in ["a", "b", "a"] {
            coalesce.add("refused".into(), node.into(), start);
        }
        coalesce.add("late".into(), "c".into(), start);
        assert!(coalesce.due(start).is_empty());
        let first = coalesce.next_due().unwrap();
        let told = |text: &str, nodes: &[&str]| (text.to_owned(), nodes.iter().map(|n| (*n).to_owned()).collect());
        let expected: [(String, Vec<String>); 2] = [told("late", &["c"]), told("refused", &["a", "b"])];
        assert_eq!(coalesce.due(first), expected);
        coalesce.add("refused".into(), "b".into(), first);
        assert!(coalesce.due(first + window / 2).is_empty());
        assert_eq!(coalesce.next_due(), Some(first + window));
        assert_eq!(coalesce.due(first + window), [told("refused", &["b"])]);
        coalesce.add("refused".into(), "d".into(), first + window);
        assert_eq!(coalesce.flush(), [told("refused", &["d"])]);
        assert!(coalesce.flush().is_empty());
    }

    #[test]
    fn an_old_complaint_is_news_again() {
        let start = Instant::now();
        let mut coalesce = Coalesce::new(Duration::from_secs(10));
        coalesce.add("refused".into(), "a".into(), start);
        assert_eq!(coalesce.due(start + Duration::from_secs(1)).len(), 1);
        let later = start + Duration::from_secs(60);
        assert!(coalesce.due(later).is_empty());
        coalesce.add("refused".into(), "a".into(), later);
        assert_eq!(coalesce.next_due(), Some(later + GATHER));
        coalesce.hurry("b", later);
        assert!(coalesce.due(later).is_empty());
        coalesce.hurry("a", later);
        assert_eq!(coalesce.due(later).len(), 1);
    }
}
