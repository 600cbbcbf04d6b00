//! What numbers in events stand for. Written by the owner thread, read by the event readers.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use nexin_api::v1::{Labels, PolicyRef};
use nexin_model::{Identity, LabelSet};
use nexin_policy::rule::Rule;

use crate::core::{policy_ref, wire_labels};

/// A local endpoint's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Workload {
    /// `namespace/name`
    pub(crate) name: String,
}

/// Where a rule comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RuleEntry {
    pub(crate) policy: PolicyRef,
    pub(crate) file: String,
    pub(crate) line: u32,
    pub(crate) field: String,
    pub(crate) log: Option<String>,
}

impl RuleEntry {
    pub(crate) fn of(rule: &Rule) -> Self {
        Self {
            policy: policy_ref(&rule.origin.document),
            file: rule.origin.file.to_string(),
            line: rule.origin.line,
            field: rule.origin.path.to_string(),
            log: rule.log.as_deref().map(str::to_owned),
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Directory {
    /// Shared with the engine: ten thousand identities cost no second copy.
    identities: HashMap<Identity, LabelSet>,
    workloads: HashMap<u16, Workload>,
    rules: HashMap<u32, RuleEntry>,
}

impl Directory {
    pub(crate) fn labels(&self, identity: Identity) -> Labels {
        self.identities.get(&identity).map(wire_labels).unwrap_or_default()
    }

    pub(crate) fn workload(&self, endpoint: u16) -> Option<&Workload> {
        self.workloads.get(&endpoint)
    }

    pub(crate) fn rule(&self, id: u32) -> Option<&RuleEntry> {
        self.rules.get(&id)
    }
}

/// The directory, shared. Clones are one.
#[derive(Clone, Debug, Default)]
pub(crate) struct SharedDirectory(Arc<RwLock<Directory>>);

impl SharedDirectory {
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, Directory> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Directory> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set_identity(&self, identity: Identity, labels: LabelSet) {
        self.write().identities.insert(identity, labels);
    }

    pub(crate) fn remove_identity(&self, identity: Identity) {
        self.write().identities.remove(&identity);
    }

    pub(crate) fn set_identities(&self, identities: impl Iterator<Item = (Identity, LabelSet)>) {
        self.write().identities = identities.collect();
    }

    pub(crate) fn set_workload(&self, endpoint: u16, workload: Workload) {
        self.write().workloads.insert(endpoint, workload);
    }

    pub(crate) fn remove_workload(&self, endpoint: u16) {
        self.write().workloads.remove(&endpoint);
    }

    pub(crate) fn set_rules(&self, rules: HashMap<u32, RuleEntry>) {
        self.write().rules = rules;
    }
}
