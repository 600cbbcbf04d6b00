//! What a lab is made of, by name. Every name follows from the lab's file, so the file is the whole record: it is
//! written before anything is made, and what it names can be removed whether or not it was.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nexin_api::Client;
use nexin_netlink::Netns;
use nexin_runtime::files::write_atomic;
use nix::mount::{MntFlags, umount2};

use crate::process::stop_all_in;
use crate::{Error, LabSpec, RUN_DIR, Result};

/// Time for programs to end by themselves when the lab is removed.
const GRACE: Duration = Duration::from_secs(2);

/// A lab that exists, in whole or in part.
#[derive(Clone, Debug)]
pub struct Lab {
    pub(crate) spec: LabSpec,
    pub(crate) dir: PathBuf,
}

/// Where a node's agent has its things.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodePaths {
    pub dir: PathBuf,
    pub socket: PathBuf,
    pub state: PathBuf,
    pub bpffs: PathBuf,
    pub settings: PathBuf,
    pub log: PathBuf,
}

impl Lab {
    /// Claims the name and writes the record.
    pub(crate) fn claim(spec: LabSpec) -> Result<Self> {
        let dir = Path::new(RUN_DIR).join(&spec.name);
        fs::create_dir_all(RUN_DIR).map_err(|source| Error::file(RUN_DIR, source))?;
        match fs::create_dir(&dir) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => return Err(Error::Exists(spec.name)),
            other => other.map_err(|source| Error::file(&dir, source))?,
        }
        let lab = Self { spec, dir };
        let record =
            serde_json::to_vec_pretty(&lab.spec).map_err(|error| Error::system("write the lab's record", error))?;
        let path = lab.record();
        write_atomic(&path, &record).map_err(|source| Error::file(path, source))?;
        Ok(lab)
    }

    /// The lab named `name`; without a name the only one there is.
    ///
    /// # Errors
    /// There is none, or several and no name.
    pub fn open(name: Option<&str>) -> Result<Self> {
        let all = Self::names()?;
        let none = |name: Option<&str>| {
            let next = match &all[..] {
                [] => "`nexin lab up` makes one".to_owned(),
                some => format!("there is {}", some.join(", ")),
            };
            Error::NoLab { name: name.map(str::to_owned), next }
        };
        let name = match (name, &all[..]) {
            (Some(name), _) => name,
            (None, [only]) => only,
            (None, []) => return Err(none(None)),
            (None, several) => return Err(Error::SeveralLabs(several.join(", "))),
        };
        let dir = Path::new(RUN_DIR).join(name);
        let path = dir.join("lab.json");
        let text = match fs::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(none(Some(name))),
            other => other.map_err(|source| Error::file(&path, source))?,
        };
        let spec = serde_json::from_slice(&text).map_err(|error| Error::file(path, error.into()))?;
        Ok(Self { spec, dir })
    }

    /// Names of the labs that exist.
    pub fn names() -> Result<Vec<String>> {
        let entries = match fs::read_dir(RUN_DIR) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(Error::file(RUN_DIR, source)),
        };
        let mut names: Vec<String> = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
        names.sort();
        Ok(names)
    }

    pub fn name(&self) -> &str {
        &self.spec.name
    }

    pub fn spec(&self) -> &LabSpec {
        &self.spec
    }

    fn record(&self) -> PathBuf {
        self.dir.join("lab.json")
    }

    /// Name of a part's network namespace, as `ip netns` shows it.
    pub fn netns_name(&self, part: &str) -> String {
        format!("nxlab-{}-{part}", self.spec.name)
    }

    pub fn netns(&self, part: &str) -> Result<Netns> {
        Ok(Netns::named(&self.netns_name(part))?)
    }

    pub(crate) fn log_of(&self, part: &str) -> PathBuf {
        self.dir.join(format!("{part}.log"))
    }

    pub fn node_paths(&self, node: &str) -> NodePaths {
        let dir = self.dir.join(node);
        NodePaths {
            socket: dir.join("run/nexin.sock"),
            state: dir.join("state"),
            bpffs: dir.join("bpf"),
            settings: dir.join("agent.toml"),
            log: self.log_of(node),
            dir,
        }
    }

    /// Client of the agent of node number `node`.
    pub fn client(&self, node: usize) -> Result<Client> {
        let name = &self.spec.nodes[node].name;
        let made = Client::new(self.node_paths(name).socket);
        made.map_err(|source| Error::Agent { node: name.clone(), source })
    }

    /// Stops and removes everything that the record names. May be repeated.
    pub fn down(self, progress: &mut dyn FnMut(&str)) -> Result<()> {
        for part in self.spec.parts() {
            progress(&format!("removing {part}"));
            if let Ok(netns) = self.netns(&part) {
                stop_all_in(&netns, GRACE)?;
            }
            // The last holder of the namespace goes, and with it its links, addresses, routes and attached programs.
            Netns::delete_named(&self.netns_name(&part))?;
        }
        unmount_below(&self.dir)?;
        fs::remove_dir_all(&self.dir).map_err(|source| Error::file(&self.dir, source))?;
        match fs::remove_dir(RUN_DIR) {
            // Other labs are there.
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

/// Unmounts the bpffs mounts of a lab's agents; pinned maps and programs end with them.
fn unmount_below(dir: &Path) -> Result<()> {
    let table = "/proc/self/mountinfo";
    let mounts = fs::read_to_string(table).map_err(|source| Error::file(table, source))?;
    let points =
        mounts.lines().filter_map(|line| line.split(' ').nth(4)).map(Path::new).filter(|point| point.starts_with(dir));
    for point in points.collect::<Vec<_>>().into_iter().rev() {
        umount2(point, MntFlags::MNT_DETACH).map_err(|errno| Error::file(point, errno.into()))?;
    }
    Ok(())
}
