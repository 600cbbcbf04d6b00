//! Workloads and what lies outside their node: masquerading, its exclusions and its limits, errors from routers, path
//! MTU, addresses of the node that change.

use std::net::IpAddr;

use nexin_testbed::{
    Node, Result, World, isolated,
    traffic::{Outcome, TcpEcho, UdpEcho, ping, tcp, udp, udp_sized},
    until_ok,
};

use crate::{policies::cilium, settings};

const WORLDS: [(IpAddr, IpAddr); 4] = [
    (IpAddr::V4(World::V4), IpAddr::V4(Node::V4)),
    (IpAddr::V6(World::V6), IpAddr::V6(Node::V6)),
    (IpAddr::V4(World::FAR_V4), IpAddr::V4(Node::V4)),
    (IpAddr::V6(World::FAR_V6), IpAddr::V6(Node::V6)),
];

/// Answers from the address that was asked.
fn world_echo(node: &Node) -> Result<UdpEcho> {
    UdpEcho::start_at(&node.world.ns, &WORLDS.map(|(address, _)| address), 53)
}

#[test]
fn the_world_sees_the_node_and_answers_find_back() -> Result {
    isolated(|| {
        let node = Node::up("n")?;
        let (a, b) = (node.workload("a", "app=a")?, node.workload("b", "app=b")?);
        let (_tcp, seen) = (TcpEcho::start(&node.world.ns, 80)?, world_echo(&node)?);
        for (to, masquerade) in WORLDS {
            for workload in [&a, &b] {
                assert_eq!(tcp(&workload.ns, to, 80)?, Outcome::Answered, "{to}");
                assert_eq!(udp(&workload.ns, to, 53)?, Outcome::Answered, "{to}");
                assert_eq!(seen.last_peer().map(|p| p.ip()), Some(masquerade));
                assert_eq!(ping(&workload.ns, to, "")?, Outcome::Answered, "{to}");
            }
        }
        Ok(())
    })
}

#[test]
fn two_workloads_may_use_one_source_port() -> Result {
    isolated(|| {
        let node = Node::up("n")?;
        let (a, b) = (node.workload("a", "app=a")?, node.workload("b", "app=b")?);
        let _server = world_echo(&node)?;
        let sockets = [&a, &b].map(|w| {
            w.ns.run(|| {
                let socket = std::net::UdpSocket::bind("0.0.0.0:4444")?;
                socket.set_read_timeout(Some(nexin_testbed::DEADLINE))?;
                socket.connect((World::V4, 53))?;
                Ok(socket)
            })
        });
        for (number, socket) in sockets.into_iter().enumerate() {
            let (socket, number) = (socket?, number as u8);
            socket.send(&[number])?;
            let mut answer = [9];
            socket.recv(&mut answer)?;
            assert_eq!(answer, [number], "each gets its own answer");
        }
        Ok(())
    })
}

#[test]
fn excluded_destinations_see_the_workload_itself() -> Result {
    isolated(|| {
        let node = Node::up_with("n", &[settings::NO_MASQUERADE_FAR])?;
        let a = node.workload("a", "app=a")?;
        let seen = world_echo(&node)?;
        for (route, gateway) in [(IpAddr::from(a.v4), IpAddr::from(Node::V4)), (a.v6.into(), Node::V6.into())] {
            let family = if route.is_ipv4() { "-4" } else { "-6" };
            node.world.ns.ip(&format!("{family} route add {route} via {gateway}"))?;
        }
        for (to, source) in [
            (IpAddr::from(World::FAR_V4), IpAddr::from(a.v4)),
            (World::FAR_V6.into(), a.v6.into()),
            (World::V4.into(), Node::V4.into()),
            (World::V6.into(), Node::V6.into()),
        ] {
            assert_eq!(udp(&a.ns, to, 53)?, Outcome::Answered, "{to}");
            assert_eq!(seen.last_peer().map(|p| p.ip()), Some(source), "{to}");
        }
        Ok(())
    })
}

