//! This node's answers to Hubble's API.

use futures_util::StreamExt as _;
use nexin_api::hubble::{Answer, Answers, Observe, Refusal};
use nexin_flows::Event;
use nexin_flows::filter::{Filters, Seen};
use nexin_flows::mask::Mask;
use nexin_flows::query::{Query, QueryError};
use nexin_flows::record::timestamp;
use nexin_hubble::observer::get_flows_response::ResponseTypes as FlowTypes;
use nexin_hubble::observer::{
    GetAgentEventsRequest, GetAgentEventsResponse, GetDebugEventsRequest, GetDebugEventsResponse, GetFlowsRequest,
    GetFlowsResponse, GetNamespacesResponse, GetNodesResponse, Namespace, ServerStatusResponse,
};

use super::{Flows, Shape, answers, wall_ns};

/// See the module.
pub(super) struct Observer(pub(super) Flows);

fn query<'a, R>(request: &'a R) -> Answer<Query>
where
    Query: TryFrom<&'a R, Error = QueryError>,
{
    Query::try_from(request).map_err(|error| Refusal::invalid(error.to_string()))
}

/// Flows that pass the filters, as much of them as the mask wants.
struct FlowShape {
    flows: Flows,
    filters: Filters,
    mask: Option<Mask>,
}

impl Shape for FlowShape {
    type Item = GetFlowsResponse;

    fn wants(&self, event: &Event) -> bool {
        self.filters.matches(Seen::from(event))
    }

    fn shape(&mut self, event: &Event) -> Option<GetFlowsResponse> {
        self.flows.count_told(event);
        let node_name = event.node().name.clone();
        let time = Some(timestamp(event.time_ns()));
        match event {
            Event::Flow(record) => {
                let whole = record.to_flow();
                let flow = match &self.mask {
                    Some(mask) => mask.apply(&whole),
                    None => whole,
                };
                Some(GetFlowsResponse {
                    node_name: flow.node_name.clone(),
                    time: flow.time,
                    response_types: Some(FlowTypes::Flow(flow)),
                })
            }
            Event::Lost(lost) => {
                Some(GetFlowsResponse { node_name, time, response_types: Some(FlowTypes::LostEvents(lost.what)) })
            }
            Event::Agent(_) | Event::Debug(_) => None,
        }
    }
}

struct AgentShape;

impl Shape for AgentShape {
    type Item = GetAgentEventsResponse;

    fn wants(&self, event: &Event) -> bool {
        matches!(event, Event::Agent(_))
    }

    fn shape(&mut self, event: &Event) -> Option<GetAgentEventsResponse> {
        let Event::Agent(notice) = event else { return None };
        Some(GetAgentEventsResponse {
            node_name: notice.node.name.clone(),
            time: Some(timestamp(notice.time_ns)),
            agent_event: Some(notice.what.clone()),
        })
    }
}

struct DebugShape;

impl Shape for DebugShape {
    type Item = GetDebugEventsResponse;

    fn wants(&self, event: &Event) -> bool {
        matches!(event, Event::Debug(_))
    }

    fn shape(&mut self, event: &Event) -> Option<GetDebugEventsResponse> {
        let Event::Debug(notice) = event else { return None };
        Some(GetDebugEventsResponse {
            node_name: notice.node.name.clone(),
            time: Some(timestamp(notice.time_ns)),
            debug_event: Some(notice.what.clone()),
        })
    }
}

impl Observe for Observer {
    async fn get_flows(&self, request: GetFlowsRequest) -> Answer<Answers<GetFlowsResponse>> {
        let query = query(&request)?;
        let refused = |error: &dyn std::fmt::Display| Refusal::filter(error.to_string());
        let filters = Filters::compile(&request.whitelist, &request.blacklist).map_err(|error| refused(&error))?;
        let paths = request.field_mask.unwrap_or_default().paths;
        let mask = Mask::of_request(&paths).map_err(|error| refused(&error))?;
        let shape = FlowShape { flows: self.0.clone(), filters, mask };
        Ok(Box::pin(answers(self.0.channel(), query, self.0.node(), u64::MAX, shape).map(Ok)))
    }

    async fn get_agent_events(&self, request: GetAgentEventsRequest) -> Answer<Answers<GetAgentEventsResponse>> {
        let channel = self.0.directory().notices().channel();
        Ok(Box::pin(answers(channel, query(&request)?, self.0.node(), u64::MAX, AgentShape).map(Ok)))
    }

    async fn get_debug_events(&self, request: GetDebugEventsRequest) -> Answer<Answers<GetDebugEventsResponse>> {
        Ok(Box::pin(answers(&self.0.0.debug, query(&request)?, self.0.node(), u64::MAX, DebugShape).map(Ok)))
    }

    async fn get_nodes(&self) -> Answer<GetNodesResponse> {
        Err(Refusal::unimplemented("GetNodes"))
    }

    async fn get_namespaces(&self) -> Answer<GetNamespacesResponse> {
        let namespaces = self.0.namespaces().into_iter();
        let namespaces = namespaces.map(|(cluster, namespace)| Namespace { cluster, namespace });
        Ok(GetNamespacesResponse { namespaces: namespaces.collect() })
    }

    async fn server_status(&self) -> Answer<ServerStatusResponse> {
        let ring = self.0.channel().ring();
        let uptime = self.0.0.started.elapsed().unwrap_or_default();
        Ok(ServerStatusResponse {
            num_flows: ring.stored_flows(),
            max_flows: ring.capacity() as u64,
            seen_flows: ring.window().flows,
            uptime_ns: u64::try_from(uptime.as_nanos()).unwrap_or(u64::MAX),
            version: format!("nexin v{}", env!("CARGO_PKG_VERSION")),
            flows_rate: self.0.rate(wall_ns()),
            ..ServerStatusResponse::default()
        })
    }
}
