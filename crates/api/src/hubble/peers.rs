//! The nodes that a peer service tells of: a table that is replaced as a whole; every listener is told what changed since it was
//! last told. A slow listener misses intermediate states, never the last one, and costs nothing while it does not read.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::Stream;
use nexin_hubble::peer::{ChangeNotification, ChangeNotificationType, Tls};
use tokio::sync::watch;

/// One node, as others reach its Hubble server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// `node`, or `cluster/node` where the cluster is not `default`.
    pub name: String,
    /// `ip:port`, or the bare IP of a node without a TCP server.
    pub address: String,
    /// The name its certificate carries; None: it speaks plaintext.
    pub server_name: Option<String>,
}

impl Peer {
    /// A node of `cluster` under Hubble's naming rules.
    pub fn of_node(cluster: &str, node: &str, address: String, tls: bool) -> Self {
        let name =
            if cluster.is_empty() || cluster == "default" { node.to_owned() } else { format!("{cluster}/{node}") };
        Self { name, address, server_name: tls.then(|| Self::server_name(cluster, node)) }
    }

    /// `<node>.<cluster>.hubble-grpc.cilium.io`; dots inside the names would be labels of their own and become dashes.
    pub fn server_name(cluster: &str, node: &str) -> String {
        let cluster = if cluster.is_empty() { "default" } else { cluster };
        let label = |name: &str| name.replace('.', "-");
        format!("{}.{}.hubble-grpc.cilium.io", label(node), label(cluster))
    }

    fn notification(&self, change: ChangeNotificationType) -> ChangeNotification {
        ChangeNotification {
            name: self.name.clone(),
            address: self.address.clone(),
            r#type: change.into(),
            tls: self.server_name.clone().map(|server_name| Tls { server_name }),
        }
    }
}

type Table = Arc<BTreeMap<String, Peer>>;

/// The table. Cheap to clone; all clones are one.
#[derive(Clone, Debug)]
pub struct Peers {
    table: watch::Sender<Table>,
}

impl Default for Peers {
    fn default() -> Self {
        Self::new([])
    }
}

impl Peers {
    pub fn new(peers: impl IntoIterator<Item = Peer>) -> Self {
        Self { table: watch::Sender::new(table(peers)) }
    }

    /// From now on there are exactly these nodes.
    pub fn replace(&self, peers: impl IntoIterator<Item = Peer>) {
        let next = table(peers);
        self.table.send_if_modified(|current| {
            let changed = *current != next;
            *current = next;
            changed
        });
    }

    /// One `PEER_ADDED` a node, then changes for ever.
    pub fn notifications(&self) -> impl Stream<Item = ChangeNotification> + Send + 'static + use<> {
        let mut receiver = self.table.subscribe();
        receiver.mark_changed();
        let state = (receiver, Table::default(), Vec::new().into_iter());
        futures_util::stream::unfold(state, |(mut receiver, mut told, mut changes)| async move {
            loop {
                if let Some(change) = changes.next() {
                    return Some((change, (receiver, told, changes)));
                }
                receiver.changed().await.ok()?;
                let now = Arc::clone(&receiver.borrow_and_update());
                changes = difference(&told, &now).into_iter();
                told = now;
            }
        })
    }
}

fn table(peers: impl IntoIterator<Item = Peer>) -> Table {
    Arc::new(peers.into_iter().map(|peer| (peer.name.clone(), peer)).collect())
}

/// Deletions first, so that a node under a new name is never there twice.
fn difference(before: &BTreeMap<String, Peer>, after: &BTreeMap<String, Peer>) -> Vec<ChangeNotification> {
    let gone = before.values().filter(|peer| !after.contains_key(&peer.name));
    let deleted = gone.map(|peer| peer.notification(ChangeNotificationType::PeerDeleted));
    let here = after.values().filter_map(|peer| match before.get(&peer.name) {
        None => Some(peer.notification(ChangeNotificationType::PeerAdded)),
        Some(known) if known != peer => Some(peer.notification(ChangeNotificationType::PeerUpdated)),
        Some(_) => None,
    });
    deleted.chain(here).collect()
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt as _, StreamExt as _};

    use super::*;

    fn peer(name: &str, address: &str) -> Peer {
        Peer { name: name.into(), address: address.into(), server_name: None }
    }

    fn told(stream: &mut (impl Stream<Item = ChangeNotification> + Unpin)) -> Vec<(String, String)> {
        std::iter::from_fn(|| stream.next().now_or_never().flatten())
            .map(|change| {
                (
                    change.name,
                    change.r#type.try_into().map_or("?", |kind: ChangeNotificationType| kind.as_str_name()).into(),
                )
            })
            .collect()
    }

    fn words(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, change)| ((*name).to_owned(), (*change).to_owned())).collect()
    }

    #[test]
    fn listeners_are_told_what_changed_since_they_last_read() {
        let peers = Peers::new([peer("a", "1"), peer("b", "2")]);
        let mut stream = Box::pin(peers.notifications());
        assert_eq!(told(&mut stream), words(&[("a", "PEER_ADDED"), ("b", "PEER_ADDED")]));
        peers.replace([peer("a", "1"), peer("b", "2")]);
        assert_eq!(told(&mut stream), []);
        peers.replace([peer("a", "9"), peer("c", "3")]);
        peers.replace([peer("a", "9"), peer("d", "2")]);
        assert_eq!(told(&mut stream), words(&[("b", "PEER_DELETED"), ("a", "PEER_UPDATED"), ("d", "PEER_ADDED")]));
        assert_eq!(told(&mut Box::pin(peers.notifications())), words(&[("a", "PEER_ADDED"), ("d", "PEER_ADDED")]));
    }

    #[test]
    fn names_follow_hubbles_rules() {
        let plain = Peer::of_node("default", "n1", "10.0.0.1:4244".into(), false);
        assert_eq!((plain.name.as_str(), plain.server_name), ("n1", None));
        let other = Peer::of_node("eu.west", "n1.example", "10.0.0.1:4244".into(), true);
        assert_eq!(other.name, "eu.west/n1.example");
        assert_eq!(other.server_name.as_deref(), Some("n1-example.eu-west.hubble-grpc.cilium.io"));
    }
}
