//! Any sequence of desired states leaves the kernel as the last one alone would. Needs root.
#![allow(clippy::unwrap_used, reason = "a test that unwraps fails with a message and a line")]

#[path = "../../bpf/tests/common/isolated.rs"]
mod isolated;
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::path::Path;

use isolated::isolated;
use nexin_abi::Identity;
use nexin_abi::maps::addr::AddrInfo;
use nexin_datapath::{Datapath, Desired, EndpointSpec, Options};
use nexin_verdict::{Tables, protocol};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use support::{Dump, Sketch, dump, key, tables, without_epoch};

const IDENTITIES: std::ops::Range<u32> = 256..262;
const PORTS: [u16; 4] = [53, 80, 443, 8080];

/// A small desired state: what varies is who has which policy, what is in it, and which addresses and prefixes exist.
#[derive(Clone, Debug)]
struct State {
    endpoints: BTreeMap<u16, (u8, Option<u8>)>,
    policies: Vec<Sketch>,
    addresses: BTreeMap<u8, u32>,
    cidrs: BTreeSet<u8>,
}

fn state() -> impl Strategy<Value = State> {
    let sketch = (proptest::collection::btree_map(IDENTITIES, prop::sample::select(&PORTS), 0..5), 1u32..3)
        .prop_map(|(allowed, rule)| Sketch { allowed, rule });
    (
        proptest::collection::btree_map(1u16..6, (0u8..2, prop::option::of(0u8..4)), 0..5),
        proptest::collection::vec(sketch, 4),
        proptest::collection::btree_map(0u8..8, IDENTITIES, 0..8),
        proptest::collection::btree_set(0u8..6, 0..4),
    )
        .prop_map(|(endpoints, policies, addresses, cidrs)| State { endpoints, policies, addresses, cidrs })
}

fn desired(state: &State) -> Desired {
    let mut desired = Desired::default();
    for (&number, &(variant, policy)) in &state.endpoints {
        let policy = policy.map(|index| key(u128::from(index)));
        let spec = EndpointSpec {
            // No such devices: this is about maps.
            ifindex: 1000 + u32::from(number) * 10 + u32::from(variant),
            ifname: format!("none{number}"),
            identity: Identity(256 + u32::from(variant)),
            mac: [2, 0, 0, 0, 0, variant],
            gateway_mac: [2, 0, 0, 0, 1, 0],
            mtu: 1500,
            ingress: policy,
            egress: policy.filter(|_| variant == 1),
            flags: 0,
        };
        desired.endpoints.insert(number, spec);
    }
    for (index, sketch) in state.policies.iter().enumerate() {
        desired.policies.insert(key(index as u128), tables(index as u128, sketch));
    }
    for (&last, &identity) in &state.addresses {
        let info = AddrInfo { identity: Identity(identity), endpoint: 0, flags: 0 };
        desired.addresses.insert(Ipv4Addr::new(10, 0, 0, last).into(), info);
    }
    for &third in &state.cidrs {
        let net = format!("192.168.{third}.0/24").parse().unwrap();
        desired.cidrs.insert(net, Identity((1 << 24) + u32::from(third)));
    }
    desired
}

