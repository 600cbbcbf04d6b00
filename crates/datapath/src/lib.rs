//! The hands: brings the kernel to what the agent desires, and keeps it there.
//!
//! Everything Nexin has in the kernel's BPF goes through [`Datapath`]: maps, policies, programs on devices, flows,
//! events, counters. It decides no policy and no address, talks to nobody but the kernel, keeps nothing on disk but pins,
//! and is not async: one owner calls it. State that a restart needs is in the kernel and is read back by [`Datapath::open`].

mod apply;
mod capture;
mod ct;
mod desired;
mod dump;
mod error;
mod events;
mod gc;
mod layout;
mod links;
mod metrics;
mod mirror;
mod options;
mod policy;
mod repair;
mod tables;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nexin_abi::maps::config::Config;
use nexin_abi::maps::endpoint::Endpoints;
use nexin_bpf::clock::Jiffies;
use nexin_bpf::{Loaded, bpffs};

pub use apply::ApplyReport;
pub use capture::{CaptureId, Copies, PacketFilter, PacketSide};
pub use ct::{Flow, FlowFilter, FlowState, Protocol};
pub use desired::{Desired, DeviceSpec, EndpointSpec};
pub use dump::{KernelPolicy, MapEntry, MapUse};
pub use error::{Error, Result};
pub use events::{Class, EventReader, Events, Lost};
pub use gc::GcReport;
pub use links::{Attach, ProgramKind};
pub use metrics::{Counter, Memory, Pressure};
pub use nexin_abi::maps::config::{Aggregation, Telling};
pub use nexin_bpf::clock::Offset;
pub use nexin_bpf::probe;
pub use options::{EventRate, Options};
pub use repair::RepairReport;

/// Target of this crate's log lines.
const NX: &str = "nexin::datapath";

/// How long [`Datapath::open`] waits for an agent that is about to end.
const LOCK_WAIT: Duration = Duration::from_secs(1);
/// How long freed entries rest where the kernel cannot say when nobody uses them any more.
const REST: Duration = Duration::from_secs(1);

/// The kernel's side of this node.
pub struct Datapath {
    kernel: Loaded,
    /// Held as long as this value lives, so that no second agent uses the same pins.
    _lock: File,
    bpffs: PathBuf,
    policies: policy::PolicyStore,
    tables: tables::Tables,
    links: links::Links,
    flows: ct::Flows,
    captures: capture::Captures,
    collector: gc::Collector,
    /// Names of the interfaces that have programs.
    names: BTreeMap<u32, String>,
    retired_at: Instant,
    strays_removed: bool,
    overflows: u64,
    adopted: Adopted,
}

/// What [`Datapath::open`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Adopted {
    /// Maps that were pinned.
    pub maps: usize,
    /// Endpoints in the kernel.
    pub endpoints: usize,
    /// Programs on devices, now replaced by this version's.
    pub links: usize,
    /// Other layout versions that have pins here. They are left alone.
    pub other_layouts: Vec<u32>,
    /// Maps whose size differs from the one asked for: name, size.
    pub sizes: Vec<(String, u32)>,
}

impl Datapath {
    /// Loads this version's programs over the pinned maps of an earlier process, or over new ones, and switches existing
    /// links to them. Nothing is cleaned up before the first [`Datapath::apply`].
    pub fn open(options: &Options) -> Result<Self> {
        let dir = layout::dir(&options.bpffs, nexin_abi::LAYOUT);
        bpffs::ensure(&dir)?;
        let lock = lock(&dir)?;
        let jiffies = Jiffies::new()?;
        let kernel = options.loader(jiffies.hz()).pins(&dir).load(nexin_bpf::object())?;
        let endpoints = kernel.map::<Endpoints>()?.entries()?;
        let in_use: BTreeSet<u32> = endpoints.iter().flat_map(|(_, e)| [e.ingress_policy, e.egress_policy]).collect();
        let policies = policy::PolicyStore::open(&kernel, &in_use)?;
        let mut tables = tables::Tables::open(&kernel)?;
        tables.tell(options.telling.bits(jiffies.hz()), u32::MAX)?;
        let links = links::Links::adopt(&links::dir(&dir), options.attach, &kernel)?;
        let wrong_size = |name: &&String| {
            kernel.raw_map(name).is_ok_and(|map| Some(&map.max_entries()) != options.entries.get(*name))
        };
        let size = |name: &String| (name.clone(), kernel.raw_map(name).map_or(0, nexin_bpf::RawMap::max_entries));
        let adopted = Adopted {
            maps: kernel.adopted().len(),
            endpoints: tables.endpoints.known().len(),
            links: links.list().count(),
            other_layouts: layout::others(&options.bpffs)?,
            sizes: options.entries.keys().filter(wrong_size).map(size).collect(),
        };
        if !adopted.other_layouts.is_empty() {
            tracing::warn!(target: NX, layouts = ?adopted.other_layouts, dir = %options.bpffs.display(), "pins of other versions are left alone");
        }
        let flows = ct::Flows::open(&kernel, jiffies)?;
        let captures = capture::Captures::open(&kernel)?;
        Ok(Self {
            kernel,
            _lock: lock,
            bpffs: options.bpffs.clone(),
            policies,
            tables,
            links,
            flows,
            captures,
            collector: gc::Collector::default(),
            names: BTreeMap::new(),
            retired_at: Instant::now(),
            strays_removed: false,
            overflows: 0,
            adopted,
        })
    }

