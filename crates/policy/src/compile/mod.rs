//! From the rules of one endpoint and direction to decision tables.
//!
//! Identities that the same selectors match (and, on egress, that give the same numbers to the ports rules name) are one
//! class; each class is settled once. Nothing here looks at documents: rules come bound to selectors.

mod extension;
mod ports;
mod settle;

use std::collections::HashMap;
use std::sync::Arc;

use nexin_abi::maps::policy::RuleId;
use nexin_model::{Direction, Identity, NamedPorts, Protocol};

pub use extension::{Extension, MemberChange};

use crate::hash::FastMap;
use crate::rule::Rule;
use crate::tables::{PolicyKey, PolicyTables};
use ports::TableBuilder;
use settle::{RankedRule, Settlement};

/// Rules that select an endpoint in one direction.
#[derive(Clone, Debug)]
pub(crate) struct RuleSet {
    pub(crate) key: PolicyKey,
    pub(crate) direction: Direction,
    pub(crate) rules: Vec<RuleInput>,
    /// Isolated whatever rules say.
    pub(crate) forced: bool,
    /// The local host may reach the endpoint where rules isolate it without saying anything about the host.
    pub(crate) localhost: bool,
    pub(crate) subject_ports: NamedPorts,
}

#[derive(Clone, Debug)]
pub(crate) struct RuleInput {
    pub(crate) id: RuleId,
    pub(crate) rule: Arc<Rule>,
    pub(crate) peers: BoundPeers,
    pub(crate) log: u32,
}

/// Number of a selector, as whoever asks counts them.
pub(crate) type SelectorId = u32;

/// Peers of a rule as selectors.
#[derive(Clone, Debug, Default)]
pub(crate) struct BoundPeers {
    /// Everyone, known or not.
    pub(crate) any: bool,
    pub(crate) selectors: Vec<SelectorId>,
}

/// What rules can tell apart about a peer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Signature {
    /// Positions (in `Compiled::positions`) of the selectors that match, sorted.
    matched: Vec<u32>,
    /// Number the peer gives to each name in `Compiled::names`.
    ports: Vec<Option<u16>>,
    /// The local host, which may get a default of its own.
    host: bool,
}

/// A compiled policy that can be extended with identities.
#[derive(Clone, Debug)]
pub(crate) struct Compiled {
    tables: PolicyTables,
    published: Option<Arc<PolicyTables>>,
    rule_ids: Vec<RuleId>,
    settlement: Settlement,
    positions: FastMap<u32, u32>,
    /// Ports that rules name and that each peer numbers (egress).
    names: Vec<(Protocol, Arc<str>)>,
    classes: HashMap<Signature, u32>,
    builder: TableBuilder,
}

impl Compiled {
    /// The policy as it is for identities that no selector matches.
    pub(crate) fn new(set: RuleSet) -> Self {
        let mut positions: FastMap<u32, u32> = FastMap::default();
        for selector in set.rules.iter().flat_map(|rule| &rule.peers.selectors) {
            let next = positions.len() as u32;
            positions.entry(*selector).or_insert(next);
        }
        let names = if set.direction == Direction::Egress { settle::names_used(&set) } else { Vec::new() };
        let rules: Vec<RankedRule> =
            set.rules.iter().map(|rule| RankedRule::new(rule, &set, &positions, &names)).collect();
        let mut compiled = Self {
            tables: PolicyTables::empty(set.key),
            published: None,
            rule_ids: set.rules.iter().map(|rule| rule.id).collect(),
            settlement: Settlement::new(rules, set.forced, set.localhost),
            positions,
            names,
            classes: HashMap::new(),
            builder: TableBuilder::default(),
        };
        compiled.tables.everyone_else = compiled.class(Signature::default());
        compiled
    }

    pub(crate) fn tables(&self) -> &PolicyTables {
        &self.tables
    }

    pub(crate) fn publish(&mut self) -> Arc<PolicyTables> {
        self.published.get_or_insert_with(|| Arc::new(self.tables.clone())).clone()
    }

    pub(crate) fn rule_ids(&self) -> &[RuleId] {
        &self.rule_ids
    }

    pub(crate) fn wants_named_ports(&self) -> bool {
        !self.names.is_empty()
    }

