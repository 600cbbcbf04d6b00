//! A server with the flows of the golden data as canned answers: what it is asked is kept. It filters and masks, and
//! chooses nothing else.

use std::path::Path;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use futures_util::stream;
use nexin_api::hubble::{Answer, Answers, Code, Health, HubbleServer, Observe, Peers, Refusal, serve};
use nexin_flows::filter::{Filters, Seen};
use nexin_flows::mask::Mask;
use nexin_hubble::flow::Flow;
use nexin_hubble::json::{self, Read, Unknown};
use nexin_hubble::observer::get_flows_response::ResponseTypes;
use nexin_hubble::observer::*;
use nexin_hubble::relay::NodeState;
use nexin_runtime::tasks::CancellationToken;
use prost::Message;

use crate::golden_support;

type Asked = Arc<Mutex<Vec<(String, String)>>>;

pub(crate) struct Canned {
    asked: Asked,
    stop: CancellationToken,
    runtime: tokio::runtime::Runtime,
}

impl Canned {
    /// Serves on a socket until it is stopped. `variant` is the number of the canned state, or `down`.
    pub(crate) fn serve(socket: &Path, variant: &str) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        let (asked, stop) = (Asked::default(), CancellationToken::new());
        let observer = Observer { asked: asked.clone(), status: status(variant) };
        let listener = runtime.block_on(nexin_http::Listener::unix(socket)).expect("a free socket");
        let health = Health::new();
        health.set(variant != "down");
        let server = HubbleServer { observer, peers: Some(Peers::new([])), health };
        let ended = stop.clone();
        runtime.spawn(async move { serve(server, vec![listener], ended).await.expect("serving") });
        Self { asked, stop, runtime }
    }

    /// Methods and requests, in order.
    pub(crate) fn stop(self) -> Vec<(String, String)> {
        self.stop.cancel();
        self.runtime.shutdown_background();
        std::mem::take(&mut *self.asked.lock().expect("nobody panics"))
    }
}

struct Observer {
    asked: Asked,
    status: ServerStatusResponse,
}

impl Observer {
    fn keep(&self, method: &str, request: &impl Message) {
        let text = base64::engine::general_purpose::STANDARD.encode(request.encode_to_vec());
        self.asked.lock().expect("nobody panics").push((method.to_owned(), text));
    }
}

fn all<T: Read>(name: &str) -> Vec<T> {
    let lines = golden_support::lines(name).expect("the data is there");
    lines.iter().map(|line| json::read(line.as_bytes(), Unknown::Refuse).expect("a message a line")).collect()
}

/// Status variants as the official output tells them.
fn status(variant: &str) -> ServerStatusResponse {
    let seen = |num_flows, max_flows, seen_flows, uptime_ns| ServerStatusResponse {
        num_flows,
        max_flows,
        seen_flows,
        uptime_ns,
        ..ServerStatusResponse::default()
    };
    match variant {
        "2" => ServerStatusResponse { flows_rate: 12.345_678, ..seen(4095, 4095, 0, 0) },
        "3" => ServerStatusResponse {
            num_connected_nodes: Some(2),
            num_unavailable_nodes: Some(5),
            unavailable_nodes: vec!["z-node".into(), "a-node".into()],
            version: "hubble-relay".into(),
            ..seen(8190, 16380, 1000, u64::MAX)
        },
        "4" => ServerStatusResponse {
            num_connected_nodes: Some(0),
            num_unavailable_nodes: Some(1),
            ..seen(1, 0, 999, 1_500_000_000)
        },
        _ => ServerStatusResponse {
            num_connected_nodes: Some(3),
            num_unavailable_nodes: Some(0),
            version: "v1.20.2".into(),
            ..seen(1234, 4095, 1_234_567, 93_784_000_000_000)
        },
    }
}

