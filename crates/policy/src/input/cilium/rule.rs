//! A rule of Cilium's kinds: for whom it holds, and its four sections.

use super::super::decode::{Context, Object, Path, Spanned, boolean, list, one_of, text};
use super::super::diagnostic::Pos;
use super::super::names;
use super::super::node::{Node, Value};
use super::super::selector::{self, Keys, LabelSelector};
use super::Scope;
use super::icmp::{self, IcmpField};
use super::peers::{self, Peers};
use super::ports::{self, Place, PortRule};
use crate::rule::Auth;
use nexin_model::Direction;

/// `spec`, or an item of `specs`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    pub at: Pos,
    /// Place in the document: `spec` or `specs[2]`.
    pub path: String,
    pub subject: RuleSubject,
    /// In the order `ingress`, `ingressDeny`, `egress`, `egressDeny`; sections that are not written are missing.
    pub sections: Vec<Section>,
    pub default_deny: DefaultDeny,
    pub description: Option<String>,
    /// `log.value`.
    pub log: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RuleSubject {
    Endpoints(LabelSelector),
    Nodes(LabelSelector),
}

/// `ingress`, `ingressDeny`, `egress` or `egressDeny`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    pub at: Pos,
    pub direction: Direction,
    pub deny: bool,
    pub rules: Vec<TrafficRule>,
}

impl Section {
    pub const fn field(&self) -> &'static str {
        field(self.direction, self.deny)
    }
}

/// `enableDefaultDeny`; `None`: as the sections have it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DefaultDeny {
    pub ingress: Option<bool>,
    pub egress: Option<bool>,
}

/// An item of a section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrafficRule {
    pub at: Pos,
    /// Index in its section as written.
    pub index: usize,
    pub peers: Peers,
    /// Empty: no restriction.
    pub ports: Vec<PortRule>,
    /// Lists of ICMP types. Empty: no restriction.
    pub icmps: Vec<Vec<IcmpField>>,
    pub authentication: Option<Spanned<Auth>>,
}

const SECTIONS: [(Direction, bool); 4] =
    [(Direction::Ingress, false), (Direction::Ingress, true), (Direction::Egress, false), (Direction::Egress, true)];

const fn field(direction: Direction, deny: bool) -> &'static str {
    match (direction, deny) {
        (Direction::Ingress, false) => "ingress",
        (Direction::Ingress, true) => "ingressDeny",
        (Direction::Egress, false) => "egress",
        (Direction::Egress, true) => "egressDeny",
    }
}

const FIELDS: [&str; 10] = [
    "endpointSelector",
    "nodeSelector",
    "ingress",
    "ingressDeny",
    "egress",
    "egressDeny",
    "enableDefaultDeny",
    "labels",
    "description",
    "log",
];

pub(super) fn read(node: &Node, path: &Path<'_>, cx: &mut Context<'_>, scope: Scope) -> Option<Rule> {
    let object = Object::open(node, path, cx, &FIELDS)?;
    object.exactly_one(&["endpointSelector", "nodeSelector"], path, cx);
    let read_selector =
        |node: &Node, path: &Path<'_>, cx: &mut Context<'_>| selector::read(node, path, cx, Keys::Sourced);
    let endpoints = object.read("endpointSelector", path, cx, read_selector);
    let nodes = object.read("nodeSelector", path, cx, read_selector);
    if let (Some(selector), Scope::Namespace) = (&nodes, scope) {
        let help = Some("write a CiliumClusterwideNetworkPolicy".to_owned());
        cx.error(&path.key("nodeSelector"), selector.at, "a policy of one namespace cannot be for nodes", help);
    }
    let host = nodes.is_some();
    let sections: Vec<Section> =
        SECTIONS.iter().filter_map(|(direction, deny)| section(&object, path, cx, *direction, *deny, host)).collect();
    let written = |(direction, deny): &(Direction, bool)| object.get(field(*direction, *deny));
    if !SECTIONS
        .iter()
        .filter_map(written)
        .any(|entry| !matches!(&entry.node.value, Value::List(items) if items.is_empty()))
    {
        let message = "at least one of `ingress`, `ingressDeny`, `egress` and `egressDeny` must have a rule";
        let help = Some("`ingress: [{}]` allows nothing, `ingress: [{fromEntities: [all]}]` everything".to_owned());
        cx.error(path, object.at(), message, help);
    }
    let default_deny = object.read("enableDefaultDeny", path, cx, default_deny).unwrap_or_default();
    object.list("labels", path, cx, label);
    let description = object.text("description", path, cx).map(|text| text.value);
    let log = object.read("log", path, cx, log);
    let subject = endpoints.map(RuleSubject::Endpoints).or(nodes.map(RuleSubject::Nodes))?;
    Some(Rule { at: object.at(), path: path.to_string(), subject, sections, default_deny, description, log })
}

