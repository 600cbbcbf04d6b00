//! Rules of NetworkPolicy, as the Kubernetes specification has them.

use nexin_model::{Direction, PortRange};

use super::cilium::exceptions;
use super::selectors;
use super::{Draft, Frame};
use crate::input::netpol::{NetworkPeer, NetworkPolicy, NetworkPort, NetworkPortName, NetworkRule};
use crate::rule::{CidrPeer, CidrScope, CidrSource, L4, Peer, PortMatch, Rule, Subject, in_namespace};

pub(super) fn rules(policy: &NetworkPolicy, frame: &Frame<'_>) -> Vec<Rule> {
    let namespace = frame.document.namespace().unwrap_or_default();
    let pods = policy.pods.as_ref().map(selectors::plain).unwrap_or_default();
    let subject = Subject::Endpoints(pods.and(in_namespace(namespace)));
    let mut rules = Vec::new();
    for &direction in &policy.isolates {
        let written = policy.rules.iter().filter(|rule| rule.direction == direction);
        let before = rules.len();
        rules.extend(written.map(|rule| lower(rule, &subject, namespace, frame)));
        if rules.len() == before {
            let draft = Draft { peers: Vec::new(), ..Draft::allow_all(subject.clone(), direction) };
            rules.push(frame.rule(policy.at, "spec.policyTypes".to_owned(), draft));
        }
    }
    rules
}

fn lower(rule: &NetworkRule, subject: &Subject, namespace: &str, frame: &Frame<'_>) -> Rule {
    let mut draft = Draft::allow_all(subject.clone(), rule.direction);
    if !rule.peers.is_empty() {
        draft.peers = rule.peers.iter().map(|written| peer(written, namespace, frame)).collect();
    }
    if !rule.ports.is_empty() {
        draft.l4 = L4::Some(rule.ports.iter().map(port).collect());
    }
    let section = match rule.direction {
        Direction::Ingress => "ingress",
        Direction::Egress => "egress",
    };
    frame.rule(rule.at, format!("spec.{section}[{}]", rule.index), draft)
}

fn peer(written: &NetworkPeer, namespace: &str, frame: &Frame<'_>) -> Peer {
    match written {
        NetworkPeer::Block { cidr, except, .. } => Peer::Cidr(CidrPeer {
            source: CidrSource::Prefix(cidr.trunc()),
            except: exceptions(except),
            scope: CidrScope::Everything,
        }),
        NetworkPeer::Pods { namespaces: Some(namespaces), pods, .. } => {
            let selector = selectors::workloads(Some(namespaces), pods.as_ref());
            Peer::Endpoints(selectors::of_cluster(selector, frame.options))
        }
        NetworkPeer::Pods { namespaces: None, pods, .. } => {
            let pods = pods.as_ref().map(selectors::plain).unwrap_or_default();
            Peer::Endpoints(selectors::of_cluster(pods.and(in_namespace(namespace)), frame.options))
        }
    }
}

fn port(written: &NetworkPort) -> PortMatch {
    let protocol = written.protocol;
    match &written.port {
        None => PortMatch::Ports { protocol, ports: PortRange::ALL },
        Some(NetworkPortName::Number(first)) => {
            let range = written.end.and_then(|last| PortRange::new(*first, last));
            PortMatch::Ports { protocol, ports: range.unwrap_or(PortRange::single(*first)) }
        }
        Some(NetworkPortName::Name(name)) => {
            PortMatch::Named { protocol, name: name.as_str().into(), last: written.end }
        }
    }
}
