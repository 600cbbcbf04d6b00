//! Which kind a document is, and lists of documents.

use super::cidr_group;
use super::cilium;
use super::cluster;
use super::decode::{Context, Object, Path, list, text};
use super::diagnostic::Pos;
use super::document::{Body, Document};
use super::meta::{self, Scope};
use super::netpol;
use super::node::{Node, Value};
use super::suggest;
use crate::rule::Kind;

/// A kind that is read here.
struct Known {
    kind: Kind,
    versions: &'static [&'static str],
    scope: Scope,
}

const KNOWN: [Known; 5] = [
    Known { kind: Kind::NetworkPolicy, versions: &["networking.k8s.io/v1"], scope: Scope::NamespacedUnchecked },
    Known { kind: Kind::CiliumNetworkPolicy, versions: &["cilium.io/v2"], scope: Scope::Namespaced },
    Known { kind: Kind::CiliumClusterwideNetworkPolicy, versions: &["cilium.io/v2"], scope: Scope::Cluster },
    Known { kind: Kind::ClusterNetworkPolicy, versions: &["policy.networking.k8s.io/v1alpha2"], scope: Scope::Cluster },
    Known { kind: Kind::CiliumCIDRGroup, versions: &["cilium.io/v2", "cilium.io/v2alpha1"], scope: Scope::Cluster },
];

/// Groups whose objects are something else for sure, so that whole manifests can be given.
const FOREIGN_GROUPS: [&str; 14] = [
    "v1",
    "apps/",
    "batch/",
    "rbac.authorization.k8s.io/",
    "autoscaling/",
    "policy/",
    "storage.k8s.io/",
    "apiextensions.k8s.io/",
    "admissionregistration.k8s.io/",
    "scheduling.k8s.io/",
    "gateway.networking.k8s.io/",
    "coordination.k8s.io/",
    "monitoring.coreos.com/",
    "cert-manager.io/",
];

/// Documents of one root: itself, or the items of a list. Those with errors are left out.
pub(crate) fn documents(root: &Node, cx: &mut Context<'_>) -> Vec<Document> {
    if root.is_null() {
        return Vec::new();
    }
    let Value::Map(_) = &root.value else {
        cx.error(&Path::ROOT, root.at, format!("a document must be a mapping, it is {}", root.kind()), None);
        return Vec::new();
    };
    let object = Object { node: root };
    let (Some(version), Some(kind)) = (word(&object, "apiVersion", cx), word(&object, "kind", cx)) else {
        return Vec::new();
    };
    let Some(of) = kind.strip_suffix("List").filter(|of| of.is_empty() || known(of).is_some()) else {
        return document(root, &version, &kind, cx).into_iter().collect();
    };
    let Some(items) = object.require("items", &Path::ROOT, cx) else { return Vec::new() };
    let mut found = Vec::new();
    list(&items.node, &Path::ROOT.key("items"), cx, |item, path, cx| {
        let object = Object::open_any(item, path, cx)?;
        let version = if object.has("apiVersion") || of.is_empty() {
            word(&object, "apiVersion", cx)
        } else {
            Some(version.clone())
        };
        let kind = if object.has("kind") || of.is_empty() { word(&object, "kind", cx) } else { Some(of.to_owned()) };
        found.extend(document(item, &version?, &kind?, cx));
        Some(())
    });
    found
}

fn word(object: &Object<'_>, field: &str, cx: &mut Context<'_>) -> Option<String> {
    let entry = object.require(field, &Path::ROOT, cx)?;
    text(&entry.node, &Path::ROOT.key(field), cx).map(|word| word.value)
}

fn known(kind: &str) -> Option<&'static Known> {
    KNOWN.iter().find(|known| known.kind.name() == kind)
}

fn place(root: &Node, field: &str) -> Pos {
    root.get(field).map_or(root.at, |entry| entry.node.at)
}

fn document(root: &Node, version: &str, kind: &str, cx: &mut Context<'_>) -> Option<Document> {
    let Some(known) = known(kind) else {
        unknown_kind(root, version, kind, cx);
        return None;
    };
    if !known.versions.contains(&version) {
        let help = Some(format!("write `apiVersion: {}`", known.versions[0]));
        let message = format!("there is no {kind} in {version:?}");
        cx.error(&Path::ROOT.key("apiVersion"), place(root, "apiVersion"), message, help);
        return None;
    }
    let before = cx.errors();
    let fields: &[&str] = match known.kind {
        Kind::CiliumNetworkPolicy | Kind::CiliumClusterwideNetworkPolicy => {
            &["apiVersion", "kind", "metadata", "spec", "specs", "status"]
        }
        Kind::CiliumCIDRGroup => &["apiVersion", "kind", "metadata", "spec"],
        Kind::NetworkPolicy | Kind::ClusterNetworkPolicy => &["apiVersion", "kind", "metadata", "spec", "status"],
    };
    let object = Object::open(root, &Path::ROOT, cx, fields)?;
    let meta = meta::read(&object, known.scope, cx);
    meta::status(&object, cx);
    let body = body(&object, known.kind, cx);
    if cx.errors() > before {
        return None;
    }
    Some(Document { kind: known.kind, meta: meta?, body: body?, file: cx.file.clone(), at: root.at })
}

fn body(object: &Object<'_>, kind: Kind, cx: &mut Context<'_>) -> Option<Body> {
    let path = Path::ROOT.key("spec");
    match kind {
        Kind::CiliumNetworkPolicy => cilium::read(object, cilium::Scope::Namespace, cx).map(Body::Cilium),
        Kind::CiliumClusterwideNetworkPolicy => cilium::read(object, cilium::Scope::Cluster, cx).map(Body::Cilium),
        Kind::NetworkPolicy => netpol::read(object, cx).map(Body::Network),
        Kind::ClusterNetworkPolicy => {
            let spec = object.require("spec", &Path::ROOT, cx)?;
            cluster::read(&spec.node, &path, cx).map(Body::Cluster)
        }
        Kind::CiliumCIDRGroup => {
            let spec = object.require("spec", &Path::ROOT, cx)?;
            cidr_group::read(&spec.node, &path, cx).map(Body::CidrGroup)
        }
    }
}

fn unknown_kind(root: &Node, version: &str, kind: &str, cx: &mut Context<'_>) {
    let path = Path::ROOT.key("kind");
    let at = place(root, "kind");
    let names = KNOWN.iter().map(|known| known.kind.name());
    let near = suggest::nearest(kind, names.clone());
    let foreign = FOREIGN_GROUPS
        .iter()
        .any(|group| if group.ends_with('/') { version.starts_with(group) } else { version == *group });
    if near.is_none() && foreign {
        cx.warning(&path, at, format!("{kind} is no policy; it is left out"), None);
        return;
    }
    let help = match near {
        Some(name) => format!("did you mean `{name}`?"),
        None => format!("policies are {}", super::decode::words(&names.collect::<Vec<_>>())),
    };
    cx.error(&path, at, format!("the kind {kind:?} of {version:?} is not known"), Some(help));
}
