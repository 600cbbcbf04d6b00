//! `metadata` of an object: what policies use of it, and whether the rest is valid.

use super::decode::{Context, Object, Path, Spanned, entries, integer, list, text, text_map};
use super::diagnostic::Pos;
use super::names;
use super::node::Node;

/// Annotation that makes a policy a shadow: evaluated beside the live ones, never enforced.
pub(super) const MODE_ANNOTATION: &str = "policy.nexin.dev/mode";

/// Bytes of all annotations, keys and values. Source: Kubernetes `TotalAnnotationSizeLimitB`.
const MAX_ANNOTATIONS: usize = 256 << 10;

/// What is used of an object's metadata.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meta {
    pub at: Pos,
    pub name: String,
    /// As written; `None` where it is not, and for kinds that have none.
    pub namespace: Option<String>,
    pub labels: Vec<(String, String)>,
    /// Annotation `policy.nexin.dev/mode: shadow`.
    pub shadow: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// NetworkPolicy: only the API server checks its metadata, Cilium's agent takes any.
    NamespacedUnchecked,
    Namespaced,
    Cluster,
}

impl Scope {
    fn fault(self, path: &Path<'_>, at: Pos, message: String, help: Option<String>, cx: &mut Context<'_>) {
        match self {
            Self::NamespacedUnchecked => cx.lapse(path, at, message, help),
            Self::Namespaced | Self::Cluster => cx.error(path, at, message, help),
        }
    }
}

const FIELDS: [&str; 15] = [
    "name",
    "generateName",
    "namespace",
    "labels",
    "annotations",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "selfLink",
    "ownerReferences",
    "finalizers",
    "managedFields",
];

pub(super) fn read(root: &Object<'_>, scope: Scope, cx: &mut Context<'_>) -> Option<Meta> {
    let path = Path::ROOT.key("metadata");
    let entry = root.require("metadata", &Path::ROOT, cx)?;
    let object = Object::open(&entry.node, &path, cx, &FIELDS)?;
    let name = name(&object, scope, &path, cx);
    let namespace = namespace(&object, scope, &path, cx);
    let labels = object.read("labels", &path, cx, text_map).unwrap_or_default();
    for (key, value) in &labels {
        let path = path.key("labels");
        for (fault, at) in
            [(names::label_key_fault(&key.value), key.at), (names::label_value_fault(&value.value), value.at)]
        {
            if let Some(fault) = fault {
                scope.fault(&path.key(&key.value), at, fault, None, cx);
            }
        }
    }
    let shadow = annotations(&object, &path, cx);
    others(&object, &path, cx);
    Some(Meta {
        at: entry.key_at,
        name: name?.value,
        namespace: namespace.map(|namespace| namespace.value),
        labels: labels.into_iter().map(|(key, value)| (key.value, value.value)).collect(),
        shadow,
    })
}

fn name(object: &Object<'_>, scope: Scope, path: &Path<'_>, cx: &mut Context<'_>) -> Option<Spanned<String>> {
    if let Some(prefix) = object.text("generateName", path, cx)
        && !prefix.value.is_empty()
        && !names::is_dns_subdomain(prefix.value.strip_suffix('-').unwrap_or(&prefix.value))
    {
        cx.error(&path.key("generateName"), prefix.at, format!("{:?} is no beginning of a name", prefix.value), None);
    }
    let name = object.text("name", path, cx).filter(|name| !name.value.is_empty());
    let Some(name) = name else {
        if object.get("name").is_none_or(|entry| entry.node.kind() == "text") {
            let help = object.has("generateName").then(|| "Nexin makes no names up: write `name`".to_owned());
            cx.error(path, object.at(), "the field `name` is missing", help);
        }
        return None;
    };
    if !names::is_dns_subdomain(&name.value) {
        let message = format!("{:?} is no name: it has small letters, digits, `-` and `.`, up to 253", name.value);
        let fixed: String =
            name.value.to_lowercase().chars().map(|c| if c == '_' || c == ' ' { '-' } else { c }).collect();
        let help = names::is_dns_subdomain(&fixed).then(|| format!("`{fixed}` would be one"));
        scope.fault(&path.key("name"), name.at, message, help, cx);
    }
    Some(name)
}

