//! A scenario brought to life: an engine with its documents, and an identity for everyone in it.

use std::net::IpAddr;

use nexin_model::{
    CLUSTER_LABEL, Direction, EndpointLabels, Identity, Label, LabelSet, Protocol, Source, reserved_by_name,
};

use super::scenario::{Node, PeerRef, Scenario, Workload};
use crate::engine::Engine;
use crate::explain::{Explanation, FlowAnswer};
use crate::party::{Party, Roster};
use crate::rule::Document;
use crate::simulate::{Change, Flow, FlowChange, simulate};

/// See the module.
#[derive(Clone, Debug)]
pub struct World {
    scenario: Scenario,
    engine: Engine,
    roster: Roster,
}

/// Identities of both ends of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoints {
    pub source: Identity,
    pub destination: Identity,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnknownPeer {
    #[error("there is no workload {namespace}/{name}")]
    Workload { namespace: String, name: String },
    #[error("there is no node {0}")]
    Node(String),
    #[error("reserved:{0} is no identity")]
    Reserved(String),
    #[error("the name {0} resolves to no address; list it under `names`")]
    Name(String),
}

impl World {
    pub fn new(scenario: Scenario) -> Self {
        let mut engine = Engine::new(scenario.config.clone());
        for document in &scenario.documents {
            engine.apply(document.clone());
        }
        let mut roster = Roster::of(&engine);
        // The local host is one identity whose labels tell of its node.
        for node in scenario.nodes.iter().filter(|node| node.local) {
            let party = node_party(&scenario, node);
            roster.identity(&mut engine, &party);
        }
        Self { scenario, engine, roster }
    }

    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    pub fn scenario(&self) -> &Scenario {
        &self.scenario
    }

    /// Both verdicts for a flow. `port`: destination port, for ICMP `type << 8 | code`.
    ///
    /// # Errors
    /// [`UnknownPeer`]
    pub fn judge(
        &mut self,
        from: &PeerRef,
        to: &PeerRef,
        protocol: Protocol,
        port: u16,
    ) -> Result<FlowAnswer, UnknownPeer> {
        let ends = self.endpoints(from, to)?;
        Ok(self.engine.flow_answer(ends.source, ends.destination, protocol, port))
    }

    /// Why: egress of `from`, then ingress of `to`.
    ///
    /// # Errors
    /// [`UnknownPeer`]
    pub fn explain(
        &mut self,
        from: &PeerRef,
        to: &PeerRef,
        protocol: Protocol,
        port: u16,
    ) -> Result<[Explanation; 2], UnknownPeer> {
        let ends = self.endpoints(from, to)?;
        let egress = self.engine.explain(ends.source, Direction::Egress, ends.destination, protocol, port);
        let ingress = self.engine.explain(ends.destination, Direction::Ingress, ends.source, protocol, port);
        Ok([egress, ingress])
    }

    /// Flows that would be judged differently with these documents added (or put in place of those of the same name).
    ///
    /// # Errors
    /// [`UnknownPeer`]
    pub fn simulate(
        &self,
        documents: Vec<Document>,
        flows: &[(PeerRef, PeerRef, Protocol, u16)],
    ) -> Result<Vec<FlowChange>, UnknownPeer> {
        let flows = flows
            .iter()
            .map(|(from, to, protocol, port)| {
                let (source, destination) = (self.party(from)?, self.party(to)?);
                Ok(Flow { source, destination, protocol: *protocol, port: *port })
            })
            .collect::<Result<Vec<Flow>, UnknownPeer>>()?;
        Ok(simulate(&self.engine, &Change { apply: documents, remove: Vec::new() }, &flows))
    }

    /// Identities of both ends.
    ///
    /// # Errors
    /// [`UnknownPeer`]
    pub fn endpoints(&mut self, from: &PeerRef, to: &PeerRef) -> Result<Endpoints, UnknownPeer> {
        let (source, destination) = (self.party(from)?, self.party(to)?);
        Ok(Endpoints {
            source: self.roster.identity(&mut self.engine, &source),
            destination: self.roster.identity(&mut self.engine, &destination),
        })
    }

