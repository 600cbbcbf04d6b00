//! The shortest way through everything: a few workloads talk, are refused, and are told why. It runs on every kernel of
//! the matrix.

use nexin_testbed::{
    Node, Result, Workload, World, isolated,
    traffic::{Outcome, TcpEcho, UdpEcho, ping, tcp, udp},
};
use serde_json::Value;

use crate::policies::allow_from;

/// Asks over TCP, UDP and ICMP, both families; what each answered.
fn everything(from: &Workload, to: &Workload) -> Result<Vec<Outcome>> {
    let mut outcomes = Vec::new();
    for address in to.addresses() {
        outcomes.push(tcp(&from.ns, address, 80)?);
        outcomes.push(udp(&from.ns, address, 53)?);
        outcomes.push(ping(&from.ns, address, "")?);
    }
    Ok(outcomes)
}

#[test]
fn workloads_talk_and_reach_the_world() -> Result {
    isolated(|| {
        let node = Node::up("n")?;
        let (a, b) = (node.workload("a", "app=a")?, node.workload("b", "app=b")?);
        let _servers = (TcpEcho::start(&b.ns, 80)?, UdpEcho::start(&b.ns, 53)?);
        assert_eq!(everything(&a, &b)?, [Outcome::Answered; 6]);

        let _world = TcpEcho::start(&node.world.ns, 80)?;
        let seen = UdpEcho::start(&node.world.ns, 53)?;
        for (to, own) in [(World::V4.into(), Node::V4.into()), (World::V6.into(), Node::V6.into())] {
            assert_eq!(tcp(&a.ns, to, 80)?, Outcome::Answered, "{to}");
            assert_eq!(udp(&a.ns, to, 53)?, Outcome::Answered, "{to}");
            assert_eq!(seen.last_peer().map(|p| p.ip()), Some(own), "masqueraded as the node");
            assert_eq!(ping(&a.ns, to, "")?, Outcome::Answered, "{to}");
        }

        let _host = TcpEcho::start(&node.ns, 8080)?;
        for (gateway, workload) in [(a.gateway_v4.into(), b.v4.into()), (a.gateway_v6.into(), b.v6.into())] {
            assert_eq!(tcp(&a.ns, gateway, 8080)?, Outcome::Answered, "workload to host {gateway}");
            assert_eq!(tcp(&node.ns, workload, 80)?, Outcome::Answered, "host to workload {workload}");
            assert_eq!(ping(&a.ns, gateway, "")?, Outcome::Answered);
        }
        Ok(())
    })
}

#[test]
fn policy_refuses_and_says_why() -> Result {
    isolated(|| {
        let node = Node::up("n")?;
        let (friend, foe) = (node.workload("friend", "app=friend")?, node.workload("foe", "app=foe")?);
        let server = node.workload("server", "app=server")?;
        let _servers = (TcpEcho::start(&server.ns, 80)?, UdpEcho::start(&server.ns, 53)?);
        let mut monitor = node.monitor("type=drop")?;
        node.apply("server.yaml", &allow_from("server", "friend"))?;
        assert_eq!(everything(&friend, &server)?, [Outcome::Answered; 6]);
        assert_eq!(everything(&foe, &server)?, [Outcome::Silence; 6]);

        let event = monitor.wait_for("foe is refused", |e| e["destination"]["port"] == 80)?;
        assert_eq!(event["verdict"], "default-deny", "{event}");
        assert_eq!(event["source"]["workload"], "default/foe", "{event}");
        assert_eq!(event["destination"]["workload"], "default/server", "{event}");
        assert_eq!(event["isolated_by"][0]["name"], "server", "{event}");
        assert!(event["explanation"].is_string(), "{event}");

        let explained = node.api()?.get("/v1/policies/explain?from=default/foe&to=default/server&port=80/TCP")?;
        assert_ne!(explained["verdict"], Value::from("allow"), "{explained}");

        node.api()?.delete("/v1/policies/CiliumNetworkPolicy/default/server")?;
        assert_eq!(everything(&foe, &server)?, [Outcome::Answered; 6]);
        Ok(())
    })
}
