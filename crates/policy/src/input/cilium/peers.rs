//! `from...` and `to...`: with whom a rule allows or denies traffic.

use ipnet::IpNet;

use super::super::decode::{Context, Object, Path, Spanned, text, text_map};
use super::super::diagnostic::Pos;
use super::super::names;
use super::super::node::Node;
use super::super::prefix;
use super::super::selector::{self, Keys, LabelSelector};
use super::super::suggest;
use crate::rule::Entity;
use nexin_model::Direction;

/// Who a rule is about. A list that is not written is `None` and an empty list is `Some`: the first says nothing about
/// peers, the second that there are none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peers {
    pub endpoints: Option<Vec<LabelSelector>>,
    pub cidrs: Option<Vec<Spanned<IpNet>>>,
    pub cidr_sets: Option<Vec<CidrRule>>,
    pub entities: Option<Vec<Spanned<Entity>>>,
    pub nodes: Option<Vec<LabelSelector>>,
    pub groups: Option<Vec<Spanned<String>>>,
    pub services: Option<Vec<Service>>,
    pub fqdns: Option<Vec<Fqdn>>,
}

/// An item of `fromCIDRSet` or `toCIDRSet`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CidrRule {
    pub at: Pos,
    pub source: CidrRuleSource,
    pub except: Vec<Spanned<IpNet>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CidrRuleSource {
    Prefix(IpNet),
    Group(String),
    GroupSelector(LabelSelector),
}

/// An item of `toFQDNs`, in small letters and without the closing dot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fqdn {
    pub at: Pos,
    pub text: String,
    /// May have `*`.
    pub pattern: bool,
}

/// An item of `toServices`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    pub at: Pos,
    pub name: Option<(Option<String>, Option<String>)>,
    pub selector: Option<(Option<String>, LabelSelector)>,
}

/// Fields about peers, by direction: the first part of the name differs.
const INGRESS: [&str; 7] =
    ["fromEndpoints", "fromCIDR", "fromCIDRSet", "fromEntities", "fromNodes", "fromGroups", "fromRequires"];
const EGRESS: [&str; 8] =
    ["toEndpoints", "toCIDR", "toCIDRSet", "toEntities", "toNodes", "toGroups", "toRequires", "toServices"];

pub(super) const fn fields(direction: Direction) -> &'static [&'static str] {
    match direction {
        Direction::Ingress => &INGRESS,
        Direction::Egress => &EGRESS,
    }
}

/// Entities that a policy can name, in the order of Cilium's CRD.
const ENTITIES: [Entity; 12] = [
    Entity::All,
    Entity::World,
    Entity::Cluster,
    Entity::ClusterMesh,
    Entity::Host,
    Entity::Init,
    Entity::Ingress,
    Entity::Unmanaged,
    Entity::RemoteNode,
    Entity::Health,
    Entity::None,
    Entity::KubeApiserver,
];

/// Reads all peers of a rule; `fqdns`: the rule may have `toFQDNs`.
pub(super) fn read(
    object: &Object<'_>,
    direction: Direction,
    fqdns: bool,
    path: &Path<'_>,
    cx: &mut Context<'_>,
) -> Peers {
    let names = fields(direction);
    let [endpoints, cidr, cidr_set, entities, nodes, groups, requires] =
        [0, 1, 2, 3, 4, 5, 6].map(|index| names[index]);
    let endpoint = |node: &Node, path: &Path<'_>, cx: &mut Context<'_>| selector::read(node, path, cx, Keys::Sourced);
    let egress = direction == Direction::Egress;
    let peers = Peers {
        endpoints: object.list(endpoints, path, cx, endpoint),
        cidrs: object.list(cidr, path, cx, prefix::read),
        cidr_sets: object.list(cidr_set, path, cx, cidr_rule),
        entities: object.list(entities, path, cx, entity),
        nodes: object.list(nodes, path, cx, endpoint),
        groups: object.list(groups, path, cx, group),
        services: if egress { object.list("toServices", path, cx, service) } else { None },
        fqdns: if fqdns { object.list("toFQDNs", path, cx, fqdn) } else { None },
    };
    if let Some(required) = object.list(requires, path, cx, |node, _, _| Some(node.at))
        && let Some(at) = required.first()
    {
        let help = Some(format!("`{requires}` is gone since Cilium 1.17: write all conditions into `{endpoints}`"));
        cx.error(&path.key(requires), *at, "this must be empty", help);
    }
    if !cx.options.node_selector_labels
        && let Some(entry) = object.get(nodes)
        && peers.nodes.as_ref().is_some_and(|nodes| !nodes.is_empty())
    {
        let help = Some("set `node-selector-labels` so that labels of nodes take part in identities".to_owned());
        cx.error(&path.key(nodes), entry.key_at, "nodes cannot be selected by labels on this agent", help);
    }
    combined(object, direction, path, cx);
    peers
}

