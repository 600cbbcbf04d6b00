//! A rule in words, for people: `allow from {app=web} in prod on TCP 80`.

use nexin_model::{CLUSTER_LABEL, Direction, NAMESPACE_LABEL, Requirement, Selector, Source};

use super::Draft;
use crate::rule::{CidrPeer, CidrSource, FqdnPattern, L4, Peer, PortMatch, ProxyKind, RuleAction, ServicePeer};

/// Peers and ports that are written out before "and N more".
const SHOWN: usize = 4;

pub(super) fn rule(draft: &Draft) -> String {
    let (side, isolated) = match draft.direction {
        Direction::Ingress => ("from", "default deny of ingress"),
        Direction::Egress => ("to", "default deny of egress"),
    };
    if draft.peers.is_empty() && draft.action == RuleAction::Allow && draft.l4 == L4::Any {
        return if draft.default_deny { isolated.to_owned() } else { format!("allow {side} nobody") };
    }
    let action = match draft.action {
        RuleAction::Allow => "allow",
        RuleAction::Deny => "deny",
        RuleAction::Pass => "pass",
    };
    let ports = match &draft.l4 {
        L4::Any => String::new(),
        L4::Some(list) if list.is_empty() => " on no port".to_owned(),
        L4::Some(list) => format!(" on {}", join(list.iter().map(port))),
    };
    let peers = if draft.peers.is_empty() { "nobody".to_owned() } else { join(draft.peers.iter().map(peer)) };
    let proxy = match draft.redirect.map(|redirect| redirect.kind) {
        None => "",
        Some(ProxyKind::Http) => " by HTTP rules",
        Some(ProxyKind::Kafka) => " by Kafka rules",
        Some(ProxyKind::Tls) => " by TLS server name",
        Some(ProxyKind::Dns) => " by DNS rules",
        Some(ProxyKind::Listener) => " through a listener",
    };
    format!("{action} {side} {peers}{ports}{proxy}")
}

fn join(words: impl ExactSizeIterator<Item = String>) -> String {
    let more = words.len().saturating_sub(SHOWN);
    let shown: Vec<String> = words.take(SHOWN).collect();
    let shown = shown.join(" or ");
    if more > 0 { format!("{shown} and {more} more") } else { shown }
}

fn peer(peer: &Peer) -> String {
    match peer {
        Peer::Any => "anyone".to_owned(),
        Peer::Endpoints(selector) => workloads(selector),
        Peer::Cidr(CidrPeer { source, except, .. }) => {
            let source = match source {
                CidrSource::Prefix(prefix) => prefix.to_string(),
                CidrSource::Group(name) => format!("CIDR group {name}"),
                CidrSource::GroupSelector(selector) => format!("CIDR groups {{{selector}}}"),
            };
            if except.is_empty() {
                source
            } else {
                format!("{source} except {}", join(except.iter().map(ToString::to_string)))
            }
        }
        Peer::Entity(entity) => format!("entity {}", entity.name()),
        Peer::Nodes(selector) => format!("nodes {{{selector}}}"),
        Peer::Fqdn(FqdnPattern::Name(name) | FqdnPattern::Pattern(name)) => format!("DNS name {name}"),
        Peer::Service(ServicePeer::Named { namespace, name }) => format!("service {namespace}/{name}"),
        Peer::Service(ServicePeer::Selected { selector, .. }) => format!("services {{{selector}}}"),
        Peer::Group { text } => format!("group {text}"),
    }
}

/// The requirements that were written, and the namespace in words.
fn workloads(selector: &Selector) -> String {
    let own = |requirement: &&Requirement| {
        requirement.key.source != Some(Source::K8s) || !matches!(&*requirement.key.key, NAMESPACE_LABEL | CLUSTER_LABEL)
    };
    let written: Vec<String> = selector.requirements().iter().filter(own).map(ToString::to_string).collect();
    let written = if written.is_empty() { "workloads".to_owned() } else { written.join(", ") };
    let namespace = selector.requirements().iter().find(|requirement| {
        requirement.key == nexin_model::KeyMatch::k8s(NAMESPACE_LABEL) && !requirement.is_negative()
    });
    match namespace.map(|requirement| requirement.values()) {
        None => format!("{{{written}}}"),
        Some([]) => format!("{{{written}}} in any namespace"),
        Some(names) => format!("{{{written}}} in {}", names.join(" or ")),
    }
}

fn port(port: &PortMatch) -> String {
    match port {
        PortMatch::Ports { protocol, ports } if *ports == nexin_model::PortRange::ALL => protocol.to_string(),
        PortMatch::Ports { protocol, ports } => format!("{protocol} {ports}"),
        PortMatch::Named { protocol, name, last: None } => format!("{protocol} {name}"),
        PortMatch::Named { protocol, name, last: Some(last) } => format!("{protocol} {name}-{last}"),
        PortMatch::Icmp(kind) => format!("{} type {}", kind.protocol(), kind.kind),
    }
}
