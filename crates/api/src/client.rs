//! Client of the agent over its unix socket.

use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::{Stream, StreamExt, stream};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::v1::{
    Attachment, CaptureRecord, CaptureRequest, ConfigReply, CtEntry, CtFlushReply, CtQuery, DoctorReply, Endpoint,
    EndpointCreate, ErrorBody, ErrorCode, ExplainQuery, ExplainReply, Identity, IpamReply, LabelsUpdate, MapContents,
    MapInfo, MonitorFilter, MonitorRecord, NamespaceUpdate, Policy, PolicyApplyReply, PolicyRef, PolicySet,
    PolicyUpload, RemovedReply, SimulateReply, SimulateRequest, StatusReply, ValidateReply,
};

/// Why a request has no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No agent, or no permission.
    #[error("no agent answers at {}: {source}", socket.display())]
    Connect { socket: PathBuf, source: reqwest::Error },
    /// The connection broke, or the answer came too late.
    #[error("the agent's answer was cut off: {0}")]
    Transport(#[from] reqwest::Error),
    /// The agent refused; the body says why and what to do.
    #[error("{0}")]
    Refused(ErrorBody),
    /// Not the agent's language: another program or version.
    #[error("the answer to {path} is not understood: {reason}")]
    Malformed { path: String, reason: serde_json::Error },
}

impl ClientError {
    /// What to do next, for people.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Connect { socket, .. } => {
                Some(format!("is `nexin agent` running, and is {} its socket (setting api.socket)?", socket.display()))
            }
            Self::Refused(body) => body.hint.clone(),
            Self::Transport(_) => Some("look at the agent's log".to_owned()),
            Self::Malformed { .. } => {
                Some("client and agent should be of one version: compare `nexin version`".to_owned())
            }
        }
    }

    /// The agent says that it is not there.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused(body) if body.code == ErrorCode::NotFound)
    }
}

/// The agent's API. Cheap to clone; each call is one request.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    socket: PathBuf,
}

/// Records of a stream, in order; ends when the agent closes it.
pub type RecordsOf<T> = std::pin::Pin<Box<dyn Stream<Item = Result<T, ClientError>> + Send>>;
/// Records of a monitor.
pub type Records = RecordsOf<MonitorRecord>;

impl Client {
    /// Nothing is sent yet. `timeout` holds for each call but streams.
    pub fn new(socket: impl AsRef<Path>) -> Result<Self, ClientError> {
        let socket = socket.as_ref().to_owned();
        let http = reqwest::Client::builder()
            .unix_socket(socket.as_path())
            .connect_timeout(Duration::from_secs(5))
            .no_proxy()
            .build()?;
        Ok(Self { http, socket })
    }

    pub async fn status(&self) -> Result<StatusReply, ClientError> {
        self.get("/v1/status").await
    }

    pub async fn doctor(&self) -> Result<DoctorReply, ClientError> {
        self.get("/v1/doctor").await
    }

    pub async fn config(&self) -> Result<ConfigReply, ClientError> {
        self.get("/v1/config").await
    }

    pub async fn create_endpoint(&self, request: &EndpointCreate) -> Result<Endpoint, ClientError> {
        self.call(self.request(Method::POST, "/v1/endpoints").json(request)).await
    }

    pub async fn endpoints(&self) -> Result<Vec<Endpoint>, ClientError> {
        self.get("/v1/endpoints").await
    }

    pub async fn endpoint(&self, id: u16) -> Result<Endpoint, ClientError> {
        self.get(&format!("/v1/endpoints/{id}")).await
    }

