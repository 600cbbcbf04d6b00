//! The engine: documents and identities in, decision tables out, both kept current in small steps.
//!
//! It owns no identity numbers (the caller allocates them), looks at no clock and does no I/O. What it says after any
//! history of changes is what it would say if only the present state had been told to it.

mod config;
mod index;
mod labels;
mod peer;
mod policies;
mod rules;
mod selectors;
mod set;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use nexin_abi::maps::policy::RuleId;
use nexin_model::{Identity, LabelSet, NamedPorts};

pub use config::{AllowLocalhost, Config, Enforcement};
pub use peer::CidrMatchMode;
pub use policies::EndpointPolicies;

use crate::compile::{Compiled, Extension, SelectorId};
use crate::hash::FastMap;
use crate::rule::{CidrGroup, Document, DocumentKey};
use crate::tables::PolicyKey;
use rules::StoredRule;
use selectors::SelectorCache;

/// Labels and named ports behind an identity's number.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IdentitySpec {
    pub labels: LabelSet,
    /// Part of the identity: a rule may name a port of its peer.
    pub named_ports: NamedPorts,
}

impl From<LabelSet> for IdentitySpec {
    fn from(labels: LabelSet) -> Self {
        Self { labels, named_ports: NamedPorts::default() }
    }
}

#[derive(Clone, Debug)]
struct KnownIdentity {
    slot: u32,
    spec: IdentitySpec,
}

/// What [`Engine::apply`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    Added,
    Replaced,
    Unchanged,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Engine {
    config: Config,
    documents: BTreeMap<DocumentKey, Document>,
    groups: BTreeMap<Arc<str>, CidrGroup>,
    rules: FastMap<RuleId, StoredRule>,
    by_subject: HashMap<SelectorId, Vec<RuleId>>,
    by_document: BTreeMap<DocumentKey, Vec<RuleId>>,
    logs: BTreeMap<u32, Arc<str>>,
    cache: SelectorCache,
    identities: BTreeMap<Identity, KnownIdentity>,
    by_slot: Vec<Identity>,
    compiled: BTreeMap<PolicyKey, Compiled>,
}

impl Engine {
    /// An engine that knows the reserved identities and no documents.
    pub fn new(config: Config) -> Self {
        let mut engine = Self {
            cache: SelectorCache::new(config.cidr_match),
            config,
            documents: BTreeMap::new(),
            groups: BTreeMap::new(),
            rules: FastMap::default(),
            by_subject: HashMap::new(),
            by_document: BTreeMap::new(),
            logs: BTreeMap::new(),
            identities: BTreeMap::new(),
            by_slot: Vec::new(),
            compiled: BTreeMap::new(),
        };
        for reserved in nexin_model::RESERVED {
            if let Some(labels) = nexin_model::reserved_labels(reserved.identity) {
                engine.upsert_identity(reserved.identity, labels.into());
            }
        }
        engine
    }

    pub fn config(&self) -> &Config {
        &self.config
    }

    // === identities ===

    /// Adds an identity or changes what it stands for. Returns what that adds to each policy that is in use
    /// ([`Self::policy_for`]): apply it to the loaded tables ([`crate::tables::PolicyTables::extend`]).
    pub fn upsert_identity(&mut self, identity: Identity, spec: IdentitySpec) -> Vec<Extension> {
        let mut gone = match self.identities.get(&identity) {
            Some(known) if known.spec == spec => return Vec::new(),
            Some(_) => self.remove_identity(identity),
            None => Vec::new(),
        };
        let (slot, matched) = self.cache.insert(&spec.labels);
        if self.by_slot.len() <= slot as usize {
            self.by_slot.resize(slot as usize + 1, Identity::UNKNOWN);
        }
        self.by_slot[slot as usize] = identity;
        let mut extensions = Vec::new();
        for compiled in self.compiled.values_mut() {
            let removed = gone.iter().position(|extension| extension.key == compiled.tables().key);
            let removed = removed.map(|index| gone.swap_remove(index)).is_some();
            extensions.extend(compiled.add_identity(identity, &matched, &spec.named_ports, removed));
        }
        self.identities.insert(identity, KnownIdentity { slot, spec });
        extensions
    }

    /// Forgets an identity. Returns what that takes from each policy in use.
    pub fn remove_identity(&mut self, identity: Identity) -> Vec<Extension> {
        let Some(known) = self.identities.remove(&identity) else { return Vec::new() };
        self.cache.remove(known.slot);
        self.by_slot[known.slot as usize] = Identity::UNKNOWN;
        self.compiled.values_mut().filter_map(|compiled| compiled.remove_identity(identity)).collect()
    }

    pub fn identity(&self, identity: Identity) -> Option<&IdentitySpec> {
        self.identities.get(&identity).map(|known| &known.spec)
    }

    /// Every known identity, by number.
    pub fn identities(&self) -> impl Iterator<Item = (Identity, &IdentitySpec)> {
        self.identities.iter().map(|(identity, known)| (*identity, &known.spec))
    }

    /// Builds the index of labels again and resolves every selector from it, for measuring. Returns the number of pairs
    /// of selector and identity that match.
    pub fn resolve_all(&mut self) -> usize {
        self.cache.resolve_all()
    }
}

#[cfg(test)]
mod tests;
