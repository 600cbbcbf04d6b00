//! `nexin run`: a command as a workload, from its first packet to the last trace of it.

use std::{
    io::{BufRead as _, BufReader},
    os::unix::process::ExitStatusExt as _,
    process::{Child, Command, ExitStatus, Stdio},
};

use nexin_testbed::{Error, Node, Result, Snapshot, Tool, fail, isolated, program, traffic::TcpEcho, until, until_ok};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

use crate::policies::allow_from;

/// `nexin run` with these words behind it.
fn run(node: &mut Node, words: &[&str]) -> Result<Command> {
    let mut command = Command::new(program("nexin")?);
    command.arg("run").arg("--socket").arg(node.agent()?.folder().join("nexin.sock")).args(words);
    Ok(command)
}

/// A node where something was run before: where namespaces are named becomes a mount of its own once, as `ip netns`
/// does it.
fn node() -> Result<Node> {
    let mut node = Node::up("n")?;
    assert!(run(&mut node, &["--", "true"])?.status()?.success());
    Ok(node)
}

fn start(node: &mut Node, words: &[&str]) -> Result<Child> {
    Ok(run(node, words)?.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?)
}

fn signal(child: &Child, signal: Signal) -> Result {
    Ok(kill(Pid::from_raw(child.id().cast_signed()), signal)?)
}

/// The endpoint with this name, once it is there.
fn endpoint(node: &Node, name: &str) -> Result<Value> {
    until("the endpoint is there", || {
        let all = node.api().ok()?.get("/v1/endpoints").ok()?;
        all.as_array()?.iter().find(|endpoint| endpoint["name"] == name).cloned()
    })
}

/// Processes that run `sleep` with this argument: what the command left behind.
fn sleepers(argument: &str) -> Result<usize> {
    let done = Tool::run(Command::new("pgrep").args(["-xf", &format!("sleep {argument}")]))?;
    Ok(done.stdout.lines().count())
}

#[test]
fn a_command_is_a_workload_of_its_own() -> Result {
    isolated(|| {
        let mut node = node()?;
        let before = Snapshot::of(&mut node)?;
        let server = node.workload("server", "app=server")?;
        let _server = TcpEcho::start(&server.ns, 80)?;
        node.apply("server.yaml", &allow_from("server", "friend"))?;
        let script = "cat /etc/hosts; ip -4 -o addr show eth0";
        let done = Tool::run(&mut run(&mut node, &["-l", "app=friend", "--name", "probe", "--", "sh", "-c", script])?)?;
        let lines: Vec<&str> = done.stdout.lines().collect();
        let [.., shown] = lines[..] else { fail!("{done:?}") };
        let own = shown.split_whitespace().nth(3).and_then(|net| net.split('/').next()).unwrap_or_default();
        assert!(lines.contains(&format!("{own} probe").as_str()), "the hosts file names it: {done:?}");
        let machine = std::fs::read_to_string("/proc/sys/kernel/hostname")?;
        assert!(
            lines.contains(&format!("{own} {}", machine.trim()).as_str()),
            "and the name it finds for itself: {done:?}"
        );

        let reach = format!("exec 3<>/dev/tcp/{}/80", server.v4);
        for (label, reached) in [("app=friend", true), ("app=foe", false)] {
            let words = ["-l", label, "--", "timeout", "2", "bash", "-c", &reach];
            assert_eq!(run(&mut node, &words)?.status()?.success(), reached, "{label}");
        }
        node.api()?.delete("/v1/policies/CiliumNetworkPolicy/default/server")?;
        drop(server.delete(&node)?);
        before.wait_until_same(&mut node)
    })
}

#[test]
fn its_end_is_the_commands_end() -> Result {
    isolated(|| {
        let mut node = node()?;
        let before = Snapshot::of(&mut node)?;
        for (words, code) in [
            (&["--", "sh", "-c", "exit 7"][..], 7),
            (&["--", "sh", "-c", "kill -9 $$"], 128 + 9),
            (&["--", "no-such-command"], 127),
            (&["--", "/etc/hosts"], 126),
        ] {
            let status = run(&mut node, words)?.status()?;
            assert_eq!(status.code(), Some(code), "{words:?}");
        }
        let trap = "trap 'exit 5' TERM; while :; do sleep 0.01; done";
        let mut child = start(&mut node, &["--name", "trap", "--", "sh", "-c", trap])?;
        endpoint(&node, "trap")?;
        // The command may not have come to its trap yet.
        let status = until_ok("the signal was passed on", || {
            signal(&child, Signal::SIGTERM)?;
            child.try_wait()?.ok_or_else(|| Error::new("still running"))
        })?;
        assert!([Some(5), Some(128 + 15)].contains(&status.code()), "{status}");
        before.wait_until_same(&mut node)
    })
}

#[test]
fn what_the_command_leaves_running_ends_with_it() -> Result {
    isolated(|| {
        let mut node = node()?;
        let before = Snapshot::of(&mut node)?;
        let status = run(&mut node, &["--", "sh", "-c", "sleep 7801 & exit 0"])?.status()?;
        assert_eq!(status, ExitStatus::from_raw(0));
        assert_eq!(sleepers("7801")?, 0);
        before.wait_until_same(&mut node)
    })
}

#[test]
fn a_killed_run_leaves_no_workload() -> Result {
    isolated(|| {
        let mut node = node()?;
        let before = Snapshot::of(&mut node)?;
        let mut child = start(&mut node, &["--name", "doomed", "--", "sleep", "7802"])?;
        endpoint(&node, "doomed")?;
        until("the command runs", || sleepers("7802").ok().filter(|count| *count == 1))?;
        child.kill()?;
        child.wait()?;
        before.wait_until_same(&mut node)?;
        assert_eq!(sleepers("7802")?, 0, "the command was ended");
        Ok(())
    })
}

#[test]
fn a_run_outlives_its_agent() -> Result {
    isolated(|| {
        let mut node = node()?;
        let before = Snapshot::of(&mut node)?;
        let server = node.workload("server", "app=server")?;
        let _server = TcpEcho::start(&server.ns, 80)?;
        let reach = format!("echo here; read line; exec 3<>/dev/tcp/{}/80", server.v4);
        let mut command = run(&mut node, &["--name", "patient", "--", "bash", "-c", &reach])?;
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let Some(stdout) = child.stdout.take() else { fail!("no standard output") };
        let mut said = String::new();
        BufReader::new(stdout).read_line(&mut said)?;
        assert_eq!(said, "here\n");
        node.agent()?.crash()?;
        // The command reads a line, connects without an agent, and ends.
        drop(child.stdin.take());
        let output = child.wait_with_output()?;
        assert!(output.status.success(), "{output:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("its watcher keeps trying"), "{output:?}");
        node.agent()?.start_again(None)?;
        drop(server.delete(&node)?);
        before.wait_until_same(&mut node)
    })
}

#[test]
fn without_an_agent_nothing_is_made() -> Result {
    isolated(|| {
        let mut node = Node::up("n")?;
        node.agent()?.stop()?;
        let done = Tool::run(&mut run(&mut node, &["--", "true"])?)?;
        assert!(!done.success && done.stderr.contains("hint: "), "{done:?}");
        let names = std::fs::read_dir("/run/netns")?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let ours: Vec<String> = names.filter(|name| name.starts_with("nexin-run")).collect();
        assert!(ours.is_empty(), "{ours:?}");
        Ok(())
    })
}
