//! The way to a collector: gRPC, or protobuf over HTTP.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use nexin_http::{AddressError, ClientTls, Connector, PostError, Poster, Target};
use opentelemetry_proto::tonic::collector::logs::v1::{ExportLogsServiceRequest, ExportLogsServiceResponse};
use opentelemetry_proto::tonic::collector::metrics::v1::{ExportMetricsServiceRequest, ExportMetricsServiceResponse};
use prost::Message;
use tonic::metadata::{AsciiMetadataKey, AsciiMetadataValue, MetadataMap};
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;

/// How requests are carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Port 4317 unless told otherwise.
    Grpc,
    /// Protobuf over HTTP/1. Port 4318 unless told otherwise.
    Http,
}

/// Where a collector is: `http://host:port/prefix`, `https://host`, or `host:port`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    pub target: Target,
    pub protocol: Protocol,
    /// Whether TLS is spoken.
    pub tls: bool,
    /// What stands before `/v1/logs`; for HTTP only.
    prefix: String,
}

/// Why a text is no endpoint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    #[error("{0:?} is neither http://, https:// nor host:port")]
    Scheme(String),
    #[error(transparent)]
    Address(#[from] AddressError),
}

impl Endpoint {
    pub fn new(text: &str, protocol: Protocol) -> Result<Self, EndpointError> {
        let (tls, rest) = match text.split_once("://") {
            Some(("http" | "grpc", rest)) => (false, rest),
            Some(("https" | "grpcs", rest)) => (true, rest),
            Some(_) => return Err(EndpointError::Scheme(text.to_owned())),
            None => (false, text),
        };
        let (host, path) =
            rest.split_once('/').map_or((rest, String::new()), |(host, path)| (host, format!("/{path}")));
        let port = match protocol {
            Protocol::Grpc => 4317,
            Protocol::Http => 4318,
        };
        let bare = host.rsplit_once(':').is_none_or(|(_, port)| port.ends_with(']') || port.parse::<u16>().is_err());
        let target = if bare { Target::from_str(&format!("{host}:{port}"))? } else { Target::from_str(host)? };
        Ok(Self { target, protocol, tls, prefix: path.trim_end_matches('/').to_owned() })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.target, self.prefix)
    }
}

/// What a collector said of a request that it took.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Accepted {
    /// Records or data points that it did not take.
    pub rejected: u64,
    /// Why, or a warning.
    pub message: String,
}

/// A request that was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// Whether the same request may be taken later.
    pub again: bool,
    /// How long the collector asks to be left alone.
    pub after: Option<Duration>,
    pub message: String,
}

/// A connection to a collector, made at the first request and again whenever it broke.
#[derive(Debug)]
pub struct Client {
    way: Way,
    limit: Duration,
}

#[derive(Debug)]
enum Way {
    Grpc { channel: Channel, metadata: MetadataMap },
    Http { poster: Box<Poster>, prefix: String, headers: Vec<(String, String)> },
}

impl Client {
    /// `limit` is for one request. `tls` is needed where the endpoint says so.
    pub fn new(
        endpoint: &Endpoint,
        tls: Option<ClientTls>,
        headers: Vec<(String, String)>,
        limit: Duration,
    ) -> Result<Self, Failure> {
        let connector = Connector::new(endpoint.target.clone(), tls.filter(|_| endpoint.tls), limit);
        let way = match endpoint.protocol {
            Protocol::Http => {
                Way::Http { poster: Box::new(Poster::new(connector)), prefix: endpoint.prefix.clone(), headers }
            }
            Protocol::Grpc => {
                let uri = format!("http://{}", endpoint.target);
                let channel = tonic::transport::Endpoint::from_shared(uri).map_err(|error| unusable(&error))?;
                Way::Grpc { channel: channel.connect_with_connector_lazy(connector), metadata: metadata(&headers)? }
            }
        };
        Ok(Self { way, limit })
    }

