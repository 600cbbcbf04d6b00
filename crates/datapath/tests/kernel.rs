//! The datapath against the running kernel. Needs root and `ip`.
#![allow(clippy::unwrap_used, reason = "a test that unwraps fails with a message and a line")]

#[path = "../../bpf/tests/common/isolated.rs"]
mod isolated;
mod support;

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::process::Command;

use isolated::isolated;
use nexin_abi::Identity;
use nexin_abi::maps::KernelMap;
use nexin_abi::maps::addr::{Addr4Map, AddrInfo};
use nexin_abi::maps::policy::{ClassKey, Classes, Policies, Policy};
use nexin_bpf::{Hook, attached, bpffs, clsact};
use nexin_datapath::{Attach, Datapath, Desired, DeviceSpec, EndpointSpec, Error, Options, clean_up};
use support::{Sketch, key, tables};

fn options(bpffs: &Path) -> Options {
    Options { bpffs: bpffs.join("nexin"), ..Options::default() }
}

fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split(' ')).status().unwrap();
    assert!(status.success(), "ip {arguments}");
}

/// A veth pair of which the host side is returned.
fn veth(name: &str) -> u32 {
    ip(&format!("link add {name} type veth peer name {name}p"));
    nix::net::if_::if_nametoindex(name).unwrap()
}

fn endpoint(ifindex: u32, ifname: &str, policy: Option<u128>) -> EndpointSpec {
    EndpointSpec {
        ifindex,
        ifname: ifname.to_owned(),
        identity: Identity(300),
        mac: [2, 0, 0, 0, 0, 1],
        gateway_mac: [2, 0, 0, 0, 0, 2],
        mtu: 1500,
        ingress: policy.map(key),
        egress: None,
        flags: 0,
    }
}

fn address(last: u8) -> IpAddr {
    Ipv4Addr::new(10, 0, 0, last).into()
}

/// Two endpoints on real veth pairs, one device, one policy for both.
fn node() -> Desired {
    let mut desired = Desired::default();
    for (number, name) in [(1, "nxd1"), (2, "nxd2")] {
        desired.endpoints.insert(number, endpoint(veth(name), name, Some(1)));
        let info = AddrInfo { identity: Identity(300), endpoint: number, flags: 0 };
        desired.addresses.insert(address(number as u8), info);
    }
    let uplink = DeviceSpec {
        ifname: "lo".into(),
        masquerade_v4: Some(Ipv4Addr::new(192, 0, 2, 1)),
        masquerade_v6: None,
        mtu: 1500,
        no_l2: false,
    };
    desired.devices.insert(1, uplink);
    desired.cidrs.insert("198.51.100.0/24".parse().unwrap(), Identity(1 << 24));
    desired.no_masquerade.insert("10.0.0.0/8".parse().unwrap());
    desired.policies.insert(key(1), tables(1, &Sketch::allow(&[(256, 80), (257, 443)])));
    desired
}

#[test]
fn a_new_process_adopts_everything_and_changes_nothing() {
    isolated(|bpffs| {
        let desired = node();
        let mut first = Datapath::open(&options(bpffs)).unwrap();
        let report = first.apply(&desired).unwrap();
        assert!(report.complete(), "{report:?}");
        assert_eq!((report.policies_loaded, report.attached), (1, 6));
        assert_eq!(first.settle(10).unwrap(), 0);
        let dump = support::dump(&first);
        let links = |ifindex: u32| attached(ifindex, Hook::Ingress).unwrap();
        let ifindex = desired.endpoints[&1].ifindex;
        let old_program = links(ifindex);
        drop(first);
        assert_eq!(links(ifindex), old_program, "the program stays without its process");

        let mut second = Datapath::open(&options(bpffs)).unwrap();
        assert_eq!(second.adopted().endpoints, 2);
        assert_eq!(second.adopted().links, 6);
        assert_ne!(links(ifindex), old_program, "the link runs the new process's program");
        assert_eq!(links(ifindex).len(), 1);
        let report = second.apply(&desired).unwrap();
        assert_eq!((report.policies_adopted, report.policies_loaded), (1, 0));
        assert_eq!((report.entries, report.attached, report.detached, report.epoch), (0, 0, 0, None));
        assert_eq!(second.repair().unwrap().total(), 0);
        assert_eq!(support::dump(&second), dump);
    });
}

