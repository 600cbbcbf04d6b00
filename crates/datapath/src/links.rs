//! Which program is on which device: attached, adopted, upgraded in place, repaired, removed.
//!
//! A tcx link is pinned as `links/<interface>-<program>`, so it outlives the agent; a clsact filter has a fixed
//! handle and priority. Both are replaced atomically. What is neither pinned there nor has that handle is not ours and is
//! never touched.
//!
//! Attaching by tcx waits for an RCU grace period under the kernel's rtnl lock (some 10 ms, `tcx_entry_sync`), twice for a
//! workload. So a new workload's programs go on by clsact, which waits for nothing, and are moved to tcx later
//! ([`Links::settle`]): the tcx program comes on first, and since it always decides, the filter behind it sees no packet.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use nexin_bpf::{Hook, Link, Loaded, bpffs, clsact};

use crate::error::{Error, Result};

/// The four programs and where they go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ProgramKind {
    FromWorkload,
    ToWorkload,
    FromNetwork,
    ToNetwork,
}

impl ProgramKind {
    pub const ALL: [Self; 4] = [Self::FromWorkload, Self::ToWorkload, Self::FromNetwork, Self::ToNetwork];
    /// On the host side of a workload's veth pair.
    pub const WORKLOAD: [Self; 2] = [Self::FromWorkload, Self::ToWorkload];
    /// On devices that lead to the network.
    pub const NETWORK: [Self; 2] = [Self::FromNetwork, Self::ToNetwork];

    /// Name in the kernel object.
    pub const fn name(self) -> &'static str {
        match self {
            Self::FromWorkload => "from_workload",
            Self::ToWorkload => "to_workload",
            Self::FromNetwork => "from_network",
            Self::ToNetwork => "to_network",
        }
    }

    pub const fn hook(self) -> Hook {
        match self {
            Self::FromWorkload | Self::FromNetwork => Hook::Ingress,
            Self::ToWorkload | Self::ToNetwork => Hook::Egress,
        }
    }

    fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// How programs are attached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Attach {
    /// tcx where the kernel has it (workloads: after a moment by clsact, see [`crate::Datapath::settle`]), else clsact.
    #[default]
    Auto,
    Tcx,
    Clsact,
}

/// One attachment as the kernel has it.
enum Attached {
    Tcx { link: Link, pin: PathBuf },
    Clsact,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Tcx,
    Clsact,
}

impl Attached {
    fn way(&self) -> Way {
        match self {
            Self::Tcx { .. } => Way::Tcx,
            Self::Clsact => Way::Clsact,
        }
    }
}

/// All attachments of this agent.
pub(crate) struct Links {
    dir: PathBuf,
    tcx: bool,
    /// Workloads may begin with clsact.
    quick: bool,
    attached: BTreeMap<(u32, ProgramKind), Attached>,
}

impl Links {
    /// Takes over the links pinned in `dir` and switches them to the programs of `kernel`. Links whose device has gone are
    /// forgotten.
    pub(crate) fn adopt(dir: &Path, attach: Attach, kernel: &Loaded) -> Result<Self> {
        let tcx = match attach {
            Attach::Tcx => true,
            Attach::Clsact => false,
            Attach::Auto => nexin_bpf::probe::tcx(),
        };
        bpffs::ensure(dir)?;
        let quick = tcx && attach == Attach::Auto;
        let mut links = Self { dir: dir.into(), tcx, quick, attached: BTreeMap::new() };
        for name in bpffs::list(dir)? {
            let pin = dir.join(&name);
            let kind = name.rsplit_once('-').and_then(|(_, program)| ProgramKind::of(program));
            let (Some(kind), Some(link)) = (kind, Link::open_pin(&pin)?) else { continue };
            let status = link.status()?;
            if status.ifindex == 0 {
                bpffs::unpin(&pin)?;
                continue;
            }
            link.update(kernel.program(kind.name())?)?;
            links.attached.insert((status.ifindex, kind), Attached::Tcx { link, pin });
        }
        Ok(links)
    }

    /// Whether programs go on by tcx (else clsact).
    pub(crate) fn tcx(&self) -> bool {
        self.tcx
    }

