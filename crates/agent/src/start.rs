//! From nothing, or from what an earlier process left, to an agent that serves. The socket answers at once; nothing is
//! cleaned up before everything that was saved is in force.

use std::collections::BTreeSet;
use std::fs::{File, TryLockError};
use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use nexin_api::server::{ControlSocket, MetricsListener};
use nexin_datapath::{Aggregation, Attach, EventRate, Options, Telling};
use nexin_netlink::{GatewayPlan, Netns, NodeView, Watcher, Wiring, WorkloadSpec};
use nexin_runtime::logging;
use nexin_runtime::settings::{Choice, Loaded};
use nexin_runtime::tasks::{Lifetime, Tasks};

use crate::agent::{Agent, EngineRoom};
use crate::core::{Core, Wired, pool_net};
use crate::error::AgentError;
use crate::node::Node;
use crate::owner::OwnerHandle;
use crate::settings::{AggregationLevel, AttachMode, DatapathSettings, EventSettings, Settings};
use crate::state::Store;
use crate::{background, capabilities, export, flows, policy_dir};

/// Runs the agent until SIGTERM or SIGINT. Links, maps and workloads stay as they are.
///
/// Blocks; makes its own threads. To be called before the process has others, so that capabilities are given up by all.
pub fn run(loaded: Loaded<Settings>) -> Result<(), AgentError> {
    logging::start(&loaded.settings.log);
    if !loaded.foreign_variables.is_empty() {
        tracing::warn!(variables = ?loaded.foreign_variables, "these variables are no settings");
    }
    if loaded.settings.agent.drop_capabilities {
        capabilities::drop_unneeded()?;
    }
    runtime()?.block_on(serve(loaded))
}

pub(crate) fn runtime() -> Result<tokio::runtime::Runtime, AgentError> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let built = builder.worker_threads(2).thread_name("nexin").enable_all().build();
    built.map_err(|source| AgentError::System { what: "start the runtime", source })
}

async fn serve(loaded: Loaded<Settings>) -> Result<(), AgentError> {
    let tasks = Tasks::new();
    tasks.stop_on_signals().map_err(|source| AgentError::System { what: "listen for signals", source })?;
    let patience = loaded.settings.agent.shutdown_patience.0;
    let agent = Agent::new(loaded, tasks.clone());
    let _lock = only_one(&agent.settings().agent.run_dir)?;
    let socket = ControlSocket::bind(&agent.settings().api.socket).await?;
    let (handler, stop) = (agent.clone(), tasks.stop().clone());
    tasks.spawn("api", Lifetime::Program, async move {
        if let Err(error) = socket.serve(handler, stop).await {
            tracing::error!(%error, "the control socket is closed");
        }
    });
    serve_metrics(&agent).await;
    flows::serve(&agent).await;
    let started = tokio::select! {
        started = start(&agent) => started,
        () = tasks.stop().cancelled() => Ok(()),
    };
    if let Err(error) = &started {
        tracing::error!(%error, "the agent cannot start");
        tasks.stop().cancel();
    }
    let finished = tasks.finish(patience).await;
    started?;
    tracing::info!("stopped; workloads keep running");
    Ok(finished?)
}

/// Without metrics the agent does everything else: that the address is taken is told, not fatal.
async fn serve_metrics(agent: &Agent) {
    let Choice::Value(address) = agent.settings().metrics.listen else { return };
    match MetricsListener::bind(address).await {
        Ok(listener) => {
            let (handler, stop) = (agent.clone(), agent.0.tasks.stop().clone());
            agent.0.tasks.spawn("metrics", Lifetime::Program, async move {
                if let Err(error) = listener.serve(handler, stop).await {
                    tracing::error!(%error, "the metrics address is closed");
                }
            });
        }
        Err(error) => agent.trouble("metrics", Some(format!("{error}; set metrics.listen to another address or off"))),
    }
}

