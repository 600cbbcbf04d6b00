//! Finds among very many filters those that can match a flow at all, by a number that the filter asks for. A list of a few
//! filters is quicker without.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;

use super::Filter;
use super::check::{Check, Name, Side, address, endpoint, port};
use super::label::pair_of;
use crate::view::View;

/// From this many filters on.
const MANY: usize = 32;

/// Texts stand as hashes: what is found by chance fails its own check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Key {
    Address(Side, IpAddr),
    Identity(Side, u32),
    Port(Side, u16),
    Label(Side, u64),
    Namespace(Side, u64),
}

/// Kinds of keys, best first.
const KINDS: usize = 5;

#[derive(Clone, Debug)]
pub(super) struct Index {
    keyed: HashMap<Key, Vec<usize>>,
    others: Vec<usize>,
    /// Which kinds of keys there are.
    kinds: [bool; KINDS],
    hasher: RandomState,
}

impl Index {
    pub(super) fn of(filters: &[Filter]) -> Option<Self> {
        if filters.len() < MANY {
            return None;
        }
        let hasher = RandomState::new();
        let mut index = Self { keyed: HashMap::new(), others: Vec::new(), kinds: [false; KINDS], hasher };
        for (n, filter) in filters.iter().enumerate() {
            let all = filter.checks.iter().filter_map(|check| index.keys(check));
            match all.min_by_key(|(rank, keys)| (*rank, keys.len())) {
                Some((rank, keys)) => {
                    index.kinds[rank] = true;
                    for key in keys {
                        index.keyed.entry(key).or_default().push(n);
                    }
                }
                None => index.others.push(n),
            }
        }
        Some(index)
    }

    /// Whether one of the filters that may match does.
    pub(super) fn any<V: View>(&self, flow: &V, matches: impl Fn(usize) -> bool) -> bool {
        let look = |key: Key| self.keyed.get(&key).is_some_and(|filters| filters.iter().any(|n| matches(*n)));
        let [addresses, identities, ports, labels, namespaces] = self.kinds;
        let (ip, l4) = (flow.ip().filter(|_| addresses), flow.l4().filter(|_| ports));
        [Side::Source, Side::Destination].into_iter().any(|side| {
            let endpoint = endpoint(flow, side);
            let by_endpoint = endpoint.is_some_and(|own| {
                identities && look(Key::Identity(side, own.identity))
                    || namespaces && look(Key::Namespace(side, self.hasher.hash_one(own.namespace.as_str())))
                    || labels && own.labels.iter().any(|label| look(Key::Label(side, self.label(pair_of(label)))))
            });
            by_endpoint
                || ip.and_then(|ip| address(ip, side).parse()).is_some_and(|ip| look(Key::Address(side, ip)))
                || port(l4, side).is_some_and(|port| look(Key::Port(side, port)))
        }) || self.others.iter().any(|n| matches(*n))
    }

    fn label(&self, pair: (&str, &str)) -> u64 {
        self.hasher.hash_one(pair)
    }

    /// The keys of which a flow must have one to pass a check, and their kind.
    fn keys(&self, check: &Check) -> Option<(usize, Vec<Key>)> {
        Some(match check {
            Check::Address(side, all) => (0, all.exact()?.iter().map(|ip| Key::Address(*side, *ip)).collect()),
            Check::Identity(side, all) => (1, all.iter().map(|id| Key::Identity(*side, *id)).collect()),
            Check::Port(side, all) => (2, all.iter().map(|port| Key::Port(*side, *port)).collect()),
            Check::Labels(side, all) => {
                let pairs: Option<Vec<_>> = all.iter().map(|selector| selector.needed()).collect();
                let keys = pairs?.into_iter().flatten().map(|pair| Key::Label(*side, self.label(pair)));
                (3, keys.collect())
            }
            Check::Pod(side, all) => {
                let key = |name: &Name| Some(Key::Namespace(*side, self.hasher.hash_one(name.namespace.as_deref()?)));
                (4, all.iter().map(key).collect::<Option<_>>()?)
            }
            _ => return None,
        })
    }
}
