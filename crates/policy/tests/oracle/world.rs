//! Random worlds: documents, identities, packets. The same seed gives the same world.

use std::sync::Arc;

use ipnet::IpNet;
use nexin_model::{
    CLUSTER_LABEL, Direction, IcmpFamily, IcmpType, Identity, KeyMatch, Label, LabelSet, NAMESPACE_LABEL, Operator,
    PortRange, Protocol, Requirement, Selector, Source, Tier,
};
use nexin_policy::engine::{AllowLocalhost, CidrMatchMode, Enforcement};
use nexin_policy::rule::{
    Auth, CidrGroup, CidrPeer, CidrScope, CidrSource, Document, DocumentKey, Entity, FqdnPattern, Kind, L4, Level,
    Origin, Peer, PortMatch, ProxyKind, Redirect, Rule, RuleAction, Subject,
};
use nexin_policy::{Config, IdentitySpec};

use crate::naive::Packet;

/// xorshift64*: enough for choosing, and repeatable.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        ((self.next() >> 33) as usize) % end
    }

    /// True once in `times`.
    pub(crate) fn one_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    pub(crate) fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())].clone()
    }

    pub(crate) fn shuffle<T>(&mut self, list: &mut [T]) {
        for end in (1..list.len()).rev() {
            list.swap(end, self.below(end + 1));
        }
    }
}

pub(crate) struct World {
    pub(crate) config: Config,
    pub(crate) documents: Vec<Document>,
    pub(crate) identities: Vec<(Identity, IdentitySpec)>,
}

const PREFIXES: [&str; 8] = [
    "0.0.0.0/0",
    "10.0.0.0/8",
    "10.1.0.0/16",
    "10.1.2.0/24",
    "192.0.2.7/32",
    "::/0",
    "2001:db8::/32",
    "2001:db8:1::/48",
];
const PORTS: [u16; 9] = [0, 53, 80, 81, 255, 256, 443, 8080, 65535];
const NAMES: [&str; 3] = ["http", "dns", "metrics"];

impl World {
    pub(crate) fn new(random: &mut Random) -> Self {
        let config = Config {
            enforcement: random.pick(&[
                Enforcement::Default,
                Enforcement::Default,
                Enforcement::Default,
                Enforcement::Always,
            ]),
            cidr_match: CidrMatchMode { nodes: random.one_in(3), pods: random.one_in(3) },
            allow_localhost: random.pick(&[AllowLocalhost::Always, AllowLocalhost::Always, AllowLocalhost::Policy]),
            host_firewall: random.one_in(2),
            ..Config::default()
        };
        let documents = (0..1 + random.below(6)).map(|index| document(random, index)).collect();
        let identities = (0..4 + random.below(10)).map(|index| identity(random, index as u32)).collect();
        Self { config, documents, identities }
    }

    pub(crate) fn packets(random: &mut Random) -> Vec<Packet> {
        let protocols = [
            Protocol::Tcp,
            Protocol::Tcp,
            Protocol::Udp,
            Protocol::Sctp,
            Protocol::Icmp,
            Protocol::Icmp6,
            Protocol::Other(47),
        ];
        (0..6)
            .map(|_| {
                let protocol = random.pick(&protocols);
                let port = match protocol {
                    Protocol::Icmp | Protocol::Icmp6 => {
                        (random.pick(&[0_u16, 3, 8, 128]) << 8) | random.below(3) as u16
                    }
                    _ => random.pick(&PORTS).wrapping_add(random.below(3) as u16).wrapping_sub(1),
                };
                Packet { protocol, port }
            })
            .collect()
    }
}

fn identity(random: &mut Random, index: u32) -> (Identity, IdentitySpec) {
    let mut labels: Vec<Label> = Vec::new();
    let number = match random.below(6) {
        0 => {
            let prefix: IpNet = random.pick(&PREFIXES[1..]).parse().expect("a prefix");
            let world = if prefix.addr().is_ipv4() { "world-ipv4" } else { "world-ipv6" };
            labels.extend([Label::reserved(world), Label::cidr(prefix)]);
            if random.one_in(3) {
                labels.push(Label::fqdn(random.pick(&["api.example.com", "www.example.com", "example.org"])));
            }
            Identity::SCOPE_LOCAL + index
        }
        1 => {
            labels.extend([Label::reserved("remote-node"), Label::new(Source::Node, "zone", random.pick(&["a", "b"]))]);
            if random.one_in(2) {
                labels.push(Label::cidr("10.1.2.0/24".parse().expect("a prefix")));
            }
            Identity::SCOPE_REMOTE_NODE + index
        }
        _ => {
            for key in ["app", "tier"] {
                if random.below(3) > 0 {
                    labels.push(Label::k8s(key, random.pick(&["a", "b", "c"])));
                }
            }
            if random.one_in(4) {
                labels.push(Label::new(Source::Container, "app", random.pick(&["a", "d"])));
            }
            labels.push(Label::k8s(NAMESPACE_LABEL, random.pick(&["one", "two"])));
            labels.push(Label::k8s(CLUSTER_LABEL, random.pick(&["default", "default", "other"])));
            if random.one_in(4) {
                labels.push(Label::cidr(random.pick(&["10.1.0.0/16", "2001:db8::/32"]).parse().expect("a prefix")));
            }
            Identity::CLUSTER_MIN + index
        }
    };
    let ports = NAMES
        .iter()
        .filter(|_| random.one_in(2))
        .collect::<Vec<_>>()
        .into_iter()
        .map(|name| (*name, random.pick(&[Protocol::Tcp, Protocol::Udp]), random.pick(&PORTS)))
        .collect();
    (Identity(number), IdentitySpec { labels: labels.into_iter().collect(), named_ports: ports })
}

