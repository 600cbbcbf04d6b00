//! B4: the shipped programs beside the floor programs in `BPF_PROG_TEST_RUN`, over the same maps, for one flow up to a
//! million. A run a flow pays for the timer and for a cold start; that part is measured with one flow and subtracted, from
//! every program alike.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::Path,
};

use nexin_abi::{
    Action, Event, Identity,
    maps::{
        KernelMap,
        addr::{Addr4Map, Addr6Map, AddrInfo},
        cidr::{self, Cidr4, Cidr6},
        config::{Aggregation, Config, ConfigMap, Telling},
        ct::{Ct4, Ct6},
        endpoint::{Endpoint, EndpointByDevice, Endpoints},
        policy::{ClassKey, Classes, Decision, Decisions, Policies, Policy, Slot, Verdict, Verdicts},
    },
};
use nexin_bpf::clock::Jiffies;
use nexin_bpf::{Loaded, Loader, Program, Ring, TestRun, object};
use nexin_packet::build::{Spec, Transport};
use nexin_testbed::{Result, fail, tool};

use crate::{
    report::{Line, SLACK, Table},
    rounds::{Series, order},
};

/// Flows of a measurement. (A thousand flows fit into the caches: what is left then is the noise of the subtraction.)
const FLOWS: [usize; 3] = [1, 1 << 16, 1 << 20];
/// Runs of a warm measurement.
const WARM: u32 = 1_000_000;
/// Class of peers that a policy allows.
const ALLOWED: u32 = 1;
const REDIRECTED: i32 = 7;

/// One side of the flows.
struct Side {
    number: u16,
    identity: Identity,
    four: Ipv4Addr,
    six: Ipv6Addr,
    ifindex: u32,
}

impl Side {
    fn new(number: u16) -> Result<Self> {
        let device = format!("nxbench{number}");
        tool("ip", ["link", "add", &device, "up", "type", "veth", "peer", "name", &format!("peer{number}")])?;
        Ok(Self {
            number,
            identity: Identity(1000 + u32::from(number)),
            four: Ipv4Addr::new(10, 1, 0, number as u8),
            six: Ipv6Addr::new(0xfd01, 0, 0, 0, 0, 0, 0, number),
            ifindex: nix::net::if_::if_nametoindex(device.as_str())?,
        })
    }

    fn mac(&self) -> [u8; 6] {
        [2, 0, 0, 0, 1, self.number as u8]
    }

    fn gateway_mac(&self) -> [u8; 6] {
        [2, 0, 0, 0, 2, self.number as u8]
    }

    fn address(&self, v6: bool) -> IpAddr {
        if v6 { self.six.into() } else { self.four.into() }
    }
}

/// Programs over common maps: two workloads on one node, each isolated in the direction that is used.
struct Bed {
    shipped: Loaded,
    floor: Loaded,
    client: Side,
    server: Side,
}

impl Bed {
    /// `identities` more identities are known to the policy, `prefixes` more prefixes to the node.
    fn new(floor: &[u8], identities: u32, prefixes: u32) -> Result<Self> {
        let pins = Path::new("/sys/fs/bpf").join(format!("bench-{identities}-{prefixes}"));
        std::fs::create_dir_all(&pins)?;
        let loader = || Loader::new().pins(&pins).entries::<Ct4>(1 << 21).entries::<Ct6>(1 << 21);
        let shipped = loader().load(object())?;
        let floor = loader().load(floor)?;
        std::fs::remove_dir_all(&pins)?;
        let bed = Self { shipped, floor, client: Side::new(1)?, server: Side::new(2)? };
        bed.furnish(identities, prefixes)?;
        Ok(bed)
    }

    fn set<M: KernelMap>(&self, key: &M::Key, value: &M::Value) -> Result {
        Ok(self.shipped.map::<M>()?.set(key, value)?)
    }

