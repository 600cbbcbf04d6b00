//! The relay over real servers of nodes that come, go, fail and restart.

#[path = "../../http/tests/certificates/mod.rs"]
mod certificates;
#[path = "../../api/tests/hubble_node/mod.rs"]
mod hubble_node;

use std::time::Duration;

use certificates::{Authority, Identity, Validity};
use futures_util::{StreamExt as _, TryStreamExt as _};
use hubble_node::{Log, Node, lost, socket, word};
use nexin_api::hubble::{Address, Answers, Client, ClientOptions, Code, OBSERVER_SERVICE, Peer};
use nexin_http::{Connector, ServerTls, Target};
use nexin_hubble::flow::FlowFilter;
use nexin_hubble::observer::get_flows_response::ResponseTypes;
use nexin_hubble::observer::{GetAgentEventsRequest, GetDebugEventsRequest, GetFlowsRequest, GetFlowsResponse};
use nexin_hubble::relay::NodeState;
use nexin_runtime::settings::{Choice, HumanDuration, PathText};
use nexin_runtime::tasks::Tasks;
use prost_types::FieldMask;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::settings::RelaySettings;
use crate::start::{Bound, start};

/// Longer than anything here takes, on any machine.
const PATIENCE: Duration = Duration::from_secs(60);

async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap()
}

/// A relay, the peer service that it asks, and a client of it.
struct Bed {
    dir: tempfile::TempDir,
    hub: Node,
    tasks: Tasks,
    bound: Bound,
    client: Client,
}

impl Bed {
    async fn new(change: impl FnOnce(&mut RelaySettings)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let hub = Node::on_socket(Log::new("hub"), &socket(&dir, "hub")).await;
        let loopback = || Choice::Value("127.0.0.1:0".parse().unwrap());
        let mut settings = RelaySettings {
            peer_service: vec![hub.target()],
            listen_address: loopback(),
            health_listen_address: loopback(),
            metrics_listen_address: loopback(),
            ..RelaySettings::default()
        };
        change(&mut settings);
        let tasks = Tasks::new();
        let bound = start(&settings, &tasks).await.unwrap();
        let client = Client::connect(&tcp(bound.api.unwrap()), ClientOptions::default()).await.unwrap();
        Self { dir, hub, tasks, bound, client }
    }

    async fn node(&self, name: &str) -> Node {
        Node::on_socket(Log::new(name), &socket(&self.dir, name)).await
    }

    /// Announces nodes under their names, and waits until the relay has met them.
    async fn announce(&self, nodes: &[&Node]) {
        let peers: Vec<Peer> = nodes
            .iter()
            .map(|node| Peer { name: node.log.name.clone(), address: node.target().to_string(), server_name: None })
            .collect();
        let count = peers.len();
        self.hub.peers.replace(peers);
        self.until(|states| {
            states.len() == count && states.iter().all(|(_, state)| *state == NodeState::NodeConnected)
        })
        .await;
    }

    /// Asks for the nodes until they are as wanted.
    async fn until(&self, wanted: impl Fn(&[(String, NodeState)]) -> bool) {
        let asked = async {
            loop {
                let nodes = self.client.get_nodes().await.unwrap().nodes;
                let states: Vec<_> = nodes.iter().map(|node| (node.name.clone(), node.state())).collect();
                if wanted(&states) {
                    return;
                }
            }
        };
        soon(asked).await;
    }

    async fn all(&self, request: GetFlowsRequest) -> Vec<String> {
        let answers: Vec<_> = soon(self.client.get_flows(request).try_collect()).await.unwrap();
        answers.iter().map(word).collect()
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        self.tasks.stop().cancel();
    }
}

fn tcp(address: std::net::SocketAddr) -> Address {
    Address::from(Target::Tcp { host: address.ip().to_string(), port: address.port() })
}

fn everything() -> GetFlowsRequest {
    GetFlowsRequest { number: u64::MAX, ..GetFlowsRequest::default() }
}

fn follow() -> GetFlowsRequest {
    GetFlowsRequest { follow: true, ..GetFlowsRequest::default() }
}

