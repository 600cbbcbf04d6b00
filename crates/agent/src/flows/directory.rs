//! What numbers in events stand for, kept up to date by the owner thread and read by the event reader; and the news of every
//! change, for `hubble observe agent-events`.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use ipnet::IpNet;
use nexin_flows::decode::{Names, sorted_labels};
use nexin_flows::record::{Node, Rule, RulePlace};
use nexin_hubble::flow;
use nexin_model::{Identity, LabelSet};
use nexin_policy::rule::{self, DocumentKey, L4, Peer, PortMatch};

use super::notices::Notices;

/// A local endpoint, as the directory is told of it.
pub(crate) struct LocalEndpoint<'a> {
    pub(crate) id: u16,
    pub(crate) identity: Identity,
    pub(crate) labels: &'a LabelSet,
    pub(crate) namespace: &'a str,
    pub(crate) name: &'a str,
    pub(crate) addresses: Vec<IpAddr>,
    /// Index and name of its link on the host.
    pub(crate) interface: Option<(u32, &'a str)>,
}

/// What the last change left, to tell the next one.
#[derive(Default)]
struct Known {
    revision: u64,
    /// Rules of a document, and the revision since which they are so.
    policies: BTreeMap<DocumentKey, (u64, Vec<Rule>)>,
    addresses: BTreeMap<IpNet, flow::IpCacheNotification>,
}

struct Shared {
    names: RwLock<Names>,
    known: Mutex<Known>,
    notices: Arc<Notices>,
}

/// See the module. Clones are one.
#[derive(Clone)]
pub(crate) struct SharedDirectory(Arc<Shared>);

impl Default for SharedDirectory {
    fn default() -> Self {
        Self::new(Node::default())
    }
}

impl SharedDirectory {
    pub(crate) fn new(node: Node) -> Self {
        let names = Names::new(node);
        let notices = Arc::new(Notices::new(names.node().clone()));
        Self(Arc::new(Shared { names: RwLock::new(names), known: Mutex::default(), notices }))
    }

    pub(crate) fn notices(&self) -> &Arc<Notices> {
        &self.0.notices
    }

