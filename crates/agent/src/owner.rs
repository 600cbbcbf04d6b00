//! The one thread that changes things. It owns the core and the datapath; everything else sends it jobs. Jobs that wait
//! together reach the kernel together.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant, SystemTime};

use nexin_api::v1::{SyncStatus, Timestamp};
use nexin_datapath::{Datapath, GcReport, Options, RepairReport};
use nexin_runtime::tasks::{Lifetime, Tasks};
use tokio::sync::oneshot;

use crate::core::Core;
use crate::error::AgentError;

/// Without a job for so long, work that can wait is done.
const IDLE: Duration = Duration::from_millis(200);
/// So long work that can wait is put off for the sake of jobs.
const PATIENCE: Duration = Duration::from_secs(2);
/// Jobs that may reach the kernel in one go.
const BATCH: usize = 256;

/// What reached the kernel.
#[derive(Clone, Debug, Default)]
pub(crate) struct Synced {
    /// The call failed as a whole; it is tried again.
    pub(crate) error: Option<String>,
    /// Endpoints that kept an older policy (or are closed), and why.
    pub(crate) not_enforced: BTreeMap<u16, String>,
    /// Maps without room.
    pub(crate) refused: Vec<(&'static str, usize)>,
    pub(crate) epoch: u32,
}

impl Synced {
    pub(crate) fn complete(&self) -> bool {
        self.error.is_none() && self.not_enforced.is_empty() && self.refused.is_empty()
    }

    /// One sentence on what is missing.
    pub(crate) fn complaint(&self) -> String {
        if let Some(error) = &self.error {
            return error.clone();
        }
        if let Some((map, count)) = self.refused.first() {
            return format!("kernel map {map} has no room for {count} entries");
        }
        match self.not_enforced.iter().next() {
            Some((endpoint, error)) => format!("endpoint {endpoint}: {error}"),
            None => "nothing is missing".to_owned(),
        }
    }
}

type Reply = Box<dyn FnOnce(&Synced) + Send>;
type Job = Box<dyn FnOnce(&mut Owner) -> Reply + Send>;

enum Message {
    Job(Job),
    /// The program stops; what was asked before is done.
    Stop,
}

/// State of the owner thread.
pub(crate) struct Owner {
    pub(crate) core: Core,
    pub(crate) datapath: Datapath,
    /// Everything that was saved is known: from now on the kernel follows.
    live: bool,
    sync: SyncStatus,
    last: Synced,
    /// Programs went on in a hurry; see [`Owner::settle`].
    unsettled: bool,
}

impl Owner {
    pub(crate) fn sync(&self) -> &SyncStatus {
        &self.sync
    }

    /// Desired state that waits for the kernel.
    pub(crate) fn pending(&self) -> bool {
        self.sync.error.is_some()
    }

    /// Reads the kernel back and repairs it.
    pub(crate) fn repair(&mut self) -> Result<RepairReport, nexin_datapath::Error> {
        let report = self.datapath.repair()?;
        self.sync.last_check = Some(Timestamp::from(SystemTime::now()));
        Ok(report)
    }

    pub(crate) fn collect(&mut self) -> Result<GcReport, nexin_datapath::Error> {
        self.datapath.gc()
    }

    fn apply(&mut self) {
        if !self.live || !self.core.take_dirty() {
            return;
        }
        match self.datapath.apply(self.core.desired()) {
            Ok(report) => {
                self.unsettled |= report.attached > 0;
                self.sync.epoch = self.datapath.epoch();
                self.sync.last = Some(Timestamp::from(SystemTime::now()));
                let not_enforced = report.not_enforced.iter().map(|(id, error)| (*id, error.to_string())).collect();
                self.last = Synced { error: None, not_enforced, refused: report.refused, epoch: self.sync.epoch };
                self.sync.error = (!self.last.complete()).then(|| self.last.complaint());
            }
            Err(error) => {
                let message = format!("{error}. {}", error.next_step());
                tracing::error!(%error, "the kernel did not take the desired state; it is tried again");
                self.core.mark_dirty();
                self.sync.error = Some(message.clone());
                self.last = Synced { error: Some(message), epoch: self.sync.epoch, ..Synced::default() };
            }
        }
    }

    /// One device's programs move to the better way of attaching, which takes longer than a job may wait.
    fn settle(&mut self) {
        match self.datapath.settle(1) {
            Ok(left) => self.unsettled = left > 0,
            Err(error) => {
                tracing::warn!(%error, "programs stay attached as they are");
                self.unsettled = false;
            }
        }
    }