    /// Puts `kind` on the device; nothing happens when it is there. Returns whether anything changed.
    pub(crate) fn ensure(&mut self, ifindex: u32, ifname: &str, kind: ProgramKind, kernel: &Loaded) -> Result<bool> {
        let last = if self.tcx { Way::Tcx } else { Way::Clsact };
        let first = if self.quick && ProgramKind::WORKLOAD.contains(&kind) { Way::Clsact } else { last };
        let there = self.attached.get(&(ifindex, kind)).map(Attached::way);
        if there.is_some_and(|way| way == first || way == last) {
            return Ok(false);
        }
        match self.attach(ifindex, ifname, kind, first, kernel) {
            // A kernel with tcx may be built without the classifier that clsact needs.
            Err(Error::Kernel(e)) if first != last && e.errno() != Some(nexin_bpf::ENODEV) => {
                tracing::debug!(target: crate::NX, error = %e, "no clsact here; programs go on by tcx at once");
                self.quick = false;
                self.attach(ifindex, ifname, kind, last, kernel)?;
            }
            other => other?,
        }
        Ok(true)
    }

    /// Moves up to `limit` programs from clsact to tcx. Returns how many are left.
    pub(crate) fn settle(&mut self, limit: usize, names: &BTreeMap<u32, String>, kernel: &Loaded) -> Result<usize> {
        let unsettled: Vec<(u32, ProgramKind)> = self.unsettled().collect();
        for &(ifindex, kind) in unsettled.iter().take(limit) {
            let Some(name) = names.get(&ifindex) else { continue };
            match self.attach(ifindex, name, kind, Way::Tcx, kernel) {
                Err(Error::Kernel(e)) if e.errno() == Some(nexin_bpf::ENODEV) => {
                    drop(self.attached.remove(&(ifindex, kind)))
                }
                other => other?,
            }
        }
        Ok(unsettled.len().saturating_sub(limit))
    }

    fn unsettled(&self) -> impl Iterator<Item = (u32, ProgramKind)> {
        let waiting = |attached: &Attached| self.tcx && attached.way() == Way::Clsact;
        self.attached.iter().filter(move |(_, attached)| waiting(attached)).map(|(at, _)| *at)
    }

    fn attach(&mut self, ifindex: u32, ifname: &str, kind: ProgramKind, way: Way, kernel: &Loaded) -> Result<()> {
        let program = kernel.program(kind.name())?;
        let new = match way {
            Way::Tcx => {
                let pin = self.dir.join(pin_name(ifname, kind));
                let link = Link::attach(program, ifindex, kind.hook())?;
                // Left by a device of the same name that has gone.
                bpffs::unpin(&pin)?;
                link.pin(&pin)?;
                Attached::Tcx { link, pin }
            }
            Way::Clsact => {
                clsact::attach(program, ifindex, kind.hook())?;
                Attached::Clsact
            }
        };
        // The new one is on before the old one goes, so that no packet passes unseen.
        match self.attached.insert((ifindex, kind), new) {
            Some(Attached::Tcx { link, pin: old }) => {
                link.detach()?;
                let replaced = way == Way::Tcx && old == self.dir.join(pin_name(ifname, kind));
                if replaced { Ok(()) } else { Ok(bpffs::unpin(&old)?) }
            }
            // The other way leaves its filter behind when the way changes.
            None | Some(Attached::Clsact) if way == Way::Tcx => Ok(clsact::detach(ifindex, kind.hook())?),
            None | Some(Attached::Clsact) => Ok(()),
        }
    }

    /// Takes off everything that `wanted` does not name. Returns how many programs went.
    pub(crate) fn retain(&mut self, wanted: &BTreeSet<(u32, ProgramKind)>) -> Result<usize> {
        let gone: Vec<(u32, ProgramKind)> = self.attached.keys().filter(|at| !wanted.contains(at)).copied().collect();
        for at in &gone {
            self.detach(*at)?;
        }
        Ok(gone.len())
    }

    fn detach(&mut self, at: (u32, ProgramKind)) -> Result<()> {
        match self.attached.remove(&at) {
            Some(Attached::Tcx { link, pin }) => {
                link.detach()?;
                bpffs::unpin(&pin)?;
            }
            Some(Attached::Clsact) => clsact::detach(at.0, at.1.hook())?,
            None => {}
        }
        Ok(())
    }

