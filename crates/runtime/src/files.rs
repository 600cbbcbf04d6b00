//! Files that are whole or absent, whatever happens to the process or the machine.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// Ending of files that are being written. A reader of a directory passes them by.
const PART: &str = ".part";

/// Replaces `path` by `bytes`: written beside it, flushed to the disk, renamed. Mode 0600.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let part = sibling(path, PART);
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&part)?;
    file.write_all(bytes)?;
    file.sync_data()?;
    drop(file);
    fs::rename(&part, path)?;
    sync_parent(path)
}

/// Removes `path`; that it is gone already is no error.
pub fn remove_durably(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Ok(()) => sync_parent(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Puts a file that cannot be used out of the way, under `<directory>/quarantine`, and says where. Nothing is deleted.
pub fn quarantine(path: &Path) -> io::Result<PathBuf> {
    let parent = path.parent().unwrap_or(Path::new("."));
    let aside = parent.join("quarantine");
    fs::create_dir_all(&aside)?;
    let name = path.file_name().unwrap_or_default();
    let free = (0..).map(|n: u32| if n == 0 { aside.join(name) } else { sibling(&aside.join(name), &format!(".{n}")) });
    let target = free.into_iter().find(|candidate| !candidate.exists()).unwrap_or_else(|| aside.join(name));
    fs::rename(path, &target)?;
    sync_parent(path)?;
    Ok(target)
}

/// Files directly in `directory` with this extension, sorted by name. A directory that is absent has none; half-written files are not listed.
pub fn list(directory: &Path, extension: &str) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|found| found == extension) && path.is_file() {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

fn sibling(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(ending);
    path.with_file_name(name)
}

fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => File::open(parent)?.sync_all(),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_leftovers_are_not_listed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.json");
        write_atomic(&path, b"one").unwrap();
        write_atomic(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        fs::write(dir.path().join("b.json.part"), b"cut off").unwrap();
        assert_eq!(list(dir.path(), "json").unwrap(), std::slice::from_ref(&path));
        remove_durably(&path).unwrap();
        remove_durably(&path).unwrap();
        assert!(list(dir.path(), "json").unwrap().is_empty());
        assert!(list(&dir.path().join("absent"), "json").unwrap().is_empty());
    }

    #[test]
    fn bad_files_are_kept_aside_under_names_of_their_own() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.json");
        let mut kept = Vec::new();
        for text in ["x", "y"] {
            fs::write(&path, text).unwrap();
            kept.push(fs::read_to_string(quarantine(&path).unwrap()).unwrap());
            assert!(!path.exists());
        }
        assert_eq!(kept, ["x", "y"]);
        assert_eq!(fs::read_dir(dir.path().join("quarantine")).unwrap().count(), 2);
    }
}
