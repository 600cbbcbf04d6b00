//! Talking to the agent: waiting for one that restarts, and its refusals in the words of CNI.

use crate::{
    config::Config,
    error::{Code, Error},
};
use nexin_api::{Client, ClientError, v1::ErrorCode};
use nexin_runtime::backoff::Backoff;
use std::time::{Duration, Instant};

/// The first pause between two attempts to reach the agent, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(500));

pub(crate) struct Agent {
    client: Client,
    wait: Duration,
}

impl Agent {
    pub(crate) fn new(config: &Config) -> Result<Self, Error> {
        let client = Client::new(&config.socket).map_err(|e| told(&e))?;
        Ok(Self { client, wait: config.wait })
    }

    /// One request, repeated while no agent answers or one says that it is not ready, up to the configured time.
    pub(crate) async fn ask<T>(
        &self,
        request: impl AsyncFn(&Client) -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        let (start, mut backoff) = (Instant::now(), Backoff::new(PAUSES.0, PAUSES.1));
        loop {
            let outcome = request(&self.client).await;
            match outcome {
                Err(error) if is_absent(&error) && start.elapsed() < self.wait => {
                    tokio::time::sleep(backoff.failed()).await
                }
                other => return other,
            }
        }
    }

    /// One request, now or not at all.
    pub(crate) async fn ask_once<T>(
        &self,
        request: impl AsyncFn(&Client) -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        request(&self.client).await
    }
}

/// No agent, one that is starting, or one that is going: somebody will be there later.
pub(crate) fn is_absent(error: &ClientError) -> bool {
    match error {
        ClientError::Connect { .. } => true,
        ClientError::Refused(body) => body.code == ErrorCode::Unavailable,
        ClientError::Transport(_) | ClientError::Malformed { .. } => false,
    }
}

pub(crate) fn told(error: &ClientError) -> Error {
    let code = match error {
        ClientError::Connect { .. } | ClientError::Transport(_) => Code::TryAgainLater,
        ClientError::Malformed { .. } => Code::Failed,
        ClientError::Refused(body) => match body.code {
            ErrorCode::Unavailable => Code::TryAgainLater,
            ErrorCode::NotFound => Code::UnknownContainer,
            ErrorCode::Exhausted => Code::Exhausted,
            ErrorCode::Conflict => Code::Conflict,
            ErrorCode::BadRequest | ErrorCode::TooLarge => Code::InvalidConfig,
            ErrorCode::InvalidPolicy | ErrorCode::NotEnforceable | ErrorCode::Failed => Code::Failed,
        },
    };
    let told = Error::new(code, error.to_string());
    match error.hint() {
        Some(hint) => told.hint(hint),
        None => told,
    }
}
