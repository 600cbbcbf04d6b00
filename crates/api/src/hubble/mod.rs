//! Hubble's gRPC services: what a server needs someone to answer, the server, and a client.
//!
//! The only place that knows gRPC. What flows are and which of them a request selects is decided by whoever implements
//! [`Observe`]: the agent for its own node, the relay for many.

mod client;
mod health;
mod peers;
mod refusal;
mod serve;

use std::future::Future;
use std::pin::Pin;

use nexin_hubble::observer::{
    GetAgentEventsRequest, GetAgentEventsResponse, GetDebugEventsRequest, GetDebugEventsResponse, GetFlowsRequest,
    GetFlowsResponse, GetNamespacesResponse, GetNodesResponse, ServerStatusResponse,
};

pub use client::{Address, BasicAuth, Client, ClientOptions, Versions};
pub use health::{Health, OBSERVER_SERVICE};
pub use peers::{Peer, Peers};
pub use refusal::{Code, Refusal};
pub use serve::{HubbleServer, ServeError, serve, serve_health};

/// Generated servers and clients of `observer.Observer` and `peer.Peer`.
#[allow(clippy::all, unreachable_pub, rust_2018_idioms)]
mod service {
    pub mod observer {
        tonic::include_proto!("observer");
    }
    pub mod peer {
        tonic::include_proto!("peer");
    }
}

/// An answer, or why there is none.
pub type Answer<T> = Result<T, Refusal>;

/// Answers of one call, in order; a [`Refusal`] is the last one. Polled only as fast as the client reads, and dropped when it
/// leaves: what cannot be told in time is for the stream to count and to tell as a lost event.
pub type Answers<T> = Pin<Box<dyn futures_util::Stream<Item = Answer<T>> + Send>>;

/// `observer.Observer`, method by method. Implemented by the agent's observer and by the relay.
pub trait Observe: Send + Sync + 'static {
    fn get_flows(&self, request: GetFlowsRequest) -> impl Future<Output = Answer<Answers<GetFlowsResponse>>> + Send;
    fn get_agent_events(
        &self,
        request: GetAgentEventsRequest,
    ) -> impl Future<Output = Answer<Answers<GetAgentEventsResponse>>> + Send;
    fn get_debug_events(
        &self,
        request: GetDebugEventsRequest,
    ) -> impl Future<Output = Answer<Answers<GetDebugEventsResponse>>> + Send;
    fn get_nodes(&self) -> impl Future<Output = Answer<GetNodesResponse>> + Send;
    fn get_namespaces(&self) -> impl Future<Output = Answer<GetNamespacesResponse>> + Send;
    fn server_status(&self) -> impl Future<Output = Answer<ServerStatusResponse>> + Send;
}
