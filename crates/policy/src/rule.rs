//! Rules: what every kind of policy document is lowered to, and all that the engine knows of documents.
//!
//! A rule is complete: namespaces, clusters and defaults that a document leaves unsaid were filled in when it was
//! lowered. Nothing here looks at identities; and no rule is ever half of what was written: what cannot be enforced yet
//! is said by [`Rule::unbuilt`], so that the caller can refuse the whole document.

use std::fmt;
use std::sync::Arc;

use ipnet::IpNet;
use nexin_model::{Direction, IcmpType, KeyMatch, PortRange, Protocol, Requirement, Selector, Tier};
use serde::{Deserialize, Serialize};

mod unbuilt;

pub use unbuilt::Unbuilt;

/// A policy document, lowered. Documents are the unit of change: they come and go whole.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    pub key: DocumentKey,
    /// In the order they were written; the order decides inside tiers that are ordered.
    pub rules: Vec<Rule>,
    /// A CIDR group document defines a group and has no rules.
    pub cidr_group: Option<CidrGroup>,
}

/// Names a document.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct DocumentKey {
    pub kind: Kind,
    /// `None` for kinds that have no namespace.
    pub namespace: Option<Arc<str>>,
    pub name: Arc<str>,
}

impl fmt::Display for DocumentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{} {namespace}/{}", self.kind.name(), self.name),
            None => write!(f, "{} {}", self.kind.name(), self.name),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Kind {
    NetworkPolicy,
    CiliumNetworkPolicy,
    CiliumClusterwideNetworkPolicy,
    ClusterNetworkPolicy,
    CiliumCIDRGroup,
}

impl Kind {
    pub const fn name(self) -> &'static str {
        match self {
            Self::NetworkPolicy => "NetworkPolicy",
            Self::CiliumNetworkPolicy => "CiliumNetworkPolicy",
            Self::CiliumClusterwideNetworkPolicy => "CiliumClusterwideNetworkPolicy",
            Self::ClusterNetworkPolicy => "ClusterNetworkPolicy",
            Self::CiliumCIDRGroup => "CiliumCIDRGroup",
        }
    }
}

/// Settings that change how a document is lowered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LowerOptions {
    /// Name of this cluster, for the cluster label of peers.
    pub cluster_name: Arc<str>,
    /// Peers of other clusters match selectors that name no cluster (`policy-default-local-cluster=false`).
    pub any_cluster: bool,
    /// `enableDefaultDeny` is ignored (`enable-non-default-deny-policies=false`).
    pub ignore_default_deny_switch: bool,
}

impl Default for LowerOptions {
    fn default() -> Self {
        Self { cluster_name: "default".into(), any_cluster: false, ignore_default_deny_switch: false }
    }
}

/// One rule: for these subjects, in this direction, traffic with these peers on these ports gets this verdict.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    pub subject: Subject,
    pub direction: Direction,
    pub level: Level,
    pub action: RuleAction,
    /// Any of them; an empty list is nobody (a rule that only isolates).
    pub peers: Vec<Peer>,
    pub l4: L4,
    /// Traffic goes through a proxy. Only with [`RuleAction::Allow`].
    pub redirect: Option<Redirect>,
    pub auth: Option<Auth>,
    /// Text that goes with each verdict of this rule (`log.value`).
    pub log: Option<Arc<str>>,
    /// The subject is isolated in this direction: what no rule allows is refused.
    pub default_deny: bool,
    /// Evaluated beside the live rules; its outcome is shown and never enforced.
    pub shadow: bool,
    pub origin: Origin,
}

/// Whom a rule is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Subject {
    /// Workloads (and reserved endpoints) by their labels.
    Endpoints(Selector),
    /// The node itself, by node labels; counts only where the host firewall is on.
    Nodes(Selector),
}

/// Rank of a rule. Lower speaks first; at one rank deny beats redirect beats allow beats pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Level {
    pub tier: Tier,
    /// Lower is stronger.
    pub priority: i32,
    /// `Some` where rules of a document have a rank each, in the order written (ClusterNetworkPolicy): ties of
    /// `priority` between documents are then decided by document key, then by this index. `None`: all rules of tier and
    /// priority speak at once.
    pub index: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RuleAction {
    Allow,
    Deny,
    /// Leaves the rest of this tier out and asks the next one.
    Pass,
}

/// With whom.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Peer {
    /// Everyone, in and outside the cluster.
    Any,
    /// Identities by labels.
    Endpoints(Selector),
    Cidr(CidrPeer),
    Entity(Entity),
    /// Remote nodes by node labels (never the local host).
    Nodes(Selector),
    /// Addresses that a DNS name resolved to.
    Fqdn(FqdnPattern),
    /// Addresses behind services. Matches nobody until services exist here.
    Service(ServicePeer),
    /// A cloud provider's group, by its text. Matches nobody.
    Group {
        text: Arc<str>,
    },
}