    /// The endpoint is gone when this returns; that it was gone before is no error.
    pub async fn delete_endpoint(&self, id: u16) -> Result<(), ClientError> {
        let request = self.request(Method::DELETE, &format!("/v1/endpoints/{id}"));
        match self.send(request).await {
            Ok(_) => Ok(()),
            Err(error) if error.is_not_found() => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Removes the endpoint of an attachment; says how many there were (0 or 1, or all of a container's).
    pub async fn delete_attachment(&self, container_id: &str, interface: &str) -> Result<u32, ClientError> {
        let query = Attachment { container_id: container_id.to_owned(), interface: Some(interface.to_owned()) };
        let reply: RemovedReply = self.call(self.request(Method::DELETE, "/v1/endpoints").query(&query)).await?;
        Ok(reply.removed)
    }

    pub async fn set_labels(&self, id: u16, update: &LabelsUpdate) -> Result<Endpoint, ClientError> {
        self.call(self.request(Method::PUT, &format!("/v1/endpoints/{id}/labels")).json(update)).await
    }

    pub async fn set_namespace(&self, name: &str, update: &NamespaceUpdate) -> Result<(), ClientError> {
        let path = format!("/v1/namespaces/{}", segment(name));
        self.send(self.request(Method::PUT, &path).json(update)).await.map(|_| ())
    }

    pub async fn identities(&self) -> Result<Vec<Identity>, ClientError> {
        self.get("/v1/identities").await
    }

    /// Applies every document of `yaml`, or none.
    pub async fn apply_policies(&self, yaml: String, upload: &PolicyUpload) -> Result<PolicyApplyReply, ClientError> {
        self.call(self.request(Method::POST, "/v1/policies").query(upload).body(yaml)).await
    }

    /// Several files as one change: all of it is in force afterwards, or nothing of it.
    pub async fn apply_policy_set(&self, set: &PolicySet) -> Result<PolicyApplyReply, ClientError> {
        self.call(self.request(Method::POST, "/v1/policies/set").json(set)).await
    }

    pub async fn validate_policies(&self, yaml: String, upload: &PolicyUpload) -> Result<ValidateReply, ClientError> {
        self.call(self.request(Method::POST, "/v1/policies/validate").query(upload).body(yaml)).await
    }

    pub async fn policies(&self) -> Result<Vec<Policy>, ClientError> {
        self.get("/v1/policies").await
    }

    pub async fn delete_policy(&self, policy: &PolicyRef) -> Result<(), ClientError> {
        let namespace = policy.namespace.as_deref().unwrap_or("-");
        let path = format!("/v1/policies/{}/{}/{}", policy.kind, segment(namespace), segment(&policy.name));
        self.send(self.request(Method::DELETE, &path)).await.map(|_| ())
    }

    pub async fn explain(&self, query: &ExplainQuery) -> Result<ExplainReply, ClientError> {
        self.call(self.request(Method::GET, "/v1/policies/explain").query(query)).await
    }

    pub async fn simulate(&self, request: &SimulateRequest) -> Result<SimulateReply, ClientError> {
        self.call(self.request(Method::POST, "/v1/policies/simulate").json(request)).await
    }

    pub async fn ipam(&self) -> Result<IpamReply, ClientError> {
        self.get("/v1/ipam").await
    }

    pub async fn maps(&self) -> Result<Vec<MapInfo>, ClientError> {
        self.get("/v1/maps").await
    }

    pub async fn map(&self, name: &str) -> Result<MapContents, ClientError> {
        self.get(&format!("/v1/maps/{}", segment(name))).await
    }

    pub async fn conntrack(&self, query: &CtQuery) -> Result<Vec<CtEntry>, ClientError> {
        self.call(self.request(Method::GET, "/v1/ct").query(query)).await
    }

    /// Forgets flows: all, or those of one endpoint. Says how many.
    pub async fn flush_conntrack(&self, query: &CtQuery) -> Result<u64, ClientError> {
        let reply: CtFlushReply = self.call(self.request(Method::DELETE, "/v1/ct").query(query)).await?;
        Ok(reply.removed)
    }

    /// Metrics in the OpenMetrics text format.
    pub async fn metrics(&self) -> Result<String, ClientError> {
        Ok(self.send(self.request(Method::GET, "/v1/metrics")).await?.text().await?)
    }

    /// The description of this API.
    pub async fn openapi(&self) -> Result<serde_json::Value, ClientError> {
        self.get("/openapi.json").await
    }

    /// Events from now on (and recorded ones, as the filter asks).
    pub async fn monitor(&self, filter: &MonitorFilter) -> Result<Records, ClientError> {
        self.stream(self.request(Method::GET, "/v1/monitor").query(filter)).await
    }

    /// Copies of packets, from now until the stream is dropped.
    pub async fn capture(&self, request: &CaptureRequest) -> Result<RecordsOf<CaptureRecord>, ClientError> {
        self.stream(self.request(Method::POST, "/v1/capture").json(request)).await
    }

    // === plumbing ===

    async fn stream<T>(&self, request: RequestBuilder) -> Result<RecordsOf<T>, ClientError>
    where
        T: Serialize + DeserializeOwned + Send + 'static,
    {
        let response = self.send_unlimited(request).await?;
        let path = response.url().path().to_owned();
        let lines = Lines { body: response.bytes_stream().boxed(), buffer: Vec::new(), path };
        let records = stream::unfold(lines, |mut lines| async move {
            let record = lines.next_record().await?;
            Some((record, lines))
        });
        Ok(Box::pin(records))
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("http://nexin{path}"))
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.call(self.request(Method::GET, path)).await
    }

    async fn call<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, ClientError> {
        let response = self.send(request).await?;
        let path = response.url().path().to_owned();
        let body = response.bytes().await?;
        serde_json::from_slice(&body).map_err(|reason| ClientError::Malformed { path, reason })
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, ClientError> {
        self.send_unlimited(request.timeout(Duration::from_secs(60))).await
    }

    async fn send_unlimited(&self, request: RequestBuilder) -> Result<Response, ClientError> {
        let response = request.send().await.map_err(|source| {
            if source.is_connect() {
                ClientError::Connect { socket: self.socket.clone(), source }
            } else {
                ClientError::Transport(source)
            }
        })?;
        if response.status().is_success() {
            return Ok(response);
        }
        Err(refusal(response).await)
    }
}

/// An answer that is not 2xx, with a body of ours or of someone else.
async fn refusal(response: Response) -> ClientError {
    let status = response.status();
    let path = response.url().path().to_owned();
    let body = match response.bytes().await {
        Ok(body) => body,
        Err(error) => return ClientError::Transport(error),
    };
    match serde_json::from_slice(&body) {
        Ok(body) => ClientError::Refused(body),
        Err(_) if status == StatusCode::NOT_FOUND => {
            ClientError::Refused(ErrorBody::new(ErrorCode::NotFound, format!("the agent does not know {path}")))
        }
        Err(reason) => ClientError::Malformed { path, reason },
    }
}

/// A path segment of anything.
fn segment(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

/// Splits a body of JSON lines.
struct Lines<B> {
    body: B,
    buffer: Vec<u8>,
    path: String,
}

impl<B, C> Lines<B>
where
    B: Stream<Item = Result<C, reqwest::Error>> + Unpin,
    C: AsRef<[u8]>,
{
    async fn next_record<T: Serialize + DeserializeOwned>(&mut self) -> Option<Result<T, ClientError>> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                if line.trim_ascii().is_empty() {
                    continue;
                }
                let malformed = |reason| ClientError::Malformed { path: self.path.clone(), reason };
                return Some(serde_json::from_slice(&line).map_err(malformed));
            }
            match self.body.next().await? {
                Ok(chunk) => self.buffer.extend_from_slice(chunk.as_ref()),
                Err(error) => return Some(Err(ClientError::Transport(error))),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_cannot_leave_their_place() {
        assert_eq!(segment("web-1.x"), "web-1.x");
        assert_eq!(segment("a/../b c"), "a%2F..%2Fb%20c");
    }

    #[tokio::test]
    async fn a_missing_agent_is_named_with_its_socket() {
        let client = Client::new("/nonexistent/nexin.sock").unwrap();
        let error = client.status().await.unwrap_err();
        assert!(matches!(error, ClientError::Connect { .. }), "{error:?}");
        assert!(error.hint().unwrap().contains("/nonexistent/nexin.sock"));
    }
}
