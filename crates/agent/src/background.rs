//! What goes on while the agent runs: changes of the node, comparison with the kernel, connections that died,
//! deletions that waited.

use std::collections::BTreeMap;
use std::time::Duration;

use nexin_api::v1::Attachment;
use nexin_netlink::{Change, Drift, Error as NetError, NodeView, Scope, Watcher, WorkloadSpec};
use nexin_runtime::tasks::{CancellationToken, Lifetime};
use serde::Deserialize;
use tokio::time::{Instant, timeout, timeout_at};

use crate::agent::Agent;
use crate::core::Wired;
use crate::error::AgentError;
use crate::flows;
use crate::node::Node;
use crate::policy_dir;
use crate::start::gateway_plan;

/// Changes of the node are gathered for so long before they are looked at.
const SETTLE: Duration = Duration::from_millis(20);
/// Between a change of a workload's link and the look at it.
const QUIET: Duration = Duration::from_millis(200);

/// Everything that runs beside the API, once the agent is ready.
pub(crate) fn spawn(agent: &Agent, watcher: Watcher) {
    let tasks = &agent.0.tasks;
    tasks.spawn("node-watcher", Lifetime::Program, watch_node(agent.clone(), watcher));
    tasks.spawn("checker", Lifetime::Program, check(agent.clone()));
    tasks.spawn("collector", Lifetime::Program, collect(agent.clone()));
    tasks.spawn("policy-directory", Lifetime::Program, policy_dir::watch(agent.clone()));
}

/// Runs until `work` fails or the agent stops.
async fn until_stop(stop: &CancellationToken, work: impl Future<Output = ()>) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = work => {}
    }
}

// === the node ===

async fn watch_node(agent: Agent, mut watcher: Watcher) {
    let stop = agent.0.tasks.stop().clone();
    until_stop(&stop, async {
        loop {
            let mut interest = match watcher.next().await {
                Ok(change) => Interest::of(&change),
                Err(error) => {
                    agent.trouble("node-watcher", Some(format!("changes of the node are not seen: {error}")));
                    return stop.cancelled().await;
                }
            };
            let until = Instant::now() + SETTLE;
            while let Ok(Ok(change)) = timeout_at(until, watcher.next()).await {
                interest = interest.max(Interest::of(&change));
            }
            if interest >= Interest::Node {
                let result = follow_node(&agent).await.err().map(|error| error.to_string());
                agent.trouble("node", result);
            }
            if interest == Interest::Workload {
                agent.0.look.notify_one();
            }
        }
    })
    .await;
}

/// What a change of the node asks for; more includes less.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Interest {
    Nothing,
    Node,
    /// Something of a workload's may have been taken away: compare.
    Workload,
}

impl Interest {
    fn of(change: &Change) -> Self {
        match change {
            Change::LinkGone(link) if link.owner().is_some() => Self::Workload,
            Change::Link(link) if link.owner().is_some() => {
                if link.up {
                    Self::Nothing
                } else {
                    Self::Workload
                }
            }
            Change::RouteGone(route) if route.is_ours() => Self::Workload,
            Change::AddressGone(address) if address.ours => Self::Workload,
            Change::Route(route) | Change::RouteGone(route) if !route.is_default() => Self::Nothing,
            Change::Resync => Self::Workload,
            _ => Self::Node,
        }
    }
}

async fn follow_node(agent: &Agent) -> Result<(), AgentError> {
    let Ok(room) = agent.room() else { return Ok(()) };
    let view = room.wiring.node_view().await?;
    publish_node(agent, &view);
    let node = Node::from_view(&view, &agent.settings().network);
    let missing =
        (!node.missing_devices.is_empty()).then(|| format!("not on this node: {}", node.missing_devices.join(", ")));
    agent.trouble("devices", missing);
    let (_, synced) = room.owner.change(move |core| core.set_node(node)).await?;
    agent.trouble("datapath", synced.error);
    Ok(())
}

