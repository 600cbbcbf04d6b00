//! Somebody changes the kernel behind the agent's back: it is repaired, and counted.

use nexin_testbed::{
    Node, Result, fail, isolated,
    traffic::{Outcome, TcpEcho, tcp},
    until_ok,
};

use crate::{policies::allow_from, settings};

/// How often an object was repaired, by the agent's own count.
fn repaired(node: &Node, object: &str) -> Result<u64> {
    let status = node.api()?.get("/v1/status")?;
    let drift = status["drift"].as_array().cloned().unwrap_or_default();
    Ok(drift.iter().filter(|d| d["object"] == object).filter_map(|d| d["repaired"].as_u64()).sum())
}

fn becomes_repaired(node: &Node, object: &str, works: impl Fn() -> Result<bool>) -> Result {
    until_ok(&format!("{object} is repaired and counted"), || match (works()?, repaired(node, object)?) {
        (true, 1..) => Ok(()),
        (works, count) => fail!("works: {works}, counted: {count}; {}", node.api()?.get("/v1/status")?["drift"]),
    })
}

#[test]
fn routes_neighbours_and_map_entries_come_back() -> Result {
    isolated(|| {
        let mut node = Node::up_with("n", &[settings::CHECK_OFTEN])?;
        node.apply("b.yaml", &allow_from("b", "a"))?;
        let (a, b) = (node.workload("a", "app=a")?, node.workload("b", "app=b")?);
        let _server = TcpEcho::start(&b.ns, 80)?;
        let host_reaches = || -> Result<bool> { Ok(tcp(&node.ns, b.v4.into(), 80)? == Outcome::Answered) };
        assert!(host_reaches()?);

        node.ns.ip(&format!("route del {}", b.v4))?;
        becomes_repaired(&node, "route", || Ok(node.ns.ip(&format!("route show {}", b.v4))?.contains("nx")))?;
        node.ns.ip(&format!("neigh del {} dev {}", b.v4, b.host_interface))?;
        becomes_repaired(&node, "neighbour", || {
            Ok(node.ns.ip(&format!("neigh show {}", b.v4))?.contains("PERMANENT"))
        })?;
        assert!(host_reaches()?);

        let pins = node.agent()?.bpffs().join(format!("v{}", nexin_abi::LAYOUT));
        let key = b.v4.octets().map(|o| o.to_string()).join(" ");
        node.ns.tool(&format!("bpftool map delete pinned {}/nx_addr4 key {key}", pins.display()))?;
        becomes_repaired(&node, "address", || Ok(tcp(&a.ns, b.v4.into(), 80)? == Outcome::Answered))
    })
}

#[test]
fn a_lost_program_comes_back() -> Result {
    isolated(|| {
        let mut node = Node::up_with("n", &[settings::CHECK_OFTEN])?;
        let (a, b) = (node.workload("a", "app=a")?, node.workload("b", "app=b")?);
        let _server = TcpEcho::start(&b.ns, 80)?;
        node.apply("b.yaml", &allow_from("b", "nobody"))?;
        assert_eq!(tcp(&a.ns, b.v4.into(), 80)?, Outcome::Silence);
        if node.api()?.get("/v1/status")?["agent"]["attach"] == "tcx" {
            let links = node.agent()?.bpffs().join(format!("v{}/links", nexin_abi::LAYOUT));
            let pin = links.join(format!("{}-from_workload", a.host_interface));
            until_ok("the program has settled on tcx", || {
                match node.ns.try_tool(&format!("bpftool link show pinned {}", pin.display()))? {
                    tool if tool.success => Ok(()),
                    tool => fail!("{}", tool.stderr),
                }
            })?;
            node.ns.tool(&format!("bpftool link detach pinned {}", pin.display()))?;
        } else {
            node.ns.tool(&format!("tc filter del dev {} ingress", a.host_interface))?;
        }
        becomes_repaired(&node, "link", || Ok(tcp(&a.ns, b.v4.into(), 80)? == Outcome::Silence))
    })
}
