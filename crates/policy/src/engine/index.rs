//! Inverted index: which identities carry a label. Selectors are resolved from it, and it tells which selectors a new
//! identity may match.

use std::collections::HashMap;
use std::sync::Arc;

use nexin_model::{Label, Operator, Requirement, Selector, Source};

use super::set::SlotSet;
use crate::compile::SelectorId;
use crate::hash::FastMap;

/// What a posting list is about. A label is on four lists: its own, its key's, and both again for "any source".
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Term {
    source: Option<Source>,
    key: Arc<str>,
    value: Option<Arc<str>>,
}

pub(super) type TermId = u32;

#[derive(Clone, Debug, Default)]
struct Posting {
    slots: SlotSet,
    /// Selectors that can only match identities on this list.
    watchers: Vec<SelectorId>,
}

/// Labels of identities, and the selectors that wait for them.
#[derive(Clone, Debug, Default)]
pub(super) struct Index {
    terms: FastMap<Term, TermId>,
    labels: FastMap<Label, [TermId; 4]>,
    postings: Vec<Posting>,
    live: SlotSet,
    /// Selectors that ask for no label: every identity may match.
    unconditional: Vec<SelectorId>,
}

/// A selector as lists of terms: any of `any` for each positive requirement, none of `none`.
#[derive(Clone, Debug, Default)]
pub(super) struct Query {
    positive: Vec<Vec<TermId>>,
    negative: Vec<TermId>,
}

impl Index {
    /// Adds an identity. Returns the terms its labels stand for, sorted.
    pub(super) fn insert<'a>(&mut self, slot: u32, labels: impl IntoIterator<Item = &'a Label>) -> Box<[TermId]> {
        self.live.insert(slot);
        let mut terms = Vec::with_capacity(32);
        for label in labels {
            for term in self.label_terms(label) {
                self.postings[term as usize].slots.insert(slot);
                terms.push(term);
            }
        }
        terms.sort_unstable();
        terms.dedup();
        terms.into()
    }

    pub(super) fn remove(&mut self, slot: u32, terms: &[TermId]) {
        self.live.remove(slot);
        for term in terms {
            self.postings[*term as usize].slots.remove(slot);
        }
    }

    /// Builds all lists again from the terms of the identities that are there, slots rising.
    pub(super) fn rebuild<'a>(&mut self, members: impl Iterator<Item = (u32, &'a [TermId])>) {
        for posting in &mut self.postings {
            posting.slots = SlotSet::default();
        }
        self.live = SlotSet::default();
        for (slot, terms) in members {
            self.live.insert(slot);
            for term in terms {
                self.postings[*term as usize].slots.insert(slot);
            }
        }
    }

    pub(super) fn query(&mut self, selector: &Selector) -> Query {
        let mut query = Query::default();
        for requirement in selector.requirements() {
            let terms = self.requirement_terms(requirement);
            if requirement.is_negative() {
                query.negative.extend(terms);
            } else {
                query.positive.push(terms);
            }
        }
        query
    }

    /// All identities that match.
    pub(super) fn resolve(&self, query: &Query) -> SlotSet {
        let smallest = query.positive.iter().enumerate().min_by_key(|(_, terms)| self.size(terms));
        let Some((first, terms)) = smallest else {
            return self.without(self.live.clone(), &query.negative);
        };
        let mut found = self.any_of(terms);
        for (index, terms) in query.positive.iter().enumerate() {
            if index != first && found.len() > 0 {
                found = self.narrow(found, terms);
            }
        }
        self.without(found, &query.negative)
    }

    /// Whether an identity with these terms (sorted) matches.
    pub(super) fn matches(query: &Query, terms: &[TermId]) -> bool {
        let has = |term: &TermId| terms.binary_search(term).is_ok();
        query.positive.iter().all(|any| any.iter().any(has)) && !query.negative.iter().any(has)
    }

    /// Has `selector` offered ([`Self::candidates`]) for each identity it could match.
    pub(super) fn watch(&mut self, selector: SelectorId, query: &Query) {
        match query.positive.iter().min_by_key(|terms| (terms.len(), self.size(terms))) {
            None => self.unconditional.push(selector),
            Some(terms) => {
                for term in terms {
                    self.postings[*term as usize].watchers.push(selector);
                }
            }
        }
    }

    pub(super) fn unwatch(&mut self, selector: SelectorId, query: &Query) {
        self.unconditional.retain(|watcher| *watcher != selector);
        for term in query.positive.iter().flatten() {
            self.postings[*term as usize].watchers.retain(|watcher| *watcher != selector);
        }
    }

    /// Selectors that an identity with these terms may match; a selector may come twice.
    pub(super) fn candidates<'a>(&'a self, terms: &'a [TermId]) -> impl Iterator<Item = SelectorId> + 'a {
        let watching = terms.iter().flat_map(|term| self.postings[*term as usize].watchers.iter().copied());
        self.unconditional.iter().copied().chain(watching)
    }

    /// Every label ever seen from `source`, with the term of exactly that label.
    pub(super) fn labels_of<'a>(&'a self, source: &'a Source) -> impl Iterator<Item = (&'a Label, TermId)> + 'a {
        self.labels.iter().filter(move |(label, _)| label.source == *source).map(|(label, terms)| (label, terms[0]))
    }

    pub(super) fn slots(&self, term: TermId) -> &SlotSet {
        &self.postings[term as usize].slots
    }

    pub(super) fn live(&self) -> &SlotSet {
        &self.live
    }

    fn size(&self, terms: &[TermId]) -> usize {
        terms.iter().map(|term| self.slots(*term).len()).sum()
    }

    fn any_of(&self, terms: &[TermId]) -> SlotSet {
        match terms {
            [] => SlotSet::default(),
            [term] => self.slots(*term).clone(),
            [first, rest @ ..] => {
                rest.iter().fold(self.slots(*first).clone(), |found, term| found.union(self.slots(*term)))
            }
        }
    }

    fn narrow(&self, found: SlotSet, terms: &[TermId]) -> SlotSet {
        match (terms, &found) {
            ([term], _) => found.intersection(self.slots(*term)),
            (_, SlotSet::Sparse(slots)) => SlotSet::Sparse(
                slots
                    .iter()
                    .copied()
                    .filter(|slot| terms.iter().any(|term| self.slots(*term).contains(*slot)))
                    .collect(),
            ),
            _ => found.intersection(&self.any_of(terms)),
        }
    }

    fn without(&self, found: SlotSet, negative: &[TermId]) -> SlotSet {
        negative.iter().fold(found, |found, term| found.difference(self.slots(*term)))
    }

    fn requirement_terms(&mut self, requirement: &Requirement) -> Vec<TermId> {
        let key = &requirement.key;
        match requirement.operator {
            Operator::Exists | Operator::DoesNotExist => vec![self.term(key.source.as_ref(), &key.key, None)],
            Operator::In | Operator::NotIn => {
                requirement.values().iter().map(|value| self.term(key.source.as_ref(), &key.key, Some(value))).collect()
            }
        }
    }

    fn label_terms(&mut self, label: &Label) -> [TermId; 4] {
        if let Some(terms) = self.labels.get(label) {
            return *terms;
        }
        let source = Some(&label.source);
        let terms = [
            self.term(source, &label.key, Some(&label.value)),
            self.term(source, &label.key, None),
            self.term(None, &label.key, Some(&label.value)),
            self.term(None, &label.key, None),
        ];
        self.labels.insert(label.clone(), terms);
        terms
    }

    fn term(&mut self, source: Option<&Source>, key: &Arc<str>, value: Option<&Arc<str>>) -> TermId {
        let term = Term { source: source.cloned(), key: key.clone(), value: value.cloned() };
        let next = self.postings.len() as TermId;
        let id = *self.terms.entry(term).or_insert(next);
        if id == next {
            self.postings.push(Posting::default());
        }
        id
    }
}

