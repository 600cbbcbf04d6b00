//! What is read when somebody asks, and not before.

use std::sync::{Arc, Mutex, PoisonError};

use nexin_abi::{Direction, DropReason};
use nexin_datapath::Counter as Traffic;
use nexin_runtime::metrics::resident_bytes;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::{MetricType, TypedMetric};

use super::Snapshot;

/// Names that are ours, with the prefix.
#[derive(Debug)]
struct Ours {
    map_entries: String,
    lost_events: String,
    monitor_listeners: String,
    policy_maps_bytes: String,
    policy_overflow: String,
    ready: String,
}

#[derive(Debug)]
pub(super) struct Live {
    snapshot: Arc<Mutex<Snapshot>>,
    ours: Ours,
}

type Label = (&'static str, String);
type Samples<M> = Vec<(Vec<Label>, M)>;

impl Live {
    pub(super) fn new(snapshot: Arc<Mutex<Snapshot>>, ours: impl Fn(&str) -> String) -> Self {
        let ours = Ours {
            map_entries: ours("bpf_map_entries"),
            lost_events: ours("lost_events"),
            monitor_listeners: ours("monitor_listeners"),
            policy_maps_bytes: ours("policy_maps_bytes"),
            policy_overflow: ours("policy_overflow"),
            ready: ours("ready"),
        };
        Self { snapshot, ours }
    }
}

impl Collector for Live {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let now = self.snapshot.lock().unwrap_or_else(PoisonError::into_inner).clone();
        traffic(&mut encoder, &now.traffic)?;
        maps(&mut encoder, &now, &self.ours)?;
        cluster(&mut encoder, &now)?;
        process(&mut encoder)?;
        let lost = [("drop", now.lost.drop), ("verdict", now.lost.verdict), ("trace", now.lost.trace)];
        let lost = lost.map(|(class, count)| (vec![("source", format!("ring_{class}"))], ConstCounter::new(count)));
        let clients = (vec![("source", "monitor_queue".to_owned())], ConstCounter::new(now.lost_by_clients));
        let lost = lost.into_iter().chain([clients]).collect();
        family(&mut encoder, &self.ours.lost_events, "Events lost, by where", lost)?;
        let gauges = [
            (self.ours.monitor_listeners.as_str(), "Clients of the monitor", now.listeners),
            (&self.ours.policy_maps_bytes, "Kernel memory of policy tables", bytes(now.policy_memory)),
            (&self.ours.ready, "1 when everything saved is in force", i64::from(now.ready)),
        ];
        for (name, help, value) in gauges {
            single(&mut encoder, name, help, ConstGauge::new(value))?;
        }
        let help = "Endpoints that kept an older policy for want of room";
        single(&mut encoder, &self.ours.policy_overflow, help, ConstCounter::new(now.overflows))
    }
}

fn maps(encoder: &mut DescriptorEncoder<'_>, now: &Snapshot, ours: &Ours) -> Result<(), std::fmt::Error> {
    let named = |map: &'static str| vec![("map_name", map.to_owned())];
    let pressure = now.pressure.iter().map(|map| {
        let ratio = f64::from(map.used) / f64::from(map.available.max(1));
        (named(map.map), ConstGauge::new(ratio))
    });
    family(encoder, "cilium_bpf_map_pressure", "Fill percentage of a map, tagged by map name", pressure.collect())?;
    let used = now.pressure.iter().map(|map| (named(map.map), ConstGauge::new(i64::from(map.used))));
    family(encoder, &ours.map_entries, "Entries in use", used.collect())?;
    let room = now.pressure.iter();
    let room = room.map(|map| (vec![("map_group", map.map.to_owned())], ConstGauge::new(i64::from(map.available))));
    family(encoder, "cilium_bpf_map_capacity", "Capacity of map, tagged by map group", room.collect())?;
    let memory = ConstGauge::new(bytes(now.memory));
    single(
        encoder,
        "cilium_bpf_maps_virtual_memory_max_bytes",
        "BPF maps kernel max memory usage size in bytes",
        memory,
    )
}

