//! The HTTP side and the client against each other, over a real socket. [`Echo`] answers with what it was asked.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::PathBuf;

use futures_util::{StreamExt as _, stream};
use nexin_model::Protocol;
use nexin_runtime::tasks::CancellationToken;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use super::*;
use crate::v1::*;
use crate::{Client, ClientError};

#[derive(Clone)]
struct Echo;

fn no<T>(what: &str) -> Answer<T> {
    Err(ErrorBody::new(ErrorCode::Conflict, what))
}

fn endpoint(id: u16) -> Endpoint {
    Endpoint {
        id,
        container_id: "c".into(),
        name: "web".into(),
        namespace: "shop".into(),
        netns: "/run/netns/web".into(),
        interface: "eth0".into(),
        host_interface: "nx00000001".into(),
        host_ifindex: 7,
        mac: "02:00:00:00:00:01".into(),
        gateway_mac: "02:00:00:00:00:02".into(),
        mtu: 1500,
        ipv4: Some([10, 0, 0, 7].into()),
        ipv6: None,
        gateway_ipv4: Some([10, 0, 0, 1].into()),
        gateway_ipv6: None,
        identity: 300,
        labels: Labels::from_iter([("k8s:app", "web")]),
        named_ports: Vec::new(),
        service_account: None,
        network: None,
        state: EndpointState::Ready,
        ingress: Enforcement::Enforced,
        egress: Enforcement::Open,
        created: Timestamp(1_000_000_001),
    }
}

fn flow(port: u16) -> FlowEvent {
    let party = |address: [u8; 4], port| Party {
        address: IpAddr::from(address),
        port,
        identity: 300,
        labels: Labels::from_iter([("k8s:app", "web")]),
        endpoint: None,
        workload: Some("shop/web".into()),
    };
    let ends = [party([10, 0, 0, 7], 40_000), party([10, 0, 0, 8], port)];
    FlowEvent {
        verdict: Some(Verdict::DefaultDeny),
        reason_code: Some(133),
        reason: Some("POLICY_DENIED".into()),
        is_reply: Some(false),
        kernel_source: "policy.rs:1".into(),
        ..FlowEvent::new(Timestamp(5), EventType::Drop, ends, Protocol::Tcp, Direction::Ingress)
    }
}

