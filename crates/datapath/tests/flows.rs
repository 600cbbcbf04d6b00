//! Flows, translations, counters and events with the running kernel. Needs root.
#![allow(clippy::unwrap_used, reason = "a test that unwraps fails with a message and a line")]

#[path = "../../bpf/tests/common/isolated.rs"]
mod isolated;
mod support;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use isolated::isolated;
use nexin_abi::maps::ct::{Counter, Ct4, Ct6, CtEntry, CtState, v4, v6};
use nexin_abi::maps::endpoint::{EndpointState, EndpointStates};
use nexin_abi::maps::nat::{self, Nat4};
use nexin_abi::{Be16, Event, EventKind, Identity, Observation};
use nexin_bpf::clock::Jiffies;
use nexin_bpf::{Map, TestRun};
use nexin_datapath::{
    Aggregation, Class, Datapath, Desired, DeviceSpec, EndpointSpec, Error, FlowFilter, FlowState, Offset, Options,
    PacketFilter, PacketSide, Telling,
};
use support::collect;

const TCP: u8 = 6;
const ICMP: u8 = 1;
const NODE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const WORKLOAD: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const WORLD: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);

/// A datapath with endpoint 1 (no real device) and one masquerading address.
fn datapath(bpffs: &Path) -> Datapath {
    let options = Options { bpffs: bpffs.join("nexin"), ..Options::default() };
    let mut datapath = Datapath::open(&options).unwrap();
    let mut desired = Desired::default();
    let endpoint = EndpointSpec {
        ifindex: 1000,
        ifname: "none".into(),
        identity: Identity(300),
        mac: [0; 6],
        gateway_mac: [0; 6],
        mtu: 1500,
        ingress: None,
        egress: None,
        flags: 0,
    };
    desired.endpoints.insert(1, endpoint);
    let device =
        DeviceSpec { ifname: "lo".into(), masquerade_v4: Some(NODE), masquerade_v6: None, mtu: 1500, no_l2: false };
    desired.devices.insert(1, device);
    datapath.apply(&desired).unwrap();
    datapath
}

/// A flow from the workload (the key's high side, since 10.. is above 198.. only in network order's words) to the world.
fn key(port: u16, protocol: u8) -> v4::CtKey {
    let ports = if protocol == ICMP { (port, port) } else { (port, 443) };
    v4::CtKey {
        low: WORLD.into(),
        high: WORKLOAD.into(),
        low_port: Be16::new(ports.1),
        high_port: Be16::new(ports.0),
        protocol,
        reserved: [0; 3],
    }
}

fn entry(expires: u32, port_on_wire: u16) -> CtEntry {
    CtEntry {
        forward: Counter(Counter::packet(1000)),
        expires,
        source_endpoint: 1,
        target: Be16::new(port_on_wire).raw(),
        state: CtState::Established as u8 | CtEntry::ORIGIN_IS_HIGH | CtEntry::MASQUERADED,
        ..CtEntry::default()
    }
}

fn translation(port_on_wire: u16, protocol: u8) -> (nat::v4::NatKey, nat::v4::NatEntry) {
    let peer_port = if protocol == ICMP { port_on_wire } else { 443 };
    let key = nat::v4::NatKey {
        nat: NODE.into(),
        peer: WORLD.into(),
        nat_port: Be16::new(port_on_wire),
        peer_port: Be16::new(peer_port),
        protocol,
        reserved: [0; 3],
    };
    (key, nat::v4::NatEntry { source: WORKLOAD.into(), port: Be16::new(1), reserved: [0; 2] })
}

#[test]
fn what_ran_out_of_time_goes_with_its_translation() {
    isolated(|bpffs| {
        let mut datapath = datapath(bpffs);
        let flows: Map<Ct4> = datapath.kernel().map().unwrap();
        let translations: Map<Nat4> = datapath.kernel().map().unwrap();
        let now = Jiffies::new().unwrap().now().unwrap();
        for (port, protocol, expires) in [
            (1, TCP, now.wrapping_sub(5)),
            (2, TCP, now.wrapping_add(1_000_000)),
            (3, ICMP, now.wrapping_sub(5)),
            (4, ICMP, now.wrapping_add(1_000_000)),
        ] {
            flows.set(&key(port, protocol), &entry(expires, 61_000 + port)).unwrap();
            let (key, value) = translation(61_000 + port, protocol);
            translations.set(&key, &value).unwrap();
        }
        let report = collect(&mut datapath);
        assert_eq!((report.expired, report.flows, report.translations), (2, 2, 2), "{report:?}");
        assert!(flows.get(&key(1, TCP)).unwrap().is_none() && flows.get(&key(2, TCP)).unwrap().is_some());
        let mut left: Vec<u16> = translations.entries().unwrap().iter().map(|(key, _)| key.nat_port.get()).collect();
        left.sort_unstable();
        assert_eq!(left, [61_002, 61_004]);
        let report = collect(&mut datapath);
        assert_eq!((report.expired, report.flows, report.translations), (0, 2, 0));
    });
}

