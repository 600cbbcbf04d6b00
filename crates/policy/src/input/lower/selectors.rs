//! Written selectors to the model's, with the place (namespace, cluster) that they leave unsaid.

use nexin_model::{CLUSTER_LABEL, KeyMatch, NAMESPACE_LABEL, NAMESPACE_LABELS_PREFIX, Requirement, Selector, Source};

use crate::input::selector::LabelSelector;
use crate::rule::{LowerOptions, in_namespace, is_workload};

/// Requirements of a written selector, its keys read by `key`.
pub(super) fn requirements<'a>(
    selector: &'a LabelSelector,
    key: impl Fn(&str) -> KeyMatch + Copy + 'a,
) -> impl Iterator<Item = Requirement> + 'a {
    let labels =
        selector.labels.iter().map(move |(name, value)| Requirement::equals(key(&name.value), value.value.as_str()));
    let expressions = selector.expressions.iter().map(move |expression| {
        let values = expression.values.iter().map(|value| value.value.as_str());
        // Values were checked when the selector was read, except in selectors of services, which match nobody yet.
        Requirement::new(key(&expression.key.value), expression.operator, values)
            .unwrap_or_else(|_| Requirement::exists(key(&expression.key.value)))
    });
    labels.chain(expressions)
}

/// Keys as Cilium's selectors have them: `source:key`, or `key` of any source.
pub(super) fn sourced(selector: &LabelSelector) -> Selector {
    requirements(selector, KeyMatch::parse).collect()
}

/// Keys of workloads' labels, as Kubernetes' selectors have them.
pub(super) fn plain(selector: &LabelSelector) -> Selector {
    requirements(selector, |key| KeyMatch::any(key)).collect()
}

/// Keys of CIDR groups' labels.
pub(super) fn cidr_groups(selector: &LabelSelector) -> Selector {
    requirements(selector, |key| match KeyMatch::parse(key) {
        KeyMatch { source: None, key } => KeyMatch { source: Some(Source::CidrGroup), key },
        sourced => sourced,
    })
    .collect()
}

/// Workloads by the labels of their namespace and their own.
pub(super) fn workloads(namespaces: Option<&LabelSelector>, pods: Option<&LabelSelector>) -> Selector {
    let of_namespace = |key: &str| KeyMatch::k8s(format!("{NAMESPACE_LABELS_PREFIX}.{key}"));
    namespaces
        .into_iter()
        .flat_map(|selector| requirements(selector, of_namespace))
        .chain(pods.into_iter().flat_map(|selector| requirements(selector, |key| KeyMatch::any(key))))
        .chain([is_workload()])
        .collect()
}

/// Peers of this cluster, where the selector says nothing of clusters and the agent is so configured.
pub(super) fn of_cluster(selector: Selector, options: &LowerOptions) -> Selector {
    if options.any_cluster || mentions(&selector, CLUSTER_LABEL) {
        return selector;
    }
    selector.and(Requirement::equals(KeyMatch::k8s(CLUSTER_LABEL), options.cluster_name.clone()))
}

/// The selector is about this label: of Kubernetes, or of any source.
fn mentions(selector: &Selector, key: &str) -> bool {
    selector.mentions(&KeyMatch::k8s(key)) || selector.mentions(&KeyMatch::any(key))
}

/// A peer of a Cilium policy. `namespace`: of the policy; `None` for those of the whole cluster. `of_init`: the subject
/// names `reserved:init`, whose endpoints have no namespace.
pub(super) fn cilium_peer(
    selector: &LabelSelector,
    namespace: Option<&str>,
    of_init: bool,
    options: &LowerOptions,
) -> Selector {
    let selector = sourced(selector);
    if selector.requirements().iter().any(|requirement| requirement.key.source == Some(Source::Reserved)) {
        return selector;
    }
    let selector = match namespace {
        _ if mentions(&selector, NAMESPACE_LABEL) => selector,
        None if of_init => selector,
        None => selector.and(is_workload()),
        Some(_) if mentions_namespace_labels(&selector) => selector,
        Some(namespace) => selector.and(in_namespace(namespace)),
    };
    of_cluster(selector, options)
}

fn mentions_namespace_labels(selector: &Selector) -> bool {
    selector.requirements().iter().any(|requirement| {
        matches!(requirement.key.source, None | Some(Source::K8s))
            && requirement.key.key.starts_with(NAMESPACE_LABELS_PREFIX)
    })
}

/// The subject of a CiliumNetworkPolicy: always of the policy's own namespace, whatever `matchLabels` says of it.
pub(super) fn cilium_subject(selector: &LabelSelector, namespace: Option<&str>) -> Selector {
    let Some(namespace) = namespace else { return sourced(selector) };
    let own = KeyMatch::k8s(NAMESPACE_LABEL);
    let labels = selector.labels.iter().filter(|(key, _)| KeyMatch::parse(&key.value) != own).cloned().collect();
    sourced(&LabelSelector { labels, ..selector.clone() }).and(in_namespace(namespace))
}