impl Handler for Echo {
    async fn status(&self) -> Answer<StatusReply> {
        no("status")
    }
    async fn doctor(&self) -> Answer<DoctorReply> {
        no("doctor")
    }
    async fn config(&self) -> Answer<ConfigReply> {
        no("config")
    }
    async fn create_endpoint(&self, request: EndpointCreate) -> Answer<Endpoint> {
        Ok(Endpoint { name: request.name, namespace: request.namespace, netns: request.netns, ..endpoint(9) })
    }
    async fn endpoints(&self) -> Answer<Vec<Endpoint>> {
        Ok(vec![endpoint(1), endpoint(2)])
    }
    async fn endpoint(&self, id: u16) -> Answer<Endpoint> {
        Ok(endpoint(id))
    }
    async fn delete_endpoint(&self, id: u16) -> Answer<()> {
        if id == 1 { Ok(()) } else { Err(ErrorBody::new(ErrorCode::NotFound, "no endpoint has this number")) }
    }
    async fn delete_attachment(&self, attachment: Attachment) -> Answer<RemovedReply> {
        Ok(RemovedReply { removed: u32::from(attachment.container_id == "a b" && attachment.interface.is_some()) })
    }
    async fn set_labels(&self, id: u16, update: LabelsUpdate) -> Answer<Endpoint> {
        Ok(Endpoint { labels: update.labels, ..endpoint(id) })
    }
    async fn set_namespace(&self, name: String, _update: NamespaceUpdate) -> Answer<()> {
        no(&name)
    }
    async fn identities(&self) -> Answer<Vec<Identity>> {
        no("identities")
    }
    async fn apply_policies(&self, yaml: String, upload: PolicyUpload) -> Answer<PolicyApplyReply> {
        no(&format!("{:?}: {}", upload.file, yaml.len()))
    }
    async fn apply_policy_set(&self, set: PolicySet) -> Answer<PolicyApplyReply> {
        let files = set.files.iter().map(|file| format!("{}: {}", file.file, file.yaml));
        Err(ErrorBody::new(ErrorCode::InvalidPolicy, files.collect::<Vec<_>>().join("; ")))
    }
    async fn validate_policies(&self, _yaml: String, _upload: PolicyUpload) -> Answer<ValidateReply> {
        no("validate")
    }
    async fn policies(&self) -> Answer<Vec<Policy>> {
        no("policies")
    }
    async fn delete_policy(&self, policy: PolicyRef) -> Answer<()> {
        no(&policy.to_string())
    }
    async fn explain(&self, query: ExplainQuery) -> Answer<ExplainReply> {
        no(&format!("{} {} {}", query.from, query.to, query.port))
    }
    async fn simulate(&self, _request: SimulateRequest) -> Answer<SimulateReply> {
        no("simulate")
    }
    async fn monitor(&self, filter: MonitorFilter) -> Answer<RecordStream> {
        let flows = stream::iter((1..=3).map(flow)).filter(move |flow| std::future::ready(filter.matches(flow)));
        let flows = flows.map(|flow| MonitorRecord::Flow(Box::new(flow)));
        Ok(Box::pin(flows.chain(stream::pending())))
    }
    async fn capture(&self, request: CaptureRequest) -> Answer<CaptureStream> {
        let packet = |filter: CaptureFilter| CapturedPacket {
            event: flow(filter.source.ports.map_or(0, |ports| ports.first)),
            length: request.snap,
            ethernet: true,
            data: "AAE=".into(),
        };
        let packets = request.filters.into_iter().map(packet).map(Box::new).map(CaptureRecord::Packet);
        Ok(Box::pin(stream::iter(packets.collect::<Vec<_>>())))
    }
    async fn ipam(&self) -> Answer<IpamReply> {
        no("ipam")
    }
    async fn maps(&self) -> Answer<Vec<MapInfo>> {
        no("maps")
    }
    async fn map(&self, name: String) -> Answer<MapContents> {
        no(&name)
    }
    async fn conntrack(&self, query: CtQuery) -> Answer<Vec<CtEntry>> {
        no(&format!("{:?}", query.endpoint))
    }
    async fn flush_conntrack(&self, query: CtQuery) -> Answer<CtFlushReply> {
        Ok(CtFlushReply { removed: u64::from(query.endpoint.unwrap_or(0)) })
    }
    async fn metrics(&self) -> Answer<String> {
        Ok("# EOF\n".into())
    }
}

struct Server {
    client: Client,
    socket: PathBuf,
    stop: CancellationToken,
    served: tokio::task::JoinHandle<Result<(), ServeError>>,
    _dir: tempfile::TempDir,
}

async fn start() -> Server {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("deep/nexin.sock");
    let stop = CancellationToken::new();
    let bound = ControlSocket::bind(&socket).await.unwrap();
    let served = tokio::task::spawn(bound.serve(Echo, stop.clone()));
    Server { client: Client::new(&socket).unwrap(), socket, stop, served, _dir: dir }
}

