//! Finds among very many filters those that can match a flow at all, by a number that the filter asks for. A list of a few
//! filters is quicker without.

use std::collections::HashMap;
use std::net::IpAddr;

use super::Filter;
use super::check::{Check, Side, address, endpoint, port};
use crate::view::View;

/// From this many filters on.
const MANY: usize = 32;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Key {
    Address(Side, IpAddr),
    Identity(Side, u32),
    Port(Side, u16),
}

#[derive(Clone, Debug)]
pub(super) struct Index {
    keyed: HashMap<Key, Vec<usize>>,
    others: Vec<usize>,
    /// Which kinds of keys there are: addresses, identities, ports.
    kinds: [bool; 3],
}

impl Index {
    pub(super) fn of(filters: &[Filter]) -> Option<Self> {
        if filters.len() < MANY {
            return None;
        }
        let mut index = Self { keyed: HashMap::new(), others: Vec::new(), kinds: [false; 3] };
        for (n, filter) in filters.iter().enumerate() {
            match filter.checks.iter().filter_map(keys).min_by_key(|(rank, keys)| (*rank, keys.len())) {
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
        let sides = [Side::Source, Side::Destination];
        let [addresses, identities, ports] = self.kinds;
        let by_address = || {
            let ip = flow.ip();
            sides.iter().any(|side| {
                ip.and_then(|ip| address(ip, *side).parse()).is_some_and(|ip| look(Key::Address(*side, ip)))
            })
        };
        let by_identity = || {
            sides.iter().any(|side| endpoint(flow, *side).is_some_and(|own| look(Key::Identity(*side, own.identity))))
        };
        let by_port = || {
            let l4 = flow.l4();
            sides.iter().any(|side| port(l4, *side).is_some_and(|port| look(Key::Port(*side, port))))
        };
        addresses && by_address()
            || identities && by_identity()
            || ports && by_port()
            || self.others.iter().any(|n| matches(*n))
    }
}

/// The keys of which a flow must have one to pass a check, best kinds first.
fn keys(check: &Check) -> Option<(usize, Vec<Key>)> {
    match check {
        Check::Address(side, all) => Some((0, all.exact()?.iter().map(|ip| Key::Address(*side, *ip)).collect())),
        Check::Identity(side, all) => Some((1, all.iter().map(|id| Key::Identity(*side, *id)).collect())),
        Check::Port(side, all) => Some((2, all.iter().map(|port| Key::Port(*side, *port)).collect())),
        _ => None,
    }
}
