//! The BPF file system: where pins live, made ready when it is not.

use std::ffi::{CStr, CString};
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::map::c_path;

/// Where Linux wants it mounted.
const USUAL: &str = "/sys/fs/bpf";
/// `BPF_FS_MAGIC`.
const MAGIC: u64 = 0xcafe_4a11;

/// Makes `dir` a directory on a BPF file system. Mounts one where there is none: at `/sys/fs/bpf` for directories below
/// it, else at `dir` itself.
pub fn ensure(dir: &Path) -> Result<()> {
    let fail = |source| Error::Mount { path: dir.into(), source };
    let existing = dir.ancestors().find(|a| a.exists()).unwrap_or(Path::new("/"));
    if !is_bpffs(existing).map_err(fail)? {
        let at = if dir.starts_with(USUAL) { Path::new(USUAL) } else { dir };
        fs::create_dir_all(at).map_err(fail)?;
        mount(at).map_err(fail)?;
    }
    fs::create_dir_all(dir).map_err(fail)
}

/// Whether `path` is on a BPF file system.
pub fn is_bpffs(path: &Path) -> io::Result<bool> {
    let path = CString::new(path.as_os_str().as_encoded_bytes())?;
    let mut stat = std::mem::MaybeUninit::<libc::statfs>::uninit();
    // SAFETY: the path is terminated, `stat` is written by the call.
    if unsafe { libc::statfs(path.as_ptr(), stat.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call succeeded, so it has filled the block.
    let stat = unsafe { stat.assume_init() };
    Ok(stat.f_type as u64 & 0xffff_ffff == MAGIC)
}

fn mount(at: &Path) -> io::Result<()> {
    let path = CString::new(at.as_os_str().as_encoded_bytes())?;
    let kind = c"bpf";
    // SAFETY: all strings are terminated and live; there is no data argument.
    let result = unsafe { libc::mount(kind.as_ptr(), path.as_ptr(), kind.as_ptr(), 0, std::ptr::null()) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Names in `dir`, none if it does not exist.
pub fn list(dir: &Path) -> Result<Vec<String>> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(Error::Pin { path: dir.into(), source }),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|source| Error::Pin { path: dir.into(), source })?;
        names.push(entry.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

/// Removes a pin; one that is not there is fine.
pub fn unpin(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::Pin { path: path.into(), source: e }),
        _ => Ok(()),
    }
}

/// Removes `dir` with all pins in it. Maps and links without another pin or holder go with it.
pub fn remove_all(dir: &Path) -> Result<()> {
    match fs::remove_dir_all(dir) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::Pin { path: dir.into(), source: e }),
        _ => Ok(()),
    }
}

/// A BPF file system of our own that is mounted nowhere and ends with this value.
#[derive(Debug)]
pub(crate) struct Scratch {
    path: PathBuf,
    _mount: OwnedFd,
}

impl Scratch {
    pub(crate) fn new() -> Result<Self> {
        let mount =
            detached_mount(c"bpf").map_err(|source| Error::Call { call: "fsmount of a private bpffs", source })?;
        let path = PathBuf::from(format!("/proc/self/fd/{}", mount.as_raw_fd()));
        c_path(&path)?;
        Ok(Self { path, _mount: mount })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// `fsopen`, `fsconfig`, `fsmount` (Linux 5.2).
fn detached_mount(kind: &CStr) -> io::Result<OwnedFd> {
    const CLOEXEC: u32 = 1;
    const FSCONFIG_CMD_CREATE: u32 = 6;
    let open = |result: i64| {
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: a fresh descriptor that the kernel gave to us alone.
        Ok(unsafe { OwnedFd::from_raw_fd(result as i32) })
    };
    // SAFETY: the string is terminated and live.
    let context = open(unsafe { libc::syscall(libc::SYS_fsopen, kind.as_ptr(), CLOEXEC) })?;
    let none = std::ptr::null::<u8>();
    // SAFETY: this command takes no key and no value.
    if unsafe { libc::syscall(libc::SYS_fsconfig, context.as_raw_fd(), FSCONFIG_CMD_CREATE, none, none, 0) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: integers only.
    open(unsafe { libc::syscall(libc::SYS_fsmount, context.as_raw_fd(), CLOEXEC, 0) })
}
