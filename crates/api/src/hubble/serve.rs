//! The server: services over listeners, until it is stopped.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::{Stream, StreamExt as _, stream};
use nexin_http::{Connection, Listener};
use nexin_hubble::observer as msg;
use nexin_hubble::peer::{ChangeNotification, NotifyRequest};
use nexin_runtime::tasks::CancellationToken;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::WaitForCancellationFutureOwned;
use tonic::transport::server::{Connected, Router};
use tonic::{Request, Response, Status};
use tonic_health::pb::health_server::HealthServer;

use super::health::HealthService;
use super::service::observer::observer_server::{Observer, ObserverServer};
use super::service::peer::peer_server::{Peer as PeerRpc, PeerServer};
use super::{Answer, Answers, Health, Observe, Peers, Refusal};

/// What is served.
#[derive(Debug)]
pub struct HubbleServer<O> {
    pub observer: O,
    /// None: no peer service, as at the relay.
    pub peers: Option<Peers>,
    pub health: Health,
}

/// The largest request: 10,000 filters fit many times.
const REQUEST_LIMIT: usize = 16 << 20;
/// Calls at a time on one connection.
const CALLS: u32 = 256;
/// Connections at a time, all listeners together.
const CONNECTIONS: usize = 1024;
/// How often a silent client is asked whether it is still there, and how long it may think.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(20));
/// From stop to the end of connections whose clients do not hang up.
const GRACE: Duration = Duration::from_secs(1);

/// Why serving ended.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("serving Hubble's API ended: {0}")]
    Transport(#[from] tonic::transport::Error),
    /// The descriptors are built in, so this is a defect of the build.
    #[error("Hubble's descriptors cannot be served: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
}

/// Serves on every listener until `stop`; streams are then ended as "unavailable", other calls answered.
pub async fn serve<O: Observe>(
    server: HubbleServer<O>,
    listeners: Vec<Listener>,
    stop: CancellationToken,
) -> Result<(), ServeError> {
    let router = router(server, &stop)?;
    run(router, listeners, stop).await
}

/// The health service alone, for probes that have no business with flows.
pub async fn serve_health(health: Health, listener: Listener, stop: CancellationToken) -> Result<(), ServeError> {
    let service = HealthServer::new(HealthService { health, stop: stop.clone() });
    run(builder().add_service(service), vec![listener], stop).await
}

/// Serves until `stop`, lets calls end for [`GRACE`], and cuts what is left.
async fn run(router: Router, listeners: Vec<Listener>, stop: CancellationToken) -> Result<(), ServeError> {
    let cut = CancellationToken::new();
    // Whoever drops this future must not leave connections behind.
    let _cut_at_end = cut.clone().drop_guard();
    let incoming = stream::select_all(listeners.into_iter().map(|listener| Box::pin(links(listener, cut.clone()))));
    let mut serving = std::pin::pin!(router.serve_with_incoming_shutdown(incoming, stop.cancelled()));
    tokio::select! {
        ended = serving.as_mut() => return Ok(ended?),
        () = stop.cancelled() => {}
    }
    tokio::select! {
        ended = serving.as_mut() => return Ok(ended?),
        () = tokio::time::sleep(GRACE) => cut.cancel(),
    }
    Ok(serving.await?)
}

fn builder() -> tonic::transport::Server {
    tonic::transport::Server::builder()
        .max_concurrent_streams(CALLS)
        .http2_keepalive_interval(Some(KEEPALIVE.0))
        .http2_keepalive_timeout(Some(KEEPALIVE.1))
}

fn router<O: Observe>(server: HubbleServer<O>, stop: &CancellationToken) -> Result<Router, ServeError> {
    let health = HealthServer::new(HealthService { health: server.health, stop: stop.clone() });
    let observer = ObserverService { observer: Arc::new(server.observer), stop: stop.clone() };
    let peers = server.peers.map(|peers| PeerServer::new(PeerService { peers, stop: stop.clone() }));
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(nexin_hubble::DESCRIPTOR)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    Ok(builder()
        .add_service(ObserverServer::new(observer).max_decoding_message_size(REQUEST_LIMIT))
        .add_optional_service(peers)
        .add_service(health)
        .add_service(reflection().build_v1()?)
        .add_service(reflection().build_v1alpha()?))
}

/// What an observer answers, as gRPC.
struct ObserverService<O> {
    observer: Arc<O>,
    stop: CancellationToken,
}

