//! The nodes: a client each, and whether it answers. Who wants to know watches the table.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use nexin_api::hubble::{Address, Answer, Client, ClientOptions, Code, OBSERVER_SERVICE, Peer, Refusal};
use nexin_http::{ClientTls, Target};
use nexin_runtime::backoff::Backoff;
use nexin_runtime::tasks::{CancellationToken, Lifetime, Tasks};
use tokio::sync::watch;

/// Whether a node answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Not tried to the end yet; asking it anyway is right.
    Connecting,
    Connected,
    /// Why not.
    Unavailable(Arc<str>),
}

#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) peer: Peer,
    /// None: it cannot be called at all, as its state tells.
    client: Option<Client>,
    pub(crate) state: State,
    /// Ends with this node's entry.
    stop: CancellationToken,
}

impl Node {
    /// The client of a node that is worth asking.
    pub(crate) const fn client(&self) -> Option<&Client> {
        match self.state {
            State::Unavailable(_) => None,
            State::Connecting | State::Connected => self.client.as_ref(),
        }
    }
}

/// By name.
pub(crate) type Nodes = Arc<BTreeMap<String, Node>>;

/// How nodes are called.
#[derive(Clone, Debug)]
pub(crate) struct Calling {
    /// None: plaintext.
    pub(crate) tls: Option<ClientTls>,
    /// Plaintext was asked for, whatever nodes announce.
    pub(crate) plaintext: bool,
    pub(crate) dial_timeout: Duration,
    pub(crate) retry_timeout: Duration,
}

/// The table of nodes. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Pool {
    nodes: watch::Sender<Nodes>,
    calling: Arc<Calling>,
    tasks: Tasks,
}

/// The port of nodes that announce none.
const HUBBLE_PORT: u16 = 4244;
/// The first wait after a node was lost.
const FIRST_RETRY: Duration = Duration::from_millis(250);
/// How often a node is asked whether it is there, if it cannot tell by itself.
const POLL: Duration = Duration::from_secs(5);

impl Pool {
    pub(crate) fn new(calling: Calling, tasks: Tasks) -> Self {
        Self { nodes: watch::Sender::new(Nodes::default()), calling: Arc::new(calling), tasks }
    }

    pub(crate) fn nodes(&self) -> Nodes {
        Arc::clone(&self.nodes.borrow())
    }

    pub(crate) fn watch(&self) -> watch::Receiver<Nodes> {
        self.nodes.subscribe()
    }

    /// From now on there are exactly these nodes. One that did not change keeps its connection.
    pub(crate) fn set(&self, peers: BTreeMap<String, Peer>) {
        let mut begun = Vec::new();
        self.nodes.send_if_modified(|nodes| {
            let same = nodes.len() == peers.len() && nodes.values().zip(peers.values()).all(|(a, b)| a.peer == *b);
            if same {
                return false;
            }
            let before = Arc::make_mut(nodes);
            let mut after = BTreeMap::new();
            for (name, peer) in peers {
                let node = match before.remove(&name) {
                    Some(node) if node.peer == peer => node,
                    other => {
                        end(other);
                        let node = self.node(peer);
                        begun.push(node.clone());
                        node
                    }
                };
                after.insert(name, node);
            }
            for (_, node) in std::mem::take(before) {
                tracing::info!(node = node.peer.name, "node is gone");
                end(Some(node));
            }
            *before = after;
            true
        });
        for node in begun {
            tracing::info!(
                node = node.peer.name,
                address = node.peer.address,
                tls = node.peer.server_name.is_some(),
                "node"
            );
            let pool = self.clone();
            self.tasks.spawn("relay-node", Lifetime::Errand, async move { pool.attend(node).await });
        }
    }