fn refusal(filters: &[nexin_hubble::flow::FlowFilter]) -> Option<Refusal> {
    let uuid = filters.iter().flat_map(|filter| &filter.uuid).next()?;
    let code = match uuid.as_str() {
        "err-unavailable" => Code::Unavailable,
        "err-denied" => Code::PermissionDenied,
        _ => return None,
    };
    Some(Refusal::new(code, "the server says <no>"))
}

/// Masks one flow after the other into the same message, as the official server does.
fn masked(mask: &Mask, response: &mut GetFlowsResponse, into: &mut Flow) {
    if let Some(ResponseTypes::Flow(flow)) = &mut response.response_types {
        mask.apply_onto(flow, into);
        *flow = into.clone();
        response.node_name = flow.node_name.clone();
        response.time = flow.time;
    }
}

impl Observe for Observer {
    async fn get_flows(&self, request: GetFlowsRequest) -> Answer<Answers<GetFlowsResponse>> {
        self.keep("GetFlows", &request);
        if let Some(refusal) = refusal(&request.whitelist) {
            return Err(refusal);
        }
        let filters = Filters::compile(&request.whitelist, &request.blacklist)
            .map_err(|error| Refusal::filter(error.to_string()))?;
        let paths = request.field_mask.map(|mask| mask.paths).unwrap_or_default();
        let mask = Mask::new(&paths).map_err(|error| Refusal::filter(error.to_string()))?;
        let mut left = if request.number == 0 { u64::MAX } else { request.number };
        let mut into = mask.as_ref().map(Mask::blank).unwrap_or_default();
        let mut responses = Vec::new();
        for mut response in all::<GetFlowsResponse>("flows.jsonl") {
            if let Some(ResponseTypes::Flow(flow)) = &response.response_types {
                if left == 0 || !filters.matches(Seen::Flow(flow)) {
                    continue;
                }
                left -= 1;
            }
            if let Some(mask) = &mask {
                masked(mask, &mut response, &mut into);
            }
            responses.push(Ok(response));
        }
        Ok(Box::pin(stream::iter(responses)))
    }

    async fn get_agent_events(&self, request: GetAgentEventsRequest) -> Answer<Answers<GetAgentEventsResponse>> {
        self.keep("GetAgentEvents", &request);
        Ok(Box::pin(stream::iter(all("agent_events.jsonl").into_iter().map(Ok))))
    }

    async fn get_debug_events(&self, request: GetDebugEventsRequest) -> Answer<Answers<GetDebugEventsResponse>> {
        self.keep("GetDebugEvents", &request);
        Ok(Box::pin(stream::iter(all("debug_events.jsonl").into_iter().map(Ok))))
    }

    async fn get_nodes(&self) -> Answer<GetNodesResponse> {
        self.keep("GetNodes", &GetNodesRequest {});
        let node = |name: &str, state: NodeState| Node { name: name.into(), state: state.into(), ..Node::default() };
        let connected = Node {
            uptime_ns: 93_784_000_000_000,
            num_flows: 4095,
            max_flows: 4095,
            seen_flows: 1_234_567,
            ..node("default/kind-worker", NodeState::NodeConnected)
        };
        let nodes = vec![
            node("prod-eu/k8s-01", NodeState::NodeUnavailable),
            connected,
            node("gone", NodeState::NodeGone),
            Node { max_flows: 10, ..node("err", NodeState::NodeError) },
            node("", NodeState::UnknownNodeState),
        ];
        Ok(GetNodesResponse { nodes })
    }

    async fn get_namespaces(&self) -> Answer<GetNamespacesResponse> {
        self.keep("GetNamespaces", &GetNamespacesRequest {});
        let names = [("", "app-ns"), ("", "kube-system"), ("", "nocluster"), ("c", "")];
        let namespaces =
            names.map(|(cluster, namespace)| Namespace { cluster: cluster.into(), namespace: namespace.into() });
        Ok(GetNamespacesResponse { namespaces: namespaces.to_vec() })
    }

    async fn server_status(&self) -> Answer<ServerStatusResponse> {
        self.keep("ServerStatus", &ServerStatusRequest {});
        Ok(self.status.clone())
    }
}
