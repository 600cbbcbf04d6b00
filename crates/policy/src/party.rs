//! Someone who sends or receives: raw labels and addresses, before rules decide which of them matter.
//!
//! Used where identities are not the agent's to give out: offline cases and simulations.

use std::collections::BTreeMap;
use std::net::IpAddr;

use nexin_model::{Identity, LabelSet, NamedPorts, RESERVED, reserved_labels};

use crate::engine::{Engine, IdentitySpec};

/// A workload, a node or an address outside.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Party {
    /// All labels, as they are before the identity filter.
    pub labels: LabelSet,
    pub addresses: Vec<IpAddr>,
    pub named_ports: NamedPorts,
}

/// Gives parties identities of an engine.
#[derive(Clone, Debug)]
pub(crate) struct Roster {
    known: BTreeMap<IdentitySpec, Identity>,
    next: u32,
}

impl Roster {
    /// Numbers that no agent gives out: a scope of its own.
    const FIRST: u32 = 0x7f << 24;

    /// Knows what the engine knows.
    pub(crate) fn of(engine: &Engine) -> Self {
        let known = engine.identities().map(|(identity, spec)| (spec.clone(), identity)).collect();
        Self { known, next: Self::FIRST }
    }

    /// The identity of `party` under the documents that `engine` has now.
    pub(crate) fn identity(&mut self, engine: &mut Engine, party: &Party) -> Identity {
        let labels = engine.identity_labels(&party.labels, &party.addresses);
        // There is one local host, whatever labels its node has.
        if labels.has_reserved("host") {
            let spec = IdentitySpec { labels, named_ports: NamedPorts::default() };
            engine.upsert_identity(Identity::HOST, spec);
            return Identity::HOST;
        }
        let spec = IdentitySpec { labels, named_ports: party.named_ports.clone() };
        if let Some(identity) = self.known.get(&spec) {
            return *identity;
        }
        let reserved = RESERVED
            .iter()
            .map(|entry| entry.identity)
            .find(|identity| spec.named_ports.is_empty() && reserved_labels(*identity).as_ref() == Some(&spec.labels));
        let identity = reserved.unwrap_or_else(|| {
            self.next += 1;
            Identity(self.next - 1)
        });
        engine.upsert_identity(identity, spec.clone());
        self.known.insert(spec, identity);
        identity
    }
}