async fn next(stream: &mut Answers<GetFlowsResponse>) -> GetFlowsResponse {
    soon(stream.next()).await.unwrap().unwrap()
}

/// The next flow, and the relay's own messages before it.
async fn next_flow(stream: &mut Answers<GetFlowsResponse>, said: &mut Vec<String>) -> String {
    loop {
        let response = next(stream).await;
        match &response.response_types {
            Some(ResponseTypes::NodeStatus(status)) => said.push(format!("{} {}", word(&response), status.message)),
            _ => return word(&response),
        }
    }
}

#[tokio::test]
async fn flows_of_all_nodes_come_in_order_after_the_state_of_the_nodes() {
    let bed = Bed::new(|_| {}).await;
    assert_eq!(bed.all(everything()).await, Vec::<String>::new());
    let (a, b) = (bed.node("a").await, bed.node("b").await);
    bed.announce(&[&a, &b]).await;
    a.log.see_flows([1, 4, 5, 9]);
    b.log.see_flows([2, 3, 6]);
    b.log.see([lost("b", 7, 3)]);
    b.log.see_flows([8]);
    let expected = ["NODE_CONNECTED a,b", "a1", "b2", "b3", "a4", "a5", "b6", "lost 3", "b8", "a9"];
    assert_eq!(bed.all(everything()).await, expected);
    let last = GetFlowsRequest { number: 2, ..Default::default() };
    assert_eq!(bed.all(last).await, ["NODE_CONNECTED a,b", "a5", "lost 3", "b8", "a9"], "the number is per node");
    let mut masked = everything();
    masked.field_mask = Some(FieldMask { paths: vec!["uuid".into()] });
    let answers: Vec<_> = soon(bed.client.get_flows(masked).try_collect()).await.unwrap();
    assert_eq!(answers.iter().map(word).collect::<Vec<_>>(), expected);
    assert!(answers.iter().skip(1).all(|answer| answer.time.is_none() || word(answer).starts_with("lost")));
}

#[tokio::test]
async fn a_long_history_is_merged_exactly() {
    let bed = Bed::new(|_| {}).await;
    let nodes = [bed.node("a").await, bed.node("b").await, bed.node("c").await];
    bed.announce(&[&nodes[0], &nodes[1], &nodes[2]]).await;
    for (step, node) in (0..).zip(&nodes) {
        node.log.see_flows((0..2_000).map(|n| n * (step + 1)));
    }
    let answers: Vec<_> = soon(bed.client.get_flows(everything()).try_collect()).await.unwrap();
    let times: Vec<i64> = answers.iter().skip(1).map(|answer| answer.time.unwrap().seconds).collect();
    assert_eq!(times.len(), 6_000);
    assert!(times.is_sorted());
}

#[tokio::test]
async fn a_stream_follows_nodes_that_come_and_go() {
    let bed = Bed::new(|_| {}).await;
    let a = bed.node("a").await;
    a.log.see_flows([1, 2]);
    bed.announce(&[&a]).await;
    let mut stream = bed.client.get_flows(GetFlowsRequest { number: 1, ..follow() });
    let mut said = Vec::new();
    assert_eq!(next_flow(&mut stream, &mut said).await, "a2");
    assert_eq!(said, ["NODE_CONNECTED a "]);
    a.log.see_flows([3]);
    assert_eq!(next_flow(&mut stream, &mut said).await, "a3");

    let b = bed.node("b").await;
    bed.announce(&[&a, &b]).await;
    // After the stream began, and so part of it, whenever the relay opens the node's stream.
    b.log.see_flows([i64::MAX / 4]);
    assert!(next_flow(&mut stream, &mut said).await.starts_with('b'));
    assert_eq!(said, ["NODE_CONNECTED a ", "NODE_CONNECTED b "]);
    bed.announce(&[&b]).await;
    assert_eq!(word(&next(&mut stream).await), "NODE_GONE a");
}

