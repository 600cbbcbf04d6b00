//! A node with three workloads, a host address, a gateway and a network device, as the agent would have set it up. Devices
//! exist (the kernel asks for them), but nothing is attached and nothing is sent.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use nexin_abi::maps::KernelMap;
use nexin_abi::maps::addr::{Addr4Map, Addr6Map, AddrInfo};
use nexin_abi::maps::config::{Config, ConfigMap, Telling};
use nexin_abi::maps::ct::{Ct4, Ct6, CtEntry};
use nexin_abi::maps::device::{Device, Devices};
use nexin_abi::maps::endpoint::{Endpoint, EndpointByDevice, Endpoints};
use nexin_abi::maps::nat::{NatAddr4, NatAddr6};
use nexin_abi::maps::policy::{ClassKey, Classes, Decision, Decisions, Policies, Policy, Slot, Verdict, Verdicts};
use nexin_abi::{Action, Be16, Event, Identity};
use nexin_bpf::clock::Jiffies;
use nexin_bpf::{Loaded, Loader, Map, Ring, TestRun, object};
use nexin_packet::build::{Spec, Transport};
use nexin_packet::header::{Ethernet, Ipv4, Ipv6, Udp};
use nexin_packet::{checksum, ether, icmp, icmp6, protocol};
use nexin_testbed::{Result, isolated};
use zerocopy::FromBytes;

pub(crate) const OK: i32 = 0;
pub(crate) const DROP: i32 = 2;
pub(crate) const REDIRECT: i32 = 7;

/// A workload, or whoever else has an address.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Party {
    pub(crate) four: IpAddr,
    pub(crate) six: IpAddr,
    pub(crate) identity: u32,
    /// Endpoint number, 0 for others.
    pub(crate) number: u16,
}

const fn party(last: u8, identity: u32, number: u16) -> Party {
    let four = IpAddr::V4(Ipv4Addr::new(10, 0, 0, last));
    let six = IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, last as u16));
    Party { four, six, identity, number }
}

pub(crate) const ALICE: Party = party(11, 1001, 1);
pub(crate) const BOB: Party = party(12, 1002, 2);
pub(crate) const MALLORY: Party = party(13, 1003, 3);
pub(crate) const GATEWAY: Party = party(1, 1, 0);
/// The node's address towards the network.
pub(crate) const NODE: Party = Party {
    four: IpAddr::V4(Ipv4Addr::new(192, 168, 7, 2)),
    six: IpAddr::V6(Ipv6Addr::new(0xfd07, 0, 0, 0, 0, 0, 0, 2)),
    identity: 1,
    number: 0,
};
/// Someone far away.
pub(crate) const PEER: Party = Party {
    four: IpAddr::V4(Ipv4Addr::new(203, 0, 113, 9)),
    six: IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 9)),
    identity: 2,
    number: 0,
};

/// Family of a packet under test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    Four,
    Six,
}

pub(crate) const BOTH: [Family; 2] = [Family::Four, Family::Six];

impl Party {
    pub(crate) fn ip(&self, family: Family) -> IpAddr {
        match family {
            Family::Four => self.four,
            Family::Six => self.six,
        }
    }

    pub(crate) fn mac(&self) -> [u8; 6] {
        [2, 0, 0, 0, 1, self.number as u8]
    }

    pub(crate) fn gateway_mac(&self) -> [u8; 6] {
        [2, 0, 0, 0, 2, self.number as u8]
    }
}

/// What a program did with a packet.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    pub(crate) action: i32,
    pub(crate) packet: Vec<u8>,
}

/// The programs in the kernel and their maps.
pub(crate) struct Bed {
    pub(crate) loaded: Loaded,
}

/// Host-side devices of the workloads, then the network's.
const DEVICES: [&str; 4] = ["nxk1", "nxk2", "nxk3", "net0"];

/// Runs `test` on a fresh bed in namespaces of its own.
pub(crate) fn with_bed(test: impl FnOnce(&Bed) -> Result) -> Result {
    with_loader(Loader::new(), test)
}

