//! Slow clients, huge and broken requests.

use std::io::Write as _;

use futures_util::{StreamExt as _, TryStreamExt as _};
use nexin_api::hubble::{Code, OBSERVER_SERVICE};
use nexin_http::Target;
use nexin_hubble::flow::FlowFilter;
use nexin_hubble::observer::GetFlowsRequest;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use prost::Message as _;

use super::hubble_node::{Log, Node, word};
use super::{plain, raw, soon};

const GET_FLOWS: &str = "/observer.Observer/GetFlows";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_does_not_read_stops_its_own_stream_and_nothing_else() {
    let count = 20_000;
    let node = Node::on_tcp(Log::new("n"), 0, None).await;
    node.log.see_flows(0..count);
    let everything = GetFlowsRequest { number: u64::MAX, ..Default::default() };

    let slow = plain(node.target()).await;
    let mut held = slow.get_flows(everything.clone());
    assert_eq!(word(&soon(held.next()).await.unwrap().unwrap()), "n0");

    let fast = plain(node.target()).await;
    assert_eq!(soon(fast.get_flows(everything).count()).await, count as usize);
    // Both streams took from the same counter: what the slow one took beyond the first is what fits into buffers.
    let taken_ahead = *node.log.taken.borrow() - count as u64;
    assert!(taken_ahead < count as u64 / 2, "{taken_ahead} of {count} were made for a client that reads none");
    let rest = soon(held.try_collect::<Vec<_>>()).await.unwrap();
    assert_eq!(rest.len(), count as usize - 1, "and nothing was lost meanwhile");
}

#[tokio::test]
async fn a_client_that_leaves_frees_its_streams() {
    let node = Node::on_tcp(Log::new("n"), 0, None).await;
    let client = plain(node.target()).await;
    let mut open = node.log.open.subscribe();
    let follow = GetFlowsRequest { follow: true, ..Default::default() };
    let mut streams: Vec<_> = (0..10).map(|_| client.get_flows(follow.clone())).collect();
    for stream in &mut streams {
        assert!(futures_util::FutureExt::now_or_never(stream.next()).is_none());
    }
    let waiting = futures_util::future::join_all(streams.iter_mut().map(|stream| stream.next()));
    tokio::select! {
        _ = waiting => panic!("nothing was seen"),
        reached = soon(open.wait_for(|open| *open == 10)) => drop(reached.unwrap()),
    }
    drop(streams);
    drop(soon(open.wait_for(|open| *open == 0)).await.unwrap());
}

#[tokio::test]
async fn ten_thousand_filters_are_taken_and_endless_ones_refused() {
    let node = Node::on_tcp(Log::new("n"), 0, None).await;
    node.log.see_flows([1]);
    let client = plain(node.target()).await;
    let filter = |n: usize| FlowFilter { source_pod: vec![format!("namespace/pod-{n}")], ..Default::default() };
    let many = GetFlowsRequest { whitelist: (0..10_000).map(filter).collect(), ..Default::default() };
    assert_eq!(soon(client.get_flows(many).count()).await, 1);
    let long = FlowFilter { source_pod: vec!["x".repeat(17 << 20)], ..Default::default() };
    let huge = GetFlowsRequest { whitelist: vec![long], ..Default::default() };
    let refused = soon(client.get_flows(huge).try_collect::<Vec<_>>()).await.unwrap_err();
    assert!(matches!(refused.code, Code::OutOfRange | Code::ResourceExhausted), "{refused:?}");
    assert_eq!(soon(client.health(OBSERVER_SERVICE)).await, Ok(true));
}

#[tokio::test]
async fn unknown_methods_and_services_are_refused() {
    let node = Node::on_tcp(Log::new("n"), 0, None).await;
    let channel = raw::channel(&node.target()).await;
    for method in ["/observer.Observer/GetSecrets", "/recorder.Recorder/Record", "/x/y"] {
        let refused = soon(raw::call(&channel, method, Vec::new())).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unimplemented, "{method}");
    }
}

/// One server for all cases, so that damage done by one is seen by the next.
fn with_server(check: impl AsyncFnOnce(&Node)) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let node = Node::on_tcp(Log::new("n"), 0, None).await;
        node.log.see_flows([1]);
        check(&node).await;
    });
}

fn request() -> impl Strategy<Value = GetFlowsRequest> {
    let filter = (prop::collection::vec(".{0,12}", 0..4), any::<Vec<i32>>(), any::<Vec<bool>>())
        .prop_map(|(source_pod, verdict, reply)| FlowFilter { source_pod, verdict, reply, ..Default::default() });
    (any::<u64>(), any::<bool>(), prop::collection::vec(filter, 0..5))
        .prop_map(|(number, first, whitelist)| GetFlowsRequest { number, first, whitelist, ..Default::default() })
}

#[test]
fn broken_messages_are_refused_and_do_no_harm() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let bytes = prop::collection::vec(any::<u8>(), 0..200);
    let cut = (request(), any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<u8>());
    with_server(async |node| {
        let channel = raw::channel(&node.target()).await;
        let client = plain(node.target()).await;
        let (mut taken, mut refused) = (0, 0);
        for _ in 0..300 {
            let random = bytes.new_tree(&mut runner).unwrap().current();
            let (whole, at, end, flip) = cut.new_tree(&mut runner).unwrap().current();
            let mut encoded = whole.encode_to_vec();
            if !encoded.is_empty() {
                let at = at.index(encoded.len());
                encoded[at] ^= flip;
                encoded.truncate(end.index(encoded.len()) + 1);
            }
            for message in [random, encoded] {
                // Whatever it is, prost alone would judge it the same way.
                let valid = GetFlowsRequest::decode(message.as_slice());
                if valid.as_ref().is_ok_and(|request| request.follow) {
                    continue;
                }
                match soon(raw::call(&channel, GET_FLOWS, message)).await {
                    Ok(_) => {
                        taken += 1;
                        assert!(valid.is_ok());
                    }
                    Err(status) => {
                        refused += 1;
                        let expected = [Code::Internal, Code::InvalidArgument, Code::Unknown];
                        assert!(expected.contains(&status.code()), "{status:?}");
                    }
                }
            }
        }
        assert!(taken > 10 && refused > 10, "{taken} taken, {refused} refused: the cases say nothing");
        assert_eq!(soon(client.health(OBSERVER_SERVICE)).await, Ok(true));
    });
}

#[test]
fn broken_connections_are_closed_and_do_no_harm() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let cases = (any::<bool>(), prop::collection::vec(any::<u8>(), 0..400));
    with_server(async |node| {
        let Target::Tcp { port, .. } = node.target() else { unreachable!("it listens on TCP") };
        let client = plain(node.target()).await;
        for _ in 0..200 {
            let (greets, rubbish) = cases.new_tree(&mut runner).unwrap().current();
            let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
            let greeting = if greets { &preface[..] } else { &[] };
            // The server may hang up in the middle, and should.
            let _ = stream.write_all(greeting).and_then(|()| stream.write_all(&rubbish));
        }
        assert_eq!(soon(client.health(OBSERVER_SERVICE)).await, Ok(true));
        assert_eq!(soon(plain(node.target()).await.health(OBSERVER_SERVICE)).await, Ok(true));
    });
}
