//! What numbers in events stand for.

use std::collections::HashMap;
use std::sync::Arc;

use nexin_abi::Identity;
use nexin_hubble::flow;
use nexin_model::{LabelSet, Source};

use crate::record::{Node, Rule};

/// Names by number, in the form that records point to.
#[derive(Clone, Debug, Default)]
pub struct Names {
    node: Arc<Node>,
    /// By number; few and dense.
    endpoints: Vec<Option<Arc<flow::Endpoint>>>,
    /// With the labels that it was made of.
    identities: HashMap<Identity, (LabelSet, Arc<flow::Endpoint>)>,
    rules: HashMap<u32, Arc<Rule>>,
    interfaces: HashMap<u32, Arc<flow::NetworkInterface>>,
}

impl Names {
    pub fn new(node: Node) -> Self {
        Self { node: Arc::new(node), ..Self::default() }
    }

    pub fn node(&self) -> &Arc<Node> {
        &self.node
    }

    /// One side of a flow. What the kernel saw is kept: a workload that got another identity meanwhile is shown with the old one.
    pub fn party(&self, identity: Identity, endpoint: u16) -> Arc<flow::Endpoint> {
        let local = self.endpoint(endpoint);
        match local {
            Some(local) if local.identity == identity.0 || identity == Identity::UNKNOWN => local.clone(),
            Some(local) => {
                let labels = self.identities.get(&identity).map_or_else(Vec::new, |(_, known)| known.labels.clone());
                Arc::new(flow::Endpoint { identity: identity.0, labels, ..flow::Endpoint::clone(local) })
            }
            None => self.identity(identity).cloned().unwrap_or_else(|| Arc::new(remote(identity, Vec::new()))),
        }
    }

    /// A local endpoint by its number.
    pub fn endpoint(&self, number: u16) -> Option<&Arc<flow::Endpoint>> {
        self.endpoints.get(usize::from(number))?.as_ref()
    }

    /// What stands for anybody of an identity.
    pub fn identity(&self, identity: Identity) -> Option<&Arc<flow::Endpoint>> {
        self.identities.get(&identity).map(|(_, known)| known)
    }

    pub fn rule(&self, id: u32) -> Option<Arc<Rule>> {
        if id == 0 {
            return None;
        }
        self.rules.get(&id).cloned()
    }

    pub fn interface(&self, index: u32) -> Option<Arc<flow::NetworkInterface>> {
        self.interfaces.get(&index).cloned()
    }

    pub fn set_endpoint(&mut self, number: u16, endpoint: flow::Endpoint) {
        let at = usize::from(number);
        if self.endpoints.len() <= at {
            self.endpoints.resize(at + 1, None);
        }
        replace(&mut self.endpoints[at], endpoint);
    }

    /// True when there was one.
    pub fn remove_endpoint(&mut self, number: u16) -> bool {
        self.endpoints.get_mut(usize::from(number)).and_then(Option::take).is_some()
    }

    pub fn set_identity(&mut self, identity: Identity, labels: &LabelSet) {
        let known = self.identities.remove(&identity);
        self.identities.insert(identity, named(identity, labels, known));
    }

    pub fn remove_identity(&mut self, identity: Identity) {
        self.identities.remove(&identity);
    }

    /// All identities there are.
    pub fn set_identities<'a>(&mut self, all: impl Iterator<Item = (Identity, &'a LabelSet)>) {
        let mut before = std::mem::take(&mut self.identities);
        self.identities = all
            .map(|(identity, labels)| {
                let known = before.remove(&identity);
                (identity, named(identity, labels, known))
            })
            .collect();
    }

    /// All rules there are. Those that stay as they are stay the same value.
    pub fn set_rules(&mut self, rules: impl IntoIterator<Item = Rule>) {
        let mut before = std::mem::take(&mut self.rules);
        self.rules = rules
            .into_iter()
            .map(|rule| {
                let mut known = before.remove(&rule.id);
                (rule.id, replace(&mut known, rule))
            })
            .collect();
    }

    pub fn set_interface(&mut self, index: u32, name: &str) {
        let mut known = self.interfaces.remove(&index);
        let interface = replace(&mut known, flow::NetworkInterface { index, name: name.to_owned() });
        self.interfaces.insert(index, interface);
    }

    /// All interfaces of the node: index and name.
    pub fn set_interfaces(&mut self, interfaces: impl IntoIterator<Item = (u32, String)>) {
        let mut before = std::mem::take(&mut self.interfaces);
        self.interfaces = interfaces
            .into_iter()
            .map(|(index, name)| {
                let mut known = before.remove(&index);
                (index, replace(&mut known, flow::NetworkInterface { index, name }))
            })
            .collect();
    }
}

/// Puts `value` in `known` unless an equal one is there: what records share stays shared.
fn replace<T: PartialEq>(known: &mut Option<Arc<T>>, value: T) -> Arc<T> {
    match known {
        Some(same) if **same == value => same.clone(),
        _ => known.insert(Arc::new(value)).clone(),
    }
}

/// What stands for an identity; what is known already where its labels are the same.
fn named(
    identity: Identity,
    labels: &LabelSet,
    known: Option<(LabelSet, Arc<flow::Endpoint>)>,
) -> (LabelSet, Arc<flow::Endpoint>) {
    match known {
        Some(known) if known.0 == *labels => known,
        _ => (labels.clone(), Arc::new(remote(identity, sorted_labels(identity, labels)))),
    }
}

/// Somebody of whom only the identity is known. A reserved one has its label even where nobody told.
fn remote(identity: Identity, labels: Vec<String>) -> flow::Endpoint {
    let labels = if labels.is_empty() { default_labels(identity) } else { labels };
    let value = |key: &str| {
        labels.iter().find_map(|label| label.strip_prefix(key)?.strip_prefix('=')).unwrap_or_default().to_owned()
    };
    flow::Endpoint {
        identity: identity.0,
        namespace: value("k8s:io.kubernetes.pod.namespace"),
        cluster_name: value("k8s:io.cilium.k8s.policy.cluster"),
        labels,
        ..flow::Endpoint::default()
    }
}

/// Labels of reserved identities. Source: cilium `pkg/identity/reserved.go`.
pub fn default_labels(identity: Identity) -> Vec<String> {
    let name = match identity {
        Identity::UNKNOWN => "unknown",
        Identity::HOST => "host",
        Identity::WORLD => "world",
        Identity::UNMANAGED => "unmanaged",
        Identity::HEALTH => "health",
        Identity::INIT => "init",
        Identity::REMOTE_NODE => "remote-node",
        Identity::KUBE_APISERVER => "kube-apiserver",
        Identity::INGRESS => "ingress",
        Identity::WORLD_IPV4 => "world-ipv4",
        Identity::WORLD_IPV6 => "world-ipv6",
        _ => return Vec::new(),
    };
    vec![format!("reserved:{name}")]
}

/// Labels as flows show them: sorted texts, and of the prefixes that hold an address only the narrowest.
pub fn sorted_labels(identity: Identity, labels: &LabelSet) -> Vec<String> {
    let prefix_len = |label: &nexin_model::Label| label.key.rsplit_once('/')?.1.parse::<u8>().ok();
    let local = identity.is_world() && !identity.is_reserved();
    let narrowest = labels.iter().filter(|label| label.source == Source::Cidr).max_by_key(|label| prefix_len(label));
    let shown = |label: &&nexin_model::Label| !local || label.source != Source::Cidr || Some(*label) == narrowest;
    let mut texts: Vec<String> = labels.iter().filter(shown).map(ToString::to_string).collect();
    texts.sort_unstable();
    texts
}