    fn work(&mut self, inbox: &Receiver<Message>) {
        let mut stop = false;
        let mut settled = Instant::now();
        while !stop {
            if self.unsettled && settled.elapsed() >= PATIENCE {
                self.settle();
                settled = Instant::now();
            }
            let first = if self.unsettled { inbox.recv_timeout(IDLE) } else { inbox.recv().map_err(Into::into) };
            let first = match first {
                Ok(first) => first,
                Err(RecvTimeoutError::Timeout) => {
                    self.settle();
                    settled = Instant::now();
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => return,
            };
            let mut replies: Vec<Reply> = Vec::new();
            let mut next = Some(first);
            while let Some(message) = next {
                match message {
                    Message::Job(job) => replies.push(job(self)),
                    Message::Stop => stop = true,
                }
                next = if replies.len() < BATCH { inbox.try_recv().ok() } else { None };
            }
            self.apply();
            for reply in replies {
                reply(&self.last);
            }
        }
    }
}

/// Sends jobs to the owner thread.
#[derive(Clone, Debug)]
pub(crate) struct OwnerHandle {
    jobs: Sender<Message>,
}

impl OwnerHandle {
    /// Starts the thread; returns when the datapath is open.
    pub(crate) async fn start(
        tasks: &Tasks,
        options: Options,
        core: impl FnOnce() -> Result<Core, AgentError> + Send + 'static,
    ) -> Result<Self, AgentError> {
        let (jobs, inbox) = channel();
        let (opened, ready) = oneshot::channel();
        let work = move || {
            let owner = core().and_then(|core| {
                let datapath = Datapath::open(&options)?;
                Ok(Owner {
                    core,
                    datapath,
                    live: false,
                    sync: SyncStatus::default(),
                    last: Synced::default(),
                    unsettled: false,
                })
            });
            match owner {
                Ok(mut owner) => {
                    if opened.send(Ok(())).is_ok() {
                        owner.work(&inbox);
                    }
                }
                // The starter is told and stops the program; if it is gone, the program stops already.
                Err(error) => drop(opened.send(Err(error))),
            }
        };
        let system = |source| AgentError::System { what: "start the owner thread", source };
        tasks.thread("owner", Lifetime::Errand, work).map_err(system)?;
        ready.await.map_err(|_| AgentError::Stopping)??;
        let (at_stop, stop) = (jobs.clone(), tasks.stop().clone());
        tasks.spawn("owner-stop", Lifetime::Errand, async move {
            stop.cancelled().await;
            // Nobody there to stop: it ended already.
            drop(at_stop.send(Message::Stop));
        });
        Ok(Self { jobs })
    }

    /// Runs `change`, then brings the kernel to what it wants; returns both results.
    pub(crate) async fn change<T: Send + 'static>(
        &self,
        change: impl FnOnce(&mut Core) -> T + Send + 'static,
    ) -> Result<(T, Synced), AgentError> {
        let (reply, answer) = oneshot::channel();
        let job: Job = Box::new(move |owner| {
            let result = change(&mut owner.core);
            // A client that left does not undo what it asked for.
            Box::new(move |synced| drop(reply.send((result, synced.clone()))))
        });
        self.jobs.send(Message::Job(job)).map_err(|_| AgentError::Stopping)?;
        answer.await.map_err(|_| AgentError::Stopping)
    }

    /// Runs `look` and answers at once.
    pub(crate) async fn ask<T: Send + 'static>(
        &self,
        look: impl FnOnce(&mut Owner) -> T + Send + 'static,
    ) -> Result<T, AgentError> {
        let (reply, answer) = oneshot::channel();
        let job: Job = Box::new(move |owner| {
            drop(reply.send(look(owner)));
            Box::new(|_| ())
        });
        self.jobs.send(Message::Job(job)).map_err(|_| AgentError::Stopping)?;
        answer.await.map_err(|_| AgentError::Stopping)
    }

    /// Runs `act` when its turn comes; nobody waits for it. Without an owner there is nothing to act on.
    pub(crate) fn tell(&self, act: impl FnOnce(&mut Owner) + Send + 'static) {
        let job: Job = Box::new(move |owner| {
            act(owner);
            Box::new(|_| ())
        });
        drop(self.jobs.send(Message::Job(job)));
    }

    /// From now on the kernel follows the core: everything that was saved is known to it.
    pub(crate) async fn go_live(&self) -> Result<Synced, AgentError> {
        self.ask(|owner| owner.live = true).await?;
        self.change(Core::mark_dirty).await.map(|((), synced)| synced)
    }
}
