//! What survives: one file an endpoint, one for identities of workloads, one for those of prefixes (a new workload must not
//! rewrite ten thousand prefixes), one for namespaces, one an upload of policies. Each is replaced whole. A file that cannot be read is set aside and reported; the others are used.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use nexin_api::v1::{NamedPort, PolicyOrigin, Timestamp};
use nexin_ipam::Addresses;
use nexin_model::LabelSet;
use nexin_runtime::files;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// An endpoint as it is on disk. Newer versions may add fields; unknown ones are passed over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct EndpointRecord {
    pub(crate) id: u16,
    pub(crate) container_id: String,
    pub(crate) interface: String,
    pub(crate) name: String,
    pub(crate) namespace: String,
    pub(crate) netns: PathBuf,
    pub(crate) host_interface: String,
    pub(crate) mac: Option<[u8; 6]>,
    pub(crate) mtu: u16,
    pub(crate) addresses: Addresses,
    /// None: not known, `reserved:init`.
    pub(crate) labels: Option<LabelSet>,
    pub(crate) named_ports: Vec<NamedPort>,
    pub(crate) service_account: Option<String>,
    pub(crate) network: Option<String>,
    pub(crate) no_source_check: bool,
    pub(crate) created: Timestamp,
}

impl EndpointRecord {
    /// Who it is for links and address pools.
    pub(crate) fn owner(&self) -> String {
        format!("{}/{}", self.container_id, self.interface)
    }
}

/// A number and what it stands for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct IdentityRecord {
    pub(crate) id: u32,
    pub(crate) labels: LabelSet,
    pub(crate) named_ports: Vec<NamedPort>,
}

/// A number of local scope and its prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PrefixRecord {
    pub(crate) id: u32,
    pub(crate) prefix: ipnet::IpNet,
}

/// Documents that came together, as text, and which of them are in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct UploadRecord {
    pub(crate) origin: PolicyOrigin,
    pub(crate) file: String,
    /// Namespace of documents that name none.
    pub(crate) namespace: Option<String>,
    pub(crate) text: String,
    pub(crate) in_force: Vec<nexin_policy::rule::DocumentKey>,
    pub(crate) applied: Timestamp,
}

pub(crate) type NamespaceLabels = BTreeMap<String, BTreeMap<String, String>>;

/// Everything that was found at start.
#[derive(Debug, Default)]
pub(crate) struct Saved {
    pub(crate) endpoints: Vec<EndpointRecord>,
    pub(crate) identities: Vec<IdentityRecord>,
    pub(crate) prefixes: Vec<PrefixRecord>,
    pub(crate) namespaces: NamespaceLabels,
    /// By file name, so that they can be replaced.
    pub(crate) uploads: BTreeMap<String, UploadRecord>,
    /// Files that were set aside, and why.
    pub(crate) quarantined: Vec<String>,
}

/// Why something could not be kept.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    #[error("cannot use {}: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("cannot write {} down: {source}", path.display())]
    Encode { path: PathBuf, source: serde_json::Error },
}

/// The state directory.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    dir: PathBuf,
}

const ENDPOINTS: &str = "endpoints";
const POLICIES: &str = "policies";
const IDENTITIES: &str = "identities.json";
const PREFIXES: &str = "prefixes.json";
const NAMESPACES: &str = "namespaces.json";

impl Store {
    pub(crate) fn open(dir: &Path) -> Result<Self, StateError> {
        for part in [ENDPOINTS, POLICIES] {
            let path = dir.join(part);
            std::fs::create_dir_all(&path).map_err(|source| StateError::File { path, source })?;
        }
        Ok(Self { dir: dir.to_owned() })
    }

    pub(crate) fn load(&self) -> Result<Saved, StateError> {
        let mut saved = Saved::default();
        for path in self.list(ENDPOINTS)? {
            let Some(record) = read::<EndpointRecord>(&path, &mut saved.quarantined)? else { continue };
            if let Some(reason) = clash(&record, &saved.endpoints) {
                set_aside(&path, &reason, &mut saved.quarantined)?;
            } else {
                saved.endpoints.push(record);
            }
        }
        for path in self.list(POLICIES)? {
            if let (Some(upload), Some(name)) = (read(&path, &mut saved.quarantined)?, path.file_stem()) {
                saved.uploads.insert(name.to_string_lossy().into_owned(), upload);
            }
        }
        saved.identities = read(&self.dir.join(IDENTITIES), &mut saved.quarantined)?.unwrap_or_default();
        saved.prefixes = read(&self.dir.join(PREFIXES), &mut saved.quarantined)?.unwrap_or_default();
        saved.namespaces = read(&self.dir.join(NAMESPACES), &mut saved.quarantined)?.unwrap_or_default();
        Ok(saved)
    }

    pub(crate) fn save_endpoint(&self, record: &EndpointRecord) -> Result<(), StateError> {
        write(&self.endpoint_path(record.id), record)
    }

    pub(crate) fn remove_endpoint(&self, id: u16) -> Result<(), StateError> {
        remove(&self.endpoint_path(id))
    }

    pub(crate) fn save_identities(&self, identities: &[IdentityRecord]) -> Result<(), StateError> {
        write(&self.dir.join(IDENTITIES), identities)
    }

