//! The watched directory of policy documents. Looked at by name, size, time and inode: that works on every file system and
//! through the symbolic links that ConfigMaps are swapped by.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use nexin_runtime::settings::Choice;

use crate::agent::{Agent, now};
use crate::core::{UploadText, problem};
use crate::error::AgentError;

/// Largest file, bytes; what is larger is no policy.
const LARGEST: u64 = 8 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Print {
    size: u64,
    inode: u64,
    seconds: i64,
    nanos: i64,
}

type Prints = BTreeMap<PathBuf, Print>;

/// Before the first sync: what the directory says is in force from the start.
pub(crate) async fn first_scan(agent: &Agent) -> Result<(), AgentError> {
    // A directory that cannot be read takes nothing away: what it said last is in force.
    let Some(found) = scan(agent) else { return Ok(()) };
    for path in found.keys() {
        apply(agent, path).await?;
    }
    let owner = agent.room().map(|room| &room.owner).map_err(|_| AgentError::Stopping)?;
    let known = owner.ask(|owner| owner.core.watched_files()).await?;
    for file in known.iter().filter(|file| !found.contains_key(Path::new(file))) {
        remove(agent, file.clone()).await?;
    }
    Ok(())
}

pub(crate) async fn watch(agent: Agent) {
    let stop = agent.0.tasks.stop().clone();
    if !matches!(agent.settings().policy.directory, Choice::Value(_)) {
        return stop.cancelled().await;
    }
    let mut every = tokio::time::interval(agent.settings().policy.directory_interval.0);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    // A change between the first scan and now is seen as one: applying the same text again changes nothing.
    let mut known = Prints::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = every.tick() => {}
        }
        let Some(found) = scan(&agent) else { continue };
        if let Err(error) = follow(&agent, &known, &found).await {
            agent.trouble("policy-directory", Some(error.to_string()));
            continue;
        }
        known = found;
    }
}

async fn follow(agent: &Agent, known: &Prints, found: &Prints) -> Result<(), AgentError> {
    for path in known.keys().filter(|path| !found.contains_key(*path)) {
        remove(agent, name(path)).await?;
    }
    for (path, print) in found {
        if known.get(path) != Some(print) {
            apply(agent, path).await?;
        }
    }
    Ok(())
}

/// None when the directory cannot be read: what is in force stays.
fn scan(agent: &Agent) -> Option<Prints> {
    let Choice::Value(dir) = &agent.settings().policy.directory else { return Some(Prints::new()) };
    match prints(&dir.0) {
        Ok(found) => {
            agent.trouble("policy-directory", None);
            Some(found)
        }
        Err(error) => {
            let message = format!("{}: {error}; what was in force stays", dir.0.display());
            agent.trouble("policy-directory", Some(message));
            None
        }
    }
}

fn prints(dir: &Path) -> io::Result<Prints> {
    let mut found = Prints::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        let extension = path.extension().and_then(|extension| extension.to_str());
        let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if hidden || !matches!(extension, Some("yaml" | "yml" | "json")) {
            continue;
        }
        match std::fs::metadata(&path) {
            Ok(meta) if meta.is_file() => {
                let print =
                    Print { size: meta.size(), inode: meta.ino(), seconds: meta.mtime(), nanos: meta.mtime_nsec() };
                found.insert(path, print);
            }
            Ok(_) => {}
            // Removed between listing and looking, or a link to nowhere: as good as gone.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

async fn apply(agent: &Agent, path: &Path) -> Result<(), AgentError> {
    let Ok(owner) = agent.owner() else { return Ok(()) };
    let file = name(path);
    let _alone = agent.0.locks.lock("/policies").await;
    let text = match read(path) {
        Ok(text) => text,
        Err(error) => {
            owner.change(move |core| core.file_unreadable(file, error.to_string())).await?;
            return Ok(());
        }
    };
    let shown = file.clone();
    let change = move |core: &mut crate::core::Core| {
        let before = core.before();
        core.apply_file(UploadText { text, file, namespace: None }, now()).map(|changed| (before, changed))
    };
    match owner.change(change).await? {
        (Ok((before, _)), synced) if !synced.complete() && agent.is_ready() => {
            let complaint = format!("the kernel cannot hold it: {}", synced.complaint());
            tracing::error!(file = shown, "{complaint}");
            let (back, _) = owner
                .change(move |core| {
                    core.file_unreadable(shown, complaint);
                    core.roll_back(before)
                })
                .await?;
            back?;
        }
        (Ok((_, changed)), _) if changed.applied.is_empty() => {}
        (Ok((_, changed)), _) => tracing::info!(file = shown, documents = changed.applied.len(), "policy file applied"),
        (Err(error), _) => {
            let reason = problem(&error);
            tracing::error!(file = shown, reason, "policy file not applied; what it said before stays");
        }
    }
    Ok(())
}

async fn remove(agent: &Agent, file: String) -> Result<(), AgentError> {
    let Ok(owner) = agent.owner() else { return Ok(()) };
    let _alone = agent.0.locks.lock("/policies").await;
    let shown = file.clone();
    let (done, _) = owner.change(move |core| core.remove_file(&file)).await?;
    match done {
        Ok(()) => tracing::info!(file = shown, "policy file is gone, and so are its documents"),
        Err(error) => tracing::error!(file = shown, %error, "documents of a removed file"),
    }
    Ok(())
}

fn read(path: &Path) -> io::Result<String> {
    if std::fs::metadata(path)?.len() > LARGEST {
        return Err(io::Error::other(format!("larger than {LARGEST} bytes")));
    }
    std::fs::read_to_string(path)
}

fn name(path: &Path) -> String {
    path.display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_found_and_changes_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for name in ["b.yaml", "a.yml", "c.json", ".hidden.yaml", "README.md"] {
            std::fs::write(at(name), "x").unwrap();
        }
        std::fs::create_dir(at("d.yaml")).unwrap();
        std::os::unix::fs::symlink("/nonexistent/x.yaml", at("e.yaml")).unwrap();
        let before = prints(dir.path()).unwrap();
        assert_eq!(before.keys().cloned().collect::<Vec<_>>(), [at("a.yml"), at("b.yaml"), at("c.json")]);
        std::fs::write(at("new"), "y").unwrap();
        std::fs::rename(at("new"), at("b.yaml")).unwrap();
        let after = prints(dir.path()).unwrap();
        assert_ne!(before[&at("b.yaml")], after[&at("b.yaml")]);
        assert_eq!(before[&at("c.json")], after[&at("c.json")]);
        assert!(prints(&at("absent")).is_err());
    }
}
