//! What the datapath costs at scale, on this machine: `cargo run --release -p nexin-datapath --example scale` as root.
//!
//! 250 endpoints share 10 policies over 10,000 identities. It measures calls of this crate only: no engine, no agent, no
//! packets. Everything happens in namespaces that end with the process.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nexin_abi::maps::addr::AddrInfo;
use nexin_abi::maps::ct::v4::CtKey;
use nexin_abi::maps::ct::{Ct4, CtEntry};
use nexin_abi::maps::policy::{Decision, Page, Slot, Verdict};
use nexin_abi::{Action, Be16, Identity};
use nexin_bpf::clock::Jiffies;
use nexin_bpf::{Map, bpffs};
use nexin_datapath::{Attach, Datapath, Desired, EndpointSpec, GcReport, Options};
use nexin_policy::tables::{Members, PolicyKey, PolicyTables};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

const ENDPOINTS: u16 = 250;
const POLICIES: u128 = 10;
const IDENTITIES: u32 = 10_000;
const ROUNDS: u32 = 40;
const FLOWS: u32 = 200_000;

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS)?;
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
    let dir = tempfile::tempdir()?;
    bpffs::ensure(dir.path())?;
    let attach = if std::env::args().any(|argument| argument == "clsact") { Attach::Clsact } else { Attach::Auto };
    let options = Options { bpffs: dir.path().join("nexin"), attach, ..Options::default() };
    run(&options)?;
    nix::mount::umount2(dir.path(), nix::mount::MntFlags::MNT_DETACH)?;
    Ok(())
}

fn run(options: &Options) -> Result<(), Failure> {
    for number in 1..=ENDPOINTS {
        let (name, peer) = (format!("nxs{number}"), format!("nxs{number}p"));
        let status = Command::new("ip").args(["link", "add", &name, "type", "veth", "peer", &peer]).status()?;
        assert!(status.success(), "ip link add {name}");
    }
    let start = Instant::now();
    let mut datapath = Datapath::open(options)?;
    println!("open, new maps          {:?}", start.elapsed());
    let empty = datapath.memory()?;
    let mut desired = state(IDENTITIES, 0);
    println!("first apply             {:?}", datapath.apply(&desired)?.elapsed);
    let full = datapath.memory()?;
    println!("policy memory           {} KiB ({} KiB of it with no policy)", full.policy >> 10, empty.policy >> 10);
    println!("all maps                {} KiB", full.total >> 10);
    for pressure in datapath.pressure().iter().filter(|pressure| pressure.used > 0) {
        println!("  {:<12} {:>7} of {}", pressure.map, pressure.used, pressure.available);
    }

    let mut times = Vec::new();
    for round in 0..ROUNDS {
        let identity = IDENTITIES + 300 + round;
        let with: BTreeMap<_, _> = desired.policies.iter().map(|(key, t)| (*key, with_member(t, identity))).collect();
        desired.policies = with;
        let info = AddrInfo { identity: Identity(identity), endpoint: 0, flags: 0 };
        desired.addresses.insert(Ipv4Addr::from(0x0b00_0000 + round).into(), info);
        let start = Instant::now();
        datapath.apply(&desired)?;
        times.push(start.elapsed());
    }
    print("new identity, 10 policies", &mut times);

    times.clear();
    for round in 0..ROUNDS {
        let changed = state(IDENTITIES, round + 1);
        let start = Instant::now();
        datapath.apply(&changed)?;
        times.push(start.elapsed());
        walk(&mut datapath)?;
    }
    print("all 10 policies replaced", &mut times);

    times.clear();
    desired = state(IDENTITIES, ROUNDS);
    desired.endpoints.clear();
    for number in 1..=100u16 {
        desired.endpoints.insert(number, endpoint(number));
        let info = AddrInfo { identity: Identity(300), endpoint: number, flags: 0 };
        desired.addresses.insert(Ipv4Addr::new(10, 1, 0, number as u8).into(), info);
        let start = Instant::now();
        assert!(datapath.apply(&desired)?.complete());
        times.push(start.elapsed());
    }
    print("endpoint added, attached", &mut times);

    collect(&mut datapath)?;

    let start = Instant::now();
    let repaired = datapath.repair()?.total();
    println!("repair, nothing wrong   {:?} ({repaired} repaired)", start.elapsed());
    drop(datapath);
    let start = Instant::now();
    let mut datapath = Datapath::open(options)?;
    println!("open, 100 endpoints     {:?}", start.elapsed());
    let report = datapath.apply(&desired)?;
    println!(
        "first apply after it    {:?} ({} adopted, {} loaded)",
        report.elapsed, report.policies_adopted, report.policies_loaded
    );
    datapath.uninstall(false)?;
    Ok(())
}