fn namespace(object: &Object<'_>, scope: Scope, path: &Path<'_>, cx: &mut Context<'_>) -> Option<Spanned<String>> {
    let namespace = object.text("namespace", path, cx).filter(|namespace| !namespace.value.is_empty())?;
    let path = path.key("namespace");
    match scope {
        Scope::Cluster => {
            let help = Some("remove it: this kind is for the whole cluster".to_owned());
            cx.error(&path, namespace.at, "this kind has no namespace", help);
            None
        }
        _ if names::is_dns_label(&namespace.value) => Some(namespace),
        Scope::Namespaced | Scope::NamespacedUnchecked => {
            let message = format!("{:?} is no namespace: small letters, digits and `-`, up to 63", namespace.value);
            scope.fault(&path, namespace.at, message, None, cx);
            Some(namespace)
        }
    }
}

/// Checks the annotations; `true` when they ask for a shadow.
fn annotations(object: &Object<'_>, path: &Path<'_>, cx: &mut Context<'_>) -> bool {
    let Some(annotations) = object.read("annotations", path, cx, text_map) else { return false };
    let path = path.key("annotations");
    let size: usize = annotations.iter().map(|(key, value)| key.value.len() + value.value.len()).sum();
    if size > MAX_ANNOTATIONS {
        cx.error(&path, object.at(), format!("annotations have {size} bytes, the limit is {MAX_ANNOTATIONS}"), None);
    }
    let mut shadow = false;
    for (key, value) in &annotations {
        if let Some(fault) = names::label_key_fault(&key.value.to_ascii_lowercase()) {
            cx.error(&path.key(&key.value), key.at, fault, None);
        }
        if key.value == MODE_ANNOTATION {
            match value.value.as_str() {
                "shadow" => shadow = true,
                "enforce" => {}
                other => {
                    let help = Some("write `enforce` or `shadow`".to_owned());
                    cx.error(&path.key(&key.value), value.at, format!("the mode {other:?} is not known"), help);
                }
            }
        }
    }
    shadow
}

/// Fields that an API server fills in; their kinds must be right, their values mean nothing here.
fn others(object: &Object<'_>, path: &Path<'_>, cx: &mut Context<'_>) {
    for field in ["uid", "resourceVersion", "creationTimestamp", "deletionTimestamp", "selfLink"] {
        object.text(field, path, cx);
    }
    for field in ["generation", "deletionGracePeriodSeconds"] {
        object.read(field, path, cx, |node, path, cx| integer(node, path, cx, 0, i64::MAX));
    }
    object.list("finalizers", path, cx, |node, path, cx| {
        let name = text(node, path, cx)?;
        if let Some(fault) = names::label_key_fault(&name.value) {
            cx.error(path, name.at, fault, None);
        }
        Some(())
    });
    object.list("managedFields", path, cx, |node, path, cx| entries(node, path, cx).map(|_| ()));
    object.list("ownerReferences", path, cx, owner);
}

fn owner(node: &Node, path: &Path<'_>, cx: &mut Context<'_>) -> Option<()> {
    const FIELDS: [&str; 6] = ["apiVersion", "kind", "name", "uid", "controller", "blockOwnerDeletion"];
    let object = Object::open(node, path, cx, &FIELDS)?;
    for field in &FIELDS[..4] {
        if let Some(entry) = object.require(field, path, cx)
            && let Some(value) = text(&entry.node, &path.key(field), cx)
            && value.value.is_empty()
        {
            cx.error(&path.key(field), value.at, "this must not be empty", None);
        }
    }
    for field in &FIELDS[4..] {
        object.read(field, path, cx, super::decode::boolean);
    }
    Some(())
}

/// Checks the `status` that `kubectl get -o yaml` prints; it means nothing here.
pub(super) fn status(root: &Object<'_>, cx: &mut Context<'_>) {
    let path = Path::ROOT.key("status");
    let Some(entry) = root.get("status") else { return };
    let Some(_) = entries(&entry.node, &path, cx) else { return };
    if let Some(conditions) = entry.node.get("conditions") {
        list(&conditions.node, &path.key("conditions"), cx, |node, path, cx| {
            entries(node, path, cx)?;
            let object = Object { node };
            for field in ["type", "status"] {
                let entry = object.require(field, path, cx)?;
                text(&entry.node, &path.key(field), cx)?;
            }
            Some(())
        });
    }
}
