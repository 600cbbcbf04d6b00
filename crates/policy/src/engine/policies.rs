//! Which rules make up an endpoint's policy, and the tables compiled from them, shared by content.

use std::sync::Arc;

use nexin_abi::maps::policy::RuleId;
use nexin_model::{Direction, Identity, Protocol};

use super::{AllowLocalhost, Enforcement, Engine, KnownIdentity};
use crate::compile::{Compiled, RuleInput, RuleSet};
use crate::hash::ContentHasher;
use crate::rule::{L4, PortMatch, Subject};
use crate::tables::{PolicyKey, PolicyTables};

/// Tables of an endpoint. `None`: the direction is not isolated and no rule speaks about it.
#[derive(Clone, Debug, Default)]
pub struct EndpointPolicies {
    pub ingress: Option<Arc<PolicyTables>>,
    pub egress: Option<Arc<PolicyTables>>,
}

impl EndpointPolicies {
    pub fn of(&self, direction: Direction) -> Option<&Arc<PolicyTables>> {
        match direction {
            Direction::Ingress => self.ingress.as_ref(),
            Direction::Egress => self.egress.as_ref(),
        }
    }
}

impl Engine {
    /// Policies of endpoints that have this identity. `None` when the identity is not known.
    ///
    /// The tables stay known to the engine, and are extended with each new identity, until a document they came from
    /// changes or [`Self::retain_policies`] lets them go.
    pub fn policy_for(&mut self, subject: Identity) -> Option<EndpointPolicies> {
        self.identities.get(&subject)?;
        Some(EndpointPolicies {
            ingress: self.direction_policy(subject, Direction::Ingress),
            egress: self.direction_policy(subject, Direction::Egress),
        })
    }

    /// The tables with this key as they are now.
    pub fn tables(&mut self, key: PolicyKey) -> Option<Arc<PolicyTables>> {
        self.compiled.get_mut(&key).map(Compiled::publish)
    }

    /// Lets go of policies that no endpoint uses any more.
    pub fn retain_policies(&mut self, mut in_use: impl FnMut(PolicyKey) -> bool) {
        self.compiled.retain(|key, _| in_use(*key));
    }

    /// Numbers of the rules that select an endpoint with this identity in `direction`, sorted.
    pub fn rules_for(&self, subject: Identity, direction: Direction) -> Vec<RuleId> {
        let Some(known) = self.identities.get(&subject).filter(|known| self.is_subject(subject, known)) else {
            return Vec::new();
        };
        let mut ids: Vec<RuleId> = self
            .cache
            .matching_slot(known.slot)
            .iter()
            .filter_map(|selector| self.by_subject.get(selector))
            .flatten()
            .filter(|id| {
                self.rules.get(*id).is_some_and(|stored| {
                    stored.rule.direction == direction
                        && matches!(stored.rule.subject, Subject::Nodes(_)) == (subject == Identity::HOST)
                })
            })
            .copied()
            .collect();
        ids.sort_unstable();
        ids
    }

    /// Policies can apply to it at all: a workload, a reserved endpoint or, with the host firewall, the host; never
    /// other nodes or the outside.
    fn is_subject(&self, subject: Identity, known: &KnownIdentity) -> bool {
        const ELSEWHERE: [&str; 5] = ["world", "world-ipv4", "world-ipv6", "remote-node", "unmanaged"];
        let host = subject == Identity::HOST;
        self.config.enforcement != Enforcement::Never
            && (!host || self.config.host_firewall)
            && (host || !ELSEWHERE.iter().any(|name| known.spec.labels.has_reserved(name)))
    }

    fn direction_policy(&mut self, subject: Identity, direction: Direction) -> Option<Arc<PolicyTables>> {
        let set = self.rule_set(subject, direction)?;
        let key = set.key;
        if !self.compiled.contains_key(&key) {
            let compiled = self.compile(set);
            self.compiled.insert(key, compiled);
        }
        self.tables(key)
    }

    /// Everything that decides about this endpoint in this direction. `None`: nothing does.
    pub(crate) fn rule_set(&self, subject: Identity, direction: Direction) -> Option<RuleSet> {
        let known = self.identities.get(&subject).filter(|known| self.is_subject(subject, known))?;
        let ids = self.rules_for(subject, direction);
        let forced = self.config.enforcement == Enforcement::Always || known.spec.labels.has_reserved("init");
        if ids.is_empty() && !forced {
            return None;
        }
        let localhost = direction == Direction::Ingress
            && self.config.allow_localhost == AllowLocalhost::Always
            && subject != Identity::HOST;
        let subject_ports =
            if direction == Direction::Ingress { self.named_ports_used(known, &ids) } else { Vec::new() };
        let contents: Vec<(RuleId, u128)> =
            ids.iter().filter_map(|id| Some((*id, self.rules.get(id)?.content))).collect();
        let key = PolicyKey(ContentHasher::of(&(direction as u8, forced, localhost, &contents, &subject_ports)));
        let rules = ids.iter().filter_map(|id| {
            let stored = self.rules.get(id)?;
            Some(RuleInput { id: *id, rule: stored.rule.clone(), peers: stored.peers.clone(), log: stored.log })
        });
        Some(RuleSet {
            key,
            direction,
            rules: rules.collect(),
            forced,
            localhost,
            subject_ports: known.spec.named_ports.clone(),
        })
    }

    /// Rules of `subject` that are about `peer`, in the order they speak, each with whether it matches the port too.
    pub(crate) fn spoken(
        &self,
        subject: Identity,
        direction: Direction,
        peer: Identity,
        protocol: Protocol,
        port: u16,
    ) -> Vec<(RuleId, bool)> {
        let Some(set) = self.rule_set(subject, direction) else { return Vec::new() };
        let known = self.identities.get(&peer);
        let matched = known.map(|known| self.cache.matching_slot(known.slot)).unwrap_or_default();
        let ports = known.map(|known| known.spec.named_ports.clone()).unwrap_or_default();
        Compiled::new(set).spoken(&matched, &ports, protocol, port)
    }

    /// Named ports of the subject that its rules speak of, with the numbers they have there.
    fn named_ports_used(&self, known: &KnownIdentity, ids: &[RuleId]) -> Vec<(Arc<str>, u8, Option<u16>)> {
        let rules = ids.iter().filter_map(|id| self.rules.get(id));
        let mut used: Vec<_> = rules
            .filter_map(|stored| match &stored.rule.l4 {
                L4::Any => None,
                L4::Some(matches) => Some(matches),
            })
            .flatten()
            .filter_map(|port| match port {
                PortMatch::Named { protocol, name, .. } => {
                    Some((name.clone(), protocol.number(), known.spec.named_ports.get(name, *protocol)))
                }
                PortMatch::Ports { .. } | PortMatch::Icmp(_) => None,
            })
            .collect();
        used.sort_unstable();
        used.dedup();
        used
    }

    fn compile(&self, set: RuleSet) -> Compiled {
        let mut compiled = Compiled::new(set);
        let named = compiled.wants_named_ports();
        compiled.fill(
            |selector| self.cache.matched(selector).iter(),
            |slot| {
                let identity = self.by_slot[slot as usize];
                let ports =
                    if named { self.identities.get(&identity).map(|known| &known.spec.named_ports) } else { None };
                (identity, ports)
            },
            self.by_slot.len(),
        );
        compiled
    }
}
