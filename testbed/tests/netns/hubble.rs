//! What people see of traffic through Hubble's API: as much as the aggregation level says, and under overload every event or
//! its loss. Copies of packets.

use std::{
    io::{BufRead as _, BufReader},
    net::{IpAddr, UdpSocket},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use nexin_testbed::{
    Namespace, Node, Result, Tool, Workload, fail, isolated, program,
    traffic::{Outcome, TcpEcho, UdpEcho, tcp, udp},
    until_ok,
};
use serde_json::{Value, json};

use crate::policies::allow_from;

fn observe(words: &[&str]) -> Result<Command> {
    let mut command = Command::new(program("nexin")?);
    command.arg("observe").args(words).args(["--server", "unix:/run/test/n/run/hubble.sock", "-o", "jsonpb"]);
    Ok(command)
}

/// Traces of a connection to port 80, once both sides were seen to close it.
fn connection(aggregation: &str) -> Result<Vec<Value>> {
    let node = Node::up_with("n", &[&format!("events.aggregation = \"{aggregation}\"")])?;
    let (a, b) = (node.workload("a", "app=a")?, node.workload("b", "app=b")?);
    let _server = TcpEcho::start(&b.ns, 80)?;
    assert_eq!(tcp(&a.ns, b.v4.into(), 80)?, Outcome::Answered);
    until_ok("the connection's end is told", || {
        let seen = Tool::run(&mut observe(&["--all", "--port", "80", "--type", "trace"])?)?;
        let flows = seen.stdout.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let flows: Vec<Value> = flows.map(|mut response| response["flow"].take()).collect();
        let last = flows.last().map(|flow| flow["l4"]["TCP"]["flags"].clone()).unwrap_or_default();
        // The last packet acknowledges the second FIN, or resets.
        if flows.len() < 2 || last["SYN"] == true || last["FIN"] == true {
            fail!("{} flows so far, the last with {last}: {}", flows.len(), seen.stderr);
        }
        Ok(flows)
    })
}

fn points<'a>(flows: &'a [Value], point: &'a str) -> impl Iterator<Item = &'a Value> {
    flows.iter().filter(move |flow| flow["trace_observation_point"] == point)
}

fn has(flow: &Value, flag: &str) -> bool {
    flow["l4"]["TCP"]["flags"][flag] == true
}

#[test]
fn medium_shows_the_life_of_a_connection() -> Result {
    isolated(|| {
        let flows = connection("medium")?;
        assert_eq!(points(&flows, "TO_ENDPOINT").count(), flows.len(), "{flows:#?}");
        assert!((4..=6).contains(&flows.len()), "{} flows", flows.len());
        assert!(has(&flows[0], "SYN") && flows[0]["trace_reason"] == "NEW", "{}", flows[0]);
        assert!(has(&flows[1], "SYN") && flows[1]["is_reply"] == true, "{}", flows[1]);
        assert_eq!(flows[1]["trace_reason"], "REPLY", "{}", flows[1]);
        Ok(())
    })
}

#[test]
fn maximum_shows_beginning_and_end() -> Result {
    isolated(|| {
        let flows = connection("maximum")?;
        assert_eq!(flows.len(), 2, "{flows:#?}");
        assert!(has(&flows[0], "SYN"), "{}", flows[0]);
        Ok(())
    })
}

#[test]
fn low_shows_every_packet() -> Result {
    isolated(|| {
        let flows = connection("low")?;
        // Handshake, question, answer, both ends: nine packets, fewer where acknowledgements ride along.
        assert!(flows.len() >= 7, "{} flows", flows.len());
        assert_eq!(points(&flows, "TO_ENDPOINT").count(), flows.len(), "{flows:#?}");
        Ok(())
    })
}

#[test]
fn none_shows_every_packet_at_both_ends() -> Result {
    isolated(|| {
        let flows = connection("none")?;
        let (from, to) = (points(&flows, "FROM_ENDPOINT").count(), points(&flows, "TO_ENDPOINT").count());
        assert!(from >= 7 && from == to && from + to == flows.len(), "{from} came, {to} went of {}", flows.len());
        Ok(())
    })
}

/// Who follows flows, and what he has seen.
struct Follower {
    child: Child,
    /// Forwarded to the flood's port, dropped, lost, and anything else.
    counts: Arc<[AtomicU64; 4]>,
}

impl Follower {
    fn start() -> Result<Self> {
        let mut child = observe(&["--follow", "--type", "trace", "--type", "drop"])?.stdout(Stdio::piped()).spawn()?;
        let Some(output) = child.stdout.take() else { fail!("no output to read") };
        let counts: Arc<[AtomicU64; 4]> = Arc::default();
        let counted = counts.clone();
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(std::result::Result::ok) {
                let Ok(response) = serde_json::from_str::<Value>(&line) else { continue };
                let lost = &response["lost_events"]["num_events_lost"];
                let lost = lost.as_u64().or_else(|| lost.as_str()?.parse().ok());
                let (flow, port) = (&response["flow"], &response["flow"]["l4"]["UDP"]["destination_port"]);
                let (kind, number) = match lost {
                    Some(lost) => (2, lost),
                    None if flow["verdict"] == "DROPPED" => (1, 1),
                    None if *port == FLOOD => (0, 1),
                    None => (3, 1),
                };
                counted[kind].fetch_add(number, Ordering::Relaxed);
            }
        });
        Ok(Self { child, counts })
    }

    fn counts(&self) -> [u64; 4] {
        self.counts.each_ref().map(|count| count.load(Ordering::Relaxed))
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const FLOOD: u16 = 9_000;
/// More events than the kernel's ring of traces holds.
const SENT: u64 = 60_000;
const REFUSED: u64 = 600;

/// Datagrams to the flood's port, and now and then one to a workload that takes none.
fn flood(from: &Namespace, to: IpAddr, closed: IpAddr) -> Result {
    from.run(|| {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        for n in 0..SENT {
            socket.send_to(b"flood", (to, FLOOD))?;
            if n % (SENT / REFUSED) == 0 {
                socket.send_to(b"flood", (closed, FLOOD))?;
            }
        }
        Ok(())
    })
}

#[test]
fn under_overload_every_event_is_delivered_or_counted() -> Result {
    isolated(|| {
        let node = Node::up_with("n", &["events.aggregation = \"low\"", "hubble.buffer_capacity = 65535"])?;
        let (a, b) = (node.workload("a", "app=a")?, node.workload("b", "app=b")?);
        let c = node.workload("c", "app=c")?;
        node.apply("c.yaml", &allow_from("c", "nobody"))?;
        let _server = UdpEcho::start(&b.ns, 53)?;
        // Takes what comes and answers nothing.
        let _sink = b.ns.run(|| Ok(UdpSocket::bind(("0.0.0.0", FLOOD))?))?;
        let follower = Follower::start()?;
        until_ok("the follower sees flows", || {
            assert_eq!(udp(&a.ns, b.v4.into(), 53)?, Outcome::Answered);
            if follower.counts()[3] == 0 { fail!("none yet") } else { Ok(()) }
        })?;
        flood(&a.ns, b.v4.into(), c.v4.into())?;
        until_ok("everything is delivered or counted", || {
            let [delivered, dropped, lost, _] = follower.counts();
            if delivered + dropped + lost < SENT + REFUSED {
                fail!("{delivered} delivered, {dropped} dropped, {lost} lost of {}", SENT + REFUSED);
            }
            Ok(())
        })?;
        let [delivered, dropped, lost, _] = follower.counts();
        assert_eq!(delivered + dropped + lost, SENT + REFUSED, "{delivered} delivered, {dropped} dropped, {lost} lost");
        let status = node.api()?.get("/v1/status")?;
        assert_eq!(status["lost_events"]["drop"], 0, "traces crowd out no drop: {}", status["lost_events"]);
        Ok(())
    })
}

/// A capture of what goes between two workloads, either way.
fn between(a: &Workload, b: &Workload, snap: u32) -> Value {
    let prefix = |w: &Workload| json!({ "prefix": format!("{}/32", w.v4) });
    json!({ "filters": [{ "source": prefix(a), "destination": prefix(b), "either_way": true }], "snap": snap })
}

#[test]
fn packets_are_captured_with_what_became_of_them() -> Result {
    isolated(|| {
        let node = Node::up("n")?;
        let (a, b) = (node.workload("a", "app=a")?, node.workload("b", "app=b")?);
        let foe = node.workload("foe", "app=foe")?;
        node.apply("b.yaml", &allow_from("b", "a"))?;
        let _server = UdpEcho::start(&b.ns, 53)?;
        let mut allowed = node.capture(&between(&a, &b, 64))?;
        let mut refused = node.capture(&json!({
            "filters": [{ "source": { "workload": "default/foe" }, "forwarded": false }],
            "snap": 8192,
        }))?;
        assert_eq!(udp(&foe.ns, b.v4.into(), 53)?, Outcome::Silence);
        assert_eq!(udp(&a.ns, b.v4.into(), 53)?, Outcome::Answered);
        let there = allowed.wait_for("the question", |r| r["event"]["destination"]["port"] == 53)?;
        assert_eq!(there["event"]["source"]["workload"], "default/a", "{there}");
        // 64 bytes or the whole packet in base64.
        let length = there["length"].as_u64().unwrap_or_default();
        let data = there["data"].as_str().unwrap_or_default().len() as u64;
        assert_eq!(data, length.min(64).div_ceil(3) * 4, "{there}");
        let back = allowed.wait_for("the answer", |r| r["event"]["source"]["port"] == 53)?;
        assert_eq!(back["event"]["is_reply"], true, "{back}");
        let drop = refused.wait_for("the refusal", |r| r["event"]["event"] == "drop")?;
        assert_eq!(drop["event"]["reason"], "POLICY_DENIED", "{drop}");
        assert_eq!(drop["event"]["source"]["workload"], "default/foe", "{drop}");

        // The slots of those who left are free again.
        for _ in 0..20 {
            until_ok("there is a slot", || node.capture(&between(&a, &foe, 64)).map(drop_it))?;
        }
        let strange =
            node.api()?.request("POST", "/v1/capture", "{\"filters\": [{\"source\": {\"workload\": \"x/y\"}}]}")?;
        assert_eq!(strange.status, 404, "{}", strange.text);
        Ok(())
    })
}

fn drop_it<T>(_: T) {}
