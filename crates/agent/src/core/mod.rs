//! The agent's state and what follows from it: endpoints, addresses, identities, policies in, the datapath's desired state out.
//!
//! No kernel and no clock in here. Everything happens on the owner thread, one change after the other; what must survive is
//! written down before it counts.

mod documents;
mod endpoints;
mod policies;
mod policy_views;
mod questions;
mod resolve;
mod views;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use nexin_abi::maps::addr::AddrInfo;
use nexin_datapath::Desired;
use nexin_ipam::{Ipam, Owner, Pool, Want};
use nexin_model::{Identity, LabelFilter};
use nexin_policy::Engine;
use nexin_policy::engine::{AllowLocalhost, CidrMatchMode, Config, Enforcement};
use nexin_policy::rule::{DocumentKey, LowerOptions};
use nexin_runtime::settings::Choice;

pub(crate) use documents::{PolicyError, UploadText, problem};
pub(crate) use endpoints::{CoreEndpoint, EndpointError, Reserved, Wired};
pub(crate) use policies::applied_reply;
pub(crate) use questions::{Explained, QuestionError};

pub(crate) use crate::words::policy_ref;

use crate::error::AgentError;
use crate::flows::SharedDirectory;
use crate::identities::Identities;
use crate::node::Node;
use crate::settings::{CidrMatch, EnforcementMode, Settings};
use crate::state::{NamespaceLabels, Saved, Store, UploadRecord};

/// See the module.
pub(crate) struct Core {
    settings: Arc<Settings>,
    store: Store,
    engine: Engine,
    ipam: Ipam,
    identities: Identities,
    endpoints: BTreeMap<u16, CoreEndpoint>,
    namespaces: NamespaceLabels,
    uploads: BTreeMap<String, UploadRecord>,
    /// Documents in force: which upload they came in.
    sources: BTreeMap<DocumentKey, String>,
    /// Files of the watched directory that are not in force as they are now, and why.
    file_problems: BTreeMap<String, String>,
    node: Node,
    desired: Desired,
    directory: SharedDirectory,
    /// Numbers are given round and round, so that a number that was just freed rests.
    next_endpoint: u16,
    next_upload: u64,
    quarantined: Vec<String>,
    /// `desired` differs from what the datapath was last told.
    dirty: bool,
}