#[tokio::test]
async fn a_node_that_restarts_is_taken_up_where_it_was_left() {
    let bed = Bed::new(|settings| settings.retry_timeout = HumanDuration::millis(200)).await;
    let (a, b) = (bed.node("a").await, bed.node("b").await);
    bed.announce(&[&a, &b]).await;
    a.log.see_flows([1, 2]);
    let mut stream = bed.client.get_flows(GetFlowsRequest { number: 100, ..follow() });
    let mut said = Vec::new();
    assert_eq!(next_flow(&mut stream, &mut said).await, "a1");
    assert_eq!(next_flow(&mut stream, &mut said).await, "a2");
    let path = socket(&bed.dir, "a");
    let log = soon(a.stop()).await;
    bed.until(|states| states.contains(&("a".into(), NodeState::NodeUnavailable))).await;
    b.log.see_flows([3]);
    assert_eq!(next_flow(&mut stream, &mut said).await, "b3");
    // Seen while nobody could ask.
    log.see_flows([4]);
    let a = Node::on_socket(log, &path).await;
    assert_eq!(next_flow(&mut stream, &mut said).await, "a4");
    a.log.see_flows([5]);
    assert_eq!(next_flow(&mut stream, &mut said).await, "a5", "once each");
    let of_a: Vec<&str> =
        said.iter().filter(|text| text.contains(" a ")).map(|text| text.split(' ').next().unwrap()).collect();
    assert!(of_a.contains(&"NODE_ERROR") && of_a.contains(&"NODE_UNAVAILABLE"), "{said:?}");
    assert_eq!(of_a.last(), Some(&"NODE_CONNECTED"), "{said:?}");
}

#[tokio::test]
async fn a_silent_node_stalls_nobody() {
    let bed = Bed::new(|settings| settings.sort_buffer_drain_timeout = HumanDuration::millis(20)).await;
    let (a, b) = (bed.node("a").await, bed.node("silent").await);
    bed.announce(&[&a, &b]).await;
    let mut stream = bed.client.get_flows(GetFlowsRequest { number: 1, ..follow() });
    let mut said = Vec::new();
    for n in 0..50 {
        a.log.see_flows([n]);
        assert_eq!(next_flow(&mut stream, &mut said).await, format!("a{n}"));
    }
}

#[tokio::test]
async fn questions_are_asked_of_all_nodes() {
    let bed = Bed::new(|_| {}).await;
    let (a, mut log) = (bed.node("a").await, Log::new("b"));
    log.uptime_ns = 5_000;
    let b = Node::on_socket(log, &socket(&bed.dir, "b")).await;
    bed.announce(&[&a, &b]).await;
    a.log.see_flows(1..=3);
    b.log.see_flows(1..=4);
    let missing = |n: usize| Peer {
        name: format!("x{n:02}"),
        address: format!("unix:{}", socket(&bed.dir, "none").display()),
        server_name: None,
    };
    let known = [&a, &b].map(|node| Peer {
        name: node.log.name.clone(),
        address: node.target().to_string(),
        server_name: None,
    });
    let tls = Peer {
        server_name: Some("y.default.hubble-grpc.cilium.io".into()),
        name: "y".into(),
        address: "127.0.0.1".into(),
    };
    bed.hub.peers.replace(known.into_iter().chain((0..12).map(missing)).chain([tls]));
    bed.until(|states| {
        let count = |wanted| states.iter().filter(|(_, state)| *state == wanted).count();
        count(NodeState::NodeConnected) == 2 && count(NodeState::NodeUnavailable) == 13
    })
    .await;

    let status = soon(bed.client.server_status()).await.unwrap();
    assert_eq!((status.num_connected_nodes, status.num_unavailable_nodes), (Some(2), Some(13)));
    let names: Vec<String> = (0..10).map(|n| format!("x{n:02}")).collect();
    assert_eq!(status.unavailable_nodes, names);
    assert_eq!((status.num_flows, status.max_flows, status.seen_flows, status.uptime_ns), (7, 8_190, 7, 5_000));
    assert!((status.flows_rate - 3.0).abs() < 1e-9 && status.version.starts_with("nexin-relay v"), "{status:?}");

    let nodes = soon(bed.client.get_nodes()).await.unwrap().nodes;
    assert_eq!((nodes[0].name.as_str(), nodes[0].num_flows, nodes[0].version.as_str()), ("a", 3, "test"));
    assert!(nodes.iter().all(|node| node.tls.as_ref().is_some_and(|tls| tls.enabled == (node.name == "y"))));
    let namespaces = soon(bed.client.get_namespaces()).await.unwrap().namespaces;
    let names: Vec<&str> = namespaces.iter().map(|known| known.namespace.as_str()).collect();
    assert_eq!(names, ["a", "all", "b"]);

    let agent = soon(bed.client.get_agent_events(GetAgentEventsRequest::default()).try_collect::<Vec<_>>()).await;
    assert_eq!(agent.unwrap_err().code, Code::Unimplemented);
    let debug = soon(bed.client.get_debug_events(GetDebugEventsRequest::default()).try_collect::<Vec<_>>()).await;
    assert_eq!(debug.unwrap_err().code, Code::Unimplemented);

    let mut stream = bed.client.get_flows(everything());
    assert_eq!(word(&next(&mut stream).await), "NODE_CONNECTED a,b");
    let unavailable = next(&mut stream).await;
    let Some(ResponseTypes::NodeStatus(unavailable)) = unavailable.response_types else { panic!("{unavailable:?}") };
    assert_eq!(unavailable.state_change(), NodeState::NodeUnavailable);
    assert!(unavailable.message.contains("tls_hubble_server_ca_files"), "{unavailable:?}");
    assert!(unavailable.message.contains("cannot connect to"), "{unavailable:?}");
}

