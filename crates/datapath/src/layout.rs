//! Versions of the pinned layout: `<bpffs>/v<N>` belongs to layout N.
//!
//! There is one layout so far. A directory of another version is another agent's state: it is reported and left alone
//! until somebody cleans up, since what its programs do cannot be known here. The step from N-1 to N will be code here.

use std::path::{Path, PathBuf};

use nexin_abi::LAYOUT;
use nexin_bpf::bpffs;

use crate::error::Result;

/// The directory of a version's pins.
pub(crate) fn dir(bpffs: &Path, version: u32) -> PathBuf {
    bpffs.join(format!("v{version}"))
}

/// Layout versions found under `bpffs` that are not this one's.
pub(crate) fn others(bpffs: &Path) -> Result<Vec<u32>> {
    Ok(bpffs::list(bpffs)?.iter().filter_map(|name| version(name)).filter(|version| *version != LAYOUT).collect())
}

fn version(name: &str) -> Option<u32> {
    name.strip_prefix('v')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_versions_are_taken_for_versions() {
        assert_eq!(version("v1"), Some(1));
        assert_eq!(version("v12"), Some(12));
        for name in ["v", "vx", "1", "links", "v1x"] {
            assert_eq!(version(name), None, "{name}");
        }
    }

    #[test]
    fn other_versions_are_found_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["v1", "v7", "other"] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
        }
        assert_eq!(others(dir.path()).unwrap(), [7]);
        assert!(dir.path().join("v7").exists());
        assert_eq!(others(&dir.path().join("none")).unwrap(), [0u32; 0]);
    }
}