#[test]
fn errors_of_routers_reach_the_workload() -> Result {
    isolated(|| {
        let node = Node::up("n")?;
        let a = node.workload("a", "app=a")?;
        for (to, _) in WORLDS {
            assert_eq!(udp(&a.ns, to, 9)?, Outcome::Refused, "port unreachable from {to}, translated back");
            assert_eq!(tcp(&a.ns, to, 9)?, Outcome::Refused, "reset from {to}");
        }
        node.world.ns.ip("route add unreachable 198.51.100.0/24")?;
        node.world.ns.ip("-6 route add unreachable 2001:db8:1::/64")?;
        for line in ["net/ipv4/conf/all/forwarding", "net/ipv6/conf/all/forwarding"] {
            node.world.ns.sysctl(line, "1")?;
        }
        for to in ["198.51.100.1".parse::<IpAddr>()?, "2001:db8:1::1".parse()?] {
            assert_eq!(ping(&a.ns, to, "")?, Outcome::Unreachable, "{to}");
        }
        Ok(())
    })
}

#[test]
fn fragments_cross_the_border_both_ways() -> Result {
    isolated(|| {
        let node = Node::up("n")?;
        let a = node.workload("a", "app=a")?;
        let _server = world_echo(&node)?;
        for (to, _) in WORLDS {
            for size in [1500, 4000] {
                assert_eq!(udp_sized(&a.ns, to, 53, size)?, Outcome::Answered, "{size} bytes to {to}");
            }
        }
        Ok(())
    })
}

#[test]
fn a_narrow_path_is_found_out() -> Result {
    isolated(|| {
        // Behind the world, over a link of 1300 bytes, lies `behind`.
        let node = Node::up("n")?;
        let a = node.workload("a", "app=a")?;
        let behind = nexin_testbed::Namespace::new("behind")?;
        let world = &node.world.ns;
        world.join("narrow", &behind, "eth0")?;
        for (ns, device, own) in [(world, "narrow", "1"), (&behind, "eth0", "2")] {
            ns.ip(&format!("link set {device} mtu 1300"))?;
            ns.ip(&format!("addr add 10.98.0.{own}/24 dev {device}"))?;
            ns.ip(&format!("addr add fd98::{own}/64 dev {device} nodad"))?;
        }
        behind.ip("route add default via 10.98.0.1")?;
        behind.ip("-6 route add default via fd98::1")?;
        for line in ["net/ipv4/conf/all/forwarding", "net/ipv6/conf/all/forwarding"] {
            world.sysctl(line, "1")?;
        }
        let _server = TcpEcho::start(&behind, 80)?;
        for to in ["10.98.0.2".parse::<IpAddr>()?, "fd98::2".parse()?] {
            assert_eq!(ping(&a.ns, to, "-s 1400 -M do")?, Outcome::Unreachable, "the router's answer reaches {to}");
            let route = a.ns.ip(&format!("route get {to}"))?;
            assert!(route.contains("mtu 1300"), "the workload has learnt it: {route}");
            // TCP adapts: a message larger than any packet arrives whole.
            a.ns.run(|| {
                use std::io::{Read as _, Write as _};
                let mut stream = std::net::TcpStream::connect((to, 80))?;
                stream.set_read_timeout(Some(nexin_testbed::DEADLINE))?;
                let sent = vec![7; 20_000];
                stream.write_all(&sent)?;
                let mut back = vec![0; sent.len()];
                stream.read_exact(&mut back)?;
                assert_eq!(back, sent);
                Ok(())
            })?;
        }
        Ok(())
    })
}

