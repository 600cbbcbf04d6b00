//! The same datapath where the kernel has no tcx, or the setting says so.

use nexin_testbed::{
    Feature, Node, Result, World, fail, isolated, needs,
    traffic::{Datagrams, Outcome, Stream, TcpEcho, UdpEcho, ping, tcp},
    until_ok,
};

use crate::{policies::allow_from, settings};

#[test]
fn clsact_carries_the_same_datapath() -> Result {
    isolated(|| {
        let mut node = Node::up_with("n", &[settings::CLSACT])?;
        assert_eq!(node.api()?.get("/v1/status")?["agent"]["attach"], "clsact");
        let (a, b) = (node.workload("a", "app=a")?, node.workload("b", "app=b")?);
        let _servers = (TcpEcho::start(&b.ns, 80)?, UdpEcho::start(&b.ns, 53)?, TcpEcho::start(&node.world.ns, 80)?);
        let filters = node.ns.tool(&format!("tc filter show dev {} ingress", a.host_interface))?;
        assert!(filters.contains("from_workload"), "{filters}");
        for to in b.addresses() {
            assert_eq!(tcp(&a.ns, to, 80)?, Outcome::Answered);
            assert_eq!(ping(&a.ns, to, "")?, Outcome::Answered);
        }
        for to in [World::V4.into(), World::V6.into()] {
            assert_eq!(tcp(&a.ns, to, 80)?, Outcome::Answered);
        }
        let streams = (Stream::start(&a.ns, b.v4.into(), 80)?, Datagrams::start(&a.ns, b.v6.into(), 53)?);
        node.agent()?.crash()?;
        streams.0.wait_for(20)?;
        node.agent()?.start_again(None)?;
        streams.0.wait_for(20)?;
        streams.0.finish().expect_whole("stream over a crash")?;
        streams.1.finish().expect_whole("datagrams over a crash")?;
        let again = node.ns.tool(&format!("tc filter show dev {} ingress", a.host_interface))?;
        assert_eq!(again.matches("from_workload").count(), filters.matches("from_workload").count(), "{again}");
        node.apply("b.yaml", &allow_from("b", "nobody"))?;
        assert_eq!(tcp(&a.ns, b.v4.into(), 80)?, Outcome::Silence);
        let host = a.host_interface.clone();
        a.delete(&node)?;
        assert!(!node.ns.tool("tc qdisc show")?.contains(&host));
        Ok(())
    })
}

#[test]
fn tcx_is_taken_where_the_kernel_has_it() -> Result {
    isolated(|| {
        let node = Node::up("n")?;
        let attach = node.api()?.get("/v1/status")?["agent"]["attach"].clone();
        if needs(Feature::Tcx, || attach == "tcx")? {
            let a = node.workload("a", "app=a")?;
            // New workloads may go on by clsact first, which costs less while they come up.
            until_ok("it has settled on tcx", || {
                match node.ns.tool(&format!("tc filter show dev {} ingress", a.host_interface))? {
                    shown if shown.contains("from_workload") => fail!("{shown}"),
                    _ => Ok(()),
                }
            })?;
            for to in [World::V4.into(), World::V6.into()] {
                assert_eq!(ping(&a.ns, to, "")?, Outcome::Answered, "{to}");
            }
        }
        Ok(())
    })
}
