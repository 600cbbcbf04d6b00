//! Policy files as people name them: files, directories (their YAML files, in order of names), `-` for standard input.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::error::{CliError, Result};

#[derive(Debug)]
pub(super) struct PolicyFile {
    /// For messages and explanations.
    pub(super) name: String,
    pub(super) text: String,
}

/// Reads everything that `paths` name.
///
/// # Errors
/// Something cannot be read, or a directory holds no YAML file.
pub(super) fn read(paths: &[PathBuf]) -> Result<Vec<PolicyFile>> {
    let mut files = Vec::new();
    for path in paths {
        if path.as_os_str() == "-" {
            let mut text = String::new();
            io::stdin().read_to_string(&mut text).map_err(|source| CliError::file("standard input", source))?;
            files.push(PolicyFile { name: "stdin".to_owned(), text });
        } else if path.is_dir() {
            files.extend(directory(path)?);
        } else {
            files.push(file(path)?);
        }
    }
    Ok(files)
}

fn file(path: &Path) -> Result<PolicyFile> {
    let text = fs::read_to_string(path).map_err(|source| CliError::file(path, source))?;
    Ok(PolicyFile { name: path.display().to_string(), text })
}

fn directory(path: &Path) -> Result<Vec<PolicyFile>> {
    let entries = fs::read_dir(path).and_then(Iterator::collect::<io::Result<Vec<_>>>);
    let entries = entries.map_err(|source| CliError::file(path, source))?;
    let is_yaml = |path: &PathBuf| path.extension().is_some_and(|end| end == "yaml" || end == "yml");
    let mut found: Vec<PathBuf> = entries.iter().map(fs::DirEntry::path).filter(is_yaml).collect();
    if found.is_empty() {
        return Err(CliError::input(
            format!("{} holds no .yaml or .yml file", path.display()),
            "name the files themselves",
        ));
    }
    found.sort();
    found.iter().map(|path| file(path)).collect()
}
