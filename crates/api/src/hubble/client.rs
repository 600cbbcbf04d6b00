//! A client of Hubble's services, for the `hubble` command and the relay.

use std::future::Future;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use futures_util::StreamExt as _;
use futures_util::stream;
use nexin_http::{AddressError, ClientTls, ConnectError, Connector, Protocol, Target, Trust};
use nexin_hubble::observer as msg;
use nexin_hubble::peer::{ChangeNotification, NotifyRequest};
use tonic::metadata::{AsciiMetadataValue, MetadataMap};
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Code, Request, Response, Status, Streaming};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::service::observer::observer_client::ObserverClient;
use super::service::peer::peer_client::PeerClient;
use super::{Answer, Answers, Refusal};

/// A server as people name it: a target, or one with `tls://` before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    pub target: Target,
    /// TLS was asked for by the address itself.
    pub tls: bool,
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (target, tls) = text.strip_prefix("tls://").map_or((text, false), |rest| (rest, true));
        Ok(Self { target: target.parse()?, tls })
    }
}

impl From<Target> for Address {
    fn from(target: Target) -> Self {
        Self { target, tls: false }
    }
}

/// Name and password, sent with every call; never without TLS.
#[derive(Clone)]
pub struct BasicAuth {
    pub username: String,
    pub password: String,
}

impl std::fmt::Debug for BasicAuth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BasicAuth").field("username", &self.username).finish_non_exhaustive()
    }
}

/// How to call.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// None: plaintext, unless the address says `tls://` (then with the system's authorities).
    pub tls: Option<ClientTls>,
    pub basic_auth: Option<BasicAuth>,
    pub dial_timeout: Duration,
    /// For calls with one answer; streams last as long as they last.
    pub unary_timeout: Duration,
}

impl Default for ClientOptions {
    /// The limits of the official command.
    fn default() -> Self {
        Self {
            tls: None,
            basic_auth: None,
            dial_timeout: Duration::from_secs(5),
            unary_timeout: Duration::from_secs(12),
        }
    }
}

/// Versions that the server told in headers of its answers so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Versions {
    pub server: Option<String>,
    pub relay: Option<String>,
}

impl Versions {
    fn note(&mut self, headers: &MetadataMap) {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        self.server = text("hubble-server-version").or_else(|| self.server.take());
        self.relay = text("hubble-relay-version").or_else(|| self.relay.take());
    }
}

/// The largest answer that is taken.
const ANSWER_LIMIT: usize = 64 << 20;
/// What a server may send ahead of the reader, per stream and per connection, in bytes.
const WINDOWS: (u32, u32) = (512 << 10, 2 << 20);

/// One server. Cheap to clone; a broken connection is made anew by the next call.
#[derive(Clone, Debug)]
pub struct Client {
    channel: Channel,
    authorization: Option<AsciiMetadataValue>,
    unary_timeout: Duration,
    versions: Arc<Mutex<Versions>>,
}

impl Client {
    /// Connects now, so that a wrong address or certificate is told at once.
    pub async fn connect(address: &Address, options: ClientOptions) -> Answer<Self> {
        let (endpoint, connector) = prepare(address, &options)?;
        let channel = endpoint.connect_with_connector(connector).await;
        let channel = channel.map_err(|error| Refusal::from(Status::from_error(Box::new(error))))?;
        Self::over(channel, options)
    }

    /// Connects at the first call, and again whenever the connection broke.
    pub fn lazy(address: &Address, options: ClientOptions) -> Answer<Self> {
        let (endpoint, connector) = prepare(address, &options)?;
        Self::over(endpoint.connect_with_connector_lazy(connector), options)
    }

    fn over(channel: Channel, options: ClientOptions) -> Answer<Self> {
        let authorization = options.basic_auth.as_ref().map(authorization).transpose()?;
        Ok(Self { channel, authorization, unary_timeout: options.unary_timeout, versions: Arc::default() })
    }

    /// What the server said of its version, once a call was answered.
    pub fn versions(&self) -> Versions {
        self.lock_versions().clone()
    }

    pub fn get_flows(&self, request: msg::GetFlowsRequest) -> Answers<msg::GetFlowsResponse> {
        let (mut observer, request) = (self.observer(), self.request(request));
        self.open(async move { observer.get_flows(request).await })
    }

    pub fn get_agent_events(&self, request: msg::GetAgentEventsRequest) -> Answers<msg::GetAgentEventsResponse> {
        let (mut observer, request) = (self.observer(), self.request(request));
        self.open(async move { observer.get_agent_events(request).await })
    }

    pub fn get_debug_events(&self, request: msg::GetDebugEventsRequest) -> Answers<msg::GetDebugEventsResponse> {
        let (mut observer, request) = (self.observer(), self.request(request));
        self.open(async move { observer.get_debug_events(request).await })
    }

    pub async fn get_nodes(&self) -> Answer<msg::GetNodesResponse> {
        self.once(self.observer().get_nodes(self.request(msg::GetNodesRequest {}))).await
    }

