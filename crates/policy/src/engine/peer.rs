//! Peers of rules in the form that identities are compared with.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use nexin_model::{CLUSTER_LABEL, KeyMatch, Label, Requirement, Selector, Source};

use crate::rule::{CidrScope, Entity, FqdnPattern};

/// What one peer of a rule matches; equal values match the same identities.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum PeerMatch {
    /// Any of the selectors.
    Labels(Vec<Selector>),
    Cidr(CidrMatch),
    Fqdn(FqdnPattern),
}

/// Prefixes less exceptions, both sorted, without duplicates and without prefixes inside others.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct CidrMatch {
    pub(super) prefixes: Vec<IpNet>,
    pub(super) except: Vec<IpNet>,
    pub(super) scope: CidrScope,
}

/// Which identities a CIDR may match besides those outside the cluster (`policy-cidr-match-mode`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CidrMatchMode {
    pub nodes: bool,
    pub pods: bool,
}

/// What CIDRs see of an identity.
#[derive(Clone, Debug, Default)]
pub(super) struct Place {
    /// From labels `cidr:`.
    pub(super) prefixes: Vec<IpNet>,
    world: bool,
    world_v4: bool,
    world_v6: bool,
    node: bool,
}

impl Place {
    pub(super) fn of<'a>(labels: impl IntoIterator<Item = &'a Label>) -> Self {
        let mut place = Self::default();
        for label in labels {
            match (&label.source, &*label.key) {
                (Source::Cidr, key) => place.prefixes.extend(key.parse::<IpNet>().ok()),
                (Source::Reserved, "world") => place.world = true,
                (Source::Reserved, "world-ipv4") => place.world_v4 = true,
                (Source::Reserved, "world-ipv6") => place.world_v6 = true,
                (Source::Reserved, "host" | "remote-node") => place.node = true,
                _ => {}
            }
        }
        place
    }

    fn is_world(&self) -> bool {
        self.world || self.world_v4 || self.world_v6
    }
}

impl CidrMatch {
    pub(super) fn new(mut prefixes: Vec<IpNet>, mut except: Vec<IpNet>, scope: CidrScope) -> Self {
        for list in [&mut prefixes, &mut except] {
            for prefix in list.iter_mut() {
                *prefix = prefix.trunc();
            }
            // By address, then from wide to narrow: what covers a prefix is the last one kept.
            list.sort_unstable_by_key(|prefix| (prefix.addr(), prefix.prefix_len()));
            let mut kept: Vec<IpNet> = Vec::with_capacity(list.len());
            for prefix in list.iter() {
                // A prefix of everything means less than what is inside it (see `covers`), so it swallows nothing.
                let swallows = |wider: &IpNet| wider == prefix || (wider.prefix_len() > 0 && wider.contains(prefix));
                if !kept.last().is_some_and(swallows) {
                    kept.push(*prefix);
                }
            }
            kept.sort_unstable();
            *list = kept;
        }
        Self { prefixes, except, scope }
    }

    pub(super) fn matches(&self, place: &Place, mode: CidrMatchMode) -> bool {
        let in_scope =
            place.is_world() || self.scope == CidrScope::Everything || if place.node { mode.nodes } else { mode.pods };
        // Prefixes do not overlap but for those of everything: of the others only the last one up to an address can hold it.
        let everything = [IpNet::V4(Ipv4Net::default()), IpNet::V6(Ipv6Net::default())];
        let everything = everything.into_iter().filter(|prefix| self.prefixes.binary_search(prefix).is_ok());
        let nearest = place.prefixes.iter().filter_map(|address| self.last_up_to(*address));
        in_scope && everything.chain(nearest).any(|prefix| self.covers(prefix, place, mode))
    }

    fn last_up_to(&self, address: IpNet) -> Option<IpNet> {
        let after = self.prefixes.partition_point(|prefix| *prefix <= address);
        self.prefixes.get(after.checked_sub(1)?).copied()
    }

    fn covers(&self, prefix: IpNet, place: &Place, mode: CidrMatchMode) -> bool {
        let inside =
            |address: &&IpNet| prefix.contains(*address) && !self.except.iter().any(|except| except.contains(*address));
        if place.prefixes.iter().any(|address| inside(&address)) {
            // As in Cilium, a prefix of everything means the world and, if asked for, workloads: not nodes.
            let only_world = prefix.prefix_len() == 0 && place.node && self.scope == CidrScope::Configured;
            return !only_world || mode.pods;
        }
        // Without a prefix of its own, an identity of the world is "somewhere in this family".
        prefix.prefix_len() == 0
            && place.prefixes.is_empty()
            && match prefix.addr() {
                IpAddr::V4(_) => place.world_v4 || place.world,
                IpAddr::V6(_) => place.world_v6 || place.world,
            }
    }
}

/// Selectors that an entity stands for. Source: cilium `pkg/policy/api/entity.go`.
pub(super) fn entity_selectors(entity: Entity, cluster: &str) -> Vec<Selector> {
    let reserved = |names: &[&str]| names.iter().map(|name| reserved(name)).collect::<Vec<_>>();
    let inside = ["health", "host", "ingress", "init", "kube-apiserver", "remote-node", "unmanaged"].map(reserved_ref);
    match entity {
        Entity::All => vec![Selector::everything()],
        Entity::World => reserved(&["world", "world-ipv4", "world-ipv6"]),
        Entity::None => Vec::new(),
        Entity::Cluster => {
            let own = Requirement::equals(KeyMatch::k8s(CLUSTER_LABEL), cluster);
            inside.into_iter().chain([std::iter::once(own).collect()]).collect()
        }
        Entity::ClusterMesh => {
            let any = Requirement::exists(KeyMatch::k8s(CLUSTER_LABEL));
            inside.into_iter().chain([std::iter::once(any).collect()]).collect()
        }
        single => reserved(&[single.name()]),
    }
}