    fn node(&self, peer: Peer) -> Node {
        let stop = self.tasks.stop().child_token();
        match self.make_client(&peer) {
            Ok(client) => Node { peer, client: Some(client), state: State::Connecting, stop },
            Err(refusal) => {
                tracing::warn!(node = peer.name, reason = refusal.message, "node cannot be called");
                Node { peer, client: None, state: State::Unavailable(refusal.message.into()), stop }
            }
        }
    }

    fn make_client(&self, peer: &Peer) -> Answer<Client> {
        let target = target(&peer.address).map_err(|error| Refusal::invalid(error.to_string()))?;
        let tls = match (&peer.server_name, &self.calling.tls) {
            _ if self.calling.plaintext => None,
            (None, _) => None,
            (Some(name), Some(tls)) => {
                Some(tls.clone().named(name).map_err(|error| Refusal::invalid(error.to_string()))?)
            }
            (Some(_), None) => {
                let reason = "it speaks TLS, and relay.tls_hubble_server_ca_files names no authority to check it by";
                return Err(Refusal::invalid(reason));
            }
        };
        let dial_timeout = self.calling.dial_timeout;
        Client::lazy(&Address::from(target), ClientOptions { tls, dial_timeout, ..ClientOptions::default() })
    }

    /// Keeps a node's state true until it is gone.
    async fn attend(&self, node: Node) {
        let Some(client) = &node.client else { return };
        tokio::select! {
            () = node.stop.cancelled() => {}
            () = self.attend_for_ever(&node, client) => {}
        }
    }

    async fn attend_for_ever(&self, node: &Node, client: &Client) {
        let mut backoff = Backoff::new(FIRST_RETRY, self.calling.retry_timeout);
        loop {
            let lost = self.follow_health(node, client, &mut backoff).await;
            self.mark(node, State::Unavailable(lost.message.as_str().into()));
            tokio::time::sleep(backoff.failed()).await;
        }
    }

    /// Ends when the node is lost.
    async fn follow_health(&self, node: &Node, client: &Client, backoff: &mut Backoff) -> Refusal {
        let mut health = client.watch_health(OBSERVER_SERVICE);
        while let Some(told) = health.next().await {
            match told {
                Ok(true) => {
                    backoff.succeeded();
                    self.mark(node, State::Connected);
                }
                Ok(false) => self.mark(node, State::Unavailable("it says that it is not serving".into())),
                Err(refusal) if refusal.code == Code::Unimplemented => {
                    return self.poll_status(node, client, backoff).await;
                }
                Err(refusal) => return refusal,
            }
        }
        Refusal::unavailable("it closed the connection")
    }

    /// For servers without a health service that can be watched.
    async fn poll_status(&self, node: &Node, client: &Client, backoff: &mut Backoff) -> Refusal {
        loop {
            match client.server_status().await {
                Ok(_) => {
                    backoff.succeeded();
                    self.mark(node, State::Connected);
                }
                Err(refusal) => return refusal,
            }
            tokio::time::sleep(POLL).await;
        }
    }

    fn mark(&self, node: &Node, state: State) {
        self.nodes.send_if_modified(|nodes| {
            let known = nodes.get(&node.peer.name);
            if known.is_none_or(|known| known.peer != node.peer || known.state == state) {
                return false;
            }
            match &state {
                State::Unavailable(reason) => tracing::warn!(node = node.peer.name, %reason, "node is not available"),
                _ => tracing::info!(node = node.peer.name, "node is connected"),
            }
            if let Some(known) = Arc::make_mut(nodes).get_mut(&node.peer.name) {
                known.state = state;
            }
            true
        });
    }
}

fn end(node: Option<Node>) {
    if let Some(node) = node {
        node.stop.cancel();
    }
}

/// A bare IP means Hubble's port.
fn target(address: &str) -> Result<Target, nexin_http::AddressError> {
    match address.parse::<std::net::IpAddr>() {
        Ok(ip) => Ok(Target::Tcp { host: ip.to_string(), port: HUBBLE_PORT }),
        Err(_) => address.parse(),
    }
}