/// Held as long as the agent runs.
fn only_one(run_dir: &Path) -> Result<File, AgentError> {
    let failed = |source| AgentError::Path { path: run_dir.to_owned(), source };
    std::fs::create_dir_all(run_dir).map_err(failed)?;
    let lock = File::create(run_dir.join("agent.lock")).map_err(failed)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => {
            Err(failed(io::Error::other("another agent uses this directory (agent.run_dir)")))
        }
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

async fn start(agent: &Agent) -> Result<(), AgentError> {
    let settings = agent.0.settings.clone();
    let host = Netns::current()?;
    // Opened before anything is read, so that no change falls between.
    let watcher = Watcher::open(&host)?;
    let wiring = Wiring::open(host)?;
    let owner = open_owner(agent, settings.clone()).await?;
    step(agent, "programs loaded, state read");
    let gateways = owner.ask(|owner| owner.core.ipam().gateways()).await?;
    wiring.prepare_node(gateway_plan(gateways, settings.network.forwarding)).await?;
    let view = wiring.node_view().await?;
    background::publish_node(agent, &view);
    restore(&owner, &settings, view).await?;
    step(agent, "endpoints restored");
    let attach = owner.ask(|owner| owner.datapath.attach_mode()).await?;
    agent.install(EngineRoom { owner: owner.clone(), wiring: wiring.clone(), attach });
    policy_dir::first_scan(agent).await?;
    let events = owner.ask(|owner| owner.datapath.events()).await??;
    let mut sinks = export::start(&settings.hubble, &agent.0.flows.node().name, &agent.0.tasks);
    for (part, error) in sinks.troubles {
        agent.trouble(part, Some(error.to_string()));
    }
    sinks.hooks.push(agent.0.hub.hook());
    flows::start(agent, events, sinks.hooks)?;
    let synced = owner.go_live().await?;
    step(agent, "first sync");
    if !synced.complete() {
        agent.trouble("datapath", Some(synced.complaint()));
    }
    background::complete_restored(agent).await?;
    background::run_deletions(agent).await;
    agent.set_ready();
    let live: BTreeSet<String> =
        owner.ask(|owner| owner.core.endpoints().map(|(_, endpoint)| endpoint.record.owner()).collect()).await?;
    let swept = wiring.sweep(live).await?;
    if !swept.links.is_empty() || swept.routes > 0 {
        tracing::info!(links = ?swept.links, routes = swept.routes, "left behind by workloads that are gone; removed");
    }
    background::spawn(agent, watcher);
    let elapsed = agent.0.started.elapsed().unwrap_or_default();
    tracing::info!(milliseconds = elapsed.as_millis(), attach, "ready");
    Ok(())
}

/// How far the start is, for those who look for lost time.
fn step(agent: &Agent, what: &'static str) {
    let elapsed = agent.0.started.elapsed().unwrap_or_default();
    tracing::debug!(milliseconds = elapsed.as_millis(), "{what}");
}

async fn open_owner(agent: &Agent, settings: Arc<Settings>) -> Result<OwnerHandle, AgentError> {
    let options = options(&settings);
    let directory = agent.0.flows.directory().clone();
    let core = move || {
        let store = Store::open(&settings.agent.state_dir)?;
        let saved = store.load()?;
        Core::new(settings, store, saved, directory)
    };
    OwnerHandle::start(&agent.0.tasks, options, core).await
}

/// Endpoints whose links are there are taken as they are; what is missing is made later, when policy is in force.
async fn restore(owner: &OwnerHandle, settings: &Arc<Settings>, view: NodeView) -> Result<(), AgentError> {
    let settings = settings.clone();
    let done = owner.ask(move |owner| {
        let core = &mut owner.core;
        core.set_node(Node::from_view(&view, &settings.network));
        let plans: Vec<(u16, WorkloadSpec)> =
            core.endpoints().filter_map(|(id, endpoint)| Some((id, core.plan(&endpoint.record).ok()?))).collect();
        for (id, plan) in plans {
            let is_it = |link: &&nexin_netlink::Link| {
                link.name == plan.host_ifname.as_str() && link.owner() == Some(plan.owner.as_str())
            };
            if let Some(link) = view.links.iter().find(is_it) {
                let wired = Wired { ifindex: link.index, mac: plan.workload_mac(), gateway_mac: plan.gateway_mac() };
                core.set_wired(id, wired)?;
            }
        }
        Ok::<_, crate::core::EndpointError>(())
    });
    if let Err(error) = done.await? {
        tracing::error!(%error, "endpoints cannot be restored");
    }
    Ok(())
}

pub(crate) fn gateway_plan(gateways: nexin_ipam::Addresses, forwarding: bool) -> GatewayPlan {
    GatewayPlan { v4: gateways.v4, v6: gateways.v6, forwarding }
}

fn options(all: &Settings) -> Options {
    let settings: &DatapathSettings = &all.datapath;
    let sizes =
        [("nx_ct4", &settings.ct4_entries), ("nx_ct6", &settings.ct6_entries), ("nx_class", &settings.class_entries)];
    let entries = sizes.into_iter().filter_map(|(map, size)| match size {
        Choice::Value(entries) => Some((map.to_owned(), *entries)),
        Choice::Auto | Choice::Off => None,
    });
    let gateway =
        |pool: Option<ipnet::IpNet>| pool.and_then(|net| nexin_ipam::Pool::new(net).ok()).map(|pool| pool.gateway());
    Options {
        gateway_v4: gateway(pool_net(&all.ipam.ipv4_pool)).and_then(|ip| match ip {
            IpAddr::V4(v4) => Some(v4),
            IpAddr::V6(_) => None,
        }),
        gateway_v6: gateway(pool_net(&all.ipam.ipv6_pool)).and_then(|ip| match ip {
            IpAddr::V6(v6) => Some(v6),
            IpAddr::V4(_) => None,
        }),
        bpffs: settings.bpffs.clone(),
        attach: match settings.attach {
            AttachMode::Auto => Attach::Auto,
            AttachMode::Tcx => Attach::Tcx,
            AttachMode::Clsact => Attach::Clsact,
        },
        entries: entries.collect(),
        tcp_established: settings.tcp_established.0,
        tcp_syn: settings.tcp_syn.0,
        tcp_fin: settings.tcp_fin.0,
        other: settings.other.0,
        half_open_limit: settings.half_open_limit,
        check_mac: settings.check_mac,
        tunnel_ports: [settings.tunnel_ports.first().copied(), settings.tunnel_ports.get(1).copied()],
        nat_ports: settings.nat_first_port..=u16::MAX,
        telling: telling(&all.events),
        event_rate: (all.events.rate_limit > 0)
            .then(|| EventRate { per_second: all.events.rate_limit, burst: all.events.rate_burst.max(1) }),
        ..Options::default()
    }
}

fn telling(events: &EventSettings) -> Telling {
    Telling {
        drops: events.drops,
        verdicts: events.verdicts,
        traces: events.traces,
        aggregation: match events.aggregation {
            AggregationLevel::None => Aggregation::None,
            AggregationLevel::Low => Aggregation::Low,
            AggregationLevel::Medium => Aggregation::Medium,
            AggregationLevel::Maximum => Aggregation::Maximum,
        },
        // In the order of the header's bits.
        tcp_flags: events.aggregation_flags.iter().fold(0, |bits, flag| bits | 1 << *flag as u8),
        interval_s: u32::try_from(events.aggregation_interval.0.as_secs()).unwrap_or(u32::MAX),
    }
}

/// What [`cleanup`] removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CleanupReport {
    /// Programs taken off devices.
    pub programs: usize,
    pub links: Vec<String>,
    pub routes: usize,
}

