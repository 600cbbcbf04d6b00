//! Label selectors: requirements that must all hold.

use std::fmt;
use std::sync::Arc;

use crate::{Label, LabelSet, Source};

/// Which labels a requirement looks at.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyMatch {
    /// `None`: a label of any source (written `any:key` or without a source).
    pub source: Option<Source>,
    pub key: Arc<str>,
}

impl KeyMatch {
    pub fn any(key: impl Into<Arc<str>>) -> Self {
        Self { source: None, key: key.into() }
    }

    pub fn k8s(key: impl Into<Arc<str>>) -> Self {
        Self { source: Some(Source::K8s), key: key.into() }
    }

    pub fn reserved(name: impl Into<Arc<str>>) -> Self {
        Self { source: Some(Source::Reserved), key: name.into() }
    }

    /// Reads `source:key`, `any:key` or `key` as Cilium's selectors have them.
    pub fn parse(text: &str) -> Self {
        match text.split_once(':') {
            None | Some(("", _)) => Self::any(text.trim_start_matches(':')),
            Some(("any", key)) => Self::any(key),
            Some((source, key)) => Self { source: Some(Source::from_name(source)), key: key.into() },
        }
    }

    pub fn covers(&self, label: &Label) -> bool {
        self.key == label.key && self.source.as_ref().is_none_or(|source| *source == label.source)
    }
}

impl fmt::Display for KeyMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            Some(source) => write!(f, "{source}:{}", self.key),
            None => f.write_str(&self.key),
        }
    }
}

/// What must hold of the labels a key covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Operator {
    /// One of them has one of the values.
    In,
    /// None of them has one of the values; also holds where there is none.
    NotIn,
    Exists,
    DoesNotExist,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Requirement {
    pub key: KeyMatch,
    pub operator: Operator,
    /// Sorted, without duplicates; empty for `Exists` and `DoesNotExist`.
    values: Arc<[Arc<str>]>,
}

impl Requirement {
    /// # Errors
    /// `In` and `NotIn` want values, `Exists` and `DoesNotExist` want none.
    pub fn new<V: Into<Arc<str>>>(
        key: KeyMatch,
        operator: Operator,
        values: impl IntoIterator<Item = V>,
    ) -> Result<Self, SelectorError> {
        let mut values: Vec<Arc<str>> = values.into_iter().map(Into::into).collect();
        values.sort_unstable();
        values.dedup();
        match operator {
            Operator::In | Operator::NotIn if values.is_empty() => Err(SelectorError::NoValues { key, operator }),
            Operator::Exists | Operator::DoesNotExist if !values.is_empty() => {
                Err(SelectorError::Values { key, operator })
            }
            _ => Ok(Self { key, operator, values: values.into() }),
        }
    }

    pub fn equals(key: KeyMatch, value: impl Into<Arc<str>>) -> Self {
        Self { key, operator: Operator::In, values: Arc::from([value.into()]) }
    }

    pub fn exists(key: KeyMatch) -> Self {
        Self { key, operator: Operator::Exists, values: Arc::from([]) }
    }

    pub fn does_not_exist(key: KeyMatch) -> Self {
        Self { key, operator: Operator::DoesNotExist, values: Arc::from([]) }
    }

    pub fn values(&self) -> &[Arc<str>] {
        &self.values
    }

    /// Holds where a label is absent.
    pub const fn is_negative(&self) -> bool {
        matches!(self.operator, Operator::NotIn | Operator::DoesNotExist)
    }

    pub fn matches(&self, labels: &LabelSet) -> bool {
        let found = labels.iter().any(|label| self.finds(label));
        found != self.is_negative()
    }

