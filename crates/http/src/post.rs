//! HTTP/1 requests with a body, one after the other over a connection that is kept: for those who push what they measured. Nothing here
//! tries again; the caller knows what its bytes are worth.

use std::pin::Pin;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST, HeaderName, HeaderValue, RETRY_AFTER};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;

use crate::{ConnectError, Connection, Connector, Target};

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum PostError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("{target} broke the conversation off: {source}")]
    Broken { target: Target, source: hyper::Error },
    #[error("{target} sent an answer that is none: {source}")]
    Answer { target: Target, source: Box<dyn std::error::Error + Send + Sync> },
    #[error("{target} did not answer within {limit:?}")]
    Late { target: Target, limit: Duration },
    #[error("{0:?} is no path, or a header cannot be sent")]
    Request(String),
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PostReply {
    /// HTTP's number.
    pub status: u16,
    /// How long the server asks to be left alone.
    pub retry_after: Option<Duration>,
    pub body: Vec<u8>,
}

/// Bytes of an answer that are read.
const MAX_ANSWER: usize = 1 << 20;

type Conversation = Pin<Box<http1::Connection<TokioIo<Connection>, Full<Bytes>>>>;
type Sender = http1::SendRequest<Full<Bytes>>;

/// One server, and the connection to it where there is one.
#[derive(Debug)]
pub struct Poster {
    connector: Connector,
    open: Option<(Sender, Conversation)>,
}

impl Poster {
    pub const fn new(connector: Connector) -> Self {
        Self { connector, open: None }
    }

    /// Sends `body`. `limit` is for everything up to the end of the answer. A connection that was idle and broke is made
    /// again once.
    pub async fn post(
        &mut self,
        path: &str,
        media: &'static str,
        headers: &[(String, String)],
        body: Bytes,
        limit: Duration,
    ) -> Result<PostReply, PostError> {
        let work = async {
            let kept = self.open.is_some();
            match self.once(path, media, headers, body.clone()).await {
                Err(PostError::Broken { .. }) if kept => self.once(path, media, headers, body).await,
                answer => answer,
            }
        };
        let answer = tokio::time::timeout(limit, work).await;
        answer.unwrap_or_else(|_| {
            self.open = None;
            Err(PostError::Late { target: self.connector.target().clone(), limit })
        })
    }

    async fn once(
        &mut self,
        path: &str,
        media: &'static str,
        headers: &[(String, String)],
        body: Bytes,
    ) -> Result<PostReply, PostError> {
        let request = request(self.connector.target(), path, media, headers, body)?;
        let target = self.connector.target().clone();
        let broken = |source| PostError::Broken { target: target.clone(), source };
        let (mut sender, mut conversation) = match self.open.take() {
            Some(open) => open,
            None => {
                let connection = self.connector.connect().await?;
                let (sender, conversation) = http1::handshake(TokioIo::new(connection)).await.map_err(broken)?;
                (sender, Box::pin(conversation))
            }
        };
        let sent = sender.send_request(request);
        let mut answer = std::pin::pin!(async {
            let response = sent.await.map_err(broken)?;
            read(response).await.map_err(|source| PostError::Answer { target: target.clone(), source })
        });
        let mut closed = false;
        let answer = loop {
            tokio::select! {
                answer = answer.as_mut() => break answer,
                // The answer may be complete though the connection is closed.
                _ = conversation.as_mut(), if !closed => closed = true,
            }
        };
        let answer = answer?;
        if !closed {
            self.open = Some((sender, conversation));
        }
        Ok(answer)
    }
}

fn request(
    target: &Target,
    path: &str,
    media: &'static str,
    headers: &[(String, String)],
    body: Bytes,
) -> Result<Request<Full<Bytes>>, PostError> {
    let host = match target {
        Target::Unix(_) => "localhost".to_owned(),
        Target::Tcp { .. } => target.to_string(),
    };
    let unsendable = || PostError::Request(path.to_owned());
    let mut request = Request::post(path).header(HOST, host).header(CONTENT_TYPE, media);
    for (name, value) in headers {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| unsendable())?;
        let mut value = HeaderValue::from_str(value).map_err(|_| unsendable())?;
        value.set_sensitive(true);
        request = request.header(name, value);
    }
    request.body(Full::new(body)).map_err(|_| unsendable())
}

async fn read(response: Response<Incoming>) -> Result<PostReply, Box<dyn std::error::Error + Send + Sync>> {
    let status = response.status().as_u16();
    let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await?.to_bytes().to_vec();
    Ok(PostReply { status, retry_after: retry_after.map(Duration::from_secs), body })
}
