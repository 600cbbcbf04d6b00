//! From labels to identities, from identities to policies, from all of it to the desired state.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use nexin_abi::maps::endpoint::Endpoint as KernelEndpoint;
use nexin_datapath::EndpointSpec;
use nexin_model::{EndpointLabels, Identity, Label, LabelSet};
use nexin_policy::engine::IdentitySpec;
use nexin_policy::tables::PolicyKey;

use super::Core;
use super::endpoints::EndpointError;
use crate::flows::LocalEndpoint;
use crate::identities::{NoNumber, named_ports};

impl Core {
    /// One endpoint's identity and policies, after its labels changed or it is new.
    pub(super) fn resolve_endpoint(&mut self, id: u16) -> Result<(), EndpointError> {
        let grown = self.assign_identity(id)?;
        self.assign_policies(id);
        for key in grown {
            self.refresh_tables(key);
        }
        self.refresh_desired_endpoint(id);
        self.publish_endpoint(id);
        Ok(())
    }

    /// Everything anew: documents, namespaces, the node or the settings changed. Same result as a start from scratch.
    pub(super) fn resolve_everything(&mut self) {
        self.resolve_prefixes();
        self.resolve_host();
        let ids: Vec<u16> = self.endpoints.keys().copied().collect();
        for id in &ids {
            if let Err(error) = self.assign_identity(*id) {
                // The endpoint keeps the identity it has: an old verdict is better than none.
                tracing::error!(endpoint = id, %error, "identity cannot follow the labels");
            }
        }
        self.drop_unused();
        for id in &ids {
            self.assign_policies(*id);
        }
        let in_use = self.keys_in_use();
        self.engine.retain_policies(|key| in_use.contains(&key));
        self.desired.policies.clear();
        for key in in_use {
            self.refresh_tables(key);
        }
        for id in ids {
            self.refresh_desired_endpoint(id);
        }
        self.desired.addresses = self.desired_addresses();
        self.desired.no_masquerade = self.desired_no_masquerade();
        self.desired.devices = self.node.devices.clone();
        self.publish_everything();
        if let Err(error) = self.save_identities() {
            tracing::error!(%error, "identity numbers may differ after a restart");
        }
        self.dirty = true;
    }

    pub(super) fn namespace_labels(&self, namespace: &str) -> Vec<(Arc<str>, Arc<str>)> {
        let mut namespace_labels: Vec<(Arc<str>, Arc<str>)> = self
            .namespaces
            .get(namespace)
            .into_iter()
            .flatten()
            .map(|(key, value)| (Arc::from(key.as_str()), Arc::from(value.as_str())))
            .collect();
        let name_key = "kubernetes.io/metadata.name";
        // Kubernetes gives this label to every namespace; selectors of published policies rely on it.
        if !namespace_labels.iter().any(|(key, _)| &**key == name_key) {
            namespace_labels.push((name_key.into(), namespace.into()));
        }
        namespace_labels
    }

    /// Labels of a workload's place and its own, before policies pick what counts.
    pub(super) fn labels_of(&self, id: u16) -> Option<LabelSet> {
        let record = &self.endpoints.get(&id)?.record;
        let own = record.labels.as_ref()?;
        let namespace_labels = self.namespace_labels(&record.namespace);
        let labels = EndpointLabels {
            cluster: &self.settings.agent.cluster_name,
            namespace: &record.namespace,
            service_account: record.service_account.as_deref(),
            namespace_labels: &namespace_labels,
            own,
        };
        Some(labels.labels())
    }

    /// Returns policies whose tables grew.
    fn assign_identity(&mut self, id: u16) -> Result<Vec<PolicyKey>, NoNumber> {
        let labels = self.labels_of(id);
        let Some(endpoint) = self.endpoints.get(&id) else { return Ok(Vec::new()) };
        let addresses: Vec<IpAddr> = endpoint.addresses().collect();
        let (identity, grown) = match labels {
            None => (Identity::INIT, Vec::new()),
            Some(labels) => {
                let labels = self.engine.identity_labels(&labels, &addresses);
                let spec = IdentitySpec { labels, named_ports: named_ports(&endpoint.record.named_ports) };
                let identity = self.identities.number(&spec)?;
                (identity, self.engine.upsert_identity(identity, spec))
            }
        };
        if let Some(endpoint) = self.endpoints.get_mut(&id) {
            endpoint.identity = identity;
        }
        Ok(grown.into_iter().map(|extension| extension.key).collect())
    }

    fn assign_policies(&mut self, id: u16) {
        let Some(endpoint) = self.endpoints.get_mut(&id) else { return };
        let policies = self.engine.policy_for(endpoint.identity).unwrap_or_default();
        endpoint.ingress = policies.ingress.as_ref().map(|tables| tables.key);
        endpoint.egress = policies.egress.as_ref().map(|tables| tables.key);
        for tables in [policies.ingress, policies.egress].into_iter().flatten() {
            self.desired.policies.insert(tables.key, tables);
        }
    }

    fn refresh_tables(&mut self, key: PolicyKey) {
        if let Some(tables) = self.engine.tables(key)
            && self.keys_in_use().contains(&key)
        {
            self.desired.policies.insert(key, tables);
            self.dirty = true;
        }
    }