#[tokio::test]
async fn health_and_metrics_tell_the_state() {
    let bed = Bed::new(|_| {}).await;
    let probe = Client::connect(&tcp(bed.bound.health.unwrap()), ClientOptions::default()).await.unwrap();
    let mut health = probe.watch_health(OBSERVER_SERVICE);
    assert_eq!(soon(health.next()).await, Some(Ok(false)));
    let a = bed.node("a").await;
    bed.announce(&[&a]).await;
    assert_eq!(soon(health.next()).await, Some(Ok(true)));
    a.log.see_flows([1]);
    assert_eq!(bed.all(everything()).await.len(), 2);

    let Target::Tcp { host, port } = tcp(bed.bound.metrics.unwrap()).target else { panic!("metrics are on TCP") };
    let connector = Connector::new(Target::Tcp { host, port }, None, PATIENCE);
    let scrape = async |accept: &str| {
        let request = format!("GET /metrics HTTP/1.1\r\nHost: x\r\nAccept: {accept}\r\nConnection: close\r\n\r\n");
        let mut connection = connector.connect().await.unwrap();
        connection.write_all(request.as_bytes()).await.unwrap();
        let mut text = String::new();
        connection.read_to_string(&mut text).await.unwrap();
        text
    };
    let text = scrape("*/*").await;
    assert!(text.contains("# TYPE hubble_relay_requests_total counter\n") && !text.contains("# EOF"), "{text}");
    let text = scrape("application/openmetrics-text; version=1.0.0").await;
    assert!(text.contains("# TYPE hubble_relay_requests counter\n") && text.ends_with("# EOF\n"), "{text}");
    for line in [
        "hubble_relay_pool_peer_connection_status{status=\"READY\"} 1\n",
        "hubble_relay_requests_total{method=\"GetFlows\"} 1\n",
        "hubble_relay_responses_total 1\n",
    ] {
        assert!(text.contains(line), "{line}{text}");
    }
    bed.hub.peers.replace([]);
    assert_eq!(soon(health.next()).await, Some(Ok(false)));
}

