//! The initramfs of a guest: busybox, the tools the tests call, the programs under test, modules, and a script that runs
//! the suite and powers off.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

use super::{VERDICT, kernel::Kernel};
use crate::chore::{Result, fail, read};

/// Programs of the system that tests call; their libraries come along.
const TOOLS: [&str; 12] =
    ["ip", "tc", "ping", "nsenter", "unshare", "bpftool", "ss", "curl", "nft", "bash", "timeout", "pgrep"];
/// Plugins of containernetworking-plugins that tests chain after ours.
const REFERENCE_PLUGINS: [&str; 2] = ["tuning", "bandwidth"];
const PLUGIN_FOLDER: &str = "usr/lib/cni";

/// What is tested, and where builds go.
pub(super) struct Programs {
    pub(super) target: PathBuf,
    files: Vec<PathBuf>,
}

impl Programs {
    /// Builds the programs and the suite (a no-op right after `./x test netns`).
    pub(super) fn build(root: &Path) -> Result<Self> {
        let built = |arguments: &[&str]| -> Result<Vec<Value>> {
            let mut cargo = Command::new("cargo");
            let text = read(cargo.args(arguments).args(["-q", "--message-format", "json"]).current_dir(root))?;
            Ok(text.lines().filter_map(|l| serde_json::from_str(l).ok()).collect())
        };
        let mut files = Vec::new();
        for (messages, wanted) in [
            (built(&["build", "-p", "nexin", "-p", "nexin-cni"])?, vec!["nexin", "nexin-cni"]),
            (built(&["test", "--no-run", "-p", "nexin-testbed", "--test", "netns"])?, vec!["netns"]),
        ] {
            for name in wanted {
                let found = messages.iter().find(|m| m["target"]["name"] == name && m["executable"].is_string());
                let Some(path) = found.and_then(|m| m["executable"].as_str()) else { fail!("cargo built no {name}") };
                files.push(PathBuf::from(path));
            }
        }
        let metadata = read(Command::new("cargo").args(["metadata", "--no-deps", "--format-version", "1"]))?;
        let metadata: Value = serde_json::from_str(&metadata)?;
        let Some(target) = metadata["target_directory"].as_str() else { fail!("cargo metadata names no target") };
        Ok(Self { target: target.into(), files })
    }

    /// Names of all tests of the suite.
    pub(super) fn tests(&self) -> Result<BTreeSet<String>> {
        let Some(suite) = self.files.last() else { fail!("cargo built no suite") };
        let listed = read(Command::new(suite).args(["--list", "--format", "terse"]))?;
        Ok(listed.lines().filter_map(|line| line.strip_suffix(": test")).map(str::to_owned).collect())
    }
}

/// Writes the initramfs and returns its path.
pub(super) fn pack(kernel: &Kernel, programs: &Programs, arguments: &[String]) -> Result<PathBuf> {
    let folder = programs.target.join("vm").join(format!("root-{}", kernel.version.name()));
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    for part in ["bin", "boot", "dev", "etc", "lib/modules", "proc", "sys", "run", "tmp", "nexin", "var/lib", "root"] {
        fs::create_dir_all(folder.join(part))?;
    }
    fs::create_dir_all(folder.join(PLUGIN_FOLDER))?;
    symlink("../bin", folder.join("usr/bin"))?;
    fs::write(folder.join("etc/hosts"), "127.0.0.1 localhost\n")?;
    fs::write(folder.join("etc/resolv.conf"), "")?;
    let mut libraries = BTreeSet::new();
    for tool in TOOLS {
        let Some(path) = which(tool) else { fail!("the tests need {tool}: run ./x setup --test") };
        fs::copy(&path, folder.join("bin").join(tool))?;
        libraries.extend(needed_libraries(&path)?);
    }
    for plugin in REFERENCE_PLUGINS {
        let path = Path::new("/").join(PLUGIN_FOLDER).join(plugin);
        fs::copy(&path, folder.join(PLUGIN_FOLDER).join(plugin))?;
        libraries.extend(needed_libraries(&path)?);
    }
    for program in &programs.files {
        let name = program.file_stem().unwrap_or_default().to_string_lossy();
        // The test program's name carries cargo's hash.
        let name = if name.starts_with("netns-") { "netns".into() } else { name };
        read(Command::new("strip").arg("-o").arg(folder.join("nexin").join(&*name)).arg(program))?;
        libraries.extend(needed_libraries(program)?);
    }
    for library in libraries {
        let inside = folder.join(library.strip_prefix("/")?);
        if let Some(parent) = inside.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::copy(&library, inside)?;
    }
    fs::copy(&kernel.config, folder.join(format!("boot/config-{}", kernel.release)))?;
    let Some(busybox) = which("busybox") else { fail!("busybox-static is missing: run ./x setup --test") };
    fs::copy(busybox, folder.join("bin/busybox"))?;
    symlink("busybox", folder.join("bin/sh"))?;
    for (i, module) in kernel.modules.iter().enumerate() {
        add_module(module, &folder.join(format!("lib/modules/{i:02}.ko")))?;
    }
    fs::write(folder.join("init"), init_script(arguments))?;
    fs::set_permissions(folder.join("init"), fs::Permissions::from_mode(0o755))?;
    let image = programs.target.join("vm").join(format!("root-{}.cpio.gz", kernel.version.name()));
    let pipeline = "set -o pipefail; find . | cpio -o -H newc --quiet | gzip -1 > \"$0\"";
    read(Command::new("bash").args(["-c", pipeline]).arg(&image).current_dir(&folder))?;
    fs::remove_dir_all(&folder)?;
    Ok(image)
}

/// Nothing in the guest reads compressed modules.
fn add_module(module: &Path, inside: &Path) -> Result<()> {
    if module.extension().is_some_and(|e| e == "xz") {
        let pipeline = "xz -dc \"$0\" > \"$1\"";
        read(Command::new("sh").args(["-c", pipeline]).arg(module).arg(inside))?;
    } else {
        fs::copy(module, inside)?;
    }
    Ok(())
}

fn init_script(arguments: &[String]) -> String {
    let arguments = arguments.iter().map(|f| format!("'{}'", f.replace('\'', ""))).collect::<Vec<_>>().join(" ");
    format!(
        "#!/bin/busybox sh
/bin/busybox --install -s /bin 2>/dev/null
export PATH=/bin HOME=/root TESTBED_PROGRAMS=/nexin TESTBED_PATIENCE=10 RUST_BACKTRACE=0
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /tmp
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t bpf bpf /sys/fs/bpf
for module in /lib/modules/*.ko; do insmod $module; done
ip link set lo up
/nexin/netns --test-threads=2 {arguments}
echo \"{VERDICT}$?\"
poweroff -f
"
    )
}

fn which(program: &str) -> Option<PathBuf> {
    let folders = ["/bin", "/usr/bin", "/sbin", "/usr/sbin"];
    folders.iter().map(|f| Path::new(f).join(program)).find(|p| p.is_file())
}

/// Shared libraries and the loader; none for a static program.
fn needed_libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let output = Command::new("ldd").arg(program).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let path = |line: &str| line.split_whitespace().find(|w| w.starts_with('/')).map(PathBuf::from);
    Ok(text.lines().filter_map(path).collect())
}
