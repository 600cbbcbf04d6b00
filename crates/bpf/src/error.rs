//! What can go wrong at the kernel's door, with what an operator needs to act: names, errno, the verifier's last words.

use std::io;
use std::path::PathBuf;

/// A call of this crate failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The embedded object cannot be read or prepared (a bug of the build), or its maps cannot be made.
    #[error("cannot prepare the kernel object: {0}")]
    Object(#[source] Box<aya::EbpfError>),
    /// The kernel refused a program. `log` is the end of the verifier's log.
    #[error("the kernel refused program {program}: {source}\n{log}")]
    Verifier { program: String, log: String, source: io::Error },
    #[error("program {0} is not in the kernel object")]
    NoProgram(String),
    /// A call on a map failed.
    #[error("map {map}: {call} failed: {source}")]
    Map { map: String, call: &'static str, source: io::Error },
    /// The map takes no more entries.
    #[error("map {map} is full ({entries} entries)")]
    Full { map: String, entries: u32 },
    /// A pinned map does not have the layout this version writes.
    #[error("pinned map {pin}: its {what} is {found}, this version needs {wanted}", pin = .pin.display())]
    Layout { pin: PathBuf, what: &'static str, found: u32, wanted: u32 },
    #[error("pin {path}: {source}", path = .path.display())]
    Pin { path: PathBuf, source: io::Error },
    /// The directory cannot hold pins.
    #[error("{path} is not on a BPF file system and none could be mounted there: {source}", path = .path.display())]
    Mount { path: PathBuf, source: io::Error },
    #[error("cannot attach {program} to interface {interface}: {source}")]
    Attach { program: String, interface: u32, source: io::Error },
    /// Another call of the kernel failed.
    #[error("{call} failed: {source}")]
    Call { call: &'static str, source: io::Error },
}

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// What to do about it, in one sentence.
    pub fn next_step(&self) -> &'static str {
        match self {
            Self::Object(_) | Self::NoProgram(_) => {
                "Rebuild nexin; if it persists, report it as a bug with this message."
            }
            Self::Verifier { source, .. } if source.raw_os_error() == Some(libc::EPERM) => {
                "Run as root, or with CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON; `nexin doctor` shows what is allowed."
            }
            Self::Verifier { .. } => "Report it with this log and the kernel's version (`uname -r`).",
            Self::Full { .. } => {
                "Raise the map's size in the settings (datapath.*_entries); it takes effect on new maps, after `nexin agent --clean-up`."
            }
            Self::Layout { .. } => {
                "Start the version that made the pins, or remove them with `nexin agent --clean-up` (stops traffic)."
            }
            Self::Mount { .. } => "Mount one: mount -t bpf bpf /sys/fs/bpf.",
            Self::Attach { .. } => {
                "Check that the interface exists in the agent's network namespace; `nexin doctor` shows which hooks work."
            }
            Self::Map { .. } | Self::Pin { .. } | Self::Call { .. } => {
                "`nexin doctor` shows what this kernel can do and what is missing."
            }
        }
    }

    /// errno of the failed call, if the kernel gave one.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Verifier { source, .. }
            | Self::Map { source, .. }
            | Self::Pin { source, .. }
            | Self::Mount { source, .. }
            | Self::Attach { source, .. }
            | Self::Call { source, .. } => source.raw_os_error(),
            Self::Object(_) | Self::NoProgram(_) | Self::Full { .. } | Self::Layout { .. } => None,
        }
    }
}
