//! Golden data: where it is and how it is read. It is not in the repository; without it a note is printed and the
//! repository's own tests stand alone.

use std::path::PathBuf;
use std::process::Command;

use serde::de::DeserializeOwned;

/// Objects of `<name>` (one a line) or of `<name>.xz`, from the folder that NEXIN_DATA names or `../shared/data` beside
/// the project.
pub(crate) fn lines<T: DeserializeOwned>(name: &str) -> Option<Vec<T>> {
    let beside = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    let folder = std::env::var_os("NEXIN_DATA").map_or_else(beside, PathBuf::from);
    let packed = folder.join(format!("{name}.xz"));
    let text = match std::fs::read_to_string(folder.join(name)) {
        Ok(text) => text,
        Err(_) if packed.exists() => {
            let output = Command::new("xz").arg("-dc").arg(&packed).output().expect("xz unpacks the data");
            assert!(output.status.success(), "xz: {}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8(output.stdout).expect("the data is text")
        }
        Err(_) => {
            println!("note: no {name} at {}; it is not replayed", folder.display());
            return None;
        }
    };
    Some(text.lines().map(|line| serde_json::from_str(line).expect("an object a line")).collect())
}
