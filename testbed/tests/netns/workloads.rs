//! Workloads of one node and their host: the rows of the datapath that need no world.

use std::net::IpAddr;

use nexin_testbed::{
    Namespace, Node, Result, WorkloadSpec, isolated,
    traffic::{Outcome, TcpEcho, UdpEcho, ping, tcp, udp, udp_sized},
    until_ok,
};

use crate::policies::{allow_from, cilium};

#[test]
fn the_gateway_is_answered_for_and_routes_are_complete() -> Result {
    isolated(|| {
        let node = Node::up("n")?;
        let a = node.workload("a", "app=a")?;
        for (gateway, family) in [(IpAddr::from(a.gateway_v4), "-4"), (a.gateway_v6.into(), "-6")] {
            assert_eq!(ping(&a.ns, gateway, "")?, Outcome::Answered);
            let neighbours = a.ns.ip(&format!("{family} neigh show {gateway}"))?;
            assert!(neighbours.contains("lladdr"), "{gateway}: {neighbours}");
            let default = a.ns.ip(&format!("{family} route show default"))?;
            assert!(default.contains(&gateway.to_string()), "{default}");
        }
        let own = a.ns.ip("-o addr show eth0")?;
        assert!(own.contains(&format!("{}/32", a.v4)) && own.contains(&format!("{}/128", a.v6)), "{own}");
        assert!(!own.contains("tentative"), "{own}");
        Ok(())
    })
}

#[test]
fn large_packets_travel_whole_and_in_fragments() -> Result {
    isolated(|| {
        let node = Node::up("n")?;
        let (a, b) = (node.workload("a", "app=a")?, node.workload("b", "app=b")?);
        let _server = UdpEcho::start(&b.ns, 53)?;
        for to in b.addresses() {
            for size in [1, 1400, 3000, 9000] {
                assert_eq!(udp_sized(&a.ns, to, 53, size)?, Outcome::Answered, "{size} bytes to {to}");
            }
            assert_eq!(ping(&a.ns, to, "-s 4000")?, Outcome::Answered, "{to}");
        }
        // Fragments are judged like their first packet.
        node.apply("b.yaml", &allow_from("b", "nobody"))?;
        for to in b.addresses() {
            assert_eq!(udp_sized(&a.ns, to, 53, 3000)?, Outcome::Silence, "{to}");
        }
        Ok(())
    })
}

#[test]
fn a_closed_port_is_refused_by_its_owner() -> Result {
    isolated(|| {
        let node = Node::up("n")?;
        let (a, b) = (node.workload("a", "app=a")?, node.workload("b", "app=b")?);
        for to in b.addresses() {
            assert_eq!(tcp(&a.ns, to, 81)?, Outcome::Refused, "a reset comes back from {to}");
            assert_eq!(udp(&a.ns, to, 54)?, Outcome::Refused, "an ICMP error comes back from {to}");
        }
        Ok(())
    })
}

#[test]
fn a_stolen_source_address_goes_nowhere() -> Result {
    isolated(|| {
        let node = Node::up("n")?;
        let (a, b) = (node.workload("a", "app=a")?, node.workload("b", "app=b")?);
        let seen = UdpEcho::start(&b.ns, 53)?;
        let before = node.metric("cilium_drop_count_total", &["Invalid source ip"])?;
        a.ns.ip("addr add 10.78.99.99/32 dev eth0")?;
        a.ns.ip("-6 addr add fd00:6e65:7869::9999/128 dev eth0 nodad")?;
        for (to, thief) in [(IpAddr::from(b.v4), "10.78.99.99"), (b.v6.into(), "fd00:6e65:7869::9999")] {
            assert_eq!(ping(&a.ns, to, &format!("-I {thief}"))?, Outcome::Silence, "{thief}");
            assert_eq!(ping(&a.ns, to, "")?, Outcome::Answered);
        }
        assert_eq!(seen.received(), 0);
        assert_eq!(node.metric("cilium_drop_count_total", &["Invalid source ip"])?, before + 2.0);

        let router = node.workload_with(WorkloadSpec {
            labels: Some("app=router"),
            extra: &[("no_source_check", true.into())],
            ..WorkloadSpec::new("router")
        })?;
        router.ns.ip("addr add 10.78.99.99/32 dev eth0")?;
        // The answer has nowhere to go, but the question arrives.
        router.ns.run(|| {
            let socket = std::net::UdpSocket::bind("10.78.99.99:0")?;
            Ok(socket.send_to(b"x", (b.v4, 53)).map(drop)?)
        })?;
        until_ok("the router's packet arrived", || match seen.received() {
            0 => nexin_testbed::fail!("nothing"),
            _ => Ok(()),
        })
    })
}

#[test]
fn tunnel_ports_are_refused_from_workloads() -> Result {
    isolated(|| {
        let node = Node::up("n")?;
        let a = node.workload("a", "app=a")?;
        let (vxlan, other) = (UdpEcho::start(&node.ns, 8472)?, UdpEcho::start(&node.ns, 8473)?);
        for gateway in [IpAddr::from(a.gateway_v4), a.gateway_v6.into()] {
            assert_eq!(udp(&a.ns, gateway, 8472)?, Outcome::Silence, "{gateway}");
            assert_eq!(udp(&a.ns, gateway, 8473)?, Outcome::Answered, "{gateway}");
        }
        assert_eq!((vxlan.received(), other.received()), (0, 2));
        Ok(())
    })
}

