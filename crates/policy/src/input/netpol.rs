//! NetworkPolicy (`networking.k8s.io/v1`), validated as the Kubernetes API server does.
//!
//! Cilium's agent takes more than the API server lets through; with [`super::Strictness::Prune`] that is a warning here,
//! where it can be given a meaning that opens nothing.

use ipnet::IpNet;
use nexin_model::{Direction, Protocol};

use super::decode::{Context, Object, Path, Spanned, integer, one_of, text};
use super::diagnostic::Pos;
use super::names;
use super::node::{Node, Value};
use super::prefix;
use super::selector::{self, Keys, LabelSelector};

/// `spec` of a NetworkPolicy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetworkPolicy {
    pub at: Pos,
    /// `None`: every workload of the namespace.
    pub pods: Option<LabelSelector>,
    pub rules: Vec<NetworkRule>,
    /// Directions the policy is about, inferred where `policyTypes` is not written.
    pub isolates: Vec<Direction>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkRule {
    pub at: Pos,
    pub direction: Direction,
    pub index: usize,
    /// Empty: everyone.
    pub peers: Vec<NetworkPeer>,
    /// Empty: every port of every protocol.
    pub ports: Vec<NetworkPort>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NetworkPeer {
    /// Workloads; without `namespaces` those of the policy's own.
    Pods {
        at: Pos,
        namespaces: Option<LabelSelector>,
        pods: Option<LabelSelector>,
    },
    Block {
        at: Pos,
        cidr: IpNet,
        except: Vec<Spanned<IpNet>>,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkPort {
    pub at: Pos,
    pub protocol: Protocol,
    /// `None`: every port of the protocol.
    pub port: Option<NetworkPortName>,
    pub end: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NetworkPortName {
    Number(u16),
    Name(String),
}

pub(super) fn read(root: &Object<'_>, cx: &mut Context<'_>) -> Option<NetworkPolicy> {
    let Some(spec) = root.get("spec") else {
        cx.warning(&Path::ROOT, root.at(), "without `spec` this isolates every workload of its namespace", None);
        return Some(NetworkPolicy { at: root.at(), isolates: vec![Direction::Ingress], ..NetworkPolicy::default() });
    };
    let path = Path::ROOT.key("spec");
    let object =
        Object::open_with(&spec.node, &path, cx, &["podSelector", "ingress", "egress", "policyTypes"], |key| {
            (key == "endpointSelector").then(|| "in a NetworkPolicy it is `podSelector`".to_owned())
        })?;
    let pods = object.read("podSelector", &path, cx, plain_selector);
    let mut rules = Vec::new();
    for direction in Direction::BOTH {
        let mut index = 0;
        let found = object.list(direction.name(), &path, cx, |node, path, cx| {
            index += 1;
            rule(node, path, cx, direction, index - 1)
        });
        rules.extend(found.unwrap_or_default());
    }
    let isolates = policy_types(&object, &path, cx);
    for rule in &rules {
        if !isolates.contains(&rule.direction) {
            let message = format!("`policyTypes` leaves {} out, so this rule has no effect", rule.direction);
            cx.warning(&path.key(rule.direction.name()), rule.at, message, None);
        }
    }
    Some(NetworkPolicy { at: spec.key_at, pods, rules, isolates })
}

fn plain_selector(node: &Node, path: &Path<'_>, cx: &mut Context<'_>) -> Option<LabelSelector> {
    selector::read(node, path, cx, Keys::Plain)
}

/// Without `policyTypes`: ingress always, egress where there are egress rules.
fn policy_types(object: &Object<'_>, path: &Path<'_>, cx: &mut Context<'_>) -> Vec<Direction> {
    const TYPES: [(&str, Direction); 2] = [("Ingress", Direction::Ingress), ("Egress", Direction::Egress)];
    let egress =
        matches!(object.get("egress").map(|entry| &entry.node.value), Some(Value::List(items)) if !items.is_empty());
    let inferred = if egress { Direction::BOTH.to_vec() } else { vec![Direction::Ingress] };
    let written = object.list("policyTypes", path, cx, |node, path, cx| {
        let word = text(node, path, cx)?;
        let found = TYPES.iter().find(|(name, _)| *name == word.value).map(|(_, direction)| *direction);
        if found.is_none() {
            let help = super::suggest::did_you_mean(&word.value, &["Ingress", "Egress"]);
            cx.lapse(path, word.at, format!("{:?} is neither `Ingress` nor `Egress`", word.value), help);
        }
        Some(found)
    });
    let Some(written) = written.filter(|written| !written.is_empty()) else { return inferred };
    if written.len() > 2 {
        cx.lapse(&path.key("policyTypes"), object.place("policyTypes"), "there are two policy types", None);
    }
    let known: Vec<Direction> =
        Direction::BOTH.into_iter().filter(|direction| written.contains(&Some(*direction))).collect();
    if known.is_empty() { inferred } else { known }
}

fn rule(node: &Node, path: &Path<'_>, cx: &mut Context<'_>, direction: Direction, index: usize) -> Option<NetworkRule> {
    let side = if direction == Direction::Ingress { "from" } else { "to" };
    let object = Object::open_with(node, path, cx, &[side, "ports"], |key| match key {
        "from" | "to" => Some(format!("under `{}` it is `{side}`", direction.name())),
        "toPorts" => Some("in a NetworkPolicy it is `ports`".to_owned()),
        key if key.starts_with(side) => Some(format!("that is Cilium's; in a NetworkPolicy it is `{side}`")),
        _ => None,
    })?;
    let peers = object.list(side, path, cx, peer).unwrap_or_default();
    let ports = object.list("ports", path, cx, port).unwrap_or_default();
    Some(NetworkRule { at: object.at(), direction, index, peers, ports })
}

fn peer(node: &Node, path: &Path<'_>, cx: &mut Context<'_>) -> Option<NetworkPeer> {
    let object = Object::open(node, path, cx, &["podSelector", "namespaceSelector", "ipBlock"])?;
    let at = object.at();
    let pods = object.read("podSelector", path, cx, plain_selector);
    let namespaces = object.read("namespaceSelector", path, cx, plain_selector);
    let block = object.read("ipBlock", path, cx, block);
    let selects = object.has("podSelector") || object.has("namespaceSelector");
    match (selects, object.has("ipBlock")) {
        (false, false) => {
            let message = "one of `podSelector`, `namespaceSelector` and `ipBlock` is needed";
            cx.lapse(path, at, message, Some("for everyone leave the whole list out".to_owned()));
        }
        (true, true) => {
            let message = "`ipBlock` cannot be combined with selectors in one item";
            cx.lapse(path, at, message, Some("make an item of its own for each".to_owned()));
        }
        _ => {}
    }
    if object.has("ipBlock") { block } else { Some(NetworkPeer::Pods { at, namespaces, pods }) }
}

fn block(node: &Node, path: &Path<'_>, cx: &mut Context<'_>) -> Option<NetworkPeer> {
    let object = Object::open(node, path, cx, &["cidr", "except"])?;
    let except = object.list("except", path, cx, prefix::read).unwrap_or_default();
    object.require("cidr", path, cx)?;
    let cidr = object.read("cidr", path, cx, prefix::read)?.value;
    for hole in &except {
        if !prefix::covers(cidr, hole.value) || hole.value.prefix_len() == cidr.prefix_len() {
            let message = format!("{} is not a part of {cidr}", hole.value);
            cx.lapse(
                &path.key("except"),
                hole.at,
                message,
                Some("exceptions are smaller than the block they are in".to_owned()),
            );
        }
    }
    Some(NetworkPeer::Block { at: object.at(), cidr, except })
}

fn port(node: &Node, path: &Path<'_>, cx: &mut Context<'_>) -> Option<NetworkPort> {
    let object = Object::open(node, path, cx, &["port", "endPort", "protocol"])?;
    let protocol = match object.get("protocol") {
        None => Protocol::Tcp,
        Some(entry) => protocol(&entry.node, &path.key("protocol"), cx)?,
    };
    let port = match object.get("port") {
        None => None,
        Some(entry) => Some(port_name(&entry.node, &path.key("port"), cx)?),
    };
    let end = object
        .read("endPort", path, cx, |node, path, cx| integer(node, path, cx, i64::from(i32::MIN), i64::from(i32::MAX)));
    if let Some(end) = end {
        let path = path.key("endPort");
        let at = object.place("endPort");
        match &port {
            None => cx.lapse(&path, at, "`endPort` needs `port`; every port is meant without it", None),
            Some(NetworkPortName::Name(_)) => cx.lapse(&path, at, "`endPort` needs a `port` that is a number", None),
            Some(NetworkPortName::Number(first)) if end < i64::from(*first) => {
                cx.lapse(&path, at, format!("the range ends ({end}) before it begins ({first})"), None);
            }
            Some(NetworkPortName::Number(_)) if end > 65535 => {
                cx.error(&path, at, format!("{end} is not between 1 and 65535"), None);
            }
            Some(NetworkPortName::Number(_)) => {}
        }
    }
    let end = end.and_then(|end| u16::try_from(end).ok()).filter(|_| port.is_some());
    Some(NetworkPort { at: object.at(), protocol, port, end })
}

fn protocol(node: &Node, path: &Path<'_>, cx: &mut Context<'_>) -> Option<Protocol> {
    const PROTOCOLS: [(&str, Protocol); 3] = [("TCP", Protocol::Tcp), ("UDP", Protocol::Udp), ("SCTP", Protocol::Sctp)];
    if let Value::String(word) = &node.value {
        let upper = word.to_ascii_uppercase();
        if upper != *word
            && let Some((name, protocol)) = PROTOCOLS.iter().find(|(name, _)| **name == upper)
        {
            let help = Some(format!("write `{name}`"));
            cx.lapse(path, node.at, format!("{word:?} is not in capital letters"), help);
            return Some(*protocol);
        }
    }
    one_of(node, path, cx, &PROTOCOLS).map(|protocol| protocol.value)
}

fn port_name(node: &Node, path: &Path<'_>, cx: &mut Context<'_>) -> Option<NetworkPortName> {
    match &node.value {
        Value::Int(number) => match u16::try_from(*number) {
            Ok(number) if number > 0 => Some(NetworkPortName::Number(number)),
            _ => {
                cx.error(path, node.at, format!("{number} is not between 1 and 65535"), None);
                None
            }
        },
        Value::String(name) => {
            if let Some(number) = name.parse::<u16>().ok().filter(|number| *number > 0 && *name == number.to_string()) {
                let help = Some("write the number without quotes".to_owned());
                cx.lapse(path, node.at, format!("{name:?} is no name of a port"), help);
                return Some(NetworkPortName::Number(number));
            }
            let lower = name.to_ascii_lowercase();
            if !names::is_service_name(name) {
                let message =
                    format!("{name:?} is no name of a port: up to 15 small letters, digits and single hyphens");
                cx.error(path, node.at, message, None);
                return None;
            }
            if lower != *name {
                let help = Some(format!("write `{lower}`"));
                cx.lapse(path, node.at, format!("{name:?} is no name of a port: they have small letters"), help);
                return Some(NetworkPortName::Name(lower));
            }
            Some(NetworkPortName::Name(name.clone()))
        }
        _ => {
            let message = format!("a port is a number or a name, this is {}", node.kind());
            cx.error(path, node.at, message, None);
            None
        }
    }
}
