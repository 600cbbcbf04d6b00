//! The 32 NetworkPolicy cases from outside, replayed on the datapath: nine workloads, their labels and addresses, real
//! TCP and UDP connections, the combined verdict of each row. SCTP rows are the engine's (this suite's kernels differ in
//! SCTP; the engine replays them in `crates/policy`).

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    thread,
};

use nexin_testbed::{
    Node, Result, Workload, WorkloadSpec, data_folder, fail, isolated, tool,
    traffic::{Outcome, TcpEcho, UdpEcho, tcp, udp},
};
use serde_json::{Value, json};

struct Pod {
    workload: Workload,
    labels: Value,
    _tcp: Vec<TcpEcho>,
    _udp: Vec<UdpEcho>,
}

/// What the node has been told so far.
struct Cluster {
    node: Node,
    pods: BTreeMap<String, Pod>,
    namespaces: BTreeMap<String, Value>,
    policies: BTreeMap<String, Value>,
}

fn text<'a>(value: &'a Value, key: &str) -> Result<&'a str> {
    match value[key].as_str() {
        Some(text) => Ok(text),
        None => fail!("no {key} in {value}"),
    }
}

impl Cluster {
    /// Brings the node to what a step describes.
    fn become_step(&mut self, step: &Value) -> Result {
        let namespaces = step["Namespaces"].as_object().cloned().unwrap_or_default();
        for (name, labels) in &namespaces {
            if self.namespaces.get(name) != Some(labels) {
                self.node.api()?.put(&format!("/v1/namespaces/{name}"), &json!({ "labels": labels }))?;
                self.namespaces.insert(name.clone(), labels.clone());
            }
        }
        let wanted = step["Pods"].as_array().cloned().unwrap_or_default();
        let mut names = BTreeSet::new();
        for pod in &wanted {
            let name = format!("{}/{}", text(pod, "ns")?, text(pod, "name")?);
            self.ensure_pod(&name, pod)?;
            names.insert(name);
        }
        let gone: Vec<_> = self.pods.keys().filter(|n| !names.contains(*n)).cloned().collect();
        for name in gone {
            if let Some(pod) = self.pods.remove(&name) {
                pod.workload.delete(&self.node)?;
            }
        }
        self.ensure_policies(step["Policies"].as_array().map_or(&[], Vec::as_slice))
    }

    fn ensure_pod(&mut self, name: &str, pod: &Value) -> Result {
        let labels = pod["labels"].clone();
        if let Some(known) = self.pods.get_mut(name) {
            if known.labels != labels {
                let path = format!("/v1/endpoints/{}/labels", known.workload.id);
                self.node.api()?.put(&path, &json!({ "labels": labels }))?;
                known.labels = labels;
            }
            return Ok(());
        }
        let containers = pod["containers"].as_array().cloned().unwrap_or_default();
        let ports: Value = containers
            .iter()
            .map(|c| json!({ "name": c["PortName"], "port": c["Port"], "protocol": c["Protocol"] }))
            .collect();
        let workload = self.node.workload_with(WorkloadSpec {
            namespace: text(pod, "ns")?,
            extra: &[("labels", labels.clone()), ("ipv4", pod["ip"].clone()), ("named_ports", ports)],
            ..WorkloadSpec::new(text(pod, "name")?)
        })?;
        let (mut tcp, mut udp) = (Vec::new(), Vec::new());
        for container in &containers {
            let port = container["Port"].as_u64().unwrap_or_default() as u16;
            match text(container, "Protocol")? {
                "TCP" => tcp.push(TcpEcho::start(&workload.ns, port)?),
                "UDP" => udp.push(UdpEcho::start(&workload.ns, port)?),
                _ => {}
            }
        }
        self.pods.insert(name.to_owned(), Pod { workload, labels, _tcp: tcp, _udp: udp });
        Ok(())
    }

