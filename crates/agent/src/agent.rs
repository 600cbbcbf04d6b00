//! The agent as the API and the background tasks see it: shared parts, and the steps that need more than one of them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::SystemTime;

use nexin_api::v1::{ErrorBody, ErrorCode, Timestamp};
use nexin_netlink::Wiring;
use nexin_runtime::metrics::Metrics;
use nexin_runtime::settings::{Loaded, Origin};
use nexin_runtime::tasks::Tasks;
use tokio::sync::Notify;

use crate::capture::Captures;
use crate::error::AgentError;
use crate::events::Hub;
use crate::flows::Flows;
use crate::locks::NameLocks;
use crate::metrics::Counters;
use crate::owner::OwnerHandle;
use crate::settings::Settings;

/// Clones are one agent.
#[derive(Clone)]
pub(crate) struct Agent(pub(crate) Arc<Parts>);

pub(crate) struct Parts {
    pub(crate) settings: Arc<Settings>,
    pub(crate) origins: BTreeMap<&'static str, (String, Origin)>,
    pub(crate) started: SystemTime,
    pub(crate) tasks: Tasks,
    pub(crate) hub: Hub,
    pub(crate) flows: Flows,
    pub(crate) captures: Captures,
    pub(crate) metrics: Metrics,
    pub(crate) counters: Counters,
    /// Endpoint changes, one at a time a container.
    pub(crate) locks: NameLocks,
    /// Asks the checker to look now.
    pub(crate) look: Notify,
    engine_room: OnceLock<EngineRoom>,
    ready: AtomicBool,
    /// Parts that do not work though the agent runs: name, what is wrong.
    troubles: Mutex<BTreeMap<&'static str, String>>,
}

/// What exists once the start has gone far enough.
pub(crate) struct EngineRoom {
    pub(crate) owner: OwnerHandle,
    pub(crate) wiring: Wiring,
    pub(crate) attach: &'static str,
}

impl Agent {
    pub(crate) fn new(loaded: Loaded<Settings>, tasks: Tasks) -> Self {
        let settings = Arc::new(loaded.settings);
        let metrics = Metrics::new("");
        let counters = Counters::default();
        counters.register(&metrics, &settings.metrics.prefix);
        let flows = Flows::new(&settings);
        Self(Arc::new(Parts {
            hub: Hub::new(flows.clone(), &settings.events),
            flows,
            captures: Captures::default(),
            origins: loaded.origins,
            started: SystemTime::now(),
            tasks,
            metrics,
            counters,
            locks: NameLocks::default(),
            look: Notify::new(),
            engine_room: OnceLock::new(),
            ready: AtomicBool::new(false),
            troubles: Mutex::default(),
            settings,
        }))
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.0.settings
    }

    pub(crate) fn install(&self, room: EngineRoom) {
        if self.0.engine_room.set(room).is_err() {
            tracing::error!("the agent was started twice; the first start counts");
        }
    }

    /// Parts that exist from some point of the start on.
    pub(crate) fn room(&self) -> Result<&EngineRoom, ErrorBody> {
        self.0.engine_room.get().ok_or_else(starting)
    }

    pub(crate) fn owner(&self) -> Result<&OwnerHandle, ErrorBody> {
        self.room().map(|room| &room.owner)
    }

    /// Only when everything that was saved is in force may anything be changed.
    pub(crate) fn ready_owner(&self) -> Result<&OwnerHandle, ErrorBody> {
        if self.is_ready() { self.owner() } else { Err(starting()) }
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.0.ready.load(Ordering::Acquire)
    }

    pub(crate) fn set_ready(&self) {
        self.0.ready.store(true, Ordering::Release);
    }

    /// Remembers that a part does not work, until it does.
    pub(crate) fn trouble(&self, part: &'static str, what: Option<String>) {
        let mut troubles = self.0.troubles.lock().unwrap_or_else(PoisonError::into_inner);
        match what {
            Some(what) => {
                if troubles.get(part) != Some(&what) {
                    tracing::warn!(part, "{what}");
                }
                troubles.insert(part, what);
            }
            None => {
                troubles.remove(part);
            }
        }
    }

    pub(crate) fn troubles(&self) -> BTreeMap<&'static str, String> {
        self.0.troubles.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn deletions_dir(&self) -> PathBuf {
        self.settings().agent.run_dir.join("cni-deletes")
    }
}

pub(crate) fn now() -> Timestamp {
    Timestamp::from(SystemTime::now())
}

fn starting() -> ErrorBody {
    ErrorBody::new(ErrorCode::Unavailable, "the agent is starting")
        .hint("ask again in a moment; GET /v1/status says how far it is")
}

impl From<AgentError> for ErrorBody {
    fn from(error: AgentError) -> Self {
        let code = if matches!(error, AgentError::Stopping) { ErrorCode::Unavailable } else { ErrorCode::Failed };
        Self::new(code, error.to_string())
    }
}
