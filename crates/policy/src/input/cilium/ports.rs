//! `toPorts`: on which ports a rule holds, and what is asked of the traffic there.

use std::collections::HashSet;

use super::super::decode::{Context, Object, Path, Spanned, integer, list, one_of, text};
use super::super::diagnostic::Pos;
use super::super::names;
use super::super::node::{Node, Value};
use super::l7::{self, L7Rules};
use nexin_model::Direction;

/// An item of `toPorts`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortRule {
    pub at: Pos,
    pub ports: Vec<Port>,
    /// `None` where there are none, or an empty list of them.
    pub rules: Option<L7Rules>,
    pub server_names: Vec<String>,
    pub terminating_tls: Option<TlsContext>,
    pub originating_tls: Option<TlsContext>,
    pub listener: Option<Listener>,
}

/// A port, a range or a name, of one protocol or of all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    pub at: Pos,
    pub port: PortName,
    /// Last port of a range. Smaller than the first: it is no range.
    pub end: Option<u16>,
    pub protocol: PortProtocol,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortName {
    /// 0 is every port.
    Number(u16),
    /// In small letters.
    Name(String),
}

/// The protocol of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortProtocol {
    /// TCP, UDP and SCTP.
    Any,
    Tcp,
    Udp,
    Sctp,
    /// An IP protocol without ports, by number (GRE, ESP ...).
    Other(u8),
}

/// Name of a Kubernetes secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Secret {
    pub at: Pos,
    pub namespace: Option<String>,
    pub name: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsContext {
    pub secret: Secret,
    pub trusted_ca: Option<String>,
    pub certificate: Option<String>,
    pub private_key: Option<String>,
}

/// A proxy listener of the user's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    pub at: Pos,
    pub name: String,
    /// `None`: the kind that goes with the policy's.
    pub config_kind: Option<EnvoyConfigKind>,
    pub config_name: String,
    /// 1 to 100.
    pub priority: Option<u8>,
}

/// Kind of the object that defines a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EnvoyConfigKind {
    Namespaced,
    Clusterwide,
}

const MAX_PORTS: usize = 40;

/// Numbers: IANA protocol numbers.
const PROTOCOLS: [(&str, PortProtocol); 11] = [
    ("TCP", PortProtocol::Tcp),
    ("UDP", PortProtocol::Udp),
    ("SCTP", PortProtocol::Sctp),
    ("VRRP", PortProtocol::Other(112)),
    ("IGMP", PortProtocol::Other(2)),
    ("GRE", PortProtocol::Other(47)),
    ("IPIP", PortProtocol::Other(4)),
    ("IPV6", PortProtocol::Other(41)),
    ("ESP", PortProtocol::Other(50)),
    ("AH", PortProtocol::Other(51)),
    ("ANY", PortProtocol::Any),
];

/// What kind of rule the ports belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) direction: Direction,
    /// Deny rules have ports only.
    pub(super) deny: bool,
    /// The subject is a node.
    pub(super) host: bool,
}

pub(super) fn read(node: &Node, path: &Path<'_>, cx: &mut Context<'_>, place: Place) -> Option<PortRule> {
    let fields: &[&str] = if place.deny {
        &["ports"]
    } else {
        &["ports", "rules", "serverNames", "terminatingTLS", "originatingTLS", "listener"]
    };
    let object = Object::open_with(node, path, cx, fields, |key| match key {
        "port" | "protocol" | "endPort" => {
            Some("write it into `ports`: `ports: [{port: \"80\", protocol: TCP}]`".to_owned())
        }
        "http" | "dns" | "kafka" if !place.deny => Some(format!("write it into `rules`: `rules: {{{key}: ...}}`")),
        "rules" => Some("deny rules hold for all requests on a port".to_owned()),
        _ => None,
    })?;
    let rules =
        if place.deny { None } else { object.read("rules", path, cx, l7::read).filter(|rules| !rules.is_empty()) };
    let dns = matches!(rules, Some(L7Rules::Dns(_)));
    let ports = ports(&object, path, cx, dns);
    let mut rule = PortRule {
        at: object.at(),
        ports,
        rules,
        server_names: Vec::new(),
        terminating_tls: None,
        originating_tls: None,
        listener: None,
    };
    if !place.deny {
        rule.server_names = server_names(&object, path, cx);
        rule.terminating_tls = object.read("terminatingTLS", path, cx, tls_context);
        rule.originating_tls = object.read("originatingTLS", path, cx, tls_context);
        rule.listener = object.read("listener", path, cx, listener);
        check(&rule, place, path, cx);
    }
    Some(rule)
}

