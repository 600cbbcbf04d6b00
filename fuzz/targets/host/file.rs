//! Readers that take a path get a file in memory.

use std::path::PathBuf;

/// A file of this process that holds `text`; the next call overwrites it.
pub(crate) fn holding(name: &str, text: &str) -> PathBuf {
    let path = PathBuf::from(format!("/dev/shm/nexin-fuzz-{name}-{}", std::process::id()));
    std::fs::write(&path, text).expect("shared memory takes files");
    path
}
