//! B15 in part: how long a container waits for its network. `nexin-cni` beside the reference plugin bridge, each started as a
//! runtime starts it, with an address of both families; and the agent's own API, without a process to start.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};

use nexin_testbed::{Namespace, Node, Result, fail, program};
use serde_json::{Value, json};

use crate::{
    report::{Line, SLACK, Table},
    rounds::{Series, order},
};

/// Containers added and deleted by each plugin in a round.
const CONTAINERS: usize = 40;
const REFERENCE: &str = "/usr/lib/cni";

struct Plugin {
    name: &'static str,
    program: PathBuf,
    config: Value,
}

pub(crate) fn measure(rounds: usize) -> Result<Vec<Table>> {
    let mut node = Node::up("n")?;
    let folder = node.agent()?.folder().to_owned();
    // Not ptp: it waits two seconds for duplicate address detection.
    let plugins = [reference("bridge", &folder)?, ours(&folder)?];
    let mut adds: Vec<Figures> = plugins.iter().map(|_| Figures::default()).collect();
    let (mut dels, mut api) = (adds.iter().map(|_| Figures::default()).collect::<Vec<_>>(), Figures::default());
    for round in 0..rounds {
        for index in order(plugins.len(), round) {
            let (added, deleted) = plugins[index].round(&node.ns, round)?;
            adds[index].push(added);
            dels[index].push(deleted);
        }
        api.push(through_the_api(&node, round)?);
    }
    let names: Vec<_> = plugins.iter().map(|plugin| plugin.name).collect();
    Ok(vec![
        table("CNI ADD, process start to exit", &names, &adds),
        table("CNI DEL, process start to exit", &names, &dels),
        table("Endpoint attach, request to answer", &["POST /v1/endpoints"], &[api]),
    ])
}

/// Median and p99 of each round.
#[derive(Default)]
struct Figures {
    p50: Series,
    p99: Series,
}

impl Figures {
    fn push(&mut self, mut milliseconds: Vec<f64>) {
        milliseconds.sort_by(f64::total_cmp);
        let at = |percent: usize| milliseconds[(milliseconds.len() - 1) * percent / 100];
        self.p50.values.push(at(50));
        self.p99.values.push(at(99));
    }
}

fn table(title: &str, names: &[&str], figures: &[Figures]) -> Table {
    let base = &figures[0];
    let line = |(name, own): (&&str, &Figures)| {
        let line = Line::new(*name, &own.p50).over(&own.p50, &base.p50).tail(&own.p99, &base.p99);
        match *name {
            "nexin-cni" => line.at_most("ratio", 1.3, SLACK, own.p50.over(&base.p50).spread()),
            "POST /v1/endpoints" => line.at_most("p99 ms", 25.0, SLACK, own.p99.spread()),
            _ => line,
        }
    };
    let lines = names.iter().zip(figures).map(line).collect();
    Table {
        title: format!("{title} (p99 of the first line: {:.1} ms)", base.p99.spread().median),
        unit: "ms".into(),
        lines,
    }
}

fn reference(kind: &'static str, folder: &Path) -> Result<Plugin> {
    let program = Path::new(REFERENCE).join(kind);
    if !program.is_file() {
        fail!("{} is missing: run ./x setup --test", program.display());
    }
    let ipam = json!({
        "type": "host-local", "dataDir": folder.join("host-local"),
        "ranges": [[{ "subnet": "10.200.0.0/16" }], [{ "subnet": "fd20::/112" }]],
        "routes": [{ "dst": "0.0.0.0/0" }, { "dst": "::/0" }],
    });
    let config = json!({
        "cniVersion": "1.0.0", "name": kind, "type": kind, "bridge": "benchbr0", "isGateway": true, "ipam": ipam,
    });
    Ok(Plugin { name: kind, program, config })
}

fn ours(folder: &Path) -> Result<Plugin> {
    let config = json!({
        "cniVersion": "1.0.0", "name": "nexin", "type": "nexin-cni", "socket": folder.join("nexin.sock"),
        "deleteQueue": folder.join("run/cni-deletes"), "labels": { "app": "bench" },
    });
    Ok(Plugin { name: "nexin-cni", program: program("nexin-cni")?, config })
}

impl Plugin {
    /// Milliseconds of each ADD and of each DEL.
    fn round(&self, node: &Namespace, round: usize) -> Result<(Vec<f64>, Vec<f64>)> {
        let name = |i: usize| format!("{}-{round}-{i}", self.name);
        let containers: Vec<_> = (0..CONTAINERS).map(|i| Namespace::new(&name(i))).collect::<Result<_>>()?;
        let all = |command: &str| -> Result<Vec<f64>> {
            containers.iter().map(|container| self.call(node, command, container)).collect()
        };
        Ok((all("ADD")?, all("DEL")?))
    }

    fn call(&self, node: &Namespace, command: &str, container: &Namespace) -> Result<f64> {
        let input = self.config.to_string();
        node.run(|| {
            let start = Instant::now();
            let mut child = Command::new(&self.program)
                .env_clear()
                .env("CNI_COMMAND", command)
                .env("CNI_CONTAINERID", container.name())
                .env("CNI_IFNAME", "eth0")
                .env("CNI_NETNS", container.path())
                .env("CNI_PATH", REFERENCE)
                .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()?;
            if let Some(mut stdin) = child.stdin.take() {
                stdin.write_all(input.as_bytes())?;
            }
            let output = child.wait_with_output()?;
            let took = start.elapsed();
            if !output.status.success() {
                fail!("{} {command}: {}", self.name, String::from_utf8_lossy(&output.stdout));
            }
            Ok(took.as_secs_f64() * 1000.0)
        })
    }
}

fn through_the_api(node: &Node, round: usize) -> Result<Vec<f64>> {
    let api = node.api()?;
    let mut took = Vec::with_capacity(CONTAINERS);
    let mut made = Vec::with_capacity(CONTAINERS);
    for i in 0..CONTAINERS {
        let name = format!("api-{round}-{i}");
        let namespace = Namespace::new(&name)?;
        let body = json!({ "name": name, "netns": namespace.path(), "labels": { "app": "bench" } });
        let start = Instant::now();
        let endpoint = api.post("/v1/endpoints", &body)?;
        took.push(start.elapsed().as_secs_f64() * 1000.0);
        made.push((namespace, endpoint["id"].clone()));
    }
    for (_namespace, id) in made {
        api.delete(&format!("/v1/endpoints/{id}"))?;
    }
    Ok(took)
}