    /// What [`Datapath::open`] found.
    pub fn adopted(&self) -> &Adopted {
        &self.adopted
    }

    /// The loaded object: programs and raw maps.
    pub fn kernel(&self) -> &Loaded {
        &self.kernel
    }

    /// `"tcx"` or `"clsact"`.
    pub fn attach_mode(&self) -> &'static str {
        if self.links.tcx() { "tcx" } else { "clsact" }
    }

    /// Changes what the programs tell, from the next packet on. Events under way come as before.
    pub fn tell(&mut self, telling: Telling) -> Result<()> {
        let bits = telling.bits(self.flows.hz());
        self.tables.tell(bits, !Config::CAPTURE)
    }

    /// Moves up to `limit` programs of new workloads from clsact, where they went on quickly, to tcx, where they cost less and
    /// no other tool removes them. Each takes an RCU grace period under the kernel's rtnl lock, so this is for idle moments.
    /// Returns how many are left.
    pub fn settle(&mut self, limit: usize) -> Result<usize> {
        self.links.settle(limit, &self.names, &self.kernel)
    }

    /// Frees everything that went out of use, after waiting until no packet can still see it. `false` if that is not known
    /// yet. Takes milliseconds; [`Datapath::gc`] does the same in slices.
    pub fn sweep(&mut self) -> Result<bool> {
        if !self.grace() {
            return Ok(false);
        }
        self.policies.sweep(usize::MAX)
    }

    /// Waits for a grace period if anything needs one. `false` if it cannot be known to have passed.
    fn grace(&mut self) -> bool {
        if self.policies.needs_grace() {
            if nexin_bpf::wait_for_programs().is_err() && self.retired_at.elapsed() < REST {
                return false;
            }
            self.policies.graced();
        }
        true
    }

    /// As [`clean_up`], for an agent that is running: returns how many programs it took off.
    pub fn uninstall(self, other_layouts: bool) -> Result<usize> {
        let bpffs = self.bpffs.clone();
        drop(self);
        clean_up(&bpffs, other_layouts)
    }
}

/// Takes all programs off all devices and removes the pins of this layout (with `other_layouts` of all) under `bpffs`. Traffic
/// of workloads stops, or flows unpoliced, as the node's routes have it. Needs no program to load, so it also cleans up after
/// a version that this one cannot take over. Returns how many programs it took off.
pub fn clean_up(bpffs: &Path, other_layouts: bool) -> Result<usize> {
    let mut versions = if other_layouts { layout::others(bpffs)? } else { Vec::new() };
    versions.push(nexin_abi::LAYOUT);
    let mut removed = 0;
    for dir in versions.into_iter().map(|version| layout::dir(bpffs, version)).filter(|dir| dir.exists()) {
        let lock = lock(&dir)?;
        removed += links::remove_pinned(&links::dir(&dir))?;
        bpffs::remove_all(&dir)?;
        drop(lock);
    }
    Ok(removed + links::remove_strays(&BTreeSet::new())?)
}

/// The lock on the pins. An agent that is being replaced lets go of it when it ends, so wait a moment.
fn lock(dir: &Path) -> Result<File> {
    let fail = |source| Error::File { path: dir.into(), source };
    let file = File::open(dir).map_err(fail)?;
    let start = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(std::fs::TryLockError::WouldBlock) if start.elapsed() < LOCK_WAIT => std::thread::sleep(LOCK_WAIT / 20),
            Err(std::fs::TryLockError::WouldBlock) => return Err(Error::Locked(dir.into())),
            Err(std::fs::TryLockError::Error(source)) => return Err(fail(source)),
        }
    }
}