    /// `label` is what this requirement looks for (`In`, `Exists`) or must not meet (`NotIn`, `DoesNotExist`).
    pub fn finds(&self, label: &Label) -> bool {
        self.key.covers(label)
            && (self.values.is_empty() || self.values.binary_search_by(|value| (**value).cmp(&label.value)).is_ok())
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = &self.key;
        match (self.operator, &*self.values) {
            (Operator::In, [value]) => write!(f, "{key}={value}"),
            (Operator::NotIn, [value]) => write!(f, "{key}!={value}"),
            (Operator::In, values) => write!(f, "{key} in ({})", values.join(",")),
            (Operator::NotIn, values) => write!(f, "{key} not in ({})", values.join(",")),
            (Operator::Exists, _) => write!(f, "{key}"),
            (Operator::DoesNotExist, _) => write!(f, "!{key}"),
        }
    }
}

/// All requirements must hold; without any, everything matches. Requirements are sorted, so equal selectors are equal
/// values whatever order they were written in.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Selector(Arc<[Requirement]>);

impl Default for Selector {
    fn default() -> Self {
        Self::everything()
    }
}

impl Selector {
    pub fn everything() -> Self {
        Self(Arc::from([]))
    }

    pub fn requirements(&self) -> &[Requirement] {
        &self.0
    }

    pub fn is_everything(&self) -> bool {
        self.0.is_empty()
    }

    /// This selector with one more requirement.
    #[must_use]
    pub fn and(&self, requirement: Requirement) -> Self {
        self.0.iter().cloned().chain([requirement]).collect()
    }

    /// Some requirement is about this key, whatever it asks.
    pub fn mentions(&self, key: &KeyMatch) -> bool {
        self.0.iter().any(|requirement| requirement.key == *key)
    }

    pub fn matches(&self, labels: &LabelSet) -> bool {
        self.0.iter().all(|requirement| requirement.matches(labels))
    }
}

impl FromIterator<Requirement> for Selector {
    fn from_iter<I: IntoIterator<Item = Requirement>>(requirements: I) -> Self {
        let mut list: Vec<Requirement> = requirements.into_iter().collect();
        list.sort_unstable();
        list.dedup();
        Self(list.into())
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_everything() {
            return f.write_str("{}");
        }
        for (index, requirement) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(", ")?;
            }
            write!(f, "{requirement}")?;
        }
        Ok(())
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SelectorError {
    #[error("{operator:?} on {key} needs at least one value")]
    NoValues { key: KeyMatch, operator: Operator },
    #[error("{operator:?} on {key} takes no values")]
    Values { key: KeyMatch, operator: Operator },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels() -> LabelSet {
        [Label::k8s("app", "web"), Label::new(Source::Container, "zone", "a"), Label::reserved("host")]
            .into_iter()
            .collect()
    }

    fn holds(key: &str, operator: Operator, values: &[&str]) -> bool {
        Requirement::new(KeyMatch::parse(key), operator, values.iter().copied())
            .is_ok_and(|requirement| requirement.matches(&labels()))
    }

    #[test]
    fn sources_limit_what_a_key_covers() {
        assert!(holds("app", Operator::In, &["web", "api"]));
        assert!(holds("any:app", Operator::Exists, &[]));
        assert!(holds("k8s:app", Operator::In, &["web"]));
        assert!(!holds("container:app", Operator::In, &["web"]));
        assert!(holds("container:app", Operator::DoesNotExist, &[]));
        assert!(holds("reserved:host", Operator::In, &[""]));
    }

    #[test]
    fn negative_requirements_hold_where_the_label_is_absent() {
        assert!(holds("nowhere", Operator::NotIn, &["x"]));
        assert!(!holds("zone", Operator::NotIn, &["a", "b"]));
        assert!(holds("zone", Operator::NotIn, &["b"]));
        assert!(!holds("zone", Operator::DoesNotExist, &[]));
    }

    #[test]
    fn equal_selectors_are_equal_whatever_the_order() {
        let a = Requirement::equals(KeyMatch::any("a"), "1");
        let b = Requirement::exists(KeyMatch::any("b"));
        let one: Selector = [a.clone(), b.clone()].into_iter().collect();
        assert_eq!(one, Selector::everything().and(b).and(a));
        assert_eq!(one.to_string(), "a=1, b");
        assert!(Requirement::new(KeyMatch::any("a"), Operator::In, Vec::<String>::new()).is_err());
    }
}