#[tokio::test]
async fn equal_errors_are_told_once_with_every_node() {
    let bed = Bed::new(|_| {}).await;
    let (a, b) = (bed.node("a").await, bed.node("b").await);
    bed.announce(&[&a, &b]).await;
    let whitelist = vec![FlowFilter { protocol: vec!["smoke".into()], ..Default::default() }];
    let request = GetFlowsRequest { whitelist, ..everything() };
    let answers: Vec<_> = soon(bed.client.get_flows(request.clone()).try_collect()).await.unwrap();
    let words: Vec<String> = answers.iter().map(word).collect();
    assert_eq!(words.len(), 2, "{words:?}");
    let Some(ResponseTypes::NodeStatus(error)) = &answers[1].response_types else { panic!("{words:?}") };
    let mut names = error.node_names.clone();
    names.sort_unstable();
    assert_eq!((error.state_change(), error.message.as_str()), (NodeState::NodeError, "unknown protocol: smoke"));
    assert_eq!(names, ["a", "b"]);
    // A stream that no node will ever answer does not pretend to follow.
    let live = bed.client.get_flows(GetFlowsRequest { follow: true, ..request });
    let answers = soon(live.collect::<Vec<_>>()).await;
    assert_eq!(answers.last().unwrap().as_ref().unwrap_err().message, "unknown protocol: smoke");
    let both = bed.client.get_flows(GetFlowsRequest { first: true, ..follow() });
    assert_eq!(soon(both.try_collect::<Vec<_>>()).await.unwrap_err().code, Code::InvalidArgument);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_does_not_read_loses_nothing() {
    let count = 10_000;
    let bed = Bed::new(|_| {}).await;
    let (a, b) = (bed.node("a").await, bed.node("b").await);
    bed.announce(&[&a, &b]).await;
    a.log.see_flows((0..count).map(|n| n * 2));
    b.log.see_flows((0..count).map(|n| n * 2 + 1));
    let mut held = bed.client.get_flows(everything());
    assert_eq!(word(&next(&mut held).await), "NODE_CONNECTED a,b");
    // Somebody else reads everything meanwhile.
    let other = Client::connect(&tcp(bed.bound.api.unwrap()), ClientOptions::default()).await.unwrap();
    assert_eq!(soon(other.get_flows(everything()).count()).await, 2 * count as usize + 1);
    let ahead = *a.log.taken.borrow() - count as u64;
    assert!(ahead < count as u64 / 2, "{ahead} of {count} were asked for without a reader");
    let rest: Vec<_> = soon(held.try_collect()).await.unwrap();
    let times: Vec<i64> = rest.iter().map(|answer| answer.time.unwrap().seconds).collect();
    assert!(times.is_sorted() && times.len() == 2 * count as usize, "{}", times.len());
}

fn node_tls(identity: &Identity, clients: &Authority) -> Option<ServerTls> {
    let clients = std::slice::from_ref(&clients.file);
    ServerTls::from_files(&identity.certificate, &identity.key, clients, nexin_http::Protocol::Grpc).ok()
}

#[tokio::test]
async fn several_peer_services_add_up_and_may_go_away() {
    let other = tempfile::tempdir().unwrap();
    let second = Node::on_socket(Log::new("hub2"), &socket(&other, "hub2")).await;
    let bed = Bed::new(|settings| {
        settings.peer_service.push(second.target());
        settings.retry_timeout = HumanDuration::millis(200);
    })
    .await;
    let (a, b) = (bed.node("a").await, bed.node("b").await);
    let peer =
        |node: &Node| Peer { name: node.log.name.clone(), address: node.target().to_string(), server_name: None };
    bed.hub.peers.replace([peer(&a)]);
    second.peers.replace([peer(&b)]);
    let both = |states: &[(String, NodeState)]| {
        states.len() == 2 && states.iter().all(|(_, state)| *state == NodeState::NodeConnected)
    };
    bed.until(both).await;
    soon(second.stop()).await;
    b.log.see_flows([1]);
    assert_eq!(bed.all(everything()).await, ["NODE_CONNECTED a,b", "b1"], "its nodes stay");
    let second = Node::on_socket(Log::new("hub2"), &socket(&other, "hub2")).await;
    let c = bed.node("c").await;
    second.peers.replace([peer(&b), peer(&c)]);
    bed.until(|states| states.len() == 3).await;
}

#[tokio::test]
async fn the_relay_itself_speaks_tls_to_clients_that_prove_who_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let ours = Authority::new(dir.path(), "ours");
    let server = ours.issue("server", &["127.0.0.1"], Validity::Now);
    let ui = ours.issue("ui", &["ui"], Validity::Now);
    let hub = Node::on_socket(Log::new("hub"), &socket(&dir, "hub")).await;
    let settings = RelaySettings {
        peer_service: vec![hub.target()],
        listen_address: Choice::Value("127.0.0.1:0".parse().unwrap()),
        health_listen_address: Choice::Off,
        metrics_listen_address: Choice::Off,
        tls_relay_server_cert_file: Choice::Value(PathText(server.certificate.clone())),
        tls_relay_server_key_file: Choice::Value(PathText(server.key.clone())),
        tls_relay_client_ca_files: vec![ours.file.display().to_string()],
        ..RelaySettings::default()
    };
    let tasks = Tasks::new();
    let address = tcp(start(&settings, &tasks).await.unwrap().api.unwrap());
    let options = |identity: Option<&Identity>| {
        let trust = nexin_http::Trust::Files(vec![ours.file.clone()]);
        let identity = identity.map(|identity| (identity.certificate.as_path(), identity.key.as_path()));
        let tls = nexin_http::ClientTls::from_files(trust, identity, nexin_http::Protocol::Grpc).unwrap();
        ClientOptions { tls: Some(tls), ..ClientOptions::default() }
    };
    let client = Client::connect(&address, options(Some(&ui))).await.unwrap();
    assert_eq!(soon(client.server_status()).await.unwrap().num_connected_nodes, Some(0));
    for options in [options(None), ClientOptions::default()] {
        let refused = match Client::connect(&address, options).await {
            Ok(client) => soon(client.server_status()).await.unwrap_err(),
            Err(refused) => refused,
        };
        assert_eq!(refused.code, Code::Unavailable, "{refused:?}");
    }
    tasks.stop().cancel();
    assert_eq!(soon(tasks.finish(PATIENCE)).await, Ok(()));
}

