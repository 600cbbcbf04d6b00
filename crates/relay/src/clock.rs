//! The time a merge goes by.

use std::time::Duration;

use tokio::time::Instant;

/// Stands still while the client does not read: nodes are not read then either, and have not been silent.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    stood: Duration,
    since: Option<Instant>,
}

impl Clock {
    pub(crate) fn pause(&mut self) {
        self.since = Some(Instant::now());
    }

    pub(crate) fn go_on(&mut self) {
        self.stood += self.since.take().map_or(Duration::ZERO, |since| since.elapsed());
    }

    pub(crate) fn now(&self) -> std::time::Instant {
        let now = Instant::now().into_std();
        now.checked_sub(self.stood).unwrap_or(now)
    }

    pub(crate) fn on_the_wall(&self, at: std::time::Instant) -> Instant {
        Instant::from_std(at + self.stood)
    }
}
