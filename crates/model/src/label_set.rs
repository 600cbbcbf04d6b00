//! A sorted set of labels, shared and cheap to compare.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{Label, Source};

/// Labels sorted by source, key; at most one value for a source and key (the last one given).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LabelSet(Arc<[Label]>);

impl Default for LabelSet {
    fn default() -> Self {
        Self(Arc::from([]))
    }
}

impl LabelSet {
    pub fn get(&self, source: &Source, key: &str) -> Option<&Label> {
        let index = self.0.binary_search_by(|label| (&label.source, &*label.key).cmp(&(source, key))).ok()?;
        self.0.get(index)
    }

    /// Has the label `reserved:<name>`.
    pub fn has_reserved(&self, name: &str) -> bool {
        self.get(&Source::Reserved, name).is_some()
    }

    /// This set with `more` added; a label of the same source and key is replaced.
    #[must_use]
    pub fn with(&self, more: impl IntoIterator<Item = Label>) -> Self {
        self.iter().cloned().chain(more).collect()
    }

    /// The labels for which `keep` holds.
    #[must_use]
    pub fn filtered(&self, keep: impl FnMut(&&Label) -> bool) -> Self {
        self.iter().filter(keep).cloned().collect()
    }
}

impl std::ops::Deref for LabelSet {
    type Target = [Label];

    fn deref(&self) -> &[Label] {
        &self.0
    }
}

impl FromIterator<Label> for LabelSet {
    fn from_iter<I: IntoIterator<Item = Label>>(labels: I) -> Self {
        let mut list: Vec<Label> = Vec::new();
        for label in labels {
            match list.binary_search_by(|have| (&have.source, &have.key).cmp(&(&label.source, &label.key))) {
                Ok(index) => list[index] = label,
                Err(index) => list.insert(index, label),
            }
        }
        Self(list.into())
    }
}

impl<'a> IntoIterator for &'a LabelSet {
    type Item = &'a Label;
    type IntoIter = std::slice::Iter<'a, Label>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for LabelSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, label) in self.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            write!(f, "{label}")?;
        }
        Ok(())
    }
}

impl Serialize for LabelSet {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

impl<'de> Deserialize<'de> for LabelSet {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::<Label>::deserialize(deserializer).map(|labels| labels.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_of_insertion_does_not_matter_and_the_last_value_wins() {
        let a: LabelSet = [Label::k8s("b", "1"), Label::k8s("a", "1"), Label::reserved("x")].into_iter().collect();
        let b: LabelSet = [Label::reserved("x"), Label::k8s("a", "0"), Label::k8s("a", "1"), Label::k8s("b", "1")]
            .into_iter()
            .collect();
        assert_eq!(a, b);
        assert_eq!(a.to_string(), "k8s:a=1,k8s:b=1,reserved:x");
        assert!(a.has_reserved("x"));
        assert_eq!(a.get(&Source::K8s, "c"), None);
    }
}