    pub async fn get_namespaces(&self) -> Answer<msg::GetNamespacesResponse> {
        self.once(self.observer().get_namespaces(self.request(msg::GetNamespacesRequest {}))).await
    }

    pub async fn server_status(&self) -> Answer<msg::ServerStatusResponse> {
        self.once(self.observer().server_status(self.request(msg::ServerStatusRequest {}))).await
    }

    /// A peer service's nodes: those there are, then changes.
    pub fn notify(&self) -> Answers<ChangeNotification> {
        let (mut peers, request) = (PeerClient::new(self.channel.clone()), self.request(NotifyRequest {}));
        self.open(async move { peers.notify(request).await })
    }

    /// Whether `service` serves; a server that does not know the name refuses with `NotFound`.
    pub async fn health(&self, service: &str) -> Answer<bool> {
        let request = self.request(HealthCheckRequest { service: service.to_owned() });
        let answer = self.once(HealthClient::new(self.channel.clone()).check(request)).await?;
        Ok(answer.status() == ServingStatus::Serving)
    }

    /// The same, now and at every change.
    pub fn watch_health(&self, service: &str) -> Answers<bool> {
        let request = self.request(HealthCheckRequest { service: service.to_owned() });
        let mut health = HealthClient::new(self.channel.clone());
        let answers = self.open(async move { health.watch(request).await });
        Box::pin(answers.map(|answer| answer.map(|answer| answer.status() == ServingStatus::Serving)))
    }

    fn observer(&self) -> ObserverClient<Channel> {
        ObserverClient::new(self.channel.clone()).max_decoding_message_size(ANSWER_LIMIT)
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(authorization) = &self.authorization {
            request.metadata_mut().insert("authorization", authorization.clone());
        }
        request
    }

    async fn once<T>(&self, call: impl Future<Output = Result<Response<T>, Status>>) -> Answer<T> {
        let late = |_| Refusal::new(Code::DeadlineExceeded, "context deadline exceeded");
        let response = tokio::time::timeout(self.unary_timeout, call).await.map_err(late)??;
        self.lock_versions().note(response.metadata());
        Ok(response.into_inner())
    }

    /// The call is made when the stream is first polled: a server of Go sends nothing, not even headers, before its first answer.
    fn open<T: Send + 'static>(
        &self,
        call: impl Future<Output = Result<Response<Streaming<T>>, Status>> + Send + 'static,
    ) -> Answers<T> {
        let versions = Arc::clone(&self.versions);
        let opened = async move {
            let response = call.await?;
            versions.lock().unwrap_or_else(PoisonError::into_inner).note(response.metadata());
            Ok::<_, Status>(response.into_inner())
        };
        Box::pin(stream::once(opened).flat_map(|opened| match opened {
            Ok(answers) => answers.map(|answer| answer.map_err(Refusal::from)).left_stream(),
            Err(status) => stream::iter([Err(Refusal::from(status))]).right_stream(),
        }))
    }

    fn lock_versions(&self) -> std::sync::MutexGuard<'_, Versions> {
        self.versions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn prepare(address: &Address, options: &ClientOptions) -> Answer<(Endpoint, Connector)> {
    let tls = match &options.tls {
        Some(tls) => Some(tls.clone()),
        None if address.tls => Some(ClientTls::from_files(Trust::System, None, Protocol::Grpc).map_err(refused)?),
        None => None,
    };
    if options.basic_auth.is_some() && tls.is_none() {
        return Err(Refusal::new(
            Code::Unauthenticated,
            "basic auth sends a password, so it needs TLS: add --tls, or tls:// before the server's address",
        ));
    }
    let authority = match &address.target {
        // What Go's gRPC says over unix sockets.
        Target::Unix(_) => "localhost".to_owned(),
        tcp => tcp.to_string(),
    };
    let scheme = if tls.is_some() { "https" } else { "http" };
    let origin: Uri = format!("{scheme}://{authority}")
        .parse()
        .map_err(|_| Refusal::invalid(format!("{authority:?} cannot be the name of a server")))?;
    let endpoint = Endpoint::from_static("http://hubble.invalid")
        .origin(origin)
        .initial_stream_window_size(WINDOWS.0)
        .initial_connection_window_size(WINDOWS.1);
    Ok((endpoint, Connector::new(address.target.clone(), tls, options.dial_timeout)))
}

fn refused(error: nexin_http::TlsError) -> Refusal {
    Refusal::from(&ConnectError::from(error))
}

fn authorization(auth: &BasicAuth) -> Answer<AsciiMetadataValue> {
    let pair = base64::engine::general_purpose::STANDARD.encode(format!("{}:{}", auth.username, auth.password));
    let mut value = AsciiMetadataValue::try_from(format!("Basic {pair}"))
        .map_err(|_| Refusal::invalid("the name or password of basic auth cannot be sent"))?;
    value.set_sensitive(true);
    Ok(value)
}
