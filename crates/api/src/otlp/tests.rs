//! A receiver on the wire: tonic's server for gRPC, axum's for HTTP, both decoding with OpenTelemetry's own messages.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use nexin_flows::metrics::{Config, Format, Metrics};
use nexin_hubble::flow;
use opentelemetry_proto::tonic::collector::logs::v1::{
    ExportLogsPartialSuccess, ExportLogsServiceRequest, ExportLogsServiceResponse,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{ExportMetricsServiceRequest, ExportMetricsServiceResponse};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use prost::Message as _;
use tokio::net::TcpListener;
use tonic::codegen::http;
use tonic::server::NamedService;

use super::*;

/// What came.
#[derive(Clone, Default)]
struct Received(Arc<Mutex<Took>>);

#[derive(Default)]
struct Took {
    logs: Vec<ExportLogsServiceRequest>,
    metrics: Vec<ExportMetricsServiceRequest>,
    keys: Vec<String>,
    /// Answers that refuse, still to be given.
    refuse: usize,
}

impl Received {
    fn key(&self, key: Option<&str>) {
        self.0.lock().unwrap().keys.push(key.unwrap_or_default().to_owned());
    }

    fn refuses(&self) -> bool {
        let mut took = self.0.lock().unwrap();
        let refuses = took.refuse > 0;
        took.refuse = took.refuse.saturating_sub(1);
        refuses
    }

    fn logs(&self, request: ExportLogsServiceRequest) -> ExportLogsServiceResponse {
        self.0.lock().unwrap().logs.push(request);
        let partial = ExportLogsPartialSuccess { rejected_log_records: 1, error_message: "one too many".to_owned() };
        ExportLogsServiceResponse { partial_success: Some(partial) }
    }
}

// === gRPC ===

macro_rules! service {
    ($service:ident, $name:literal, $request:ty, $response:ty, $take:expr) => {
        #[derive(Clone)]
        struct $service(Received);

        impl NamedService for $service {
            const NAME: &'static str = $name;
        }

        impl tonic::server::UnaryService<$request> for $service {
            type Response = $response;
            type Future = Ready<Result<tonic::Response<$response>, tonic::Status>>;

            fn call(&mut self, request: tonic::Request<$request>) -> Self::Future {
                self.0.key(request.metadata().get("api-key").and_then(|key| key.to_str().ok()));
                if self.0.refuses() {
                    return ready(Err(tonic::Status::unavailable("come back later")));
                }
                let take: fn(&Received, $request) -> $response = $take;
                ready(Ok(tonic::Response::new(take(&self.0, request.into_inner()))))
            }
        }

        impl tower::Service<http::Request<tonic::body::Body>> for $service {
            type Response = http::Response<tonic::body::Body>;
            type Error = Infallible;
            type Future = tonic::codegen::BoxFuture<Self::Response, Infallible>;

            fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
                Poll::Ready(Ok(()))
            }

            fn call(&mut self, request: http::Request<tonic::body::Body>) -> Self::Future {
                let service = self.clone();
                Box::pin(async move {
                    let codec = tonic_prost::ProstCodec::<$response, $request>::default();
                    Ok(tonic::server::Grpc::new(codec).unary(service, request).await)
                })
            }
        }
    };
}

service!(
    Logs,
    "opentelemetry.proto.collector.logs.v1.LogsService",
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
    |received, request| received.logs(request)
);
service!(
    Measures,
    "opentelemetry.proto.collector.metrics.v1.MetricsService",
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
    |received, request| {
        received.0.lock().unwrap().metrics.push(request);
        ExportMetricsServiceResponse::default()
    }
);

async fn listener() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

/// Serves while `client` works with the address.
async fn with_grpc<F: Future<Output = ()>>(received: &Received, client: impl FnOnce(String) -> F) {
    let (listener, address) = listener().await;
    let server = tonic::transport::Server::builder()
        .add_service(Logs(received.clone()))
        .add_service(Measures(received.clone()))
        .serve_with_incoming(tokio_stream::wrappers::TcpListenerStream::new(listener));
    tokio::select! {
        served = server => panic!("the receiver ended: {served:?}"),
        () = client(address) => {}
    }
}

// === HTTP ===

async fn take_logs(State(received): State<Received>, headers: HeaderMap, body: Bytes) -> (StatusCode, Vec<u8>) {
    received.key(headers.get("api-key").and_then(|key| key.to_str().ok()));
    assert_eq!(headers.get("content-type").unwrap(), "application/x-protobuf");
    if received.refuses() {
        return (StatusCode::SERVICE_UNAVAILABLE, b"come back later\n".to_vec());
    }
    let answer = received.logs(ExportLogsServiceRequest::decode(body).unwrap());
    (StatusCode::OK, answer.encode_to_vec())
}