impl Core {
    /// Takes over what was saved. Documents and endpoints are known when this returns; nothing is wired yet.
    pub(crate) fn new(
        settings: Arc<Settings>,
        store: Store,
        saved: Saved,
        directory: SharedDirectory,
    ) -> Result<Self, AgentError> {
        let pools = [pool_net(&settings.ipam.ipv4_pool), pool_net(&settings.ipam.ipv6_pool)];
        let pools = pools.into_iter().flatten().map(Pool::new).collect::<Result<Vec<_>, _>>()?;
        let mut core = Self {
            engine: Engine::new(engine_config(&settings)),
            ipam: Ipam::new(pools),
            identities: Identities::restore(saved.identities, saved.prefixes),
            endpoints: BTreeMap::new(),
            namespaces: saved.namespaces,
            uploads: BTreeMap::new(),
            sources: BTreeMap::new(),
            file_problems: BTreeMap::new(),
            node: Node::default(),
            desired: Desired { audit: settings.policy.audit, ..Desired::default() },
            directory,
            next_endpoint: 1,
            next_upload: 1,
            quarantined: saved.quarantined,
            dirty: true,
            settings,
            store,
        };
        for record in saved.endpoints {
            core.restore_endpoint(record);
        }
        core.restore_uploads(saved.uploads);
        core.resolve_everything();
        Ok(core)
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(crate) fn desired(&self) -> &Desired {
        &self.desired
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    pub(crate) fn node(&self) -> &Node {
        &self.node
    }

    pub(crate) fn ipam(&self) -> &Ipam {
        &self.ipam
    }

    /// True when `desired` changed since the last call.
    pub(crate) fn take_dirty(&mut self) -> bool {
        std::mem::take(&mut self.dirty)
    }

    /// The datapath did not take it: tell it again.
    pub(crate) fn mark_dirty(&mut self) {
        self.dirty = true;
    }

    /// The node's addresses or devices changed.
    pub(crate) fn set_node(&mut self, node: Node) {
        if node == self.node && !self.desired.addresses.is_empty() {
            return;
        }
        self.node = node;
        self.resolve_everything();
    }

    /// Labels of a namespace, for namespace selectors.
    pub(crate) fn set_namespace(&mut self, name: String, labels: BTreeMap<String, String>) -> Result<(), AgentError> {
        if self.namespaces.get(&name) == Some(&labels) {
            return Ok(());
        }
        let mut changed = self.namespaces.clone();
        changed.insert(name, labels);
        self.store.save_namespaces(&changed)?;
        self.namespaces = changed;
        self.resolve_everything();
        Ok(())
    }

    /// A host address that workloads route through, by family of `address`.
    fn gateway_of(&self, address: IpAddr) -> Option<IpAddr> {
        let gateways = self.ipam.gateways();
        match address {
            IpAddr::V4(_) => gateways.v4.map(IpAddr::V4),
            IpAddr::V6(_) => gateways.v6.map(IpAddr::V6),
        }
    }

    fn claim(&mut self, owner: &str, addresses: nexin_ipam::Addresses) -> Result<(), nexin_ipam::Error> {
        let v4 = addresses.v4.map_or(Want::Nothing, Want::This);
        let v6 = addresses.v6.map_or(Want::Nothing, Want::This);
        self.ipam.allocate(&Owner(owner.to_owned()), v4, v6).map(|_| ())
    }

    /// Exact addresses: workloads, the gateways, the node.
    fn desired_addresses(&self) -> BTreeMap<IpAddr, AddrInfo> {
        let host = |flags| AddrInfo { identity: Identity::HOST, endpoint: 0, flags };
        let mut addresses: BTreeMap<IpAddr, AddrInfo> =
            self.node.addresses.iter().filter(|ip| reachable(ip)).map(|ip| (*ip, host(AddrInfo::HOST))).collect();
        let gateways = self.ipam.gateways();
        let gateways = gateways.v4.map(IpAddr::V4).into_iter().chain(gateways.v6.map(IpAddr::V6));
        addresses.extend(gateways.map(|ip| (ip, host(AddrInfo::HOST | AddrInfo::GATEWAY))));
        for (id, endpoint) in &self.endpoints {
            let info = AddrInfo { identity: endpoint.identity, endpoint: *id, flags: 0 };
            addresses.extend(endpoint.addresses().map(|ip| (ip, info)));
        }
        addresses
    }

    /// Destinations that see workloads with their own addresses.
    fn desired_no_masquerade(&self) -> BTreeSet<IpNet> {
        let pools = self.ipam.pools().map(Pool::net);
        self.settings.network.masquerade_exclude.iter().copied().chain(pools).map(|net| net.trunc()).collect()
    }
}

/// Addresses a packet from a workload can carry as its destination on the way to this node.
fn reachable(ip: &IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => !v4.is_loopback(),
        IpAddr::V6(v6) => !v6.is_loopback() && !v6.is_unicast_link_local(),
    }
}

pub(crate) fn pool_net<N: Copy + Into<IpNet>>(choice: &Choice<N>) -> Option<IpNet> {
    match choice {
        Choice::Value(net) => Some((*net).into()),
        Choice::Auto | Choice::Off => None,
    }
}

fn engine_config(settings: &Settings) -> Config {
    let policy = &settings.policy;
    Config {
        enforcement: match policy.enforcement {
            EnforcementMode::Default => Enforcement::Default,
            EnforcementMode::Always => Enforcement::Always,
            EnforcementMode::Never => Enforcement::Never,
        },
        cidr_match: CidrMatchMode {
            nodes: policy.cidr_match.contains(&CidrMatch::Nodes),
            pods: policy.cidr_match.contains(&CidrMatch::Pods),
        },
        allow_localhost: if policy.allow_host { AllowLocalhost::Always } else { AllowLocalhost::Policy },
        cluster_name: settings.agent.cluster_name.as_str().into(),
        label_filter: LabelFilter { excluded: policy.excluded_labels.iter().map(|key| key.as_str().into()).collect() },
        ..Config::default()
    }
}

fn lower_options(settings: &Settings) -> LowerOptions {
    LowerOptions { cluster_name: settings.agent.cluster_name.as_str().into(), ..LowerOptions::default() }
}

#[cfg(test)]
mod tests;
