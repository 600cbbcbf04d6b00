//! Deletions that no agent was there to take: a directory with one file an attachment, which the agent works off when
//! it starts and from time to time. The only state this plugin keeps.

use crate::{
    error::{Code, Error},
    invocation::Attachment,
};
use nexin_runtime::files;
use serde_json::json;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Written whole and flushed: it may be the last thing before the machine goes down.
pub(crate) fn push(directory: &Path, attachment: &Attachment) -> Result<(), Error> {
    let path = entry(directory, attachment);
    let body = json!({"container_id": attachment.container_id, "interface": attachment.interface.as_str()}).to_string();
    let written = fs::create_dir_all(directory).and_then(|()| files::write_atomic(&path, body.as_bytes()));
    written.map_err(|e| {
        Error::new(
            Code::Io,
            format!("no agent runs, and the deletion cannot be queued in {}: {e}", directory.display()),
        )
        .hint("start the nexin agent, or make the directory writable")
    })
}

/// That it is gone already is no error: the agent may have been faster.
pub(crate) fn remove(directory: &Path, attachment: &Attachment) -> Result<(), Error> {
    let path = entry(directory, attachment);
    files::remove_durably(&path).map_err(|e| Error::new(Code::Io, format!("cannot remove {}: {e}", path.display())))
}

/// Neither part can contain '@' or '/', so no two attachments share a file and none leaves the directory.
fn entry(directory: &Path, attachment: &Attachment) -> PathBuf {
    let interface: String = attachment.interface.as_str().bytes().map(plain).collect();
    directory.join(format!("{}@{interface}.json", attachment.container_id))
}

/// Interface names may hold nearly any byte.
fn plain(byte: u8) -> String {
    if byte.is_ascii_alphanumeric() || b"_-.".contains(&byte) {
        char::from(byte).to_string()
    } else {
        format!("%{byte:02x}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nexin_netlink::IfName;

    fn attachment(interface: &str) -> Attachment {
        Attachment { container_id: "c1".into(), interface: IfName::new(interface).unwrap() }
    }

    #[test]
    fn entries_come_and_go() {
        let directory = tempfile::tempdir().unwrap();
        let queue = directory.path().join("deep/queue");
        push(&queue, &attachment("eth0")).unwrap();
        push(&queue, &attachment("eth0")).unwrap();
        push(&queue, &attachment("e@x")).unwrap();
        let names: Vec<_> =
            files::list(&queue, "json").unwrap().iter().map(|p| p.file_name().unwrap().to_owned()).collect();
        assert_eq!(names, ["c1@e%40x.json", "c1@eth0.json"]);
        let text = fs::read_to_string(queue.join("c1@eth0.json")).unwrap();
        assert_eq!(text, r#"{"container_id":"c1","interface":"eth0"}"#);
        remove(&queue, &attachment("eth0")).unwrap();
        remove(&queue, &attachment("eth0")).unwrap();
        assert_eq!(files::list(&queue, "json").unwrap().len(), 1);
    }

    #[test]
    fn a_queue_that_cannot_be_written_is_an_error_with_advice() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = push(&file.path().join("below-a-file"), &attachment("eth0")).unwrap_err();
        assert_eq!(error.code, Code::Io);
        assert!(error.details.unwrap().contains("start the nexin agent"));
    }
}
