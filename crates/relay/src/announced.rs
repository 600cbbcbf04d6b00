//! What peer services said: the union of the nodes they know. Pure.

use std::collections::BTreeMap;

use nexin_api::hubble::Peer;
use nexin_hubble::peer::{ChangeNotification, ChangeNotificationType};

#[derive(Clone, Debug)]
struct Known {
    peer: Peer,
    /// Said again since the last reconnection.
    confirmed: bool,
}

/// Nodes by the service that announced them, and by name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Announced {
    services: BTreeMap<usize, BTreeMap<String, Known>>,
}

impl Announced {
    /// A service begins to tell: first all nodes it knows.
    pub(crate) fn begin(&mut self, service: usize) {
        for known in self.services.entry(service).or_default().values_mut() {
            known.confirmed = false;
        }
    }

    pub(crate) fn apply(&mut self, service: usize, change: ChangeNotification) {
        let known = self.services.entry(service).or_default();
        match change.r#type() {
            ChangeNotificationType::PeerAdded | ChangeNotificationType::PeerUpdated => {
                let server_name = change.tls.map(|tls| tls.server_name);
                let peer = Peer { name: change.name.clone(), address: change.address, server_name };
                known.insert(change.name, Known { peer, confirmed: true });
            }
            ChangeNotificationType::PeerDeleted => {
                known.remove(&change.name);
            }
            ChangeNotificationType::Unknown => {}
        }
    }

    /// Forgets the nodes that the service did not name again after a reconnection, unless `keep` says otherwise.
    pub(crate) fn settle(&mut self, service: usize, keep: impl Fn(&str) -> bool) {
        let known = self.services.entry(service).or_default();
        known.retain(|name, known| known.confirmed || keep(name));
    }

    /// Every node once; of two services that name the same node, the first is believed.
    pub(crate) fn union(&self) -> BTreeMap<String, Peer> {
        let all = self.services.values().rev().flatten();
        all.map(|(name, known)| (name.clone(), known.peer.clone())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(kind: ChangeNotificationType, name: &str, address: &str) -> ChangeNotification {
        ChangeNotification { name: name.into(), address: address.into(), r#type: kind.into(), tls: None }
    }

    fn names(announced: &Announced) -> Vec<(String, String)> {
        announced.union().into_values().map(|peer| (peer.name, peer.address)).collect()
    }

    fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
        list.iter().map(|(name, address)| ((*name).to_owned(), (*address).to_owned())).collect()
    }

    #[test]
    fn services_add_up_and_the_first_is_believed() {
        use ChangeNotificationType::{PeerAdded, PeerDeleted, PeerUpdated};
        let mut announced = Announced::default();
        announced.apply(0, change(PeerAdded, "a", "1"));
        announced.apply(1, change(PeerAdded, "a", "2"));
        announced.apply(1, change(PeerAdded, "b", "3"));
        assert_eq!(names(&announced), pairs(&[("a", "1"), ("b", "3")]));
        announced.apply(0, change(PeerDeleted, "a", ""));
        announced.apply(1, change(PeerUpdated, "b", "4"));
        assert_eq!(names(&announced), pairs(&[("a", "2"), ("b", "4")]));
    }

    #[test]
    fn nodes_that_vanished_while_nobody_listened_are_forgotten() {
        use ChangeNotificationType::PeerAdded;
        let mut announced = Announced::default();
        for name in ["a", "b", "c"] {
            announced.apply(0, change(PeerAdded, name, "1"));
        }
        announced.begin(0);
        announced.apply(0, change(PeerAdded, "a", "1"));
        assert_eq!(names(&announced).len(), 3);
        announced.settle(0, |name| name == "b");
        assert_eq!(names(&announced), pairs(&[("a", "1"), ("b", "1")]));
    }
}
