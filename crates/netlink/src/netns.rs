//! Network namespaces: find, make, enter, name.
//!
//! Entering always happens on a thread of its own that ends afterwards: a pool thread that could not be brought back
//! would do the next task's work in the wrong network. Does not join user or mount namespaces.

use crate::{Error, Netlink, Result};
use nix::{
    errno::Errno,
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, setns, unshare},
};
use std::{
    fs::{self, File},
    io,
    os::{fd::AsRawFd, unix::fs::MetadataExt},
    path::{Path, PathBuf},
    thread,
};

const SELF: &str = "/proc/thread-self/ns/net";
/// `NSFS_MAGIC` of `linux/magic.h`.
const NSFS: i64 = 0x6e73_6673;
/// Where `ip netns` keeps named namespaces.
const RUN: &str = "/run/netns";

/// A network namespace, kept alive while this value lives.
#[derive(Debug)]
pub struct Netns {
    file: File,
    /// For people: the path or process it came from.
    origin: PathBuf,
}

impl Netns {
    /// A bind mount or `/proc/<pid>/ns/net`.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|e| match e.raw_os_error() {
            Some(libc::ENOENT | libc::ESRCH) => Error::NoSuchNamespace(path.to_owned()),
            _ => Error::io(format!("open network namespace {}", path.display()), e),
        })?;
        // A name whose mount is gone is an empty file: to the user that namespace does not exist.
        let kind = nix::sys::statfs::fstatfs(&file).map_err(|e| Error::io(format!("statfs {}", path.display()), e))?;
        if kind.filesystem_type().0 as i64 == NSFS {
            Ok(Self { file, origin: path.to_owned() })
        } else {
            Err(Error::NoSuchNamespace(path.to_owned()))
        }
    }

    /// The calling thread's.
    pub fn current() -> Result<Self> {
        Self::open(Path::new(SELF))
    }

    pub fn of_process(pid: u32) -> Result<Self> {
        Self::open(Path::new(&format!("/proc/{pid}/ns/net")))
    }

    /// As `ip netns` names them.
    pub fn named(name: &str) -> Result<Self> {
        Self::open(&named_path(name))
    }

    /// A new one that lives as long as the value, or a process or mount that holds it. Its `lo` is down.
    pub fn create() -> Result<Self> {
        on_thread("make a network namespace", || {
            unshare(CloneFlags::CLONE_NEWNET).map_err(|e| Error::io("make a network namespace", e))?;
            Self::current()
        })?
    }

    /// A new one with a name that `ip netns` sees and that outlives this process. Its `lo` is down.
    pub fn create_named(name: &str) -> Result<Self> {
        let made = Self::create()?;
        prepare_run_directory()?;
        let path = named_path(name);
        let what = || format!("create network namespace {name}");
        File::options().write(true).create_new(true).open(&path).map_err(|e| Error::io(what(), e))?;
        let source = format!("/proc/self/fd/{}", made.file.as_raw_fd());
        if let Err(e) = mount(Some(source.as_str()), &path, None::<&str>, MsFlags::MS_BIND, None::<&str>) {
            fs::remove_file(&path).map_err(|e| Error::io(what(), e))?;
            return Err(Error::io(what(), e));
        }
        Ok(Self { file: made.file, origin: path })
    }

    /// Removes the name; the namespace itself ends with its last process, mount or open file. No name is success.
    pub fn delete_named(name: &str) -> Result<()> {
        let path = named_path(name);
        match umount2(&path, MntFlags::MNT_DETACH) {
            Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => {}
            Err(e) => return Err(Error::io(format!("unmount {}", path.display()), e)),
        }
        match fs::remove_file(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::io(format!("remove {}", path.display()), e)),
            _ => Ok(()),
        }
    }

    /// Path of a named namespace, whether it exists or not.
    pub fn path_of(name: &str) -> PathBuf {
        named_path(name)
    }

    /// Where it was opened from. Not unique: [`Netns::id`] is.
    pub fn origin(&self) -> &Path {
        &self.origin
    }

    /// A path that opens this very namespace, within this process and while the value lives.
    pub fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), self.file.as_raw_fd()))
    }

    /// Device and inode of the namespace: equal exactly for the same namespace.
    pub fn id(&self) -> Result<(u64, u64)> {
        let meta = self.file.metadata().map_err(|e| Error::io("stat a network namespace", e))?;
        Ok((meta.dev(), meta.ino()))
    }

    pub fn is_current(&self) -> Result<bool> {
        let here = fs::metadata(SELF).map_err(|e| Error::io("stat a network namespace", e))?;
        Ok(self.id()? == (here.dev(), here.ino()))
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    pub fn try_clone(&self) -> Result<Self> {
        let file = self.file.try_clone().map_err(|e| Error::io("duplicate a descriptor", e))?;
        Ok(Self { file, origin: self.origin.clone() })
    }

    /// Runs `work` inside, on a thread of its own (about 50 microseconds), and waits for it. Processes started by `work` are
    /// inside as well.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        on_thread("work inside a network namespace", || {
            setns(&self.file, CloneFlags::CLONE_NEWNET)
                .map_err(|e| Error::io(format!("enter network namespace {}", self.origin.display()), e))?;
            Ok(work())
        })?
    }

    /// Like [`Netns::run`], in a private copy of the mount namespace where each `(source, target)` file of `files` is
    /// mounted over its target. Processes started by `work` keep that view; nobody else sees it.
    pub fn run_with_files<T: Send>(&self, files: &[(PathBuf, PathBuf)], work: impl FnOnce() -> T + Send) -> Result<T> {
        self.run(|| {
            unshare(CloneFlags::CLONE_NEWNS).map_err(|e| Error::io("make a mount namespace", e))?;
            let private = MsFlags::MS_REC | MsFlags::MS_SLAVE;
            mount(None::<&str>, "/", None::<&str>, private, None::<&str>)
                .map_err(|e| Error::io("keep mounts private", e))?;
            for (source, target) in files {
                mount(Some(source), target, None::<&str>, MsFlags::MS_BIND, None::<&str>)
                    .map_err(|e| Error::io(format!("mount {} over {}", source.display(), target.display()), e))?;
            }
            Ok(work())
        })?
    }

    /// A socket that acts inside, usable from anywhere.
    pub fn netlink(&self) -> Result<Netlink> {
        self.run(Netlink::open)?
    }
}

