//! Rules of CiliumNetworkPolicy and CiliumClusterwideNetworkPolicy.

use std::sync::Arc;

use nexin_model::{Direction, IcmpType, KeyMatch, PortRange, Protocol};

use super::selectors;
use super::{Draft, Frame};
use crate::input::cilium::{
    CidrRule, CidrRuleSource, IcmpField, L7Rules, Peers, Port, PortName, PortProtocol, PortRule, Rule as Written,
    RuleSubject, Section, Service, TrafficRule,
};
use crate::input::decode::Spanned;
use crate::rule::{
    CidrPeer, CidrScope, CidrSource, FqdnPattern, L4, Peer, PortMatch, ProxyKind, Redirect, Rule, RuleAction,
    ServicePeer, Subject,
};

pub(super) fn rules(written: &Written, frame: &Frame<'_>) -> Vec<Rule> {
    let namespace = frame.document.namespace();
    let subject = match &written.subject {
        RuleSubject::Endpoints(selector) => Subject::Endpoints(selectors::cilium_subject(selector, namespace)),
        RuleSubject::Nodes(selector) => Subject::Nodes(selectors::sourced(selector)),
    };
    let frame = Frame { log: written.log.as_deref().map(Arc::from), key: frame.key.clone(), ..*frame };
    let lowering = Lowering { frame: &frame, written, subject };
    let mut rules: Vec<Rule> = written.sections.iter().flat_map(|section| lowering.section(section)).collect();
    for direction in Direction::BOTH {
        let silent = !rules.iter().any(|rule| rule.direction == direction);
        if silent && lowering.switch(direction) == Some(true) {
            let draft = Draft { peers: Vec::new(), ..Draft::allow_all(lowering.subject.clone(), direction) };
            rules.push(frame.rule(written.at, format!("{}.enableDefaultDeny", written.path), draft));
        }
    }
    rules
}

struct Lowering<'a> {
    frame: &'a Frame<'a>,
    written: &'a Written,
    subject: Subject,
}

impl Lowering<'_> {
    /// `enableDefaultDeny` of a direction.
    fn switch(&self, direction: Direction) -> Option<bool> {
        let written = match direction {
            Direction::Ingress => self.written.default_deny.ingress,
            Direction::Egress => self.written.default_deny.egress,
        };
        written.filter(|_| !self.frame.options.ignore_default_deny_switch)
    }

    fn section(&self, section: &Section) -> Vec<Rule> {
        section.rules.iter().flat_map(|rule| self.traffic_rule(section, rule)).collect()
    }

    /// One rule for each item of `toPorts` and `icmps`, because each may have a proxy of its own.
    fn traffic_rule(&self, section: &Section, rule: &TrafficRule) -> Vec<Rule> {
        let path = format!("{}.{}[{}]", self.written.path, section.field(), rule.index);
        let draft = || Draft {
            action: if section.deny { RuleAction::Deny } else { RuleAction::Allow },
            peers: self.peers(&rule.peers),
            auth: rule.authentication.as_ref().map(|auth| auth.value),
            default_deny: self.switch(section.direction).unwrap_or(true),
            ..Draft::allow_all(self.subject.clone(), section.direction)
        };
        if rule.ports.is_empty() && rule.icmps.is_empty() {
            let mut draft = draft();
            // A rule that names neither peers nor ports isolates and speaks of nobody.
            if draft.peers == [Peer::Any] {
                draft.peers.clear();
            }
            return vec![self.frame.rule(rule.at, path, draft)];
        }
        let ports = rule.ports.iter().enumerate().map(|(index, port_rule)| {
            let l4 = L4::Some(port_rule.ports.iter().flat_map(port_matches).collect());
            let draft = Draft { l4, redirect: redirect(port_rule), ..draft() };
            self.frame.rule(port_rule.at, format!("{path}.toPorts[{index}]"), draft)
        });
        let icmps = rule.icmps.iter().enumerate().map(|(index, fields)| {
            let l4 = L4::Some(fields.iter().filter_map(icmp_match).collect());
            let at = fields.first().map_or(rule.at, |field| field.at);
            self.frame.rule(at, format!("{path}.icmps[{index}]"), Draft { l4, ..draft() })
        });
        ports.chain(icmps).collect()
    }

    /// Nothing written about peers is everyone; an empty list is nobody, whatever is written beside it.
    fn peers(&self, written: &Peers) -> Vec<Peer> {
        let Peers { endpoints, cidrs, cidr_sets, entities, nodes, groups, services, fqdns } = written;
        let lists = [
            endpoints.as_ref().map(Vec::len),
            cidrs.as_ref().map(Vec::len),
            cidr_sets.as_ref().map(Vec::len),
            entities.as_ref().map(Vec::len),
            nodes.as_ref().map(Vec::len),
            groups.as_ref().map(Vec::len),
            services.as_ref().map(Vec::len),
            fqdns.as_ref().map(Vec::len),
        ];
        if lists.iter().all(Option::is_none) {
            return vec![Peer::Any];
        }
        if lists.contains(&Some(0)) {
            return Vec::new();
        }
        let namespace = self.frame.document.namespace();
        let of_init =
            matches!(&self.subject, Subject::Endpoints(selector) if selector.mentions(&KeyMatch::reserved("init")));
        let options = self.frame.options;
        let mut peers = Vec::new();
        peers.extend(
            endpoints
                .iter()
                .flatten()
                .map(|selector| Peer::Endpoints(selectors::cilium_peer(selector, namespace, of_init, options))),
        );
        peers.extend(cidrs.iter().flatten().map(|prefix| {
            let source = CidrSource::Prefix(prefix.value.trunc());
            Peer::Cidr(CidrPeer { source, except: Vec::new(), scope: CidrScope::Configured })
        }));
        peers.extend(cidr_sets.iter().flatten().map(cidr_rule));
        peers.extend(entities.iter().flatten().map(|entity| Peer::Entity(entity.value)));
        peers.extend(nodes.iter().flatten().map(|selector| Peer::Nodes(selectors::sourced(selector))));
        peers.extend(groups.iter().flatten().map(|group| Peer::Group { text: group.value.as_str().into() }));
        peers.extend(services.iter().flatten().flat_map(|service| service_peers(service, namespace)));
        peers.extend(fqdns.iter().flatten().map(|fqdn| {
            let text: Arc<str> = fqdn.text.as_str().into();
            Peer::Fqdn(if fqdn.pattern { FqdnPattern::Pattern(text) } else { FqdnPattern::Name(text) })
        }));
        peers
    }
}

