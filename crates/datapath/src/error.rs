//! What can go wrong between desired state and kernel.

use std::path::PathBuf;

use nexin_policy::tables::PolicyKey;

/// The kernel does not have what was asked for.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Kernel(#[from] nexin_bpf::Error),
    /// A table has no room; what was in force before stays in force.
    #[error("kernel table {table} is full ({entries} entries); the last good state stays in force")]
    TableFull { table: &'static str, entries: u32 },
    /// An endpoint names a policy that is not among the desired ones.
    #[error("policy {0:?} is named by an endpoint but was not given")]
    NoSuchPolicy(PolicyKey),
    #[error("endpoint number {0} is outside 1..{max}", max = nexin_abi::maps::endpoint::Endpoint::COUNT)]
    BadEndpoint(u16),
    /// All 255 slots for masquerading addresses are taken by addresses in use.
    #[error("no room for another masquerading address")]
    TooManyNatAddresses,
    #[error("all {0} captures are taken")]
    TooManyCaptures(u32),
    /// Another process holds this directory.
    #[error("{} is in use by another agent", .0.display())]
    Locked(PathBuf),
    #[error("{}: {source}", .path.display())]
    File { path: PathBuf, source: std::io::Error },
}

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// What to do about it, in one sentence.
    pub fn next_step(&self) -> &'static str {
        match self {
            Self::Kernel(e) => e.next_step(),
            Self::TableFull { .. } => {
                "Use fewer distinct policies, or raise the table's size in the settings (datapath.*_entries): stop the agent, run `nexin agent --clean-up`, start it again."
            }
            Self::NoSuchPolicy(_) | Self::BadEndpoint(_) => "This is a bug of the agent; report it with this message.",
            Self::TooManyNatAddresses => "Set the masquerading address of the devices explicitly.",
            Self::TooManyCaptures(_) => "End another capture first.",
            Self::Locked(_) => "Stop the other agent, or give this one another datapath.bpffs and agent.run_dir.",
            Self::File { .. } => "Check that the path exists and is writable.",
        }
    }

    /// Turns the kernel's "no room" into ours.
    pub(crate) fn full(&self) -> bool {
        matches!(self, Self::TableFull { .. } | Self::Kernel(nexin_bpf::Error::Full { .. }))
    }
}
