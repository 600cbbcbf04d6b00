//! Finding nodes: listens to peer services and tells the pool.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt as _;
use nexin_api::hubble::{Client, Refusal};
use nexin_runtime::backoff::Backoff;
use tokio::sync::watch;

use crate::announced::Announced;
use crate::pool::{Pool, State};

/// The first wait after a peer service was lost.
const FIRST_RETRY: Duration = Duration::from_millis(500);
/// After a reconnection: a node that was not named again by then, and does not answer, is gone.
const SETTLE: Duration = Duration::from_secs(10);

/// What all peer services said, and how many of them are listened to.
#[derive(Clone, Debug)]
pub(crate) struct Discovery {
    announced: Arc<Mutex<Announced>>,
    pool: Pool,
    listening: watch::Sender<usize>,
}

impl Discovery {
    pub(crate) fn new(pool: Pool) -> Self {
        Self { announced: Arc::default(), pool, listening: watch::Sender::new(0) }
    }

    /// How many peer services are connected.
    pub(crate) fn listening(&self) -> watch::Receiver<usize> {
        self.listening.subscribe()
    }

    /// Listens to one service for ever.
    pub(crate) async fn listen(self, service: usize, name: String, client: Client, retry_timeout: Duration) {
        let mut backoff = Backoff::new(FIRST_RETRY, retry_timeout);
        loop {
            let lost = self.listen_once(service, &name, &client, &mut backoff).await;
            let wait = backoff.failed();
            tracing::warn!(service = name, reason = lost.message, retry_in = ?wait, "peer service is not available");
            tokio::time::sleep(wait).await;
        }
    }

    async fn listen_once(&self, service: usize, name: &str, client: &Client, backoff: &mut Backoff) -> Refusal {
        let mut changes = client.notify();
        let mut connected: Option<Connected<'_>> = None;
        let mut settling = std::pin::pin!(tokio::time::sleep(SETTLE));
        let mut settled = false;
        loop {
            tokio::select! {
                change = changes.next() => {
                    let change = match change {
                        Some(Ok(change)) => change,
                        Some(Err(refusal)) => return refusal,
                        None => return Refusal::unavailable("it closed the stream"),
                    };
                    if connected.is_none() {
                        tracing::info!(service = name, "peer service is connected");
                        backoff.succeeded();
                        self.edit(|announced| announced.begin(service));
                        connected = Some(Connected::new(&self.listening));
                    }
                    tracing::debug!(service = name, node = change.name, change = ?change.r#type(), "peer change");
                    self.edit(|announced| announced.apply(service, change));
                }
                () = settling.as_mut(), if !settled => {
                    settled = true;
                    if connected.is_some() {
                        let nodes = self.pool.nodes();
                        let answers = |name: &str| nodes.get(name).is_some_and(|node| node.state == State::Connected);
                        self.edit(|announced| announced.settle(service, answers));
                    }
                }
            }
        }
    }

    fn edit(&self, edit: impl FnOnce(&mut Announced)) {
        let mut announced = self.announced.lock().unwrap_or_else(PoisonError::into_inner);
        edit(&mut announced);
        self.pool.set(announced.union());
    }
}

/// Counts as listening while it lives.
struct Connected<'a>(&'a watch::Sender<usize>);

impl<'a> Connected<'a> {
    fn new(listening: &'a watch::Sender<usize>) -> Self {
        listening.send_modify(|count| *count += 1);
        Self(listening)
    }
}

impl Drop for Connected<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count = count.saturating_sub(1));
    }
}
