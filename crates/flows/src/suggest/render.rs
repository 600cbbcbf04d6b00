//! A workload's traffic as a policy document with comments.

use std::collections::BTreeMap;
use std::net::IpAddr;

use prost_types::Timestamp;

use super::{Evidence, Options, Peer, Port, Ports, Traffic, Who};

/// The label that tells a namespace in selectors.
const NAMESPACE: &str = "k8s:io.kubernetes.pod.namespace";

/// A name that Kubernetes takes.
pub(super) fn dns_name(text: &str) -> String {
    let lower = text.to_lowercase();
    let mapped: String = lower.chars().map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' }).collect();
    let cut: String = mapped.trim_matches(['-', '.']).chars().take(50).collect();
    let cut = cut.trim_matches(['-', '.']);
    if cut.is_empty() { "workload".to_owned() } else { cut.to_owned() }
}

pub(super) fn document(name: &str, who: &Who, traffic: &Traffic, everyone: &[Who], options: &Options) -> String {
    let mut evidence = Evidence::default();
    let ports = traffic.ingress.values().chain(traffic.egress.values()).flat_map(BTreeMap::values);
    ports.for_each(|part| evidence.merge(part));
    let (kind, namespace) = match who.namespace.as_str() {
        "" => ("CiliumClusterwideNetworkPolicy", String::new()),
        namespace => ("CiliumNetworkPolicy", format!("  namespace: {}\n", quoted(namespace))),
    };
    let mut text = format!(
        "# Suggested from what was observed: {}.\n# What was not observed is denied: review it before you apply it.\napiVersion: cilium.io/v2\nkind: {kind}\nmetadata:\n  name: {}\n{namespace}spec:\n  endpointSelector:\n",
        told(&evidence),
        quoted(name),
    );
    text.push_str(&selector(who, who, everyone, "    "));
    text.push_str("  enableDefaultDeny:\n    ingress: true\n    egress: true\n");
    for (section, prefix, peers) in [("ingress", "from", &traffic.ingress), ("egress", "to", &traffic.egress)] {
        text.push_str(&format!("  {section}:\n"));
        if peers.is_empty() {
            text.push_str("  # Nothing was observed: nothing is allowed.\n  - {}\n");
        }
        for group in groups(peers, options) {
            text.push_str(&group.render(prefix, who, everyone));
        }
    }
    text
}

/// Peers of one kind that share their ports.
struct Group {
    peers: Vec<Peer>,
    ports: Ports,
    /// Said above the rule.
    note: Option<String>,
}

/// Workloads and entities stand alone. Outside addresses and names with the same ports share a rule; too many addresses
/// become the world.
fn groups(peers: &BTreeMap<Peer, Ports>, options: &Options) -> Vec<Group> {
    let addresses = peers.keys().filter(|peer| matches!(peer, Peer::Address(_))).count();
    let mut groups: Vec<Group> = Vec::new();
    for (peer, ports) in peers {
        let (peer, shared) = match peer {
            Peer::Address(_) if addresses > options.most_addresses => (Peer::Entity("world"), true),
            Peer::Address(_) | Peer::Name(_) => (peer.clone(), true),
            Peer::Workload(_) | Peer::Entity(_) => (peer.clone(), false),
        };
        let fits = |group: &&mut Group| {
            let same_kind = std::mem::discriminant(&group.peers[0]) == std::mem::discriminant(&peer);
            let world = peer == Peer::Entity("world") && group.peers[0] == peer;
            same_kind && (world || (peer != Peer::Entity("world") && group.ports.keys().eq(ports.keys())))
        };
        match groups.iter_mut().find(fits).filter(|_| shared) {
            Some(group) => {
                for (port, evidence) in ports {
                    group.ports.entry(*port).or_default().merge(evidence);
                }
                if !group.peers.contains(&peer) {
                    group.peers.push(peer);
                }
            }
            None => {
                let world = peer == Peer::Entity("world");
                let note = world.then(|| format!("{addresses} different addresses outside"));
                groups.push(Group { peers: vec![peer], ports: ports.clone(), note });
            }
        }
    }
    groups
}

impl Group {
    fn render(&self, prefix: &str, own: &Who, everyone: &[Who]) -> String {
        let comment = match (&self.note, self.peers.as_slice()) {
            (Some(note), _) => note.clone(),
            (None, [Peer::Workload(who)]) => called(who),
            (None, [Peer::Name(_), ..]) => "names, as far as DNS answers are seen".to_owned(),
            (None, [peer]) => match peer {
                Peer::Entity(name) => (*name).to_owned(),
                _ => "one address outside".to_owned(),
            },
            (None, many) => format!("{} addresses outside", many.len()),
        };
        let l4: Vec<_> = self.ports.iter().filter(|(port, _)| matches!(port, Port::L4 { .. })).collect();
        let icmp: Vec<_> = self.ports.iter().filter(|(port, _)| matches!(port, Port::Icmp { .. })).collect();
        let mut text = String::new();
        if !l4.is_empty() {
            text.push_str(&format!("  # {comment}\n{}    toPorts:\n    - ports:\n", self.head(prefix, own, everyone)));
            for (port, evidence) in l4 {
                let Port::L4 { protocol, port } = port else { continue };
                text.push_str(&format!(
                    "      # {}\n      - port: \"{port}\"\n        protocol: {protocol}\n",
                    told(evidence)
                ));
            }
        }
        if !icmp.is_empty() {
            text.push_str(&format!("  # {comment}\n{}    icmps:\n    - fields:\n", self.head(prefix, own, everyone)));
            for (port, evidence) in icmp {
                let Port::Icmp { family, kind } = port else { continue };
                text.push_str(&format!("      # {}\n      - type: {kind}\n        family: {family}\n", told(evidence)));
            }
        }
        text
    }

