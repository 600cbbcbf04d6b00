//! Which path leads to which method of the handler.

use std::convert::Infallible;

use axum::Router;
use axum::body::Body as HttpBody;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post, put};
use futures_util::{Stream, StreamExt as _};
use nexin_runtime::settings::nearest;
use nexin_runtime::tasks::CancellationToken;
use serde::Serialize;

use super::extract::{Body, Params, Segments, Text, reply};
use super::handler::Handler;
use super::openapi::{OPERATIONS, document};
use crate::v1::{ErrorBody, ErrorCode, PolicyRef};

/// State of the router: who answers, and when to stop streams.
#[derive(Clone)]
struct Context<H> {
    handler: H,
    stop: CancellationToken,
}

/// Every route of the control socket.
pub(super) fn router<H: Handler>(handler: H, stop: CancellationToken) -> Router {
    type Ctx<H> = State<Context<H>>;
    Router::new()
        .route("/v1/status", get(async |State(c): Ctx<H>| reply(c.handler.status().await)))
        .route("/v1/doctor", get(async |State(c): Ctx<H>| reply(c.handler.doctor().await)))
        .route("/v1/config", get(async |State(c): Ctx<H>| reply(c.handler.config().await)))
        .merge(endpoint_routes::<H>())
        .merge(policy_routes::<H>())
        .route("/v1/identities", get(async |State(c): Ctx<H>| reply(c.handler.identities().await)))
        .route("/v1/monitor", get(monitor::<H>))
        .route("/v1/capture", post(capture::<H>))
        .route("/v1/ipam", get(async |State(c): Ctx<H>| reply(c.handler.ipam().await)))
        .route("/v1/maps", get(async |State(c): Ctx<H>| reply(c.handler.maps().await)))
        .route("/v1/maps/{name}", get(async |State(c): Ctx<H>, Segments(name)| reply(c.handler.map(name).await)))
        .route(
            "/v1/ct",
            get(async |State(c): Ctx<H>, Params(query)| reply(c.handler.conntrack(query).await))
                .delete(async |State(c): Ctx<H>, Params(query)| reply(c.handler.flush_conntrack(query).await)),
        )
        .route("/v1/metrics", get(metrics::<H>))
        .route("/openapi.json", get(async || axum::Json(document())))
        .fallback(async |uri: Uri| unknown_path(&uri))
        .method_not_allowed_fallback(async |method: Method, uri: Uri| wrong_method(&method, &uri))
        .with_state(Context { handler, stop })
}

fn endpoint_routes<H: Handler>() -> Router<Context<H>> {
    type Ctx<H> = State<Context<H>>;
    Router::new()
        .route(
            "/v1/endpoints",
            get(async |State(c): Ctx<H>| reply(c.handler.endpoints().await))
                .post(async |State(c): Ctx<H>, Body(request)| reply(c.handler.create_endpoint(request).await))
                .delete(async |State(c): Ctx<H>, Params(query)| reply(c.handler.delete_attachment(query).await)),
        )
        .route(
            "/v1/endpoints/{id}",
            get(async |State(c): Ctx<H>, Segments(id)| reply(c.handler.endpoint(id).await))
                .delete(async |State(c): Ctx<H>, Segments(id)| empty(c.handler.delete_endpoint(id).await)),
        )
        .route(
            "/v1/endpoints/{id}/labels",
            put(async |State(c): Ctx<H>, Segments(id), Body(update)| reply(c.handler.set_labels(id, update).await)),
        )
        .route(
            "/v1/namespaces/{name}",
            put(async |State(c): Ctx<H>, Segments(name), Body(update)| {
                empty(c.handler.set_namespace(name, update).await)
            }),
        )
}

