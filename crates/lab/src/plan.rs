//! What a lab consists of, as people write it, and which addresses its parts get. Pure: nothing is made here.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// A lab file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LabSpec {
    #[serde(default = "default_name")]
    pub name: String,
    /// One node named `node` when left out.
    #[serde(default = "one_node")]
    pub nodes: Vec<NodeSpec>,
    #[serde(default)]
    pub outside: OutsideSpec,
    #[serde(default)]
    pub workloads: Vec<WorkloadSpec>,
    /// Policy files to apply on every node, relative to the lab file.
    #[serde(default)]
    pub policies: Vec<PathBuf>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeSpec {
    pub name: String,
    /// Addresses for its workloads.
    #[serde(default)]
    pub ipv4: Option<Ipv4Net>,
    #[serde(default)]
    pub ipv6: Option<Ipv6Net>,
    /// Settings of its agent, as in the agent's TOML file (`policy.audit: true`).
    #[serde(default)]
    pub settings: BTreeMap<String, String>,
}

/// The world.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutsideSpec {
    /// Runs there for as long as the lab is up.
    #[serde(default)]
    pub command: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkloadSpec {
    pub name: String,
    #[serde(default = "default_namespace")]
    pub namespace: String,
    /// The first node when left out.
    #[serde(default)]
    pub node: Option<String>,
    /// None: not known yet (`reserved:init`).
    #[serde(default)]
    pub labels: Option<BTreeMap<String, String>>,
    /// Port names for policies, each `port/protocol`.
    #[serde(default)]
    pub ports: BTreeMap<String, nexin_api::v1::PortProtocol>,
    #[serde(default)]
    pub service_account: Option<String>,
    #[serde(default)]
    pub ipv4: Option<Ipv4Addr>,
    #[serde(default)]
    pub ipv6: Option<Ipv6Addr>,
    /// Runs in the workload for as long as the lab is up.
    #[serde(default)]
    pub command: Vec<String>,
}

fn default_name() -> String {
    "lab".to_owned()
}

fn default_namespace() -> String {
    "default".to_owned()
}

fn one_node() -> Vec<NodeSpec> {
    vec![NodeSpec { name: "node".to_owned(), ipv4: None, ipv6: None, settings: BTreeMap::new() }]
}

/// Labs that need no file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preset {
    /// A deathstar, a tiefighter of the empire, an xwing of the alliance.
    ThreeShips,
    /// Two nodes with a workload each.
    TwoNodes,
}

impl Preset {
    pub fn spec(self) -> LabSpec {
        match self {
            Self::ThreeShips => LabSpec {
                name: "three-ships".to_owned(),
                nodes: one_node(),
                outside: OutsideSpec::default(),
                workloads: vec![
                    workload("deathstar", &[("org", "empire"), ("class", "deathstar")]),
                    workload("tiefighter", &[("org", "empire"), ("class", "tiefighter")]),
                    workload("xwing", &[("org", "alliance"), ("class", "xwing")]),
                ],
                policies: Vec::new(),
            },
            Self::TwoNodes => {
                let node = |name: &str| NodeSpec { name: name.to_owned(), ..one_node().remove(0) };
                let on = |name: &str, place: &str| {
                    let spec = workload(name, &[("app", name)]);
                    WorkloadSpec { node: Some(place.to_owned()), ..spec }
                };
                LabSpec {
                    name: "two-nodes".to_owned(),
                    nodes: vec![node("east"), node("west")],
                    outside: OutsideSpec::default(),
                    workloads: vec![on("sunrise", "east"), on("sunset", "west")],
                    policies: Vec::new(),
                }
            }
        }
    }
}

fn workload(name: &str, labels: &[(&str, &str)]) -> WorkloadSpec {
    WorkloadSpec {
        name: name.to_owned(),
        namespace: default_namespace(),
        node: None,
        labels: Some(labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()),
        ports: BTreeMap::new(),
        service_account: None,
        ipv4: None,
        ipv6: None,
        command: Vec::new(),
    }
}

impl LabSpec {
    /// # Errors
    /// Names that are not fit for files and namespaces, or not unique; a workload on a node that does not exist.
    pub fn check(&self, file: &str) -> Result<()> {
        let bad = |problem: String| Err(Error::Spec { file: file.to_owned(), problem });
        let nodes = self.nodes.iter().map(|node| &node.name);
        let workloads = self.workloads.iter().map(|workload| &workload.name);
        for name in nodes.clone().chain(workloads.clone()).chain([&self.name]) {
            if !is_name(name) {
                return bad(format!(
                    "{name:?} is no name: use up to 32 small letters, digits and dashes, a letter first"
                ));
            }
        }
        let mut taken = BTreeSet::from([OUTSIDE]);
        if let Some(twice) = nodes.chain(workloads).find(|name| !taken.insert(name)) {
            return bad(format!("the name {twice} is used twice; nodes, workloads and `{OUTSIDE}` must differ"));
        }
        if self.nodes.is_empty() || self.nodes.len() > MAX_NODES {
            return bad(format!("{} nodes: a lab has 1 to {MAX_NODES}", self.nodes.len()));
        }
        for workload in &self.workloads {
            if let Some(place) = &workload.node
                && !self.nodes.iter().any(|node| node.name == *place)
            {
                return bad(format!("workload {} is on node {place}, which is not in `nodes`", workload.name));
            }
        }
        Ok(())
    }