#[test]
fn two_agents_do_not_share_pins() {
    isolated(|bpffs| {
        let first = Datapath::open(&options(bpffs)).unwrap();
        assert!(matches!(Datapath::open(&options(bpffs)), Err(Error::Locked(_))));
        drop(first);
        Datapath::open(&options(bpffs)).unwrap();
    });
}

#[test]
fn drift_is_repaired_and_counted_by_kind() {
    isolated(|bpffs| {
        let desired = node();
        let mut datapath = Datapath::open(&options(bpffs)).unwrap();
        datapath.apply(&desired).unwrap();
        let dump = support::dump(&datapath);
        support::vandalise(&datapath);
        assert_ne!(support::dump(&datapath), dump);
        let report = datapath.repair().unwrap();
        assert_eq!((report.endpoints, report.addresses, report.prefixes, report.devices), (1, 2, 1, 1), "{report:?}");
        assert_eq!(report.policies, 5, "{report:?}");
        assert_eq!(report.links, 0);
        assert_eq!(support::without_epoch(support::dump(&datapath)), support::without_epoch(dump));
        assert_eq!(datapath.repair().unwrap().total(), 0);
    });
}

#[test]
fn removed_links_come_back() {
    isolated(|bpffs| {
        let desired = node();
        let mut datapath = Datapath::open(&options(bpffs)).unwrap();
        datapath.apply(&desired).unwrap();
        datapath.settle(10).unwrap();
        let links = options(bpffs).bpffs.join("v1/links");
        let ifindex = desired.endpoints[&1].ifindex;
        nexin_bpf::Link::open_pin(&links.join("nxd1-from_workload")).unwrap().expect("pinned").detach().unwrap();
        bpffs::unpin(&links.join("nxd2-to_workload")).unwrap();
        assert_eq!(attached(ifindex, Hook::Ingress).unwrap(), [0u32; 0]);
        assert_eq!(datapath.repair().unwrap().links, 2);
        assert_eq!(attached(ifindex, Hook::Ingress).unwrap().len(), 1);
        assert_eq!(bpffs::list(&links).unwrap().len(), 6);
        assert_eq!(datapath.repair().unwrap().total(), 0);
    });
}

#[test]
fn clsact_does_what_tcx_does() {
    isolated(|bpffs| {
        let desired = node();
        let options = Options { attach: Attach::Clsact, ..options(bpffs) };
        let mut first = Datapath::open(&options).unwrap();
        assert_eq!(first.apply(&desired).unwrap().attached, 6);
        let ifindex = desired.endpoints[&1].ifindex;
        let old = clsact::attached(ifindex, Hook::Ingress).unwrap().expect("attached");
        clsact::detach(ifindex, Hook::Egress).unwrap();
        assert_eq!(first.repair().unwrap().links, 1);
        drop(first);

        let mut second = Datapath::open(&options).unwrap();
        assert_eq!(
            clsact::attached(ifindex, Hook::Ingress).unwrap(),
            Some(old),
            "traffic goes on through the old program"
        );
        second.apply(&desired).unwrap();
        let new = clsact::attached(ifindex, Hook::Ingress).unwrap().expect("attached");
        assert_ne!(new, old);
        second.apply(&Desired::default()).unwrap();
        assert_eq!(clsact::attached(ifindex, Hook::Ingress).unwrap(), None);
        assert_eq!(clsact::attached(ifindex, Hook::Egress).unwrap(), None);
    });
}

