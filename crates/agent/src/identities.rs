//! Numbers for sets of labels. A set keeps its number over restarts, and after its last workload is gone for as long as there
//! is room.

use std::collections::{BTreeMap, HashMap};

use ipnet::IpNet;
use nexin_api::v1::NamedPort;
use nexin_model::{Identity, NamedPorts};
use nexin_policy::engine::IdentitySpec;

use crate::state::{IdentityRecord, PrefixRecord};

/// No number is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoNumber {
    #[error("all {} identity numbers of workloads are in use", Identity::CLUSTER_MAX - Identity::CLUSTER_MIN + 1)]
    Workloads,
    #[error("all numbers for prefixes are in use")]
    Prefixes,
}

/// Unused sets that are remembered at most.
const REMEMBERED: usize = 8_192;
/// Numbers of local scope.
const LOCAL_COUNT: u32 = 1 << 24;

#[derive(Debug, Default)]
pub(crate) struct Identities {
    by_spec: HashMap<IdentitySpec, Identity>,
    by_number: BTreeMap<Identity, IdentitySpec>,
    prefixes: BTreeMap<IpNet, Identity>,
    prefix_numbers: BTreeMap<Identity, IpNet>,
    next_workload: u32,
    next_local: u32,
    /// Changed since [`Self::take_changed`].
    changed: bool,
    /// Changed since [`Self::take_changed_prefixes`].
    prefixes_changed: bool,
}

impl Identities {
    pub(crate) fn restore(workloads: Vec<IdentityRecord>, prefixes: Vec<PrefixRecord>) -> Self {
        let mut identities = Self::default();
        for record in workloads {
            let in_range = (Identity::CLUSTER_MIN..=Identity::CLUSTER_MAX).contains(&record.id);
            if in_range && !identities.by_number.contains_key(&Identity(record.id)) {
                let named_ports = named_ports(&record.named_ports);
                identities.insert(Identity(record.id), IdentitySpec { labels: record.labels, named_ports });
            }
        }
        for PrefixRecord { id, prefix } in prefixes {
            if Identity(id).is_world() && !identities.prefix_numbers.contains_key(&Identity(id)) {
                identities.prefixes.insert(prefix, Identity(id));
                identities.prefix_numbers.insert(Identity(id), prefix);
            }
        }
        identities
    }

    /// The number of a set of labels and named ports, a new one if need be.
    pub(crate) fn number(&mut self, spec: &IdentitySpec) -> Result<Identity, NoNumber> {
        if let Some(identity) = self.by_spec.get(spec) {
            return Ok(*identity);
        }
        let count = Identity::CLUSTER_MAX - Identity::CLUSTER_MIN + 1;
        let candidates = (0..count).map(|n| Identity(Identity::CLUSTER_MIN + (self.next_workload + n) % count));
        let free = candidates.into_iter().find(|candidate| !self.by_number.contains_key(candidate));
        let identity = free.ok_or(NoNumber::Workloads)?;
        self.next_workload = identity.0 - Identity::CLUSTER_MIN + 1;
        self.insert(identity, spec.clone());
        self.changed = true;
        Ok(identity)
    }

    /// The number of a prefix, a new one if need be.
    pub(crate) fn prefix_number(&mut self, prefix: IpNet) -> Result<Identity, NoNumber> {
        if let Some(identity) = self.prefixes.get(&prefix) {
            return Ok(*identity);
        }
        let candidates =
            (0..LOCAL_COUNT).map(|n| Identity(Identity::SCOPE_LOCAL + (self.next_local + n) % LOCAL_COUNT));
        let usable = |candidate: &Identity| candidate.0 != Identity::SCOPE_LOCAL;
        let mut free = candidates.filter(|candidate| usable(candidate) && !self.prefix_numbers.contains_key(candidate));
        let identity = free.next().ok_or(NoNumber::Prefixes)?;
        self.next_local = identity.0 - Identity::SCOPE_LOCAL + 1;
        self.prefixes.insert(prefix, identity);
        self.prefix_numbers.insert(identity, prefix);
        self.prefixes_changed = true;
        Ok(identity)
    }

    pub(crate) fn prefix(&self, identity: Identity) -> Option<IpNet> {
        self.prefix_numbers.get(&identity).copied()
    }

    /// Forgets prefixes that are not wanted any more, and sets that are not in use when too many are remembered.
    pub(crate) fn retain(&mut self, prefix: impl Fn(&IpNet) -> bool, in_use: impl Fn(Identity) -> bool) {
        let before = self.prefixes.len();
        self.prefixes.retain(|net, _| prefix(net));
        self.prefix_numbers.retain(|_, net| prefix(net));
        self.prefixes_changed |= before != self.prefixes.len();
        let unused: Vec<_> = self.by_number.keys().copied().filter(|identity| !in_use(*identity)).collect();
        let excess = unused.len().saturating_sub(REMEMBERED);
        for identity in unused.into_iter().take(excess) {
            if let Some(spec) = self.by_number.remove(&identity) {
                self.by_spec.remove(&spec);
                self.changed = true;
            }
        }
    }

