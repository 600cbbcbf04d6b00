//! How long the wiring of one workload takes: `cargo bench -p nexin-netlink`. Prints microseconds; needs root.

use nexin_netlink::{AddressPlan, GatewayPlan, IfName, Netns, Wiring, WorkloadSpec, workload_ifname};
use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

const ROUNDS: u8 = 200;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?.block_on(measure())
}

async fn measure() -> Result<(), Box<dyn std::error::Error>> {
    let wiring = Wiring::open(Netns::create()?)?;
    let (v4, v6): (IpAddr, IpAddr) = ("10.78.0.1".parse()?, "fd78::1".parse()?);
    wiring
        .prepare_node(GatewayPlan { v4: "10.78.0.1".parse().ok(), v6: "fd78::1".parse().ok(), forwarding: true })
        .await?;
    let (mut attach, mut check, mut detach) = (Vec::new(), Vec::new(), Vec::new());
    let mut live = Vec::new();
    for round in 2..ROUNDS {
        let netns = Netns::create()?;
        let owner = format!("bench-{round}");
        let spec = WorkloadSpec {
            netns: netns.path(),
            host_ifname: workload_ifname(&owner, 0),
            container_ifname: IfName::new("eth0")?,
            mac: None,
            mtu: 1500,
            addresses: vec![
                AddressPlan { address: format!("10.78.0.{round}").parse()?, gateway: v4 },
                AddressPlan { address: format!("fd78::{round}").parse()?, gateway: v6 },
            ],
            default_route: true,
            owner,
        };
        let start = Instant::now();
        wiring.attach_workload(spec.clone()).await?;
        attach.push(start.elapsed());
        live.push((netns, spec));
    }
    let start = Instant::now();
    let differing = wiring.check_hosts(live.iter().map(|(_, spec)| spec.clone()).collect()).await?;
    check.push(start.elapsed());
    for (_netns, spec) in &live {
        let start = Instant::now();
        wiring.detach_workload(spec.host_ifname.clone(), spec.owner.clone()).await?;
        detach.push(start.elapsed());
    }
    println!("attach            {}", spread(attach));
    println!("detach            {}", spread(detach));
    println!("check of {} hosts {}  ({} differ)", live.len(), spread(check), differing.len());
    Ok(())
}

fn spread(mut all: Vec<Duration>) -> String {
    all.sort();
    let at = |percent: usize| all[(all.len() - 1) * percent / 100].as_micros();
    format!("p50 {:>6}  p90 {:>6}  p99 {:>6}  max {:>6} us", at(50), at(90), at(99), at(100))
}
