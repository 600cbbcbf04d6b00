//! Labels a workload gets from where it lives, and which of its labels make up its identity.

use std::sync::Arc;

use crate::{Label, LabelSet, Source};

pub const NAMESPACE_LABEL: &str = "io.kubernetes.pod.namespace";
pub const CLUSTER_LABEL: &str = "io.cilium.k8s.policy.cluster";
pub const SERVICE_ACCOUNT_LABEL: &str = "io.cilium.k8s.policy.serviceaccount";
/// Followed by a dot and the key of the namespace's label.
pub const NAMESPACE_LABELS_PREFIX: &str = "io.cilium.k8s.namespace.labels";

/// Where a workload lives; [`Self::labels`] joins that with its own labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointLabels<'a> {
    pub cluster: &'a str,
    pub namespace: &'a str,
    pub service_account: Option<&'a str>,
    pub namespace_labels: &'a [(Arc<str>, Arc<str>)],
    /// The workload's own labels. Labels of the reserved kinds above are overridden.
    pub own: &'a LabelSet,
}

impl EndpointLabels<'_> {
    /// All labels of the workload, before any filter.
    pub fn labels(&self) -> LabelSet {
        let place = [(NAMESPACE_LABEL, self.namespace), (CLUSTER_LABEL, self.cluster)];
        let namespace = self
            .namespace_labels
            .iter()
            .map(|(key, value)| Label::k8s(format!("{NAMESPACE_LABELS_PREFIX}.{key}"), value.clone()));
        self.own
            .filtered(|label| !is_place_label(label))
            .iter()
            .cloned()
            .chain(place.into_iter().map(|(key, value)| Label::k8s(key, value)))
            .chain(self.service_account.map(|account| Label::k8s(SERVICE_ACCOUNT_LABEL, account)))
            .chain(namespace)
            .collect()
    }
}

/// A workload cannot claim these for itself: they say where it lives.
fn is_place_label(label: &Label) -> bool {
    label.source == Source::Reserved
        || (label.source == Source::K8s
            && (matches!(&*label.key, NAMESPACE_LABEL | CLUSTER_LABEL | SERVICE_ACCOUNT_LABEL)
                || label.key.starts_with(NAMESPACE_LABELS_PREFIX)))
}

/// Which labels take part in an identity though no policy asks for them.
///
/// Labels that are different on each replica would give each its own identity. What is left out here still takes part as
/// soon as a policy selects on it (`policy::Engine::identity_labels`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelFilter {
    /// Keys (of any source) that start with one of these are left out. Empty: [`Self::DEFAULT_EXCLUDED`].
    pub excluded: Vec<Arc<str>>,
}

impl LabelFilter {
    /// Prefixes of keys that say nothing about what a workload is: what controllers put on each replica or revision.
    /// Source: cilium `pkg/labelsfilter/filter.go`.
    pub const DEFAULT_EXCLUDED: [&str; 15] = [
        "io.kubernetes",
        "kubernetes.io",
        "statefulset.kubernetes.io/pod-name",
        "apps.kubernetes.io/pod-index",
        "batch.kubernetes.io/job-completion-index",
        "batch.kubernetes.io/controller-uid",
        "beta.kubernetes.io",
        "k8s.io",
        "pod-template-generation",
        "pod-template-hash",
        "controller-revision-hash",
        "controller-uid",
        "annotation",
        "etcd_node",
        "topology.kubernetes.io",
    ];

    /// Takes part in the identity whatever policies ask.
    pub fn keeps(&self, label: &Label) -> bool {
        if label.source == Source::Reserved || is_place_label(label) {
            return true;
        }
        if self.excluded.is_empty() {
            return !Self::DEFAULT_EXCLUDED.iter().any(|prefix| label.key.starts_with(prefix));
        }
        !self.excluded.iter().any(|prefix| label.key.starts_with(&**prefix))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workload_cannot_claim_another_place() {
        let own: LabelSet =
            [Label::k8s("app", "web"), Label::k8s(NAMESPACE_LABEL, "kube-system"), Label::reserved("host")]
                .into_iter()
                .collect();
        let namespace_labels = [("team".into(), "red".into())];
        let labels = EndpointLabels {
            cluster: "default",
            namespace: "prod",
            service_account: Some("web"),
            namespace_labels: &namespace_labels,
            own: &own,
        }
        .labels();
        assert_eq!(
            labels.to_string(),
            "k8s:app=web,k8s:io.cilium.k8s.namespace.labels.team=red,k8s:io.cilium.k8s.policy.cluster=default,\
             k8s:io.cilium.k8s.policy.serviceaccount=web,k8s:io.kubernetes.pod.namespace=prod"
        );
    }

    #[test]
    fn the_filter_drops_what_differs_between_replicas() {
        let filter = LabelFilter::default();
        assert!(filter.keeps(&Label::k8s("app", "web")));
        assert!(filter.keeps(&Label::k8s(NAMESPACE_LABEL, "default")));
        assert!(!filter.keeps(&Label::k8s("pod-template-hash", "x")));
        let own = LabelFilter { excluded: vec!["app".into()] };
        assert!(!own.keeps(&Label::k8s("app", "web")));
        assert!(own.keeps(&Label::k8s("pod-template-hash", "x")));
    }
}
