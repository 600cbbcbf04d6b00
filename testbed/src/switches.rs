//! The only place where the tests' environment is read.

use std::{
    env,
    path::{Path, PathBuf},
};

use crate::{Result, fail};

const INSIDE: &str = "TESTBED_INSIDE";

/// Variable and value that tell a test process that it runs in its own namespaces already.
pub(crate) fn inside_variable() -> (&'static str, &'static str) {
    (INSIDE, "1")
}

pub(crate) fn is_inside() -> bool {
    env::var_os(INSIDE).is_some()
}

/// By how much this machine is slower than one that runs on its own hardware (`TESTBED_PATIENCE`, 1 by default): what only
/// bounds failures takes that many times as long.
pub(crate) fn patience() -> u32 {
    env::var("TESTBED_PATIENCE").ok().and_then(|times| times.parse().ok()).unwrap_or(1)
}

/// Whether committed tables are to be written instead of compared (`TESTBED_BLESS`).
pub fn bless() -> bool {
    env::var_os("TESTBED_BLESS").is_some()
}

/// Golden data from outside the tree: `NEXIN_DATA`, or `../shared/data` beside the project. `None`, with a printed
/// note, where it is absent: the tree's own tests are complete without it.
pub fn data_folder() -> Option<PathBuf> {
    let folder = env::var_os("NEXIN_DATA")
        .map(PathBuf::from)
        .unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data"));
    if folder.is_dir() {
        return Some(folder);
    }
    crate::probe::say(&format!("NOTE no golden data in {}: those replays are left out", folder.display()));
    None
}

/// A built program (`nexin`, `nexin-cni`): in the folder that `TESTBED_PROGRAMS` names, else beside the test program.
pub fn program(name: &str) -> Result<PathBuf> {
    let folders = match env::var_os("TESTBED_PROGRAMS") {
        Some(folder) => vec![PathBuf::from(folder)],
        None => env::current_exe()?.ancestors().skip(1).take(2).map(Path::to_path_buf).collect(),
    };
    let found = folders.iter().map(|f| f.join(name)).find(|p| p.is_file());
    match found {
        Some(path) => Ok(path),
        None => fail!("no {name} in {folders:?}: build it first (./x test netns does, or cargo build -p {name})"),
    }
}