    /// Checks every attachment in the kernel and puts back what was removed or changed. `names` gives interfaces their
    /// names. Returns how many were repaired; a device that has gone is left to the next apply.
    pub(crate) fn repair(&mut self, names: &BTreeMap<u32, String>, kernel: &Loaded) -> Result<usize> {
        let mut broken = Vec::new();
        for (&(ifindex, kind), attached) in &self.attached {
            let program = kernel.program(kind.name())?;
            let right = match attached {
                Attached::Tcx { link, pin } => {
                    let status = link.status()?;
                    let pinned = match Link::open_pin(pin) {
                        Ok(Some(pinned)) => pinned.status()?.id == status.id,
                        Ok(None) | Err(_) => false,
                    };
                    status.ifindex == ifindex && status.program == program.id() && pinned
                }
                Attached::Clsact => clsact::attached(ifindex, kind.hook())? == Some(program.id()),
            };
            if !right {
                broken.push((ifindex, kind));
            }
        }
        let mut repaired = 0;
        for (ifindex, kind) in broken {
            let Some(name) = names.get(&ifindex) else { continue };
            repaired += usize::from(self.mend(ifindex, name, kind, kernel)?);
        }
        Ok(repaired)
    }

    fn mend(&mut self, ifindex: u32, ifname: &str, kind: ProgramKind, kernel: &Loaded) -> Result<bool> {
        let program = kernel.program(kind.name())?;
        if let Some(Attached::Tcx { link, pin }) = self.attached.get(&(ifindex, kind))
            && link.status()?.ifindex == ifindex
        {
            link.update(program)?;
            bpffs::unpin(pin)?;
            link.pin(pin)?;
            return Ok(true);
        }
        let way = self.attached.get(&(ifindex, kind)).map_or(Way::Clsact, Attached::way);
        match self.attach(ifindex, ifname, kind, way, kernel) {
            Ok(()) => Ok(true),
            Err(Error::Kernel(e)) if e.errno() == Some(nexin_bpf::ENODEV) => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// Attachments by interface index.
    pub(crate) fn list(&self) -> impl Iterator<Item = (u32, ProgramKind)> {
        self.attached.keys().copied()
    }
}

/// Removes our filters from interfaces where nothing of `wanted` is: an earlier process left them, and filters have no
/// pins by which they would be found.
pub(crate) fn remove_strays(wanted: &BTreeSet<(u32, ProgramKind)>) -> Result<usize> {
    let mut removed = 0;
    for ifindex in clsact::interfaces()? {
        for hook in [Hook::Ingress, Hook::Egress] {
            let ours = wanted.iter().any(|(at, kind)| *at == ifindex && kind.hook() == hook);
            if !ours && clsact::attached(ifindex, hook)?.is_some() {
                clsact::detach(ifindex, hook)?;
                removed += 1;
            }
        }
    }
    Ok(removed)
}

/// Takes off every program that has a link pinned in `dir`, whatever version it is. Returns how many were on a device.
pub(crate) fn remove_pinned(dir: &Path) -> Result<usize> {
    let mut removed = 0;
    for name in bpffs::list(dir)? {
        let pin = dir.join(name);
        if let Some(link) = Link::open_pin(&pin)? {
            removed += usize::from(link.status()?.ifindex != 0);
            link.detach()?;
        }
        bpffs::unpin(&pin)?;
    }
    Ok(removed)
}

/// Where the links of a layout's directory are pinned.
pub(crate) fn dir(layout: &Path) -> PathBuf {
    layout.join("links")
}

/// bpffs refuses dots in names, which VLAN interfaces have.
fn pin_name(ifname: &str, kind: ProgramKind) -> String {
    let ifname = ifname.replace('%', "%25").replace('.', "%2e");
    format!("{ifname}-{}", kind.name())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pin_names_differ_and_have_no_dots() {
        assert_eq!(pin_name("eth0", ProgramKind::ToNetwork), "eth0-to_network");
        assert_eq!(pin_name("eth0.7", ProgramKind::ToNetwork), "eth0%2e7-to_network");
        assert_ne!(pin_name("a%2e", ProgramKind::ToNetwork), pin_name("a.", ProgramKind::ToNetwork));
    }
}