    pub(crate) fn names(&self) -> RwLockReadGuard<'_, Names> {
        self.0.names.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Names> {
        self.0.names.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set_identity(&self, identity: Identity, labels: &LabelSet) {
        self.write().set_identity(identity, labels);
    }

    pub(crate) fn remove_identity(&self, identity: Identity) {
        self.write().remove_identity(identity);
    }

    pub(crate) fn set_identities<'a>(&self, identities: impl Iterator<Item = (Identity, &'a LabelSet)>) {
        self.write().set_identities(identities);
    }

    pub(crate) fn set_interfaces(&self, interfaces: impl IntoIterator<Item = (u32, String)>) {
        self.write().set_interfaces(interfaces);
    }

    pub(crate) fn set_endpoint(&self, local: &LocalEndpoint<'_>) {
        let labels = sorted_labels(local.identity, local.labels);
        let cluster = labels.iter().find_map(|label| label.strip_prefix("k8s:io.cilium.k8s.policy.cluster="));
        let now = flow::Endpoint {
            id: u32::from(local.id),
            identity: local.identity.0,
            namespace: local.namespace.to_owned(),
            pod_name: local.name.to_owned(),
            cluster_name: cluster.unwrap_or_default().to_owned(),
            labels: labels.clone(),
            workloads: Vec::new(),
        };
        let before = {
            let mut names = self.write();
            if let Some((index, name)) = local.interface {
                names.set_interface(index, name);
            }
            let before = names.endpoint(local.id).cloned();
            names.set_endpoint(local.id, now);
            before
        };
        match before {
            None => self.0.notices.endpoint_created(local.id, &labels, local.namespace, local.name),
            Some(before) if before.identity != local.identity.0 || before.labels != labels => {
                self.0.notices.endpoint_regenerated(local.id, &labels);
            }
            Some(_) => {}
        }
        let addresses = local.addresses.iter().map(|ip| (IpNet::from(*ip), local.identity));
        for (prefix, identity) in addresses {
            self.upsert(&mut self.known(), prefix, identity, local.namespace, local.name);
        }
    }

    pub(crate) fn remove_endpoint(&self, id: u16) {
        let before = {
            let mut names = self.write();
            let before = names.endpoint(id).cloned();
            names.remove_endpoint(id);
            before
        };
        let Some(before) = before else { return };
        self.0.notices.endpoint_deleted(id, &before.labels, &before.namespace, &before.pod_name);
        let mut known = self.known();
        let of_it = |entry: &flow::IpCacheNotification| {
            entry.namespace == before.namespace
                && entry.pod_name == before.pod_name
                && entry.identity == before.identity
        };
        let gone: Vec<IpNet> =
            known.addresses.iter().filter(|(_, entry)| of_it(entry)).map(|(prefix, _)| *prefix).collect();
        self.withdraw(&mut known, &gone);
    }

    /// All prefixes that have an identity of their own.
    pub(crate) fn set_prefixes(&self, prefixes: &BTreeMap<IpNet, Identity>) {
        let mut known = self.known();
        for (prefix, identity) in prefixes {
            self.upsert(&mut known, *prefix, *identity, "", "");
        }
        let stale = |(prefix, entry): &(&IpNet, &flow::IpCacheNotification)| {
            entry.pod_name.is_empty() && !prefixes.contains_key(*prefix)
        };
        let gone: Vec<IpNet> = known.addresses.iter().filter(stale).map(|(prefix, _)| *prefix).collect();
        self.withdraw(&mut known, &gone);
    }

    fn upsert(&self, known: &mut Known, prefix: IpNet, identity: Identity, namespace: &str, pod: &str) {
        let before = known.addresses.get(&prefix);
        if before.is_some_and(|before| before.identity == identity.0 && before.pod_name == pod) {
            return;
        }
        let entry = flow::IpCacheNotification {
            cidr: prefix.to_string(),
            identity: identity.0,
            old_identity: before.map(|before| before.identity),
            namespace: namespace.to_owned(),
            pod_name: pod.to_owned(),
            ..flow::IpCacheNotification::default()
        };
        known.addresses.insert(prefix, entry.clone());
        self.0.notices.address_known(entry);
    }

    fn withdraw(&self, known: &mut Known, prefixes: &[IpNet]) {
        for prefix in prefixes {
            if let Some(entry) = known.addresses.remove(prefix) {
                self.0.notices.address_gone(entry);
            }
        }
    }

    /// All rules there are, by document.
    pub(crate) fn set_rules<'a>(&self, documents: impl Iterator<Item = (&'a DocumentKey, Vec<(u32, &'a rule::Rule)>)>) {
        let mut known = self.known();
        let next = known.revision + 1;
        let mut before = std::mem::take(&mut known.policies);
        let (mut changed, mut all) = (false, Vec::new());
        for (key, rules) in documents {
            let old = before.remove(key);
            let of_revision = |revision| rules.iter().map(|(id, rule)| shown_rule(*id, rule, revision)).collect();
            let same = old.filter(|(revision, old)| *old == of_revision(*revision));
            let (revision, rules) = same.unwrap_or_else(|| {
                changed = true;
                self.0.notices.policy_updated(policy_labels(key), next, rules.len());
                (next, of_revision(next))
            });
            all.extend(rules.iter().cloned());
            known.policies.insert(key.clone(), (revision, rules));
        }
        for (key, (_, rules)) in before {
            changed = true;
            self.0.notices.policy_deleted(policy_labels(&key), next, rules.len());
        }
        if changed {
            known.revision = next;
            self.write().set_rules(all);
        }
    }
}

/// Labels that Cilium gives to rules of a document.
fn policy_labels(key: &DocumentKey) -> Vec<String> {
    let derived = format!("k8s:io.cilium.k8s.policy.derived-from={}", key.kind.name());
    let name = format!("k8s:io.cilium.k8s.policy.name={}", key.name);
    let namespace = key.namespace.as_ref().map(|name| format!("k8s:io.cilium.k8s.policy.namespace={name}"));
    [derived, name].into_iter().chain(namespace).collect()
}

/// A rule as flows show it. Where it was written stands among the policy's labels: Hubble's message has no other place.
fn shown_rule(id: u32, rule: &rule::Rule, revision: u64) -> Rule {
    let key = &rule.origin.document;
    let mut labels = policy_labels(key);
    labels.push(format!("nexin:rule={}", rule.origin.path));
    labels.push(format!("nexin:source={}:{}", rule.origin.file, rule.origin.line));
    let whole = match &rule.l4 {
        L4::Any => Vec::new(),
        L4::Some(ports) => ports
            .iter()
            .filter_map(|port| match port {
                PortMatch::Ports { protocol, ports } if *ports == nexin_model::PortRange::ALL => {
                    Some(protocol.number())
                }
                PortMatch::Ports { .. } | PortMatch::Named { .. } | PortMatch::Icmp(_) => None,
            })
            .collect(),
    };
    Rule {
        id,
        policy: flow::Policy {
            name: key.name.to_string(),
            namespace: key.namespace.as_deref().unwrap_or_default().to_owned(),
            kind: key.kind.name().to_owned(),
            labels,
            revision,
        },
        place: RulePlace {
            file: rule.origin.file.to_string(),
            line: rule.origin.line,
            field: rule.origin.path.to_string(),
        },
        log: rule.log.as_deref().map(str::to_owned),
        any_peer: rule.peers.iter().any(|peer| matches!(peer, Peer::Any | Peer::Entity(rule::Entity::All))),
        any_l4: rule.l4 == L4::Any,
        whole_protocols: whole,
    }
}