fn document(random: &mut Random, index: usize) -> Document {
    let name: Arc<str> = format!("doc-{index}").into();
    if random.one_in(6) {
        let prefixes = (0..1 + random.below(2)).map(|_| random.pick(&PREFIXES).parse().expect("a prefix")).collect();
        let labels: LabelSet = [Label::k8s("kind", random.pick(&["x", "y"]))].into_iter().collect();
        let key = DocumentKey { kind: Kind::CiliumCIDRGroup, namespace: None, name };
        return Document { key, rules: Vec::new(), cidr_group: Some(CidrGroup { labels, prefixes }) };
    }
    let tiered = random.one_in(3);
    let kind = if tiered { Kind::ClusterNetworkPolicy } else { Kind::CiliumClusterwideNetworkPolicy };
    let key = Arc::new(DocumentKey { kind, namespace: None, name });
    let tier = if tiered { random.pick(&[Tier::Admin, Tier::Baseline]) } else { Tier::Normal };
    let priority = if tiered { random.below(3) as i32 } else { 0 };
    let shadow = random.one_in(8);
    let rules = (0..1 + random.below(5))
        .map(|index| {
            let level = Level { tier, priority, index: tiered.then_some(index as u32) };
            rule(random, key.clone(), level, shadow)
        })
        .collect();
    Document { key: (*key).clone(), rules, cidr_group: None }
}

fn rule(random: &mut Random, document: Arc<DocumentKey>, level: Level, shadow: bool) -> Rule {
    let tiered = level.tier != Tier::Normal;
    let action = match random.below(if tiered { 6 } else { 5 }) {
        0 => RuleAction::Deny,
        5 => RuleAction::Pass,
        _ => RuleAction::Allow,
    };
    let allow = action == RuleAction::Allow;
    let redirect = Redirect { kind: ProxyKind::Http, priority: random.pick(&[101, 121, 5]) };
    Rule {
        subject: if random.one_in(8) { Subject::Nodes(selector(random)) } else { Subject::Endpoints(selector(random)) },
        direction: random.pick(&Direction::BOTH),
        level,
        action,
        peers: (0..random.below(4)).map(|_| peer(random)).collect(),
        l4: if random.one_in(3) { L4::Any } else { L4::Some((0..random.below(4)).map(|_| port(random)).collect()) },
        redirect: (allow && !tiered && random.one_in(5)).then_some(redirect),
        auth: (allow && random.one_in(6)).then(|| random.pick(&[Auth::Disabled, Auth::Required, Auth::TestAlwaysFail])),
        log: random.one_in(4).then(|| "noted".into()),
        default_deny: !tiered && !random.one_in(4),
        shadow,
        origin: Origin {
            document,
            file: "generated".into(),
            line: 1,
            column: 1,
            path: "spec".into(),
            text: "generated".into(),
        },
    }
}

fn selector(random: &mut Random) -> Selector {
    (0..random.below(3))
        .map(|_| {
            let key = random.pick(&["app", "tier", NAMESPACE_LABEL]);
            let key = if random.one_in(2) { KeyMatch::k8s(key) } else { KeyMatch::any(key) };
            let values: Vec<&str> = (0..1 + random.below(2)).map(|_| random.pick(&["a", "b", "one", "two"])).collect();
            match random.below(6) {
                0 => Requirement::new(key, Operator::NotIn, values).expect("values"),
                1 => Requirement::exists(key),
                2 => Requirement::does_not_exist(key),
                _ => Requirement::new(key, Operator::In, values).expect("values"),
            }
        })
        .collect()
}

fn peer(random: &mut Random) -> Peer {
    match random.below(8) {
        0 => Peer::Any,
        1 => Peer::Entity(random.pick(&Entity::ALL)),
        2 => Peer::Nodes(std::iter::once(Requirement::equals(KeyMatch::parse("node:zone"), "a")).collect()),
        3 => Peer::Fqdn(FqdnPattern::Pattern(random.pick(&["*.example.com", "*", "example.*"]).into())),
        4 | 5 => {
            let source = match random.below(4) {
                0 => CidrSource::Group(format!("doc-{}", random.below(4)).into()),
                1 => CidrSource::GroupSelector(
                    std::iter::once(Requirement::equals(KeyMatch::any("kind"), random.pick(&["x", "y"]))).collect(),
                ),
                _ => CidrSource::Prefix(random.pick(&PREFIXES).parse().expect("a prefix")),
            };
            let except = (0..random.below(2)).map(|_| random.pick(&PREFIXES[1..]).parse().expect("a prefix")).collect();
            Peer::Cidr(CidrPeer { source, except, scope: random.pick(&[CidrScope::Configured, CidrScope::Everything]) })
        }
        _ => Peer::Endpoints(selector(random)),
    }
}

fn port(random: &mut Random) -> PortMatch {
    let protocol = random.pick(&[Protocol::Tcp, Protocol::Udp, Protocol::Sctp]);
    match random.below(6) {
        0 => PortMatch::Icmp(IcmpType {
            family: random.pick(&[IcmpFamily::V4, IcmpFamily::V6]),
            kind: random.pick(&[0, 3, 8, 128]),
        }),
        1 => PortMatch::Named {
            protocol,
            name: random.pick(&NAMES).into(),
            last: random.one_in(3).then(|| random.pick(&PORTS)),
        },
        2 => PortMatch::Ports { protocol, ports: PortRange::ALL },
        _ => {
            let (a, b) = (random.pick(&PORTS), random.pick(&PORTS));
            let b = if random.one_in(2) { a } else { b };
            PortMatch::Ports { protocol, ports: PortRange::new(a.min(b), a.max(b)).expect("ordered") }
        }
    }
}
