//! Gets Debian's cloud kernels, and the modules the tests use, unpacked below the target folder.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::chore::{Result, fail, read};

/// Kernels of the matrix beside the machine's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    /// Debian 12's: no tcx.
    V6_1,
    /// Debian 12's backport: tcx.
    V6_12,
}

impl Version {
    pub(crate) const ALL: [Self; 2] = [Self::V6_1, Self::V6_12];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::V6_1 => "6.1",
            Self::V6_12 => "6.12",
        }
    }

    /// The package that depends on the newest kernel of this line.
    fn package(self) -> &'static str {
        match self {
            Self::V6_1 => "linux-image-cloud-amd64",
            Self::V6_12 => "linux-image-6.12-cloud-amd64",
        }
    }
}

/// An unpacked kernel.
pub(super) struct Kernel {
    pub(super) version: Version,
    pub(super) release: String,
    pub(super) image: PathBuf,
    pub(super) config: PathBuf,
    /// In the order in which they are inserted.
    pub(super) modules: Vec<PathBuf>,
}

/// What the agent and the tests need beyond what is built in: links and hooks, published ports (nftables), and the
/// shapers of the reference plugin `bandwidth`.
const MODULES: [&str; 13] = [
    "veth",
    "sch_ingress",
    "cls_bpf",
    "act_bpf",
    "sctp",
    "bridge",
    "virtio_rng",
    "nft_chain_nat",
    "nft_nat",
    "sch_tbf",
    "ifb",
    "cls_u32",
    "act_mirred",
];

pub(super) fn fetch(folder: &Path, version: Version) -> Result<Kernel> {
    let depends = read(Command::new("apt-cache").args(["depends", version.package()]))?;
    let package = depends.lines().find_map(|l| l.trim().strip_prefix("Depends: linux-image-"));
    let Some(release) = package.map(str::to_owned) else {
        fail!("apt-cache knows no {}: run apt-get update", version.package())
    };
    let tree = folder.join(&release);
    if !tree.join("complete").exists() {
        unpack(folder, &tree, &release)?;
    }
    let modules = MODULES
        .iter()
        .map(|name| insertion_order(&tree, &release, name))
        .collect::<Result<Vec<_>>>()?
        .into_iter()
        .flatten()
        .fold(Vec::new(), |mut all, module| {
            if !all.contains(&module) {
                all.push(module);
            }
            all
        });
    Ok(Kernel {
        version,
        image: tree.join(format!("boot/vmlinuz-{release}")),
        config: tree.join(format!("boot/config-{release}")),
        release,
        modules,
    })
}

fn unpack(folder: &Path, tree: &Path, release: &str) -> Result<()> {
    eprintln!("vm: fetching linux-image-{release}");
    fs::create_dir_all(tree)?;
    read(Command::new("apt-get").args(["download", "-q", &format!("linux-image-{release}")]).current_dir(folder))?;
    let prefix = format!("linux-image-{release}_");
    let archive = fs::read_dir(folder)?
        .filter_map(std::result::Result::ok)
        .find(|e| e.file_name().to_string_lossy().starts_with(&prefix));
    let Some(archive) = archive else { fail!("apt-get download left no {prefix}*.deb in {}", folder.display()) };
    read(Command::new("dpkg").arg("-x").arg(archive.path()).arg(tree))?;
    read(Command::new("depmod").arg("-b").arg(tree).arg(release))?;
    fs::remove_file(archive.path())?;
    Ok(fs::write(tree.join("complete"), "")?)
}

/// A module and what it needs, needed ones first; empty for one that is built in or does not exist in this kernel.
fn insertion_order(tree: &Path, release: &str, module: &str) -> Result<Vec<PathBuf>> {
    let output =
        Command::new("modprobe").arg("-d").arg(tree).args(["-S", release, "--show-depends", module]).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    // This machine's parameters for the module follow the path.
    let path = |line: &str| line.strip_prefix("insmod ")?.split_whitespace().next().map(PathBuf::from);
    Ok(text.lines().filter_map(path).collect())
}
