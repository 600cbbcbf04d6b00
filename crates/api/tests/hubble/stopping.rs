//! A server that stops: streams end and say so, nothing hangs, and the next server takes its place.

use futures_util::StreamExt as _;
use nexin_api::hubble::{Code, OBSERVER_SERVICE};
use nexin_hubble::observer::GetFlowsRequest;

use super::hubble_node::{Log, Node, socket, word};
use super::{plain, soon};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_end_as_unavailable_and_a_client_finds_the_next_server() {
    let dir = tempfile::tempdir().unwrap();
    let path = socket(&dir, "h");
    let node = Node::on_socket(Log::new("n"), &path).await;
    node.log.see_flows([1]);
    let client = plain(node.target()).await;
    let mut flows = client.get_flows(GetFlowsRequest { follow: true, number: 1, ..Default::default() });
    let mut health = client.watch_health(OBSERVER_SERVICE);
    let mut peers = client.notify();
    assert_eq!(word(&soon(flows.next()).await.unwrap().unwrap()), "n1");
    assert_eq!(soon(health.next()).await, Some(Ok(true)));
    assert!(futures_util::FutureExt::now_or_never(peers.next()).is_none());

    let log = soon(node.stop()).await;
    assert_eq!(soon(flows.next()).await.unwrap().unwrap_err().code, Code::Unavailable);
    assert_eq!(soon(health.next()).await.unwrap().unwrap_err().code, Code::Unavailable);
    assert_eq!(*log.open.borrow(), 0, "its streams are gone with it");
    assert!(!path.exists());

    let node = Node::on_socket(log, &path).await;
    assert_eq!(soon(client.health(OBSERVER_SERVICE)).await, Ok(true));
    drop(node);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_never_reads_holds_no_server_up() {
    let node = Node::on_tcp(Log::new("n"), 0, None).await;
    node.log.see_flows(0..20_000);
    let client = plain(node.target()).await;
    let mut held = client.get_flows(GetFlowsRequest { number: u64::MAX, ..Default::default() });
    assert!(soon(held.next()).await.unwrap().is_ok());
    let log = soon(node.stop()).await;
    soon(log.open.subscribe().wait_for(|open| *open == 0)).await.map(drop).unwrap();
    let mut last = Ok(());
    while let Some(answer) = soon(held.next()).await {
        last = answer.map(|_| ());
    }
    assert_eq!(last.unwrap_err().code, Code::Unavailable);
}
