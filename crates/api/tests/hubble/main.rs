//! Hubble's API over real sockets: every method over every transport, limits, slow clients, broken requests, stopping.
#![allow(clippy::unwrap_used, reason = "a test that unwraps fails with a message and a line")]

#[path = "../../../http/tests/certificates/mod.rs"]
mod certificates;
#[path = "../hubble_node/mod.rs"]
mod hubble_node;

mod methods;
mod misuse;
mod raw;
mod stopping;

use std::time::Duration;

use nexin_api::hubble::{Address, Client, ClientOptions};
use nexin_http::Target;

/// Longer than anything here takes, on any machine.
const PATIENCE: Duration = Duration::from_secs(60);

async fn plain(target: Target) -> Client {
    Client::connect(&Address::from(target), ClientOptions::default()).await.unwrap()
}

/// What `future` gives, before anybody loses patience.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap()
}
