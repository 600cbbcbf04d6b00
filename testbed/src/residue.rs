//! What a piece of work left behind: everything that Nexin could leave in a node, listed before and after.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;

use crate::{Node, Result, fail, tool, until_ok};

/// Kernel maps whose entries come and go with endpoints and policies, not with packets.
const OWNED_MAPS: [&str; 6] = ["nx_addr4", "nx_addr6", "nx_cidr4", "nx_cidr6", "nx_policy", "nx_class"];

/// Descriptors that the agent may keep beyond those it had before.
const KEPT_SOCKETS: usize = 4;

/// Everything a node holds that outlives a packet: links, addresses, routes, rules, neighbours, pins, map entries, maps and
/// programs of the kernel, namespaces, mounts, files of the agent, and how many descriptors the agent has open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    facts: BTreeSet<String>,
    descriptors: usize,
}

impl Snapshot {
    pub fn of(node: &mut Node) -> Result<Self> {
        until_ok("programs are where they will stay", || settled(node))?;
        let mut facts = BTreeSet::new();
        for (kind, line) in [
            ("link", "-o link show"),
            ("address", "-o addr show"),
            ("route", "-4 route show table all"),
            ("route", "-6 route show table all"),
            ("rule", "rule show"),
            ("neighbour", "neigh show nud permanent"),
        ] {
            // Link-local addresses come a moment after their link; nobody here makes any.
            let lines = node.ns.ip(line)?;
            facts.extend(
                lines.lines().filter(|l| !l.contains("fe80:")).map(|l| format!("{kind} {}", without_counters(l))),
            );
        }
        for entry in fs::read_dir("/run/netns")? {
            facts.insert(format!("namespace {}", entry?.file_name().to_string_lossy()));
        }
        for line in fs::read_to_string("/proc/self/mounts")?.lines() {
            // Mounts of the machine that are hidden here are not ours to count.
            if line.split(' ').nth(1).is_some_and(|point| Path::new(point).exists()) {
                facts.insert(format!("mount {}", line.split(' ').take(3).collect::<Vec<_>>().join(" ")));
            }
        }
        let agent = node.agent()?;
        let pid = agent.pid();
        for folder in [agent.bpffs(), agent.folder().join("run"), agent.folder().join("state")] {
            facts.extend(files(&folder)?.into_iter().map(|f| format!("file {}", f.display())));
        }
        facts.extend(until_ok("the kernel's objects are listed", || kernel_objects(pid))?);
        for map in OWNED_MAPS {
            let reply = agent.api().request("GET", &format!("/v1/maps/{map}"), "")?;
            if reply.status == 200 {
                facts.extend(entries(&reply.json()?).map(|e| format!("entry {map} {e}")));
            }
        }
        Ok(Self { facts, descriptors: fs::read_dir(format!("/proc/{pid}/fd"))?.count() })
    }

    /// Waits until the node is as it was in this snapshot; the error names what is left over and what is missing.
    pub fn wait_until_same(&self, node: &mut Node) -> Result {
        until_ok("nothing is left behind", || {
            let now = Self::of(node)?;
            let left: Vec<_> = now.facts.difference(&self.facts).collect();
            // Tables of policies that are not used any more may go late, so fewer entries are fine.
            let gone: Vec<_> = self.facts.difference(&now.facts).filter(|f| !f.starts_with("entry ")).collect();
            if !left.is_empty() || !gone.is_empty() {
                fail!("left behind {left:#?}, missing {gone:#?}");
            }
            // Requests that overlap open a few sockets more, which are kept for the next ones; a leak grows by each cycle.
            if now.descriptors > self.descriptors + KEPT_SOCKETS {
                fail!("the agent has {} descriptors open, {} before", now.descriptors, self.descriptors);
            }
            Ok(())
        })
    }
}

/// Maps the agent holds, and every program in the kernel that uses one of them with all its maps, whoever holds it: what is
/// pinned nowhere and open nowhere may still be attached. By name and count, since numbers change with each start.
fn kernel_objects(agent: u32) -> Result<BTreeSet<String>> {
    let mut maps = BTreeSet::new();
    for entry in fs::read_dir(format!("/proc/{agent}/fdinfo"))? {
        // A descriptor may close while it is looked at.
        let Ok(text) = fs::read_to_string(entry?.path()) else { continue };
        let id = text.lines().find_map(|line| line.strip_prefix("map_id:"));
        maps.extend(id.and_then(|id| id.trim().parse::<u64>().ok()));
    }
    let mut counts = BTreeMap::<String, usize>::new();
    let mut count = |kind: &str, object: &Value| {
        *counts.entry(format!("{kind} {}", object["name"].as_str().unwrap_or("?"))).or_default() += 1;
    };
    for program in list("prog")? {
        let used: Vec<u64> = program["map_ids"].as_array().into_iter().flatten().filter_map(Value::as_u64).collect();
        if used.iter().any(|id| maps.contains(id)) {
            maps.extend(used);
            count("program", &program);
        }
    }
    for map in list("map")?.iter().filter(|map| map["id"].as_u64().is_some_and(|id| maps.contains(&id))) {
        count("map", map);
    }
    Ok(counts.iter().flat_map(|(object, count)| (1..=*count).map(move |n| format!("{object} #{n}"))).collect())
}

/// All objects of a kind in the kernel.
fn list(kind: &str) -> Result<Vec<Value>> {
    Ok(serde_json::from_str(&tool("bpftool", ["-j", kind, "list"])?)?)
}

fn entries(contents: &Value) -> impl Iterator<Item = String> {
    let entries = contents["contents"].as_array().cloned().unwrap_or_default();
    entries.into_iter().map(|e| format!("{} = {}", e["key"], e["value"]))
}

/// Interface numbers and timers differ between equal states.
fn without_counters(line: &str) -> String {
    let mut words = Vec::new();
    let mut tokens = line.split_whitespace().filter(|w| !w.ends_with("sec") && !w.starts_with(['<']));
    while let Some(token) = tokens.next() {
        // Carrier comes and goes with the other end.
        if matches!(token, "state" | "qdisc" | "mode") {
            tokens.next();
        } else {
            words.push(token);
        }
    }
    let text = words.join(" ");
    text.trim_start_matches(|c: char| c.is_ascii_digit()).trim_start_matches(':').trim().to_owned()
}

fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        if !folder.is_dir() {
            continue;
        }
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() { &mut folders } else { &mut found }.push(entry.path());
        }
    }
    Ok(found)
}

/// With tcx, the programs of a new workload begin on clsact and move a moment later; their pins appear then.
fn settled(node: &Node) -> Result {
    // Without an agent nothing moves any more.
    let Ok(status) = node.api().and_then(|api| api.get("/v1/status")) else { return Ok(()) };
    if status["agent"]["attach"] != "tcx" {
        return Ok(());
    }
    for line in node.ns.ip("-o link show")?.lines() {
        let Some(name) = line.split([' ', '@', ':']).find(|word| word.starts_with("nx")) else { continue };
        for hook in ["ingress", "egress"] {
            let filters = node.ns.try_tool(&format!("tc filter show dev {name} {hook}"))?.stdout;
            if filters.contains("nexin:") {
                fail!("{name} {hook}: {filters}");
            }
        }
    }
    Ok(())
}