fn section(
    object: &Object<'_>,
    path: &Path<'_>,
    cx: &mut Context<'_>,
    direction: Direction,
    deny: bool,
    host: bool,
) -> Option<Section> {
    let entry = object.get(field(direction, deny))?;
    let place = Place { direction, deny, host };
    let mut index = 0;
    let rules = list(&entry.node, &path.key(field(direction, deny)), cx, |node, path, cx| {
        index += 1;
        traffic_rule(node, path, cx, place, index - 1)
    })?;
    Some(Section { at: entry.key_at, direction, deny, rules })
}

fn traffic_rule(node: &Node, path: &Path<'_>, cx: &mut Context<'_>, place: Place, index: usize) -> Option<TrafficRule> {
    let Place { direction, deny, .. } = place;
    let fqdns = direction == Direction::Egress && !deny;
    let mut fields = peers::fields(direction).to_vec();
    fields.extend(["toPorts", "icmps"]);
    fields.extend((!deny).then_some("authentication"));
    fields.extend(fqdns.then_some("toFQDNs"));
    let object = Object::open_with(node, path, cx, &fields, |key| misplaced(key, place))?;
    let peers = peers::read(&object, direction, fqdns, path, cx);
    let ports =
        object.list("toPorts", path, cx, |node, path, cx| ports::read(node, path, cx, place)).unwrap_or_default();
    let icmps = object.list("icmps", path, cx, icmp::read).unwrap_or_default();
    let filled = |field: &str| matches!(object.get(field).map(|entry| &entry.node.value), Some(Value::List(items)) if !items.is_empty());
    if filled("icmps") && filled("toPorts") {
        let help = Some("make a rule of its own for ICMP".to_owned());
        cx.error(
            &path.key("icmps"),
            object.place("icmps"),
            "`icmps` and `toPorts` cannot be combined in one rule",
            help,
        );
    }
    if peers.fqdns.as_ref().is_some_and(Vec::is_empty) && !ports.is_empty() {
        cx.warning(
            &path.key("toFQDNs"),
            object.at(),
            "no name is given, so nobody is allowed (Cilium allows everyone)",
            None,
        );
    }
    let authentication = if deny { None } else { object.read("authentication", path, cx, authentication) };
    Some(TrafficRule { at: object.at(), index, peers, ports, icmps, authentication })
}

/// Says where a field belongs that is known elsewhere.
fn misplaced(key: &str, place: Place) -> Option<String> {
    let other = match place.direction {
        Direction::Ingress => Direction::Egress,
        Direction::Egress => Direction::Ingress,
    };
    if peers::fields(other).contains(&key) || (key == "toFQDNs" && place.direction == Direction::Ingress) {
        return Some(format!("`{key}` belongs under `{}`", field(other, place.deny)));
    }
    match key {
        "authentication" if place.deny => Some("what is denied needs no authentication".to_owned()),
        "toFQDNs" if place.deny => Some("names cannot be denied: allow what is meant".to_owned()),
        "auth" if !place.deny => Some("did you mean `authentication: {mode: required}`?".to_owned()),
        "ports" | "port" => Some("did you mean `toPorts: [{ports: [...]}]`?".to_owned()),
        "from" | "to" => Some(format!(
            "that is NetworkPolicy's; here it is {}",
            super::super::decode::words(&peers::fields(place.direction)[..4])
        )),
        _ => None,
    }
}

fn authentication(node: &Node, path: &Path<'_>, cx: &mut Context<'_>) -> Option<Spanned<Auth>> {
    const MODES: [(&str, Auth); 3] =
        [("disabled", Auth::Disabled), ("required", Auth::Required), ("test-always-fail", Auth::TestAlwaysFail)];
    let object = Object::open(node, path, cx, &["mode"])?;
    let entry = object.require("mode", path, cx)?;
    one_of(&entry.node, &path.key("mode"), cx, &MODES)
}

fn default_deny(node: &Node, path: &Path<'_>, cx: &mut Context<'_>) -> Option<DefaultDeny> {
    let object = Object::open(node, path, cx, &["ingress", "egress"])?;
    let [ingress, egress] = ["ingress", "egress"].map(|field| object.read(field, path, cx, boolean));
    Some(DefaultDeny { ingress, egress })
}

/// Labels of a rule are notes: checked, not kept.
fn label(node: &Node, path: &Path<'_>, cx: &mut Context<'_>) -> Option<()> {
    let object = Object::open(node, path, cx, &["key", "value", "source"])?;
    for field in ["value", "source"] {
        object.text(field, path, cx);
    }
    let key = object.require("key", path, cx)?;
    let key = text(&key.node, &path.key("key"), cx)?;
    if key.value.is_empty() {
        cx.error(&path.key("key"), key.at, "the key of a label must not be empty", None);
    }
    Some(())
}

fn log(node: &Node, path: &Path<'_>, cx: &mut Context<'_>) -> Option<String> {
    let object = Object::open(node, path, cx, &["value"])?;
    let value = object.text("value", path, cx)?;
    let length = value.value.chars().count();
    if length > 32 {
        cx.error(&path.key("value"), value.at, format!("this text has {length} characters, the limit is 32"), None);
    }
    if !names::is_printable(&value.value) {
        cx.error(&path.key("value"), value.at, "this text has characters that cannot be shown", None);
    }
    Some(value.value)
}