async fn with_http<F: Future<Output = ()>>(received: &Received, client: impl FnOnce(String) -> F) {
    let (listener, address) = listener().await;
    let router =
        axum::Router::new().route("/otel/v1/logs", axum::routing::post(take_logs)).with_state(received.clone());
    tokio::select! {
        served = async { axum::serve(listener, router).await } => panic!("the receiver ended: {served:?}"),
        () = client(address) => {}
    }
}

// === what is sent ===

fn dropped() -> flow::Flow {
    let side = |pod: &str| {
        Some(flow::Endpoint {
            identity: 4711,
            namespace: "shop".to_owned(),
            pod_name: pod.to_owned(),
            workloads: vec![flow::Workload { name: "web".to_owned(), kind: "Deployment".to_owned() }],
            ..Default::default()
        })
    };
    let tcp = flow::Tcp { source_port: 40_000, destination_port: 80, ..Default::default() };
    flow::Flow {
        time: Some(prost_types::Timestamp { seconds: 1_772_600_000, nanos: 7 }),
        verdict: flow::Verdict::Dropped as i32,
        drop_reason_desc: flow::DropReason::PolicyDenied as i32,
        ip: Some(flow::Ip {
            source: "10.0.0.1".to_owned(),
            destination: "2001:db8::2".to_owned(),
            ip_version: flow::IpVersion::IPv6 as i32,
            ..Default::default()
        }),
        l4: Some(flow::Layer4 { protocol: Some(flow::layer4::Protocol::Tcp(tcp)) }),
        source: side("web-1"),
        destination: None,
        trace_context: Some(flow::TraceContext {
            parent: Some(flow::TraceParent { trace_id: "4bf92f3577b34da6a3ce929d0e0e4736".to_owned() }),
        }),
        ..Default::default()
    }
}

fn client(address: &str, protocol: Protocol) -> Client {
    let endpoint = Endpoint::new(address, protocol).unwrap();
    let headers = vec![("Api-Key".to_owned(), "secret".to_owned())];
    Client::new(&endpoint, None, headers, Duration::from_secs(20)).unwrap()
}

fn request() -> ExportLogsServiceRequest {
    Origin::new("node-1", "prod").logs(vec![log_record(&dropped(), 1_772_600_001_000_000_000)])
}

fn texts(attributes: &[KeyValue]) -> Vec<(&str, String)> {
    let text = |value: &KeyValue| match value.value.as_ref().and_then(|value| value.value.as_ref()) {
        Some(any_value::Value::StringValue(text)) => text.clone(),
        other => format!("{other:?}"),
    };
    attributes.iter().map(|attribute| (attribute.key.as_str(), text(attribute))).collect()
}

fn check_logs(received: &Received) {
    let took = received.0.lock().unwrap();
    assert_eq!(took.keys, ["secret", "secret"], "both tries carry the header");
    let [request] = took.logs.as_slice() else { panic!("{} requests", took.logs.len()) };
    let [resource] = request.resource_logs.as_slice() else { panic!("one resource") };
    let of_node = texts(&resource.resource.as_ref().unwrap().attributes);
    assert!(of_node.contains(&("k8s.node.name", "node-1".to_owned())), "{of_node:?}");
    assert!(of_node.contains(&("k8s.cluster.name", "prod".to_owned())), "{of_node:?}");
    let [record] = resource.scope_logs[0].log_records.as_slice() else { panic!("one record") };
    assert_eq!(record.time_unix_nano, 1_772_600_000_000_000_007);
    assert_eq!((record.severity_number, record.severity_text.as_str()), (13, "WARN"));
    assert_eq!(record.trace_id.len(), 16);
    assert_eq!((record.trace_id[0], record.trace_id[15]), (0x4b, 0x36));
    let attributes = texts(&record.attributes);
    for (key, value) in [
        ("source.address", "10.0.0.1"),
        ("destination.address", "2001:db8::2"),
        ("network.transport", "tcp"),
        ("network.type", "ipv6"),
        ("source.k8s.pod.name", "web-1"),
        ("source.k8s.workload.kind", "Deployment"),
        ("hubble.verdict", "DROPPED"),
        ("hubble.drop_reason", "POLICY_DENIED"),
        ("destination.port", "Some(IntValue(80))"),
    ] {
        assert!(attributes.contains(&(key, value.to_owned())), "{key} is not {value} in {attributes:?}");
    }
    assert_eq!(
        texts(&[KeyValue { value: record.body.clone(), ..Default::default() }])[0].1,
        "shop/web-1:40000 -> [2001:db8::2]:80 DROPPED POLICY_DENIED"
    );
}