    fn furnish(&self, identities: u32, prefixes: u32) -> Result {
        // A pass over a million flows outlasts the usual interval of reports, which would put one behind each packet.
        let telling = Telling { interval_s: 200, ..Telling::default() };
        self.set::<ConfigMap>(&0, &Config { epoch: 1, flags: telling.bits(Jiffies::new()?.hz()) })?;
        // Policy 1 is the server's ingress and allows the client, policy 2 the client's egress and allows the server.
        for (policy, peer) in [(1, &self.client), (2, &self.server)] {
            let verdict = Verdict { action: Action::Allow as u8, rule: 7, ..Verdict::default() };
            self.set::<Verdicts>(&policy, &verdict)?;
            let slot = Slot::verdict(policy);
            let decision = Decision { tcp: slot, udp: slot, sctp: slot, icmp: slot, icmp6: slot, other: slot };
            let base = policy * 2;
            self.set::<Decisions>(&(base + ALLOWED), &decision)?;
            self.set::<Policies>(&policy, &Policy { classifier: policy, base })?;
            // The floor program judges the destination, the shipped one both sides.
            for identity in [peer.identity, self.server.identity] {
                self.set::<Classes>(&ClassKey { classifier: policy, identity }, &ALLOWED)?;
            }
            let crowd: Vec<_> = (0..identities / 2)
                .map(|i| (ClassKey { classifier: policy, identity: Identity(100_000 + i) }, ALLOWED))
                .collect();
            self.shipped.map::<Classes>()?.set_many(&crowd)?;
        }
        for side in [&self.client, &self.server] {
            let number = u32::from(side.number);
            let is_server = side.number == self.server.number;
            self.set::<Endpoints>(
                &number,
                &Endpoint {
                    ifindex: side.ifindex,
                    identity: side.identity,
                    ingress_policy: if is_server { 1 } else { 0 },
                    egress_policy: if is_server { 0 } else { 2 },
                    mac: side.mac(),
                    gateway_mac: side.gateway_mac(),
                    mtu: 1500,
                    ..Endpoint::default()
                },
            )?;
            self.set::<EndpointByDevice>(&side.ifindex, &number)?;
            let info = AddrInfo { identity: side.identity, endpoint: side.number, flags: 0 };
            self.set::<Addr4Map>(&side.four.into(), &info)?;
            self.set::<Addr6Map>(&side.six.into(), &info)?;
            self.set::<Cidr4>(&cidr::v4::PrefixKey { bits: 32, addr: side.four.into() }, &side.identity)?;
            self.set::<Cidr6>(&cidr::v6::PrefixKey { bits: 128, addr: side.six.into() }, &side.identity)?;
        }
        // Neighbours of the workloads' own prefix, so that the trie is deep where it is walked.
        for i in 0..prefixes {
            let [_, a, b, c] = i.to_be_bytes();
            let four = Ipv4Addr::new(10, 1 + a, b, c.max(16));
            self.set::<Cidr4>(&cidr::v4::PrefixKey { bits: 32, addr: four.into() }, &Identity(200_000 + i))?;
        }
        Ok(())
    }

    fn packet(&self, v6: bool, flow: u32, reply: bool) -> Result<Vec<u8>> {
        let (from, to) = if reply { (&self.server, &self.client) } else { (&self.client, &self.server) };
        // A million flows: 1,024 source ports times 1,024 destination ports.
        let (a, b) = (10_000 + (flow & 1023) as u16, 20_000 + (flow >> 10) as u16);
        let (source, destination) = if reply { (b, a) } else { (a, b) };
        let spec = Spec::new(from.address(v6), to.address(v6), Transport::Udp { source, destination, checksum: true })
            .macs(from.mac(), from.gateway_mac())
            .payload(b"established packet");
        let mut out = vec![0; 256];
        match spec.write(&mut out) {
            Some(length) => out.truncate(length),
            None => fail!("a packet that does not fit"),
        }
        Ok(out)
    }

    /// Opens flows up to `count`, both directions seen.
    fn open(&self, v6: bool, known: usize, count: usize) -> Result {
        let program = self.shipped.program("from_workload")?;
        for flow in known..count {
            for (reply, side) in [(false, &self.client), (true, &self.server)] {
                let packet = self.packet(v6, flow as u32, reply)?;
                let done = program.test_run(&TestRun { want_data: false, ..TestRun::new(&packet, side.ifindex) })?;
                if done.retval != REDIRECTED {
                    fail!("flow {flow} (reply: {reply}) got action {}", done.retval);
                }
            }
        }
        Ok(())
    }

    /// Nanoseconds a run, over `count` flows in an order that no cache foresees.
    fn time(&self, program: &Program, v6: bool, count: usize, expected: i32) -> Result<f64> {
        let run = |flow: usize, repeat: u32| -> Result<f64> {
            let packet = self.packet(v6, flow as u32, false)?;
            let run = TestRun { repeat, want_data: false, ..TestRun::new(&packet, self.client.ifindex) };
            let done = program.test_run(&run)?;
            if done.retval != expected {
                fail!("{} said {} instead of {expected}", program.name(), done.retval);
            }
            Ok(done.mean.as_nanos() as f64)
        };
        if count == 1 {
            return run(0, WARM);
        }
        // An odd multiplier visits each flow once, far from the one before.
        let mut times = (0..count).map(|i| run((i * 0x9E37_79B1) % count, 1)).collect::<Result<Vec<_>>>()?;
        times.sort_by(f64::total_cmp);
        // Interrupts hit some runs; they belong to no program.
        let kept = &times[..count - count / 50];
        let single = (0..4096).map(|_| run(0, 1)).collect::<Result<Vec<_>>>()?;
        let overhead = Series { values: single }.spread().median - run(0, WARM)?;
        Ok(kept.iter().sum::<f64>() / kept.len() as f64 - overhead)
    }
}

/// One program's name, where it is, and what it answers for an established packet.
const PROGRAMS: [(&str, i32); 3] = [("floor_ct", 0), ("floor_full", 0), ("from_workload", REDIRECTED)];

