//! containerd with a real container on nexin-cni, by way of `ctr run --cni`.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use nexin_testbed::{
    Namespace, Node, Result, Snapshot, Tool, fail, isolated, program, tool, traffic::http_get, until_ok,
};
use serde_json::json;

use crate::{
    policies::allow_from,
    runtimes::{IMAGE, REFERENCE_PLUGINS, busybox_root},
};

const RUN: [&str; 6] = ["run", "--rm", "--cni", "--snapshotter", "native", IMAGE];

/// A containerd of the test's own, in a folder of the test's own.
struct Containerd {
    folder: PathBuf,
    daemon: Child,
}

impl Drop for Containerd {
    fn drop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

/// ctr looks for CNI in fixed places: this process and its children see folders of the test there.
fn cover_fixed_places(folder: &Path) -> Result {
    let (upper, work) = (folder.join("etc"), folder.join("etc-work"));
    fs::create_dir_all(&upper)?;
    fs::create_dir_all(&work)?;
    let layers = format!("lowerdir=/etc,upperdir={},workdir={}", upper.display(), work.display());
    tool("mount", ["-t", "overlay", "overlay", "-o", &layers, "/etc"])?;
    tool("mount", ["-t", "tmpfs", "tmpfs", "/opt"])?;
    fs::create_dir_all("/etc/cni/net.d")?;
    Ok(fs::create_dir_all("/opt/cni/bin")?)
}

/// An archive as `docker save` writes it.
fn image(folder: &Path) -> Result<PathBuf> {
    let (root, parts, archive) = (folder.join("image"), folder.join("parts"), folder.join("image.tar"));
    busybox_root(&root)?;
    fs::create_dir_all(&parts)?;
    let layer = parts.join("layer.tar");
    let pack = |from: &Path, to: &Path| {
        tool("tar", ["-C".as_ref(), from.as_os_str(), "-cf".as_ref(), to.as_os_str(), ".".as_ref()])
    };
    pack(&root, &layer)?;
    let sums = tool("sha256sum", [&layer])?;
    let sum = format!("sha256:{}", sums.split(' ').next().unwrap_or_default());
    let config = json!({ "architecture": "amd64", "os": "linux", "config": {}, "rootfs": { "type": "layers", "diff_ids": [sum] } });
    fs::write(parts.join("config.json"), config.to_string())?;
    let manifest = json!([{ "Config": "config.json", "RepoTags": [IMAGE], "Layers": ["layer.tar"] }]);
    fs::write(parts.join("manifest.json"), manifest.to_string())?;
    pack(&parts, &archive)?;
    Ok(archive)
}

impl Containerd {
    fn new(node: &Namespace, agent: &Path) -> Result<Self> {
        let folder = PathBuf::from("/run/containerd-test");
        fs::create_dir_all(&folder)?;
        cover_fixed_places(&folder)?;
        for plugin in ["tuning", "loopback"] {
            symlink(Path::new(REFERENCE_PLUGINS).join(plugin), Path::new("/opt/cni/bin").join(plugin))?;
        }
        symlink(program("nexin-cni")?, "/opt/cni/bin/nexin-cni")?;
        let list = json!({ "cniVersion": "1.0.0", "name": "nexin", "plugins": [{
            "type": "nexin-cni", "socket": agent.join("nexin.sock"), "deleteQueue": agent.join("run/cni-deletes"),
            "log": folder.join("cni.log"), "labels": { "app": "container" },
        }, { "type": "tuning" }] });
        fs::write("/etc/cni/net.d/10-nexin.conflist", list.to_string())?;
        let settings = format!(
            "version = 2\nroot = {:?}\nstate = {:?}\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n\
             [grpc]\naddress = {:?}\n[ttrpc]\naddress = {:?}\n",
            folder.join("root"),
            folder.join("state"),
            folder.join("c.sock"),
            folder.join("c.sock.ttrpc"),
        );
        fs::write(folder.join("config.toml"), settings)?;
        let log = fs::File::create(folder.join("containerd.log"))?;
        let daemon = node.run(|| {
            let mut command = Command::new("containerd");
            command.arg("-c").arg(folder.join("config.toml"));
            Ok(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn()?)
        })?;
        let containerd = Self { folder, daemon };
        until_ok("containerd answers", || containerd.ctr(node, &["version"]))?;
        let archive = image(&containerd.folder)?;
        containerd.ctr(node, &["images", "import", "--snapshotter", "native", &archive.to_string_lossy()])?;
        Ok(containerd)
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("ctr");
        command.arg("--address").arg(self.folder.join("c.sock")).args(words);
        command
    }

