//! A workload's connection to its node as one thing: made, checked, repaired and removed whole.
//!
//! Every operation may be repeated, and may follow one that was cut off half-way. Decides nothing: names, addresses and
//! owners come from the caller, who also attaches the kernel programs.

mod attach;
mod check;
mod plan;
mod settle;

pub use check::{Drift, Side};
pub use plan::{AddressPlan, GatewayPlan, WiredLinks, WorkloadSpec};

use crate::{Address, Error, IfName, Link, Netlink, Netns, Result, Route};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError, RwLock},
};

/// What [`Wiring::check`] looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The node's side only: no namespace is entered.
    Host,
    Both,
}

/// What [`Wiring::sweep`] removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    pub links: Vec<String>,
    pub routes: usize,
}

/// Links, addresses and routes of the node's namespace at one time.
#[derive(Clone, Debug, Default)]
pub struct NodeView {
    pub links: Vec<Link>,
    pub addresses: Vec<Address>,
    /// Unicast and other routes, all tables.
    pub routes: Vec<Route>,
}

/// Wires workloads to the node that lives in one network namespace. Clones share everything.
#[derive(Clone, Debug)]
pub struct Wiring {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    host: Netns,
    /// An idle socket in the host's namespace. One: when several operations run at a time, the others open their own.
    idle: Mutex<Option<Netlink>>,
    /// Held for writing while links without an owner are removed: an attach that is under way has not written its yet.
    making: RwLock<()>,
}

impl Wiring {
    pub fn open(host: Netns) -> Result<Self> {
        let first = host.netlink()?;
        Ok(Self { inner: Arc::new(Inner { host, idle: Mutex::new(Some(first)), making: RwLock::new(()) }) })
    }

    /// The gateway addresses on `lo` (and no other of ours), and forwarding. Repeat it when [`crate::Watcher`] reports
    /// that one is gone.
    pub async fn prepare_node(&self, plan: GatewayPlan) -> Result<()> {
        self.blocking(move |inner| inner.in_host(|netlink| attach::prepare_node(netlink, &plan))).await
    }

    /// Makes (or finds) the pair and leaves it down, so that programs can be attached before the first packet.
    /// [`Wiring::attach_workload`] does the rest.
    pub async fn make_links(&self, spec: WorkloadSpec) -> Result<WiredLinks> {
        self.blocking(move |inner| inner.with_workload(&spec, attach::make)).await
    }

    /// Makes, completes or corrects a workload's link pair, addresses, routes and neighbours.
    pub async fn attach_workload(&self, spec: WorkloadSpec) -> Result<WiredLinks> {
        self.blocking(move |inner| inner.attach(&spec)).await
    }

    /// Removes the pair and all that hangs on it; false when nothing was there. A link of that name with another owner is
    /// left alone, and that counts as nothing there.
    pub async fn detach_workload(&self, host_ifname: IfName, owner: String) -> Result<bool> {
        self.blocking(move |inner| inner.in_host(|netlink| attach::detach(netlink, &host_ifname, &owner))).await
    }

    /// What differs from what [`Wiring::attach_workload`] would make.
    pub async fn check(&self, spec: WorkloadSpec, scope: Scope) -> Result<Vec<Drift>> {
        self.blocking(move |inner| inner.check(&spec, scope)).await
    }

    /// [`Wiring::check`] of the host's side for many at the cost of one: by owner, only those with differences.
    pub async fn check_hosts(&self, specs: Vec<WorkloadSpec>) -> Result<BTreeMap<String, Vec<Drift>>> {
        self.blocking(move |inner| inner.in_host(|netlink| check::hosts(netlink, &specs))).await
    }

    /// Checks, and where something differs wires again. The links it returns have a new `host_ifindex` when the pair had
    /// to be made anew; programs must then be attached again.
    pub async fn repair(&self, spec: WorkloadSpec, scope: Scope) -> Result<(Vec<Drift>, Option<WiredLinks>)> {
        self.blocking(move |inner| {
            let drift = inner.check(&spec, scope)?;
            let wired = if drift.is_empty() { None } else { Some(inner.attach(&spec)?) };
            Ok((drift, wired))
        })
        .await
    }

    /// Removes links that carry our mark, or half of it, and whose owner is not among `live`, and routes of ours that
    /// lead to no link of a live owner.
    pub async fn sweep(&self, live: BTreeSet<String>) -> Result<Swept> {
        self.blocking(move |inner| {
            let _nobody_attaches = inner.making.write().unwrap_or_else(PoisonError::into_inner);
            inner.in_host(|netlink| attach::sweep(netlink, &live))
        })
        .await
    }

    /// Everything of the node at once, for choosing devices and masquerade addresses.
    pub async fn node_view(&self) -> Result<NodeView> {
        self.blocking(|inner| {
            inner.in_host(|netlink| {
                Ok(NodeView { links: netlink.links()?, addresses: netlink.addresses()?, routes: netlink.routes()? })
            })
        })
        .await
    }

    async fn blocking<T: Send + 'static>(&self, work: impl FnOnce(&Inner) -> Result<T> + Send + 'static) -> Result<T> {
        let inner = Arc::clone(&self.inner);
        let done = tokio::task::spawn_blocking(move || work(&inner)).await;
        done.map_err(|_| Error::ThreadDied("wiring"))?
    }
}

impl Inner {
    fn attach(&self, spec: &WorkloadSpec) -> Result<WiredLinks> {
        self.with_workload(spec, attach::attach)
    }

    fn with_workload(
        &self,
        spec: &WorkloadSpec,
        work: fn(&mut Netlink, &Netns, &WorkloadSpec) -> Result<WiredLinks>,
    ) -> Result<WiredLinks> {
        let _no_sweep = self.making.read().unwrap_or_else(PoisonError::into_inner);
        let netns = Netns::open(&spec.netns)?;
        if netns.id()? == self.host.id()? {
            return Err(Error::HostNamespace(spec.netns.clone()));
        }
        self.in_host(|netlink| work(netlink, &netns, spec))
    }

    fn check(&self, spec: &WorkloadSpec, scope: Scope) -> Result<Vec<Drift>> {
        let (mut drift, link) = self.in_host(|netlink| check::host(netlink, spec))?;
        if let (Scope::Both, Some(link)) = (scope, link) {
            match Netns::open(&spec.netns) {
                Ok(netns) => drift.extend(check::workload(&netns, spec, &link)?),
                Err(Error::NoSuchNamespace(_)) => drift.push(Drift::NamespaceGone),
                Err(e) => return Err(e),
            }
        }
        Ok(drift)
    }

    /// `/proc/sys/net` shows the namespace of the thread that looks, so the work must run in the host's.
    fn in_host<T: Send>(&self, work: impl FnOnce(&mut Netlink) -> Result<T> + Send) -> Result<T> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).take();
        let mut netlink = idle.map_or_else(|| self.host.netlink(), Ok)?;
        let done = if self.host.is_current()? { work(&mut netlink) } else { self.host.run(|| work(&mut netlink))? };
        *self.idle.lock().unwrap_or_else(PoisonError::into_inner) = Some(netlink);
        done
    }
}
