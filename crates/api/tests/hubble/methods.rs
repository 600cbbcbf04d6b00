//! Every method, over every transport.

use std::path::PathBuf;

use futures_util::{StreamExt as _, TryStreamExt as _};
use nexin_api::hubble::{Address, BasicAuth, Client, ClientOptions, Code, OBSERVER_SERVICE, Peer, Versions};
use nexin_http::{ClientTls, Protocol, ServerTls, Target, Trust};
use nexin_hubble::flow::FlowFilter;
use nexin_hubble::observer::{GetAgentEventsRequest, GetDebugEventsRequest, GetFlowsRequest};
use nexin_hubble::peer::ChangeNotificationType;

use super::certificates::{Authority, Identity, Validity};
use super::hubble_node::{Log, Node, lost, socket, word};
use super::{plain, raw, soon};

/// Calls everything that the API has.
async fn every_method(client: &Client, node: &Node) {
    node.log.see_flows(1..=5);
    node.log.see([lost("n", 6, 9)]);
    let flows = async |request: GetFlowsRequest| -> Vec<String> {
        let answers: Vec<_> = soon(client.get_flows(request).try_collect()).await.unwrap();
        answers.iter().map(word).collect()
    };
    assert_eq!(flows(GetFlowsRequest::default()).await, ["n1", "n2", "n3", "n4", "n5", "lost 9"]);
    assert_eq!(flows(GetFlowsRequest { number: 2, ..Default::default() }).await, ["n5", "lost 9"]);
    assert_eq!(flows(GetFlowsRequest { number: 2, first: true, ..Default::default() }).await, ["n1", "n2"]);
    let mut live = client.get_flows(GetFlowsRequest { follow: true, number: 1, ..Default::default() });
    assert_eq!(word(&soon(live.next()).await.unwrap().unwrap()), "lost 9");
    node.log.see_flows([7]);
    assert_eq!(word(&soon(live.next()).await.unwrap().unwrap()), "n7");
    drop(live);

    let agent = client.get_agent_events(GetAgentEventsRequest { number: 3, ..Default::default() });
    assert_eq!(soon(agent.count()).await, 3);
    let debug = client.get_debug_events(GetDebugEventsRequest { number: 4, ..Default::default() });
    assert_eq!(soon(debug.count()).await, 4);
    let status = soon(client.server_status()).await.unwrap();
    assert_eq!((status.num_flows, status.max_flows, status.version.as_str()), (7, 4_095, "test"));
    assert_eq!(soon(client.get_namespaces()).await.unwrap().namespaces.len(), 2);

    let nodes = soon(client.get_nodes()).await.unwrap_err();
    assert_eq!((nodes.code, nodes.message.as_str()), (Code::Unimplemented, "GetNodes not implemented"));
    let both = client.get_flows(GetFlowsRequest { first: true, follow: true, ..Default::default() });
    let refused = soon(both.try_collect::<Vec<_>>()).await.unwrap_err();
    assert_eq!((refused.code, refused.code_name()), (Code::InvalidArgument, "InvalidArgument"));
    let filter = FlowFilter { protocol: vec!["smoke".into()], ..Default::default() };
    let bad = client.get_flows(GetFlowsRequest { whitelist: vec![filter], ..Default::default() });
    let refused = soon(bad.try_collect::<Vec<_>>()).await.unwrap_err();
    assert_eq!((refused.code, refused.message.as_str()), (Code::Unknown, "unknown protocol: smoke"));

    peers(client, node).await;
    health(client, node).await;
    assert_eq!(client.versions(), Versions::default(), "a command built without its version warns of any");
}

