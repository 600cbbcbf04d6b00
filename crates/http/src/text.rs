//! A small HTTP/1 server for text that is made on demand: metrics. GET and HEAD only, no bodies in, bounded in everything.

use std::convert::Infallible;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ACCEPT, ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use nexin_runtime::tasks::CancellationToken;

use crate::{Connection, Listener};

/// What was asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TextRequest {
    /// Begins with `/`.
    pub path: String,
    /// After the `?`, still encoded; empty where there is none.
    pub query: String,
    /// The Accept headers, joined by commas; empty where there is none.
    pub accept: String,
}

/// What to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextReply {
    /// HTTP's number.
    pub status: u16,
    /// Media type of the body, as in the Content-Type header.
    pub mime: &'static str,
    pub body: String,
}

impl TextReply {
    pub const fn ok(mime: &'static str, body: String) -> Self {
        Self { status: 200, mime, body }
    }

    pub fn not_found() -> Self {
        Self { status: 404, mime: "text/plain; charset=utf-8", body: "404 page not found\n".to_owned() }
    }
}

/// At most so many callers at a time; the next waits in the kernel's queue.
const CALLERS: usize = 64;
/// A caller that takes longer to send a request's head is hung up on.
const HEAD_LIMIT: Duration = Duration::from_secs(10);

/// Answers on `listener` until `stop`. Connections that are idle then are closed, requests under way answered.
pub async fn serve_text<H, F>(listener: Listener, handler: H, stop: CancellationToken)
where
    H: Fn(TextRequest) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = TextReply> + Send,
{
    let mut connections = std::pin::pin!(listener.connections());
    let mut callers = FuturesUnordered::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            Some(()) = callers.next() => {}
            Some(connection) = connections.next(), if callers.len() < CALLERS => {
                callers.push(converse(connection, handler.clone(), stop.clone()));
            }
        }
    }
    while callers.next().await.is_some() {}
}

async fn converse<H, F>(connection: Connection, handler: H, stop: CancellationToken)
where
    H: Fn(TextRequest) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = TextReply> + Send,
{
    let service = service_fn(move |request| {
        let handler = handler.clone();
        async move { Ok::<_, Infallible>(answer(request, handler).await) }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_LIMIT);
    let mut conversation = std::pin::pin!(builder.serve_connection(TokioIo::new(connection), service));
    let ended = tokio::select! {
        ended = conversation.as_mut() => ended,
        () = stop.cancelled() => {
            conversation.as_mut().graceful_shutdown();
            conversation.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection for text ended badly");
    }
}

async fn answer<H, F>(request: Request<Incoming>, handler: H) -> Response<Full<Bytes>>
where
    H: Fn(TextRequest) -> F,
    F: Future<Output = TextReply>,
{
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut refused = Response::new(Full::from("only GET is answered here\n"));
        *refused.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
        refused.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return refused;
    }
    let asked = TextRequest {
        path: request.uri().path().to_owned(),
        query: request.uri().query().unwrap_or_default().to_owned(),
        accept: accepted(request.headers()),
    };
    let reply = handler(asked).await;
    let mut response = Response::new(Full::from(reply.body));
    *response.status_mut() = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(reply.mime));
    response
}

fn accepted(headers: &HeaderMap) -> String {
    let values = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    values.collect::<Vec<_>>().join(",")
}