#[test]
fn address_changes_of_the_node_are_followed() -> Result {
    isolated(|| {
        let node = Node::up("n")?;
        let a = node.workload("a", "app=a")?;
        let seen = world_echo(&node)?;
        assert_eq!(udp(&a.ns, World::V4.into(), 53)?, Outcome::Answered);
        node.ns.ip("addr del 10.99.0.2/24 dev uplink")?;
        node.ns.ip("addr add 10.99.0.77/24 dev uplink")?;
        node.ns.ip("route replace default via 10.99.0.1 dev uplink")?;
        until_ok("the new address is the masquerade's", || {
            let outcome = udp(&a.ns, World::V4.into(), 53)?;
            match seen.last_peer() {
                Some(peer) if outcome == Outcome::Answered && peer.ip() == IpAddr::from([10, 99, 0, 77]) => Ok(()),
                peer => nexin_testbed::fail!("{outcome:?} from {peer:?}"),
            }
        })
    })
}

#[test]
fn the_world_may_not_come_in_by_itself_when_isolated() -> Result {
    isolated(|| {
        let node = Node::up("n")?;
        let a = node.workload("a", "app=a")?;
        let _server = TcpEcho::start(&a.ns, 80)?;
        node.world.ns.ip(&format!("route add {} via {}", a.v4, Node::V4))?;
        node.world.ns.ip(&format!("-6 route add {} via {}", a.v6, Node::V6))?;
        for to in a.addresses() {
            assert_eq!(tcp(&node.world.ns, to, 80)?, Outcome::Answered, "not isolated: {to}");
        }
        node.apply("a.yaml", &cilium("a", "a", "  ingress:\n  - fromEntities: [cluster]"))?;
        for to in a.addresses() {
            assert_eq!(tcp(&node.world.ns, to, 80)?, Outcome::Silence, "{to}");
        }
        node.apply("a.yaml", &cilium("a", "a", "  ingress:\n  - fromCIDR: [10.99.0.0/24, 'fd99::/64']"))?;
        for to in a.addresses() {
            assert_eq!(tcp(&node.world.ns, to, 80)?, Outcome::Answered, "allowed by CIDR: {to}");
        }
        Ok(())
    })
}

#[test]
fn egress_to_the_world_follows_cidrs() -> Result {
    isolated(|| {
        let node = Node::up("n")?;
        let a = node.workload("a", "app=a")?;
        let _server = TcpEcho::start(&node.world.ns, 80)?;
        let rest = "  egress:\n  - toCIDRSet:\n    - cidr: 192.0.2.0/24\n    - cidr: 2001:db8::/32\n      except: ['2001:db8::9/128']";
        node.apply("a.yaml", &cilium("a", "a", rest))?;
        for (to, outcome) in [
            (IpAddr::from(World::FAR_V4), Outcome::Answered),
            (World::V4.into(), Outcome::Silence),
            (World::FAR_V6.into(), Outcome::Silence),
        ] {
            assert_eq!(tcp(&a.ns, to, 80)?, outcome, "{to}");
        }
        Ok(())
    })
}

/// Published ports (the CNI plugin `portmap`, Docker's `-p`): netfilter of the node changes the destination and must see the
/// replies to change them back, also after a change of policy.
#[test]
fn what_the_stack_redirects_to_a_workload_finds_back() -> Result {
    isolated(|| {
        let node = Node::up("n")?;
        let a = node.workload("a", "app=a")?;
        let _server = TcpEcho::start(&a.ns, 80)?;
        node.ns.sysctl("net/ipv4/conf/all/forwarding", "1")?;
        node.ns.tool("nft add table ip published")?;
        node.ns.tool("nft add chain ip published in { type nat hook prerouting priority -100 ; }")?;
        node.ns.tool(&format!("nft add rule ip published in tcp dport 8080 dnat to {}:80", a.v4))?;
        assert_eq!(tcp(&node.world.ns, Node::V4.into(), 8080)?, Outcome::Answered);
        node.apply("world.yaml", &cilium("world", "a", "  ingress: [{fromEntities: [world]}]"))?;
        assert_eq!(tcp(&node.world.ns, Node::V4.into(), 8080)?, Outcome::Answered);
        Ok(())
    })
}
