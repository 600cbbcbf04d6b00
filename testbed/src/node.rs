//! A node, the world behind it, and workloads on it.
//!
//! The world is one namespace joined to the node's `uplink`. It knows no route to the workloads' pool, so replies from
//! it prove masquerading; tests that want otherwise add the route.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde_json::{Value, json};

use crate::{Agent, Api, Error, Monitor, Namespace, Result, fail, until_ok};

/// What lies outside the node: 10.99.0.1, fd99::1 on the link, 192.0.2.9 and 2001:db8::9 behind it.
pub struct World {
    pub ns: Namespace,
}

impl World {
    pub const V4: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 1);
    pub const V6: Ipv6Addr = Ipv6Addr::new(0xfd99, 0, 0, 0, 0, 0, 0, 1);
    pub const FAR_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 9);
    pub const FAR_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 9);
}

/// A machine: a namespace with an uplink to the world and, once started, an agent.
pub struct Node {
    // Dropped in this order: the agent first, then what it runs in.
    agent: Option<Agent>,
    pub ns: Namespace,
    pub world: World,
    name: String,
}

impl Node {
    pub const V4: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 2);
    pub const V6: Ipv6Addr = Ipv6Addr::new(0xfd99, 0, 0, 0, 0, 0, 0, 2);
    pub const UPLINK: &'static str = "uplink";

    /// A node without an agent.
    pub fn bare(name: &str) -> Result<Self> {
        let ns = Namespace::new(name)?;
        let world = World { ns: Namespace::new(&format!("{name}-world"))? };
        // Duplicate address detection takes a second in which link-local addresses cannot ask for neighbours.
        for namespace in [&ns, &world.ns] {
            namespace.sysctl("net/ipv6/conf/default/accept_dad", "0")?;
        }
        ns.join(Self::UPLINK, &world.ns, "node")?;
        for (namespace, device, v4, v6) in
            [(&ns, Self::UPLINK, Self::V4, Self::V6), (&world.ns, "node", World::V4, World::V6)]
        {
            namespace.ip(&format!("addr add {v4}/24 dev {device}"))?;
            namespace.ip(&format!("addr add {v6}/64 dev {device} nodad"))?;
        }
        world.ns.ip(&format!("addr add {}/32 dev lo", World::FAR_V4))?;
        world.ns.ip(&format!("addr add {}/128 dev lo", World::FAR_V6))?;
        ns.ip(&format!("route add default via {} dev {}", World::V4, Self::UPLINK))?;
        ns.ip(&format!("-6 route add default via {} dev {}", World::V6, Self::UPLINK))?;
        Ok(Self { agent: None, ns, world, name: name.to_owned() })
    }

    /// A node whose agent is ready.
    pub fn up(name: &str) -> Result<Self> {
        Self::up_with(name, &[])
    }

    /// The same with settings of the agent changed (`key = value` lines of its settings file).
    pub fn up_with(name: &str, settings: &[&str]) -> Result<Self> {
        let mut node = Self::bare(name)?;
        node.agent = Some(Agent::start(&node.ns, name, settings)?);
        Ok(node)
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn agent(&mut self) -> Result<&mut Agent> {
        self.agent.as_mut().ok_or_else(|| Error::new("this node runs no agent"))
    }

    pub fn api(&self) -> Result<&Api> {
        self.agent.as_ref().map(Agent::api).ok_or_else(|| Error::new("this node runs no agent"))
    }

    /// A workload with labels (`app=web,tier=front`) in namespace `default`.
    pub fn workload(&self, name: &str, labels: &str) -> Result<Workload> {
        self.workload_with(WorkloadSpec { labels: Some(labels), ..WorkloadSpec::new(name) })
    }

    pub fn workload_with(&self, spec: WorkloadSpec<'_>) -> Result<Workload> {
        let ns = Namespace::new(&format!("{}-{}-{}", self.name, spec.namespace, spec.name))?;
        let mut body = json!({ "name": spec.name, "namespace": spec.namespace, "netns": ns.path() });
        if let Some(labels) = spec.labels {
            body["labels"] = label_object(labels);
        }
        if !spec.ports.is_empty() {
            let ports = spec
                .ports
                .iter()
                .map(|(name, port, protocol)| json!({ "name": name, "port": port, "protocol": protocol }));
            body["named_ports"] = ports.collect();
        }
        for (key, value) in spec.extra {
            body[key] = value.clone();
        }
        Workload::new(ns, &self.api()?.post("/v1/endpoints", &body)?)
    }

    /// Applies policy documents under a file name.
    pub fn apply(&self, file: &str, yaml: &str) -> Result<Value> {
        self.api()?.expect("POST", &format!("/v1/policies?file={file}"), yaml)?.json()
    }

    /// Follows `GET /v1/monitor` with a query such as `type=drop`.
    pub fn monitor(&self, query: &str) -> Result<Monitor> {
        Monitor::open(self.api()?, query)
    }

    /// Follows `POST /v1/capture`.
    pub fn capture(&self, request: &Value) -> Result<Monitor> {
        Monitor::of(self.api()?, "POST", "/v1/capture", &request.to_string())
    }

    /// Number of packets that a metric counted, over all its label sets that contain each of `labels`.
    pub fn metric(&self, name: &str, labels: &[&str]) -> Result<f64> {
        let text = self.api()?.expect("GET", "/v1/metrics", "")?.text;
        let fits = |line: &&str| {
            let series = line.split([' ', '{']).next().unwrap_or("");
            series == name && labels.iter().all(|l| line.contains(l))
        };
        Ok(text.lines().filter(fits).filter_map(|l| l.rsplit(' ').next()?.parse::<f64>().ok()).sum())
    }
}