    /// The peers of the rule.
    fn head(&self, prefix: &str, own: &Who, everyone: &[Who]) -> String {
        let list = |field: &str, items: Vec<String>| {
            let lines: String = items.iter().map(|item| format!("    - {item}\n")).collect();
            format!("  - {prefix}{field}:\n{lines}")
        };
        match &self.peers[0] {
            Peer::Workload(who) => {
                let labels = selector(who, own, everyone, "      ");
                format!("  - {prefix}Endpoints:\n    - {}", labels.trim_start())
            }
            Peer::Entity(name) => list("Entities", vec![(*name).to_owned()]),
            Peer::Name(_) => {
                let names = self.peers.iter().filter_map(|peer| match peer {
                    Peer::Name(name) => Some(format!("matchName: {}", quoted(name))),
                    _ => None,
                });
                list("FQDNs", names.collect())
            }
            Peer::Address(_) => {
                let addresses = self.peers.iter().filter_map(|peer| match peer {
                    Peer::Address(IpAddr::V4(ip)) => Some(format!("{ip}/32")),
                    Peer::Address(IpAddr::V6(ip)) => Some(format!("\"{ip}/128\"")),
                    _ => None,
                });
                list("CIDR", addresses.collect())
            }
        }
    }
}

/// A selector that takes `who` and nobody else that was seen. `own`: whose document it stands in.
fn selector(who: &Who, own: &Who, everyone: &[Who], indent: &str) -> String {
    let mut labels: Vec<(String, String)> =
        who.labels.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
    if who.namespace != own.namespace && !who.namespace.is_empty() {
        labels.insert(0, (NAMESPACE.to_owned(), who.namespace.clone()));
    }
    let mut text = String::new();
    if labels.is_empty() {
        text.push_str(&format!("{indent}matchLabels: {{}}\n"));
    } else {
        text.push_str(&format!("{indent}matchLabels:\n"));
        for (key, value) in labels {
            text.push_str(&format!("{indent}  {}: {}\n", quoted(&key), quoted(&value)));
        }
    }
    let absent = absent(who, everyone);
    if !absent.is_empty() {
        text.push_str(&format!("{indent}matchExpressions:\n"));
        for key in absent {
            text.push_str(&format!("{indent}- key: {}\n{indent}  operator: DoesNotExist\n", quoted(key)));
        }
    }
    text
}

/// Keys that others with all these labels have and this one has not.
fn absent<'a>(who: &Who, everyone: &'a [Who]) -> Vec<&'a str> {
    let mut keys: Vec<&str> = Vec::new();
    for other in everyone {
        let wider = other.namespace == who.namespace
            && other.labels.len() > who.labels.len()
            && who.labels.iter().all(|(key, value)| other.labels.get(key) == Some(value));
        let told_apart = || other.labels.keys().any(|key| keys.contains(&key.as_str()));
        if wider && !told_apart() {
            keys.extend(other.labels.keys().map(String::as_str).find(|key| !who.labels.contains_key(*key)));
        }
    }
    keys
}

fn called(who: &Who) -> String {
    let labels: Vec<String> = who.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let namespace = if who.namespace.is_empty() { "the cluster" } else { &who.namespace };
    format!("{} in {namespace}", if labels.is_empty() { "anybody".to_owned() } else { labels.join(",") })
}

/// How much evidence, and from when.
fn told(evidence: &Evidence) -> String {
    let flows = if evidence.flows == 1 { "1 flow".to_owned() } else { format!("{} flows", evidence.flows) };
    match (&evidence.first, &evidence.last) {
        (Some(first), Some(last)) if first == last => format!("{flows}, at {}", time(first)),
        (Some(first), Some(last)) => format!("{flows}, first {}, last {}", time(first), time(last)),
        _ => flows,
    }
}

/// Whole seconds: evidence is for people.
fn time(time: &Timestamp) -> String {
    Timestamp { seconds: time.seconds, nanos: 0 }.to_string()
}

/// A YAML scalar. Everything that is not plainly a word is quoted.
fn quoted(text: &str) -> String {
    let word = text.chars().next().is_some_and(|c| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | '/'))
        && !matches!(text.to_lowercase().as_str(), "y" | "n" | "yes" | "no" | "on" | "off" | "true" | "false" | "null");
    if word { text.to_owned() } else { format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")) }
}