/// As [`with_bed`], with load-time constants of the caller's choice.
pub(crate) fn with_loader(loader: Loader, test: impl FnOnce(&Bed) -> Result) -> Result {
    isolated(|| {
        let bed = Bed::new(&loader)?;
        test(&bed)
    })
}

impl Bed {
    pub(crate) fn new(loader: &Loader) -> Result<Self> {
        for device in DEVICES {
            nexin_testbed::tool(
                "ip",
                ["link", "add", device, "up", "type", "veth", "peer", "name", &format!("{device}p")],
            )?;
        }
        let loaded = loader.load(object())?;
        let bed = Self { loaded };
        bed.tell(&Telling::default())?;
        for party in [ALICE, BOB, MALLORY] {
            let ifindex = bed.device_of(party);
            let endpoint = Endpoint {
                ifindex,
                identity: Identity(party.identity),
                mac: party.mac(),
                gateway_mac: party.gateway_mac(),
                mtu: 1500,
                ..Endpoint::default()
            };
            bed.set::<Endpoints>(&party.number.into(), &endpoint)?;
            bed.set::<EndpointByDevice>(&ifindex, &party.number.into())?;
            bed.own(party, 0)?;
        }
        bed.own(GATEWAY, AddrInfo::HOST | AddrInfo::GATEWAY)?;
        bed.own(NODE, AddrInfo::HOST)?;
        Ok(bed)
    }

    /// Makes `net0` a device that masquerades with the node's addresses.
    pub(crate) fn network(&self) -> Result {
        let device = Device { nat_addr4: 1, nat_addr6: 1, mtu: 1500, flags: 0 };
        self.set::<Devices>(&self.device_of(PEER), &device)?;
        if let (IpAddr::V4(four), IpAddr::V6(six)) = (NODE.four, NODE.six) {
            self.set::<NatAddr4>(&0, &four.into())?;
            self.set::<NatAddr6>(&0, &six.into())?;
        }
        Ok(())
    }

    /// A packet that left a workload's way to the world goes out of the network's device.
    pub(crate) fn leave(&self, packet: &[u8]) -> Result<Outcome> {
        self.run("to_network", packet, self.device_of(PEER))
    }

    /// A packet arrives from the network.
    pub(crate) fn arrive(&self, packet: &[u8]) -> Result<Outcome> {
        self.run("from_network", packet, self.device_of(PEER))
    }

    /// Changes the only flow there is.
    pub(crate) fn change_flow(&self, family: Family, change: impl FnOnce(&mut CtEntry)) -> Result {
        match family {
            Family::Four => change_only(&self.loaded.map::<Ct4>()?, change),
            Family::Six => change_only(&self.loaded.map::<Ct6>()?, change),
        }
    }

    /// Forgets all flows of a family.
    pub(crate) fn clear_flows(&self, family: Family) -> Result {
        match family {
            Family::Four => clear(&self.loaded.map::<Ct4>()?),
            Family::Six => clear(&self.loaded.map::<Ct6>()?),
        }
    }

    fn own(&self, party: Party, flags: u16) -> Result {
        let info = AddrInfo { identity: Identity(party.identity), endpoint: party.number, flags };
        if let (IpAddr::V4(four), IpAddr::V6(six)) = (party.four, party.six) {
            self.set::<Addr4Map>(&four.into(), &info)?;
            self.set::<Addr6Map>(&six.into(), &info)?;
        }
        Ok(())
    }

    pub(crate) fn set<M: KernelMap>(&self, key: &M::Key, value: &M::Value) -> Result {
        Ok(self.loaded.map::<M>()?.set(key, value)?)
    }

    /// Host side of a workload's veth pair; for others the network's device.
    pub(crate) fn device_of(&self, party: Party) -> u32 {
        let name = match party.number {
            0 => DEVICES[3],
            n => DEVICES[usize::from(n) - 1],
        };
        nix::net::if_::if_nametoindex(name).expect("made by Bed::new")
    }

    pub(crate) fn change_endpoint(&self, party: Party, change: impl FnOnce(&mut Endpoint)) -> Result {
        let map = self.loaded.map::<Endpoints>()?;
        let key = u32::from(party.number);
        let mut endpoint = map.get(&key)?.expect("array");
        change(&mut endpoint);
        Ok(map.set(&key, &endpoint)?)
    }