/// What to make a workload of.
pub struct WorkloadSpec<'a> {
    pub name: &'a str,
    pub namespace: &'a str,
    /// `None`: not known yet.
    pub labels: Option<&'a str>,
    /// Name, number, protocol.
    pub ports: &'a [(&'a str, u16, &'a str)],
    /// More fields of the request.
    pub extra: &'a [(&'a str, Value)],
}

impl<'a> WorkloadSpec<'a> {
    pub fn new(name: &'a str) -> Self {
        Self { name, namespace: "default", labels: None, ports: &[], extra: &[] }
    }
}

/// An endpoint and the namespace it lives in.
pub struct Workload {
    pub ns: Namespace,
    pub id: u64,
    pub v4: Ipv4Addr,
    pub v6: Ipv6Addr,
    pub gateway_v4: Ipv4Addr,
    pub gateway_v6: Ipv6Addr,
    /// The node's side of its interface pair.
    pub host_interface: String,
}

impl Workload {
    fn new(ns: Namespace, endpoint: &Value) -> Result<Self> {
        let text = |key: &str| endpoint[key].as_str().ok_or_else(|| Error::new(format!("no {key} in {endpoint}")));
        // A family that is off: the unspecified address, which nobody answers.
        let optional = |key: &str| match endpoint[key].as_str() {
            Some(text) => text.parse::<Ipv6Addr>(),
            None => Ok(Ipv6Addr::UNSPECIFIED),
        };
        Ok(Self {
            ns,
            id: endpoint["id"].as_u64().ok_or_else(|| Error::new(format!("no id in {endpoint}")))?,
            v4: text("ipv4")?.parse()?,
            v6: optional("ipv6")?,
            gateway_v4: text("gateway_ipv4")?.parse()?,
            gateway_v6: optional("gateway_ipv6")?,
            host_interface: text("host_interface")?.to_owned(),
        })
    }

    /// Both addresses.
    pub fn addresses(&self) -> [IpAddr; 2] {
        [self.v4.into(), self.v6.into()]
    }

    /// Replaces its labels.
    pub fn relabel(&self, node: &Node, labels: &str) -> Result {
        let body = json!({ "labels": label_object(labels) });
        node.api()?.put(&format!("/v1/endpoints/{}/labels", self.id), &body)
    }

    /// What the agent says of it.
    pub fn endpoint(&self, node: &Node) -> Result<Value> {
        node.api()?.get(&format!("/v1/endpoints/{}", self.id))
    }

    /// Deletes the endpoint and gives the namespace back.
    pub fn delete(self, node: &Node) -> Result<Namespace> {
        node.api()?.delete(&format!("/v1/endpoints/{}", self.id))?;
        let host = &self.host_interface;
        until_ok("the link is gone", || match node.ns.try_tool(&format!("ip link show {host}"))?.success {
            true => fail!("{host} is still there"),
            false => Ok(()),
        })?;
        Ok(self.ns)
    }
}

fn label_object(labels: &str) -> Value {
    let pairs = labels.split(',').filter(|l| !l.is_empty()).map(|l| l.split_once('=').unwrap_or((l, "")));
    pairs.map(|(key, value)| (key.to_owned(), Value::from(value))).collect::<serde_json::Map<_, _>>().into()
}