fn policy_routes<H: Handler>() -> Router<Context<H>> {
    type Ctx<H> = State<Context<H>>;
    Router::new()
        .route(
            "/v1/policies",
            get(async |State(c): Ctx<H>| reply(c.handler.policies().await)).post(
                async |State(c): Ctx<H>, Params(upload), Text(yaml)| {
                    reply(c.handler.apply_policies(yaml, upload).await)
                },
            ),
        )
        .route(
            "/v1/policies/set",
            post(async |State(c): Ctx<H>, Body(set)| reply(c.handler.apply_policy_set(set).await)),
        )
        .route(
            "/v1/policies/validate",
            post(async |State(c): Ctx<H>, Params(upload), Text(yaml)| {
                reply(c.handler.validate_policies(yaml, upload).await)
            }),
        )
        .route(
            "/v1/policies/explain",
            get(async |State(c): Ctx<H>, Params(query)| reply(c.handler.explain(query).await)),
        )
        .route(
            "/v1/policies/simulate",
            post(async |State(c): Ctx<H>, Body(request)| reply(c.handler.simulate(request).await)),
        )
        .route("/v1/policies/{kind}/{namespace}/{name}", delete(delete_policy::<H>))
}

async fn delete_policy<H: Handler>(
    State(context): State<Context<H>>,
    Segments((kind, namespace, name)): Segments<(String, String, String)>,
) -> Response {
    let kind = match kind.parse() {
        Ok(kind) => kind,
        Err(error) => return ErrorBody::new(ErrorCode::NotFound, format!("{error}")).into_response(),
    };
    let namespace = (namespace != "-").then_some(namespace);
    empty(context.handler.delete_policy(PolicyRef { kind, namespace, name }).await)
}

async fn monitor<H: Handler>(
    State(context): State<Context<H>>,
    Params(filter): Params<crate::v1::MonitorFilter>,
) -> Response {
    lines(context.handler.monitor(filter).await, context.stop)
}

async fn capture<H: Handler>(
    State(context): State<Context<H>>,
    Body(request): Body<crate::v1::CaptureRequest>,
) -> Response {
    lines(context.handler.capture(request).await, context.stop)
}

/// One object a line, until the agent stops.
fn lines<T: Serialize>(
    records: Result<impl Stream<Item = T> + Send + 'static, ErrorBody>,
    stop: CancellationToken,
) -> Response {
    let records = match records {
        Ok(records) => records,
        Err(error) => return error.into_response(),
    };
    let lines = records.take_until(stop.cancelled_owned()).filter_map(|record| {
        let line = serde_json::to_vec(&record).ok().map(|mut line| {
            line.push(b'\n');
            Ok::<_, Infallible>(line)
        });
        std::future::ready(line)
    });
    ([(header::CONTENT_TYPE, "application/x-ndjson")], HttpBody::from_stream(lines)).into_response()
}

pub(super) async fn metrics_text<H: Handler>(handler: H) -> Response {
    match handler.metrics().await {
        Ok(text) => ([(header::CONTENT_TYPE, nexin_runtime::metrics::CONTENT_TYPE)], text).into_response(),
        Err(error) => error.into_response(),
    }
}

/// For those who scrape: OpenMetrics to those who ask for it, the older text to everybody else.
pub(super) async fn scrape<H: Handler>(handler: H, headers: &HeaderMap) -> Response {
    use nexin_runtime::metrics::{PLAIN_CONTENT_TYPE, plain};
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    if accepted.into_iter().any(|value| value.contains("application/openmetrics-text")) {
        return metrics_text(handler).await;
    }
    match handler.metrics().await {
        Ok(text) => ([(header::CONTENT_TYPE, PLAIN_CONTENT_TYPE)], plain(&text)).into_response(),
        Err(error) => error.into_response(),
    }
}

async fn metrics<H: Handler>(State(context): State<Context<H>>) -> Response {
    metrics_text(context.handler).await
}

/// 204, or the refusal.
fn empty(answer: Result<(), ErrorBody>) -> Response {
    match answer {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(error) => error.into_response(),
    }
}

fn unknown_path(uri: &Uri) -> ErrorBody {
    let error = ErrorBody::new(ErrorCode::NotFound, format!("there is nothing at {}", uri.path()));
    match nearest(uri.path(), OPERATIONS.iter().map(|operation| operation.path)) {
        Some(meant) => error.hint(format!("did you mean {meant}?")),
        None => error.hint("GET /openapi.json lists every path"),
    }
}

fn wrong_method(method: &Method, uri: &Uri) -> Response {
    let message = format!("{} does not take {method}", uri.path());
    let error = ErrorBody::new(ErrorCode::BadRequest, message).hint("GET /openapi.json lists every path and method");
    (StatusCode::METHOD_NOT_ALLOWED, axum::Json(error)).into_response()
}
