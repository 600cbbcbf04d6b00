//! Flows as people get them, when there are more than fit: everything is told or counted.

use std::net::{IpAddr, SocketAddr, UdpSocket};

use nexin_testbed::{Namespace, Node, Result, fail, isolated, until_ok};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::policies::allow_from;
use crate::settings;

/// More than the kernel's ring of drops holds.
const DATAGRAMS: usize = 20_000;

fn signal(pid: u32, signal: Signal) -> Result {
    Ok(kill(Pid::from_raw(pid.cast_signed()), signal)?)
}

/// Sends datagrams as fast as it can.
fn flood(from: &Namespace, to: IpAddr) -> Result {
    from.run(|| {
        let socket = UdpSocket::bind(("0.0.0.0", 0))?;
        socket.connect(SocketAddr::new(to, 53))?;
        for _ in 0..DATAGRAMS {
            socket.send(b"?")?;
        }
        Ok(())
    })
}

/// Drops that were told to a client that asks for all, and those it was told it misses.
fn account(node: &Node) -> Result<(u64, u64)> {
    let answer = node.api()?.expect("GET", "/v1/monitor?no_follow=true", "")?;
    let (mut told, mut lost) = (0, 0);
    for line in answer.text.lines().filter(|line| !line.is_empty()) {
        let record: Value = serde_json::from_str(line)?;
        match record["type"].as_str() {
            Some("flow") => told += 1,
            Some("lost") => lost += record["kernel"].as_u64().unwrap_or(0) + record["client"].as_u64().unwrap_or(0),
            _ => fail!("neither flow nor loss: {record}"),
        }
    }
    Ok((told, lost))
}

#[test]
fn what_the_kernel_had_no_room_for_is_counted_to_the_last_one() -> Result {
    isolated(|| {
        let mut node = Node::up_with("n", &[settings::ONLY_DROPS, settings::LARGEST_RING])?;
        let (a, b) = (node.workload("a", "app=a")?, node.workload("b", "app=b")?);
        node.apply("b.yaml", &allow_from("b", "nobody"))?;
        let agent = node.agent()?.pid();
        signal(agent, Signal::SIGSTOP)?;
        let flooded = flood(&a.ns, b.v4.into());
        signal(agent, Signal::SIGCONT)?;
        flooded?;
        let dropped = node.metric("cilium_drop_count_total", &["Policy denied"])? as u64;
        let (told, lost) = until_ok("each drop is told or counted", || match account(&node)? {
            (told, lost) if told + lost == dropped => Ok((told, lost)),
            (told, lost) => fail!("{dropped} dropped, {told} told, {lost} lost"),
        })?;
        assert!(lost > 0 && told > 0, "{told} told, {lost} lost");
        Ok(())
    })
}

#[test]
fn losses_are_told_once_though_the_agent_dies() -> Result {
    isolated(|| {
        let mut node = Node::up_with("n", &[settings::ONLY_DROPS, settings::LARGEST_RING])?;
        let (a, b) = (node.workload("a", "app=a")?, node.workload("b", "app=b")?);
        node.apply("b.yaml", &allow_from("b", "nobody"))?;
        node.agent()?.crash()?;
        flood(&a.ns, b.v4.into())?;
        node.agent()?.start_again(None)?;
        let dropped = node.metric("cilium_drop_count_total", &["Policy denied"])? as u64;
        let all = |node: &Node| {
            until_ok("each drop is told or counted", || match account(node)? {
                (told, lost) if told + lost == dropped => Ok(lost),
                (told, lost) => fail!("{dropped} dropped, {told} told, {lost} lost"),
            })
        };
        let lost = all(&node)?;
        assert!(lost > 0);
        // What the first process told, the next one does not tell again; its flows are gone with it.
        node.agent()?.crash()?;
        node.agent()?.start_again(None)?;
        assert_eq!(account(&node)?, (0, 0));
        Ok(())
    })
}
