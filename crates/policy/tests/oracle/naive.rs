//! The naive oracle: asks every rule, takes the winner. Shares no code with the compiler; reads like the documentation.

use ipnet::IpNet;
use nexin_abi::Action;
use nexin_model::{
    CLUSTER_LABEL, Direction, Identity, KeyMatch, LabelSet, Operator, Protocol, Requirement, Selector, Source, Tier,
};
use nexin_policy::engine::{AllowLocalhost, Enforcement};
use nexin_policy::rule::{CidrPeer, CidrScope, CidrSource, Entity, L4, Peer, PortMatch, Rule, RuleAction, Subject};
use nexin_policy::{Config, IdentitySpec};

/// What the oracle says of one packet and direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) action: Action,
    pub(crate) redirect: bool,
    pub(crate) auth: u8,
}

/// A packet as seen from the subject.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Packet {
    pub(crate) protocol: Protocol,
    pub(crate) port: u16,
}

pub(crate) struct Oracle<'a> {
    pub(crate) config: &'a Config,
    pub(crate) rules: &'a [Rule],
    pub(crate) groups: &'a [(String, LabelSet, Vec<IpNet>)],
}

impl Oracle<'_> {
    /// `None`: no policy applies.
    pub(crate) fn ask(
        &self,
        subject: (Identity, &IdentitySpec),
        direction: Direction,
        peer: (Identity, &IdentitySpec),
        packet: Packet,
        shadow: bool,
    ) -> Option<Answer> {
        let is_host = subject.0 == Identity::HOST;
        let outside = ["world", "world-ipv4", "world-ipv6", "remote-node", "unmanaged"];
        if !is_host && outside.iter().any(|name| subject.1.labels.has_reserved(name)) {
            return None;
        }
        if self.config.enforcement == Enforcement::Never || (is_host && !self.config.host_firewall) {
            return None;
        }
        let selecting: Vec<&Rule> = self
            .rules
            .iter()
            .filter(|rule| rule.direction == direction)
            .filter(|rule| match &rule.subject {
                Subject::Endpoints(selector) => !is_host && matches(selector, &subject.1.labels),
                Subject::Nodes(selector) => is_host && matches(selector, &subject.1.labels),
            })
            .collect();
        let forced = self.config.enforcement == Enforcement::Always || subject.1.labels.has_reserved("init");
        if selecting.is_empty() && !forced {
            return None;
        }
        let counted: Vec<&Rule> = selecting.into_iter().filter(|rule| shadow || !rule.shadow).collect();
        let by_rule = counted.iter().any(|rule| rule.default_deny);
        let isolated = forced || by_rule;
        let ports_of = if direction == Direction::Ingress { subject.1 } else { peer.1 };
        let speaking: Vec<(&Rule, u32)> = counted
            .iter()
            .filter(|rule| rule.peers.iter().any(|one| self.peer_matches(one, peer.1)))
            .filter_map(|rule| breadth(&rule.l4, ports_of, packet).map(|breadth| (*rule, breadth)))
            .collect();
        Some(self.winner(&speaking, by_rule).unwrap_or_else(|| {
            let localhost = direction == Direction::Ingress
                && self.config.allow_localhost == AllowLocalhost::Always
                && !is_host
                && !counted.is_empty()
                && peer.0 == Identity::HOST;
            let action = if !isolated || localhost { Action::Allow } else { Action::DefaultDeny };
            Answer { action, redirect: false, auth: 0 }
        }))
    }

    /// Tier by tier, level by level.
    fn winner(&self, speaking: &[(&Rule, u32)], isolated_by_rule: bool) -> Option<Answer> {
        for tier in [Tier::Admin, Tier::Normal, Tier::Baseline] {
            let mut levels: Vec<_> =
                speaking.iter().filter(|(rule, _)| rule.level.tier == tier).map(|(rule, _)| rule.level).collect();
            levels.sort();
            levels.dedup();
            for level in levels {
                let here: Vec<&(&Rule, u32)> = speaking.iter().filter(|(rule, _)| rule.level == level).collect();
                let of = |action| here.iter().filter(move |(rule, _)| rule.action == action);
                if of(RuleAction::Deny).next().is_some() {
                    return Some(Answer { action: Action::Deny, redirect: false, auth: 0 });
                }
                let opens = !(tier == Tier::Baseline && isolated_by_rule);
                if opens && of(RuleAction::Allow).next().is_some() {
                    let redirect = of(RuleAction::Allow).any(|(rule, _)| rule.redirect.is_some());
                    let asking = || of(RuleAction::Allow).filter(|(rule, _)| rule.auth.is_some());
                    let narrowest = asking().map(|(_, breadth)| *breadth).min();
                    let auth = asking()
                        .filter(|(_, breadth)| Some(*breadth) == narrowest)
                        .filter_map(|(rule, _)| rule.auth.map(|auth| auth as u8))
                        .max();
                    return Some(Answer { action: Action::Allow, redirect, auth: auth.unwrap_or(0) });
                }
                if of(RuleAction::Pass).next().is_some() {
                    break;
                }
            }
        }
        None
    }

    fn peer_matches(&self, peer: &Peer, spec: &IdentitySpec) -> bool {
        let labels = &spec.labels;
        match peer {
            Peer::Any => true,
            Peer::Endpoints(selector) => matches(selector, labels),
            Peer::Nodes(selector) => labels.has_reserved("remote-node") && matches(selector, labels),
            Peer::Entity(entity) => entity_matches(*entity, labels, &self.config.cluster_name),
            Peer::Fqdn(pattern) => {
                labels.iter().any(|label| label.source == Source::Fqdn && pattern.matches(&label.key))
            }
            Peer::Cidr(cidr) => self.cidr_matches(cidr, labels),
            Peer::Service(_) | Peer::Group { .. } => false,
        }
    }

    fn cidr_matches(&self, cidr: &CidrPeer, labels: &LabelSet) -> bool {
        let world = ["world", "world-ipv4", "world-ipv6"].iter().any(|name| labels.has_reserved(name));
        let node = labels.has_reserved("host") || labels.has_reserved("remote-node");
        let mode = self.config.cidr_match;
        if !(world || cidr.scope == CidrScope::Everything || (node && mode.nodes) || (!node && mode.pods)) {
            return false;
        }
        let sources: Vec<IpNet> = match &cidr.source {
            CidrSource::Prefix(prefix) => vec![*prefix],
            CidrSource::Group(name) => {
                let named = self.groups.iter().filter(|(own, ..)| **own == **name);
                named.flat_map(|(_, _, prefixes)| prefixes.clone()).collect()
            }
            CidrSource::GroupSelector(selector) => {
                let selected = self.groups.iter().filter(|(_, labels, _)| matches(selector, labels));
                selected.flat_map(|(_, _, prefixes)| prefixes.clone()).collect()
            }
        };
        let own: Vec<IpNet> = labels
            .iter()
            .filter(|label| label.source == Source::Cidr)
            .filter_map(|label| label.key.parse().ok())
            .collect();
        sources.iter().any(|source| {
            if own.is_empty() {
                let family = if source.addr().is_ipv4() { "world-ipv4" } else { "world-ipv6" };
                return source.prefix_len() == 0 && (labels.has_reserved(family) || labels.has_reserved("world"));
            }
            let zero = source.prefix_len() == 0 && node && cidr.scope == CidrScope::Configured && !mode.pods;
            !zero && own.iter().any(|own| source.contains(own) && !cidr.except.iter().any(|out| out.contains(own)))
        })
    }
}

