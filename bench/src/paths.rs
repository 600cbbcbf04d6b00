//! The ways from a client to a server that are compared. Each is a set of namespaces with a server running in it.

use std::{
    fs::File,
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use nexin_testbed::{
    Namespace, Node, Result, Workload, fail, program,
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
    /// The same with 10,000.
    NftSetLarge,
    /// A router that asks 10 rules one after the other.
    NftFew,
    /// The same with 10,000.
    NftMany,
    Nexin,
    NexinV6,
    /// The server's policy has 10,000 more rules, each about a prefix of its own.
    NexinMany,
    /// Nothing is told and Hubble's API is off.
    NexinSilent,
    /// A flow's beginning and end are told, and a report each interval; a client follows.
    NexinConnections,
    /// As the agent is without settings; a client follows.
    NexinFlows,
    /// Every packet is told, where it leaves; a client follows.
    NexinPackets,
}

/// Rules, or addresses in a set, of a large firewall.
const MANY: usize = 10_000;

impl Path {
    /// Those of the round trips, connections and streams.
    pub(crate) const WIRE: [Self; 7] =
        [Self::Veth, Self::Router, Self::RouterConntrack, Self::Bridge, Self::NftSet, Self::Nexin, Self::NexinV6];

    /// Firewalls, small and large.
    pub(crate) const RULES: [Self; 6] =
        [Self::Veth, Self::Router, Self::NftSetLarge, Self::NftMany, Self::Nexin, Self::NexinMany];

    /// The same traffic with more and more told of it.
    pub(crate) const FLOWS: [Self; 4] =
        [Self::NexinSilent, Self::NexinConnections, Self::NexinFlows, Self::NexinPackets];

    pub(crate) fn is_nexin(self) -> bool {
        self >= Self::Nexin
    }

    /// Settings of its agent.
    fn settings(self) -> &'static [&'static str] {
        match self {
            Self::NexinSilent => {
                &["events.traces = false", "events.verdicts = false", "events.drops = false", "hubble.enabled = false"]
            }
            Self::NexinConnections => &["events.aggregation = \"maximum\""],
            Self::NexinPackets => &["events.aggregation = \"low\""],
            _ => &[],
        }
    }

    fn is_followed(self) -> bool {
        self > Self::NexinSilent
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Veth => "veth, one hop",
            Self::Router => "Linux router",
            Self::RouterConntrack => "router + nf_conntrack",
            Self::Bridge => "Linux bridge",
            Self::NftSet => "nft conntrack + set",
            Self::NftSetLarge => "nft conntrack + set of 10,000",
            Self::NftFew => "nft, 10 rules",
            Self::NftMany => "nft, 10,000 rules",
            Self::Nexin => "Nexin, IPv4",
            Self::NexinV6 => "Nexin, IPv6",
            Self::NexinMany => "Nexin, 10,000 rules",
            Self::NexinSilent => "nothing told",
            Self::NexinConnections => "connections",
            Self::NexinFlows => "aggregated",
            Self::NexinPackets => "each packet",
        }
    }
}

/// A built path.
pub(crate) struct Built {
    pub(crate) path: Path,
    pub(crate) client: PathBuf,
    pub(crate) server: IpAddr,
    _process: Process,
    parts: Parts,
}

/// What keeps a path alive.
enum Parts {
    /// Client and server last.
    Linux(Vec<Namespace>),
    Nexin {
        workloads: [Workload; 2],
        node: Box<Node>,
        follower: Option<Follower>,
    },
}

/// Where a path's packets come from, pass, and end.
pub(crate) struct Hop<'a> {
    pub(crate) client: &'a Namespace,
    pub(crate) source: IpAddr,
    pub(crate) middle: &'a Namespace,
    /// The middle's device towards the client.
    pub(crate) device: &'a str,
    pub(crate) server: &'a Namespace,
}

