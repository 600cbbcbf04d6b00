//! The relay as an observer: every method asked of all nodes.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesOrdered;
use nexin_api::hubble::{Answer, Answers, Client, Observe, Refusal};
use nexin_hubble::observer::{
    GetAgentEventsRequest, GetAgentEventsResponse, GetDebugEventsRequest, GetDebugEventsResponse, GetFlowsRequest,
    GetFlowsResponse, GetNamespacesResponse, GetNodesResponse, Namespace, Node as NodeMessage, ServerStatusResponse,
    Tls,
};
use nexin_hubble::relay::NodeState;

use crate::fan::{Fan, FanLimits};
use crate::metrics::RelayMetrics;
use crate::pool::{Node, Pool};

/// So many names of unavailable nodes are listed.
const NAMES: usize = 10;
/// A node that does not answer a question within this time does not hold up the others' answers: the official command waits 12 s.
const NODE_LIMIT: Duration = Duration::from_secs(5);

/// All nodes as one.
#[derive(Clone, Debug)]
pub(crate) struct RelayObserver {
    pub(crate) pool: Pool,
    pub(crate) name: String,
    pub(crate) limits: FanLimits,
    pub(crate) metrics: RelayMetrics,
}

impl RelayObserver {
    /// Asks all nodes at once; None for a node that is not there or does not answer.
    async fn ask<T, F>(&self, what: &'static str, ask: impl Fn(Client) -> F) -> Vec<(Node, Option<T>)>
    where
        F: Future<Output = Answer<T>>,
    {
        self.metrics.request(what);
        let nodes: Vec<Node> = self.pool.nodes().values().cloned().collect();
        let asked = nodes.into_iter().map(|node| {
            let call = node.client().cloned().map(&ask);
            async move {
                let Some(call) = call else { return (node, None) };
                let late = |_| Refusal::unavailable(format!("no answer within {NODE_LIMIT:?}"));
                let answer = tokio::time::timeout(NODE_LIMIT, call).await.map_err(late).flatten();
                if let Err(refusal) = &answer {
                    let reason = &refusal.message;
                    tracing::warn!(node = node.peer.name, code = refusal.code_name(), reason, "node failed {what}");
                    self.metrics.node_errors.inc();
                }
                (node, answer.ok())
            }
        });
        asked.collect::<FuturesOrdered<_>>().collect().await
    }
}

impl Observe for RelayObserver {
    async fn get_flows(&self, request: GetFlowsRequest) -> Answer<Answers<GetFlowsResponse>> {
        self.metrics.request("GetFlows");
        if request.first && request.follow {
            return Err(Refusal::invalid("first cannot be specified with follow"));
        }
        Ok(Fan::start(request, self.name.clone(), self.pool.watch(), self.limits, self.metrics.clone()))
    }

    async fn get_agent_events(&self, _: GetAgentEventsRequest) -> Answer<Answers<GetAgentEventsResponse>> {
        Err(Refusal::unimplemented("GetAgentEvents"))
    }

    async fn get_debug_events(&self, _: GetDebugEventsRequest) -> Answer<Answers<GetDebugEventsResponse>> {
        Err(Refusal::unimplemented("GetDebugEvents"))
    }

    async fn get_nodes(&self) -> Answer<GetNodesResponse> {
        let answers = self.ask("GetNodes", |client| async move { client.server_status().await }).await;
        let nodes = answers.into_iter().map(|(node, status)| {
            let state = match (&status, node.client()) {
                (Some(_), _) => NodeState::NodeConnected,
                (None, Some(_)) => NodeState::NodeError,
                (None, None) => NodeState::NodeUnavailable,
            };
            let status = status.unwrap_or_default();
            NodeMessage {
                name: node.peer.name,
                version: status.version,
                address: node.peer.address,
                state: state.into(),
                tls: Some(Tls {
                    enabled: node.peer.server_name.is_some(),
                    server_name: node.peer.server_name.unwrap_or_default(),
                }),
                uptime_ns: status.uptime_ns,
                num_flows: status.num_flows,
                max_flows: status.max_flows,
                seen_flows: status.seen_flows,
            }
        });
        Ok(GetNodesResponse { nodes: nodes.collect() })
    }

    async fn get_namespaces(&self) -> Answer<GetNamespacesResponse> {
        let answers = self.ask("GetNamespaces", |client| async move { client.get_namespaces().await }).await;
        let named = answers.into_iter().filter_map(|(_, answer)| answer).flat_map(|answer| answer.namespaces);
        let all: BTreeSet<(String, String)> = named.map(|known| (known.cluster, known.namespace)).collect();
        let namespaces = all.into_iter().map(|(cluster, namespace)| Namespace { cluster, namespace });
        Ok(GetNamespacesResponse { namespaces: namespaces.collect() })
    }

    async fn server_status(&self) -> Answer<ServerStatusResponse> {
        let answers = self.ask("ServerStatus", |client| async move { client.server_status().await }).await;
        let mut sum = ServerStatusResponse { version: version(), ..ServerStatusResponse::default() };
        let (mut connected, mut unavailable) = (0u32, 0u32);
        for (node, status) in answers {
            let Some(status) = status else {
                unavailable += 1;
                if sum.unavailable_nodes.len() < NAMES {
                    sum.unavailable_nodes.push(node.peer.name);
                }
                continue;
            };
            connected += 1;
            sum.num_flows = sum.num_flows.saturating_add(status.num_flows);
            sum.max_flows = sum.max_flows.saturating_add(status.max_flows);
            sum.seen_flows = sum.seen_flows.saturating_add(status.seen_flows);
            // Added up it would mean nothing, and the youngest makes rates absurd after one restart.
            sum.uptime_ns = sum.uptime_ns.max(status.uptime_ns);
            sum.flows_rate += status.flows_rate;
        }
        sum.num_connected_nodes = Some(connected);
        sum.num_unavailable_nodes = Some(unavailable);
        Ok(sum)
    }
}

fn version() -> String {
    format!("nexin-relay v{}", env!("CARGO_PKG_VERSION"))
}
