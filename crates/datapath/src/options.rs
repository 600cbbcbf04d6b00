//! What a datapath is opened with.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use nexin_abi::maps;
use nexin_abi::maps::config::Telling;
use nexin_bpf::Loader;

use crate::links::Attach;

/// Where the datapath keeps its pins, how large its maps are, and the programs' load-time constants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Directory for pins; a bpffs is mounted where there is none. One agent a directory.
    pub bpffs: PathBuf,
    pub attach: Attach,
    /// Entries of maps, by name, where the default does not suit. A pinned map keeps the size it was made with.
    pub entries: BTreeMap<String, u32>,
    pub tcp_established: Duration,
    /// Time a TCP flow has to become established.
    pub tcp_syn: Duration,
    /// Time a TCP flow lives after a FIN.
    pub tcp_fin: Duration,
    /// Every other flow.
    pub other: Duration,
    /// TCP flows that an endpoint may have half open, 0 = unlimited.
    pub half_open_limit: u32,
    /// What the programs tell; [`crate::Datapath::tell`] changes it while they run.
    pub telling: Telling,
    /// Events a second of each class, and at once, over which the programs withhold and count them. `None` = no limit.
    pub event_rate: Option<EventRate>,
    /// A workload's packets must carry the MAC it was given.
    pub check_mac: bool,
    /// Bytes written to a ring buffer after which its reader is woken; rounded up to a power of two.
    pub wake_bytes: u32,
    /// UDP ports of tunnels, closed to workloads.
    pub tunnel_ports: [Option<u16>; 2],
    /// Ports that masqueraded flows get.
    pub nat_ports: RangeInclusive<u16>,
    /// Source of ICMP errors that programs send, `None` = the packet's destination.
    pub gateway_v4: Option<Ipv4Addr>,
    pub gateway_v6: Option<Ipv6Addr>,
}

/// A limit for events of one class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventRate {
    /// Events a second on the average.
    pub per_second: u32,
    /// Events at once.
    pub burst: u32,
}

impl EventRate {
    /// Time between two events, and by how much a burst may be ahead of it.
    fn nanoseconds(self) -> (u32, u32) {
        let gap = 1_000_000_000 / self.per_second.max(1);
        (gap.max(1), gap.saturating_mul(self.burst.saturating_sub(1)))
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            bpffs: PathBuf::from("/sys/fs/bpf/nexin"),
            attach: Attach::Auto,
            entries: BTreeMap::new(),
            tcp_established: Duration::from_secs(8000),
            tcp_syn: Duration::from_secs(60),
            tcp_fin: Duration::from_secs(10),
            other: Duration::from_secs(60),
            half_open_limit: 8192,
            telling: Telling::default(),
            event_rate: None,
            check_mac: false,
            wake_bytes: 128 << 10,
            tunnel_ports: [Some(8472), Some(6081)],
            nat_ports: 61_000..=65_535,
            gateway_v4: None,
            gateway_v6: None,
        }
    }
}

impl Options {
    /// A loader with these constants and sizes, for a kernel of `hz` ticks a second.
    pub fn loader(&self, hz: u32) -> Loader {
        let seconds = |duration: Duration| u32::try_from(duration.as_secs()).unwrap_or(u32::MAX / 1000).max(1);
        let port = |index: usize| u32::from(self.tunnel_ports[index].unwrap_or(0));
        let (gap, burst) = self.event_rate.map_or((0, 0), EventRate::nanoseconds);
        let globals: [(&str, u32); 14] = [
            ("NX_HZ", hz),
            ("NX_TCP_ESTABLISHED_S", seconds(self.tcp_established)),
            ("NX_TCP_SYN_S", seconds(self.tcp_syn)),
            ("NX_TCP_FIN_S", seconds(self.tcp_fin)),
            ("NX_OTHER_S", seconds(self.other)),
            ("NX_HALF_OPEN_LIMIT", self.half_open_limit),
            ("NX_CHECK_MAC", u32::from(self.check_mac)),
            ("NX_WAKE_BYTES", self.wake_bytes.next_power_of_two()),
            ("NX_EVENT_GAP_NS", gap),
            ("NX_EVENT_BURST_NS", burst),
            ("NX_TUNNEL_PORT1", port(0)),
            ("NX_TUNNEL_PORT2", port(1)),
            ("NX_NAT_FIRST", u32::from(*self.nat_ports.start())),
            ("NX_NAT_LAST", u32::from(*self.nat_ports.end())),
        ];
        let four = self.gateway_v4.map_or([0; 4], |ip| ip.octets());
        let six = self.gateway_v6.map_or([0; 16], |ip| ip.octets());
        let loader = Loader::new().global_if_used("NX_GATEWAY4", &four).global_if_used("NX_GATEWAY6", &six);
        let loader = globals.iter().fold(loader, |loader, (name, value)| loader.global(name, &value.to_ne_bytes()));
        maps::ALL
            .iter()
            .filter_map(|spec| Some((spec.name, *self.entries.get(spec.name)?)))
            .fold(loader, |loader, (name, entries)| loader.entries_of(name, entries))
    }
}