/// What the kernel holds, with numbers and indices replaced by what they mean, since those depend on history.
#[derive(Debug, PartialEq)]
struct Meaning {
    maps: Dump,
    /// Action and rule for each endpoint, direction, identity and port; `None` where nothing isolates.
    verdicts: Vec<Option<(u8, u32)>>,
    /// Entries in use of each table: nothing is leaked and nothing is stored twice.
    used: Vec<(&'static str, u32)>,
}

fn meaning(datapath: &Datapath, desired: &Desired) -> Meaning {
    let mut maps = without_epoch(dump(datapath));
    for numbered in ["nx_policy", "nx_class", "nx_decision", "nx_ports", "nx_block", "nx_verdict", "nx_endpoint"] {
        maps.remove(numbered);
    }
    let kernel = datapath.kernel_policy().unwrap();
    let mut verdicts = Vec::new();
    for &number in desired.endpoints.keys() {
        let (ingress, egress) = datapath.endpoint_policies(number).expect("desired endpoint");
        for policy in [ingress, egress] {
            assert_eq!(policy != 0, kernel.policy(policy).is_some_and(|policy| policy.classifier != 0));
            for (identity, port) in IDENTITIES.chain([999]).flat_map(|identity| PORTS.map(|port| (identity, port))) {
                let verdict = nexin_verdict::decide(&kernel, policy, Identity(identity), protocol::TCP, port);
                let isolated = verdict.filter(|_| policy != 0);
                verdicts.push(isolated.map(|verdict| (verdict.action, verdict.rule)));
            }
        }
    }
    // Who shares a classifier with whom, and what it tells apart beyond need, depends on history too.
    let historic = ["nx_class", "nx_decision"];
    let used = used(datapath).into_iter().filter(|(map, _)| !historic.contains(map)).collect();
    Meaning { maps, verdicts, used }
}

fn used(datapath: &Datapath) -> Vec<(&'static str, u32)> {
    datapath.pressure().iter().map(|pressure| (pressure.map, pressure.used)).collect()
}

fn open(bpffs: &Path, name: &str) -> Datapath {
    Datapath::open(&Options { bpffs: bpffs.join(name), ..Options::default() }).unwrap()
}

#[test]
fn any_way_leads_to_the_same_kernel() {
    isolated(|bpffs| {
        let bpffs = bpffs.to_owned();
        let mut runner = TestRunner::new(Config { cases: 16, failure_persistence: None, ..Config::default() });
        let fresh = open(&bpffs, "fresh");
        let empty = used(&fresh);
        fresh.uninstall(false).unwrap();
        let sequence = proptest::collection::vec((state(), any::<bool>()), 1..6);
        runner
            .run(&sequence, |states| {
                let mut datapath = open(&bpffs, "long");
                let mut last = Desired::default();
                for (state, restart) in &states {
                    if *restart {
                        drop(datapath);
                        datapath = open(&bpffs, "long");
                    }
                    last = desired(state);
                    let report = datapath.apply(&last).unwrap();
                    prop_assert!(report.not_enforced.is_empty() && report.refused.is_empty());
                }
                support::collect(&mut datapath);
                prop_assert_eq!(datapath.repair().unwrap().total(), 0);
                let mut scratch = open(&bpffs, "scratch");
                scratch.apply(&last).unwrap();
                let (long, short) = (meaning(&datapath, &last), meaning(&scratch, &last));
                // Nothing is leaked: when all is gone, all tables are as empty as new ones.
                datapath.apply(&Desired::default()).unwrap();
                support::collect(&mut datapath);
                prop_assert_eq!(used(&datapath), empty.clone());
                prop_assert_eq!(dump(&datapath)["nx_class"].len(), 0);
                datapath.uninstall(false).unwrap();
                scratch.uninstall(false).unwrap();
                prop_assert_eq!(long, short);
                Ok(())
            })
            .unwrap();
    });
}

#[test]
fn a_verdict_is_never_wrong_while_policies_change() {
    isolated(|bpffs| {
        // Identity 256 is always allowed, 257 never: whichever tables are in force, a reader in between must agree.
        let mut datapath = open(bpffs, "race");
        let with = |rule: u32, extra: u32| {
            let allowed = [(256, 80)].into_iter().chain((0..extra).map(|n| (300 + n, 443))).collect();
            let mut desired = Desired::default();
            desired.policies.insert(key(1), tables(1, &Sketch { allowed, rule }));
            let spec = EndpointSpec {
                ifindex: 1000,
                ifname: "none".into(),
                identity: Identity(256),
                mac: [0; 6],
                gateway_mac: [0; 6],
                mtu: 1500,
                ingress: Some(key(1)),
                egress: None,
                flags: 0,
            };
            desired.endpoints.insert(1, spec);
            desired
        };
        datapath.apply(&with(1, 0)).unwrap();
        let endpoints: nexin_bpf::Map<nexin_abi::maps::endpoint::Endpoints> = datapath.kernel().map().unwrap();
        let config: nexin_bpf::Map<nexin_abi::maps::config::ConfigMap> = datapath.kernel().map().unwrap();
        let kernel = datapath.kernel_policy().unwrap();
        let stop = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let mut asked = 0u64;
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    let before = config.get(&0).unwrap();
                    let policy = endpoints.get(&1).unwrap().unwrap().ingress_policy;
                    let ask = |identity| nexin_verdict::decide(&kernel, policy, Identity(identity), protocol::TCP, 80);
                    let (allowed, denied) = (ask(256), ask(257));
                    // A packet is inside an RCU section, which the sweep waits for; this reader is not, so what it saw counts
                    // only if no apply was completed meanwhile.
                    if config.get(&0).unwrap() == before {
                        assert_eq!(allowed.expect("loaded").action, nexin_abi::Action::Allow as u8);
                        assert_eq!(denied.expect("loaded").action, nexin_abi::Action::DefaultDeny as u8);
                        asked += 1;
                    }
                }
                asked
            });
            for round in 0..60u32 {
                let report = datapath.apply(&with(1 + round % 2, round % 7)).unwrap();
                assert!(report.complete() || !report.missing_devices.is_empty());
                if round % 5 == 0 {
                    support::collect(&mut datapath);
                }
            }
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
            assert!(reader.join().unwrap() > 0);
        });
        datapath.uninstall(false).unwrap();
    });
}