/// Removes everything that an agent with these settings has in the kernel and on disk: workload links, routes, gateway addresses, programs, maps, state. The
/// agent must not be running.
pub fn cleanup(settings: &Settings) -> Result<CleanupReport, AgentError> {
    let _lock = only_one(&settings.agent.run_dir)?;
    let mut report = CleanupReport::default();
    if settings.datapath.bpffs.exists() {
        report.programs = nexin_datapath::clean_up(&settings.datapath.bpffs, true)?;
    }
    let swept = runtime()?.block_on(async {
        let wiring = Wiring::open(Netns::current()?)?;
        // No gateway is wanted any more.
        wiring.prepare_node(GatewayPlan::default()).await?;
        wiring.sweep(BTreeSet::new()).await
    })?;
    (report.links, report.routes) = (swept.links, swept.routes);
    for path in [&settings.agent.state_dir, &settings.agent.run_dir, &settings.datapath.bpffs] {
        remove_tree(path)?;
    }
    match std::fs::remove_file(&settings.api.socket) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(AgentError::Path { path: settings.api.socket.clone(), source })
        }
        _ => Ok(report),
    }
}

fn remove_tree(path: &Path) -> Result<(), AgentError> {
    match std::fs::remove_dir_all(path) {
        // The directory itself may be a mount point that is not ours to take away.
        Err(source) if !matches!(source.kind(), io::ErrorKind::NotFound | io::ErrorKind::ResourceBusy) => {
            Err(AgentError::Path { path: path.to_owned(), source })
        }
        _ => Ok(()),
    }
}