    fn ensure_policies(&mut self, wanted: &[Value]) -> Result {
        let key = |p: &Value| Ok(format!("{}/{}", text(&p["metadata"], "namespace")?, text(&p["metadata"], "name")?));
        let keys = wanted.iter().map(key).collect::<Result<BTreeSet<String>>>()?;
        let gone: Vec<_> = self.policies.keys().filter(|k| !keys.contains(*k)).cloned().collect();
        for name in gone {
            self.node.api()?.delete(&format!("/v1/policies/NetworkPolicy/{name}"))?;
            self.policies.remove(&name);
        }
        for policy in wanted {
            let key = key(policy)?;
            if self.policies.get(&key) != Some(policy) {
                self.node.apply(&format!("{}.yaml", key.replace('/', "-")), &policy.to_string())?;
                self.policies.insert(key, policy.clone());
            }
        }
        Ok(())
    }

    /// Rows whose outcome on the wire differs from what is expected. A busy machine can make an answer late, so a row that
    /// differs is asked once more, when most others have ended.
    fn differences(&self, expected: &[Value]) -> Result<(usize, Vec<String>)> {
        let rows: Vec<&Value> = expected.iter().filter(|r| r["From"] != r["To"] && r["Proto"] != "SCTP").collect();
        let mut different = Vec::new();
        for some in rows.chunks(AT_ONCE) {
            different.extend(self.differing(some)?);
        }
        let still = self.differing(&different)?;
        Ok((rows.len(), still.iter().map(|row| row.to_string()).collect()))
    }

    fn differing<'a>(&self, rows: &[&'a Value]) -> Result<Vec<&'a Value>> {
        let answers = thread::scope(|scope| {
            let asked: Vec<_> = rows.iter().map(|row| scope.spawn(|| self.row(row))).collect();
            asked.into_iter().map(|t| t.join().unwrap_or_else(|p| std::panic::resume_unwind(p))).collect::<Vec<_>>()
        });
        let mut different = Vec::new();
        for (row, answer) in rows.iter().zip(answers) {
            if !answer? {
                different.push(*row);
            }
        }
        Ok(different)
    }

    /// Whether one row is as expected.
    fn row(&self, row: &Value) -> Result<bool> {
        let (Some(from), Some(to)) = (self.pods.get(text(row, "From")?), self.pods.get(text(row, "To")?)) else {
            fail!("no such pods: {row}")
        };
        let address = IpAddr::from(to.workload.v4);
        let port = row["Port"].as_u64().unwrap_or_default() as u16;
        let ask = if row["Proto"] == "TCP" { tcp } else { udp };
        let allowed = text(row, "Combined")? == "allowed";
        Ok((ask(&from.workload.ns, address, port)? == Outcome::Answered) == allowed)
    }
}

/// Questions that are open at a time: more would make each other late.
const AT_ONCE: usize = 128;

fn cases() -> Result<Option<Vec<Value>>> {
    let Some(folder) = data_folder() else { return Ok(None) };
    let packed = folder.join("networkpolicy-cases.jsonl.xz");
    let lines = tool("xz", [std::ffi::OsStr::new("-dc"), packed.as_os_str()])?;
    Ok(Some(lines.lines().map(serde_json::from_str).collect::<std::result::Result<_, _>>()?))
}

#[test]
fn network_policy_cases_hold_on_the_wire() -> Result {
    isolated(|| {
        let Some(cases) = cases()? else { return Ok(()) };
        // The cases name addresses of 192.168.0.0/16 in their policies.
        let node = Node::up_with("np", &["ipam.ipv4_pool = \"192.168.0.0/16\"", "ipam.ipv6_pool = \"off\""])?;
        let mut cluster =
            Cluster { node, pods: BTreeMap::new(), namespaces: BTreeMap::new(), policies: BTreeMap::new() };
        let (mut rows, mut different) = (0, Vec::new());
        for case in &cases {
            for (number, step) in case["Steps"].as_array().into_iter().flatten().enumerate() {
                cluster.become_step(step)?;
                let (asked, found) = cluster.differences(step["Expected"].as_array().map_or(&[], Vec::as_slice))?;
                rows += asked;
                different.extend(found.iter().map(|row| format!("case {} step {number}: {row}", case["Index"])));
            }
        }
        assert!(different.is_empty(), "{} of {rows} rows differ:\n{}", different.len(), different.join("\n"));
        assert!(cases.len() >= 32 && rows > 10_000, "{} cases, {rows} rows", cases.len());
        Ok(())
    })
}
