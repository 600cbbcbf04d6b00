//! Policies from a sketch, and reading the kernel back by other ways than the code under test.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::collections::BTreeMap;
use std::sync::Arc;

use nexin_abi::maps::addr::{Addr4Map, AddrInfo};
use nexin_abi::maps::cidr::Cidr4;
use nexin_abi::maps::device::Devices;
use nexin_abi::maps::endpoint::Endpoints;
use nexin_abi::maps::policy::{ClassKey, Classes, Decision, Decisions, Page, Policies, Policy, Slot, Verdict};
use nexin_abi::{Action, Addr4, Identity};
use nexin_datapath::{Datapath, GcReport, MapEntry};
use nexin_policy::tables::{Members, PolicyKey, PolicyTables};
use nexin_verdict::{decide, protocol};

pub(crate) fn key(number: u128) -> PolicyKey {
    PolicyKey(number)
}

/// A policy in the fewest words: which TCP port each identity may use, and a rule number that makes its verdicts differ.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Sketch {
    pub(crate) allowed: BTreeMap<u32, u16>,
    pub(crate) rule: u32,
}

impl Sketch {
    pub(crate) fn allow(pairs: &[(u32, u16)]) -> Self {
        Self { allowed: pairs.iter().copied().collect(), rule: 1 }
    }
}

/// Tables as the engine makes them: verdict 0 denies, classes by port in the order in which identities bring them.
pub(crate) fn tables(number: u128, sketch: &Sketch) -> Arc<PolicyTables> {
    let deny = Verdict { action: Action::DefaultDeny as u8, ..Verdict::default() };
    let allow = Verdict { action: Action::Allow as u8, rule: sketch.rule, ..Verdict::default() };
    let mut made = PolicyTables {
        key: key(number),
        everyone_else: 0,
        members: Members::default(),
        decisions: vec![Decision::default()],
        ports: Vec::new(),
        blocks: Vec::new(),
        verdicts: vec![deny, allow],
    };
    let mut classes = BTreeMap::new();
    for (&identity, &port) in &sketch.allowed {
        let class = *classes.entry(port).or_insert_with(|| {
            let [high, low] = port.to_be_bytes();
            let mut block = Page([Slot::verdict(0); 256]);
            block.0[usize::from(low)] = Slot::verdict(1);
            let mut page = Page([Slot::verdict(0); 256]);
            page.0[usize::from(high)] = Slot::table(made.blocks.len() as u32);
            let decision = Decision { tcp: Slot::table(made.ports.len() as u32), ..Decision::default() };
            made.blocks.push(block);
            made.ports.push(page);
            made.decisions.push(decision);
            made.decisions.len() as u32 - 1
        });
        made.members.insert(Identity(identity), class);
    }
    Arc::new(made)
}

/// Whether the kernel's tables let `identity` in to `endpoint` on TCP `port`.
pub(crate) fn allowed(datapath: &Datapath, endpoint: u16, identity: u32, port: u16) -> bool {
    let (ingress, _) = datapath.endpoint_policies(endpoint).expect("endpoint exists");
    let verdict = decide(&datapath.kernel_policy().unwrap(), ingress, Identity(identity), protocol::TCP, port);
    ingress == 0 || verdict.is_some_and(|verdict| verdict.action == Action::Allow as u8)
}

/// Everything in the kernel's maps that the datapath is responsible for.
pub(crate) type Dump = BTreeMap<&'static str, Vec<MapEntry>>;

pub(crate) fn dump(datapath: &Datapath) -> Dump {
    const MAPS: [&str; 17] = [
        "nx_addr4",
        "nx_addr6",
        "nx_block",
        "nx_cidr4",
        "nx_cidr6",
        "nx_class",
        "nx_config",
        "nx_decision",
        "nx_device",
        "nx_endpoint",
        "nx_epdev",
        "nx_nataddr4",
        "nx_nataddr6",
        "nx_nomasq4",
        "nx_policy",
        "nx_ports",
        "nx_verdict",
    ];
    MAPS.into_iter().map(|name| (name, datapath.dump_map(name).unwrap().expect(name))).collect()
}

pub(crate) fn without_epoch(mut dump: Dump) -> Dump {
    dump.remove("nx_config");
    dump
}

/// Changes, adds and removes entries behind the datapath's back: one endpoint, two addresses, one prefix, one device, and in
/// the policy tables a class, a foreign class, a missing class, a decision and a policy.
pub(crate) fn vandalise(datapath: &Datapath) {
    let kernel = datapath.kernel();
    let endpoints = kernel.map::<Endpoints>().unwrap();
    let mut endpoint = endpoints.get(&1).unwrap().unwrap();
    endpoint.identity = Identity(1);
    endpoints.set(&1, &endpoint).unwrap();
    let addresses = kernel.map::<Addr4Map>().unwrap();
    let ip = |last| Addr4::from(std::net::Ipv4Addr::new(10, 0, 0, last));
    assert!(addresses.remove(&ip(1)).unwrap());
    addresses.set(&ip(99), &AddrInfo::default()).unwrap();
    let cidrs = kernel.map::<Cidr4>().unwrap();
    let (prefix, _) = cidrs.entries().unwrap()[0];
    assert!(cidrs.remove(&prefix).unwrap());
    assert!(kernel.map::<Devices>().unwrap().remove(&1).unwrap());
    let classes = kernel.map::<Classes>().unwrap();
    let (class, number) = classes.entries().unwrap()[0];
    classes.set(&class, &(number + 1)).unwrap();
    classes.set(&ClassKey { classifier: class.classifier, identity: Identity(4242) }, &number).unwrap();
    let (missing, _) =
        classes.entries().unwrap().into_iter().find(|(key, _)| *key != class && key.identity.0 != 4242).unwrap();
    assert!(classes.remove(&missing).unwrap());
    let decision = Decision { tcp: Slot::verdict(1), ..Decision::default() };
    kernel.map::<Decisions>().unwrap().set(&number, &decision).unwrap();
    kernel.map::<Policies>().unwrap().set(&1, &Policy::default()).unwrap();
}

/// A whole walk over the flows.
pub(crate) fn collect(datapath: &mut Datapath) -> GcReport {
    loop {
        let report = datapath.gc().unwrap();
        if report.complete {
            return report;
        }
    }
}
