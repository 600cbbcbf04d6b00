//! B5 and B6: what it costs to forward a packet of 60 bytes, on one core. The kernel makes frames that seem to come in from
//! the client (`BPF_PROG_TEST_RUN` of live frames); they take each path's way and end at the server's device, which counts
//! and drops them. What making them costs is measured too, and subtracted.

use std::{net::IpAddr, os::fd::OwnedFd, path::Path as FilePath};

use nexin_abi::maps::metrics::Metrics;
use nexin_bpf::{Hook, Link, Loaded, Loader};
use nexin_packet::build::{Spec, Transport};
use nexin_testbed::{Namespace, Result, fail};
use serde_json::Value;

use crate::{
    machine,
    paths::{self, Built, PORT, Path},
    report::{Line, SLACK, Table},
    rounds::{Series, order},
};

/// Frames a measurement.
const FRAMES: u32 = 400_000;
/// The first is what others are divided by.
const PATHS: [Path; 9] = [
    Path::Router,
    Path::RouterConntrack,
    Path::NftSet,
    Path::NftSetLarge,
    Path::NftFew,
    Path::NftMany,
    Path::Nexin,
    Path::NexinV6,
    Path::NexinMany,
];
/// UDP, and what the generator puts back into the headers.
const PAYLOAD: usize = 18;

struct Way {
    built: Built,
    frame: Vec<u8>,
    ifindex: u32,
    _attached: OwnedFd,
    _sink: Link,
}

pub(crate) fn measure(floor: &FilePath, rounds: usize, wanted: &[Path]) -> Result<Vec<Table>> {
    let paths: Vec<Path> =
        PATHS.into_iter().filter(|path| wanted.is_empty() || *path == Path::Router || wanted.contains(path)).collect();
    let Figures { alone, series } = figures(floor, rounds, &paths)?;
    let find = |path: Path| paths.iter().position(|known| *known == path).map(|at| &series[at]);
    let mut lines = vec![Line::new("(making a frame, subtracted below)", &alone)];
    for (path, own) in paths.iter().zip(&series) {
        let mut line = Line::new(path.name(), own).over(own, &series[0]).against_router(own, &series[0]);
        let mut goal = |what: &str, limit: f64, other: Option<&Series>| {
            if let Some(other) = other {
                let bare = std::mem::replace(&mut line, Line::new("", own));
                line = bare.at_most(what, limit, SLACK, own.over(other).spread());
            }
        };
        match path {
            Path::Nexin => {
                goal("to router", 0.75, Some(&series[0]));
                goal("to router + conntrack", 0.5, find(Path::RouterConntrack));
            }
            Path::NexinMany => {
                goal("to few rules", 1.05, find(Path::Nexin));
                goal("to nft set", 1.0, find(Path::NftSetLarge));
                goal("to 10,000 nft rules", 1.0 / 150.0, find(Path::NftMany));
            }
            _ => {}
        }
        lines.push(line);
    }
    Ok(vec![Table {
        title: "Forwarding, one core, live frames of 60 bytes (IPv6: 80)".to_owned(),
        unit: "ns".to_owned(),
        lines,
    }])
}

/// The same packets with nothing told of them and with each told.
pub(crate) fn told(floor: &FilePath, rounds: usize) -> Result<Table> {
    let paths = [Path::NexinSilent, Path::NexinFlows, Path::NexinPackets];
    let Figures { series, .. } = figures(floor, rounds, &paths)?;
    let lines = paths.iter().zip(&series).map(|(path, own)| {
        let line = Line::new(path.name(), own).over(own, &series[0]);
        match path {
            Path::NexinPackets => line.at_most("ratio", 1.2, SLACK, own.over(&series[0]).spread()),
            _ => line,
        }
    });
    Ok(Table {
        title: "Forwarding, one core, live frames of 60 bytes, flows told".to_owned(),
        unit: "ns".to_owned(),
        lines: lines.collect(),
    })
}

/// Nanoseconds to make a frame, and those of each path without that.
struct Figures {
    alone: Series,
    series: Vec<Series>,
}

fn figures(floor: &FilePath, rounds: usize, paths: &[Path]) -> Result<Figures> {
    let programs = Loader::new().load(&std::fs::read(floor)?)?;
    let ways = paths.iter().map(|path| Way::new(*path, &programs)).collect::<Result<Vec<_>>>()?;
    let mut alone = Series::default();
    let mut series = vec![Series::default(); ways.len()];
    for round in 0..rounds {
        eprintln!("round {} of {rounds}", round + 1);
        let mut raw = vec![0.0; ways.len()];
        for way in order(ways.len(), round) {
            // A linear rule costs nanoseconds: no need to wait seconds for as many frames.
            let frames = if ways[way].built.path == Path::NftMany { FRAMES / 40 } else { FRAMES };
            raw[way] = ways[way].forward(&programs, frames)?;
        }
        let made = ways[0].make(&programs)?;
        alone.values.push(made);
        for (own, raw) in series.iter_mut().zip(raw) {
            own.values.push(raw - made);
        }
    }
    Ok(Figures { alone, series })
}

