//! `nexin lab`: made, used, and removed without a trace, whatever happened in between.

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    process::{Command, Stdio},
};

use nexin_testbed::{Result, Tool, fail, isolated, program, tool, until};
use serde_json::Value;

fn nexin(words: &[&str]) -> Result<Tool> {
    Tool::run(Command::new(program("nexin")?).args(words))
}

/// The same; an error unless it succeeds.
fn lab(words: &[&str]) -> Result<String> {
    let done = nexin(&[&["lab"], words].concat())?;
    if !done.success {
        fail!("nexin lab {words:?}: {}{}", done.stdout, done.stderr);
    }
    Ok(done.stdout)
}

/// What a lab could leave behind on the machine.
fn traces() -> Result<BTreeSet<String>> {
    let mut traces: BTreeSet<String> = tool("ip", ["-o", "link", "show"])?.lines().map(str::to_owned).collect();
    traces.extend(tool("ip", ["-o", "route", "show", "table", "all"])?.lines().map(str::to_owned));
    for folder in ["/run", "/run/netns"] {
        let entries = fs::read_dir(folder)?.filter_map(|entry| entry.ok()?.path().to_str().map(str::to_owned));
        traces.extend(entries);
    }
    traces.extend(fs::read_to_string("/proc/self/mounts")?.lines().map(str::to_owned));
    let processes = fs::read_dir("/proc")?.filter_map(|entry| {
        let name = fs::read_to_string(entry.ok()?.path().join("comm")).ok()?;
        ["nexin", "busybox", "sleep"].contains(&name.trim()).then(|| format!("process {}", name.trim()))
    });
    traces.extend(processes);
    Ok(traces)
}

fn nothing_left(before: &BTreeSet<String>) -> Result {
    let now = traces()?;
    let left: Vec<&String> = now.difference(before).collect();
    if !left.is_empty() {
        fail!("left behind: {left:#?}");
    }
    Ok(())
}

#[test]
fn a_lab_is_made_used_and_removed() -> Result {
    isolated(|| {
        // Where namespaces are named becomes a mount of its own once, as `ip netns` does it.
        drop(nexin_testbed::Namespace::new("first")?);
        lab(&["up", "--preset", "three-ships", "--name", "warm"])?;
        lab(&["down"])?;
        let before = traces()?;
        lab(&["up", "--preset", "three-ships"])?;
        let status: Value = serde_json::from_str(&lab(&["status", "-o", "json"])?)?;
        assert_eq!(status["nodes"][0]["ready"], true, "{status}");
        let address = |ship: usize, family: &str| {
            status["workloads"][ship]["endpoint"][family].as_str().unwrap_or("none").to_owned()
        };
        for family in ["ipv4", "ipv6"] {
            lab(&["exec", "xwing", "--", "ping", "-c", "1", "-W", "2", &address(0, family)])?;
        }
        lab(&["exec", "xwing", "--", "ping", "-c", "1", "-W", "2", "198.51.100.1"])?;
        let done = nexin(&["lab", "exec", "xwign", "--", "true"])?;
        assert!(done.stderr.contains("did you mean xwing?"), "{done:?}");
        assert!(!nexin(&["lab", "exec", "xwing", "--", "false"])?.success);
        assert!(nexin(&["lab", "up", "--preset", "three-ships"])?.stderr.contains("exists already"));
        lab(&["down"])?;
        nothing_left(&before)
    })
}

#[test]
fn nodes_reach_each_others_workloads() -> Result {
    isolated(|| {
        lab(&["up", "--preset", "two-nodes"])?;
        let status: Value = serde_json::from_str(&lab(&["status", "-o", "json"])?)?;
        for family in ["ipv4", "ipv6"] {
            let Some(address) = status["workloads"][1]["endpoint"][family].as_str() else { fail!("{status}") };
            lab(&["exec", "sunrise", "--", "ping", "-c", "1", "-W", "2", address])?;
        }
        lab(&["down"]).map(drop)
    })
}

#[test]
fn a_lab_that_was_damaged_is_removed_whole() -> Result {
    isolated(|| {
        lab(&["up", "--preset", "three-ships", "--name", "warm"])?;
        lab(&["down"])?;
        let before = traces()?;
        let file = "name: broken\nworkloads:\n- {name: a, labels: {app: a}, command: [sleep, '7901']}\n- {name: b}\n";
        fs::write("/run/test/lab.yaml", file)?;
        lab(&["up", "-f", "/run/test/lab.yaml"])?;
        let socket = "/run/nexin-lab/broken/node/run/nexin.sock";
        let status: Value = serde_json::from_str(&nexin(&["status", "-o", "json", "--socket", socket])?.stdout)?;
        tool("kill", ["-9", &status["agent"]["pid"].to_string()])?;
        tool("ip", ["netns", "delete", "nxlab-broken-b"])?;
        tool("ip", ["-n", "nxlab-broken-node", "link", "delete", "eth0"])?;
        lab(&["down"])?;
        fs::remove_file("/run/test/lab.yaml")?;
        nothing_left(&before)
    })
}

#[test]
fn an_interrupted_up_can_be_removed() -> Result {
    isolated(|| {
        lab(&["up", "--preset", "three-ships", "--name", "warm"])?;
        lab(&["down"])?;
        let before = traces()?;
        let words = ["lab", "up", "--preset", "three-ships"];
        let mut up = Command::new(program("nexin")?).args(words).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        until("it has begun", || Path::new("/run/netns/nxlab-three-ships-node").exists().then_some(()))?;
        up.kill()?;
        up.wait()?;
        lab(&["down"])?;
        nothing_left(&before)
    })
}

#[test]
fn an_agent_that_cannot_start_is_told_and_nothing_stays() -> Result {
    isolated(|| {
        lab(&["up", "--preset", "three-ships", "--name", "warm"])?;
        lab(&["down"])?;
        let before = traces()?;
        fs::write("/run/test/lab.yaml", "nodes: [{name: node, settings: {policy.audti: 'true'}}]\n")?;
        let done = nexin(&["lab", "up", "-f", "/run/test/lab.yaml"])?;
        assert!(!done.success && done.stderr.contains("did you mean policy.audit?"), "{done:?}");
        fs::remove_file("/run/test/lab.yaml")?;
        nothing_left(&before)
    })
}

#[test]
fn the_demo_keeps_its_promises() -> Result {
    isolated(|| {
        lab(&["up", "--preset", "three-ships", "--name", "warm"])?;
        lab(&["down"])?;
        let before = traces()?;
        let said = lab(&["demo"])?;
        assert!(said.contains("checks passed") && !said.contains('✗'), "{said}");
        nothing_left(&before)
    })
}