/// One request as bytes, for what the client cannot say. Status and body.
async fn raw(socket: &Path, method: &str, target: &str, body: &str) -> (u16, ErrorBody) {
    let mut stream = UnixStream::connect(socket).await.unwrap();
    let request = format!(
        "{method} {target} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    // A server that refuses early may close before it has read everything.
    let _ = stream.write_all(request.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, serde_json::from_str(body).unwrap())
}

fn refusal<T: std::fmt::Debug>(result: Result<T, ClientError>) -> ErrorBody {
    match result.unwrap_err() {
        ClientError::Refused(body) => body,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn requests_and_answers_arrive_as_they_were_sent() {
    let server = start().await;
    let client = &server.client;
    assert_eq!(client.endpoints().await.unwrap(), [endpoint(1), endpoint(2)]);
    let request = EndpointCreate {
        container_id: None,
        name: "a b/c".into(),
        namespace: "shop".into(),
        netns: "/proc/1/ns/net".into(),
        interface: None,
        labels: None,
        named_ports: Vec::new(),
        service_account: None,
        ipv4: None,
        ipv6: None,
        mac: None,
        network: None,
        no_source_check: false,
    };
    let made = client.create_endpoint(&request).await.unwrap();
    assert_eq!((made.name.as_str(), made.netns), ("a b/c", PathBuf::from("/proc/1/ns/net")));
    let update = LabelsUpdate { labels: Labels::from_iter([("app", "x,y=z")]), ..Default::default() };
    assert_eq!(client.set_labels(3, &update).await.unwrap().labels, update.labels);
    client.delete_endpoint(1).await.unwrap();
    client.delete_endpoint(2).await.unwrap();
    assert_eq!(client.delete_attachment("a b", "eth0").await.unwrap(), 1);
    let policy = PolicyRef { kind: PolicyKind::CiliumClusterwideNetworkPolicy, namespace: None, name: "a/b".into() };
    assert_eq!(refusal(client.delete_policy(&policy).await).message, "CiliumClusterwideNetworkPolicy/-/a/b");
    let query = ExplainQuery {
        from: "app=x,tier=y".parse().unwrap(),
        to: "fd00::1".parse().unwrap(),
        port: "53/UDP".parse().unwrap(),
    };
    assert_eq!(refusal(client.explain(&query).await).message, "app=x,tier=y fd00::1 53/UDP");
    let upload = PolicyUpload { file: Some("a b.yaml".into()), namespace: None };
    let refused = refusal(client.apply_policies("x".repeat(100_000), &upload).await);
    assert_eq!((refused.code, refused.message.as_str()), (ErrorCode::Conflict, "Some(\"a b.yaml\"): 100000"));
    let file = |name: &str| PolicyFile { file: name.to_owned(), yaml: "a: b".to_owned() };
    let set = PolicySet { files: vec![file("one"), file("two")], namespace: None };
    assert_eq!(refusal(client.apply_policy_set(&set).await).message, "one: a: b; two: a: b");
    assert_eq!(client.flush_conntrack(&CtQuery { endpoint: Some(4), limit: None }).await.unwrap(), 4);
    assert_eq!(client.metrics().await.unwrap(), "# EOF\n");
}

#[tokio::test]
async fn bad_input_is_told_what_was_meant() {
    let server = start().await;
    let (status, error) =
        raw(&server.socket, "POST", "/v1/endpoints", r#"{"name":"x","netns":"/x","lables":{}}"#).await;
    assert_eq!(
        (status, error.code, error.hint.as_deref()),
        (400, ErrorCode::BadRequest, Some("did you mean `labels`?"))
    );
    let (status, error) = raw(&server.socket, "POST", "/v1/endpoints", "{").await;
    assert_eq!((status, error.code), (400, ErrorCode::BadRequest));
    let (status, error) = raw(&server.socket, "GET", "/v1/monitor?verdict=maybe", "").await;
    assert_eq!((status, error.code), (400, ErrorCode::BadRequest), "{error:?}");
    assert!(error.message.contains("maybe"), "{error:?}");
    let (status, error) = raw(&server.socket, "GET", "/v1/policies/explain?from=a&to=b&port=http", "").await;
    assert_eq!(status, 400, "{error:?}");
    let (status, error) = raw(&server.socket, "GET", "/v1/endpoints/70000", "").await;
    assert_eq!((status, error.code), (400, ErrorCode::BadRequest));
    let (status, error) = raw(&server.socket, "GET", "/v1/endpoint", "").await;
    assert_eq!((status, error.hint.as_deref()), (404, Some("did you mean /v1/endpoints?")));
    let (status, _) = raw(&server.socket, "PATCH", "/v1/endpoints", "").await;
    assert_eq!(status, 405);
    let large = "x".repeat(super::extract::YAML_LIMIT + 1);
    let (status, error) = raw(&server.socket, "POST", "/v1/policies", &large).await;
    assert_eq!((status, error.code), (413, ErrorCode::TooLarge));
}

#[tokio::test]
async fn the_monitor_filters_and_ends_with_the_agent() {
    let server = start().await;
    let filter = MonitorFilter {
        types: vec![EventType::Drop],
        to: vec!["app=web".parse().unwrap(), "9.9.9.9".parse().unwrap()],
        port: vec!["2-3".parse().unwrap()],
        reason: vec!["policy_denied".into()],
        verdict: vec![Verdict::DefaultDeny, Verdict::Deny],
        ..Default::default()
    };
    let mut records = server.client.monitor(&filter).await.unwrap();
    for port in [2, 3] {
        let record = records.next().await.unwrap().unwrap();
        assert_eq!(record, MonitorRecord::Flow(Box::new(flow(port))));
    }
    server.stop.cancel();
    assert!(records.next().await.is_none());
    server.served.await.unwrap().unwrap();
    assert!(!server.socket.exists());
}

#[tokio::test]
async fn a_living_agent_keeps_its_socket_and_a_dead_ones_is_replaced() {
    let server = start().await;
    assert!(matches!(ControlSocket::bind(&server.socket).await, Err(ServeError::Occupied(_))));
    server.served.abort();
    let _ = server.served.await;
    assert!(server.socket.exists());
    let again = ControlSocket::bind(&server.socket).await.unwrap();
    let mode = std::fs::metadata(&again.path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
}

#[tokio::test]
async fn captures_are_asked_for_and_streamed() {
    let server = start().await;
    let ports = "8000-8080".parse().ok();
    let source = CaptureSide { prefix: "10.0.0.0/8".parse().ok(), ports, ..CaptureSide::default() };
    let filters = vec![CaptureFilter { source, ..CaptureFilter::default() }];
    let request = CaptureRequest { filters, ..CaptureRequest::default() };
    let mut records = server.client.capture(&request).await.unwrap();
    let Some(Ok(CaptureRecord::Packet(packet))) = records.next().await else { panic!("a packet") };
    assert_eq!((packet.event.destination.port, packet.length), (8000, 256));
    let (status, error) = raw(&server.socket, "POST", "/v1/capture", "{\"filter\": []}").await;
    assert_eq!(status, 400, "{error}");
}

#[tokio::test]
async fn every_operation_of_the_description_exists() {
    let server = start().await;
    let description = server.client.openapi().await.unwrap();
    let mut ids = BTreeSet::new();
    for (path, item) in description["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let id = operation["operationId"].as_str().unwrap().to_owned();
            assert!(ids.insert(id));
            if path == "/v1/monitor" || path == "/openapi.json" || path == "/v1/metrics" {
                continue;
            }
            let target = path.replace("{id}", "x").replace("{kind}", "cnp").replace(['{', '}'], "");
            let mut stream = UnixStream::connect(&server.socket).await.unwrap();
            let request = format!("{} {target} HTTP/1.0\r\n\r\n", method.to_uppercase());
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            assert!(!answer.contains("there is nothing at") && !answer.contains("does not take"), "{method} {path}");
        }
    }
    assert_eq!(ids.len(), super::openapi::OPERATIONS.len());
    let text = description.to_string();
    let referred = text.split("#/components/schemas/").skip(1).map(|rest| rest.split('"').next().unwrap());
    for name in referred {
        assert!(description["components"]["schemas"][name].is_object(), "schema {name} is missing");
    }
}