/// What does not go together.
fn check(rule: &PortRule, place: Place, path: &Path<'_>, cx: &mut Context<'_>) {
    if let Some(listener) = &rule.listener {
        let at = path.key("listener");
        if place.direction == Direction::Ingress {
            cx.error(&at, listener.at, "a listener can be given for egress only", None);
        }
        if rule.rules.is_some() {
            cx.error(&at, listener.at, "a listener has rules of its own: `rules` cannot be given beside it", None);
        }
    }
    let Some(rules) = &rule.rules else { return };
    let path = &path.key("rules");
    let name = rules.name();
    let dns = matches!(rules, L7Rules::Dns(_));
    if dns && place.direction == Direction::Ingress {
        cx.error(path, rule.at, "DNS rules can be given for egress only", None);
    }
    if place.host && (place.direction == Direction::Ingress || !dns) {
        cx.error(path, rule.at, format!("{name} rules cannot be given for nodes"), None);
    }
    if !rule.server_names.is_empty() && rule.terminating_tls.is_none() {
        let message =
            format!("{name} rules beside `serverNames` need `terminatingTLS`: what is encrypted cannot be read");
        cx.error(path, rule.at, message, None);
    }
    if dns && rule.ports.is_empty() {
        cx.error(
            path,
            rule.at,
            "DNS rules need a port",
            Some("add `ports: [{port: \"53\", protocol: ANY}]`".to_owned()),
        );
    }
    for port in &rule.ports {
        if !dns && port.protocol != PortProtocol::Tcp {
            let help = Some("add `protocol: TCP` to the port".to_owned());
            cx.error(path, port.at, format!("{name} rules are for TCP only"), help);
        }
        if port.port == PortName::Number(0) {
            cx.error(path, port.at, format!("{name} rules need a port other than 0"), None);
        }
    }
}

fn ports(object: &Object<'_>, path: &Path<'_>, cx: &mut Context<'_>, dns: bool) -> Vec<Port> {
    let Some(entry) = object.get("ports") else { return Vec::new() };
    let path = path.key("ports");
    if let Value::List(items) = &entry.node.value
        && items.len() > MAX_PORTS
    {
        let message = format!("{} ports in one list, the limit is {MAX_PORTS}", items.len());
        cx.error(
            &path,
            entry.node.at,
            message,
            Some("join them to ranges, or add another item to `toPorts`".to_owned()),
        );
    }
    list(&entry.node, &path, cx, |node, path, cx| port(node, path, cx, dns)).unwrap_or_default()
}

