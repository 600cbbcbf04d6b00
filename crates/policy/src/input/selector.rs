//! Label selectors as they are written.

use std::collections::HashSet;

use nexin_model::Operator;

use super::decode::{Context, Object, Path, Spanned, one_of, text, text_map};
use super::diagnostic::Pos;
use super::names;
use super::node::{Entry, Node, Value};

/// A label selector. Without requirements it selects everything that it is asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelSelector {
    pub at: Pos,
    pub labels: Vec<(Spanned<String>, Spanned<String>)>,
    pub expressions: Vec<Expression>,
}

impl LabelSelector {
    pub const fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.expressions.is_empty()
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expression {
    pub at: Pos,
    pub key: Spanned<String>,
    pub operator: Operator,
    pub values: Vec<Spanned<String>>,
}

/// Whose rules the keys of a selector follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keys {
    /// A label key that may have a source: `k8s:app`, `reserved:host`.
    Sourced,
    /// A label key as Kubernetes has them. Cilium's agent does not look; what is no label matches nothing.
    Plain,
    /// Any text (selectors of services, which Cilium does not check).
    Unchecked,
}

pub(super) const OPERATORS: [(&str, Operator); 4] = [
    ("In", Operator::In),
    ("NotIn", Operator::NotIn),
    ("Exists", Operator::Exists),
    ("DoesNotExist", Operator::DoesNotExist),
];

pub(super) fn read(node: &Node, path: &Path<'_>, cx: &mut Context<'_>, keys: Keys) -> Option<LabelSelector> {
    let object = Object::open_with(node, path, cx, &["matchLabels", "matchExpressions"], |key| {
        (names::label_key_fault(key).is_none()
            && super::suggest::nearest(key, ["matchLabels", "matchExpressions"]).is_none())
        .then(|| format!("labels go under `matchLabels`: `matchLabels: {{{key}: ...}}`"))
    })?;
    let mut labels = object.read("matchLabels", path, cx, text_map).unwrap_or_default();
    if keys != Keys::Plain
        && let Some(Entry { node: Node { value: Value::Map(written), .. }, .. }) = object.get("matchLabels")
    {
        // An API server drops null values from custom resources.
        let null: HashSet<&str> =
            written.iter().filter(|entry| entry.node.is_null()).map(|entry| entry.key.as_str()).collect();
        labels.retain(|(key, _)| !null.contains(key.value.as_str()));
    }
    for (key, value) in &labels {
        let path = path.key("matchLabels");
        let path = path.key(&key.value);
        check_key(key, keys, &path, cx);
        check_value(value, keys, &path, cx);
    }
    let expressions = object
        .list("matchExpressions", path, cx, |node, path, cx| expression(node, path, cx, keys))
        .unwrap_or_default();
    Some(LabelSelector { at: object.at(), labels, expressions })
}

fn expression(node: &Node, path: &Path<'_>, cx: &mut Context<'_>, keys: Keys) -> Option<Expression> {
    let object = Object::open(node, path, cx, &["key", "operator", "values"])?;
    let key = object.require("key", path, cx).and_then(|entry| text(&entry.node, &path.key("key"), cx));
    let operator = object
        .require("operator", path, cx)
        .and_then(|entry| one_of(&entry.node, &path.key("operator"), cx, &OPERATORS));
    let values = object.list("values", path, cx, text).unwrap_or_default();
    if let Some(key) = &key {
        check_key(key, keys, &path.key("key"), cx);
    }
    for (index, value) in values.iter().enumerate() {
        check_value(value, keys, &path.key("values").index(index), cx);
    }
    let operator = operator?.value;
    match operator {
        Operator::In | Operator::NotIn if values.is_empty() && keys != Keys::Unchecked => {
            cx.error(path, object.at(), format!("{operator:?} needs at least one of `values`"), None);
        }
        Operator::Exists | Operator::DoesNotExist if !values.is_empty() && keys != Keys::Unchecked => {
            let help = Some("remove `values`, or use In or NotIn".to_owned());
            cx.error(path, object.at(), format!("{operator:?} takes no `values`"), help);
        }
        _ => {}
    }
    Some(Expression { at: object.at(), key: key?, operator, values })
}

fn check_key(key: &Spanned<String>, keys: Keys, path: &Path<'_>, cx: &mut Context<'_>) {
    let fault = match keys {
        Keys::Sourced => names::selector_key_fault(&key.value),
        Keys::Plain => names::label_key_fault(&key.value),
        Keys::Unchecked => None,
    };
    if let Some(fault) = fault {
        not_a_label(key, &fault, keys, path, cx);
    }
}

fn not_a_label(text: &Spanned<String>, fault: &str, keys: Keys, path: &Path<'_>, cx: &mut Context<'_>) {
    let message = format!("{:?}: {fault}", text.value);
    match keys {
        Keys::Plain => cx.lapse(path, text.at, message, None),
        Keys::Sourced | Keys::Unchecked => cx.error(path, text.at, message, None),
    }
}

fn check_value(value: &Spanned<String>, keys: Keys, path: &Path<'_>, cx: &mut Context<'_>) {
    if keys != Keys::Unchecked
        && let Some(fault) = names::label_value_fault(&value.value)
    {
        not_a_label(value, &fault, keys, path, cx);
    }
}
