//! The ways from a client to a server that are compared. Each is a set of namespaces with a server running in it.

use std::{
    net::IpAddr,
    process::{Child, Command, Stdio},
};

use nexin_testbed::{
    Namespace, Node, Result, Workload, fail,
    traffic::{Outcome, tcp},
    until_ok,
};

/// One way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub(crate) enum Path {
    /// One veth pair: what every other figure is divided by.
    Veth,
    Router,
    RouterConntrack,
    Bridge,
    /// A router with conntrack and a set of 1,000 addresses.
    NftSet,
    Nexin,
    NexinV6,
}

impl Path {
    pub(crate) const ALL: [Self; 7] =
        [Self::Veth, Self::Router, Self::RouterConntrack, Self::Bridge, Self::NftSet, Self::Nexin, Self::NexinV6];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Veth => "veth, one hop",
            Self::Router => "Linux router",
            Self::RouterConntrack => "router + nf_conntrack",
            Self::Bridge => "Linux bridge",
            Self::NftSet => "nft conntrack + set",
            Self::Nexin => "Nexin, IPv4",
            Self::NexinV6 => "Nexin, IPv6",
        }
    }
}

/// A built path.
pub(crate) struct Built {
    pub(crate) path: Path,
    pub(crate) client: std::path::PathBuf,
    pub(crate) server: IpAddr,
    _process: Process,
    _parts: Parts,
}

/// What keeps a path alive.
enum Parts {
    Linux { _namespaces: Vec<Namespace> },
    Nexin { _workloads: [Workload; 2], _node: Box<Node> },
}

/// A server, killed with its path.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(crate) const PORT: u16 = 5201;

/// Both directions of the client, and of the server, are judged by policy.
const POLICIES: &str = "apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: server, namespace: default}
spec:
  endpointSelector: {matchLabels: {app: server}}
  ingress:
  - fromEndpoints: [{matchLabels: {app: client}}]
    toPorts: [{ports: [{port: '5201', protocol: ANY}]}]
---
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: client, namespace: default}
spec:
  endpointSelector: {matchLabels: {app: client}}
  egress:
  - toEndpoints: [{matchLabels: {app: server}}]
    toPorts: [{ports: [{port: '5201', protocol: ANY}]}]
";

pub(crate) fn build(path: Path) -> Result<Built> {
    match path {
        Path::Nexin | Path::NexinV6 => nexin(path),
        _ => linux(path),
    }
}

fn linux(path: Path) -> Result<Built> {
    let name = |part: &str| format!("{path:?}-{part}").to_lowercase();
    let (client, server) = (Namespace::new(&name("client"))?, Namespace::new(&name("server"))?);
    let mut namespaces = Vec::new();
    let address = |ns: &Namespace, device: &str, address: &str| ns.ip(&format!("addr add {address} dev {device}"));
    if path == Path::Veth {
        client.join("eth0", &server, "eth0")?;
        address(&client, "eth0", "10.1.0.1/24")?;
        address(&server, "eth0", "10.1.0.2/24")?;
    } else {
        let middle = Namespace::new(&name("middle"))?;
        middle.join("left", &client, "eth0")?;
        middle.join("right", &server, "eth0")?;
        address(&client, "eth0", "10.1.0.1/24")?;
        if path == Path::Bridge {
            address(&server, "eth0", "10.1.0.2/24")?;
            middle.ip("link add name bridge0 type bridge")?;
            middle.ip("link set bridge0 up")?;
            middle.ip("link set left master bridge0")?;
            middle.ip("link set right master bridge0")?;
        } else {
            address(&middle, "left", "10.1.0.254/24")?;
            address(&middle, "right", "10.2.0.254/24")?;
            address(&server, "eth0", "10.2.0.2/24")?;
            client.ip("route add default via 10.1.0.254")?;
            server.ip("route add default via 10.2.0.254")?;
            middle.sysctl("net/ipv4/ip_forward", "1")?;
            nft(&middle, path)?;
        }
        namespaces.push(middle);
    }
    let to = if matches!(path, Path::Veth | Path::Bridge) { [10, 1, 0, 2] } else { [10, 2, 0, 2] };
    let (client_path, process) = (client.path(), start(&server)?);
    wait(&client, to.into())?;
    namespaces.extend([client, server]);
    Ok(Built {
        path,
        client: client_path,
        server: to.into(),
        _process: process,
        _parts: Parts::Linux { _namespaces: namespaces },
    })
}

/// Rules of the filtering routers.
fn nft(router: &Namespace, path: Path) -> Result {
    let rules = match path {
        Path::RouterConntrack => {
            "table ip t { chain c { type filter hook forward priority 0; ct state established,related accept; ct state new accept; }; }"
                .to_owned()
        }
        Path::NftSet => {
            let others: Vec<_> = (0..1000).map(|i| format!("10.9.{}.{}", i / 250, i % 250)).collect();
            format!(
                "table ip t {{ set s {{ type ipv4_addr; elements = {{ 10.1.0.1, {} }}; }}; chain c {{ type filter hook forward priority 0; policy drop; ct state established,related accept; ip saddr @s accept; }}; }}",
                others.join(", ")
            )
        }
        _ => return Ok(()),
    };
    let file = format!("/run/test/{path:?}.nft");
    std::fs::write(&file, rules)?;
    router.tool(&format!("nft -f {file}")).map(drop)
}

fn nexin(path: Path) -> Result<Built> {
    let node = Node::up(&format!("{path:?}").to_lowercase())?;
    node.apply("bench.yaml", POLICIES)?;
    let (client, server) = (node.workload("client", "app=client")?, node.workload("server", "app=server")?);
    let to: IpAddr = if path == Path::Nexin { server.v4.into() } else { server.v6.into() };
    let process = start(&server.ns)?;
    wait(&client.ns, to)?;
    Ok(Built {
        path,
        client: client.ns.path(),
        server: to,
        _process: process,
        _parts: Parts::Nexin { _workloads: [client, server], _node: Box::new(node) },
    })
}

/// The server runs at the highest priority, as the load does.
fn start(ns: &Namespace) -> Result<Process> {
    let mut net = std::ffi::OsString::from("--net=");
    net.push(ns.path());
    let child = Command::new("nice")
        .args(["-n", "-20", "nsenter"])
        .arg(net)
        .arg(std::env::current_exe()?)
        .args(["--serve", &PORT.to_string()])
        .stdin(Stdio::null())
        .spawn()?;
    Ok(Process(child))
}

fn wait(client: &Namespace, server: IpAddr) -> Result {
    client.sysctl("net/ipv4/ip_local_port_range", "10000 65000")?;
    until_ok("the server answers", || match tcp(client, server, PORT)? {
        Outcome::Answered => Ok(()),
        other => fail!("{other:?}"),
    })
}
