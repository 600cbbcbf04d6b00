//! The wiring on the real kernel: two anonymous namespaces play node and workload, so nothing can stay behind.

#![allow(clippy::unwrap_used)]

use nexin_netlink::{
    AddressPlan, Drift, Error, GatewayPlan, IfName, Link, Mac, Netlink, Netns, Scope, Side, VethSpec, Wiring,
    WorkloadSpec, workload_ifname,
};
use std::{collections::BTreeSet, net::IpAddr, process::Command};

struct World {
    host: Netns,
    workload: Netns,
    wiring: Wiring,
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

impl World {
    async fn new() -> Self {
        let (host, workload) = (Netns::create().unwrap(), Netns::create().unwrap());
        let wiring = Wiring::open(host.try_clone().unwrap()).unwrap();
        wiring.prepare_node(gateways()).await.unwrap();
        Self { host, workload, wiring }
    }

    fn spec(&self, owner: &str) -> WorkloadSpec {
        WorkloadSpec {
            owner: owner.into(),
            netns: self.workload.path(),
            host_ifname: workload_ifname(owner, 0),
            container_ifname: IfName::new("eth0").unwrap(),
            mac: None,
            mtu: 1500,
            addresses: vec![
                AddressPlan { address: ip("10.78.0.5"), gateway: ip("10.78.0.1") },
                AddressPlan { address: ip("fd78::5"), gateway: ip("fd78::1") },
            ],
            default_route: true,
        }
    }

