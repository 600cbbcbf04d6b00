//! A node for tests: an observer with a log of flows that tests write to, behind the real server. Shared with the relay's tests.
#![allow(dead_code, reason = "no test file uses all of it")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::StreamExt as _;
use nexin_api::hubble::{Answer, Answers, Health, HubbleServer, Observe, Peers, Refusal, serve};
use nexin_http::{Listener, ServerTls, Target};
use nexin_hubble::flow::{AgentEvent, AgentEventType, DebugEvent, DebugEventType, Flow, LostEvent};
use nexin_hubble::observer::get_flows_response::ResponseTypes;
use nexin_hubble::observer::{
    GetAgentEventsRequest, GetAgentEventsResponse, GetDebugEventsRequest, GetDebugEventsResponse, GetFlowsRequest,
    GetFlowsResponse, GetNamespacesResponse, GetNodesResponse, Namespace, ServerStatusResponse,
};
use nexin_runtime::tasks::{CancellationToken, Lifetime, Tasks};
use prost_types::Timestamp;
use tokio::sync::watch;

/// Bytes of text in a flow: as much as real ones carry, so that buffers hold as few.
const FILLING: usize = 500;

/// A flow as a response: `seconds` orders it, `uuid` tells it from others.
pub(crate) fn flow(node: &str, seconds: i64, uuid: &str) -> GetFlowsResponse {
    let time = Some(Timestamp { seconds, nanos: 0 });
    let policy_log = vec!["x".repeat(FILLING)];
    let flow = Flow { time, uuid: uuid.into(), node_name: node.into(), policy_log, ..Flow::default() };
    GetFlowsResponse { response_types: Some(ResponseTypes::Flow(flow)), node_name: node.into(), time }
}

pub(crate) fn lost(node: &str, seconds: i64, count: u64) -> GetFlowsResponse {
    let event = LostEvent { num_events_lost: count, ..LostEvent::default() };
    let time = Some(Timestamp { seconds, nanos: 0 });
    GetFlowsResponse { response_types: Some(ResponseTypes::LostEvents(event)), node_name: node.into(), time }
}

/// The uuid of a flow, or what else it is.
pub(crate) fn word(response: &GetFlowsResponse) -> String {
    match &response.response_types {
        Some(ResponseTypes::Flow(flow)) => flow.uuid.clone(),
        Some(ResponseTypes::LostEvents(lost)) => format!("lost {}", lost.num_events_lost),
        Some(ResponseTypes::NodeStatus(status)) => {
            format!("{} {}", status.state_change().as_str_name(), status.node_names.join(","))
        }
        None => "nothing".into(),
    }
}

/// What a node has seen. Cheap to clone; all clones are one.
#[derive(Clone)]
pub(crate) struct Log {
    pub(crate) name: String,
    seen: watch::Sender<Arc<Vec<GetFlowsResponse>>>,
    /// Streams that are open.
    pub(crate) open: watch::Sender<usize>,
    /// Responses that the server took from all streams.
    pub(crate) taken: watch::Sender<u64>,
    pub(crate) uptime_ns: u64,
}

impl Log {
    pub(crate) fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            seen: watch::Sender::default(),
            open: watch::Sender::new(0),
            taken: watch::Sender::new(0),
            uptime_ns: 1_000,
        }
    }

    pub(crate) fn see(&self, responses: impl IntoIterator<Item = GetFlowsResponse>) {
        self.seen.send_modify(|seen| Arc::make_mut(seen).extend(responses));
    }

    /// Flows named after the node, one a second.
    pub(crate) fn see_flows(&self, seconds: impl IntoIterator<Item = i64>) {
        self.see(seconds.into_iter().map(|second| flow(&self.name, second, &format!("{}{second}", self.name))));
    }

    fn from(&self, request: &GetFlowsRequest) -> usize {
        let seen = self.seen.borrow();
        if let Some(since) = &request.since {
            let before = |response: &GetFlowsResponse| {
                response.time.is_some_and(|time| (time.seconds, time.nanos) < (since.seconds, since.nanos))
            };
            return seen.iter().take_while(|response| before(response)).count();
        }
        match usize::try_from(request.number) {
            Ok(0) if request.follow => seen.len(),
            Ok(0) => 0,
            _ if request.first => 0,
            number => seen.len().saturating_sub(number.unwrap_or(usize::MAX)),
        }
    }
}

struct Open(watch::Sender<usize>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.send_modify(|open| *open -= 1);
    }
}