    pub async fn logs(&mut self, request: ExportLogsServiceRequest) -> Result<Accepted, Failure> {
        const METHOD: &str = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";
        let answer: ExportLogsServiceResponse = self.send(METHOD, "/v1/logs", request).await?;
        Ok(answer.partial_success.map_or_else(Accepted::default, |partial| Accepted {
            rejected: u64::try_from(partial.rejected_log_records).unwrap_or(0),
            message: partial.error_message,
        }))
    }

    pub async fn metrics(&mut self, request: ExportMetricsServiceRequest) -> Result<Accepted, Failure> {
        const METHOD: &str = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";
        let answer: ExportMetricsServiceResponse = self.send(METHOD, "/v1/metrics", request).await?;
        Ok(answer.partial_success.map_or_else(Accepted::default, |partial| Accepted {
            rejected: u64::try_from(partial.rejected_data_points).unwrap_or(0),
            message: partial.error_message,
        }))
    }

    async fn send<Q, A>(&mut self, method: &'static str, path: &str, request: Q) -> Result<A, Failure>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        match &mut self.way {
            Way::Grpc { channel, metadata } => {
                let call = unary(channel.clone(), metadata.clone(), method, request);
                let late =
                    |_| Failure { again: true, after: None, message: format!("no answer within {:?}", self.limit) };
                tokio::time::timeout(self.limit, call).await.map_err(late)?
            }
            Way::Http { poster, prefix, headers } => {
                let path = format!("{prefix}{path}");
                let body = request.encode_to_vec().into();
                let reply = poster.post(&path, "application/x-protobuf", headers, body, self.limit).await;
                let reply = reply.map_err(|error| Failure {
                    again: !matches!(error, PostError::Request(_)),
                    after: None,
                    message: error.to_string(),
                })?;
                if (200..300).contains(&reply.status) {
                    return Ok(A::decode(reply.body.as_slice()).unwrap_or_default());
                }
                Err(Failure {
                    again: matches!(reply.status, 408 | 429 | 502 | 503 | 504),
                    after: reply.retry_after,
                    message: format!("HTTP {}: {}", reply.status, first_line(&reply.body)),
                })
            }
        }
    }
}

fn unusable(error: &dyn fmt::Display) -> Failure {
    Failure { again: false, after: None, message: error.to_string() }
}

fn metadata(headers: &[(String, String)]) -> Result<MetadataMap, Failure> {
    let mut metadata = MetadataMap::new();
    for (name, value) in headers {
        let key =
            AsciiMetadataKey::from_bytes(name.to_ascii_lowercase().as_bytes()).map_err(|error| unusable(&error))?;
        let mut value = AsciiMetadataValue::try_from(value.as_str()).map_err(|error| unusable(&error))?;
        value.set_sensitive(true);
        metadata.insert(key, value);
    }
    Ok(metadata)
}

async fn unary<Q, A>(channel: Channel, metadata: MetadataMap, method: &'static str, message: Q) -> Result<A, Failure>
where
    Q: Message + 'static,
    A: Message + Default + 'static,
{
    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await.map_err(|error| Failure {
        again: true,
        after: None,
        message: Status::from_error(Box::new(error)).message().to_owned(),
    })?;
    let mut request = Request::new(message);
    *request.metadata_mut() = metadata;
    let path = tonic::codegen::http::uri::PathAndQuery::from_static(method);
    let answer = client.unary(request, path, ProstCodec::<Q, A>::default()).await;
    answer.map(tonic::Response::into_inner).map_err(|status| refused(&status))
}

/// Which codes may be tried again is said by the specification of OTLP.
fn refused(status: &Status) -> Failure {
    let again = matches!(
        status.code(),
        Code::Cancelled
            | Code::DeadlineExceeded
            | Code::Aborted
            | Code::OutOfRange
            | Code::Unavailable
            | Code::DataLoss
            | Code::ResourceExhausted
    );
    let after = status.metadata().get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
    Failure {
        again,
        after: after.map(Duration::from_secs),
        message: format!("{:?}: {}", status.code(), status.message()),
    }
}

fn first_line(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    text.lines().next().unwrap_or_default().chars().filter(|character| !character.is_control()).take(200).collect()
}