#[test]
fn flows_of_removed_endpoints_and_translations_without_flow_go() {
    isolated(|bpffs| {
        let mut datapath = datapath(bpffs);
        let flows: Map<Ct4> = datapath.kernel().map().unwrap();
        let translations: Map<Nat4> = datapath.kernel().map().unwrap();
        let alive = Jiffies::new().unwrap().now().unwrap().wrapping_add(1_000_000);
        let of_nobody = CtEntry { source_endpoint: 77, ..entry(alive, 61_001) };
        flows.set(&key(1, TCP), &of_nobody).unwrap();
        flows.set(&key(2, TCP), &CtEntry { source_endpoint: CtEntry::HOST, ..entry(alive, 61_002) }).unwrap();
        for port in [61_001, 61_002, 61_099] {
            let (key, value) = translation(port, TCP);
            translations.set(&key, &value).unwrap();
        }
        let report = collect(&mut datapath);
        assert_eq!((report.orphaned, report.flows), (1, 1), "{report:?}");
        assert!(translations.get(&translation(61_099, TCP).0).unwrap().is_some(), "its flow may just be coming");
        collect(&mut datapath);
        assert_eq!(translations.entries().unwrap().len(), 1);
        assert!(translations.get(&translation(61_002, TCP).0).unwrap().is_some());
    });
}

#[test]
fn half_open_counters_are_corrected() {
    isolated(|bpffs| {
        let mut datapath = datapath(bpffs);
        let flows: Map<Ct4> = datapath.kernel().map().unwrap();
        let states: Map<EndpointStates> = datapath.kernel().map().unwrap();
        let alive = Jiffies::new().unwrap().now().unwrap().wrapping_add(1_000_000);
        for port in 1..=3 {
            let state = CtEntry::HALF_OPEN | CtEntry::ORIGIN_IS_HIGH;
            flows.set(&key(port, TCP), &CtEntry { state, target: 0, ..entry(alive, 0) }).unwrap();
        }
        let over = Jiffies::new().unwrap().now().unwrap().wrapping_sub(5);
        let state = CtEntry::HALF_OPEN | CtEntry::ORIGIN_IS_HIGH;
        flows.set(&key(4, TCP), &CtEntry { state, target: 0, ..entry(over, 0) }).unwrap();
        let half_open = |number: u32| states.get(&number).unwrap().unwrap().half_open;
        states.set(&1, &EndpointState { half_open: 4, reserved: 0 }).unwrap();
        collect(&mut datapath);
        assert_eq!(half_open(1), 3, "what the walk ended is taken out at once");

        states.set(&1, &EndpointState { half_open: 9, reserved: 0 }).unwrap();
        states.set(&0, &EndpointState { half_open: 4, reserved: 0 }).unwrap();
        assert_eq!(collect(&mut datapath).recounted, 0, "it may have been counted while the walk went on");
        states.set(&1, &EndpointState { half_open: 8, reserved: 0 }).unwrap();
        assert_eq!(collect(&mut datapath).recounted, 2);
        assert_eq!((half_open(1), half_open(0)), (3, 0));
        assert_eq!(collect(&mut datapath).recounted, 0);
    });
}

#[test]
fn a_big_table_is_walked_in_slices() {
    isolated(|bpffs| {
        let mut datapath = datapath(bpffs);
        let flows: Map<Ct4> = datapath.kernel().map().unwrap();
        let now = Jiffies::new().unwrap().now().unwrap();
        let entries: Vec<(v4::CtKey, CtEntry)> = (0..60_000)
            .map(|n| {
                let expires = if n % 3 == 0 { now.wrapping_sub(9) } else { now.wrapping_add(1_000_000) };
                (key(n, TCP), CtEntry { expires, ..CtEntry::default() })
            })
            .collect();
        flows.set_many(&entries).unwrap();
        let mut calls = 0;
        let report = loop {
            calls += 1;
            let report = datapath.gc().unwrap();
            if report.complete {
                break report;
            }
            assert!(report.next.as_millis() <= 10);
        };
        assert!(calls > 1, "60,000 flows in one slice of 5 ms");
        assert_eq!((report.flows, report.expired), (40_000, 20_000));
        assert_eq!(datapath.flows(&FlowFilter::default()).unwrap().len(), 40_000);
        let used = datapath.pressure().into_iter().find(|pressure| pressure.map == "nx_ct4").expect("known").used;
        assert_eq!(used, 40_000);
    });
}

