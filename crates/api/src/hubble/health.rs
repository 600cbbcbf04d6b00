//! gRPC health under the name that Hubble's clients ask for.

use futures_util::{StreamExt as _, stream};
use nexin_runtime::tasks::CancellationToken;
use tokio::sync::watch;
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::Health as HealthRpc;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use super::serve::Outgoing;
use super::{Answers, Refusal};

/// The service name that `hubble status` and Kubernetes' probes check.
pub const OBSERVER_SERVICE: &str = "hubble.server.Observer";

/// Whether a server serves; shared between it and whoever knows. Begins as "not serving". Cheap to clone.
#[derive(Clone, Debug)]
pub struct Health {
    serving: watch::Sender<bool>,
}

impl Default for Health {
    fn default() -> Self {
        Self { serving: watch::Sender::new(false) }
    }
}

impl Health {
    pub fn new() -> Self {
        Self::default()
    }

    /// Tells those who check and those who watch, under Hubble's name and under gRPC's empty one (the whole server).
    pub fn set(&self, serving: bool) {
        self.serving.send_if_modified(|now| std::mem::replace(now, serving) != serving);
    }

    pub fn is_serving(&self) -> bool {
        *self.serving.borrow()
    }
}

/// `grpc.health.v1.Health`.
pub(super) struct HealthService {
    pub(super) health: Health,
    pub(super) stop: CancellationToken,
}

fn knows(service: &str) -> bool {
    service.is_empty() || service == OBSERVER_SERVICE
}

fn told(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}

fn told_of(serving: bool) -> HealthCheckResponse {
    told(if serving { ServingStatus::Serving } else { ServingStatus::NotServing })
}

#[tonic::async_trait]
impl HealthRpc for HealthService {
    type WatchStream = Outgoing<HealthCheckResponse>;

    async fn check(&self, request: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        if !knows(&request.get_ref().service) {
            return Err(Refusal::new(tonic::Code::NotFound, "unknown service").into());
        }
        Ok(Response::new(told_of(self.health.is_serving())))
    }

    async fn watch(&self, request: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let answers: Answers<_> = if knows(&request.get_ref().service) {
            let mut serving = self.health.serving.subscribe();
            serving.mark_changed();
            Box::pin(stream::unfold(serving, |mut serving| async move {
                serving.changed().await.ok()?;
                let now = *serving.borrow_and_update();
                Some((Ok(told_of(now)), serving))
            }))
        } else {
            // The protocol wants the stream open: the service may come.
            Box::pin(stream::iter([Ok(told(ServingStatus::ServiceUnknown))]).chain(stream::pending()))
        };
        Ok(Response::new(Outgoing::new(answers, &self.stop)))
    }
}