    /// Takes all identities in, while the tables are still empty.
    ///
    /// `matched` gives a selector's slots, `identity` what is in a slot (with named ports where rules name ports).
    pub(crate) fn fill<'a, I: Iterator<Item = u32>>(
        &mut self,
        matched: impl Fn(u32) -> I,
        identity: impl Fn(u32) -> (Identity, Option<&'a NamedPorts>),
        slots: usize,
    ) {
        let (groups, group_of) = self.partition(matched, slots);
        let mut found: Vec<(Identity, Signature)> = Vec::new();
        for (slot, group) in group_of.iter().enumerate() {
            let (number, ports) = identity(slot as u32);
            let signature = self.signature(groups[*group as usize].clone(), number, ports);
            if signature != Signature::default() && number != Identity::UNKNOWN {
                found.push((number, signature));
            }
        }
        // In the order of numbers, so that equal content gives equal tables.
        found.sort_unstable_by_key(|(identity, _)| *identity);
        for (identity, signature) in found {
            let class = self.class(signature);
            if class != self.tables.everyone_else {
                self.tables.members.insert(identity, class);
            }
        }
        self.published = None;
    }

    /// Groups of slots that the same selectors match: the selectors' positions of each group, and each slot's group.
    fn partition<I: Iterator<Item = u32>>(
        &self,
        matched: impl Fn(u32) -> I,
        slots: usize,
    ) -> (Vec<Vec<u32>>, Vec<u32>) {
        // Selector by selector, each group is split into the slots that match and those that do not.
        let mut group_of = vec![0_u32; slots];
        let mut groups: Vec<Vec<u32>> = vec![Vec::new()];
        let mut selectors: Vec<(u32, u32)> = self.positions.iter().map(|(selector, at)| (*at, *selector)).collect();
        selectors.sort_unstable();
        let mut split: FastMap<u32, u32> = FastMap::default();
        for (position, selector) in selectors {
            split.clear();
            for slot in matched(selector) {
                let old = group_of[slot as usize];
                group_of[slot as usize] = *split.entry(old).or_insert_with(|| {
                    let mut members = groups[old as usize].clone();
                    members.push(position);
                    groups.push(members);
                    groups.len() as u32 - 1
                });
            }
        }
        (groups, group_of)
    }

    /// Takes an identity in. `matched`: selectors that match it, sorted. `moved`: it was taken out a moment ago.
    pub(crate) fn add_identity(
        &mut self,
        identity: Identity,
        matched: &[u32],
        ports: &NamedPorts,
        moved: bool,
    ) -> Option<Extension> {
        let mut positions: Vec<u32> =
            matched.iter().filter_map(|selector| self.positions.get(selector)).copied().collect();
        positions.sort_unstable();
        let signature = self.signature(positions, identity, Some(ports));
        let before = extension::Mark::of(&self.tables);
        let class = self.class(signature);
        let change = if class == self.tables.everyone_else {
            if !moved {
                return None;
            }
            MemberChange::Leaves
        } else {
            self.tables.members.insert(identity, class);
            MemberChange::Joins(class)
        };
        self.published = None;
        Some(before.extension(&self.tables, identity, change))
    }

    pub(crate) fn remove_identity(&mut self, identity: Identity) -> Option<Extension> {
        self.tables.members.remove(identity)?;
        self.published = None;
        Some(extension::Mark::of(&self.tables).extension(&self.tables, identity, MemberChange::Leaves))
    }

    /// Rules that are about a peer these selectors match, in the order they speak, each with whether it matches the port.
    pub(crate) fn spoken(
        &self,
        matched: &[u32],
        ports: &NamedPorts,
        protocol: Protocol,
        port: u16,
    ) -> Vec<(RuleId, bool)> {
        let mut positions: Vec<u32> =
            matched.iter().filter_map(|selector| self.positions.get(selector)).copied().collect();
        positions.sort_unstable();
        let signature = self.signature(positions, Identity::UNKNOWN, Some(ports));
        let peer = settle::PeerView { matched: &signature.matched, ports: &signature.ports, host: false };
        self.settlement.spoken(&peer, protocol, port)
    }

    fn signature(&self, matched: Vec<u32>, identity: Identity, ports: Option<&NamedPorts>) -> Signature {
        let ports = match ports {
            Some(ports) if !ports.is_empty() && !self.names.is_empty() => {
                let ports: Vec<_> = self.names.iter().map(|(protocol, name)| ports.get(name, *protocol)).collect();
                if ports.iter().any(Option::is_some) { ports } else { Vec::new() }
            }
            _ => Vec::new(),
        };
        Signature { matched, ports, host: self.settlement.knows_host() && identity == Identity::HOST }
    }

    fn class(&mut self, signature: Signature) -> u32 {
        if let Some(class) = self.classes.get(&signature) {
            return *class;
        }
        let peer = settle::PeerView { matched: &signature.matched, ports: &signature.ports, host: signature.host };
        let decision = self.builder.decision(&mut self.tables, |protocol| self.settlement.intervals(&peer, protocol));
        self.classes.insert(signature, decision);
        decision
    }
}