    /// Position of the node that a workload is on.
    pub(crate) fn node_of(&self, workload: &WorkloadSpec) -> usize {
        let wanted = workload.node.as_ref();
        wanted.and_then(|name| self.nodes.iter().position(|node| node.name == *name)).unwrap_or(0)
    }

    /// Names of everything that [`crate::Lab::exec`] can enter.
    pub fn parts(&self) -> Vec<String> {
        let nodes = self.nodes.iter().map(|node| node.name.clone());
        let workloads = self.workloads.iter().map(|workload| workload.name.clone());
        workloads.chain(nodes).chain([OUTSIDE.to_owned()]).collect()
    }

    pub(crate) fn pools(&self, node: usize) -> Pools {
        let spec = &self.nodes[node];
        let index = u8::try_from(node).unwrap_or(u8::MAX);
        let v4 = Ipv4Net::new_assert(Ipv4Addr::new(10, 200, index, 0), 24);
        let v6 = Ipv6Net::new_assert(Ipv6Addr::new(0xfd00, 0x200, node as u16, 0, 0, 0, 0, 0), 64);
        Pools { v4: spec.ipv4.unwrap_or(v4), v6: spec.ipv6.unwrap_or(v6) }
    }
}

/// The namespace that plays the world.
pub(crate) const OUTSIDE: &str = "outside";
const MAX_NODES: usize = 60;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pools {
    pub(crate) v4: Ipv4Net,
    pub(crate) v6: Ipv6Net,
}

/// The two ends of the wire between a node and outside. Addresses are those reserved for documentation (RFC 5737,
/// RFC 3849), so they collide with nothing real.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Uplink {
    pub(crate) node: [IpNet; 2],
    pub(crate) outside: [IpNet; 2],
}

pub(crate) fn uplink(node: usize) -> Uplink {
    let net4 = |host: u8| Ipv4Net::new_assert(Ipv4Addr::new(192, 0, 2, (node * 4) as u8 + host), 30).into();
    let net6 = |host: u16| Ipv6Net::new_assert(Ipv6Addr::new(0x2001, 0xdb8, node as u16, 0, 0, 0, 0, host), 64).into();
    Uplink { node: [net4(2), net6(2)], outside: [net4(1), net6(1)] }
}

/// A node reaches everything by way of the outside.
pub(crate) fn default_routes(uplink: &Uplink) -> [(IpNet, IpAddr); 2] {
    let [v4, v6] = uplink.outside.map(|net| net.addr());
    [(Ipv4Net::default().into(), v4), (Ipv6Net::default().into(), v6)]
}

/// Where the world's services listen: not on a wire, so that nothing reaches them but by routing.
pub(crate) fn world() -> [IpAddr; 2] {
    [Ipv4Addr::new(198, 51, 100, 1).into(), Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 1).into()]
}

fn is_name(name: &str) -> bool {
    name.len() <= 32
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two() -> LabSpec {
        Preset::TwoNodes.spec()
    }

    #[test]
    fn presets_are_sound() {
        for preset in [Preset::ThreeShips, Preset::TwoNodes] {
            preset.spec().check("preset").unwrap();
        }
        assert_eq!(Preset::ThreeShips.spec().parts(), ["deathstar", "tiefighter", "xwing", "node", "outside"]);
        assert_eq!(two().node_of(&two().workloads[1]), 1);
    }

    #[test]
    fn mistakes_are_named() {
        let problem = |change: fn(&mut LabSpec)| {
            let mut spec = two();
            change(&mut spec);
            spec.check("lab.yaml").unwrap_err().to_string()
        };
        assert!(problem(|spec| spec.workloads[0].node = Some("north".into())).contains("on node north"));
        assert!(problem(|spec| spec.workloads[0].name = "west".into()).contains("west is used twice"));
        assert!(problem(|spec| spec.workloads[0].name = "outside".into()).contains("outside is used twice"));
        assert!(problem(|spec| spec.nodes[0].name = "../x".into()).contains("is no name"));
        assert!(problem(|spec| spec.nodes.clear()).contains("0 nodes"));
    }

    #[test]
    fn addresses_do_not_overlap() {
        let mut spec = two();
        let node = spec.nodes[0].clone();
        spec.nodes = (0..MAX_NODES).map(|i| NodeSpec { name: format!("n{i}"), ..node.clone() }).collect();
        let mut nets: Vec<IpNet> = Vec::new();
        for i in 0..MAX_NODES {
            let pools = spec.pools(i);
            nets.extend([IpNet::from(pools.v4), IpNet::from(pools.v6)]);
            nets.extend(uplink(i).node.map(|net| net.trunc()));
            assert!(
                uplink(i)
                    .outside
                    .iter()
                    .zip(uplink(i).node)
                    .all(|(a, b)| a.trunc() == b.trunc() && a.addr() != b.addr())
            );
        }
        nets.extend(world().map(IpNet::from));
        for (i, net) in nets.iter().enumerate() {
            assert!(nets[..i].iter().all(|other| !other.contains(net) && !net.contains(other)), "{net}");
        }
    }
}