    /// Has the programs tell so much.
    pub(crate) fn tell(&self, telling: &Telling) -> Result {
        self.set::<ConfigMap>(&0, &Config { epoch: 1, flags: telling.bits(Jiffies::new()?.hz()) })
    }

    /// Raises the epoch, as the agent does after any change.
    pub(crate) fn bump(&self) -> Result {
        let map = self.loaded.map::<ConfigMap>()?;
        let mut config = map.get(&0)?.expect("array");
        config.epoch += 1;
        Ok(map.set(&0, &config)?)
    }

    /// Loads policy `number`: peers in `allowed` may, everybody else may not; `rule` stands behind a permission.
    pub(crate) fn policy(&self, number: u32, allowed: &[u32], rule: u32) -> Result {
        let verdict = Verdict { action: Action::Allow as u8, rule, ..Verdict::default() };
        self.set::<Verdicts>(&number, &verdict)?;
        let all = Slot::verdict(number);
        let decision = Decision { tcp: all, udp: all, sctp: all, icmp: all, icmp6: all, other: all };
        // Class 1 of base 2 * number may, class 0 may not.
        self.set::<Decisions>(&(2 * number + 1), &decision)?;
        for identity in allowed {
            self.set::<Classes>(&ClassKey { classifier: number, identity: Identity(*identity) }, &1)?;
        }
        self.set::<Policies>(&number, &Policy { classifier: number, base: 2 * number })
    }

    /// Runs a program on a packet at a device.
    pub(crate) fn run(&self, program: &str, packet: &[u8], ifindex: u32) -> Result<Outcome> {
        let outcome = self.loaded.program(program)?.test_run(&TestRun::new(packet, ifindex))?;
        Ok(Outcome { action: outcome.retval, packet: outcome.data.unwrap_or_default() })
    }

    /// `from` sends the packet out of its own interface.
    pub(crate) fn send(&self, from: Party, packet: &[u8]) -> Result<Outcome> {
        self.run("from_workload", packet, self.device_of(from))
    }

    pub(crate) fn flows(&self, family: Family) -> Result<Vec<CtEntry>> {
        Ok(match family {
            Family::Four => self.loaded.map::<Ct4>()?.entries()?.into_iter().map(|e| e.1).collect(),
            Family::Six => self.loaded.map::<Ct6>()?.entries()?.into_iter().map(|e| e.1).collect(),
        })
    }

    /// Events of a ring that were not taken yet.
    pub(crate) fn events(&self, ring: &str) -> Result<Vec<Event>> {
        let mut events = Vec::new();
        Ring::new(self.loaded.raw_map(ring)?)?.drain::<Event>(usize::MAX, |e| events.push(e));
        Ok(events)
    }

    /// The reason of the one drop since the last call.
    pub(crate) fn drop_reason(&self) -> Result<nexin_abi::DropReason> {
        let events = self.events("nx_ev_drop")?;
        let [event] = events.as_slice() else {
            nexin_testbed::fail!("expected one drop, got {events:?}");
        };
        if event.line == 0 || event.file == 0 {
            nexin_testbed::fail!("a drop without a place: {event:?}");
        }
        nexin_abi::DropReason::from_code(event.reason).ok_or_else(|| nexin_testbed::Error::new("unknown reason"))
    }
}

fn clear<M: KernelMap>(map: &Map<M>) -> Result {
    for (key, _) in map.entries()? {
        map.remove(&key)?;
    }
    Ok(())
}

fn change_only<M: KernelMap<Value = CtEntry>>(map: &Map<M>, change: impl FnOnce(&mut CtEntry)) -> Result {
    let mut entries = map.entries()?;
    let [(key, value)] = entries.as_mut_slice() else {
        nexin_testbed::fail!("expected one flow, got {}", entries.len());
    };
    change(value);
    Ok(map.set(key, value)?)
}