impl<O: Observe> ObserverService<O> {
    fn stream<T>(&self, answers: Answer<Answers<T>>) -> Result<Response<Outgoing<T>>, Status> {
        Ok(Response::new(Outgoing::new(answers?, &self.stop)))
    }
}

#[tonic::async_trait]
impl<O: Observe> Observer for ObserverService<O> {
    type GetFlowsStream = Outgoing<msg::GetFlowsResponse>;
    type GetAgentEventsStream = Outgoing<msg::GetAgentEventsResponse>;
    type GetDebugEventsStream = Outgoing<msg::GetDebugEventsResponse>;

    async fn get_flows(
        &self,
        request: Request<msg::GetFlowsRequest>,
    ) -> Result<Response<Self::GetFlowsStream>, Status> {
        self.stream(self.observer.get_flows(request.into_inner()).await)
    }

    async fn get_agent_events(
        &self,
        request: Request<msg::GetAgentEventsRequest>,
    ) -> Result<Response<Self::GetAgentEventsStream>, Status> {
        self.stream(self.observer.get_agent_events(request.into_inner()).await)
    }

    async fn get_debug_events(
        &self,
        request: Request<msg::GetDebugEventsRequest>,
    ) -> Result<Response<Self::GetDebugEventsStream>, Status> {
        self.stream(self.observer.get_debug_events(request.into_inner()).await)
    }

    async fn get_nodes(&self, _: Request<msg::GetNodesRequest>) -> Result<Response<msg::GetNodesResponse>, Status> {
        Ok(Response::new(self.observer.get_nodes().await?))
    }

    async fn get_namespaces(
        &self,
        _: Request<msg::GetNamespacesRequest>,
    ) -> Result<Response<msg::GetNamespacesResponse>, Status> {
        Ok(Response::new(self.observer.get_namespaces().await?))
    }

    async fn server_status(
        &self,
        _: Request<msg::ServerStatusRequest>,
    ) -> Result<Response<msg::ServerStatusResponse>, Status> {
        Ok(Response::new(self.observer.server_status().await?))
    }
}

struct PeerService {
    peers: Peers,
    stop: CancellationToken,
}

#[tonic::async_trait]
impl PeerRpc for PeerService {
    type NotifyStream = Outgoing<ChangeNotification>;

    async fn notify(&self, _: Request<NotifyRequest>) -> Result<Response<Self::NotifyStream>, Status> {
        let notifications: Answers<_> = Box::pin(self.peers.notifications().map(Ok));
        Ok(Response::new(Outgoing::new(notifications, &self.stop)))
    }
}

/// Answers on their way out, until the server stops.
pub(super) struct Outgoing<T> {
    answers: Option<Answers<T>>,
    stop: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl<T> Outgoing<T> {
    pub(super) fn new(answers: Answers<T>, stop: &CancellationToken) -> Self {
        Self { answers: Some(answers), stop: Box::pin(stop.clone().cancelled_owned()) }
    }
}

impl<T> Stream for Outgoing<T> {
    type Item = Result<T, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(answers) = &mut self.answers else { return Poll::Ready(None) };
        if let Poll::Ready(answer) = answers.as_mut().poll_next(cx) {
            return Poll::Ready(answer.map(|answer| answer.map_err(Status::from)));
        }
        if self.stop.as_mut().poll(cx).is_ready() {
            self.answers = None;
            return Poll::Ready(Some(Err(Refusal::unavailable("the server is stopping").into())));
        }
        Poll::Pending
    }
}

/// An accepted connection that can be cut, and that counts against its listener's limit.
struct Link {
    connection: Connection,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    _place: OwnedSemaphorePermit,
}

/// The connections of one listener. Each listener has places of its own: strangers on TCP cannot lock out the unix socket.
fn links(listener: Listener, cut: CancellationToken) -> impl Stream<Item = io::Result<Link>> + Send {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    listener.connections().then(move |connection| {
        let (places, cut) = (Arc::clone(&places), cut.clone());
        async move {
            let place = places.acquire_owned().await.map_err(io::Error::other)?;
            Ok(Link { connection, cut: Box::pin(cut.cancelled_owned()), _place: place })
        }
    })
}

impl Connected for Link {
    type ConnectInfo = ();

    fn connect_info(&self) -> Self::ConnectInfo {}
}

impl AsyncRead for Link {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.cut.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        Pin::new(&mut self.connection).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Link {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.connection).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.connection).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.connection.is_write_vectored()
    }
}
