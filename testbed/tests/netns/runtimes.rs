//! CNI with others at the table: the reference plugins after ours in a chain, and podman with a real container.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::Command,
};

use nexin_testbed::{
    Namespace, Node, Result, Snapshot, Tool, World, fail, isolated, program,
    traffic::{Outcome, TcpEcho, http_get, tcp},
};
use serde_json::{Value, json};

use crate::{cni::Plugin, policies::allow_from};

/// Where Debian's containernetworking-plugins are.
pub(crate) const REFERENCE_PLUGINS: &str = "/usr/lib/cni";

fn reference(kind: &str) -> Result<PathBuf> {
    let path = Path::new(REFERENCE_PLUGINS).join(kind);
    if !path.is_file() {
        fail!("{} is missing: run ./x setup --test", path.display());
    }
    Ok(path)
}

/// The plugins of a list in a runtime's hands: each gets the result of the one before.
struct Chain<'a> {
    ours: Plugin<'a>,
    after: Vec<Plugin<'a>>,
}

impl Chain<'_> {
    fn add(&self, container: &Namespace) -> Result<Value> {
        let mut result = self.ours.add(container, "NEXIN_LABELS=app=limited")?;
        for plugin in &self.after {
            result = plugin.with(json!({ "prevResult": result })).add(container, "")?;
        }
        Ok(result)
    }

    fn each(&self, command: &str, container: &Namespace, result: &Value) -> Result {
        for plugin in self.after.iter().rev().chain([&self.ours]) {
            let plugin = plugin.with(json!({ "prevResult": result }));
            if let Err(error) = plugin.call(command, container.name(), &container.path(), "")? {
                fail!("{command} by {}: {error}", plugin.config["type"]);
            }
        }
        Ok(())
    }
}

/// tuning and bandwidth take our result, as it is, for theirs.
#[test]
fn reference_plugins_follow_in_a_chain() -> Result {
    isolated(|| {
        // bandwidth makes the ingress qdisc itself and fails where clsact has its place.
        let mut node = Node::up_with("n", &["datapath.attach = \"tcx\""])?;
        let folder = node.agent()?.folder().to_owned();
        // The first identity begins a file that stays.
        node.workload("first", "app=limited")?.delete(&node)?;
        let before = Snapshot::of(&mut node)?;
        let container = Namespace::new("c")?;
        let ours = Plugin::new(&node.ns, &folder)?.with(json!({ "cniVersion": "1.0.0" }));
        let follower = |kind: &str, more: Value| -> Result<Plugin<'_>> {
            let config = json!({ "cniVersion": "1.0.0", "name": "nexin", "type": kind });
            Ok(Plugin { node: &node.ns, program: reference(kind)?, config }.with(more))
        };
        let tuning = follower("tuning", json!({ "sysctl": { "net.ipv4.ip_default_ttl": "65" } }))?;
        let rates = json!({ "ingressRate": 8_000_000, "ingressBurst": 8_000_000, "egressRate": 8_000_000, "egressBurst": 8_000_000 });
        let bandwidth = follower("bandwidth", rates)?;
        let chain = Chain { ours, after: vec![tuning, bandwidth] };
        let result = chain.add(&container)?;
        assert_eq!(result["interfaces"][1]["name"], "eth0");
        assert_eq!(container.tool("cat /proc/sys/net/ipv4/ip_default_ttl")?.trim(), "65");
        let host = result["interfaces"][0]["name"].as_str().unwrap_or_default();
        assert!(node.ns.tool(&format!("tc qdisc show dev {host}"))?.contains("tbf"), "bandwidth limits our link");

        // The limit and our programs share the device; both do their work.
        let address = result["ips"][0]["address"].as_str().unwrap_or_default().trim_end_matches("/32").parse()?;
        let _server = TcpEcho::start(&container, 80)?;
        let client = node.workload("client", "app=client")?;
        assert_eq!(tcp(&client.ns, address, 80)?, Outcome::Answered);
        chain.each("CHECK", &container, &result)?;
        chain.each("DEL", &container, &result)?;
        client.delete(&node)?;
        drop((chain, container));
        before.wait_until_same(&mut node)
    })
}

/// The root of a container that has busybox, a page to serve, and nothing else.
pub(crate) fn busybox_root(root: &Path) -> Result {
    let bin = root.join("bin");
    for new in [&bin, &root.join("www")] {
        fs::create_dir_all(new)?;
    }
    fs::write(root.join("www/index.html"), "hello\n")?;
    fs::copy("/bin/busybox", bin.join("busybox"))?;
    for applet in ["sh", "nc", "printf", "httpd"] {
        symlink("busybox", bin.join(applet))?;
    }
    // Static busybox's wget needs the C library's name service, which is not in the image.
    fs::write(bin.join("get"), "#!/bin/sh\nprintf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 2 $1 $2\n")?;
    Ok(fs::set_permissions(bin.join("get"), fs::Permissions::from_mode(0o755))?)
}

/// podman on a node, with nexin-cni as its network and everything it keeps in a folder of the test.
struct Podman {
    folder: PathBuf,
}

pub(crate) const IMAGE: &str = "localhost/busybox:test";

