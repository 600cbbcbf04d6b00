//! The CNI plugin as a runtime starts it: its binary, its variables, its standard input, against the agent.

use std::{
    collections::BTreeMap,
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
};

use nexin_testbed::{
    Namespace, Node, Result, Snapshot, fail, isolated, program,
    traffic::{Outcome, TcpEcho, tcp},
    until_ok,
};
use serde_json::{Value, json};

use crate::policies::allow_from;

/// One plugin with its configuration, on one node.
pub(crate) struct Plugin<'a> {
    pub(crate) node: &'a Namespace,
    pub(crate) program: std::path::PathBuf,
    pub(crate) config: Value,
}

/// What a call came to: the answer of a success (null when there is none), or the error object.
pub(crate) type Answer = std::result::Result<Value, Value>;

impl<'a> Plugin<'a> {
    pub(crate) fn new(node: &'a Namespace, folder: &Path) -> Result<Self> {
        let config = json!({
            "cniVersion": "1.1.0", "name": "nexin", "type": "nexin-cni",
            "socket": folder.join("nexin.sock"), "deleteQueue": folder.join("run/cni-deletes"), "waitSeconds": 0,
        });
        Ok(Self { node, program: program("nexin-cni")?, config })
    }

    pub(crate) fn with(&self, more: Value) -> Self {
        let mut config = self.config.clone();
        for (key, value) in more.as_object().into_iter().flatten() {
            config[key] = value.clone();
        }
        Self { node: self.node, program: self.program.clone(), config }
    }

    pub(crate) fn call(&self, command: &str, container: &str, netns: &Path, args: &str) -> Result<Answer> {
        let variables = BTreeMap::from([
            ("CNI_COMMAND", command.to_owned()),
            ("CNI_CONTAINERID", container.to_owned()),
            ("CNI_IFNAME", "eth0".to_owned()),
            ("CNI_NETNS", netns.to_string_lossy().into_owned()),
            ("CNI_ARGS", args.to_owned()),
            ("CNI_PATH", "/usr/lib/cni".to_owned()),
            ("PATH", "/usr/sbin:/usr/bin:/sbin:/bin".to_owned()),
        ]);
        let mut child = self.node.run(|| {
            let mut command = Command::new(&self.program);
            command.env_clear().envs(variables).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
            Ok(command.spawn()?)
        })?;
        let Some(mut input) = child.stdin.take() else { fail!("no standard input") };
        input.write_all(self.config.to_string().as_bytes())?;
        drop(input);
        let output = child.wait_with_output()?;
        let said = String::from_utf8_lossy(&output.stdout);
        if !output.stderr.is_empty() {
            fail!("{command}: standard error: {}", String::from_utf8_lossy(&output.stderr));
        }
        let value = if said.trim().is_empty() { Value::Null } else { serde_json::from_str(&said)? };
        Ok(if output.status.success() { Ok(value) } else { Err(value) })
    }

    /// The result of an ADD that must succeed.
    pub(crate) fn add(&self, container: &Namespace, args: &str) -> Result<Value> {
        match self.call("ADD", container.name(), &container.path(), args)? {
            Ok(result) => Ok(result),
            Err(error) => fail!("ADD {}: {error}", container.name()),
        }
    }

    pub(crate) fn del(&self, container: &str) -> Result {
        match self.call("DEL", container, Path::new(""), "")? {
            Ok(Value::Null) => Ok(()),
            other => fail!("DEL {container}: {other:?}"),
        }
    }

    fn code(&self, command: &str, container: &Namespace, args: &str) -> Result<u64> {
        match self.call(command, container.name(), &container.path(), args)? {
            Err(error) if error["msg"].is_string() => Ok(error["code"].as_u64().unwrap_or(0)),
            other => fail!("{command}: an error expected, got {other:?}"),
        }
    }
}

fn v4(result: &Value) -> Result<std::net::IpAddr> {
    let address = result["ips"][0]["address"].as_str().unwrap_or_default();
    Ok(address.trim_end_matches("/32").parse()?)
}

fn endpoint(node: &Node, container: &str) -> Result<Option<Value>> {
    let all = node.api()?.get("/v1/endpoints")?;
    Ok(all.as_array().into_iter().flatten().find(|e| e["container_id"] == container).cloned())
}