impl Built {
    /// `None` where nothing is between client and server.
    pub(crate) fn hop(&self) -> Option<Hop<'_>> {
        match &self.parts {
            Parts::Linux(namespaces) => match &namespaces[..] {
                [middle, client, server] => Some(Hop { client, source: CLIENT.into(), middle, device: "left", server }),
                _ => None,
            },
            Parts::Nexin { workloads: [client, server], node, .. } => {
                let source = if self.server.is_ipv4() { client.v4.into() } else { client.v6.into() };
                Some(Hop {
                    client: &client.ns,
                    source,
                    middle: &node.ns,
                    device: &client.host_interface,
                    server: &server.ns,
                })
            }
        }
    }
}

/// A client that follows all flows and writes them to a file.
struct Follower {
    _process: Process,
    file: PathBuf,
}

impl Follower {
    fn start(node: &mut Node) -> Result<Self> {
        let folder = node.agent()?.folder().to_owned();
        let file = folder.join("followed.json");
        let child = Command::new(program("nexin")?)
            .args(["observe", "--follow", "--output", "jsonpb", "--server"])
            .arg(format!("unix://{}", folder.join("run/hubble.sock").display()))
            .stdin(Stdio::null())
            .stdout(File::create(&file)?)
            .spawn()?;
        Ok(Self { _process: Process(child), file })
    }
}

impl Built {
    /// What its follower has been told must be of the load. `None` where nobody follows.
    pub(crate) fn followed(&self) -> Result<Option<usize>> {
        let Parts::Nexin { follower: Some(follower), .. } = &self.parts else { return Ok(None) };
        let port = format!(":{PORT}");
        let about = |text: &str| text.lines().filter(|line| line.contains(&port)).count();
        match about(&std::fs::read_to_string(&follower.file)?) {
            0 => fail!("{}: whoever follows was told nothing", self.path.name()),
            count => Ok(Some(count)),
        }
    }
}

/// The client's address on Linux paths.
const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 1);

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
        _ if path.is_nexin() => nexin(path),
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
    Ok(Built { path, client: client_path, server: to.into(), _process: process, parts: Parts::Linux(namespaces) })
}

/// Rules of the filtering routers.
fn nft(router: &Namespace, path: Path) -> Result {
    let rules = match path {
        Path::RouterConntrack => {
            "table ip t { chain c { type filter hook forward priority 0; ct state established,related accept; ct state new accept; }; }"
                .to_owned()
        }
        Path::NftFew | Path::NftMany => {
            let count = if path == Path::NftFew { 10 } else { MANY };
            let rule = |i| format!("ip saddr {} drop; ", stranger(i));
            format!(
                "table ip t {{ chain c {{ type filter hook forward priority 0; {} }}; }}",
                (0..count).map(rule).collect::<String>()
            )
        }
        Path::NftSet | Path::NftSetLarge => {
            let count = if path == Path::NftSet { 1000 } else { MANY };
            let others: Vec<_> = (0..count).map(stranger).collect();
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

/// An address that nobody here has.
fn stranger(number: usize) -> String {
    format!("10.9.{}.{}", number / 250, number % 250)
}

/// Rules that let strangers in to the server.
fn many() -> String {
    let rule = |i| format!("  - {{fromCIDR: [{}/32]}}\n", stranger(i));
    format!(
        "apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {{name: many, namespace: default}}
spec:
  endpointSelector: {{matchLabels: {{app: server}}}}
  ingress:
{}",
        (0..MANY).map(rule).collect::<String>()
    )
}

fn nexin(path: Path) -> Result<Built> {
    let mut node = Node::up_with(&format!("{path:?}").to_lowercase(), path.settings())?;
    let follower = if path.is_followed() { Some(Follower::start(&mut node)?) } else { None };
    node.apply("bench.yaml", POLICIES)?;
    if path == Path::NexinMany {
        node.apply("many.yaml", &many())?;
    }
    let (client, server) = (node.workload("client", "app=client")?, node.workload("server", "app=server")?);
    let to: IpAddr = if path == Path::NexinV6 { server.v6.into() } else { server.v4.into() };
    let process = start(&server.ns)?;
    wait(&client.ns, to)?;
    Ok(Built {
        path,
        client: client.ns.path(),
        server: to,
        _process: process,
        parts: Parts::Nexin { workloads: [client, server], node: Box::new(node), follower },
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