impl Podman {
    /// With an image of busybox and nothing else.
    fn new(node: &Namespace, agent: &Path) -> Result<Self> {
        let folder = PathBuf::from("/run/podman-test");
        let (networks, plugins) = (folder.join("networks"), folder.join("plugins"));
        for new in [&networks, &plugins] {
            fs::create_dir_all(new)?;
        }
        busybox_root(&folder.join("image"))?;
        symlink(program("nexin-cni")?, plugins.join("nexin-cni"))?;
        let list = json!({ "cniVersion": "1.0.0", "name": "nexin", "plugins": [{
            "type": "nexin-cni", "socket": agent.join("nexin.sock"), "deleteQueue": agent.join("run/cni-deletes"),
            "log": folder.join("cni.log"), "labels": { "app": "container" },
        }, { "type": "tuning" }] });
        fs::write(networks.join("10-nexin.conflist"), list.to_string())?;
        let settings = format!(
            "[containers]\ndefault_ulimits = [\"nofile=1024:4096\", \"nproc=1024:4096\"]\n\
             [network]\nnetwork_backend = \"cni\"\ndefault_network = \"nexin\"\nnetwork_config_dir = {networks:?}\n\
             cni_plugin_dirs = [{plugins:?}, {REFERENCE_PLUGINS:?}]\n\
             [engine]\ncgroup_manager = \"cgroupfs\"\nruntime = \"runc\"\nevents_logger = \"file\"\n"
        );
        fs::write(folder.join("containers.conf"), settings)?;
        let podman = Self { folder };
        podman.run(node, &format!("import {} {IMAGE}", podman.image_archive()?.display()))?;
        Ok(podman)
    }

    fn image_archive(&self) -> Result<PathBuf> {
        let archive = self.folder.join("image.tar");
        let done =
            Tool::run(Command::new("tar").arg("-C").arg(self.folder.join("image")).arg("-cf").arg(&archive).arg("."))?;
        if done.success { Ok(archive) } else { fail!("tar: {}", done.stderr) }
    }

    fn try_run(&self, node: &Namespace, line: &str) -> Result<Tool> {
        let mut command = Command::new("podman");
        for (flag, folder) in [("--root", "root"), ("--runroot", "runroot"), ("--tmpdir", "tmp")] {
            command.arg(flag).arg(self.folder.join(folder));
        }
        command.args(["--storage-driver", "vfs"]).args(line.split_whitespace());
        command.env("CONTAINERS_CONF", self.folder.join("containers.conf"));
        node.run(|| Tool::run(&mut command))
    }

    fn run(&self, node: &Namespace, line: &str) -> Result<String> {
        let done = self.try_run(node, line)?;
        if !done.success {
            let log = fs::read_to_string(self.folder.join("cni.log")).unwrap_or_default();
            fail!("podman {line}: {}{}\nnexin-cni's log:\n{log}", done.stderr, done.stdout);
        }
        Ok(done.stdout)
    }
}

#[test]
fn podman_runs_real_containers_on_it() -> Result {
    isolated(|| {
        let mut node = Node::up("n")?;
        let folder = node.agent()?.folder().to_owned();
        let podman = Podman::new(&node.ns, &folder)?;
        // The first container begins files and mounts that stay.
        podman.run(&node.ns, &format!("run --rm {IMAGE} /bin/printf x"))?;
        let before = Snapshot::of(&mut node)?;
        podman.run(&node.ns, &format!("run -d --name server {IMAGE} /bin/httpd -f -p 80 -h /www"))?;
        let containers = node.api()?.get("/v1/endpoints")?;
        let server = &containers[0];
        let address = server["ipv4"].as_str().unwrap_or_default().to_owned();
        assert_eq!((&server["name"], &server["labels"]["k8s:app"]), (&json!("server"), &json!("container")));

        // Container to container, workload to container, container to the world.
        let get = format!("run --rm {IMAGE} /bin/get {address} 80");
        assert!(podman.run(&node.ns, &get)?.ends_with("hello\n"));
        let client = node.workload("client", "app=client")?;
        let (v4, v6) = (address.parse()?, server["ipv6"].as_str().unwrap_or_default().parse()?);
        let connects = |to| -> Result<bool> { Ok(http_get(&client.ns, to, 80, "/")? == 200) };
        assert!(connects(v4)? && connects(v6)?);
        let world = TcpEcho::start(&node.world.ns, 7)?;
        podman.run(&node.ns, &format!("run --rm {IMAGE} /bin/get {} 7", World::V4))?;
        assert_eq!(world.accepted(), 1);

        // Policy holds for containers as for anything else.
        node.apply("c.yaml", &allow_from("container", "client"))?;
        assert!(connects(v4)?);
        assert!(!podman.try_run(&node.ns, &get)?.success, "another container is not the client");
        node.api()?.delete("/v1/policies/CiliumNetworkPolicy/default/container")?;
        assert!(podman.run(&node.ns, &get)?.ends_with("hello\n"));

        podman.run(&node.ns, "rm -f -t 0 server")?;
        client.delete(&node)?;
        let networks = fs::read_dir("/run/netns")?.filter_map(|entry| Some(entry.ok()?.file_name()));
        assert!(!networks.into_iter().any(|name| name.to_string_lossy().contains("netns-")), "podman cleaned up");
        before.wait_until_same(&mut node)
    })
}