#[test]
fn a_policy_without_room_leaves_the_old_one_in_force() {
    isolated(|bpffs| {
        let mut options = options(bpffs);
        options.entries.insert(Classes::NAME.into(), 8);
        let mut desired = node();
        let mut datapath = Datapath::open(&options).unwrap();
        assert!(datapath.apply(&desired).unwrap().complete());
        let before = datapath.endpoint_policies(1).unwrap();

        let many: Vec<(u32, u16)> = (0..20).map(|n| (1000 + n, 80)).collect();
        desired.policies.insert(key(2), tables(2, &Sketch::allow(&many)));
        desired.endpoints.insert(1, EndpointSpec { ingress: Some(key(2)), ..desired.endpoints[&1].clone() });
        desired.endpoints.insert(3, endpoint(veth("nxd3"), "nxd3", Some(2)));
        let report = datapath.apply(&desired).unwrap();
        assert_eq!(report.not_enforced.keys().copied().collect::<Vec<_>>(), [1, 3]);
        for error in report.not_enforced.values() {
            assert!(matches!(error, Error::TableFull { table: "nx_class", entries: 8 }), "{error}");
        }
        assert_eq!(datapath.endpoint_policies(1).unwrap(), before);
        assert!(support::allowed(&datapath, 1, 256, 80) && !support::allowed(&datapath, 1, 1000, 80));
        assert!(!support::allowed(&datapath, 3, 1000, 80), "a new endpoint without its policy is closed");
        assert_eq!(datapath.overflows(), 2);

        desired.policies.insert(key(2), tables(2, &Sketch::allow(&many[..3])));
        assert!(datapath.apply(&desired).unwrap().complete());
        assert!(support::allowed(&datapath, 3, 1000, 80) && support::allowed(&datapath, 1, 1002, 80));
    });
}

#[test]
fn addresses_without_room_are_reported_and_the_others_are_there() {
    isolated(|bpffs| {
        let mut options = options(bpffs);
        options.entries.insert(Addr4Map::NAME.into(), 16);
        let mut datapath = Datapath::open(&options).unwrap();
        let mut desired = Desired::default();
        for last in 0..20 {
            desired.addresses.insert(address(last), AddrInfo { identity: Identity(256), endpoint: 0, flags: 0 });
        }
        let report = datapath.apply(&desired).unwrap();
        assert_eq!(report.refused, [("nx_addr4", 4)]);
        assert_eq!((0..20).filter(|last| datapath.address(address(*last)).is_some()).count(), 16);
        desired.addresses.retain(|ip, _| *ip < address(10));
        assert!(datapath.apply(&desired).unwrap().complete());
        assert!((0..10).all(|last| datapath.address(address(last)).is_some()));
    });
}

#[test]
fn a_new_identity_costs_one_entry() {
    isolated(|bpffs| {
        let mut desired = node();
        let mut datapath = Datapath::open(&options(bpffs)).unwrap();
        datapath.apply(&desired).unwrap();
        let before = datapath.endpoint_policies(1).unwrap();
        let used = |datapath: &Datapath, map: &str| {
            datapath.pressure().into_iter().find(|pressure| pressure.map == map).expect("known map").used
        };
        let classes = used(&datapath, "nx_class");
        let decisions = used(&datapath, "nx_decision");
        desired.policies.insert(key(1), tables(1, &Sketch::allow(&[(256, 80), (257, 443), (258, 80)])));
        let report = datapath.apply(&desired).unwrap();
        assert_eq!((report.policies_extended, report.policies_loaded), (1, 0));
        assert!(report.epoch.is_some());
        assert_eq!(used(&datapath, "nx_class"), classes + 1);
        assert_eq!(used(&datapath, "nx_decision"), decisions);
        assert_eq!(datapath.endpoint_policies(1).unwrap(), before);
        assert!(support::allowed(&datapath, 1, 258, 80));
        assert_eq!(datapath.repair().unwrap().total(), 0);
    });
}

/// Identities 300 to 319 with a port each; `other` gets 443 and the rest `port`.
fn crowd(port: u16, other: u32) -> Sketch {
    Sketch::allow(&(300..320).map(|n| (n, if n == other { 443 } else { port })).collect::<Vec<_>>())
}

#[test]
fn a_change_of_ports_writes_no_class_and_policies_share_them() {
    isolated(|bpffs| {
        let mut desired = node();
        let mut datapath = Datapath::open(&options(bpffs)).unwrap();
        desired.policies = [(key(1), tables(1, &crowd(80, 300)))].into();
        datapath.apply(&desired).unwrap();
        let classes = support::dump(&datapath)["nx_class"].clone();
        assert_eq!(classes.len(), 20);
        desired.policies.insert(key(2), tables(2, &crowd(8080, 300)));
        desired.endpoints.insert(2, EndpointSpec { ingress: Some(key(2)), ..desired.endpoints[&2].clone() });
        assert_eq!(datapath.apply(&desired).unwrap().policies_loaded, 1);
        assert_eq!(support::dump(&datapath)["nx_class"], classes);
        let allows = |endpoint, identity, port| support::allowed(&datapath, endpoint, identity, port);
        assert!(allows(1, 301, 80) && !allows(1, 301, 8080) && allows(1, 300, 443));
        assert!(allows(2, 301, 8080) && !allows(2, 301, 80) && allows(2, 300, 443));
        assert!(!allows(1, 299, 80) && !allows(2, 299, 8080));
    });
}

