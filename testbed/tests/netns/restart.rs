//! The agent ends, by order or by force, and comes back: traffic, policy and endpoints must not notice.

use nexin_bpf::{Hook, attached};
use nexin_testbed::{
    Node, Result, Workload, WorkloadSpec, World, fail, isolated,
    traffic::{Connections, Datagrams, Outcome, Stream, TcpEcho, UdpEcho, ping, retransmissions, tcp},
    until_ok,
};
use serde_json::Value;

use crate::{policies::allow_from, settings};

/// A node with traffic of every kind, none of which may lose a packet.
struct Busy {
    node: Node,
    a: Workload,
    b: Workload,
    foe: Workload,
    endpoints: Value,
    streams: Vec<Stream>,
    datagrams: Vec<Datagrams>,
    connections: Vec<Connections>,
    _servers: (TcpEcho, UdpEcho, TcpEcho, UdpEcho),
}

impl Busy {
    fn new() -> Result<Self> {
        let node = Node::up("n")?;
        node.apply("b.yaml", &allow_from("b", "a"))?;
        let (a, b) = (node.workload("a", "app=a")?, node.workload("b", "app=b")?);
        let foe = node.workload("foe", "app=foe")?;
        let world = &node.world.ns;
        let servers = (
            TcpEcho::start(&b.ns, 80)?,
            UdpEcho::start(&b.ns, 53)?,
            TcpEcho::start(world, 80)?,
            UdpEcho::start(world, 53)?,
        );
        let (mut streams, mut datagrams, mut connections) = (Vec::new(), Vec::new(), Vec::new());
        for to in [b.v4.into(), b.v6.into(), World::V4.into(), World::V6.into()] {
            streams.push(Stream::start(&a.ns, to, 80)?);
            datagrams.push(Datagrams::start(&a.ns, to, 53)?);
            connections.push(Connections::start(&a.ns, to, 80)?);
        }
        let endpoints = node.api()?.get("/v1/endpoints")?;
        let busy = Self { node, a, b, foe, endpoints, streams, datagrams, connections, _servers: servers };
        busy.flows_on()?;
        Ok(busy)
    }

    fn flows_on(&self) -> Result {
        self.streams.iter().try_for_each(|s| s.wait_for(20))?;
        self.datagrams.iter().try_for_each(|s| s.wait_for(20))?;
        self.connections.iter().try_for_each(|s| s.wait_for(5))
    }

    fn policy_holds(&self) -> Result {
        for to in self.b.addresses() {
            assert_eq!(tcp(&self.foe.ns, to, 80)?, Outcome::Silence, "{to}");
            assert_eq!(tcp(&self.a.ns, to, 80)?, Outcome::Answered, "{to}");
        }
        Ok(())
    }

    /// Ends all traffic: nothing was lost. Endpoints are as they were.
    fn expect_unnoticed(self) -> Result {
        self.flows_on()?;
        self.policy_holds()?;
        assert_eq!(self.node.api()?.get("/v1/endpoints")?, self.endpoints, "endpoints were adopted");
        for ns in [&self.a.ns, &self.b.ns, &self.node.world.ns] {
            assert_eq!(retransmissions(ns)?, 0, "segments sent again in {}", ns.name());
        }
        for stream in self.streams {
            stream.finish().expect_whole("stream")?;
        }
        for datagrams in self.datagrams {
            datagrams.finish().expect_whole("datagrams")?;
        }
        for connections in self.connections {
            connections.finish().expect_whole("connections")?;
        }
        Ok(())
    }
}

#[test]
fn a_crash_goes_unnoticed() -> Result {
    isolated(|| {
        let mut busy = Busy::new()?;
        for _ in 0..3 {
            busy.node.agent()?.crash()?;
            busy.flows_on()?;
            busy.policy_holds()?;
            busy.node.agent()?.start_again(None)?;
            busy.flows_on()?;
        }
        busy.expect_unnoticed()
    })
}

#[test]
fn a_crash_while_starting_goes_unnoticed() -> Result {
    isolated(|| {
        let mut busy = Busy::new()?;
        busy.node.agent()?.crash()?;
        for milliseconds in [0, 5, 20, 50, 100, 200] {
            busy.node.agent()?.start_and_crash(std::time::Duration::from_millis(milliseconds))?;
            busy.policy_holds()?;
        }
        busy.node.agent()?.start_again(None)?;
        busy.expect_unnoticed()
    })
}