/// Addresses less exceptions.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CidrPeer {
    pub source: CidrSource,
    /// Sorted. Only those inside the source have an effect.
    pub except: Vec<IpNet>,
    pub scope: CidrScope,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CidrSource {
    Prefix(IpNet),
    /// A CIDR group by name; one that does not exist is empty.
    Group(Arc<str>),
    /// CIDR groups by their labels. A selector without requirements selects every group.
    GroupSelector(Selector),
}

/// Which peers a CIDR can match.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CidrScope {
    /// What the setting `cidr_match_mode` says (Cilium's kinds): by default only what is outside the cluster.
    Configured,
    /// Every peer whose address it covers, workloads and nodes included (NetworkPolicy's `ipBlock`).
    Everything,
}

/// Groups of peers with a name. Source: cilium `pkg/policy/api/entity.go`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Entity {
    All,
    World,
    WorldIpv4,
    WorldIpv6,
    Cluster,
    ClusterMesh,
    Host,
    RemoteNode,
    Init,
    Ingress,
    Unmanaged,
    Health,
    KubeApiserver,
    None,
}

impl Entity {
    pub const ALL: [Self; 14] = [
        Self::All,
        Self::World,
        Self::WorldIpv4,
        Self::WorldIpv6,
        Self::Cluster,
        Self::ClusterMesh,
        Self::Host,
        Self::RemoteNode,
        Self::Init,
        Self::Ingress,
        Self::Unmanaged,
        Self::Health,
        Self::KubeApiserver,
        Self::None,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::World => "world",
            Self::WorldIpv4 => "world-ipv4",
            Self::WorldIpv6 => "world-ipv6",
            Self::Cluster => "cluster",
            Self::ClusterMesh => "cluster-mesh",
            Self::Host => "host",
            Self::RemoteNode => "remote-node",
            Self::Init => "init",
            Self::Ingress => "ingress",
            Self::Unmanaged => "unmanaged",
            Self::Health => "health",
            Self::KubeApiserver => "kube-apiserver",
            Self::None => "none",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|entity| entity.name() == name)
    }
}

/// A DNS name or pattern, lower case, without the closing dot.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FqdnPattern {
    Name(Arc<str>),
    /// `*` stands for any run of characters of one label, a leading `**.` for one or more labels, `*` alone for any name.
    Pattern(Arc<str>),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ServicePeer {
    Named { namespace: Arc<str>, name: Arc<str> },
    Selected { namespace: Option<Arc<str>>, selector: Selector },
}

/// On which ports.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum L4 {
    /// Every protocol and port.
    Any,
    /// Any of them; an empty list is none.
    Some(Vec<PortMatch>),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PortMatch {
    /// Ports of one protocol (`protocol` TCP, UDP or SCTP; for others the range is [`PortRange::ALL`]).
    Ports {
        protocol: Protocol,
        ports: PortRange,
    },
    /// A port by name: on ingress the subject's, on egress the peer's. With `last`, a range from the number found to
    /// `last` (to the number itself where `last` is smaller).
    Named {
        protocol: Protocol,
        name: Arc<str>,
        last: Option<u16>,
    },
    Icmp(IcmpType),
}

/// A rule's traffic goes to a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Redirect {
    pub kind: ProxyKind,
    /// Rank among redirects of one level: lower wins. Source: cilium `pkg/policy/types`: listeners 1..=100,
    /// then [`ProxyKind::default_priority`].
    pub priority: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ProxyKind {
    Http,
    Kafka,
    /// Server names or TLS interception without HTTP rules.
    Tls,
    Dns,
    /// A listener of the user's own.
    Listener,
}

impl ProxyKind {
    pub const fn default_priority(self) -> u8 {
        match self {
            Self::Http => 101,
            Self::Kafka => 106,
            Self::Tls => 116,
            Self::Dns => 121,
            Self::Listener => 126,
        }
    }
}

/// Authentication that both sides must have passed. A higher one wins where two rules are of one mind otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum Auth {
    /// Asked for explicitly: no authentication, whatever other rules want.
    Disabled = 0,
    Required = 1,
    TestAlwaysFail = 2,
}

/// A named list of prefixes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CidrGroup {
    pub labels: nexin_model::LabelSet,
    pub prefixes: Vec<IpNet>,
}

/// Where a rule was written. Shared texts: rules are many, documents few.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Origin {
    pub document: Arc<DocumentKey>,
    pub file: Arc<str>,
    /// From 1.
    pub line: u32,
    /// From 1.
    pub column: u32,
    /// Place in the document: `spec.ingress[0].fromEndpoints[1]`.
    pub path: Arc<str>,
    /// The rule in words: `allow from app=web to TCP 80`.
    pub text: Arc<str>,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}:{}:{} {}", self.document, self.file, self.line, self.column, self.path)
    }
}

/// Requirement that holds for workloads of one namespace.
pub fn in_namespace(namespace: impl Into<Arc<str>>) -> Requirement {
    Requirement::equals(KeyMatch::k8s(nexin_model::NAMESPACE_LABEL), namespace)
}

/// Requirement that holds for every workload (each has a namespace) and for nothing else.
pub fn is_workload() -> Requirement {
    Requirement::exists(KeyMatch::k8s(nexin_model::NAMESPACE_LABEL))
}