#[tokio::test]
async fn nodes_prove_the_name_they_announce() {
    let dir = tempfile::tempdir().unwrap();
    let ours = Authority::new(dir.path(), "ours");
    let relay = ours.issue("relay", &["*.hubble-relay.cilium.io"], Validity::Now);
    let bed = Bed::new(|settings| {
        settings.tls_hubble_server_ca_files = vec![ours.file.display().to_string()];
        settings.tls_hubble_client_cert_file = Choice::Value(PathText(relay.certificate.clone()));
        settings.tls_hubble_client_key_file = Choice::Value(PathText(relay.key.clone()));
    })
    .await;
    let good = ours.issue("good", &["*.default.hubble-grpc.cilium.io"], Validity::Now);
    let bad = ours.issue("bad", &["*.other.hubble-grpc.cilium.io"], Validity::Now);
    let late = ours.issue("late", &["*.default.hubble-grpc.cilium.io"], Validity::Expired);
    let mut nodes = Vec::new();
    for (name, identity) in [("bad.node", &bad), ("good.node", &good), ("late.node", &late)] {
        nodes.push(Node::on_tcp(Log::new(name), 0, node_tls(identity, &ours)).await);
    }
    nodes[1].log.see_flows([1]);
    let peers = nodes.iter().map(|node| Peer::of_node("default", &node.log.name, node.target().to_string(), true));
    bed.hub.peers.replace(peers);
    let state = |states: &[(String, NodeState)], name: &str| {
        states.iter().find(|(known, _)| known == name).map(|(_, state)| *state)
    };
    bed.until(|states| {
        state(states, "good.node") == Some(NodeState::NodeConnected)
            && ["bad.node", "late.node"].iter().all(|name| state(states, name) == Some(NodeState::NodeUnavailable))
    })
    .await;
    let mut stream = bed.client.get_flows(everything());
    assert_eq!(word(&next(&mut stream).await), "NODE_CONNECTED good.node");
    let told = next(&mut stream).await;
    let Some(ResponseTypes::NodeStatus(told)) = told.response_types else { panic!("{told:?}") };
    assert!(told.message.contains("expired") && told.message.contains("not valid for name"), "{told:?}");
    assert_eq!(word(&next(&mut stream).await), "good.node1");
}