/// Every checksum of the packet is right. (Fragments and errors' quotes are not looked into.)
pub(crate) fn sums_up(packet: &[u8]) -> bool {
    let ethernet: Ethernet = header(packet, 0);
    let (proto, pseudo, l4) = if { ethernet.kind } == Be16::new(ether::IPV4) {
        let ip: Ipv4 = header(packet, 14);
        let l4 = 14 + Ipv4::header_len(ip.version_len);
        if checksum::finish(checksum::sum(&packet[14..l4], 0)).raw() != 0 {
            return false;
        }
        let len = ip.total_len.get() - (l4 - 14) as u16;
        (ip.protocol, checksum::pseudo4(ip.source, ip.destination, ip.protocol, len), l4)
    } else {
        let ip: Ipv6 = header(packet, 14);
        let len = u32::from(ip.payload_len.get());
        let (source, destination) = (ip.source, ip.destination);
        (ip.next_header, checksum::pseudo6(&source, &destination, ip.next_header, len), 54)
    };
    let seed = match proto {
        protocol::TCP | protocol::ICMP6 => pseudo,
        protocol::UDP if { header::<Udp>(packet, l4).checksum } == Be16::new(0) => return true,
        protocol::UDP => pseudo,
        protocol::ICMP => 0,
        _ => return true,
    };
    checksum::finish(checksum::sum(&packet[l4..], seed)).raw() == 0
}

/// Source, destination and ports of a packet without options.
pub(crate) fn tuple(packet: &[u8]) -> (IpAddr, u16, IpAddr, u16) {
    let ethernet: Ethernet = header(packet, 0);
    if { ethernet.kind } == Be16::new(ether::IPV4) {
        let (ip, ports): (Ipv4, Udp) = (header(packet, 14), header(packet, 34));
        let (source, destination): (Ipv4Addr, Ipv4Addr) = (ip.source.into(), ip.destination.into());
        (source.into(), { ports.source }.get(), destination.into(), { ports.destination }.get())
    } else {
        let (ip, ports): (Ipv6, Udp) = (header(packet, 14), header(packet, 54));
        let (source, destination): (Ipv6Addr, Ipv6Addr) = (ip.source.into(), ip.destination.into());
        (source.into(), { ports.source }.get(), destination.into(), { ports.destination }.get())
    }
}

pub(crate) const fn tcp(source: u16, destination: u16, flags: u8) -> Transport {
    Transport::Tcp { source, destination, flags }
}

pub(crate) fn udp(source: u16, destination: u16) -> Transport {
    Transport::Udp { source, destination, checksum: true }
}

/// An echo request or its reply.
pub(crate) fn echo(family: Family, reply: bool, id: u16) -> Transport {
    let kind = match family {
        Family::Four if reply => icmp::ECHO_REPLY,
        Family::Four => icmp::ECHO,
        Family::Six if reply => icmp6::ECHO_REPLY,
        Family::Six => icmp6::ECHO,
    };
    Transport::Icmp { kind, code: 0, id, sequence: 1 }
}

/// "Port unreachable".
pub(crate) fn unreachable(family: Family) -> Transport {
    let (kind, code) = match family {
        Family::Four => (icmp::UNREACHABLE, 3),
        Family::Six => (icmp6::UNREACHABLE, 4),
    };
    Transport::Icmp { kind, code, id: 0, sequence: 0 }
}

/// A packet from one party to another, with the MACs it has when the sender's interface sends it.
pub(crate) fn packet(from: Party, to: Party, family: Family, transport: Transport) -> Vec<u8> {
    bytes(&spec(from, to, family, transport))
}

pub(crate) fn spec(from: Party, to: Party, family: Family, transport: Transport) -> Spec<'static> {
    Spec::new(from.ip(family), to.ip(family), transport)
        .macs(from.mac(), from.gateway_mac())
        .payload(b"nexin packet life")
}

pub(crate) fn bytes(spec: &Spec<'_>) -> Vec<u8> {
    let mut out = vec![0; 16 << 10];
    let len = spec.write(&mut out).expect("fits, and the families agree");
    out.truncate(len);
    out
}

/// The header of type `T` at `offset`.
pub(crate) fn header<T: FromBytes>(packet: &[u8], offset: usize) -> T {
    T::read_from_prefix(&packet[offset..])
        .map(|(header, _)| header)
        .unwrap_or_else(|_| panic!("packet ends before {offset}"))
}