    /// Labels and addresses of a peer.
    ///
    /// # Errors
    /// [`UnknownPeer`]
    pub fn party(&self, peer: &PeerRef) -> Result<Party, UnknownPeer> {
        let scenario = &self.scenario;
        match peer {
            PeerRef::Workload { namespace, name } => scenario
                .workloads
                .iter()
                .find(|workload| workload.namespace == *namespace && workload.name == *name)
                .map(|workload| workload_party(scenario, workload))
                .ok_or_else(|| UnknownPeer::Workload { namespace: namespace.to_string(), name: name.to_string() }),
            PeerRef::Node(name) => scenario
                .nodes
                .iter()
                .find(|node| node.name == *name)
                .map(|node| node_party(scenario, node))
                .ok_or_else(|| UnknownPeer::Node(name.to_string())),
            PeerRef::Reserved(name) => self.reserved_party(name),
            PeerRef::Name(name) => match scenario.names.get(name).and_then(|addresses| addresses.first()) {
                Some(address) => Ok(self.address_party(*address)),
                None => Err(UnknownPeer::Name(name.to_string())),
            },
            PeerRef::Address(address) => Ok(self.address_party(*address)),
        }
    }

    fn reserved_party(&self, name: &str) -> Result<Party, UnknownPeer> {
        if let Some(node) = self.scenario.nodes.iter().find(|node| node.local && name == "host") {
            return Ok(node_party(&self.scenario, node));
        }
        let identity = reserved_by_name(name).ok_or_else(|| UnknownPeer::Reserved(name.to_owned()))?;
        let labels = self.engine.identity(identity).map(|spec| spec.labels.clone()).unwrap_or_default();
        Ok(Party { labels, ..Party::default() })
    }

    fn address_party(&self, address: IpAddr) -> Party {
        let scenario = &self.scenario;
        if let Some(workload) = scenario.workloads.iter().find(|workload| workload.addresses.contains(&address)) {
            return workload_party(scenario, workload);
        }
        if let Some(node) = scenario.nodes.iter().find(|node| node.addresses.contains(&address)) {
            return node_party(scenario, node);
        }
        let world = Label::reserved(if address.is_ipv4() { "world-ipv4" } else { "world-ipv6" });
        let apiserver = scenario.kube_apiserver.contains(&address).then(|| Label::reserved("kube-apiserver"));
        let names = scenario.names.iter().filter(|(_, addresses)| addresses.contains(&address));
        let labels = [world].into_iter().chain(apiserver).chain(names.map(|(name, _)| Label::fqdn(name))).collect();
        Party { labels, addresses: vec![address], ..Party::default() }
    }
}

fn workload_party(scenario: &Scenario, workload: &Workload) -> Party {
    let namespace_labels = scenario.namespaces.get(&workload.namespace).map(Vec::as_slice).unwrap_or_default();
    let labels = EndpointLabels {
        cluster: &scenario.config.cluster_name,
        namespace: &workload.namespace,
        service_account: workload.service_account.as_deref(),
        namespace_labels,
        own: &workload.labels,
    }
    .labels();
    Party { labels, addresses: workload.addresses.clone(), named_ports: workload.named_ports.clone() }
}

fn node_party(scenario: &Scenario, node: &Node) -> Party {
    let role = Label::reserved(if node.local { "host" } else { "remote-node" });
    let apiserver = node.kube_apiserver.then(|| Label::reserved("kube-apiserver"));
    let own = |source: Source| {
        node.labels.iter().map(move |(key, value)| Label::new(source.clone(), key.clone(), value.clone()))
    };
    let mut labels: LabelSet = [role].into_iter().chain(apiserver).collect();
    if node.local {
        // What node selectors of rules look at.
        labels = labels.with(own(Source::K8s));
    }
    if scenario.node_labels {
        let cluster = Label::k8s(CLUSTER_LABEL, scenario.config.cluster_name.clone());
        labels = labels.with(own(Source::Node)).with([cluster]);
    }
    Party { labels, addresses: node.addresses.clone(), ..Party::default() }
}
