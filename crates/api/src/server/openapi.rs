//! The description of the API. One table of operations; the tests hold it against the router.

use utoipa::openapi::path::{HttpMethod, OperationBuilder, Parameter, ParameterBuilder, ParameterIn, PathItem};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::{ContentBuilder, ObjectBuilder, PathsBuilder, Ref, Required, ResponseBuilder, Type};
use utoipa::{IntoParams, OpenApi};

use crate::v1;

/// What an operation takes or gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Nothing,
    /// Name of a component schema.
    One(&'static str),
    Many(&'static str),
    Yaml,
    /// One object a line.
    Lines(&'static str),
    Metrics,
}

pub(super) struct Operation {
    pub(super) method: HttpMethod,
    pub(super) path: &'static str,
    id: &'static str,
    summary: &'static str,
    query: fn() -> Vec<Parameter>,
    takes: Shape,
    gives: Shape,
}

fn none() -> Vec<Parameter> {
    Vec::new()
}

fn query<T: IntoParams>() -> Vec<Parameter> {
    T::into_params(|| Some(ParameterIn::Query))
}

macro_rules! operations {
    ($($method:ident $path:literal $id:literal ($query:expr, $takes:expr) -> $gives:expr, $summary:literal;)*) => {
        /// Every operation of the control socket.
        pub(super) const OPERATIONS: &[Operation] = &[$(Operation {
            method: HttpMethod::$method,
            path: $path,
            id: $id,
            summary: $summary,
            query: $query,
            takes: $takes,
            gives: $gives,
        },)*];
    };
}

use Shape::{Lines, Many, Metrics, Nothing, One, Yaml};

operations! {
    Get "/v1/status" "status" (none, Nothing) -> One("StatusReply"), "How the agent is";
    Get "/v1/doctor" "doctor" (none, Nothing) -> One("DoctorReply"), "What this machine can do, what is missing and what it costs";
    Get "/v1/config" "config" (none, Nothing) -> One("ConfigReply"), "Settings in force and where each came from";
    Get "/v1/endpoints" "endpoints" (none, Nothing) -> Many("Endpoint"), "All endpoints";
    Post "/v1/endpoints" "createEndpoint" (none, One("EndpointCreate")) -> One("Endpoint"), "Wire a network namespace up; idempotent by container id and interface";
    Delete "/v1/endpoints" "deleteAttachment" (query::<v1::Attachment>, Nothing) -> One("RemovedReply"), "Remove a container's endpoints; that there are none is no error";
    Get "/v1/endpoints/{id}" "endpoint" (none, Nothing) -> One("Endpoint"), "One endpoint";
    Delete "/v1/endpoints/{id}" "deleteEndpoint" (none, Nothing) -> Nothing, "Remove an endpoint with everything that belongs to it";
    Put "/v1/endpoints/{id}/labels" "setLabels" (none, One("LabelsUpdate")) -> One("Endpoint"), "Replace an endpoint's labels";
    Put "/v1/namespaces/{name}" "setNamespace" (none, One("NamespaceUpdate")) -> Nothing, "Set a namespace's labels";
    Get "/v1/identities" "identities" (none, Nothing) -> Many("Identity"), "All identities";
    Get "/v1/policies" "policies" (none, Nothing) -> Many("Policy"), "Documents in force";
    Post "/v1/policies" "applyPolicies" (query::<v1::PolicyUpload>, Yaml) -> One("PolicyApplyReply"), "Apply every document of the body, or none";
    Post "/v1/policies/set" "applyPolicySet" (none, One("PolicySet")) -> One("PolicyApplyReply"), "Apply every document of all files, or none of any";
    Post "/v1/policies/validate" "validatePolicies" (query::<v1::PolicyUpload>, Yaml) -> One("ValidateReply"), "Say everything there is to say of the documents of the body";
    Get "/v1/policies/explain" "explain" (query::<v1::ExplainQuery>, Nothing) -> One("ExplainReply"), "Every rule that speaks of a conversation, and the winner";
    Post "/v1/policies/simulate" "simulate" (none, One("SimulateRequest")) -> One("SimulateReply"), "Which current and recorded flows a change would turn";
    Delete "/v1/policies/{kind}/{namespace}/{name}" "deletePolicy" (none, Nothing) -> Nothing, "Take a document out of force; namespace - for cluster-wide kinds";
    Get "/v1/monitor" "monitor" (query::<v1::MonitorFilter>, Nothing) -> Lines("MonitorRecord"), "Events as they happen";
    Post "/v1/capture" "capture" (none, One("CaptureRequest")) -> Lines("CaptureRecord"), "Copies of chosen packets as they pass or are dropped";
    Get "/v1/ipam" "ipam" (none, Nothing) -> One("IpamReply"), "Address pools and who has what";
    Get "/v1/maps" "maps" (none, Nothing) -> Many("MapInfo"), "Kernel maps";
    Get "/v1/maps/{name}" "map" (none, Nothing) -> One("MapContents"), "Contents of a kernel map";
    Get "/v1/ct" "conntrack" (query::<v1::CtQuery>, Nothing) -> Many("CtEntry"), "Tracked connections";
    Delete "/v1/ct" "flushConntrack" (query::<v1::CtQuery>, Nothing) -> One("CtFlushReply"), "Forget tracked connections";
    Get "/v1/metrics" "metrics" (none, Nothing) -> Metrics, "Metrics as OpenMetrics text";
    Get "/openapi.json" "openapi" (none, Nothing) -> Nothing, "This description";
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Nexin agent",
        description = "Control API of the node agent, served on a unix socket.",
        license(name = "Apache-2.0")
    ),
    components(schemas(
        v1::StatusReply,
        v1::DoctorReply,
        v1::ConfigReply,
        v1::Endpoint,
        v1::EndpointCreate,
        v1::LabelsUpdate,
        v1::NamespaceUpdate,
        v1::Identity,
        v1::Policy,
        v1::PolicyApplyReply,
        v1::ValidateReply,
        v1::ExplainReply,
        v1::PolicyFile,
        v1::PolicySet,
        v1::SimulateRequest,
        v1::SimulateReply,
        v1::MonitorRecord,
        v1::CaptureRequest,
        v1::CaptureRecord,
        v1::IpamReply,
        v1::MapInfo,
        v1::MapContents,
        v1::CtEntry,
        v1::CtFlushReply,
        v1::RemovedReply,
        v1::ErrorBody,
    ))
)]
struct Schemas;