fn port(node: &Node, path: &Path<'_>, cx: &mut Context<'_>, dns: bool) -> Option<Port> {
    let object = Object::open(node, path, cx, &["port", "endPort", "protocol"])?;
    let protocol = match object.get("protocol") {
        Some(entry) => one_of(&entry.node, &path.key("protocol"), cx, &PROTOCOLS).map(|protocol| protocol.value),
        None => Some(PortProtocol::Any),
    };
    let end = object.read("endPort", path, cx, |node, path, cx| integer(node, path, cx, 0, 65535));
    let end = end.and_then(|end| u16::try_from(end).ok()).filter(|end| *end > 0);
    let number = match object.get("port") {
        None if cx.options.extended_protocols => Some(PortName::Number(0)),
        None => {
            let help = Some("write `port: \"0\"` for every port".to_owned());
            cx.error(path, object.at(), "the field `port` is missing", help);
            None
        }
        Some(entry) => number_or_name(&entry.node, &path.key("port"), cx),
    };
    let (number, protocol) = (number?, protocol?);
    match (&number, end) {
        (PortName::Number(first), Some(_)) if matches!(protocol, PortProtocol::Other(_)) && *first == 0 => {}
        (PortName::Number(first), _) if matches!(protocol, PortProtocol::Other(_)) && *first != 0 => {
            cx.error(
                &path.key("port"),
                object.at(),
                "this protocol has no ports: leave the port out, or write \"0\"",
                None,
            );
        }
        (PortName::Number(first), Some(end)) if dns && end > *first => {
            cx.error(
                &path.key("endPort"),
                object.place("endPort"),
                "DNS rules cannot be given for a range of ports",
                None,
            );
        }
        (PortName::Number(0), Some(_)) => {
            cx.warning(
                &path.key("endPort"),
                object.place("endPort"),
                "port 0 is every port; `endPort` has no effect",
                None,
            );
        }
        (PortName::Number(first), Some(end)) if end < *first => {
            let message = format!("the range ends ({end}) before it begins ({first}); only {first} is meant");
            cx.warning(&path.key("endPort"), object.place("endPort"), message, None);
        }
        _ => {}
    }
    Some(Port { at: object.at(), port: number, end, protocol })
}

fn number_or_name(node: &Node, path: &Path<'_>, cx: &mut Context<'_>) -> Option<PortName> {
    if let Value::Int(number) = node.value {
        let help = Some(format!("put it in quotes: `port: \"{number}\"`"));
        cx.error(path, node.at, "a port is text, this is a number", help);
        return None;
    }
    let word = text(node, path, cx)?;
    if names::is_service_name(&word.value) {
        if word.value.starts_with("0x") || word.value.starts_with("0X") {
            cx.warning(path, word.at, format!("{:?} is the name of a port, not a number", word.value), None);
        }
        return Some(PortName::Name(word.value.to_ascii_lowercase()));
    }
    match port_number(&word.value) {
        Some(number) => {
            if word.value != number.to_string() {
                let help = Some(format!("write \"{number}\" if that is meant"));
                cx.warning(path, word.at, format!("{:?} is read as {number}", word.value), help);
            }
            Some(PortName::Number(number))
        }
        None => {
            let Spanned { value, at } = word;
            let message = format!("{value:?} is no port");
            let help = if value.bytes().all(|c| c.is_ascii_digit()) && !value.is_empty() {
                "ports are 0 to 65535"
            } else if value.contains(['-', ':'])
                && value.bytes().all(|c| c.is_ascii_digit() || matches!(c, b'-' | b':'))
            {
                "for a range write the first port here and the last as a number into `endPort`"
            } else {
                "a number in quotes, or a name of up to 15 letters, digits and single hyphens"
            };
            cx.error(path, at, message, Some(help.to_owned()));
            None
        }
    }
}

/// Digits as Go reads them with base 0: a leading zero is octal, underscores may stand between digits.
fn port_number(text: &str) -> Option<u16> {
    let well_spaced = !text.starts_with('_') && !text.ends_with('_') && !text.contains("__");
    let digits = text.replace('_', "");
    if digits.is_empty() || !digits.bytes().all(|c| c.is_ascii_digit()) || !well_spaced {
        return None;
    }
    match digits.strip_prefix('0') {
        Some("") | None => digits.parse().ok(),
        Some(octal) => u16::from_str_radix(octal, 8).ok(),
    }
}