fn cidr_rule(rule: &CidrRule) -> Peer {
    let source = match &rule.source {
        CidrRuleSource::Prefix(prefix) => CidrSource::Prefix(prefix.trunc()),
        CidrRuleSource::Group(name) => CidrSource::Group(name.as_str().into()),
        CidrRuleSource::GroupSelector(selector) => CidrSource::GroupSelector(selectors::cidr_groups(selector)),
    };
    Peer::Cidr(CidrPeer { source, except: exceptions(&rule.except), scope: CidrScope::Configured })
}

pub(super) fn exceptions(written: &[Spanned<ipnet::IpNet>]) -> Vec<ipnet::IpNet> {
    let mut except: Vec<_> = written.iter().map(|prefix| prefix.value.trunc()).collect();
    except.sort_unstable();
    except.dedup();
    except
}

fn service_peers(service: &Service, namespace: Option<&str>) -> Vec<Peer> {
    let named = service.name.as_ref().map(|(of, name)| ServicePeer::Named {
        namespace: of.as_deref().or(namespace).unwrap_or("default").into(),
        name: name.as_deref().unwrap_or_default().into(),
    });
    let selected = service.selector.as_ref().map(|(of, selector)| ServicePeer::Selected {
        namespace: of.as_deref().map(Arc::from),
        selector: selectors::plain(selector),
    });
    named.into_iter().chain(selected).map(Peer::Service).collect()
}

/// The protocols that a written one stands for.
fn protocols(protocol: PortProtocol) -> &'static [Protocol] {
    match protocol {
        PortProtocol::Any => &[Protocol::Tcp, Protocol::Udp, Protocol::Sctp],
        PortProtocol::Tcp => &[Protocol::Tcp],
        PortProtocol::Udp => &[Protocol::Udp],
        PortProtocol::Sctp => &[Protocol::Sctp],
        PortProtocol::Other(_) => &[],
    }
}

fn port_matches(port: &Port) -> Vec<PortMatch> {
    if let PortProtocol::Other(number) = port.protocol {
        return vec![PortMatch::Ports { protocol: Protocol::from_number(number), ports: PortRange::ALL }];
    }
    let of = |protocol: Protocol| match &port.port {
        PortName::Number(0) => PortMatch::Ports { protocol, ports: PortRange::ALL },
        PortName::Number(first) => {
            let range = port.end.and_then(|last| PortRange::new(*first, last));
            PortMatch::Ports { protocol, ports: range.unwrap_or(PortRange::single(*first)) }
        }
        PortName::Name(name) => PortMatch::Named { protocol, name: name.as_str().into(), last: port.end },
    };
    protocols(port.protocol).iter().copied().map(of).collect()
}

fn icmp_match(field: &IcmpField) -> Option<PortMatch> {
    field.kind.map(|kind| PortMatch::Icmp(IcmpType { family: field.family, kind }))
}

fn redirect(rule: &PortRule) -> Option<Redirect> {
    if let Some(listener) = &rule.listener {
        let kind = ProxyKind::Listener;
        return Some(Redirect { kind, priority: listener.priority.unwrap_or(kind.default_priority()) });
    }
    let tls = !rule.server_names.is_empty() || rule.terminating_tls.is_some() || rule.originating_tls.is_some();
    let kind = match &rule.rules {
        Some(L7Rules::Http(_)) => ProxyKind::Http,
        Some(L7Rules::Dns(_)) => ProxyKind::Dns,
        Some(L7Rules::Kafka(_)) => ProxyKind::Kafka,
        None if tls => ProxyKind::Tls,
        None => return None,
    };
    Some(Redirect { kind, priority: kind.default_priority() })
}