/// Flows name the node's interfaces, and relays find the node.
pub(crate) fn publish_node(agent: &Agent, view: &NodeView) {
    let interfaces = view.links.iter().map(|link| (link.index, link.name.clone()));
    agent.0.flows.directory().set_interfaces(interfaces);
    flows::peers(&agent.0.flows, agent.settings(), &Node::from_view(view, &agent.settings().network));
}

// === comparison with the kernel ===

async fn check(agent: Agent) {
    let stop = agent.0.tasks.stop().clone();
    let interval = agent.settings().agent.check_interval.0;
    until_stop(&stop, async {
        let mut last = Instant::now();
        loop {
            // Woken early when something of a workload's was seen to change; else in time.
            let left = interval.saturating_sub(last.elapsed());
            let early = timeout(left, agent.0.look.notified()).await.is_ok();
            if early {
                // Making and removing endpoints wakes too: a burst of them is one look.
                tokio::time::sleep(QUIET).await;
            }
            let everything = last.elapsed() >= interval;
            if everything {
                last = Instant::now();
            }
            let result = check_once(&agent, everything).await.err().map(|error| error.to_string());
            agent.trouble("checker", result);
            run_deletions(&agent).await;
        }
    })
    .await;
}

/// The wiring; and with `everything` the datapath's maps and programs, which takes longer.
async fn check_once(agent: &Agent, everything: bool) -> Result<(), AgentError> {
    let Ok(room) = agent.room() else { return Ok(()) };
    let gateways = room.owner.ask(|owner| owner.core.ipam().gateways()).await?;
    let view = room.wiring.node_view().await?;
    let wanted = [gateways.v4.map(std::net::IpAddr::V4), gateways.v6.map(std::net::IpAddr::V6)];
    let missing = wanted.into_iter().flatten().filter(|ip| !view.addresses.iter().any(|a| a.net.addr() == *ip)).count();
    if missing > 0 {
        room.wiring.prepare_node(gateway_plan(gateways, agent.settings().network.forwarding)).await?;
        agent.0.counters.drifted("gateway-address", missing);
    }
    rewire(agent).await?;
    if !everything {
        return Ok(());
    }
    let repaired = room.owner.ask(|owner| owner.repair()).await??;
    for (object, count) in repaired.by_kind() {
        agent.0.counters.drifted(object, count);
    }
    // What the kernel had no room for may fit now.
    if room.owner.ask(|owner| owner.pending()).await? {
        let ((), synced) = room.owner.change(|core| core.mark_dirty()).await?;
        agent.trouble("datapath", (!synced.complete()).then(|| synced.complaint()));
    }
    Ok(())
}

/// Endpoints that were restored and have no links: their agent died half way, or somebody took the links away.
pub(crate) async fn complete_restored(agent: &Agent) -> Result<(), AgentError> {
    rewire(agent).await
}

/// Compares every endpoint's wiring with its plan and mends it.
async fn rewire(agent: &Agent) -> Result<(), AgentError> {
    let Ok(room) = agent.room() else { return Ok(()) };
    let plans = room.owner.ask(|owner| {
        let core = &owner.core;
        core.endpoints().filter_map(|(id, e)| Some((id, e.broken, core.plan(&e.record).ok()?))).collect::<Vec<_>>()
    });
    let plans: Vec<(u16, bool, WorkloadSpec)> = plans.await?;
    let differing = room.wiring.check_hosts(plans.iter().map(|(_, _, plan)| plan.clone()).collect()).await?;
    let by_owner: BTreeMap<&str, (u16, bool, &WorkloadSpec)> =
        plans.iter().map(|(id, broken, plan)| (plan.owner.as_str(), (*id, *broken, plan))).collect();
    for owner in differing.keys() {
        let Some((id, broken, plan)) = by_owner.get(owner.as_str()) else { continue };
        let container = plan.owner.rsplit_once('/').map_or(plan.owner.as_str(), |(container, _)| container);
        let _alone = agent.0.locks.lock(container).await;
        // It may have been under way, or gone, while the lock was awaited: look again.
        let id = *id;
        let present = room.owner.ask(move |owner| owner.core.endpoint(id).is_ok()).await?;
        let drift = room.wiring.check((*plan).clone(), Scope::Host).await?;
        if present && !drift.is_empty() {
            mend(agent, id, *broken, plan, &drift).await?;
        }
    }
    Ok(())
}