    /// The workloads' identities to write down, when they changed since the last call.
    pub(crate) fn take_changed(&mut self) -> Option<Vec<IdentityRecord>> {
        if !std::mem::take(&mut self.changed) {
            return None;
        }
        let records = self.by_number.iter().map(|(identity, spec)| IdentityRecord {
            id: identity.0,
            labels: spec.labels.clone(),
            named_ports: spec
                .named_ports
                .iter()
                .map(|(name, protocol, port)| NamedPort { name: name.to_owned(), port, protocol })
                .collect(),
        });
        Some(records.collect())
    }

    /// The same for prefixes.
    pub(crate) fn take_changed_prefixes(&mut self) -> Option<Vec<PrefixRecord>> {
        let records = self.prefixes.iter().map(|(prefix, identity)| PrefixRecord { id: identity.0, prefix: *prefix });
        std::mem::take(&mut self.prefixes_changed).then(|| records.collect())
    }

    fn insert(&mut self, identity: Identity, spec: IdentitySpec) {
        self.by_spec.insert(spec.clone(), identity);
        self.by_number.insert(identity, spec);
    }
}

/// The model's form of named ports.
pub(crate) fn named_ports(ports: &[NamedPort]) -> NamedPorts {
    ports.iter().map(|port| (port.name.as_str(), port.protocol, port.port)).collect()
}

#[cfg(test)]
mod tests {
    use nexin_model::Label;

    use super::*;

    fn spec(app: &str) -> IdentitySpec {
        IdentitySpec::from([Label::k8s("app", app)].into_iter().collect::<nexin_model::LabelSet>())
    }

    #[test]
    fn numbers_survive_a_restart_and_are_not_given_twice() {
        let mut identities = Identities::default();
        let a = identities.number(&spec("a")).unwrap();
        let b = identities.number(&spec("b")).unwrap();
        let net = identities.prefix_number("10.0.0.0/8".parse().unwrap()).unwrap();
        assert_eq!(a.0, 256);
        assert_ne!(a, b);
        assert!(net.is_world());
        let workloads = identities.take_changed().unwrap();
        let prefixes = identities.take_changed_prefixes().unwrap();
        assert_eq!((identities.take_changed(), identities.take_changed_prefixes()), (None, None));
        let workloads = serde_json::from_slice(&serde_json::to_vec(&workloads).unwrap()).unwrap();
        let prefixes = serde_json::from_slice(&serde_json::to_vec(&prefixes).unwrap()).unwrap();
        let mut again = Identities::restore(workloads, prefixes);
        assert_eq!(again.number(&spec("b")), Ok(b));
        assert_eq!(again.number(&spec("a")), Ok(a));
        assert_eq!(again.prefix_number("10.0.0.0/8".parse().unwrap()), Ok(net));
        assert_eq!((again.take_changed(), again.take_changed_prefixes()), (None, None));
        let c = again.number(&spec("c")).unwrap();
        assert!(c != a && c != b);
    }

    #[test]
    fn named_ports_make_another_identity() {
        let mut identities = Identities::default();
        let plain = identities.number(&spec("a")).unwrap();
        let port = NamedPort { name: "http".into(), port: 80, protocol: nexin_model::Protocol::Tcp };
        let named = IdentitySpec { named_ports: named_ports(&[port]), ..spec("a") };
        assert_ne!(identities.number(&named).unwrap(), plain);
    }

    #[test]
    fn prefixes_go_when_no_policy_names_them() {
        let mut identities = Identities::default();
        let net: IpNet = "10.0.0.0/8".parse().unwrap();
        let number = identities.prefix_number(net).unwrap();
        let _ = identities.take_changed_prefixes();
        identities.retain(|_| false, |_| true);
        assert_eq!(identities.prefix(number), None);
        assert!(identities.take_changed_prefixes().unwrap().is_empty());
    }

    #[test]
    fn exhaustion_is_an_error_not_a_loop() {
        let mut identities = Identities::default();
        for n in 0..(Identity::CLUSTER_MAX - Identity::CLUSTER_MIN + 1) {
            identities.number(&spec(&n.to_string())).unwrap();
        }
        assert_eq!(identities.number(&spec("one more")), Err(NoNumber::Workloads));
        identities.retain(|_| true, |identity| identity.0 < 300);
        assert!(identities.number(&spec("one more")).is_ok());
    }
}
