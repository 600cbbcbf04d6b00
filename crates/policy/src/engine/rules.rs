//! Documents: their rules get numbers and are bound to selectors.

use std::sync::Arc;

use ipnet::IpNet;
use nexin_abi::maps::policy::RuleId;
use nexin_model::{KeyMatch, Requirement, Selector};

use super::peer::{CidrMatch, PeerMatch, entity_selectors};
use super::{Applied, Engine};
use crate::compile::{BoundPeers, SelectorId};
use crate::hash::ContentHasher;
use crate::rule::{CidrSource, Document, DocumentKey, Peer, Rule, Subject};

/// A rule with its number, bound to the selector cache.
#[derive(Clone, Debug)]
pub(crate) struct StoredRule {
    pub(crate) rule: Arc<Rule>,
    pub(crate) subject: SelectorId,
    pub(crate) peers: BoundPeers,
    /// Number of the log text, 0 = none.
    pub(crate) log: u32,
    /// Everything of the rule that tables depend on.
    pub(crate) content: u128,
}

impl Engine {
    /// Adds a document or replaces the one of the same name, whole.
    pub fn apply(&mut self, document: Document) -> Applied {
        if self.documents.get(&document.key) == Some(&document) {
            return Applied::Unchanged;
        }
        let replaced = self.remove(&document.key);
        if let Some(group) = &document.cidr_group {
            self.groups.insert(document.key.name.clone(), group.clone());
            self.rebind_groups();
        }
        let mut ids = Vec::with_capacity(document.rules.len());
        for (index, rule) in document.rules.iter().enumerate() {
            let id = self.new_rule_id(&document.key, index);
            let stored = self.bind(Arc::new(rule.clone()));
            self.by_subject.entry(stored.subject).or_default().push(id);
            self.rules.insert(id, stored);
            ids.push(id);
        }
        self.by_document.insert(document.key.clone(), ids);
        self.documents.insert(document.key.clone(), document);
        if replaced { Applied::Replaced } else { Applied::Added }
    }

    /// Takes a document away. Returns whether it was there.
    pub fn remove(&mut self, key: &DocumentKey) -> bool {
        let Some(document) = self.documents.remove(key) else { return false };
        let ids = self.by_document.remove(key).unwrap_or_default();
        self.compiled.retain(|_, compiled| !compiled.rule_ids().iter().any(|id| ids.contains(id)));
        for id in ids {
            let Some(stored) = self.rules.remove(&id) else { continue };
            self.unlink_subject(stored.subject, id);
            self.unbind(&stored);
        }
        if document.cidr_group.is_some() {
            self.groups.remove(&key.name);
            self.rebind_groups();
        }
        true
    }

    /// Documents by name.
    pub fn documents(&self) -> impl Iterator<Item = &Document> {
        self.documents.values()
    }

    pub fn document(&self, key: &DocumentKey) -> Option<&Document> {
        self.documents.get(key)
    }

    pub fn rule(&self, id: RuleId) -> Option<&Rule> {
        self.rules.get(&id).map(|stored| &*stored.rule)
    }

    /// Numbers of a document's rules, in its order.
    pub fn rule_ids(&self, key: &DocumentKey) -> &[RuleId] {
        self.by_document.get(key).map_or(&[], Vec::as_slice)
    }

    /// Log text by the number in a verdict.
    pub fn log_text(&self, log: u32) -> Option<&str> {
        self.logs.get(&log).map(|text| &**text)
    }

    /// The same number for the same rule of the same document in every run, so that numbers in old events mean
    /// something after a restart (unless two collide; then the later one moves on).
    fn new_rule_id(&self, key: &DocumentKey, index: usize) -> RuleId {
        let mut id = ContentHasher::of(&(key, index as u64)) as RuleId;
        while id == 0 || self.rules.contains_key(&id) {
            id = id.wrapping_add(1);
        }
        id
    }