/// Reference counts of label keys that selectors ask for.
#[derive(Clone, Debug, Default)]
pub(super) struct SelectedKeys(HashMap<(Option<Source>, Arc<str>), usize>);

impl SelectedKeys {
    pub(super) fn add(&mut self, selector: &Selector) {
        for requirement in selector.requirements() {
            *self.0.entry((requirement.key.source.clone(), requirement.key.key.clone())).or_default() += 1;
        }
    }

    pub(super) fn remove(&mut self, selector: &Selector) {
        for requirement in selector.requirements() {
            let key = (requirement.key.source.clone(), requirement.key.key.clone());
            if let Some(count) = self.0.get_mut(&key) {
                *count -= 1;
                if *count == 0 {
                    self.0.remove(&key);
                }
            }
        }
    }

    pub(super) fn contains(&self, label: &Label) -> bool {
        self.0.contains_key(&(None, label.key.clone()))
            || self.0.contains_key(&(Some(label.source.clone()), label.key.clone()))
    }
}

#[cfg(test)]
mod tests {
    use nexin_model::{KeyMatch, LabelSet};
    use proptest::prelude::*;

    use super::*;

    fn label() -> impl Strategy<Value = Label> {
        (0_u8..2, 0_u8..4, 0_u8..3).prop_map(|(source, key, value)| {
            let source = if source == 0 { Source::K8s } else { Source::Container };
            Label::new(source, format!("k{key}"), format!("v{value}"))
        })
    }

    fn requirement() -> impl Strategy<Value = Requirement> {
        (0_u8..3, 0_u8..5, 0_u8..4, proptest::collection::vec(0_u8..4, 1..3)).prop_map(|(source, key, op, values)| {
            let key = format!("k{key}");
            let key = match source {
                0 => KeyMatch::k8s(key),
                1 => KeyMatch { source: Some(Source::Container), key: key.into() },
                _ => KeyMatch::any(key),
            };
            let values = values.iter().map(|value| format!("v{value}"));
            match op {
                0 => Requirement::new(key, Operator::In, values),
                1 => Requirement::new(key, Operator::NotIn, values),
                2 => Requirement::new(key, Operator::Exists, Vec::<String>::new()),
                _ => Requirement::new(key, Operator::DoesNotExist, Vec::<String>::new()),
            }
            .expect("values fit the operator")
        })
    }

    proptest! {
        #[test]
        fn the_index_agrees_with_matching_one_by_one(
            identities in proptest::collection::vec(proptest::collection::vec(label(), 0..6), 1..40),
            requirements in proptest::collection::vec(requirement(), 0..4),
            removed in 0_usize..40,
        ) {
            let selector: Selector = requirements.into_iter().collect();
            let mut index = Index::default();
            let mut sets: Vec<LabelSet> = identities.into_iter().map(|labels| labels.into_iter().collect()).collect();
            let terms: Vec<_> =
                sets.iter().enumerate().map(|(slot, labels)| index.insert(slot as u32, labels)).collect();
            let query = index.query(&selector);
            index.watch(7, &query);
            if removed < sets.len() {
                index.remove(removed as u32, &terms[removed]);
            }
            let found = index.resolve(&query);
            for (slot, labels) in sets.drain(..).enumerate() {
                let matches = selector.matches(&labels);
                assert_eq!(found.contains(slot as u32), matches && slot != removed, "{} {}", selector, labels);
                assert_eq!(Index::matches(&query, &terms[slot]), matches);
                assert!(!matches || index.candidates(&terms[slot]).any(|selector| selector == 7));
            }
        }
    }
}