impl Observe for Log {
    async fn get_flows(&self, request: GetFlowsRequest) -> Answer<Answers<GetFlowsResponse>> {
        if request.first && request.follow {
            return Err(Refusal::invalid("first cannot be specified with follow"));
        }
        if let Some(bad) = request.whitelist.iter().flat_map(|filter| &filter.protocol).next() {
            return Err(Refusal::filter(format!("unknown protocol: {bad}")));
        }
        self.open.send_modify(|open| *open += 1);
        let open = Open(self.open.clone());
        let limit = match usize::try_from(request.number) {
            Ok(number) if number > 0 && !request.follow => number,
            _ => usize::MAX,
        };
        let (seen, taken, follow) = (self.seen.subscribe(), self.taken.clone(), request.follow);
        let state = (open, seen, self.from(&request));
        let answers = futures_util::stream::unfold(state, move |(open, mut seen, at)| {
            let taken = taken.clone();
            async move {
                let found = if follow {
                    seen.wait_for(|seen| seen.len() > at).await.ok()?.get(at).cloned()
                } else {
                    seen.borrow().get(at).cloned()
                };
                taken.send_modify(|taken| *taken += 1);
                Some((Ok(found?), (open, seen, at + 1)))
            }
        });
        Ok(Box::pin(answers.take(limit)))
    }

    async fn get_agent_events(&self, request: GetAgentEventsRequest) -> Answer<Answers<GetAgentEventsResponse>> {
        let event = AgentEvent { r#type: AgentEventType::AgentStarted.into(), ..AgentEvent::default() };
        let response = GetAgentEventsResponse { agent_event: Some(event), node_name: self.name.clone(), time: None };
        Ok(Box::pin(futures_util::stream::iter(vec![Ok(response); request.number as usize])))
    }

    async fn get_debug_events(&self, request: GetDebugEventsRequest) -> Answer<Answers<GetDebugEventsResponse>> {
        let event = DebugEvent { r#type: DebugEventType::DbgGeneric.into(), ..DebugEvent::default() };
        let response = GetDebugEventsResponse { debug_event: Some(event), node_name: self.name.clone(), time: None };
        Ok(Box::pin(futures_util::stream::iter(vec![Ok(response); request.number as usize])))
    }

    async fn get_nodes(&self) -> Answer<GetNodesResponse> {
        Err(Refusal::unimplemented("GetNodes"))
    }

    async fn get_namespaces(&self) -> Answer<GetNamespacesResponse> {
        let named = |namespace: &str| Namespace { cluster: "default".into(), namespace: namespace.into() };
        Ok(GetNamespacesResponse { namespaces: vec![named("all"), named(&self.name)] })
    }

    async fn server_status(&self) -> Answer<ServerStatusResponse> {
        let seen = self.seen.borrow().len() as u64;
        Ok(ServerStatusResponse {
            num_flows: seen,
            max_flows: 4_095,
            seen_flows: seen,
            uptime_ns: self.uptime_ns,
            version: "test".into(),
            flows_rate: 1.5,
            ..ServerStatusResponse::default()
        })
    }
}

/// A server that runs until it is dropped or stopped.
pub(crate) struct Node {
    pub(crate) log: Log,
    pub(crate) peers: Peers,
    pub(crate) health: Health,
    pub(crate) targets: Vec<Target>,
    stop: CancellationToken,
    ended: watch::Receiver<bool>,
}

impl Node {
    pub(crate) async fn on_socket(log: Log, path: &Path) -> Self {
        let listener = Listener::unix(path).await.unwrap();
        Self::start(log, vec![listener], vec![Target::Unix(path.to_owned())])
    }

    pub(crate) async fn on_tcp(log: Log, port: u16, tls: Option<ServerTls>) -> Self {
        let listener = Listener::tcp(format!("127.0.0.1:{port}").parse().unwrap(), tls).unwrap();
        let port = listener.local_addr().unwrap().port();
        Self::start(log, vec![listener], vec![Target::Tcp { host: "127.0.0.1".into(), port }])
    }

    fn start(log: Log, listeners: Vec<Listener>, targets: Vec<Target>) -> Self {
        let (stop, tasks) = (CancellationToken::new(), Tasks::new());
        let (peers, health) = (Peers::default(), Health::new());
        health.set(true);
        let server = HubbleServer { observer: log.clone(), peers: Some(peers.clone()), health: health.clone() };
        let (end, ended) = watch::channel(false);
        let stopped = stop.clone();
        tasks.spawn("node", Lifetime::Errand, async move {
            serve(server, listeners, stopped).await.unwrap();
            end.send_replace(true);
        });
        Self { log, peers, health, targets, stop, ended }
    }

    pub(crate) fn target(&self) -> Target {
        self.targets[0].clone()
    }

    /// Stops it, and waits until it is.
    pub(crate) async fn stop(mut self) -> Log {
        self.stop.cancel();
        self.ended.wait_for(|ended| *ended).await.unwrap();
        self.log.clone()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// A socket's path in a directory that lives as long.
pub(crate) fn socket(dir: &tempfile::TempDir, name: &str) -> PathBuf {
    dir.path().join(format!("{name}.sock"))
}