#[test]
fn telling_one_more_apart_moves_one_and_changes_nothing_for_others() {
    isolated(|bpffs| {
        let mut desired = node();
        let mut datapath = Datapath::open(&options(bpffs)).unwrap();
        desired.policies = [(key(1), tables(1, &crowd(80, 300)))].into();
        datapath.apply(&desired).unwrap();
        let before = support::dump(&datapath)["nx_class"].clone();
        let first = datapath.endpoint_policies(1).unwrap();
        // Endpoint 2 tells 305 apart from now on, then 306 as well, and forgets 300.
        for (round, others) in [vec![300, 305], vec![305, 306]].into_iter().enumerate() {
            let number = 2 + round as u128;
            let mut sketch = crowd(80, 300);
            sketch.allowed.insert(300, if others.contains(&300) { 443 } else { 80 });
            for other in &others {
                sketch.allowed.entry(*other).and_modify(|port| *port = (*port).max(443));
            }
            desired.policies.insert(key(number), tables(number, &sketch));
            desired.endpoints.insert(2, EndpointSpec { ingress: Some(key(number)), ..desired.endpoints[&2].clone() });
            datapath.apply(&desired).unwrap();
            let after = support::dump(&datapath)["nx_class"].clone();
            let moved = before.iter().filter(|entry| !after.contains(entry)).count();
            assert_eq!((after.len(), moved), (before.len(), round + 1));
            for identity in 299..321 {
                let known = (300..320).contains(&identity);
                let port = |own: bool| if own { 443 } else { 80 };
                let (one, two) = (port(identity == 300), port(others.contains(&identity)));
                for asked in [80, 443, 8080] {
                    assert_eq!(support::allowed(&datapath, 1, identity, asked), known && asked == one, "{identity}");
                    assert_eq!(support::allowed(&datapath, 2, identity, asked), known && asked == two, "{identity}");
                }
            }
            assert_eq!(datapath.endpoint_policies(1).unwrap(), first);
            assert_eq!(datapath.repair().unwrap().total(), 0);
        }
    });
}

#[test]
fn uninstall_leaves_nothing() {
    isolated(|bpffs| {
        let desired = node();
        let mut datapath = Datapath::open(&options(bpffs)).unwrap();
        datapath.apply(&desired).unwrap();
        let programs: Vec<u32> = datapath.kernel().programs().map(nexin_bpf::Program::id).collect();
        assert_eq!(programs.len(), 4);
        assert_eq!(datapath.uninstall(false).unwrap(), 6);
        assert_eq!(bpffs::list(&options(bpffs).bpffs).unwrap(), [""; 0]);
        for ifindex in desired.endpoints.values().map(|spec| spec.ifindex).chain([1]) {
            for hook in [Hook::Ingress, Hook::Egress] {
                assert_eq!(attached(ifindex, hook).unwrap(), [0u32; 0]);
            }
        }
    });
}

#[test]
fn workloads_begin_with_clsact_and_settle_on_tcx() {
    isolated(|bpffs| {
        let desired = node();
        let mut datapath = Datapath::open(&options(bpffs)).unwrap();
        datapath.apply(&desired).unwrap();
        let ifindex = desired.endpoints[&1].ifindex;
        let filter = |hook| clsact::attached(ifindex, hook).unwrap();
        assert!(filter(Hook::Ingress).is_some() && filter(Hook::Egress).is_some());
        assert_eq!(attached(1, Hook::Ingress).unwrap().len(), 1, "devices of the node go on by tcx at once");
        assert_eq!(datapath.settle(3).unwrap(), 1);
        assert_eq!(datapath.settle(3).unwrap(), 0);
        for hook in [Hook::Ingress, Hook::Egress] {
            assert_eq!(attached(ifindex, hook).unwrap().len(), 1);
            assert_eq!(filter(hook), None);
        }
        let report = datapath.apply(&desired).unwrap();
        assert_eq!((report.attached, report.detached), (0, 0));
        assert_eq!(datapath.repair().unwrap().total(), 0);
    });
}