    pub(crate) fn save_prefixes(&self, prefixes: &[PrefixRecord]) -> Result<(), StateError> {
        write(&self.dir.join(PREFIXES), prefixes)
    }

    pub(crate) fn save_namespaces(&self, namespaces: &NamespaceLabels) -> Result<(), StateError> {
        write(&self.dir.join(NAMESPACES), namespaces)
    }

    pub(crate) fn save_upload(&self, name: &str, upload: &UploadRecord) -> Result<(), StateError> {
        write(&self.upload_path(name), upload)
    }

    pub(crate) fn remove_upload(&self, name: &str) -> Result<(), StateError> {
        remove(&self.upload_path(name))
    }

    fn endpoint_path(&self, id: u16) -> PathBuf {
        self.dir.join(ENDPOINTS).join(format!("{id}.json"))
    }

    fn upload_path(&self, name: &str) -> PathBuf {
        self.dir.join(POLICIES).join(format!("{name}.json"))
    }

    fn list(&self, part: &str) -> Result<Vec<PathBuf>, StateError> {
        let path = self.dir.join(part);
        files::list(&path, "json").map_err(|source| StateError::File { path, source })
    }
}

/// Why `record` cannot stand beside the others.
fn clash(record: &EndpointRecord, others: &[EndpointRecord]) -> Option<String> {
    let same = |a: &EndpointRecord| {
        a.id == record.id
            || a.owner() == record.owner()
            || (a.addresses.v4.is_some() && a.addresses.v4 == record.addresses.v4)
            || (a.addresses.v6.is_some() && a.addresses.v6 == record.addresses.v6)
    };
    let count = nexin_abi::maps::endpoint::Endpoint::COUNT;
    if record.id == 0 || u32::from(record.id) >= count {
        return Some(format!("endpoint number {} is not within 1..{count}", record.id));
    }
    let other = others.iter().find(|other| same(other))?;
    Some(format!("number, container or address is also endpoint {}'s ({})", other.id, other.owner()))
}

fn read<T: DeserializeOwned>(path: &Path, quarantined: &mut Vec<String>) -> Result<Option<T>, StateError> {
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(StateError::File { path: path.to_owned(), source }),
    };
    match serde_json::from_slice(&text) {
        Ok(value) => Ok(Some(value)),
        Err(error) => {
            set_aside(path, &error.to_string(), quarantined)?;
            Ok(None)
        }
    }
}

fn set_aside(path: &Path, reason: &str, quarantined: &mut Vec<String>) -> Result<(), StateError> {
    let aside = files::quarantine(path).map_err(|source| StateError::File { path: path.to_owned(), source })?;
    let note = format!("{}: {reason}; kept as {}", path.display(), aside.display());
    tracing::error!("state file set aside: {note}");
    quarantined.push(note);
    Ok(())
}

fn write<T: Serialize + ?Sized>(path: &Path, value: &T) -> Result<(), StateError> {
    let bytes = serde_json::to_vec(value).map_err(|source| StateError::Encode { path: path.to_owned(), source })?;
    files::write_atomic(path, &bytes).map_err(|source| StateError::File { path: path.to_owned(), source })
}

fn remove(path: &Path) -> Result<(), StateError> {
    files::remove_durably(path).map_err(|source| StateError::File { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn record(id: u16) -> EndpointRecord {
        EndpointRecord {
            id,
            container_id: format!("c{id}"),
            interface: "eth0".into(),
            name: format!("web-{id}"),
            namespace: "default".into(),
            netns: "/run/netns/x".into(),
            host_interface: format!("nx{id:08x}"),
            mac: None,
            mtu: 1500,
            addresses: Addresses { v4: Some([10, 0, 0, 1 + id as u8].into()), v6: None },
            labels: Some([nexin_model::Label::k8s("app", "web")].into_iter().collect()),
            named_ports: vec![NamedPort { name: "http".into(), port: 80, protocol: nexin_model::Protocol::Tcp }],
            service_account: None,
            network: None,
            no_source_check: false,
            created: Timestamp(7),
        }
    }

    #[test]
    fn endpoints_come_back_as_they_were_saved() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        for id in [1, 2, 300] {
            store.save_endpoint(&record(id)).unwrap();
        }
        store.remove_endpoint(2).unwrap();
        let saved = Store::open(dir.path()).unwrap().load().unwrap();
        assert_eq!(saved.endpoints, [record(1), record(300)]);
        assert!(saved.quarantined.is_empty());
    }

    #[test]
    fn a_corrupt_file_is_set_aside_and_the_others_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        for id in [1, 2, 3] {
            store.save_endpoint(&record(id)).unwrap();
        }
        std::fs::write(dir.path().join("endpoints/2.json"), b"{\"id\": 2, \"conta").unwrap();
        std::fs::write(dir.path().join("identities.json"), b"\0\0\0").unwrap();
        let double = EndpointRecord { id: 4, container_id: "c4".into(), ..record(1) };
        store.save_endpoint(&double).unwrap();
        let saved = store.load().unwrap();
        assert_eq!(saved.endpoints, [record(1), record(3)]);
        assert_eq!(saved.quarantined.len(), 3, "{:?}", saved.quarantined);
        assert!(dir.path().join("endpoints/quarantine/2.json").exists());
        let again = store.load().unwrap();
        assert_eq!((again.endpoints.len(), again.quarantined.len()), (2, 0));
    }
}
