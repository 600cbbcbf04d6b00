//! One node: its namespace, its wire to the outside, its agent as a process of its own.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use ipnet::IpNet;
use nexin_netlink::{Family, IfName, LinkSysctl, Netns, RouteSpec};

use crate::plan::{default_routes, uplink};
use crate::{Error, Lab, Result};

/// An agent serves within two seconds of its start, where the machine is emulated within a minute or two; one that ends is
/// noticed at once.
const READY: Duration = Duration::from_secs(300);
const LOOK: Duration = Duration::from_millis(20);
/// Lines of an agent's log that are shown when it does not start.
const TAIL: usize = 15;

/// The node's wire to the outside.
pub(crate) const UPLINK: &str = "eth0";

impl Lab {
    /// Addresses and routes of a node; its end of the wire exists.
    pub(crate) fn address_node(&self, node: usize) -> Result<()> {
        let netns = self.netns(&self.spec.nodes[node].name)?;
        let uplink = uplink(node);
        configure(&netns, UPLINK, &uplink.node, &default_routes(&uplink))
    }

    /// Writes the settings of a node's agent. Everything of it is below the lab's directory.
    pub(crate) fn write_settings(&self, node: usize) -> Result<()> {
        let spec = &self.spec.nodes[node];
        let paths = self.node_paths(&spec.name);
        let pools = self.spec.pools(node);
        let run = paths.dir.join("run");
        for dir in [&paths.dir, &run, &paths.state] {
            fs::create_dir_all(dir).map_err(|source| Error::file(dir, source))?;
        }
        let others = (0..self.spec.nodes.len()).filter(|other| *other != node).map(|other| self.spec.pools(other));
        let excluded: Vec<String> = others.flat_map(|pools| [pools.v4.to_string(), pools.v6.to_string()]).collect();
        let mut settings = Settings::default();
        settings.text("agent.node_name", &spec.name);
        settings.path("agent.run_dir", &run);
        settings.path("agent.state_dir", &paths.state);
        settings.path("api.socket", &paths.socket);
        settings.path("datapath.bpffs", &paths.bpffs);
        settings.text("ipam.ipv4_pool", &pools.v4.to_string());
        settings.text("ipam.ipv6_pool", &pools.v6.to_string());
        settings.text("metrics.listen", "off");
        settings.texts("network.masquerade_exclude", &excluded);
        for (key, value) in &spec.settings {
            settings.raw(key, value);
        }
        fs::write(&paths.settings, settings.0).map_err(|source| Error::file(&paths.settings, source))
    }

    /// Starts a node's agent. It outlives this process.
    ///
    /// # Errors
    /// `program` cannot be run.
    pub fn start_agent(&self, program: &Path, node: usize) -> Result<Child> {
        let name = &self.spec.nodes[node].name;
        let paths = self.node_paths(name);
        let mut command = Command::new(program);
        command.arg("agent").arg("--config").arg(&paths.settings).process_group(0);
        self.spawn(name, command, &paths.log)
    }

    /// Starts a program in the namespace of a part, detached, its output in `log`.
    pub(crate) fn spawn(&self, part: &str, mut command: Command, log: &Path) -> Result<Child> {
        let open = || File::options().create(true).append(true).open(log);
        let (out, err) = (open(), open());
        command.stdin(Stdio::null());
        command.stdout(out.map_err(|source| Error::file(log, source))?);
        command.stderr(err.map_err(|source| Error::file(log, source))?);
        let shown = command.get_program().to_string_lossy().into_owned();
        let started = self.netns(part)?.run(|| command.spawn())?;
        started.map_err(|source| Error::system(format!("start {shown} in {part}"), source))
    }

    /// Waits until a node's agent is ready for workloads.
    ///
    /// # Errors
    /// [`Error::AgentStart`] with the end of its log, when it ended or takes too long.
    pub async fn agent_ready(&self, node: usize, agent: &mut Child) -> Result<()> {
        let client = self.client(node)?;
        let name = &self.spec.nodes[node].name;
        let failed = |problem: String| {
            let log = self.node_paths(name).log;
            Error::AgentStart { node: name.clone(), problem, tail: tail(&log) }
        };
        let waiting = async {
            loop {
                if client.status().await.is_ok_and(|status| status.ready) {
                    return Ok(());
                }
                if let Ok(Some(status)) = agent.try_wait() {
                    return Err(failed(format!("ended ({status})")));
                }
                tokio::time::sleep(LOOK).await;
            }
        };
        tokio::time::timeout(READY, waiting)
            .await
            .unwrap_or_else(|_| Err(failed(format!("is not ready after {READY:?}"))))
    }
}

fn tail(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL)..].join("\n")
}

/// Brings a link up with addresses and routes.
pub(crate) fn configure(
    netns: &Netns,
    link: &str,
    addresses: &[IpNet],
    routes: &[(IpNet, std::net::IpAddr)],
) -> Result<()> {
    let mut netlink = netns.netlink()?;
    let name = IfName::new(link)?;
    // Detecting duplicates takes a second in which the link cannot ask for IPv6 neighbours; nobody else is on it.
    netns.run(|| LinkSysctl::AcceptDad.write(Family::V6, &name, 0))??;
    netlink.set_up(&name, true)?;
    let link = netlink.link(&name)?.ok_or_else(|| nexin_netlink::Error::NoSuchLink(link.to_owned()))?;
    for address in addresses {
        netlink.add_address(link.index, *address)?;
    }
    let routes = routes.iter().map(|(destination, gateway)| {
        let route = RouteSpec { destination: *destination, ifindex: link.index, gateway: Some(*gateway), source: None };
        route.add_static()
    });
    Ok(netlink.run(&routes.collect::<Vec<_>>())?)
}

/// TOML by hand: dotted keys, so that a lab file's settings may come in any order.
#[derive(Default)]
struct Settings(String);

impl Settings {
    fn text(&mut self, key: &str, value: &str) {
        self.raw(key, &quoted(value));
    }

    fn path(&mut self, key: &str, value: &Path) {
        self.text(key, &value.display().to_string());
    }

    fn texts(&mut self, key: &str, values: &[String]) {
        let values: Vec<String> = values.iter().map(|value| quoted(value)).collect();
        self.raw(key, &format!("[{}]", values.join(", ")));
    }

    fn raw(&mut self, key: &str, value: &str) {
        self.0.push_str(&format!("{key} = {value}\n"));
    }
}

/// A JSON string is a TOML basic string.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