fn reserved_ref(name: &str) -> Selector {
    reserved(name)
}

fn reserved(name: &str) -> Selector {
    std::iter::once(Requirement::exists(KeyMatch::reserved(name))).collect()
}

impl FqdnPattern {
    /// Whether the pattern stands for `name` (lower case, without the closing dot).
    /// Source: cilium `pkg/fqdn/matchpattern`.
    pub fn matches(&self, name: &str) -> bool {
        let pattern = match self {
            Self::Name(own) => return **own == *name,
            Self::Pattern(pattern) => pattern.trim_end_matches('.'),
        };
        let after_stars = pattern.trim_start_matches('*');
        if after_stars.is_empty() {
            return !name.is_empty();
        }
        // `**.` and more stars: one or more whole labels before what follows.
        match after_stars.strip_prefix('.').filter(|_| pattern.starts_with("**")) {
            Some(rest) => {
                let extra = labels(name).count().saturating_sub(labels(rest).count());
                let mut before = labels(name).take(extra);
                extra > 0
                    && before.all(|label| !label.is_empty())
                    && same_labels(labels(rest), labels(name).skip(extra))
            }
            None => same_labels(labels(pattern), labels(name)),
        }
    }
}

fn labels(name: &str) -> std::str::Split<'_, char> {
    name.split('.')
}

fn same_labels<'a>(patterns: impl Iterator<Item = &'a str>, mut names: impl Iterator<Item = &'a str>) -> bool {
    patterns.into_iter().all(|pattern| names.next().is_some_and(|name| glob(pattern.as_bytes(), name.as_bytes())))
        && names.next().is_none()
}

/// `*` stands for any run of characters. Time is at most the product of the lengths, whatever the pattern.
fn glob(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n) = (0, 0);
    // Where to go on when what follows the last star does not fit: after the star, one character later.
    let mut retry: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                p += 1;
                retry = Some((p, n + 1));
            }
            Some(byte) if *byte == name[n] => {
                p += 1;
                n += 1;
            }
            _ => match retry {
                Some((after_star, next)) => {
                    (p, n) = (after_star, next);
                    retry = Some((after_star, next + 1));
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> FqdnPattern {
        FqdnPattern::Pattern(text.into())
    }

    #[test]
    fn patterns_stop_at_dots() {
        assert!(pattern("*.example.com").matches("www.example.com"));
        assert!(!pattern("*.example.com").matches("a.b.example.com"));
        assert!(!pattern("*.example.com").matches("example.com"));
        assert!(pattern("w*w.ex*le.com").matches("www.example.com"));
        assert!(pattern("*").matches("a.b"));
        assert!(pattern("**.example.com").matches("a.b.example.com"));
        assert!(!pattern("**.example.com").matches("example.com"));
        assert!(pattern("***.example.com").matches("b.example.com"));
        assert!(pattern("**").matches("a.b"));
        assert!(pattern("a**b.com").matches("a-b.com"));
        assert!(!pattern("a*b").matches("acbd"));
    }

    #[test]
    fn many_stars_cost_no_more_than_the_lengths() {
        let hard = format!("{}b", "*a".repeat(100));
        assert!(!pattern(&hard).matches(&"a".repeat(250)));
        assert!(pattern(&hard).matches(&format!("{}b", "a".repeat(250))));
    }

    fn place(labels: &[&str]) -> Place {
        let labels: Vec<Label> = labels.iter().filter_map(|label| label.parse().ok()).collect();
        Place::of(&labels)
    }

    fn cidr(prefix: &str, except: &[&str], scope: CidrScope) -> CidrMatch {
        let parse = |text: &str| text.parse::<IpNet>().expect("a prefix");
        CidrMatch::new(vec![parse(prefix)], except.iter().map(|text| parse(text)).collect(), scope)
    }

    #[test]
    fn cidrs_match_what_is_outside_unless_told_otherwise() {
        let outside = place(&["reserved:world-ipv4", "cidr:10.1.2.0/24"]);
        let pod = place(&["k8s:app=x", "cidr:10.1.2.0/24"]);
        let node = place(&["reserved:remote-node", "cidr:10.1.2.0/24"]);
        let none = CidrMatchMode::default();
        let rule = cidr("10.0.0.0/8", &["10.2.0.0/16"], CidrScope::Configured);
        assert!(rule.matches(&outside, none));
        assert!(!rule.matches(&pod, none));
        assert!(rule.matches(&pod, CidrMatchMode { nodes: false, pods: true }));
        assert!(rule.matches(&node, CidrMatchMode { nodes: true, pods: false }));
        let everything = cidr("10.0.0.0/8", &[], CidrScope::Everything);
        assert!(everything.matches(&pod, none) && everything.matches(&node, none));
        assert!(!cidr("10.0.0.0/8", &["10.1.0.0/16"], CidrScope::Everything).matches(&pod, none));
    }

    #[test]
    fn a_prefix_of_everything_is_the_world_of_its_family() {
        let none = CidrMatchMode::default();
        let rule = cidr("0.0.0.0/0", &[], CidrScope::Configured);
        assert!(rule.matches(&place(&["reserved:world-ipv4"]), none));
        assert!(!rule.matches(&place(&["reserved:world-ipv6"]), none));
        let node = place(&["reserved:remote-node", "cidr:10.1.2.3/32"]);
        assert!(!rule.matches(&node, CidrMatchMode { nodes: true, pods: false }));
    }
}