/// Two kinds of peers in one rule: it would not be clear whether both or either must match.
fn combined(object: &Object<'_>, direction: Direction, path: &Path<'_>, cx: &mut Context<'_>) {
    use super::super::node::Value;
    let filled = |name: &&&str| {
        object.get(name).is_some_and(|entry| matches!(&entry.node.value, Value::List(items) if !items.is_empty()))
    };
    let written: Vec<&str> = fields(direction)
        .iter()
        .chain((direction == Direction::Egress).then_some(&"toFQDNs"))
        .filter(|name| !name.ends_with("Requires"))
        .filter(filled)
        .copied()
        .collect();
    if let [_, second, ..] = written.as_slice()
        && let Some(entry) = object.get(second)
    {
        let message = format!("{} cannot be combined in one rule", super::super::decode::words(&written));
        cx.error(&path.key(second), entry.key_at, message, Some("make a rule of its own for each".to_owned()));
    }
}

fn entity(node: &Node, path: &Path<'_>, cx: &mut Context<'_>) -> Option<Spanned<Entity>> {
    let word = text(node, path, cx)?;
    if let Some(entity) = ENTITIES.into_iter().find(|entity| entity.name() == word.value) {
        return Some(Spanned { value: entity, at: word.at });
    }
    let names = ENTITIES.map(Entity::name);
    let help = match word.value.as_str() {
        "world-ipv4" => Some("for IPv4 alone write `fromCIDR: [0.0.0.0/0]` or `toCIDR: [0.0.0.0/0]`".to_owned()),
        "world-ipv6" => Some("for IPv6 alone write `fromCIDR: [\"::/0\"]` or `toCIDR: [\"::/0\"]`".to_owned()),
        other => suggest::did_you_mean(other, &names),
    };
    cx.error(path, word.at, format!("the entity {:?} is not known", word.value), help);
    None
}

fn cidr_rule(node: &Node, path: &Path<'_>, cx: &mut Context<'_>) -> Option<CidrRule> {
    const SOURCES: [&str; 3] = ["cidr", "cidrGroupRef", "cidrGroupSelector"];
    let object = Object::open_with(node, path, cx, &["cidr", "cidrGroupRef", "cidrGroupSelector", "except"], |_| None)?;
    object.exactly_one(&SOURCES, path, cx);
    let prefix = object.read("cidr", path, cx, prefix::read);
    let group = object.read("cidrGroupRef", path, cx, group_name);
    let groups =
        object.read("cidrGroupSelector", path, cx, |node, path, cx| selector::read(node, path, cx, Keys::Sourced));
    let except = object.list("except", path, cx, prefix::read).unwrap_or_default();
    if let Some(prefix) = &prefix {
        for hole in except.iter().filter(|hole| !prefix::covers(prefix.value, hole.value)) {
            let message = format!("{} is not inside {}", hole.value, prefix.value);
            cx.error(
                &path.key("except"),
                hole.at,
                message,
                Some("exceptions lie in the prefix they are taken from".to_owned()),
            );
        }
    }
    if let Some(selector) = groups.as_ref().filter(|selector| selector.is_empty()) {
        let message = "this selects every CIDR group, and only those (Cilium takes it for every peer)";
        cx.warning(&path.key("cidrGroupSelector"), selector.at, message, None);
    }
    let source = match (prefix, group, groups) {
        (Some(prefix), _, _) => CidrRuleSource::Prefix(prefix.value),
        (_, Some(name), _) => CidrRuleSource::Group(name),
        (_, _, Some(selector)) => CidrRuleSource::GroupSelector(selector),
        _ => return None,
    };
    Some(CidrRule { at: object.at(), source, except })
}