fn cluster(encoder: &mut DescriptorEncoder<'_>, now: &Snapshot) -> Result<(), std::fmt::Error> {
    let states = [
        ("ready", now.endpoints.ready),
        ("waiting-to-regenerate", now.endpoints.init),
        ("restoring", now.endpoints.restoring),
        ("invalid", now.endpoints.broken),
    ];
    let all: u32 = states.iter().map(|(_, count)| *count).sum();
    let states =
        states.map(|(state, count)| (vec![("endpoint_state", state.to_owned())], ConstGauge::new(i64::from(count))));
    family(encoder, "cilium_endpoint_state", "Count of all endpoints, tagged by state", states.into())?;
    single(encoder, "cilium_endpoint", "Number of endpoints managed by this agent", ConstGauge::new(i64::from(all)))?;
    let labelled = |label: &'static str, counts: &[(&'static str, i64)]| {
        counts.iter().map(|(value, count)| (vec![(label, (*value).to_owned())], ConstGauge::new(*count))).collect()
    };
    let identities = labelled("type", &now.identities);
    family(encoder, "cilium_identity", "Number of identities currently allocated", identities)?;
    let addresses = labelled("family", &now.addresses);
    family(encoder, "cilium_ip_addresses", "Number of allocated IP addresses", addresses)?;
    let gauges = [
        ("cilium_policy", "Number of policies currently loaded", now.documents),
        ("cilium_policy_max_revision", "Highest policy revision number in the agent", now.epoch),
    ];
    for (name, help, value) in gauges {
        single(encoder, name, help, ConstGauge::new(value))?;
    }
    let version = vec![
        ("version", env!("CARGO_PKG_VERSION").to_owned()),
        ("revision", String::new()),
        ("arch", std::env::consts::ARCH.to_owned()),
    ];
    family(encoder, "cilium_version", "Version of the agent", vec![(version, ConstGauge::new(1_i64))])
}

/// The process under the names that dashboards of Cilium read.
fn process(encoder: &mut DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
    let files = std::fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count());
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = statm.split(' ').next().and_then(|pages| pages.parse().ok()).unwrap_or(0);
    let gauges = [
        ("cilium_process_resident_memory_bytes", "Resident memory size in bytes.", bytes(resident_bytes())),
        ("cilium_process_virtual_memory_bytes", "Virtual memory size in bytes.", bytes(pages.saturating_mul(page()))),
        ("cilium_process_open_fds", "Number of open file descriptors.", bytes(files as u64)),
    ];
    for (name, help, value) in gauges {
        single(encoder, name, help, ConstGauge::new(value))?;
    }
    let help = "Total user and system CPU time spent in seconds.";
    single(encoder, "cilium_process_cpu_seconds", help, ConstCounter::new(cpu_seconds()))
}

fn page() -> u64 {
    let size = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok().flatten();
    size.and_then(|size| u64::try_from(size).ok()).unwrap_or(4096)
}

/// User and system time of this process; 0 where /proc does not say.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name of the program may hold anything, so counting begins behind it.
    let numbers = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace();
    let ticks: u64 = numbers.skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
    let hertz = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK).ok().flatten().unwrap_or(100);
    ticks as f64 / hertz.max(1) as f64
}

fn bytes(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn traffic(encoder: &mut DescriptorEncoder<'_>, traffic: &[Traffic]) -> Result<(), std::fmt::Error> {
    let direction = |counter: &Traffic| match counter.direction {
        Direction::Ingress => "INGRESS".to_owned(),
        Direction::Egress => "EGRESS".to_owned(),
    };
    let drops = |value: fn(&Traffic) -> u64| -> Samples<ConstCounter<u64>> {
        let dropped = traffic.iter().filter_map(|counter| Some((counter, counter.reason?)));
        let labels = |counter: &Traffic, reason: DropReason| {
            vec![("reason", reason.text().to_owned()), ("direction", direction(counter))]
        };
        dropped.map(|(counter, reason)| (labels(counter, reason), ConstCounter::new(value(counter)))).collect()
    };
    let forwards = |value: fn(&Traffic) -> u64| -> Samples<ConstCounter<u64>> {
        let passed = traffic.iter().filter(|counter| counter.reason.is_none());
        passed.map(|counter| (vec![("direction", direction(counter))], ConstCounter::new(value(counter)))).collect()
    };
    let packets = |counter: &Traffic| counter.packets;
    let bytes = |counter: &Traffic| counter.bytes;
    family(encoder, "cilium_drop_count", "Total dropped packets, tagged by drop reason and direction", drops(packets))?;
    family(encoder, "cilium_drop_bytes", "Total dropped bytes, tagged by drop reason and direction", drops(bytes))?;
    family(encoder, "cilium_forward_count", "Total forwarded packets, tagged by direction", forwards(packets))?;
    family(encoder, "cilium_forward_bytes", "Total forwarded bytes, tagged by direction", forwards(bytes))
}

fn single<M: EncodeMetric + TypedMetric>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    value: M,
) -> Result<(), std::fmt::Error> {
    value.encode(encoder.encode_descriptor(name, help, None, M::TYPE)?)
}

fn family<M: EncodeMetric + TypedMetric>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    samples: Samples<M>,
) -> Result<(), std::fmt::Error> {
    let kind: MetricType = M::TYPE;
    let mut metric = encoder.encode_descriptor(name, help, None, kind)?;
    for (labels, value) in samples {
        value.encode(metric.encode_family(&labels)?)?;
    }
    Ok(())
}
