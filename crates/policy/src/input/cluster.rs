//! ClusterNetworkPolicy (`policy.networking.k8s.io/v1alpha2`): ranked rules of the cluster's administrators.
//!
//! Source: network-policy-api v0.2.0, experimental channel.

use ipnet::IpNet;
use nexin_model::{Direction, PortRange, Tier};

use super::decode::{Context, Object, Path, Spanned, integer, list, one_of, text};
use super::diagnostic::Pos;
use super::node::{Node, Value};
use super::prefix;
use super::selector::{self, Keys, LabelSelector};
use crate::rule::RuleAction;

/// `spec` of a ClusterNetworkPolicy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterPolicy {
    pub tier: Tier,
    /// 0 to 1000; lower speaks first.
    pub priority: i32,
    pub subject: Pods,
    pub rules: Vec<ClusterRule>,
}

/// Workloads by their namespace's labels and their own. `None`: all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pods {
    pub namespaces: Option<LabelSelector>,
    pub pods: Option<LabelSelector>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterRule {
    pub at: Pos,
    pub direction: Direction,
    /// Index in its section.
    pub index: usize,
    pub name: Option<String>,
    pub action: RuleAction,
    pub peers: Vec<ClusterPeer>,
    /// `None`: every protocol and port.
    pub protocols: Option<Vec<ClusterProtocol>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClusterPeer {
    Pods(Pods),
    Nodes(LabelSelector),
    Networks(Vec<Spanned<IpNet>>),
    /// In small letters, without the closing dot; may begin with `*.`.
    DomainNames(Vec<Spanned<String>>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClusterProtocol {
    Tcp(PortRange),
    Udp(PortRange),
    Sctp(PortRange),
    Named(String),
}

const MAX_ITEMS: usize = 25;

pub(super) fn read(node: &Node, path: &Path<'_>, cx: &mut Context<'_>) -> Option<ClusterPolicy> {
    let object = Object::open(node, path, cx, &["tier", "priority", "subject", "ingress", "egress"])?;
    let tier = object.require("tier", path, cx).and_then(|entry| {
        one_of(&entry.node, &path.key("tier"), cx, &[("Admin", Tier::Admin), ("Baseline", Tier::Baseline)])
    });
    let priority =
        object.require("priority", path, cx).and_then(|entry| integer(&entry.node, &path.key("priority"), cx, 0, 1000));
    let subject = object.require("subject", path, cx).and_then(|entry| subject(&entry.node, &path.key("subject"), cx));
    let mut rules = Vec::new();
    for direction in Direction::BOTH {
        let Some(entry) = object.get(direction.name()) else { continue };
        let path = path.key(direction.name());
        count(&entry.node, &path, cx, 0);
        let mut index = 0;
        let found = list(&entry.node, &path, cx, |node, path, cx| {
            index += 1;
            rule(node, path, cx, direction, index - 1)
        });
        rules.extend(found.unwrap_or_default());
    }
    let priority = i32::try_from(priority?).ok()?;
    Some(ClusterPolicy { tier: tier?.value, priority, subject: subject?, rules })
}

/// Lists here have 1 (or 0) to 25 items.
fn count(node: &Node, path: &Path<'_>, cx: &mut Context<'_>, low: usize) {
    let Value::List(items) = &node.value else { return };
    if items.len() < low {
        cx.error(path, node.at, "this list must not be empty", None);
    }
    if items.len() > MAX_ITEMS {
        cx.error(path, node.at, format!("{} items, the limit is {MAX_ITEMS}", items.len()), None);
    }
}

fn bounded_list<T>(
    object: &Object<'_>,
    field: &str,
    path: &Path<'_>,
    cx: &mut Context<'_>,
    reader: impl FnMut(&Node, &Path<'_>, &mut Context<'_>) -> Option<T>,
) -> Option<Vec<T>> {
    let entry = object.get(field)?;
    let path = path.key(field);
    count(&entry.node, &path, cx, 1);
    list(&entry.node, &path, cx, reader)
}

fn plain_selector(node: &Node, path: &Path<'_>, cx: &mut Context<'_>) -> Option<LabelSelector> {
    selector::read(node, path, cx, Keys::Plain)
}

fn subject(node: &Node, path: &Path<'_>, cx: &mut Context<'_>) -> Option<Pods> {
    let object = Object::open(node, path, cx, &["namespaces", "pods"])?;
    object.exactly_one(&["namespaces", "pods"], path, cx);
    let namespaces = object.read("namespaces", path, cx, plain_selector);
    let pods = object.read("pods", path, cx, pods);
    pods.or(namespaces.map(|selector| Pods { namespaces: Some(selector), pods: None }))
}

fn pods(node: &Node, path: &Path<'_>, cx: &mut Context<'_>) -> Option<Pods> {
    let object = Object::open(node, path, cx, &["namespaceSelector", "podSelector"])?;
    let namespaces = object.read("namespaceSelector", path, cx, plain_selector);
    object.require("podSelector", path, cx)?;
    let pods = object.read("podSelector", path, cx, plain_selector)?;
    Some(Pods { namespaces, pods: Some(pods) })
}

fn rule(node: &Node, path: &Path<'_>, cx: &mut Context<'_>, direction: Direction, index: usize) -> Option<ClusterRule> {
    const ACTIONS: [(&str, RuleAction); 3] =
        [("Accept", RuleAction::Allow), ("Deny", RuleAction::Deny), ("Pass", RuleAction::Pass)];
    let side = if direction == Direction::Ingress { "from" } else { "to" };
    let object = Object::open_with(node, path, cx, &["action", "name", "protocols", side], |key| match key {
        "ports" => Some("write `protocols: [{tcp: {destinationPort: {number: 80}}}]`".to_owned()),
        "from" | "to" => Some(format!("under `{}` it is `{side}`", direction.name())),
        _ => None,
    })?;
    let action =
        object.require("action", path, cx).and_then(|entry| one_of(&entry.node, &path.key("action"), cx, &ACTIONS));
    let name = object.text("name", path, cx);
    if let Some(name) = name.as_ref().filter(|name| name.value.chars().count() > 100) {
        cx.error(&path.key("name"), name.at, "a rule's name has at most 100 characters", None);
    }
    object.require(side, path, cx);
    let peers = bounded_list(&object, side, path, cx, |node, path, cx| peer(node, path, cx, direction));
    let protocols = bounded_list(&object, "protocols", path, cx, protocol);
    let (action, peers) = (action?, peers?);
    let outside = peers.iter().any(|peer| !matches!(peer, ClusterPeer::Pods(_)));
    let named = protocols.iter().flatten().any(|protocol| matches!(protocol, ClusterProtocol::Named(_)));
    if outside && named {
        let message = "a port by name cannot be given beside networks, nodes and domain names: they name no ports";
        cx.error(&path.key("protocols"), object.place("protocols"), message, None);
    }
    if action.value != RuleAction::Allow && peers.iter().any(|peer| matches!(peer, ClusterPeer::DomainNames(_))) {
        cx.error(&path.key("action"), action.at, "domain names can be accepted only", None);
    }
    let name = name.map(|name| name.value);
    Some(ClusterRule { at: object.at(), direction, index, name, action: action.value, peers, protocols })
}

fn peer(node: &Node, path: &Path<'_>, cx: &mut Context<'_>, direction: Direction) -> Option<ClusterPeer> {
    let fields: &[&str] = match direction {
        Direction::Ingress => &["namespaces", "pods"],
        Direction::Egress => &["namespaces", "pods", "nodes", "networks", "domainNames"],
    };
    let object = Object::open(node, path, cx, fields)?;
    object.exactly_one(fields, path, cx);
    let namespaces = object.read("namespaces", path, cx, plain_selector);
    let pods = object.read("pods", path, cx, pods);
    let mut found =
        pods.or(namespaces.map(|selector| Pods { namespaces: Some(selector), pods: None })).map(ClusterPeer::Pods);
    if direction == Direction::Egress {
        let nodes = object.read("nodes", path, cx, plain_selector);
        if let (Some(selector), false) = (&nodes, cx.options.node_selector_labels) {
            let help = Some("set `node-selector-labels` so that labels of nodes take part in identities".to_owned());
            cx.error(&path.key("nodes"), selector.at, "nodes cannot be selected by labels on this agent", help);
        }
        let networks = bounded_list(&object, "networks", path, cx, network);
        if let Some(networks) = &networks {
            distinct(networks, &path.key("networks"), cx);
        }
        let names = bounded_list(&object, "domainNames", path, cx, domain_name);
        if let Some(names) = &names {
            distinct(names, &path.key("domainNames"), cx);
        }
        found = found
            .or(nodes.map(ClusterPeer::Nodes))
            .or(networks.map(ClusterPeer::Networks))
            .or(names.map(ClusterPeer::DomainNames));
    }
    found
}

fn distinct<T: PartialEq + std::fmt::Display>(items: &[Spanned<T>], path: &Path<'_>, cx: &mut Context<'_>) {
    for (index, item) in items.iter().enumerate() {
        if items[..index].iter().any(|earlier| earlier.value == item.value) {
            cx.error(path, item.at, format!("{} is written twice", item.value), None);
        }
    }
}

fn network(node: &Node, path: &Path<'_>, cx: &mut Context<'_>) -> Option<Spanned<IpNet>> {
    let prefix = prefix::read(node, path, cx)?;
    if let IpNet::V6(v6) = prefix.value
        && v6.addr().to_ipv4_mapped().is_some()
    {
        let help = Some("write it as an IPv4 prefix".to_owned());
        cx.error(path, prefix.at, "an IPv4 address in IPv6 form is not taken here", help);
    }
    Some(prefix)
}

/// `(*.)?(LABEL.)+LABEL.?`, labels of letters, digits, `-` and `_`, with a letter, digit or `_` first, a letter or digit last.
fn domain_name(node: &Node, path: &Path<'_>, cx: &mut Context<'_>) -> Option<Spanned<String>> {
    let name = text(node, path, cx)?;
    let label_ok = |label: &str| {
        let bytes = label.as_bytes();
        let first = bytes.first().is_some_and(|c| c.is_ascii_alphanumeric() || *c == b'_');
        let last = bytes.len() == 1 || bytes.last().is_some_and(u8::is_ascii_alphanumeric);
        first && last && bytes.iter().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_'))
    };
    let body = name.value.strip_prefix("*.").unwrap_or(&name.value);
    let body = body.strip_suffix('.').unwrap_or(body);
    if !body.contains('.') || !body.split('.').all(label_ok) {
        let help = Some("for example `www.example.com` or `*.example.com`".to_owned());
        cx.error(path, name.at, format!("{:?} is no domain name", name.value), help);
        return None;
    }
    let lower = name.value.to_ascii_lowercase();
    Some(Spanned { value: lower.strip_suffix('.').unwrap_or(&lower).to_owned(), at: name.at })
}

fn protocol(node: &Node, path: &Path<'_>, cx: &mut Context<'_>) -> Option<ClusterProtocol> {
    const FIELDS: [&str; 4] = ["tcp", "udp", "sctp", "destinationNamedPort"];
    let object = Object::open(node, path, cx, &FIELDS)?;
    object.exactly_one(&FIELDS, path, cx);
    let [tcp, udp, sctp] = ["tcp", "udp", "sctp"].map(|field| object.read(field, path, cx, destination));
    let named = object.text("destinationNamedPort", path, cx).map(|name| name.value);
    tcp.map(ClusterProtocol::Tcp)
        .or(udp.map(ClusterProtocol::Udp))
        .or(sctp.map(ClusterProtocol::Sctp))
        .or(named.map(ClusterProtocol::Named))
}

fn destination(node: &Node, path: &Path<'_>, cx: &mut Context<'_>) -> Option<PortRange> {
    let object = Object::open(node, path, cx, &["destinationPort"])?;
    let entry = object.require("destinationPort", path, cx)?;
    let path = path.key("destinationPort");
    let object = Object::open(&entry.node, &path, cx, &["number", "range"])?;
    object.exactly_one(&["number", "range"], &path, cx);
    let port = |node: &Node, path: &Path<'_>, cx: &mut Context<'_>| {
        integer(node, path, cx, 1, 65535).and_then(|port| u16::try_from(port).ok())
    };
    let single = object.read("number", &path, cx, port).map(PortRange::single);
    let range = object.read("range", &path, cx, |node, path, cx| {
        let object = Object::open(node, path, cx, &["start", "end"])?;
        object.require("start", path, cx);
        object.require("end", path, cx);
        let [start, end] = ["start", "end"].map(|field| object.read(field, path, cx, port));
        let (start, end) = (start?, end?);
        if start >= end {
            cx.error(path, object.at(), format!("the range must end ({end}) after it begins ({start})"), None);
        }
        PortRange::new(start, end)
    });
    single.or(range)
}
