//! gRPC health under the name that Hubble's clients ask for.

use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

/// The service name that `hubble status` and Kubernetes' probes check.
pub const OBSERVER_SERVICE: &str = "hubble.server.Observer";

/// Whether a server serves; shared between it and whoever knows. Begins as "not serving". Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Health {
    pub(super) reporter: HealthReporter,
}

impl Health {
    pub fn new() -> Self {
        Self::default()
    }

    /// Tells those who check and those who watch, under Hubble's name and under gRPC's empty one (the whole server).
    pub async fn set(&self, serving: bool) {
        let status = if serving { ServingStatus::Serving } else { ServingStatus::NotServing };
        for name in [OBSERVER_SERVICE, ""] {
            self.reporter.set_service_status(name, status).await;
        }
    }
}