fn server_names(object: &Object<'_>, path: &Path<'_>, cx: &mut Context<'_>) -> Vec<String> {
    let Some(entry) = object.get("serverNames") else { return Vec::new() };
    let path = path.key("serverNames");
    let mut seen = HashSet::new();
    let found = list(&entry.node, &path, cx, |node, path, cx| {
        let name = text(node, path, cx)?;
        if !names::is_host_name(&name.value, true) {
            let help = Some("for example `www.example.com` or `*.example.com`".to_owned());
            cx.error(path, name.at, format!("{:?} is no server name", name.value), help);
        }
        if !seen.insert(name.value.clone()) {
            cx.error(path, name.at, format!("{:?} is written twice", name.value), None);
        }
        Some(name.value)
    });
    if matches!(&entry.node.value, Value::List(items) if items.is_empty()) {
        cx.error(&path, entry.node.at, "this list must not be empty", Some("leave `serverNames` out".to_owned()));
    }
    found.unwrap_or_default()
}

pub(super) fn secret(node: &Node, path: &Path<'_>, cx: &mut Context<'_>) -> Option<Secret> {
    let object = Object::open(node, path, cx, &["name", "namespace"])?;
    let namespace = object.text("namespace", path, cx).map(|text| text.value);
    let name = object.require("name", path, cx)?;
    let name = text(&name.node, &path.key("name"), cx)?.value;
    Some(Secret { at: object.at(), namespace, name })
}

fn tls_context(node: &Node, path: &Path<'_>, cx: &mut Context<'_>) -> Option<TlsContext> {
    let object = Object::open(node, path, cx, &["secret", "trustedCA", "certificate", "privateKey"])?;
    let [trusted_ca, certificate, private_key] =
        ["trustedCA", "certificate", "privateKey"].map(|field| object.text(field, path, cx).map(|text| text.value));
    let secret = object.require("secret", path, cx)?;
    let secret = self::secret(&secret.node, &path.key("secret"), cx)?;
    Some(TlsContext { secret, trusted_ca, certificate, private_key })
}

fn listener(node: &Node, path: &Path<'_>, cx: &mut Context<'_>) -> Option<Listener> {
    const KINDS: [(&str, EnvoyConfigKind); 2] = [
        ("CiliumEnvoyConfig", EnvoyConfigKind::Namespaced),
        ("CiliumClusterwideEnvoyConfig", EnvoyConfigKind::Clusterwide),
    ];
    let object = Object::open(node, path, cx, &["envoyConfig", "name", "priority"])?;
    let name = not_empty(&object, "name", path, cx);
    let priority = object.read("priority", path, cx, |node, path, cx| integer(node, path, cx, 1, 100));
    let config = object.require("envoyConfig", path, cx)?;
    let path = path.key("envoyConfig");
    let config = Object::open(&config.node, &path, cx, &["kind", "name"])?;
    let config_kind = config.read("kind", &path, cx, |node, path, cx| one_of(node, path, cx, &KINDS));
    let config_name = not_empty(&config, "name", &path, cx);
    Some(Listener {
        at: object.at(),
        name: name?,
        config_kind: config_kind.map(|kind| kind.value),
        config_name: config_name?,
        priority: priority.and_then(|priority| u8::try_from(priority).ok()),
    })
}

fn not_empty(object: &Object<'_>, field: &str, path: &Path<'_>, cx: &mut Context<'_>) -> Option<String> {
    let entry = object.require(field, path, cx)?;
    let text = text(&entry.node, &path.key(field), cx)?;
    if text.value.is_empty() {
        cx.error(&path.key(field), text.at, "this must not be empty", None);
        return None;
    }
    Some(text.value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_read_as_go_reads_them() {
        for (text, number) in [("0", 0), ("80", 80), ("65535", 65535), ("0120", 80), ("1_000", 1000), ("00", 0)] {
            assert_eq!(port_number(text), Some(number), "{text}");
        }
        for text in ["", "65536", "-1", "+1", "08", "_1", "1_", "1__0", "1.0", "99999999999"] {
            assert_eq!(port_number(text), None, "{text}");
        }
    }
}