#[test]
fn a_workload_is_init_until_its_labels_are_known() -> Result {
    isolated(|| {
        let node = Node::up("n")?;
        node.apply("b.yaml", &allow_from("b", "a"))?;
        let b = node.workload("b", "app=b")?;
        let _server = TcpEcho::start(&b.ns, 80)?;
        let a = node.workload_with(WorkloadSpec::new("a"))?;
        let endpoint = a.endpoint(&node)?;
        assert_eq!((&endpoint["identity"], &endpoint["state"]), (&5.into(), &"init".into()), "{endpoint}");
        assert_eq!(tcp(&a.ns, b.v4.into(), 80)?, Outcome::Silence);
        a.relabel(&node, "app=a")?;
        let endpoint = a.endpoint(&node)?;
        assert_eq!(endpoint["state"], "ready", "{endpoint}");
        assert!(endpoint["identity"].as_u64() > Some(255), "{endpoint}");
        assert_eq!(tcp(&a.ns, b.v4.into(), 80)?, Outcome::Answered);
        assert_eq!(tcp(&a.ns, b.v6.into(), 80)?, Outcome::Answered);
        Ok(())
    })
}

#[test]
fn labels_change_on_the_fly() -> Result {
    isolated(|| {
        let node = Node::up("n")?;
        node.apply("b.yaml", &allow_from("b", "a"))?;
        let (a, b) = (node.workload("a", "app=a")?, node.workload("b", "app=b")?);
        let _server = TcpEcho::start(&b.ns, 80)?;
        assert_eq!(tcp(&a.ns, b.v4.into(), 80)?, Outcome::Answered);
        a.relabel(&node, "app=stranger")?;
        assert_eq!(tcp(&a.ns, b.v4.into(), 80)?, Outcome::Silence);
        b.relabel(&node, "app=open")?;
        assert_eq!(tcp(&a.ns, b.v4.into(), 80)?, Outcome::Answered, "the policy does not select it any more");
        b.relabel(&node, "app=b")?;
        a.relabel(&node, "app=a,tier=x")?;
        assert_eq!(tcp(&a.ns, b.v4.into(), 80)?, Outcome::Answered);
        Ok(())
    })
}

#[test]
fn named_ports_follow_the_workload() -> Result {
    isolated(|| {
        let node = Node::up("n")?;
        let spec = |name, port| WorkloadSpec { labels: Some("app=web"), ports: port, ..WorkloadSpec::new(name) };
        let web1 = node.workload_with(spec("web1", &[("http", 80, "TCP")]))?;
        let web2 = node.workload_with(spec("web2", &[("http", 8080, "TCP")]))?;
        let a = node.workload("a", "app=a")?;
        let servers = [&web1, &web2]
            .map(|w| Ok::<_, nexin_testbed::Error>((TcpEcho::start(&w.ns, 80)?, TcpEcho::start(&w.ns, 8080)?)));
        for server in &servers {
            assert!(server.as_ref().is_ok_and(|(a, b)| a.accepted() + b.accepted() == 0));
        }
        let rest = "  ingress:\n  - toPorts:\n    - ports:\n      - {port: http, protocol: TCP}";
        node.apply("web.yaml", &cilium("web", "web", rest))?;
        assert_eq!(tcp(&a.ns, web1.v4.into(), 80)?, Outcome::Answered);
        assert_eq!(tcp(&a.ns, web1.v4.into(), 8080)?, Outcome::Silence);
        assert_eq!(tcp(&a.ns, web2.v4.into(), 80)?, Outcome::Silence);
        assert_eq!(tcp(&a.ns, web2.v4.into(), 8080)?, Outcome::Answered);
        Ok(())
    })
}

#[test]
fn asking_twice_makes_one_endpoint_and_exhaustion_is_clear() -> Result {
    isolated(|| {
        // A pool of eight: network, gateway and broadcast are no addresses of workloads.
        let node = Node::up_with("n", &[crate::settings::POOL4_OF_EIGHT])?;
        let ns = Namespace::new("twice")?;
        let body = serde_json::json!({ "name": "a", "netns": ns.path(), "labels": { "app": "a" } });
        let (first, again) = (node.api()?.post("/v1/endpoints", &body)?, node.api()?.post("/v1/endpoints", &body)?);
        assert_eq!(first["id"], again["id"]);
        assert_eq!(node.api()?.get("/v1/endpoints")?.as_array().map(Vec::len), Some(1));
        let mut workloads = Vec::new();
        let full = loop {
            match node.workload(&format!("w{}", workloads.len()), "app=w") {
                Ok(workload) => workloads.push(workload),
                Err(error) => break error.to_string(),
            }
            assert!(workloads.len() < 8, "more workloads than addresses");
        };
        assert!(workloads.len() >= 4, "{} before: {full}", workloads.len());
        assert!(full.contains("10.78.7.0/29"), "the message names the pool: {full}");
        let freed = workloads.pop().map(|w| (w.v4, w.delete(&node)));
        let Some((v4, Ok(_))) = freed else { panic!("no workload to delete: {full}") };
        assert_eq!(node.workload("late", "app=w")?.v4, v4, "the address is free again");
        Ok(())
    })
}