    fn ctr(&self, node: &Namespace, words: &[&str]) -> Result<String> {
        let done = node.run(|| Tool::run(&mut self.command(words)))?;
        if !done.success {
            let log = fs::read_to_string(self.folder.join("cni.log")).unwrap_or_default();
            fail!("ctr {words:?}: {}{}\nnexin-cni's log:\n{log}", done.stderr, done.stdout);
        }
        Ok(done.stdout)
    }

    /// A container that ends by itself.
    fn run(&self, node: &Namespace, name: &str, words: &[&str]) -> Result<String> {
        self.ctr(node, &[&RUN[..], &[name], words].concat())
    }

    /// A container that runs until it is killed; ctr stays with it, since only then does it take its network down.
    fn start(&self, node: &Namespace, name: &str, words: &[&str]) -> Result<Child> {
        let run = [&RUN[..], &[name], words].concat();
        node.run(|| Ok(self.command(&run).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?))
    }
}

#[test]
fn containerd_runs_real_containers_on_it() -> Result {
    isolated(|| {
        let mut node = Node::up("n")?;
        let folder = node.agent()?.folder().to_owned();
        let containerd = Containerd::new(&node.ns, &folder)?;
        // The first container begins files and mounts that stay.
        containerd.run(&node.ns, "first", &["/bin/printf", "x"])?;
        let before = Snapshot::of(&mut node)?;

        let mut server = containerd.start(&node.ns, "server", &["/bin/httpd", "-f", "-p", "80", "-h", "/www"])?;
        let endpoint = until_ok("the server is there", || {
            let all = node.api()?.get("/v1/endpoints")?;
            match &all[0] {
                server if server["state"] == "ready" => Ok(server.clone()),
                other => fail!("{other}"),
            }
        })?;
        assert_eq!(
            (&endpoint["container_id"], &endpoint["labels"]["k8s:app"]),
            (&json!("default-server"), &json!("container"))
        );
        let (v4, v6) = (endpoint["ipv4"].as_str().unwrap_or_default(), endpoint["ipv6"].as_str().unwrap_or_default());
        let client = node.workload("client", "app=client")?;
        until_ok("it serves", || match http_get(&client.ns, v4.parse()?, 80, "/")? {
            200 => Ok(()),
            status => fail!("{status}"),
        })?;
        assert_eq!(http_get(&client.ns, v6.parse()?, 80, "/")?, 200);
        let said = containerd.run(&node.ns, "other", &["/bin/get", v4, "80"])?;
        assert!(said.ends_with("hello\n"), "container to container: {said}");

        node.apply("c.yaml", &allow_from("container", "client"))?;
        assert_eq!(http_get(&client.ns, v4.parse()?, 80, "/")?, 200);
        let refused = containerd.run(&node.ns, "refused", &["/bin/get", v4, "80"]);
        assert!(refused.is_err(), "another container is not the client");
        node.api()?.delete("/v1/policies/CiliumNetworkPolicy/default/container")?;

        containerd.ctr(&node.ns, &["task", "kill", "-s", "SIGKILL", "server"])?;
        server.wait()?;
        client.delete(&node)?;
        before.wait_until_same(&mut node)
    })
}
