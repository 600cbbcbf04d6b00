//! What is removed is gone: links, routes, neighbours, map entries, files, descriptors.

use nexin_testbed::{
    Node, Result, Snapshot, isolated, program, tool,
    traffic::{TcpEcho, tcp},
};

use crate::policies::allow_from;

#[test]
fn deleted_endpoints_and_policies_leave_nothing() -> Result {
    isolated(|| {
        let mut node = Node::up("n")?;
        let cycle = |node: &Node| -> Result {
            node.apply("b.yaml", &allow_from("b", "a"))?;
            let (a, b) = (node.workload("a", "app=a")?, node.workload("b", "app=b")?);
            let _server = TcpEcho::start(&b.ns, 80)?;
            for to in b.addresses() {
                tcp(&a.ns, to, 80)?;
            }
            a.relabel(node, "app=other")?;
            a.delete(node)?;
            b.delete(node)?;
            node.api()?.delete("/v1/policies/CiliumNetworkPolicy/default/b")
        };
        cycle(&node)?;
        let before = Snapshot::of(&mut node)?;
        for _ in 0..5 {
            cycle(&node)?;
        }
        before.wait_until_same(&mut node)
    })
}

#[test]
fn a_failed_creation_leaves_nothing() -> Result {
    isolated(|| {
        let mut node = Node::up("n")?;
        let taken = node.workload("taken", "app=a")?;
        let before = Snapshot::of(&mut node)?;
        let api = node.api()?.clone();
        for body in [
            serde_json::json!({ "name": "x", "netns": "/run/netns/nothing" }),
            serde_json::json!({ "name": "x", "netns": "/proc/self/mounts" }),
            serde_json::json!({ "name": "x", "netns": taken.ns.path(), "ipv4": taken.v4 }),
            serde_json::json!({ "name": "x", "netns": taken.ns.path(), "ipv4": "203.0.113.1" }),
            serde_json::json!({ "name": "x", "netns": taken.ns.path(), "interface": "a-name-that-is-too-long" }),
            serde_json::json!({ "name": "x", "netns": taken.ns.path(), "unknown": 1 }),
            serde_json::json!({ "netns": taken.ns.path() }),
        ] {
            let reply = api.request("POST", "/v1/endpoints", &body.to_string())?;
            assert!((400..500).contains(&reply.status), "{body}: {} {}", reply.status, reply.text);
            assert!(reply.json()?["message"].is_string(), "{}", reply.text);
        }
        before.wait_until_same(&mut node)
    })
}

#[test]
fn clean_up_removes_everything_of_an_agent_that_is_gone() -> Result {
    isolated(|| {
        let mut node = Node::up("n")?;
        let a = node.workload("a", "app=a")?;
        let config = node.agent()?.folder().join("nexin.toml");
        let (bpffs, pid) = (node.agent()?.bpffs(), node.agent()?.pid());
        node.agent()?.crash()?;
        let nexin = program("nexin")?;
        let done = node.ns.tool(&format!("{} agent --clean-up --config {}", nexin.display(), config.display()))?;
        assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
        assert!(!node.ns.ip("-o link")?.contains(&a.host_interface), "{done}");
        assert!(!node.ns.ip("route show table all")?.contains("proto 78"), "{done}");
        let pins = std::fs::read_dir(&bpffs).map(Iterator::count).unwrap_or(0);
        assert_eq!(pins, 0, "{done}");
        let maps = tool("bpftool", ["-j", "map", "show"])?;
        let state = std::fs::read_dir(config.with_file_name("state")).map(Iterator::count).unwrap_or(0);
        assert_eq!(state, 0, "{done} {maps}");
        Ok(())
    })
}