    fn bind(&mut self, rule: Arc<Rule>) -> StoredRule {
        let subject = match &rule.subject {
            Subject::Endpoints(selector) => selector.clone(),
            Subject::Nodes(selector) => selector.and(Requirement::exists(KeyMatch::reserved("host"))),
        };
        let subject = self.cache.acquire(PeerMatch::Labels(vec![subject]));
        let mut peers = BoundPeers::default();
        let mut matches: Vec<Option<PeerMatch>> = rule.peers.iter().filter_map(|peer| self.peer_match(peer)).collect();
        matches.sort_unstable();
        matches.dedup();
        let content = ContentHasher::of(&(
            (rule.direction as u8, rule.level, rule.action as u8, &matches, &rule.l4),
            (rule.redirect, rule.auth.map(|auth| auth as u8), &rule.log, rule.default_deny, rule.shadow),
        ));
        for peer in matches {
            match peer {
                None => peers.any = true,
                Some(peer) => peers.selectors.push(self.cache.acquire(peer)),
            }
        }
        let log = rule.log.as_ref().map_or(0, |text| self.log_number(text));
        StoredRule { rule, subject, peers, log, content }
    }

    fn unbind(&mut self, stored: &StoredRule) {
        self.cache.release(stored.subject);
        for selector in &stored.peers.selectors {
            self.cache.release(*selector);
        }
    }

    fn unlink_subject(&mut self, subject: SelectorId, id: RuleId) {
        if let Some(rules) = self.by_subject.get_mut(&subject) {
            rules.retain(|rule| *rule != id);
            if rules.is_empty() {
                self.by_subject.remove(&subject);
            }
        }
    }

    /// `None`: nobody. `Some(None)`: everyone.
    fn peer_match(&self, peer: &Peer) -> Option<Option<PeerMatch>> {
        match peer {
            Peer::Any => Some(None),
            Peer::Endpoints(selector) if selector.is_everything() => Some(None),
            Peer::Endpoints(selector) => Some(Some(PeerMatch::Labels(vec![selector.clone()]))),
            Peer::Entity(entity) => {
                let selectors = entity_selectors(*entity, &self.config.cluster_name);
                match &*selectors {
                    [] => None,
                    [everything] if everything.is_everything() => Some(None),
                    _ => Some(Some(PeerMatch::Labels(selectors))),
                }
            }
            Peer::Nodes(selector) => {
                let remote = selector.and(Requirement::exists(KeyMatch::reserved("remote-node")));
                Some(Some(PeerMatch::Labels(vec![remote])))
            }
            Peer::Cidr(cidr) => {
                let prefixes = self.cidr_prefixes(&cidr.source);
                let cidr = CidrMatch::new(prefixes, cidr.except.clone(), cidr.scope);
                (!cidr.prefixes.is_empty()).then_some(Some(PeerMatch::Cidr(cidr)))
            }
            Peer::Fqdn(pattern) => Some(Some(PeerMatch::Fqdn(pattern.clone()))),
            Peer::Service(_) | Peer::Group { .. } => None,
        }
    }

    fn cidr_prefixes(&self, source: &CidrSource) -> Vec<IpNet> {
        match source {
            CidrSource::Prefix(prefix) => vec![*prefix],
            CidrSource::Group(name) => self.groups.get(name).map(|group| group.prefixes.clone()).unwrap_or_default(),
            CidrSource::GroupSelector(selector) => self.selected_groups(selector),
        }
    }

    fn selected_groups(&self, selector: &Selector) -> Vec<IpNet> {
        let selected = self.groups.values().filter(|group| selector.matches(&group.labels));
        selected.flat_map(|group| group.prefixes.iter().copied()).collect()
    }

    /// A group changed: rules that speak of groups are bound anew.
    fn rebind_groups(&mut self) {
        let affected: Vec<RuleId> =
            self.rules.iter().filter(|(_, stored)| speaks_of_groups(&stored.rule)).map(|(id, _)| *id).collect();
        self.compiled.retain(|_, compiled| !compiled.rule_ids().iter().any(|id| affected.contains(id)));
        for id in affected {
            let Some(old) = self.rules.remove(&id) else { continue };
            self.unlink_subject(old.subject, id);
            let stored = self.bind(old.rule.clone());
            self.unbind(&old);
            self.by_subject.entry(stored.subject).or_default().push(id);
            self.rules.insert(id, stored);
        }
    }

    fn log_number(&mut self, text: &Arc<str>) -> u32 {
        let mut number = ContentHasher::of(&**text) as u32;
        loop {
            match self.logs.get(&number) {
                Some(known) if known == text => return number,
                None if number != 0 => {
                    self.logs.insert(number, text.clone());
                    return number;
                }
                _ => number = number.wrapping_add(1),
            }
        }
    }
}

fn speaks_of_groups(rule: &Rule) -> bool {
    rule.peers.iter().any(|peer| match peer {
        Peer::Cidr(cidr) => !matches!(cidr.source, CidrSource::Prefix(_)),
        _ => false,
    })
}