#[test]
fn added_containers_talk_under_policy_and_deleting_leaves_nothing() -> Result {
    isolated(|| {
        let mut node = Node::up("n")?;
        let folder = node.agent()?.folder().to_owned();
        let (a, b) = (Namespace::new("a")?, Namespace::new("b")?);
        let cycle = |node: &Node| -> Result {
            let plugin = Plugin::new(&node.ns, &folder)?;
            plugin.add(&a, "K8S_POD_NAMESPACE=default;K8S_POD_NAME=client;NEXIN_LABELS=app=a")?;
            let server = "K8S_POD_NAMESPACE=default;K8S_POD_NAME=server;NEXIN_LABELS=app=b";
            let result = plugin.add(&b, server)?;
            assert_eq!(plugin.add(&b, server)?, result, "an ADD that is repeated gives the same");
            let _server = TcpEcho::start(&b, 80)?;
            assert_eq!(tcp(&a, v4(&result)?, 80)?, Outcome::Answered);
            node.apply("b.yaml", &allow_from("b", "nobody"))?;
            assert_eq!(tcp(&a, v4(&result)?, 80)?, Outcome::Silence);
            node.api()?.delete("/v1/policies/CiliumNetworkPolicy/default/b")?;
            for container in ["a", "b", "b", "never-there"] {
                plugin.del(container)?;
            }
            Ok(())
        };
        cycle(&node)?;
        let before = Snapshot::of(&mut node)?;
        cycle(&node)?;
        before.wait_until_same(&mut node)
    })
}

#[test]
fn the_result_is_what_the_kernel_has() -> Result {
    isolated(|| {
        let mut node = Node::up("n")?;
        let folder = node.agent()?.folder().to_owned();
        let plugin = Plugin::new(&node.ns, &folder)?;
        let c = Namespace::new("c")?;
        let result = plugin.add(&c, "")?;
        let links: Value = serde_json::from_str(&c.ip("-j addr show dev eth0")?)?;
        let host: Value = serde_json::from_str(&node.ns.ip("-j link show")?)?;
        let [outside, inside] = [&result["interfaces"][0], &result["interfaces"][1]];
        assert_eq!(
            (&inside["name"], &inside["mac"], &inside["mtu"]),
            (&json!("eth0"), &links[0]["address"], &links[0]["mtu"])
        );
        assert_eq!(inside["sandbox"], json!(c.path()));
        let found = host.as_array().into_iter().flatten().find(|link| link["ifname"] == outside["name"]);
        assert_eq!(found.map(|link| &link["address"]), Some(&outside["mac"]));
        for ip in result["ips"].as_array().into_iter().flatten() {
            let (address, _) = ip["address"].as_str().and_then(|text| text.split_once('/')).unwrap_or_default();
            let here = links[0]["addr_info"].as_array().into_iter().flatten().any(|info| info["local"] == address);
            assert!(here && ip["interface"] == 1, "{ip} in {links}");
        }
        for (family, route) in [("-4", &result["routes"][0]), ("-6", &result["routes"][1])] {
            let routes: Value = serde_json::from_str(&c.ip(&format!("-j {family} route show default"))?)?;
            assert_eq!(routes[0]["gateway"], route["gw"]);
        }
        let checking = plugin.with(json!({ "prevResult": result }));
        assert_eq!(checking.call("CHECK", "c", &c.path(), "")?, Ok(Value::Null));
        c.ip("route del default")?;
        assert_eq!(checking.code("CHECK", &c, "")?, 104);
        plugin.del("c")?;
        assert_eq!(checking.code("CHECK", &c, "")?, 3);
        Ok(())
    })
}

#[test]
fn labels_come_from_network_and_container() -> Result {
    isolated(|| {
        let mut node = Node::up("n")?;
        let folder = node.agent()?.folder().to_owned();
        let plain = Plugin::new(&node.ns, &folder)?;
        let gone = plain.call("ADD", "x", Path::new("/run/netns/nowhere"), "")?;
        assert_eq!(gone.map_err(|e| e["code"].clone()), Err(json!(3)));
        let labelled = plain.with(json!({ "labels": { "app": "net", "zone": "z" } }));
        let (a, b) = (Namespace::new("a")?, Namespace::new("b")?);
        plain.add(&a, "")?;
        labelled.add(&b, "K8S_POD_NAME=pod;NEXIN_LABELS=app=own")?;
        let (Some(a), Some(b)) = (endpoint(&node, "a")?, endpoint(&node, "b")?) else { fail!("endpoints are missing") };
        assert_eq!((&a["state"], &a["identity"]), (&json!("init"), &json!(5)));
        assert_eq!((&b["state"], &b["name"], &b["network"]), (&json!("ready"), &json!("pod"), &json!("nexin")));
        assert_eq!((&b["labels"]["k8s:app"], &b["labels"]["k8s:zone"]), (&json!("own"), &json!("z")));
        Ok(())
    })
}