/// Refused once, told what was not taken the second time.
async fn talk(mut client: Client) {
    let failure = client.logs(request()).await.unwrap_err();
    assert!(failure.again && failure.message.contains("come back later"), "{failure:?}");
    let accepted = client.logs(request()).await.unwrap();
    assert_eq!(accepted, Accepted { rejected: 1, message: "one too many".to_owned() });
}

#[tokio::test]
async fn flows_reach_a_collector_over_grpc() {
    let received = Received::default();
    received.0.lock().unwrap().refuse = 1;
    with_grpc(&received, |address| talk(client(&address, Protocol::Grpc))).await;
    check_logs(&received);
}

#[tokio::test]
async fn flows_reach_a_collector_over_http() {
    let received = Received::default();
    received.0.lock().unwrap().refuse = 1;
    with_http(&received, |address| talk(client(&format!("http://{address}/otel/"), Protocol::Http))).await;
    check_logs(&received);
}

#[tokio::test]
async fn metrics_carry_the_numbers_of_the_exposition() {
    let mut metrics = Metrics::new(&Config::parse_static("drop:sourceContext=pod httpV2:exemplars=true"), 100).unwrap();
    let mut answer = dropped();
    let http = flow::Http { code: 200, method: "GET".to_owned(), protocol: "HTTP/2".to_owned(), ..Default::default() };
    answer.verdict = flow::Verdict::Forwarded as i32;
    answer.l7 = Some(flow::Layer7 {
        r#type: flow::L7FlowType::Response as i32,
        latency_ns: 30_000_000,
        record: Some(flow::layer7::Record::Http(http)),
    });
    for flow in [&dropped(), &dropped(), &answer] {
        metrics.observe(flow, Duration::from_secs(1_772_600_002));
    }
    assert!(metrics.encode(Format::Prometheus).contains("hubble_drop_total"));
    let sent: Vec<Metric> = metrics.metrics().iter().filter_map(|each| metric(each, 5, 9)).collect();
    let received = Received::default();
    with_grpc(&received, |address| async move {
        let accepted = client(&address, Protocol::Grpc).metrics(Origin::new("n", "").metrics(sent)).await.unwrap();
        assert_eq!(accepted, Accepted::default());
    })
    .await;
    let took = received.0.lock().unwrap();
    let metrics = &took.metrics[0].resource_metrics[0].scope_metrics[0].metrics;
    let named = |name: &str| metrics.iter().find(|metric| metric.name == name).unwrap().data.as_ref().unwrap();
    let Data::Sum(drops) = named("hubble_drop_total") else { panic!("a counter is a sum") };
    assert!(drops.is_monotonic && drops.data_points.len() == 1);
    assert_eq!(format!("{:?}", drops.data_points[0].value), "Some(AsInt(2))");
    assert_eq!((drops.data_points[0].start_time_unix_nano, drops.data_points[0].time_unix_nano), (5, 9));
    assert!(texts(&drops.data_points[0].attributes).contains(&("source", "shop/web-1".to_owned())));
    let Data::Histogram(seconds) = named("hubble_http_request_duration_seconds") else { panic!("a histogram") };
    let point = &seconds.data_points[0];
    assert_eq!((point.count, point.sum, point.bucket_counts[3]), (1, Some(0.03), 1));
    assert_eq!(point.bucket_counts.len(), point.explicit_bounds.len() + 1);
    assert_eq!(point.exemplars[0].trace_id.len(), 16);
}

#[test]
fn endpoints_are_given_as_people_give_them() {
    let endpoint = |text, protocol| Endpoint::new(text, protocol).map(|endpoint| endpoint.to_string());
    for (text, protocol, whole) in [
        ("localhost", Protocol::Grpc, "http://localhost:4317"),
        ("collector:9999", Protocol::Grpc, "http://collector:9999"),
        ("http://collector", Protocol::Http, "http://collector:4318"),
        ("https://collector:443/otel/", Protocol::Http, "https://collector:443/otel"),
        ("https://[::1]", Protocol::Grpc, "https://[::1]:4317"),
    ] {
        assert_eq!(endpoint(text, protocol).unwrap(), whole);
    }
    for bad in ["ftp://x", "http://", ""] {
        assert!(endpoint(bad, Protocol::Grpc).is_err(), "{bad}");
    }
}

#[test]
fn a_trace_id_that_is_none_is_left_out() {
    for bad in [
        "",
        "0",
        "4bf92f3577b34da6a3ce929d0e0e473",
        "00000000000000000000000000000000",
        "+bf92f3577b34da6a3ce929d0e0e4736",
    ] {
        assert!(trace_id(bad).is_empty(), "{bad}");
    }
}