fn matches(selector: &Selector, labels: &LabelSet) -> bool {
    selector.requirements().iter().all(|requirement| holds(requirement, labels))
}

fn holds(requirement: &Requirement, labels: &LabelSet) -> bool {
    let KeyMatch { source, key } = &requirement.key;
    let values: Vec<&str> = labels
        .iter()
        .filter(|label| label.key == *key && source.as_ref().is_none_or(|source| *source == label.source))
        .map(|label| &*label.value)
        .collect();
    let among = values.iter().any(|value| requirement.values().iter().any(|wanted| **wanted == **value));
    match requirement.operator {
        Operator::In => among,
        Operator::NotIn => !among,
        Operator::Exists => !values.is_empty(),
        Operator::DoesNotExist => values.is_empty(),
    }
}

fn entity_matches(entity: Entity, labels: &LabelSet, cluster: &str) -> bool {
    let any = |names: &[&str]| names.iter().any(|name| labels.has_reserved(name));
    let inside = any(&["host", "remote-node", "init", "ingress", "health", "unmanaged", "kube-apiserver"]);
    let of_cluster = labels.get(&Source::K8s, CLUSTER_LABEL);
    match entity {
        Entity::All => true,
        Entity::None => false,
        Entity::World => any(&["world", "world-ipv4", "world-ipv6"]),
        Entity::Cluster => inside || of_cluster.is_some_and(|label| *label.value == *cluster),
        Entity::ClusterMesh => inside || of_cluster.is_some(),
        single => any(&[single.name()]),
    }
}

/// How many ports the rule's match of this packet covers; `None` when it does not match.
fn breadth(l4: &L4, ports_of: &IdentitySpec, packet: Packet) -> Option<u32> {
    let L4::Some(matches) = l4 else { return Some(u32::MAX) };
    matches
        .iter()
        .filter_map(|one| {
            let (protocol, first, last) = match one {
                PortMatch::Ports { protocol, ports } => (*protocol, ports.first(), ports.last()),
                PortMatch::Icmp(icmp) => {
                    let base = u16::from(icmp.kind) * 256;
                    (icmp.protocol(), base, base + 255)
                }
                PortMatch::Named { protocol, name, last } => {
                    let first = ports_of.named_ports.get(name, *protocol)?;
                    (*protocol, first, last.map_or(first, |last| last.max(first)))
                }
            };
            let inside = protocol == packet.protocol && first <= packet.port && packet.port <= last;
            inside.then(|| u32::from(last - first) + 1)
        })
        .min()
}