#[test]
fn flows_are_listed_and_flushed_by_what_one_knows_of_them() {
    isolated(|bpffs| {
        let mut datapath = datapath(bpffs);
        let now = Jiffies::new().unwrap().now().unwrap();
        let flows: Map<Ct4> = datapath.kernel().map().unwrap();
        flows.set(&key(4000, TCP), &entry(now.wrapping_add(250_000), 61_000)).unwrap();
        let translations: Map<Nat4> = datapath.kernel().map().unwrap();
        let (nat_key, nat_value) = translation(61_000, TCP);
        translations.set(&nat_key, &nat_value).unwrap();
        let six: Map<Ct6> = datapath.kernel().map().unwrap();
        let (one, two): (Ipv6Addr, Ipv6Addr) = ("fd00::1".parse().unwrap(), "fd00::2".parse().unwrap());
        let key6 = v6::CtKey {
            low: one.into(),
            high: two.into(),
            low_port: Be16::new(5000),
            high_port: Be16::new(53),
            protocol: 17,
            reserved: [0; 3],
        };
        six.set(&key6, &CtEntry { expires: now.wrapping_add(100), target: 1, ..CtEntry::default() }).unwrap();

        let all = datapath.flows(&FlowFilter::default()).unwrap();
        assert_eq!(all.len(), 2);
        let flow = all.iter().find(|flow| flow.protocol == TCP).expect("the TCP flow");
        assert_eq!((flow.source, flow.destination), ((WORKLOAD.into(), 4000), (WORLD.into(), 443)));
        assert_eq!(flow.masquerade, Some((NODE.into(), 61_000)));
        assert_eq!(
            (flow.state, flow.source_endpoint, flow.destination_endpoint),
            (FlowState::Established, Some(1), None)
        );
        assert_eq!((flow.forward.packets(), flow.forward.bytes()), (1, 1000));
        assert!(matches!(flow.expires, Offset::Ahead(time) if time.as_secs() > 100));
        let udp = all.iter().find(|flow| flow.protocol == 17).expect("the UDP flow");
        assert_eq!((udp.source.0, udp.destination_endpoint), (IpAddr::V6(one), Some(1)));

        let none = FlowFilter { endpoint: Some(2), ..FlowFilter::default() };
        assert_eq!(datapath.flush_flows(&none).unwrap(), 0);
        let of_workload = FlowFilter { address: Some(WORKLOAD.into()), ..FlowFilter::default() };
        assert_eq!(datapath.flush_flows(&of_workload).unwrap(), 1);
        assert_eq!(translations.entries().unwrap().len(), 0);
        assert_eq!(datapath.flush_flows(&FlowFilter { endpoint: Some(1), ..FlowFilter::default() }).unwrap(), 1);
        assert_eq!(datapath.flows(&FlowFilter::default()).unwrap(), []);
    });
}

/// An IPv4 packet from an address that endpoint 1 does not have, which `from_workload` drops and says so.
fn spoofed() -> Vec<u8> {
    let mut packet = vec![0; 14];
    packet[12] = 8;
    packet.extend([0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0, 203, 0, 113, 9]);
    packet.extend(WORLD.octets());
    packet.extend([0x10, 0, 1, 187, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 2, 0, 0, 0, 0, 0, 0]);
    packet
}

