//! A value made of files, made anew when one of them changed. Asked before each handshake; costs a stat(2) a file.

use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;

use super::TlsError;

/// What tells a changed file, symbolic links followed (Kubernetes swaps a link when a secret changes).
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    stamps: Vec<Option<Stamp>>,
    /// Some file changed so recently that a second change could carry the same stamp.
    fresh: bool,
}

/// Clocks of file systems are as coarse as the kernel's tick; this is more than any of them.
const COARSE: Duration = Duration::from_secs(2);

fn look(files: &[PathBuf]) -> Seen {
    let now = SystemTime::now();
    let mut fresh = false;
    let stamp = |path: &PathBuf| {
        let metadata = std::fs::metadata(path).ok()?;
        let age = metadata.modified().ok().and_then(|modified| now.duration_since(modified).ok());
        fresh |= age.is_none_or(|age| age < COARSE);
        Some(Stamp {
            device: metadata.dev(),
            inode: metadata.ino(),
            bytes: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    };
    let stamps = files.iter().map(stamp).collect();
    Seen { stamps, fresh }
}

pub(super) struct Reloading<T> {
    files: Vec<PathBuf>,
    make: Box<dyn Fn() -> Result<T, TlsError> + Send + Sync>,
    seen: Mutex<Seen>,
    current: ArcSwap<T>,
    /// For the log.
    what: &'static str,
}

impl<T> std::fmt::Debug for Reloading<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reloading").field("what", &self.what).field("files", &self.files).finish_non_exhaustive()
    }
}

impl<T> Reloading<T> {
    /// Fails when the files cannot be used now: a program that never had certificates should not start.
    pub(super) fn new(
        what: &'static str,
        files: Vec<PathBuf>,
        make: impl Fn() -> Result<T, TlsError> + Send + Sync + 'static,
    ) -> Result<Self, TlsError> {
        // Before reading: a change in between is then seen as one.
        let seen = look(&files);
        let current = ArcSwap::from_pointee(make()?);
        Ok(Self { files, make: Box::new(make), seen: Mutex::new(seen), current, what })
    }

    /// Of the files as they are now; of the last ones that could be used where those cannot.
    pub(super) fn current(&self) -> Arc<T> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let now = look(&self.files);
        let changed = now.stamps != seen.stamps;
        if changed || seen.fresh {
            match (self.make)() {
                Ok(made) => {
                    self.current.store(Arc::new(made));
                    if changed {
                        tracing::info!(files = ?self.files, "{}: files changed, in use from now on", self.what);
                    }
                }
                Err(error) if changed => {
                    tracing::warn!(%error, "{}: changed files cannot be used, the last good ones stay in use", self.what);
                }
                Err(_) => {}
            }
            *seen = now;
        }
        self.current.load_full()
    }
}