impl Way {
    fn new(path: Path, programs: &Loaded) -> Result<Self> {
        let built = paths::build(path)?;
        let Some(hop) = built.hop() else { fail!("nothing forwards on {path:?}") };
        let from = mac(hop.client, "eth0")?;
        let to = mac(hop.middle, hop.device)?;
        let frame = frame(hop.source, built.server, from, to)?;
        if !path.is_nexin() {
            // The sink swallows what the neighbour would answer with.
            let server = mac(hop.server, "eth0")?.map(|byte| format!("{byte:02x}")).join(":");
            hop.middle.ip(&format!("neigh replace {} lladdr {server} dev right nud permanent", built.server))?;
        }
        let sink = hop.server.run(|| {
            let ifindex = nix::net::if_::if_nametoindex("eth0")?;
            Ok(Link::attach(programs.program("sink")?, ifindex, Hook::Ingress)?)
        })?;
        let device = hop.device.to_owned();
        let (ifindex, attached) = hop.middle.run(move || {
            let ifindex = nix::net::if_::if_nametoindex(device.as_str())?;
            Ok((ifindex, programs.program("let_pass")?.attach_xdp(ifindex)?))
        })?;
        Ok(Self { built, frame, ifindex, _attached: attached, _sink: sink })
    }

    /// Nanoseconds from making a frame to the end of its way; every frame must get there.
    fn forward(&self, programs: &Loaded, frames: u32) -> Result<f64> {
        let before = arrived(programs)?;
        let took = self.run(programs, "generate", frames)?;
        let found = arrived(programs)? - before;
        if found != u64::from(frames) {
            fail!("{}: {found} of {frames} packets arrived", self.built.path.name());
        }
        Ok(took)
    }

    fn make(&self, programs: &Loaded) -> Result<f64> {
        self.run(programs, "generate_only", FRAMES)
    }

    fn run(&self, programs: &Loaded, program: &str, frames: u32) -> Result<f64> {
        let Some(hop) = self.built.hop() else { fail!("nothing forwards on {:?}", self.built.path) };
        hop.middle.run(|| {
            machine::move_to_the_measured_core()?;
            let mean = programs.program(program)?.live_frames(&self.frame, self.ifindex, frames)?;
            Ok(mean.as_nanos() as f64)
        })
    }
}

/// A UDP packet whose payload begins with what forwarding changes of its headers.
fn frame(source: IpAddr, destination: IpAddr, from: [u8; 6], to: [u8; 6]) -> Result<Vec<u8>> {
    let transport = Transport::Udp { source: 40_000, destination: PORT, checksum: source.is_ipv6() };
    let write = |payload: &[u8]| -> Result<Vec<u8>> {
        let mut out = vec![0; 128];
        match Spec::new(source, destination, transport).macs(from, to).payload(payload).write(&mut out) {
            Some(length) => out.truncate(length),
            None => fail!("a packet that does not fit"),
        }
        Ok(out)
    };
    let headers = write(&[0; PAYLOAD])?;
    let restored = if source.is_ipv4() { &headers[22..26] } else { &headers[20..22] };
    let mut payload = [0; PAYLOAD];
    payload[..12].copy_from_slice(&headers[..12]);
    payload[12..12 + restored.len()].copy_from_slice(restored);
    write(&payload)
}

fn mac(ns: &Namespace, device: &str) -> Result<[u8; 6]> {
    let links: Value = serde_json::from_str(&ns.ip(&format!("-j link show dev {device}"))?)?;
    let text = links[0]["address"].as_str().unwrap_or_default();
    let bytes: Vec<u8> = text.split(':').filter_map(|part| u8::from_str_radix(part, 16).ok()).collect();
    match <[u8; 6]>::try_from(bytes) {
        Ok(mac) => Ok(mac),
        Err(_) => fail!("{device} has the address {text:?}"),
    }
}

/// Packets that the sinks have counted.
fn arrived(programs: &Loaded) -> Result<u64> {
    Ok(programs.map::<Metrics>()?.per_cpu(&0)?.iter().map(|traffic| traffic.packets).sum())
}