/// A full table of flows, half of which are over.
fn collect(datapath: &mut Datapath) -> Result<(), Failure> {
    let flows: Map<Ct4> = datapath.kernel().map()?;
    let now = Jiffies::new()?.now()?;
    let entries: Vec<(CtKey, CtEntry)> = (0..FLOWS)
        .map(|n| {
            let key = CtKey {
                low: Ipv4Addr::from(0x0a00_0000 + n % 5000).into(),
                high: Ipv4Addr::from(0xc000_0000 + n).into(),
                low_port: Be16::new(1024 + (n % 60_000) as u16),
                high_port: Be16::new(443),
                protocol: 6,
                reserved: [0; 3],
            };
            let expires = if n % 2 == 0 { now.wrapping_add(1_000_000) } else { now.wrapping_sub(1000) };
            (key, CtEntry { expires, state: 1, ..CtEntry::default() })
        })
        .collect();
    flows.set_many(&entries)?;
    let report = walk(datapath)?;
    println!("collect {FLOWS} flows   {:?} ({} ended)", report.elapsed, report.expired);
    let report = walk(datapath)?;
    println!("walk {} flows      {:?}", report.flows, report.elapsed);
    Ok(())
}

fn print(what: &str, times: &mut [Duration]) {
    times.sort();
    let (median, last) = (times[times.len() / 2], times[times.len() - 1]);
    println!("{what:<25} median {median:?}, worst {last:?} of {}", times.len());
}

fn state(identities: u32, rule: u32) -> Desired {
    let mut desired = Desired::default();
    for number in 1..=ENDPOINTS {
        desired.endpoints.insert(number, endpoint(number));
    }
    for policy in 0..POLICIES {
        desired.policies.insert(PolicyKey(policy), Arc::new(tables(policy, identities, rule)));
    }
    for n in 0..identities {
        let info = AddrInfo { identity: Identity(256 + n), endpoint: 0, flags: 0 };
        desired.addresses.insert(Ipv4Addr::from(0x0a80_0000 + n).into(), info);
    }
    desired
}

fn endpoint(number: u16) -> EndpointSpec {
    let ifname = format!("nxs{number}");
    let policy = u128::from(number) % POLICIES;
    EndpointSpec {
        ifindex: nix::net::if_::if_nametoindex(ifname.as_str()).unwrap_or(0),
        ifname,
        identity: Identity(300),
        mac: [2, 0, 0, 0, 0, 1],
        gateway_mac: [2, 0, 0, 0, 0, 2],
        mtu: 1500,
        ingress: Some(PolicyKey(policy)),
        egress: Some(PolicyKey(policy)),
        flags: 0,
    }
}

/// Every identity in one of eight classes, each with ports of its own.
fn tables(policy: u128, identities: u32, rule: u32) -> PolicyTables {
    let deny = Verdict { action: Action::DefaultDeny as u8, ..Verdict::default() };
    let mut tables = PolicyTables {
        key: PolicyKey(policy),
        everyone_else: 0,
        members: (0..identities).map(|n| (Identity(256 + n), 1 + n % 8)).collect::<Members>(),
        decisions: vec![Decision::default()],
        ports: Vec::new(),
        blocks: Vec::new(),
        verdicts: vec![deny],
    };
    for class in 0..8u32 {
        tables.verdicts.push(Verdict { action: Action::Allow as u8, rule: 1 + rule * 8 + class, ..Verdict::default() });
        let mut block = Page([Slot::verdict(0); 256]);
        block.0[80 + class as usize] = Slot::verdict(class + 1);
        let mut page = Page([Slot::verdict(0); 256]);
        page.0[policy as usize] = Slot::table(class);
        tables.blocks.push(block);
        tables.ports.push(page);
        tables.decisions.push(Decision { tcp: Slot::table(class), ..Decision::default() });
    }
    tables
}

fn with_member(tables: &PolicyTables, identity: u32) -> Arc<PolicyTables> {
    let mut tables = tables.clone();
    tables.members.insert(Identity(identity), 1);
    Arc::new(tables)
}

fn walk(datapath: &mut Datapath) -> Result<GcReport, Failure> {
    loop {
        let report = datapath.gc()?;
        if report.complete {
            return Ok(report);
        }
    }
}
