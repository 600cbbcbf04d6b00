//! Identities that have fixed numbers and labels.

pub use nexin_abi::Identity;

use crate::{Label, LabelSet};

/// A reserved identity: number and the name of its label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReservedIdentity {
    pub identity: Identity,
    pub name: &'static str,
}

/// Every reserved identity, by number. Source: cilium `pkg/identity/numericidentity.go`.
pub const RESERVED: [ReservedIdentity; 10] = [
    ReservedIdentity { identity: Identity::HOST, name: "host" },
    ReservedIdentity { identity: Identity::WORLD, name: "world" },
    ReservedIdentity { identity: Identity::UNMANAGED, name: "unmanaged" },
    ReservedIdentity { identity: Identity::HEALTH, name: "health" },
    ReservedIdentity { identity: Identity::INIT, name: "init" },
    ReservedIdentity { identity: Identity::REMOTE_NODE, name: "remote-node" },
    ReservedIdentity { identity: Identity::KUBE_APISERVER, name: "kube-apiserver" },
    ReservedIdentity { identity: Identity::INGRESS, name: "ingress" },
    ReservedIdentity { identity: Identity::WORLD_IPV4, name: "world-ipv4" },
    ReservedIdentity { identity: Identity::WORLD_IPV6, name: "world-ipv6" },
];

/// The identity whose label is `reserved:<name>`.
pub fn reserved_by_name(name: &str) -> Option<Identity> {
    RESERVED.iter().find(|entry| entry.name == name).map(|entry| entry.identity)
}

/// Labels of a reserved identity, `None` for other numbers. The bare kube-apiserver identity is a remote node too.
pub fn reserved_labels(identity: Identity) -> Option<LabelSet> {
    let entry = RESERVED.iter().find(|entry| entry.identity == identity)?;
    let also = (identity == Identity::KUBE_APISERVER).then(|| Label::reserved("remote-node"));
    Some(std::iter::once(Label::reserved(entry.name)).chain(also).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_lead_to_each_other() {
        for entry in RESERVED {
            assert_eq!(reserved_by_name(entry.name), Some(entry.identity));
            assert!(reserved_labels(entry.identity).is_some_and(|labels| labels.has_reserved(entry.name)));
        }
        assert_eq!(reserved_labels(Identity(256)), None);
    }
}