#[test]
fn refusals_have_codes_and_leave_nothing() -> Result {
    isolated(|| {
        let mut node = Node::up_with("n", &["ipam.ipv4_pool = \"10.250.0.0/30\"", "ipam.ipv6_pool = \"off\""])?;
        let folder = node.agent()?.folder().to_owned();
        let (a, b) = (Namespace::new("a")?, Namespace::new("b")?);
        Plugin::new(&node.ns, &folder)?.add(&a, "")?;
        let before = Snapshot::of(&mut node)?;
        let plugin = Plugin::new(&node.ns, &folder)?;
        assert_eq!(plugin.code("ADD", &b, "")?, 101, "one address, and it is taken");
        assert_eq!(plugin.code("ADD", &b, "IP=10.250.0.2")?, 102);
        assert_eq!(plugin.with(json!({ "lables": {} })).code("ADD", &b, "")?, 2);
        assert_eq!(plugin.with(json!({ "cniVersion": "0.1.0" })).code("ADD", &b, "")?, 1);
        let earlier = json!({ "prevResult": { "interfaces": [{ "name": "eth0", "sandbox": b.path() }] } });
        assert_eq!(plugin.with(earlier).code("ADD", &b, "")?, 7);
        let version = plugin.call("VERSION", "", Path::new(""), "")?;
        assert_eq!(version.map(|v| v["supportedVersions"].as_array().map(Vec::len)), Ok(Some(4)));
        before.wait_until_same(&mut node)
    })
}

#[test]
fn garbage_collection_takes_what_is_not_valid_and_only_of_its_network() -> Result {
    isolated(|| {
        let mut node = Node::up("n")?;
        let folder = node.agent()?.folder().to_owned();
        let plugin = Plugin::new(&node.ns, &folder)?;
        let other = plugin.with(json!({ "name": "other" }));
        let containers = [Namespace::new("a")?, Namespace::new("b")?, Namespace::new("c")?];
        plugin.add(&containers[0], "")?;
        plugin.add(&containers[1], "")?;
        other.add(&containers[2], "")?;
        let own = node.workload("own", "app=own")?;
        let valid = json!({ "cni.dev/valid-attachments": [{ "containerID": "b", "ifname": "eth0" }] });
        assert_eq!(plugin.with(valid).call("GC", "", Path::new(""), "")?, Ok(Value::Null));
        let left: Vec<_> = ["a", "b", "c"].map(|c| endpoint(&node, c)).into_iter().collect::<Result<_>>()?;
        assert_eq!(left.iter().map(Option::is_some).collect::<Vec<_>>(), [false, true, true]);
        assert_eq!(own.endpoint(&node)?["state"], "ready");
        assert!(
            plugin.call("GC", "", Path::new(""), "")?.is_err_and(|e| e["code"] == 7),
            "no list is not an empty list"
        );
        Ok(())
    })
}

#[test]
fn without_an_agent_deletions_wait_and_additions_are_told_to() -> Result {
    isolated(|| {
        let mut node = Node::up("n")?;
        let folder = node.agent()?.folder().to_owned();
        let before = Snapshot::of(&mut node)?;
        let (a, b) = (Namespace::new("a")?, Namespace::new("b")?);
        Plugin::new(&node.ns, &folder)?.add(&a, "")?;
        assert_eq!(Plugin::new(&node.ns, &folder)?.call("STATUS", "", Path::new(""), "")?, Ok(Value::Null));
        node.agent()?.crash()?;

        let plugin = Plugin::new(&node.ns, &folder)?;
        assert_eq!((plugin.code("STATUS", &a, "")?, plugin.code("ADD", &b, "")?), (50, 11));
        plugin.del("a")?;
        plugin.del("a")?;
        let queue = folder.join("run/cni-deletes");
        assert_eq!(std::fs::read_dir(&queue)?.count(), 1);

        node.agent()?.start_again(None)?;
        until_ok("the queued deletion is done", || {
            match (endpoint(&node, "a")?, std::fs::read_dir(&queue)?.count()) {
                (None, 0) => Ok(()),
                state => fail!("{state:?}"),
            }
        })?;
        drop((a, b));
        before.wait_until_same(&mut node)
    })
}

#[test]
fn an_addition_waits_for_an_agent_that_restarts() -> Result {
    isolated(|| {
        let mut node = Node::up("n")?;
        let folder = node.agent()?.folder().to_owned();
        let a = Namespace::new("a")?;
        node.agent()?.crash()?;
        let handle = Namespace::new("launcher")?;
        let patient = Plugin::new(&handle, &folder)?.with(json!({ "waitSeconds": 60 }));
        let added = std::thread::scope(|scope| -> Result<Value> {
            let adding = scope.spawn(|| patient.add(&a, ""));
            node.agent()?.start_again(None)?;
            adding.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })?;
        assert_eq!(added["interfaces"][1]["name"], "eth0");
        Ok(())
    })
}