async fn peers(client: &Client, node: &Node) {
    node.peers.replace([Peer::of_node("default", "n", "10.0.0.1:4244".into(), true)]);
    let mut changes = client.notify();
    let added = soon(changes.next()).await.unwrap().unwrap();
    assert_eq!((added.r#type(), added.name.as_str()), (ChangeNotificationType::PeerAdded, "n"));
    assert_eq!(added.tls.unwrap().server_name, "n.default.hubble-grpc.cilium.io");
    node.peers.replace([]);
    let deleted = soon(changes.next()).await.unwrap().unwrap();
    assert_eq!(deleted.r#type(), ChangeNotificationType::PeerDeleted);
}

async fn health(client: &Client, node: &Node) {
    for name in [OBSERVER_SERVICE, ""] {
        assert_eq!(soon(client.health(name)).await, Ok(true));
    }
    assert_eq!(soon(client.health("observer.Observer")).await.unwrap_err().code, Code::NotFound);
    let mut watched = client.watch_health(OBSERVER_SERVICE);
    assert_eq!(soon(watched.next()).await, Some(Ok(true)));
    node.health.set(false);
    assert_eq!(soon(watched.next()).await, Some(Ok(false)));
    assert_eq!(soon(client.health(OBSERVER_SERVICE)).await, Ok(false));
    node.health.set(true);
    assert_eq!(soon(watched.next()).await, Some(Ok(true)));
    assert_eq!(soon(client.watch_health("nobody").next()).await, Some(Ok(false)));
}

#[tokio::test]
async fn over_a_unix_socket() {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::on_socket(Log::new("n"), &socket(&dir, "h")).await;
    every_method(&plain(node.target()).await, &node).await;
}

#[tokio::test]
async fn over_tcp() {
    let node = Node::on_tcp(Log::new("n"), 0, None).await;
    every_method(&plain(node.target()).await, &node).await;
}

const NAME: &str = "n.default.hubble-grpc.cilium.io";

fn tls_options(authority: &Authority, identity: Option<&Identity>) -> ClientOptions {
    let trust = Trust::Files(vec![authority.file.clone()]);
    let identity = identity.map(|identity| (identity.certificate.as_path(), identity.key.as_path()));
    let tls = ClientTls::from_files(trust, identity, Protocol::Grpc).unwrap().named(NAME).unwrap();
    ClientOptions { tls: Some(tls), ..ClientOptions::default() }
}

async fn tls_node(identity: &Identity, clients: &[PathBuf]) -> Node {
    let tls = ServerTls::from_files(&identity.certificate, &identity.key, clients, Protocol::Grpc).unwrap();
    Node::on_tcp(Log::new("n"), 0, Some(tls)).await
}

#[tokio::test]
async fn over_tls_and_with_a_password() {
    let dir = tempfile::tempdir().unwrap();
    let ours = Authority::new(dir.path(), "ours");
    let node = tls_node(&ours.issue("node", &["*.default.hubble-grpc.cilium.io"], Validity::Now), &[]).await;
    let address = Address::from(node.target());
    let basic_auth = Some(BasicAuth { username: "me".into(), password: "secret".into() });
    let options = ClientOptions { basic_auth: basic_auth.clone(), ..tls_options(&ours, None) };
    assert!(!format!("{options:?}").contains("secret"));
    every_method(&Client::connect(&address, options).await.unwrap(), &node).await;
    let plain = Client::connect(&address, ClientOptions { basic_auth, ..ClientOptions::default() }).await;
    assert_eq!(plain.unwrap_err().code, Code::Unauthenticated);
}

#[tokio::test]
async fn over_mutual_tls_and_not_without_a_certificate() {
    let dir = tempfile::tempdir().unwrap();
    let (ours, theirs) = (Authority::new(dir.path(), "ours"), Authority::new(dir.path(), "theirs"));
    let relay = ours.issue("relay", &["relay"], Validity::Now);
    let stranger = theirs.issue("stranger", &["relay"], Validity::Now);
    let identity = ours.issue("node", &[NAME], Validity::Now);
    let node = tls_node(&identity, std::slice::from_ref(&ours.file)).await;
    let address = Address::from(node.target());
    every_method(&Client::connect(&address, tls_options(&ours, Some(&relay))).await.unwrap(), &node).await;

    for (what, options) in [
        ("no certificate", tls_options(&ours, None)),
        ("a stranger's", tls_options(&ours, Some(&stranger))),
        ("trust in others", tls_options(&theirs, Some(&relay))),
        ("plaintext", ClientOptions::default()),
    ] {
        let refused = match Client::connect(&address, options).await {
            Ok(client) => soon(client.server_status()).await.expect_err(what),
            Err(refused) => refused,
        };
        assert_eq!(refused.code, Code::Unavailable, "{what}: {refused:?}");
    }

    // A rotation that takes both authorities' clients, while a stream runs.
    let client = Client::connect(&address, tls_options(&ours, Some(&relay))).await.unwrap();
    let mut live = client.get_flows(GetFlowsRequest { follow: true, number: 1, ..Default::default() });
    assert!(soon(live.next()).await.unwrap().is_ok());
    let both = [std::fs::read(&ours.file).unwrap(), std::fs::read(&theirs.file).unwrap()].concat();
    let trusted = ours.file.clone();
    std::fs::write(&trusted, both).unwrap();
    let stranger = Client::connect(&address, tls_options(&ours, Some(&stranger))).await.unwrap();
    assert!(soon(stranger.server_status()).await.is_ok());
    node.log.see_flows([100]);
    assert_eq!(word(&soon(live.next()).await.unwrap().unwrap()), "n100", "connections outlive a rotation");
}

#[tokio::test]
async fn nobody_there_is_told_as_what_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = socket(&dir, "none");
    let refused =
        Client::connect(&Address::from(Target::Unix(path.clone())), ClientOptions::default()).await.unwrap_err();
    assert_eq!(refused.code, Code::Unavailable);
    assert!(refused.message.contains(&path.display().to_string()), "{refused}");
    let lazy = Client::lazy(&Address::from(Target::Unix(path.clone())), ClientOptions::default()).unwrap();
    let refused = soon(lazy.server_status()).await.unwrap_err();
    assert!(refused.code == Code::Unavailable && refused.message.contains("cannot connect"), "{refused:?}");
    // The same client, once somebody is there.
    let node = Node::on_socket(Log::new("n"), &path).await;
    assert_eq!(soon(lazy.health(OBSERVER_SERVICE)).await, Ok(true));
    drop(node);
}

#[tokio::test]
async fn reflection_tells_every_service_in_both_versions() {
    let node = Node::on_tcp(Log::new("n"), 0, None).await;
    let channel = raw::channel(&node.target()).await;
    for version in raw::REFLECTION {
        let services = soon(raw::services(&channel, version)).await;
        for service in ["observer.Observer", "peer.Peer", "grpc.health.v1.Health"] {
            assert!(services.iter().any(|name| name == service), "{version}: {services:?}");
        }
        let file = soon(raw::file_of(&channel, version, "observer.Observer")).await;
        assert_eq!(file.package(), "observer");
        let methods: Vec<&str> = file.service[0].method.iter().map(prost_types::MethodDescriptorProto::name).collect();
        assert_eq!(
            methods,
            ["GetFlows", "GetAgentEvents", "GetDebugEvents", "GetNodes", "GetNamespaces", "ServerStatus"]
        );
    }
}