#[test]
fn filters_of_a_dead_process_are_found_on_devices_nobody_wants() {
    isolated(|bpffs| {
        let mut desired = node();
        let options = Options { attach: Attach::Clsact, ..options(bpffs) };
        let mut first = Datapath::open(&options).unwrap();
        first.apply(&desired).unwrap();
        drop(first);
        let gone = desired.endpoints.remove(&2).unwrap().ifindex;
        desired.addresses.remove(&address(2));
        let mut second = Datapath::open(&options).unwrap();
        assert!(clsact::attached(gone, Hook::Egress).unwrap().is_some());
        assert_eq!(second.apply(&desired).unwrap().detached, 2);
        assert_eq!(clsact::attached(gone, Hook::Egress).unwrap(), None);
        drop(second);
        assert_eq!(Datapath::open(&options).unwrap().uninstall(false).unwrap(), 4);
        assert_eq!(clsact::attached(1, Hook::Ingress).unwrap(), None);
    });
}

#[test]
fn cleaning_up_needs_no_agent_and_knows_other_versions() {
    isolated(|bpffs| {
        let desired = node();
        let options = options(bpffs);
        let mut datapath = Datapath::open(&options).unwrap();
        datapath.apply(&desired).unwrap();
        datapath.settle(2).unwrap();
        assert!(matches!(clean_up(&options.bpffs, false), Err(Error::Locked(_))));
        drop(datapath);
        let other = options.bpffs.join("v99/links");
        std::fs::create_dir_all(&other).unwrap();
        std::fs::rename(options.bpffs.join("v1/links/lo-to_network"), other.join("lo-another_name")).unwrap();
        assert_eq!(Datapath::open(&options).unwrap().adopted().other_layouts, [99]);
        assert_eq!(clean_up(&options.bpffs, false).unwrap(), 5);
        assert_eq!(bpffs::list(&options.bpffs).unwrap(), ["v99"]);
        assert_eq!(attached(1, Hook::Egress).unwrap().len(), 1, "what another version attached is left alone");
        assert_eq!(clean_up(&options.bpffs, true).unwrap(), 1);
        assert_eq!(bpffs::list(&options.bpffs).unwrap(), [""; 0]);
        assert_eq!(attached(1, Hook::Egress).unwrap(), [0u32; 0]);
    });
}

#[test]
fn what_a_killed_process_left_half_done_is_swept() {
    isolated(|bpffs| {
        let desired = node();
        let mut datapath = Datapath::open(&options(bpffs)).unwrap();
        datapath.apply(&desired).unwrap();
        let usage = |datapath: &Datapath| -> Vec<(&'static str, u32)> {
            datapath.pressure().iter().map(|pressure| (pressure.map, pressure.used)).collect()
        };
        let before = usage(&datapath);
        // Killed after classes were written, and after a policy was written that no endpoint was switched to.
        let kernel = datapath.kernel();
        let class = |classifier, identity| ClassKey { classifier, identity: Identity(identity) };
        let classes = [(class(2, 256), 1), (class(3, 256), 1), (class(3, 999), 1)];
        kernel.map::<Classes>().unwrap().set_many(&classes).unwrap();
        kernel.map::<Policies>().unwrap().set(&3, &Policy { classifier: 3, base: 1 }).unwrap();
        drop(datapath);

        let mut second = Datapath::open(&options(bpffs)).unwrap();
        let mut more = desired.clone();
        more.policies.insert(key(2), tables(2, &Sketch::allow(&[(700, 22)])));
        more.endpoints.insert(2, EndpointSpec { ingress: Some(key(2)), ..desired.endpoints[&2].clone() });
        assert!(second.apply(&more).unwrap().complete());
        assert!(support::allowed(&second, 2, 700, 22) && !support::allowed(&second, 2, 256, 80));
        support::collect(&mut second);
        assert!(support::allowed(&second, 2, 700, 22) && !support::allowed(&second, 2, 256, 22));
        assert!(second.apply(&desired).unwrap().complete());
        support::collect(&mut second);
        assert_eq!(usage(&second), before);
        assert_eq!(second.repair().unwrap().total(), 0);
    });
}
