//! Questions about policy: explain and simulate. The engine answers; here names become identities and answers become bodies.

use std::net::IpAddr;

use nexin_api::v1::{
    Diagnostic, Direction, ExplainQuery, ExplainReply, FlowChange, Labels, PeerRef, PortProtocol, Protocol, RuleRef,
    SimulateReply, SimulateRequest, SimulatedFlow,
};
use nexin_model::{
    EndpointLabels, Identity, Label, LabelSet, NAMESPACE_LABEL, Source, reserved_by_name, reserved_labels,
};
use nexin_policy::engine::IdentitySpec;
use nexin_policy::explain::SideAnswer;
use nexin_policy::simulate::{Change, Flow, simulate};
use nexin_policy::{Engine, Party};

use super::Core;
use super::endpoints::{EndpointError, label_set};
use super::{PolicyError, UploadText};
use crate::events::SeenFlow;
use crate::identities::named_ports;
use crate::words::{combined, direction_answer, document_key, rule_ref, wire_labels};

/// Number for labels that no workload has; not an identity that is ever given out.
const HYPOTHETICAL: [Identity; 2] = [Identity(0x7e << 24), Identity(0x7e << 24 | 1)];

#[derive(Debug, thiserror::Error)]
pub(crate) enum QuestionError {
    #[error("nothing here is called {0}")]
    NoPeer(PeerRef),
    #[error(transparent)]
    Labels(#[from] EndpointError),
    #[error(transparent)]
    Policy(#[from] PolicyError),
}

/// One side of a question.
struct Side {
    identity: Identity,
    endpoint: Option<u16>,
    /// Labels that no identity has yet.
    unknown: Option<LabelSet>,
}

/// An explanation, and what to compare it with in the kernel.
pub(crate) struct Explained {
    pub(crate) reply: ExplainReply,
    /// Local endpoints of both sides whose identities are real.
    pub(crate) endpoints: [Option<u16>; 2],
    pub(crate) identities: [Identity; 2],
    /// Destination port as tables have it.
    pub(crate) port: u16,
}

impl Core {
    pub(crate) fn explain(&mut self, query: &ExplainQuery) -> Result<Explained, QuestionError> {
        let mut from = self.side(&query.from)?;
        let mut to = self.side(&query.to)?;
        let hypothetical = from.unknown.is_some() || to.unknown.is_some();
        let mut scratch = hypothetical.then(|| self.engine.clone());
        if let Some(engine) = &mut scratch {
            for (side, number) in [&mut from, &mut to].into_iter().zip(HYPOTHETICAL) {
                if let Some(labels) = side.unknown.take() {
                    engine.upsert_identity(number, IdentitySpec::from(labels));
                    side.identity = number;
                }
            }
        }
        let audit = self.settings.policy.audit;
        let engine = scratch.as_mut().unwrap_or(&mut self.engine);
        let port = table_port(query.port);
        let protocol = query.port.protocol;
        let egress = engine.explain(from.identity, Direction::Egress, to.identity, protocol, port);
        let ingress = engine.explain(to.identity, Direction::Ingress, from.identity, protocol, port);
        let labels = |engine: &Engine, identity| {
            engine.identity(identity).map(|spec| wire_labels(&spec.labels)).unwrap_or_default()
        };
        let reply = ExplainReply {
            from_identity: from.identity.0,
            from_labels: labels(engine, from.identity),
            to_identity: to.identity.0,
            to_labels: labels(engine, to.identity),
            port: query.port,
            verdict: combined(egress.answer.decision, ingress.answer.decision, audit),
            egress: direction_answer(&egress, audit),
            ingress: direction_answer(&ingress, audit),
        };
        let endpoints = if hypothetical { [None, None] } else { [from.endpoint, to.endpoint] };
        Ok(Explained { reply, endpoints, identities: [from.identity, to.identity], port })
    }

    fn side(&self, peer: &PeerRef) -> Result<Side, QuestionError> {
        let known = |identity, endpoint| Side { identity, endpoint, unknown: None };
        let none = || QuestionError::NoPeer(peer.clone());
        match peer {
            PeerRef::Endpoint(id) => self.endpoints.get(id).map(|e| known(e.identity, Some(*id))).ok_or_else(none),
            PeerRef::Workload { namespace, name } => {
                let named =
                    |(_, e): &(&u16, &super::CoreEndpoint)| e.record.namespace == *namespace && e.record.name == *name;
                self.endpoints.iter().find(named).map(|(id, e)| known(e.identity, Some(*id))).ok_or_else(none)
            }
            PeerRef::Address(address) => {
                let (identity, endpoint) = self.who_is(*address);
                Ok(known(identity, endpoint))
            }
            PeerRef::Identity(number) => {
                let identity = Identity(*number);
                self.engine.identity(identity).map(|_| known(identity, self.some_endpoint(identity))).ok_or_else(none)
            }
            PeerRef::Reserved(name) => reserved_by_name(name).map(|identity| known(identity, None)).ok_or_else(none),
            PeerRef::Labels(labels) => {
                let labels = self.placed(&label_set(labels)?);
                let labels = self.engine.identity_labels(&labels, &[]);
                let same = self.engine.identities().find(|(_, spec)| spec.labels == labels);
                Ok(match same {
                    Some((identity, _)) => known(identity, self.some_endpoint(identity)),
                    None => Side { identity: Identity::UNKNOWN, endpoint: None, unknown: Some(labels) },
                })
            }
        }
    }

    fn some_endpoint(&self, identity: Identity) -> Option<u16> {
        self.endpoints.iter().find(|(_, endpoint)| endpoint.identity == identity).map(|(id, _)| *id)
    }

    /// Labels of a question are a workload's: they get a place like any other.
    fn placed(&self, own: &LabelSet) -> LabelSet {
        let namespace = own.get(&Source::K8s, NAMESPACE_LABEL).map_or("default", |label| &label.value).to_owned();
        let labels = self.namespace_labels(&namespace);
        let place = EndpointLabels {
            cluster: &self.settings.agent.cluster_name,
            namespace: &namespace,
            service_account: None,
            namespace_labels: &labels,
            own,
        };
        place.labels()
    }

    /// Identity and endpoint of an address, as the datapath sees it.
    fn who_is(&self, address: IpAddr) -> (Identity, Option<u16>) {
        if let Some(info) = self.desired.addresses.get(&address) {
            return (info.identity, (info.endpoint != 0).then_some(info.endpoint));
        }
        let covering = self.desired.cidrs.iter().filter(|(prefix, _)| prefix.contains(&address));
        let longest = covering.max_by_key(|(prefix, _)| prefix.prefix_len());
        let world = if address.is_ipv4() { Identity::WORLD_IPV4 } else { Identity::WORLD_IPV6 };
        (longest.map_or(world, |(_, identity)| *identity), None)
    }

    fn party(&self, address: IpAddr) -> Party {
        let (identity, endpoint) = self.who_is(address);
        let endpoint = endpoint.and_then(|id| Some((self.labels_of(id), self.endpoints.get(&id)?)));
        match endpoint {
            Some((labels, endpoint)) => Party {
                labels: labels.unwrap_or_else(|| std::iter::once(Label::reserved("init")).collect()),
                addresses: endpoint.addresses().collect(),
                named_ports: named_ports(&endpoint.record.named_ports),
            },
            None => {
                let world = if address.is_ipv4() { Identity::WORLD_IPV4 } else { Identity::WORLD_IPV6 };
                let identity = if identity.is_reserved() { identity } else { world };
                let labels = reserved_labels(identity).unwrap_or_default();
                Party { labels, addresses: vec![address], named_ports: Default::default() }
            }
        }
    }

    /// Everything a simulation needs, so that it can run beside the owner thread.
    pub(crate) fn simulation(
        &self,
        request: SimulateRequest,
        flows: Vec<(SeenFlow, bool, u64)>,
        lost_events: u64,
    ) -> Result<Simulation, QuestionError> {
        let mut warnings = Vec::new();
        let mut change = Change { apply: Vec::new(), remove: request.delete.iter().map(document_key).collect() };
        if let Some(missing) =
            request.delete.iter().find(|policy| self.engine.document(&document_key(policy)).is_none())
        {
            return Err(PolicyError::NoSuchDocument(missing.clone()).into());
        }
        if !request.yaml.trim().is_empty() {
            let file = request.file.unwrap_or_else(|| "(simulated)".to_owned());
            let upload = UploadText { text: request.yaml, file, namespace: request.namespace };
            (change.apply, warnings) = self.read_documents(&upload)?;
        }
        let engine_flows = flows.iter().map(|(flow, _, _)| Flow {
            source: self.party(flow.source),
            destination: self.party(flow.destination),
            protocol: flow.port.protocol,
            port: table_port(flow.port),
        });
        let shown = flows.iter().map(|(flow, running, seen)| self.simulated(flow, *running, *seen));
        Ok(Simulation {
            engine: self.engine.clone(),
            change,
            flows: engine_flows.collect(),
            shown: shown.collect(),
            all: request.all,
            warnings,
            lost_events,
        })
    }

    fn simulated(&self, flow: &SeenFlow, running: bool, seen: u64) -> SimulatedFlow {
        let side = |address| {
            let (identity, endpoint) = self.who_is(address);
            let labels = self.engine.identity(identity).map(|spec| wire_labels(&spec.labels)).unwrap_or_default();
            let workload = endpoint.and_then(|id| self.endpoints.get(&id));
            let workload = workload.map(|e| format!("{}/{}", e.record.namespace, e.record.name));
            (identity.0, labels, workload)
        };
        let (source_identity, source_labels, source_workload): (u32, Labels, Option<String>) = side(flow.source);
        let (destination_identity, destination_labels, destination_workload) = side(flow.destination);
        SimulatedFlow {
            source: flow.source,
            source_identity,
            source_labels,
            source_workload,
            destination: flow.destination,
            destination_identity,
            destination_labels,
            destination_workload,
            port: flow.port,
            running,
            seen,
        }
    }
}

/// See [`Core::simulation`].
pub(crate) struct Simulation {
    engine: Engine,
    change: Change,
    flows: Vec<Flow>,
    shown: Vec<SimulatedFlow>,
    all: bool,
    warnings: Vec<Diagnostic>,
    lost_events: u64,
}

impl Simulation {
    pub(crate) fn run(mut self) -> SimulateReply {
        let found = simulate(&self.engine, &self.change, &self.flows);
        let mut after = self.engine.clone();
        for document in std::mem::take(&mut self.change.apply) {
            after.apply(document);
        }
        let mut unchanged = Vec::new();
        if self.all {
            for (index, flow) in
                self.shown.iter().enumerate().filter(|(index, _)| !found.iter().any(|c| c.flow == *index))
            {
                let (source, destination) = (Identity(flow.source_identity), Identity(flow.destination_identity));
                let Flow { protocol, port, .. } = self.flows[index];
                let answer = self.engine.flow_answer(source, destination, protocol, port);
                let verdict = combined(answer.egress.decision, answer.ingress.decision, false);
                let rule = deciding(&self.engine, &answer.egress, &answer.ingress);
                let rule_after = rule.clone();
                unchanged.push(FlowChange {
                    flow: flow.clone(),
                    before: verdict,
                    after: verdict,
                    rule_before: rule,
                    rule_after,
                });
            }
        }
        let changes = found.into_iter().map(|change| FlowChange {
            flow: self.shown[change.flow].clone(),
            before: combined(change.before.egress.decision, change.before.ingress.decision, false),
            after: combined(change.after.egress.decision, change.after.ingress.decision, false),
            rule_before: deciding(&self.engine, &change.before.egress, &change.before.ingress),
            rule_after: deciding(&after, &change.after.egress, &change.after.ingress),
        });
        SimulateReply {
            flows: self.flows.len() as u64,
            changes: changes.collect(),
            unchanged,
            warnings: self.warnings,
            lost_events: self.lost_events,
        }
    }
}

/// Destination port as decision tables have it.
fn table_port(port: PortProtocol) -> u16 {
    match port.protocol {
        Protocol::Icmp | Protocol::Icmp6 => port.port << 8,
        _ => port.port,
    }
}

/// The rule of the side that decides.
fn deciding(engine: &Engine, egress: &SideAnswer, ingress: &SideAnswer) -> Option<RuleRef> {
    let side = if egress.decision.passes() { ingress } else { egress };
    let rule = engine.rule(side.rule)?;
    Some(RuleRef { log: rule.log.as_deref().map(str::to_owned), ..rule_ref(side.rule, &rule.origin) })
}