#[test]
fn drops_are_counted_and_told_and_a_full_ring_stops_nothing() {
    isolated(|bpffs| {
        let datapath = datapath(bpffs);
        let mut events = datapath.events().unwrap();
        let program = datapath.kernel().program("from_workload").unwrap();
        let packet = spoofed();
        let mut run = TestRun::new(&packet, 1);
        run.want_data = false;
        assert_eq!(program.test_run(&run).unwrap().retval, 2, "dropped");
        let mut seen: Vec<Event> = Vec::new();
        assert_eq!(events.reader(Class::Drop).read(100, |event| seen.push(event)), 1);
        assert_eq!(seen[0].kind, EventKind::Drop as u8);
        assert_eq!(&seen[0].source[..4], &[203, 0, 113, 9]);
        let counters = datapath.counters().unwrap();
        let dropped: u64 =
            counters.iter().filter(|counter| counter.reason.is_some()).map(|counter| counter.packets).sum();
        assert_eq!(dropped, 1, "{counters:?}");

        // More events than the ring has room for.
        run.repeat = 20_000;
        program.test_run(&run).unwrap();
        let lost = events.lost().count(Class::Drop).unwrap();
        let mut count = 0u64;
        while events.reader(Class::Drop).read(512, |_| count += 1) > 0 {}
        assert!(lost > 0 && count + lost == 20_000, "{count} read, {lost} lost");
        assert_eq!(events.lost().count(Class::Trace).unwrap(), 0);
        assert_eq!(events.reader(Class::Drop).malformed(), 0);
    });
}

#[test]
fn what_is_told_changes_while_programs_run_and_survives_what_is_applied() {
    isolated(|bpffs| {
        let mut datapath = datapath(bpffs);
        let mut events = datapath.events().unwrap();
        let packet = spoofed();
        let mut told = |datapath: &Datapath| {
            let program = datapath.kernel().program("from_workload").unwrap();
            assert_eq!(program.test_run(&TestRun::new(&packet, 1)).unwrap().retval, 2, "dropped");
            let mut kinds = Vec::new();
            events.reader(Class::Drop).read(100, |event| kinds.push((event.kind, event.observation, event.entered)));
            kinds
        };
        let from_endpoint = Observation::FromEndpoint as u8;
        let drop = (EventKind::Drop as u8, from_endpoint, 0);
        assert_eq!(told(&datapath), [drop]);
        datapath.tell(Telling { aggregation: Aggregation::None, ..Telling::default() }).unwrap();
        assert_eq!(told(&datapath), [(EventKind::Trace as u8, from_endpoint, 0), drop], "one record, two events");
        datapath.tell(Telling { drops: false, ..Telling::default() }).unwrap();
        datapath.apply(&Desired { audit: true, ..Desired::default() }).unwrap();
        assert_eq!(told(&datapath), []);
        assert_eq!(datapath.repair().unwrap().total(), 0);
    });
}

#[test]
fn captures_take_a_slot_and_give_it_back() {
    isolated(|bpffs| {
        let mut datapath = datapath(bpffs);
        let mut copies = datapath.copies().unwrap();
        let packet = spoofed();
        let side = |prefix: &str| PacketSide { prefix: Some(prefix.parse().unwrap()), ..PacketSide::default() };
        let filter = |source: &str| PacketFilter {
            source: side(source),
            destination: PacketSide::default(),
            either_way: false,
            family: None,
            protocol: None,
            forwarded: true,
            dropped: true,
            snap: 20,
        };
        let mut copied = |datapath: &Datapath| {
            let program = datapath.kernel().program("from_workload").unwrap();
            program.test_run(&TestRun::new(&packet, 1)).unwrap();
            let mut found = Vec::new();
            copies.read(100, |header, bytes| found.push((header, bytes.to_vec())));
            found
        };
        assert_eq!(copied(&datapath), []);
        let (wanted, other) = (filter("203.0.113.0/24"), filter("198.51.100.0/24"));
        let (wanted, other) = (datapath.capture(&wanted).unwrap(), datapath.capture(&other).unwrap());
        let found = copied(&datapath);
        let [(header, bytes)] = found.as_slice() else { panic!("{found:?}") };
        assert!(wanted.chose(header) && !other.chose(header));
        assert_eq!((bytes.as_slice(), header.event.length as usize), (&packet[..20], packet.len()));
        datapath.stop_capture(wanted).unwrap();
        assert_eq!(copied(&datapath), []);
        datapath.stop_capture(other).unwrap();

        let all: Vec<_> = (0..8).map(|_| datapath.capture(&filter("203.0.113.0/24")).unwrap()).collect();
        assert!(matches!(datapath.capture(&filter("203.0.113.0/24")), Err(Error::TooManyCaptures(8))));
        assert!(all.iter().all(|id| copied(&datapath).iter().all(|(header, _)| id.chose(header))));
        // Slots of a process that died are nobody's.
        drop(datapath);
        let datapath = self::datapath(bpffs);
        assert_eq!(copied(&datapath), []);
    });
}
