//! Supervised tasks and threads: each has a name, is counted, and is joined at shutdown. A task that panics or fails takes the
//! program down in order, instead of leaving it half alive.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
pub use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How a task may end by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetime {
    /// Ends only at shutdown; that it ends earlier is a failure of the program.
    Program,
    /// Ends when its work is done.
    Errand,
}

/// Counts of tasks of one name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TaskCounts {
    pub running: u32,
    pub finished: u64,
    pub panicked: u64,
}

/// A task ended that should not have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("task {task} {how}")]
pub struct TaskFailure {
    pub task: &'static str,
    pub how: HowEnded,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HowEnded {
    Panicked(String),
    EndedEarly,
    StillRunning,
}

impl fmt::Display for HowEnded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Panicked(message) => write!(f, "panicked: {message}"),
            Self::EndedEarly => f.write_str("ended while the program was running"),
            Self::StillRunning => f.write_str("did not end in time at shutdown"),
        }
    }
}

/// Spawns, counts and joins. Cheap to clone; all clones are one set.
#[derive(Clone, Debug, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    stop: CancellationToken,
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug, Default)]
struct Shared {
    counts: BTreeMap<&'static str, TaskCounts>,
    failure: Option<TaskFailure>,
}

impl Tasks {
    pub fn new() -> Self {
        Self::default()
    }

    /// Cancelled when the program shuts down.
    pub const fn stop(&self) -> &CancellationToken {
        &self.stop
    }

    /// Runs `future` as a task of the current runtime.
    pub fn spawn<F>(&self, name: &'static str, lifetime: Lifetime, future: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let tasks = self.clone();
        tasks.started(name);
        self.tracker.spawn(async move {
            let outcome = AssertUnwindSafe(future).catch_unwind().await;
            tasks.ended(name, lifetime, outcome.err().map(|panic| panic_text(&*panic)));
        });
    }

    /// Runs `work` on a thread of its own, for work that blocks. It must end soon after [`Self::stop`] is cancelled.
    pub fn thread<F>(&self, name: &'static str, lifetime: Lifetime, work: F) -> std::io::Result<()>
    where
        F: FnOnce() + Send + 'static,
    {
        let (report, ended) = oneshot::channel();
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            let outcome = std::panic::catch_unwind(AssertUnwindSafe(work));
            // The receiver lives in a task that outlives the program's work; nobody listening means that it is over.
            let _ = report.send(outcome.err().map(|panic| panic_text(&*panic)));
        })?;
        let tasks = self.clone();
        tasks.started(name);
        self.tracker.spawn(async move {
            let panic = ended.await.unwrap_or(None);
            tasks.ended(name, lifetime, panic);
            drop(thread);
        });
        Ok(())
    }

    pub fn counts(&self) -> BTreeMap<&'static str, TaskCounts> {
        self.lock().counts.clone()
    }

    /// Shuts down on SIGTERM and SIGINT.
    pub fn stop_on_signals(&self) -> std::io::Result<()> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let stop = self.stop.clone();
        self.spawn("signals", Lifetime::Errand, async move {
            tokio::select! {
                _ = terminate.recv() => tracing::info!("SIGTERM: shutting down"),
                _ = interrupt.recv() => tracing::info!("SIGINT: shutting down"),
                () = stop.cancelled() => {}
            }
            stop.cancel();
        });
        Ok(())
    }

    /// Waits until something asks for shutdown, then at most `patience` for every task.
    pub async fn finish(&self, patience: Duration) -> Result<(), TaskFailure> {
        self.stop.cancelled().await;
        self.tracker.close();
        let joined = tokio::time::timeout(patience, self.tracker.wait()).await;
        let shared = self.lock();
        if let Some(failure) = &shared.failure {
            return Err(failure.clone());
        }
        let late = shared.counts.iter().find(|(_, counts)| counts.running > 0).map(|(name, _)| *name);
        match (joined, late) {
            (Err(_), Some(task)) => Err(TaskFailure { task, how: HowEnded::StillRunning }),
            _ => Ok(()),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn started(&self, name: &'static str) {
        self.lock().counts.entry(name).or_default().running += 1;
    }

    fn ended(&self, name: &'static str, lifetime: Lifetime, panic: Option<String>) {
        let early = lifetime == Lifetime::Program && !self.stop.is_cancelled();
        let mut shared = self.lock();
        let counts = shared.counts.entry(name).or_default();
        counts.running = counts.running.saturating_sub(1);
        counts.finished += 1;
        counts.panicked += u64::from(panic.is_some());
        let how = match panic {
            Some(message) => HowEnded::Panicked(message),
            None if early => HowEnded::EndedEarly,
            None => return,
        };
        let failure = TaskFailure { task: name, how };
        tracing::error!(%failure, "shutting down");
        shared.failure.get_or_insert(failure);
        drop(shared);
        self.stop.cancel();
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "without a message".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn tasks_and_threads_are_counted_and_joined() {
        let tasks = Tasks::new();
        for _ in 0..3 {
            let stop = tasks.stop().clone();
            tasks.spawn("waiter", Lifetime::Program, async move { stop.cancelled().await });
        }
        let (to_thread, from_test) = std::sync::mpsc::channel::<()>();
        tasks.thread("worker", Lifetime::Program, move || while from_test.recv().is_ok() {}).unwrap();
        tasks.spawn("errand", Lifetime::Errand, async {});
        assert_eq!(tasks.counts()["waiter"].running, 3);
        tasks.stop().cancel();
        drop(to_thread);
        tasks.finish(Duration::from_secs(10)).await.unwrap();
        let counts = tasks.counts();
        assert!(counts.values().all(|count| count.running == 0 && count.panicked == 0), "{counts:?}");
        assert_eq!(counts["waiter"].finished, 3);
    }

    #[tokio::test]
    async fn a_panic_shuts_the_program_down_and_is_told() {
        let tasks = Tasks::new();
        let stop = tasks.stop().clone();
        tasks.spawn("other", Lifetime::Program, async move { stop.cancelled().await });
        tasks.spawn("bad", Lifetime::Errand, async { panic!("on purpose") });
        let failure = tasks.finish(Duration::from_secs(10)).await.unwrap_err();
        assert_eq!(failure, TaskFailure { task: "bad", how: HowEnded::Panicked("on purpose".into()) });
    }

    #[tokio::test]
    async fn a_pillar_that_ends_early_is_a_failure() {
        let tasks = Tasks::new();
        tasks.thread("pillar", Lifetime::Program, || {}).unwrap();
        let failure = tasks.finish(Duration::from_secs(10)).await.unwrap_err();
        assert_eq!(failure, TaskFailure { task: "pillar", how: HowEnded::EndedEarly });
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_hangs_is_named() {
        let tasks = Tasks::new();
        tasks.spawn("hanger", Lifetime::Program, std::future::pending());
        tasks.stop().cancel();
        let failure = tasks.finish(Duration::from_secs(1)).await.unwrap_err();
        assert_eq!(failure, TaskFailure { task: "hanger", how: HowEnded::StillRunning });
    }
}