    fn keys_in_use(&self) -> BTreeSet<PolicyKey> {
        self.endpoints.values().flat_map(|endpoint| [endpoint.ingress, endpoint.egress]).flatten().collect()
    }

    /// The endpoint's entries in the desired state follow what the core knows of it.
    pub(super) fn refresh_desired_endpoint(&mut self, id: u16) {
        self.dirty = true;
        let Some(endpoint) = self.endpoints.get(&id) else { return };
        for ip in endpoint.addresses() {
            let info = nexin_abi::maps::addr::AddrInfo { identity: endpoint.identity, endpoint: id, flags: 0 };
            self.desired.addresses.insert(ip, info);
        }
        let Some(wired) = endpoint.wired else {
            self.desired.endpoints.remove(&id);
            return;
        };
        let flags = if endpoint.record.no_source_check { KernelEndpoint::NO_SOURCE_CHECK } else { 0 };
        let spec = EndpointSpec {
            ifindex: wired.ifindex,
            ifname: endpoint.record.host_interface.clone(),
            identity: endpoint.identity,
            mac: wired.mac.0,
            gateway_mac: wired.gateway_mac.0,
            mtu: endpoint.record.mtu,
            ingress: endpoint.ingress,
            egress: endpoint.egress,
            flags,
        };
        self.desired.endpoints.insert(id, spec);
    }

    /// Prefixes that rules name get numbers of local scope.
    fn resolve_prefixes(&mut self) {
        let wanted = self.engine.prefixes();
        let mut cidrs = BTreeMap::new();
        for prefix in wanted {
            match self.identities.prefix_number(prefix) {
                Ok(identity) => {
                    // Ten thousand prefixes that stay need no labels made for each change of a policy.
                    if self.desired.cidrs.get(&prefix) != Some(&identity) {
                        self.engine.upsert_identity(identity, self.engine.prefix_labels(prefix).into());
                    }
                    cidrs.insert(prefix, identity);
                }
                Err(error) => {
                    tracing::error!(%prefix, %error, "prefix has no identity; it is treated as the rest of the world")
                }
            }
        }
        for (prefix, identity) in &self.desired.cidrs {
            if cidrs.get(prefix) != Some(identity) {
                self.engine.remove_identity(*identity);
            }
        }
        self.desired.cidrs = cidrs;
    }

    /// The node's identity carries the prefixes that rules name and its addresses are in.
    fn resolve_host(&mut self) {
        let addresses: Vec<IpAddr> = self.node.addresses.iter().copied().filter(super::reachable).collect();
        let labels: LabelSet = std::iter::once(Label::reserved("host")).collect();
        let labels = self.engine.identity_labels(&labels, &addresses);
        self.engine.upsert_identity(Identity::HOST, labels.into());
    }

    /// Identities that no endpoint has any more leave the tables.
    pub(super) fn drop_unused(&mut self) {
        let in_use: BTreeSet<Identity> = self.endpoints.values().map(|endpoint| endpoint.identity).collect();
        let known = self.engine.identities().map(|(identity, _)| identity);
        let workloads = known.filter(|identity| (Identity::CLUSTER_MIN..=Identity::CLUSTER_MAX).contains(&identity.0));
        let unused: Vec<Identity> = workloads.filter(|identity| !in_use.contains(identity)).collect();
        let mut shrunk = BTreeSet::new();
        for identity in unused {
            shrunk.extend(self.engine.remove_identity(identity).into_iter().map(|extension| extension.key));
            self.directory.remove_identity(identity);
        }
        for key in shrunk {
            self.refresh_tables(key);
        }
        let keys = self.keys_in_use();
        self.desired.policies.retain(|key, _| keys.contains(key));
        self.engine.retain_policies(|key| keys.contains(&key));
        let cidrs = &self.desired.cidrs;
        self.identities.retain(|prefix| cidrs.contains_key(prefix), |identity| in_use.contains(&identity));
    }

    /// Event readers see one endpoint and its identity as they are now.
    pub(super) fn publish_endpoint(&self, id: u16) {
        let Some(endpoint) = self.endpoints.get(&id) else { return };
        let record = &endpoint.record;
        let labels = self.engine.identity(endpoint.identity).map(|spec| spec.labels.clone()).unwrap_or_default();
        self.directory.set_identity(endpoint.identity, &labels);
        self.directory.set_endpoint(&LocalEndpoint {
            id,
            identity: endpoint.identity,
            labels: &labels,
            namespace: &record.namespace,
            name: &record.name,
            addresses: endpoint.addresses().collect(),
            interface: endpoint.wired.as_ref().map(|wired| (wired.ifindex, record.host_interface.as_str())),
        });
    }

    /// Event readers see all identities, endpoints and rules as they are now.
    fn publish_everything(&self) {
        self.directory.set_identities(self.engine.identities().map(|(id, spec)| (id, &spec.labels)));
        self.directory.set_prefixes(&self.desired.cidrs);
        for id in self.endpoints.keys() {
            self.publish_endpoint(*id);
        }
        self.directory.set_rules(self.engine.documents().map(|document| {
            let ids = self.engine.rule_ids(&document.key);
            (&document.key, ids.iter().filter_map(|id| Some((*id, self.engine.rule(*id)?))).collect())
        }));
    }
}