async fn mend(
    agent: &Agent,
    id: u16,
    was_broken: bool,
    plan: &WorkloadSpec,
    drift: &[Drift],
) -> Result<(), AgentError> {
    let Ok(room) = agent.room() else { return Ok(()) };
    match room.wiring.make_links(plan.clone()).await {
        Ok(links) => {
            let wired = Wired::from(&links);
            let (known, _) = room.owner.change(move |core| core.set_wired(id, wired)).await?;
            if let Err(error) = known {
                tracing::debug!(endpoint = id, %error, "went away while it was mended");
                return Ok(());
            }
            room.wiring.attach_workload(plan.clone()).await?;
            for difference in drift {
                agent.0.counters.drifted(object(difference), 1);
            }
            tracing::warn!(endpoint = id, ?drift, "wiring differed from the plan; mended");
        }
        Err(error) => {
            if !was_broken {
                let gone = matches!(error, NetError::NoSuchNamespace(_));
                tracing::warn!(endpoint = id, %error, gone, "the endpoint has no links; its address stays taken until it is deleted");
                room.owner.change(move |core| core.set_broken(id)).await?;
            }
        }
    }
    Ok(())
}

/// Kind of object that a difference is about, for metrics.
fn object(drift: &Drift) -> &'static str {
    match drift {
        Drift::Route { .. } => "route",
        Drift::Neighbour { .. } => "neighbour",
        Drift::Address(_) => "workload-address",
        Drift::Forwarding => "forwarding",
        Drift::NamespaceGone
        | Drift::LinkMissing(_)
        | Drift::LinkForeign(_)
        | Drift::LinkDown(_)
        | Drift::Mac { .. }
        | Drift::Mtu { .. } => "veth",
    }
}

// === connections ===

async fn collect(agent: Agent) {
    let stop = agent.0.tasks.stop().clone();
    let longest = agent.settings().datapath.gc_interval.0;
    until_stop(&stop, async {
        let mut wait = longest;
        loop {
            tokio::time::sleep(wait).await;
            let Ok(owner) = agent.owner() else { continue };
            match owner.ask(|owner| owner.collect()).await {
                Ok(Ok(report)) => {
                    agent.trouble("collector", None);
                    let removed = report.expired + report.orphaned;
                    agent.0.counters.collected(report.flows, removed, report.elapsed, report.complete);
                    wait = report.next.min(longest);
                }
                Ok(Err(error)) => {
                    agent.0.counters.uncollected();
                    agent.trouble("collector", Some(error.to_string()));
                }
                Err(error) => agent.trouble("collector", Some(error.to_string())),
            }
        }
    })
    .await;
}

// === deletions ===

#[derive(Debug, Deserialize)]
struct Deletion {
    container_id: String,
    interface: Option<String>,
}

/// Deletions that the CNI plugin left while no agent answered. A file goes when its endpoint is gone.
pub(crate) async fn run_deletions(agent: &Agent) {
    let dir = agent.deletions_dir();
    let files = match nexin_runtime::files::list(&dir, "json") {
        Ok(files) => files,
        Err(error) => return agent.trouble("deletions", Some(format!("{}: {error}", dir.display()))),
    };
    let mut trouble = None;
    for file in files {
        let wanted = std::fs::read(&file).ok().and_then(|text| serde_json::from_slice::<Deletion>(&text).ok());
        let done = match wanted {
            Some(Deletion { container_id, interface }) => {
                agent.remove_attachment(Attachment { container_id, interface }).await.map(|_| ()).map_err(|e| e.message)
            }
            None => nexin_runtime::files::quarantine(&file).map(|_| ()).map_err(|e| e.to_string()),
        };
        let removed = done.and_then(|()| nexin_runtime::files::remove_durably(&file).map_err(|e| e.to_string()));
        if let Err(error) = removed {
            trouble = Some(format!("{}: {error}", file.display()));
        }
    }
    agent.trouble("deletions", trouble);
}
