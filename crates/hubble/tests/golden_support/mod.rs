//! Hubble's golden data: where it is and how it is read. It is not in the repository; without it a note is printed and the
//! repository's own tests stand alone. Tests of other crates include this file by its path.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Tests of one program run side by side: they unpack once.
static FOLDER: OnceLock<Option<PathBuf>> = OnceLock::new();

/// The unpacked data: `hubble-given.tar.xz` in the folder that NEXIN_DATA names, or in `../shared/data` beside the project.
pub(crate) fn folder() -> Option<PathBuf> {
    FOLDER.get_or_init(unpack).clone()
}

fn unpack() -> Option<PathBuf> {
    let beside = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    let packed = std::env::var_os("NEXIN_DATA").map_or_else(beside, PathBuf::from).join("hubble-given.tar.xz");
    let Ok(about) = packed.metadata() else {
        println!("note: no {}; it is not replayed", packed.display());
        return None;
    };
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("hubble-{}", about.len()));
    if !out.exists() {
        let mine = out.with_extension(std::process::id().to_string());
        std::fs::create_dir_all(&mine).expect("a folder for the data");
        let tar =
            Command::new("tar").arg("-xJf").arg(&packed).arg("-C").arg(&mine).status().expect("tar unpacks the data");
        assert!(tar.success(), "tar: {tar}");
        // Another program may have been faster; the data is the same.
        if std::fs::rename(&mine, &out).is_err() {
            std::fs::remove_dir_all(&mine).expect("the spare copy is ours");
        }
    }
    Some(out.join("given"))
}

/// Lines of a file of the data.
pub(crate) fn lines(name: &str) -> Option<Vec<String>> {
    let text = std::fs::read_to_string(folder()?.join(name)).expect("a file of the data");
    Some(text.lines().map(str::to_owned).collect())
}
