//! Two nodes, a relay, and somebody who follows both through it, by the shipped programs; an agent is killed and comes back meanwhile.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
};

use nexin_testbed::{
    DEADLINE, Namespace, Node, Result, Tool, Workload, fail, isolated, program,
    traffic::{Outcome, TcpEcho, tcp},
    until_ok,
};
use serde_json::Value;

const RELAY: &str = "/run/test/relay.sock";
/// Ports of the servers: what was asked before, during and after the crash.
const PORTS: [u16; 3] = [8_001, 8_002, 8_003];

/// A program that runs until this is dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn socket(node: &str) -> String {
    format!("/run/test/{node}/run/hubble.sock")
}

/// A relay in the network of a node, which finds both nodes through that node's peer service.
fn relay(node: &Namespace, peer_service: &str) -> Result<Running> {
    let child = Command::new("nsenter")
        .arg(format!("--net={}", node.path().display()))
        .arg(program("nexin")?)
        .args(["relay", "--peer-service", &format!("unix:{peer_service}"), "--relay-socket", RELAY])
        .args(["--listen-address", "off", "--health-listen-address", "off", "--metrics-listen-address", "off"])
        .args(["--retry-timeout", "1s"])
        .spawn()?;
    Ok(Running(child))
}

/// `nexin observe` of the relay, with what it says on standard error (the state of nodes) among the rest.
fn observe(words: &[&str]) -> Result<Command> {
    let mut command = Command::new("sh");
    command.args(["-c", "exec \"$@\" 2>&1", "sh"]).arg(program("nexin")?).arg("observe");
    command.args(words).args(["--server", &format!("unix:{RELAY}"), "-o", "jsonpb"]);
    Ok(command)
}

/// A client with a server that answers on each of [`PORTS`].
struct Pair {
    client: Workload,
    server: Workload,
    _echoes: Vec<TcpEcho>,
}

impl Pair {
    fn on(node: &Node) -> Result<Self> {
        let (client, server) = (node.workload("client", "app=client")?, node.workload("server", "app=server")?);
        let echoes: Result<Vec<_>> = PORTS.iter().map(|port| TcpEcho::start(&server.ns, *port)).collect();
        Ok(Self { client, server, _echoes: echoes? })
    }

    fn talk(&self, port: u16) -> Result {
        assert_eq!(tcp(&self.client.ns, self.server.v4.into(), port)?, Outcome::Answered);
        Ok(())
    }
}

/// Whether a response is a flow of `node` to `port`.
fn is_flow(response: &Value, node: &str, port: u16) -> bool {
    response["node_name"] == node && response["flow"]["l4"]["TCP"]["destination_port"] == port
}

/// Lines of a command that follows.
fn follow() -> Result<(Running, Receiver<Value>)> {
    let mut child = observe(&["--follow"])?.stdout(Stdio::piped()).spawn()?;
    let Some(output) = child.stdout.take() else { fail!("no output to read") };
    let (send, lines) = channel();
    thread::spawn(move || {
        let lines = BufReader::new(output).lines().map_while(std::result::Result::ok);
        lines.filter_map(|line| serde_json::from_str(&line).ok()).all(|line| send.send(line).is_ok())
    });
    Ok((Running(child), lines))
}

/// Reads on until a response fits; everything before it is kept.
fn wait_for(lines: &Receiver<Value>, seen: &mut Vec<Value>, what: &str, fits: impl Fn(&Value) -> bool) -> Result {
    loop {
        let Ok(line) = lines.recv_timeout(DEADLINE) else { fail!("no response until {what}; saw {seen:#?}") };
        let found = fits(&line);
        seen.push(line);
        if found {
            return Ok(());
        }
    }
}

#[test]
fn flows_of_two_nodes_come_through_a_relay_whatever_agents_do() -> Result {
    isolated(|| {
        let peers = format!("hubble.peers = [\"two=unix:{}\"]", socket("two"));
        let (one, mut two) = (Node::up_with("one", &[&peers])?, Node::up("two")?);
        let (first, second) = (Pair::on(&one)?, Pair::on(&two)?);
        let _relay = relay(&one.ns, &socket("one"))?;
        until_ok("the relay has met both nodes", || {
            first.talk(PORTS[0])?;
            second.talk(PORTS[0])?;
            let seen = Tool::run(&mut observe(&["--all"])?)?;
            let seen: Vec<Value> = seen.stdout.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
            for node in ["one", "two"] {
                if !seen.iter().any(|response| is_flow(response, node, PORTS[0])) {
                    fail!("no flow of {node} in {} responses", seen.len());
                }
            }
            let times: Vec<&str> = seen.iter().filter_map(|response| response["flow"]["time"].as_str()).collect();
            assert!(times.is_sorted(), "{times:#?}");
            Ok(())
        })?;

        let (_follower, lines) = follow()?;
        let mut seen = Vec::new();
        until_ok("the follower sees node two", || {
            second.talk(PORTS[1])?;
            seen.extend(lines.try_iter());
            if seen.iter().any(|line| is_flow(line, "two", PORTS[1])) { Ok(()) } else { fail!("{seen:?}") }
        })?;
        two.agent()?.crash()?;
        // Traffic goes on without an agent, and so does the other node's stream.
        second.talk(PORTS[1])?;
        first.talk(PORTS[1])?;
        wait_for(&lines, &mut seen, "a flow of node one", |line| is_flow(line, "one", PORTS[1]))?;
        two.agent()?.start_again(None)?;
        second.talk(PORTS[2])?;
        wait_for(&lines, &mut seen, "a flow of node two after its agent came back", |line| {
            is_flow(line, "two", PORTS[2])
        })?;
        let states: Vec<&str> = seen.iter().filter_map(|line| line["node_status"]["state_change"].as_str()).collect();
        assert!(states.contains(&"NODE_UNAVAILABLE") || states.contains(&"NODE_ERROR"), "{states:?}");
        Ok(())
    })
}