fn group_name(node: &Node, path: &Path<'_>, cx: &mut Context<'_>) -> Option<String> {
    let name = text(node, path, cx)?;
    if !names::is_dns_subdomain(&name.value) {
        cx.error(path, name.at, format!("{:?} is no name of a CIDR group", name.value), None);
        return None;
    }
    Some(name.value)
}

fn group(node: &Node, path: &Path<'_>, cx: &mut Context<'_>) -> Option<Spanned<String>> {
    let object = Object::open(node, path, cx, &["aws"])?;
    let Some(entry) = object.get("aws") else { return Some(Spanned { value: "no group".to_owned(), at: node.at }) };
    let path = path.key("aws");
    let aws = Object::open(&entry.node, &path, cx, &["labels", "securityGroupsIds", "securityGroupsNames", "region"])?;
    let labels = aws.read("labels", &path, cx, text_map).unwrap_or_default();
    let mut parts: Vec<String> = labels.iter().map(|(key, value)| format!("{}={}", key.value, value.value)).collect();
    for list in ["securityGroupsIds", "securityGroupsNames"] {
        parts.extend(aws.list(list, &path, cx, text).unwrap_or_default().into_iter().map(|text| text.value));
    }
    parts.extend(aws.text("region", &path, cx).map(|text| text.value));
    Some(Spanned { value: format!("aws {}", parts.join(", ")), at: node.at })
}

fn service(node: &Node, path: &Path<'_>, cx: &mut Context<'_>) -> Option<Service> {
    let object = Object::open(node, path, cx, &["k8sService", "k8sServiceSelector"])?;
    let name = object.read("k8sService", path, cx, |node, path, cx| {
        let object = Object::open(node, path, cx, &["serviceName", "namespace"])?;
        let name = object.text("serviceName", path, cx).map(|text| text.value);
        Some((object.text("namespace", path, cx).map(|text| text.value), name))
    });
    let selector = object.read("k8sServiceSelector", path, cx, |node, path, cx| {
        let object = Object::open(node, path, cx, &["selector", "namespace"])?;
        let entry = object.require("selector", path, cx)?;
        let selector = selector::read(&entry.node, &path.key("selector"), cx, Keys::Unchecked)?;
        Some((object.text("namespace", path, cx).map(|text| text.value), selector))
    });
    Some(Service { at: object.at(), name, selector })
}

/// Reads `matchName` or `matchPattern`: an item of `toFQDNs` and of DNS rules.
pub(super) fn fqdn(node: &Node, path: &Path<'_>, cx: &mut Context<'_>) -> Option<Fqdn> {
    const FIELDS: [&str; 2] = ["matchName", "matchPattern"];
    let object = Object::open(node, path, cx, &FIELDS)?;
    object.exactly_one(&FIELDS, path, cx);
    let [name, pattern] = FIELDS.map(|field| object.text(field, path, cx).map(|text| (field, text)));
    let mut found = None;
    for (field, text) in [name, pattern].into_iter().flatten() {
        let pattern = field == "matchPattern";
        if !names::is_host_name(&text.value, pattern) {
            let message = format!("{:?} is no DNS {}", text.value, if pattern { "pattern" } else { "name" });
            let help = if text.value.contains("://") {
                "leave `https://` and the path out".to_owned()
            } else if !pattern && text.value.contains('*') {
                format!("for a pattern write `matchPattern: {:?}`", text.value)
            } else if pattern {
                "letters, digits, `-`, `_`, `.` and `*` (any characters of one label), for example `*.example.com`"
                    .to_owned()
            } else {
                "letters, digits, `-`, `_` and `.`, for example `www.example.com`".to_owned()
            };
            cx.error(&path.key(field), text.at, message, Some(help));
            continue;
        }
        let lower = text.value.to_ascii_lowercase();
        let text = lower.strip_suffix('.').unwrap_or(&lower).to_owned();
        found = Some(Fqdn { at: object.at(), text, pattern });
    }
    found
}