/// The OpenAPI document.
pub(super) fn document() -> utoipa::openapi::OpenApi {
    let mut document = Schemas::openapi();
    let paths = OPERATIONS.iter().fold(PathsBuilder::new(), |paths, operation| {
        paths.path(operation.path, PathItem::new(operation.method.clone(), describe(operation)))
    });
    document.paths = paths.build();
    document
}

fn describe(operation: &Operation) -> utoipa::openapi::path::Operation {
    let variables = operation.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let variables = variables.map(|name| {
        let schema = ObjectBuilder::new().schema_type(Type::String);
        ParameterBuilder::new()
            .name(name)
            .parameter_in(ParameterIn::Path)
            .required(Required::True)
            .schema(Some(schema))
            .build()
    });
    let parameters: Vec<_> = variables.chain((operation.query)()).collect();
    let success = ResponseBuilder::new().description("Done");
    let (code, success) = match content(operation.gives) {
        Some((media, content)) => ("200", success.content(media, content)),
        None if operation.path == "/openapi.json" => ("200", success),
        None => ("204", success),
    };
    let refused = ResponseBuilder::new()
        .description("Refused; the body says why and what to do")
        .content("application/json", ContentBuilder::new().schema(Some(Ref::from_schema_name("ErrorBody"))).build());
    let body = content(operation.takes).map(|(media, content)| {
        RequestBodyBuilder::new().content(media, content).required(Some(Required::True)).build()
    });
    OperationBuilder::new()
        .operation_id(Some(operation.id))
        .summary(Some(operation.summary))
        .parameters((!parameters.is_empty()).then_some(parameters))
        .request_body(body)
        .response(code, success)
        .response("default", refused)
        .build()
}

fn content(shape: Shape) -> Option<(&'static str, utoipa::openapi::Content)> {
    let text = || ContentBuilder::new().schema(Some(ObjectBuilder::new().schema_type(Type::String))).build();
    let one = |name: &str| ContentBuilder::new().schema(Some(Ref::from_schema_name(name))).build();
    match shape {
        Nothing => None,
        One(name) => Some(("application/json", one(name))),
        Many(name) => {
            let array = utoipa::openapi::ArrayBuilder::new().items(Ref::from_schema_name(name));
            Some(("application/json", ContentBuilder::new().schema(Some(array)).build()))
        }
        Yaml => Some(("application/yaml", text())),
        Lines(name) => Some(("application/x-ndjson", one(name))),
        Metrics => Some((nexin_runtime::metrics::CONTENT_TYPE, text())),
    }
}
