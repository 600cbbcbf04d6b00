//! Rules of ClusterNetworkPolicy.

use std::sync::Arc;

use nexin_model::Protocol;

use super::selectors;
use super::{Draft, Frame};
use crate::input::cluster::{ClusterPeer, ClusterPolicy, ClusterProtocol, Pods};
use crate::rule::{CidrPeer, CidrScope, CidrSource, FqdnPattern, L4, Level, Peer, PortMatch, Rule, Subject};

pub(super) fn rules(policy: &ClusterPolicy, frame: &Frame<'_>) -> Vec<Rule> {
    let subject = Subject::Endpoints(workloads(&policy.subject));
    let rules = policy.rules.iter().map(|rule| {
        let index = u32::try_from(rule.index).ok();
        let draft = Draft {
            level: Level { tier: policy.tier, priority: policy.priority, index },
            action: rule.action,
            peers: rule.peers.iter().flat_map(|written| peers(written, frame)).collect(),
            l4: match &rule.protocols {
                None => L4::Any,
                Some(protocols) => L4::Some(protocols.iter().flat_map(port_matches).collect()),
            },
            default_deny: false,
            ..Draft::allow_all(subject.clone(), rule.direction)
        };
        frame.rule(rule.at, format!("spec.{}[{}]", rule.direction.name(), rule.index), draft)
    });
    rules.collect()
}

fn workloads(pods: &Pods) -> nexin_model::Selector {
    selectors::workloads(pods.namespaces.as_ref(), pods.pods.as_ref())
}

fn peers(written: &ClusterPeer, frame: &Frame<'_>) -> Vec<Peer> {
    match written {
        ClusterPeer::Pods(pods) => vec![Peer::Endpoints(selectors::of_cluster(workloads(pods), frame.options))],
        ClusterPeer::Nodes(selector) => vec![Peer::Nodes(selectors::plain(selector))],
        ClusterPeer::Networks(networks) => networks
            .iter()
            .map(|network| {
                let source = CidrSource::Prefix(network.value.trunc());
                Peer::Cidr(CidrPeer { source, except: Vec::new(), scope: CidrScope::Configured })
            })
            .collect(),
        ClusterPeer::DomainNames(names) => names.iter().map(|name| Peer::Fqdn(domain_name(&name.value))).collect(),
    }
}

/// `*.` stands for one or more labels here, which rules write as `**.`.
fn domain_name(name: &str) -> FqdnPattern {
    match name.strip_prefix("*.") {
        Some(rest) => FqdnPattern::Pattern(Arc::from(format!("**.{rest}"))),
        None => FqdnPattern::Name(name.into()),
    }
}

fn port_matches(written: &ClusterProtocol) -> Vec<PortMatch> {
    let (protocol, ports) = match written {
        ClusterProtocol::Tcp(ports) => (Protocol::Tcp, *ports),
        ClusterProtocol::Udp(ports) => (Protocol::Udp, *ports),
        ClusterProtocol::Sctp(ports) => (Protocol::Sctp, *ports),
        ClusterProtocol::Named(name) => {
            let named = |protocol| PortMatch::Named { protocol, name: name.as_str().into(), last: None };
            return [Protocol::Tcp, Protocol::Udp, Protocol::Sctp].map(named).to_vec();
        }
    };
    vec![PortMatch::Ports { protocol, ports }]
}