fn on_thread<T: Send>(what: &'static str, work: impl FnOnce() -> T + Send) -> Result<T> {
    thread::scope(|scope| {
        let thread =
            thread::Builder::new().name("netns".into()).spawn_scoped(scope, work).map_err(|e| Error::io(what, e))?;
        thread.join().map_err(|_| Error::ThreadDied(what))
    })
}

fn named_path(name: &str) -> PathBuf {
    Path::new(RUN).join(name)
}

/// Mounts made under the directory must reach other mount namespaces (a runtime's, `ip netns`), and so must their
/// removal; hence it is a shared mount of itself, as iproute2 makes it.
fn prepare_run_directory() -> Result<()> {
    let what = || format!("prepare {RUN}");
    fs::create_dir_all(RUN).map_err(|e| Error::io(what(), e))?;
    let share = || mount(None::<&str>, RUN, None::<&str>, MsFlags::MS_SHARED | MsFlags::MS_REC, None::<&str>);
    match share() {
        Err(Errno::EINVAL) => {
            mount(Some(RUN), RUN, None::<&str>, MsFlags::MS_BIND | MsFlags::MS_REC, None::<&str>)
                .map_err(|e| Error::io(what(), e))?;
            share().map_err(|e| Error::io(what(), e))
        }
        other => other.map_err(|e| Error::io(what(), e)),
    }
}