pub(crate) fn measure(floor: &Path, rounds: usize) -> Result<Vec<Table>> {
    let floor = std::fs::read(floor)?;
    let mut tables = Vec::new();
    {
        let bed = Bed::new(&floor, 0, 0)?;
        for v6 in [false, true] {
            let mut known = 0;
            for count in FLOWS {
                bed.open(v6, known, count)?;
                known = count;
                let series = series(&bed, v6, count, rounds)?;
                let title = format!("prog test run, IPv{}, {count} flows", if v6 { 6 } else { 4 });
                tables.push(table(title, &series, count));
            }
        }
        remove_devices()?;
    }
    tables.push(growth(&floor, rounds)?);
    Ok(tables)
}

fn series(bed: &Bed, v6: bool, count: usize, rounds: usize) -> Result<Vec<Series>> {
    let mut series = vec![Series::default(); PROGRAMS.len()];
    // A pass over a million flows takes seconds.
    for _ in 0..if count > 1 << 17 { rounds.min(3) } else { rounds } {
        for (i, (name, expected)) in PROGRAMS.iter().enumerate() {
            let loaded = if name.starts_with("floor") { &bed.floor } else { &bed.shipped };
            series[i].values.push(bed.time(loaded.program(name)?, v6, count, *expected)?);
        }
    }
    Ok(series)
}

fn table(title: String, series: &[Series], flows: usize) -> Table {
    let (floor, full) = (&series[0], &series[1]);
    let lines = PROGRAMS.iter().zip(series).map(|((name, _), own)| {
        let line = Line::new(*name, own).over(own, floor);
        if name.starts_with("floor") {
            return line;
        }
        line.at_most("ratio", if flows == 1 { 1.3 } else { 1.1 }, SLACK, own.over(floor).spread()).at_most(
            "to floor_full",
            1.0,
            SLACK,
            own.over(full).spread(),
        )
    });
    Table { title, unit: "ns".to_owned(), lines: lines.collect() }
}

/// The same packet with few and with many identities and prefixes known.
fn growth(floor: &[u8], rounds: usize) -> Result<Table> {
    let mut lines = Vec::new();
    let mut base: Option<Series> = None;
    for (identities, prefixes) in [(16, 16), (65_536, 16), (65_536, 100_000)] {
        let bed = Bed::new(floor, identities, prefixes)?;
        bed.open(false, 0, 1)?;
        let own = series(&bed, false, 1, rounds)?.swap_remove(2);
        let first = base.get_or_insert_with(|| own.clone());
        let name = format!("from_workload, {identities} identities, {prefixes} CIDRs");
        lines.push(Line::new(name, &own).over(&own, first).at_most("ratio", 1.05, SLACK, own.over(first).spread()));
        remove_devices()?;
    }
    Ok(Table { title: "growth of tables".to_owned(), unit: "ns".to_owned(), lines })
}

fn remove_devices() -> Result {
    ["nxbench1", "nxbench2"].iter().try_for_each(|device| tool("ip", ["link", "del", device]).map(drop))
}

/// Events of one run: as many as the ring has room for.
const TOLD: u32 = 16_384;

/// What it costs to tell of a packet: the same established packet with nothing told and with each told, all of which must be
/// found in the ring.
pub(crate) fn event_cost(floor: &Path, rounds: usize) -> Result<Table> {
    let bed = Bed::new(&std::fs::read(floor)?, 0, 0)?;
    bed.open(false, 0, 1)?;
    let silent = Telling { interval_s: 200, ..Telling::default() };
    let telling = [Aggregation::Medium, Aggregation::Low, Aggregation::None]
        .map(|aggregation| Telling { aggregation, ..silent }.bits(250));
    let mut ring = Ring::new(bed.shipped.raw_map("nx_ev_trace")?)?;
    let mut series = vec![Series::default(); telling.len()];
    for round in 0..rounds * 10 {
        for index in order(telling.len(), round) {
            bed.set::<ConfigMap>(&0, &Config { epoch: 1, flags: telling[index] })?;
            ring.drain::<Event>(usize::MAX, |_| {});
            let packet = bed.packet(false, 0, false)?;
            let run = TestRun { repeat: TOLD, want_data: false, ..TestRun::new(&packet, bed.client.ifindex) };
            let done = bed.shipped.program("from_workload")?.test_run(&run)?;
            let found = ring.drain::<Event>(usize::MAX, |_| {}).records;
            let expected = if index == 0 { 0 } else { TOLD as usize };
            if done.retval != REDIRECTED || found != expected {
                fail!("{found} of {expected} events, action {}", done.retval);
            }
            series[index].values.push(done.mean.as_nanos() as f64);
        }
    }
    remove_devices()?;
    let names = ["nothing told", "each packet told", "each packet told, both ends"];
    let lines = names.iter().zip(&series).enumerate().map(|(index, (name, own))| {
        let line = Line::new(*name, own).over(own, &series[0]);
        let added = Series { values: own.values.iter().zip(&series[0].values).map(|(a, b)| a - b).collect() };
        if index == 0 { line } else { line.at_most("ns an event", 20.0, SLACK, added.spread()) }
    });
    Ok(Table { title: "An event in prog test run".to_owned(), unit: "ns".to_owned(), lines: lines.collect() })
}