#[test]
fn an_orderly_restart_goes_unnoticed() -> Result {
    isolated(|| {
        let mut busy = Busy::new()?;
        busy.node.agent()?.stop()?;
        busy.flows_on()?;
        busy.policy_holds()?;
        busy.node.agent()?.start_again(None)?;
        busy.expect_unnoticed()
    })
}

#[test]
fn an_upgrade_swaps_programs_unnoticed() -> Result {
    isolated(|| {
        let mut busy = Busy::new()?;
        let before = programs(&busy.node, &busy.b)?;
        busy.node.agent()?.configure(&[settings::OTHER_PROGRAMS])?;
        busy.node.agent()?.crash()?;
        busy.node.agent()?.start_again(None)?;
        let after = programs(&busy.node, &busy.b)?;
        assert_ne!(before, after, "other programs are attached");
        busy.flows_on()?;
        busy.node.agent()?.configure(&[])?;
        busy.node.agent()?.stop()?;
        busy.node.agent()?.start_again(None)?;
        assert_ne!(programs(&busy.node, &busy.b)?, after, "and back");
        busy.expect_unnoticed()
    })
}

#[test]
fn changes_while_the_agent_was_away_are_caught_up_with() -> Result {
    isolated(|| {
        let mut node = Node::up("n")?;
        let (a, b) = (node.workload("a", "app=a")?, node.workload("b", "app=b")?);
        let _server = TcpEcho::start(&b.ns, 80)?;
        node.apply("b.yaml", &allow_from("b", "a"))?;
        let gone = node.workload("gone", "app=gone")?;
        node.agent()?.crash()?;
        let host = gone.host_interface.clone();
        node.ns.ip(&format!("link del {host}"))?;
        node.ns.ip(&format!("route del {}", b.v4))?;
        node.agent()?.start_again(None)?;
        assert_eq!(tcp(&a.ns, b.v4.into(), 80)?, Outcome::Answered);
        assert_eq!(tcp(&node.ns, b.v4.into(), 80)?, Outcome::Answered, "the route is back");
        assert_eq!(ping(&gone.ns, a.v4.into(), "")?, Outcome::Answered, "its link is back");
        assert_eq!(gone.endpoint(&node)?["state"], "ready");
        Ok(())
    })
}

#[test]
fn a_workload_that_ended_is_told_and_freed() -> Result {
    isolated(|| {
        let mut node = Node::up("n")?;
        let gone = node.workload("gone", "app=gone")?;
        let (id, v4) = (gone.id, gone.v4);
        node.agent()?.crash()?;
        drop(gone);
        node.agent()?.start_again(None)?;
        let path = format!("/v1/endpoints/{id}");
        until_ok("it is broken", || match node.api()?.get(&path)? {
            endpoint if endpoint["state"] == "broken" => Ok(()),
            endpoint => fail!("{endpoint}"),
        })?;
        node.api()?.delete(&path)?;
        let next = WorkloadSpec { extra: &[("ipv4", v4.to_string().into())], ..WorkloadSpec::new("next") };
        assert_eq!(node.workload_with(next)?.v4, v4, "its address is free");
        Ok(())
    })
}

/// Kernel's numbers of the programs at a workload's link, once they have settled there.
fn programs(node: &Node, workload: &Workload) -> Result<Vec<u32>> {
    until_ok("both programs are in their place", || match found(node, workload)? {
        both if both.len() == 2 => Ok(both),
        others => fail!("programs at {}: {others:?}", workload.host_interface),
    })
}

fn found(node: &Node, workload: &Workload) -> Result<Vec<u32>> {
    let device = &workload.host_interface;
    if node.api()?.get("/v1/status")?["agent"]["attach"] == "tcx" {
        return node.ns.run(|| {
            let index = nix::net::if_::if_nametoindex(device.as_str())?;
            Ok([attached(index, Hook::Ingress)?, attached(index, Hook::Egress)?].concat())
        });
    }
    let filters = ["ingress", "egress"].map(|hook| node.ns.tool(&format!("tc filter show dev {device} {hook}")));
    let text = filters.into_iter().collect::<Result<Vec<_>>>()?.concat();
    Ok(text.split(" id ").skip(1).filter_map(|rest| rest.split(' ').next()?.parse().ok()).collect())
}
