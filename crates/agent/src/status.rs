//! How the agent is: one answer for people, one snapshot for metrics.

use std::sync::PoisonError;

use nexin_api::v1::{
    AgentInfo, Component, ComponentState, DeviceStatus, Drift, ErrorBody, MapPressure, StatusReply, SyncStatus,
    Timestamp,
};
use nexin_runtime::metrics::resident_bytes;

use crate::agent::Agent;
use crate::metrics::{ObjectLabel, Snapshot};
use crate::owner::Owner;

/// What the owner thread adds.
struct FromOwner {
    endpoints: nexin_api::v1::EndpointCounts,
    identities: u32,
    policies: u32,
    policy_problems: Vec<nexin_api::v1::PolicyStatus>,
    devices: Vec<DeviceStatus>,
    maps: Vec<MapPressure>,
    sync: SyncStatus,
    quarantined: Vec<String>,
}

pub(crate) async fn status(agent: &Agent) -> Result<StatusReply, ErrorBody> {
    let mut components = Vec::new();
    let from_owner = match agent.owner() {
        Ok(owner) => Some(owner.ask(|owner| look(owner)).await?),
        Err(_) => {
            components.push(component("datapath", ComponentState::Starting, "loading programs and saved state"));
            None
        }
    };
    if let Some(found) = &from_owner {
        match &found.sync.error {
            Some(error) => components.push(component("datapath", ComponentState::Degraded, error)),
            None => components.push(component("datapath", ComponentState::Ok, "")),
        }
        let problems = found.policy_problems.len();
        if problems > 0 {
            let message = format!("{problems} policy files are not in force as they are written");
            components.push(component("policy", ComponentState::Degraded, &message));
        } else {
            components.push(component("policy", ComponentState::Ok, ""));
        }
    }
    for (part, what) in agent.troubles() {
        components.push(component(part, ComponentState::Degraded, &what));
    }
    let found = from_owner.unwrap_or_else(|| FromOwner {
        endpoints: Default::default(),
        identities: 0,
        policies: 0,
        policy_problems: Vec::new(),
        devices: Vec::new(),
        maps: Vec::new(),
        sync: SyncStatus::default(),
        quarantined: Vec::new(),
    });
    Ok(StatusReply {
        agent: info(agent),
        ready: agent.is_ready(),
        components,
        endpoints: found.endpoints,
        identities: found.identities,
        policies: found.policies,
        policy_problems: found.policy_problems,
        devices: found.devices,
        maps: found.maps,
        lost_events: agent.0.hub.lost(),
        drift: drift(agent),
        sync: found.sync,
        quarantined: found.quarantined,
    })
}

fn component(name: &str, health: ComponentState, message: &str) -> Component {
    Component { name: name.to_owned(), health, message: message.to_owned(), hint: None }
}

fn look(owner: &Owner) -> FromOwner {
    let devices = owner.core.node().devices.iter().map(|(ifindex, device)| DeviceStatus {
        name: device.ifname.clone(),
        ifindex: *ifindex,
        masquerade_ipv4: device.masquerade_v4,
        masquerade_ipv6: device.masquerade_v6,
    });
    let maps = owner.datapath.pressure().into_iter().map(|map| MapPressure {
        map: map.map.to_owned(),
        entries: u64::from(map.used),
        max_entries: map.available,
    });
    FromOwner {
        endpoints: owner.core.endpoint_counts(),
        identities: u32::try_from(owner.core.engine().identities().count()).unwrap_or(u32::MAX),
        policies: u32::try_from(owner.core.engine().documents().count()).unwrap_or(u32::MAX),
        policy_problems: owner.core.policy_problems(),
        devices: devices.collect(),
        maps: maps.collect(),
        sync: owner.sync().clone(),
        quarantined: owner.core.quarantined().to_vec(),
    }
}

fn info(agent: &Agent) -> AgentInfo {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    AgentInfo {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        node: crate::flows::node_name(agent.settings()),
        pid: std::process::id(),
        started: Timestamp::from(agent.0.started),
        kernel: read("/proc/sys/kernel/osrelease"),
        layout: nexin_abi::LAYOUT,
        attach: agent.room().map_or("", |room| room.attach).to_owned(),
        memory_bytes: resident_bytes(),
        audit: agent.settings().policy.audit,
    }
}

/// Objects that can drift; each is listed only when it did.
const OBJECTS: &[&str] = &[
    "policy",
    "endpoint",
    "address",
    "prefix",
    "device",
    "config",
    "link",
    "veth",
    "route",
    "neighbour",
    "workload-address",
    "gateway-address",
    "forwarding",
];

fn drift(agent: &Agent) -> Vec<Drift> {
    let counted = OBJECTS.iter().map(|object| {
        let repaired = agent.0.counters.drift.get(&ObjectLabel { object }).map_or(0, |counter| counter.get());
        Drift { object: (*object).to_owned(), repaired }
    });
    counted.filter(|drift| drift.repaired > 0).collect()
}

/// Reads what metrics show that is not counted here.
pub(crate) async fn refresh_metrics(agent: &Agent) -> Result<(), ErrorBody> {
    let Ok(owner) = agent.owner() else { return Ok(()) };
    let mut snapshot = owner.ask(|owner| snapshot(owner)).await?;
    snapshot.lost = agent.0.hub.lost();
    snapshot.lost_by_clients = agent.0.hub.lost_by_clients();
    snapshot.listeners = i64::try_from(agent.0.hub.listeners()).unwrap_or(i64::MAX);
    snapshot.ready = agent.is_ready();
    *agent.0.counters.snapshot.lock().unwrap_or_else(PoisonError::into_inner) = snapshot;
    Ok(())
}

fn snapshot(owner: &Owner) -> Snapshot {
    let memory = owner.datapath.memory().unwrap_or_default();
    let pools = owner.core.ipam().pools().map(|pool| {
        let family = if pool.net().addr().is_ipv4() { "ipv4" } else { "ipv6" };
        (family, i64::try_from(pool.used()).unwrap_or(i64::MAX))
    });
    Snapshot {
        traffic: owner.datapath.counters().unwrap_or_default(),
        pressure: owner.datapath.pressure(),
        memory: memory.total,
        policy_memory: memory.policy,
        overflows: owner.datapath.overflows(),
        endpoints: owner.core.endpoint_counts(),
        identities: identities(owner),
        documents: i64::try_from(owner.core.engine().documents().count()).unwrap_or(i64::MAX),
        addresses: pools.collect(),
        epoch: i64::from(owner.sync().epoch),
        ..Snapshot::default()
    }
}

/// Identities by Cilium's kinds: scopes are in the upper bits.
fn identities(owner: &Owner) -> Vec<(&'static str, i64)> {
    let mut kinds = [("reserved", 0), ("cluster_local", 0), ("node_local", 0)];
    for (identity, _) in owner.core.engine().identities() {
        let kind = if identity.is_reserved() { 0 } else { 1 + usize::from(identity.0 >> 24 != 0) };
        kinds[kind].1 += 1;
    }
    kinds.to_vec()
}