    fn host_netlink(&self) -> Netlink {
        self.host.netlink().unwrap()
    }
}

fn gateways() -> GatewayPlan {
    GatewayPlan { v4: Some("10.78.0.1".parse().unwrap()), v6: Some("fd78::1".parse().unwrap()), forwarding: true }
}

fn sh(netns: &Netns, line: &str) -> String {
    let output = netns.run(|| Command::new("sh").arg("-c").arg(line).output().unwrap()).unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{line}: {text}");
    text
}

/// Everything in the tables of a namespace, to prove that nothing stays.
fn tables(netns: &Netns) -> String {
    let mut netlink = netns.netlink().unwrap();
    let mut links: Vec<_> = netlink.links().unwrap().into_iter().map(|l| l.name).collect();
    links.sort();
    let mut lines: Vec<_> = netlink.routes().unwrap().into_iter().map(|route| format!("{route:?}")).collect();
    lines.sort();
    format!("{links:?} {lines:#?} {:?} {:?}", netlink.addresses().unwrap(), netlink.neighbours().unwrap())
}

#[tokio::test]
async fn both_sides_talk_in_both_families_and_removal_is_complete() {
    let world = World::new().await;
    let spec = world.spec("one");
    let (host_before, workload_before) = (tables(&world.host), tables(&world.workload));
    let wired = world.wiring.attach_workload(spec.clone()).await.unwrap();
    assert!(wired.created);
    assert_eq!(world.wiring.check(spec.clone(), Scope::Both).await.unwrap(), []);
    for (from, to) in [
        (&world.host, "10.78.0.5"),
        (&world.host, "fd78::5"),
        (&world.workload, "10.78.0.1"),
        (&world.workload, "fd78::1"),
    ] {
        sh(from, &format!("ping -c1 -W2 {to}"));
    }
    assert!(sh(&world.host, "ip route get 10.78.0.5").contains("src 10.78.0.1"));
    assert!(sh(&world.host, "ip -6 route get fd78::5").contains("src fd78::1"));
    assert!(sh(&world.host, "ip route show proto 78").contains(wired.host_ifname.as_str()));
    assert!(!sh(&world.workload, "ip -6 addr show dev eth0 scope global").contains("tentative"));
    assert_eq!(
        sh(&world.host, &format!("ip -6 addr show dev {}", wired.host_ifname)),
        "",
        "the host side needs no link-local address"
    );

    assert!(world.wiring.detach_workload(wired.host_ifname.clone(), "one".into()).await.unwrap());
    assert!(!world.wiring.detach_workload(wired.host_ifname, "one".into()).await.unwrap());
    assert_eq!(tables(&world.host), host_before);
    // The workload's `lo` is up now and has its addresses; nothing else may be there.
    assert_eq!(sh(&world.workload, "ip -o link | grep -v ' lo:' | cat"), "");
    assert_ne!(workload_before, "");
}

#[tokio::test]
async fn attaching_again_keeps_the_pair() {
    let world = World::new().await;
    let mut spec = world.spec("two");
    let first = world.wiring.attach_workload(spec.clone()).await.unwrap();
    let second = world.wiring.attach_workload(spec.clone()).await.unwrap();
    assert!(!second.created);
    assert_eq!(
        (first.host_ifindex, first.mac, first.gateway_mac),
        (second.host_ifindex, second.mac, second.gateway_mac)
    );

    // With another address and MTU the old address, route and neighbour go.
    spec.addresses[0].address = ip("10.78.0.6");
    spec.mtu = 1400;
    world.wiring.attach_workload(spec.clone()).await.unwrap();
    assert_eq!(world.wiring.check(spec, Scope::Both).await.unwrap(), []);
    assert!(!sh(&world.workload, "ip addr").contains("10.78.0.5"));
    assert!(!sh(&world.host, "ip route").contains("10.78.0.5"));
    sh(&world.host, "ping -c1 -W2 10.78.0.6");
}

#[tokio::test]
async fn drift_is_named_and_repaired() {
    let world = World::new().await;
    let spec = world.spec("three");
    let wired = world.wiring.attach_workload(spec.clone()).await.unwrap();
    let dev = wired.host_ifname.as_str();
    sh(
        &world.host,
        &format!(
            "ip route del 10.78.0.5; ip neigh del 10.78.0.5 dev {dev}; ip link set {dev} mtu 1400; sysctl -qw net.ipv4.conf.{dev}.forwarding=0"
        ),
    );
    sh(
        &world.workload,
        "ip route del default; ip addr del fd78::5/128 dev eth0; ip neigh change 10.78.0.1 lladdr 02:00:00:00:00:01 dev eth0",
    );
    let found: BTreeSet<_> = world.wiring.check(spec.clone(), Scope::Both).await.unwrap().into_iter().collect();
    let expected = BTreeSet::from([
        Drift::Route { side: Side::Host, destination: "10.78.0.5/32".parse().unwrap() },
        Drift::Neighbour { side: Side::Host, ip: ip("10.78.0.5") },
        Drift::Mtu { side: Side::Host, want: 1500, got: 1400 },
        Drift::Forwarding,
        Drift::Address("fd78::5/128".parse().unwrap()),
        Drift::Route { side: Side::Workload, destination: "0.0.0.0/0".parse().unwrap() },
        Drift::Neighbour { side: Side::Workload, ip: ip("10.78.0.1") },
    ]);
    assert_eq!(found, expected);
    let by_owner = world.wiring.check_hosts(vec![spec.clone()]).await.unwrap();
    assert_eq!(by_owner["three"].len(), 4);
    assert!(by_owner["three"].iter().all(|drift| drift.to_string().starts_with("host side")));

    let (_, again) = world.wiring.repair(spec.clone(), Scope::Both).await.unwrap();
    assert_eq!(again.unwrap().host_ifindex, wired.host_ifindex);
    assert_eq!(world.wiring.repair(spec.clone(), Scope::Both).await.unwrap(), (vec![], None));

    sh(&world.host, &format!("ip link del {dev}"));
    let (drift, again) = world.wiring.repair(spec.clone(), Scope::Both).await.unwrap();
    assert_eq!(drift, [Drift::LinkMissing(Side::Host)]);
    assert_ne!(again.unwrap().host_ifindex, wired.host_ifindex);
    sh(&world.workload, "ping -c1 -W2 fd78::1");
}

#[tokio::test]
async fn a_half_made_pair_is_replaced_and_swept() {
    let world = World::new().await;
    let spec = world.spec("four");
    let half = |spec: &WorkloadSpec| {
        let veth = VethSpec {
            name: &spec.host_ifname,
            mac: Mac::derived("a"),
            peer_name: &spec.container_ifname,
            peer_mac: Mac::derived("b"),
            peer_netns: &world.workload,
            mtu: 1500,
        };
        world.host_netlink().run(&[veth.create()]).unwrap();
    };
    half(&spec);
    assert!(world.wiring.attach_workload(spec.clone()).await.unwrap().created);
    assert_eq!(world.wiring.check(spec.clone(), Scope::Both).await.unwrap(), []);

    // An owner that is alive stays, a dead one and a pair without owner go.
    let live = BTreeSet::from(["four".to_owned()]);
    assert_eq!(world.wiring.sweep(live.clone()).await.unwrap(), Default::default());
    let orphan = WorkloadSpec { container_ifname: IfName::new("eth1").unwrap(), ..world.spec("orphan") };
    half(&orphan);
    assert_eq!(world.wiring.sweep(live).await.unwrap().links, [orphan.host_ifname.to_string()]);
    assert_eq!(world.wiring.sweep(BTreeSet::new()).await.unwrap().links, [spec.host_ifname.to_string()]);
    assert_eq!(sh(&world.host, "ip -o link | grep -v ' lo:' | cat"), "");
}

#[tokio::test]
async fn foreign_links_are_left_alone() {
    let world = World::new().await;
    let spec = world.spec("five");
    world.wiring.attach_workload(spec.clone()).await.unwrap();
    let thief = WorkloadSpec { owner: "thief".into(), ..spec.clone() };
    let refused = world.wiring.attach_workload(thief).await.unwrap_err();
    assert!(matches!(&refused, Error::Occupied { owner: Some(owner), .. } if owner == "five"), "{refused}");
    assert!(!world.wiring.detach_workload(spec.host_ifname.clone(), "thief".into()).await.unwrap());

    // The workload has an eth0 already: nothing is made.
    let second = world.spec("six");
    let refused = world.wiring.attach_workload(second.clone()).await.unwrap_err();
    assert!(matches!(&refused, Error::Occupied { name, .. } if name == "eth0"), "{refused}");
    assert_eq!(world.host_netlink().link(&second.host_ifname).unwrap(), None::<Link>);
    assert_eq!(world.wiring.check(spec.clone(), Scope::Both).await.unwrap(), []);

    let own = WorkloadSpec { netns: world.host.path(), ..world.spec("seven") };
    assert!(matches!(world.wiring.attach_workload(own).await, Err(Error::HostNamespace(_))));
    let long = WorkloadSpec { owner: "x".repeat(241), ..world.spec("long") };
    assert!(matches!(world.wiring.attach_workload(long).await, Err(Error::OwnerTooLong(_))));
    let fits = WorkloadSpec {
        owner: "x".repeat(240),
        container_ifname: IfName::new("eth1").unwrap(),
        default_route: false,
        ..world.spec("fits")
    };
    assert!(world.wiring.attach_workload(fits).await.unwrap().created);
    let gone = WorkloadSpec { netns: "/run/netns/nxn-nowhere".into(), ..world.spec("eight") };
    assert!(matches!(world.wiring.attach_workload(gone).await, Err(Error::NoSuchNamespace(_))));
}

#[tokio::test]
async fn the_pair_ends_with_its_namespace() {
    let world = World::new().await;
    let workload = Netns::create().unwrap();
    let spec = WorkloadSpec { netns: workload.path(), ..world.spec("nine") };
    let mut changes = nexin_netlink::Watcher::open(&world.host).unwrap();
    let wired = world.wiring.attach_workload(spec.clone()).await.unwrap();
    drop(workload);
    let gone = |change| matches!(change, nexin_netlink::Change::LinkGone(link) if link.index == wired.host_ifindex);
    while !gone(changes.next().await.unwrap()) {}
    assert_eq!(world.wiring.check(spec.clone(), Scope::Both).await.unwrap(), [Drift::LinkMissing(Side::Host)]);
    assert!(!world.wiring.detach_workload(spec.host_ifname, "nine".into()).await.unwrap());
}

#[tokio::test]
async fn gateway_addresses_follow_the_plan() {
    let world = World::new().await;
    let other = GatewayPlan { v4: Some("10.79.0.1".parse().unwrap()), v6: None, forwarding: false };
    world.wiring.prepare_node(other).await.unwrap();
    let view = world.wiring.node_view().await.unwrap();
    let global: Vec<_> = view.addresses.iter().filter(|a| a.ours).map(|a| a.net.addr()).collect();
    assert_eq!(global, [ip("10.79.0.1")]);
    assert!(view.links.iter().all(|link| link.loopback && link.up));
}

#[tokio::test]
async fn the_first_packet_passes_at_once() {
    // New namespaces give both ends the same number: the case in which the kernel would wait.
    for _ in 0..5 {
        let world = World::new().await;
        let wired = world.wiring.attach_workload(world.spec("ten")).await.unwrap();
        assert_ne!(wired.host_ifindex, wired.container_ifindex);
        sh(&world.host, "ping -c1 -W1 10.78.0.5");
        sh(&world.workload, "ping -c1 -W1 fd78::1");
    }
}

#[tokio::test]
async fn a_pair_made_ahead_is_down_until_it_is_attached() {
    let world = World::new().await;
    let spec = world.spec("eleven");
    let made = world.wiring.make_links(spec.clone()).await.unwrap();
    assert!(made.created);
    let link = world.host_netlink().link(&spec.host_ifname).unwrap().unwrap();
    assert_eq!((link.up, link.owner()), (false, Some("eleven")));
    assert_eq!(world.workload.netlink().unwrap().link(&spec.container_ifname).unwrap().map(|l| l.up), Some(false));
    let attached = world.wiring.attach_workload(spec.clone()).await.unwrap();
    assert_eq!((attached.host_ifindex, attached.container_ifindex), (made.host_ifindex, made.container_ifindex));
    assert_eq!(world.wiring.check(spec, Scope::Both).await.unwrap(), []);
}
