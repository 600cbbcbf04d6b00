//! The selector cache: each distinct selector once, with the set of identities it matches, kept current as identities
//! come and go.

use std::collections::{BTreeMap, HashMap};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use nexin_model::{Label, LabelSet, Source};

use super::index::{Index, Query, SelectedKeys, TermId};
use super::peer::{CidrMatch, CidrMatchMode, PeerMatch, Place};
use super::set::SlotSet;
use crate::compile::SelectorId;
use crate::hash::FastMap;
use crate::rule::{CidrScope, FqdnPattern};

#[derive(Clone, Debug)]
struct Entry {
    matcher: PeerMatch,
    /// One a selector of `PeerMatch::Labels`; empty for the other kinds.
    queries: Vec<Query>,
    matched: SlotSet,
    users: usize,
}

/// An identity as the cache knows it.
#[derive(Clone, Debug)]
struct Member {
    terms: Box<[TermId]>,
    place: Place,
    names: Box<[Box<str>]>,
}

/// Address order, so that what a prefix covers is one range: family, first address, length.
type PrefixKey = (bool, u128, u8);

#[derive(Clone, Debug, Default)]
pub(super) struct SelectorCache {
    mode: CidrMatchMode,
    index: Index,
    keys: SelectedKeys,
    ids: FastMap<PeerMatch, SelectorId>,
    entries: Vec<Option<Entry>>,
    members: Vec<Option<Member>>,
    free: Vec<u32>,
    /// Identities by the prefixes they stand for.
    placed: BTreeMap<PrefixKey, Vec<u32>>,
    /// CIDR selectors by each of their prefixes.
    by_prefix: HashMap<IpNet, Vec<SelectorId>>,
    by_name: Vec<SelectorId>,
    prefixes: BTreeMap<IpNet, PrefixUsers>,
}

/// How many selectors mention a prefix, as range or exception.
#[derive(Clone, Copy, Debug, Default)]
struct PrefixUsers {
    all: usize,
    /// Those that also speak of workloads and nodes ([`CidrScope::Everything`]).
    everything: usize,
}

const EVERYTHING: [IpNet; 2] = [
    IpNet::V4(Ipv4Net::new_assert(std::net::Ipv4Addr::UNSPECIFIED, 0)),
    IpNet::V6(Ipv6Net::new_assert(std::net::Ipv6Addr::UNSPECIFIED, 0)),
];

// === identities ===

impl SelectorCache {
    pub(super) fn new(mode: CidrMatchMode) -> Self {
        Self { mode, ..Self::default() }
    }

    /// Adds an identity. Returns its slot and the selectors that match it, sorted.
    pub(super) fn insert(&mut self, labels: &LabelSet) -> (u32, Vec<SelectorId>) {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.members.push(None);
            self.members.len() as u32 - 1
        });
        let member = Member {
            terms: self.index.insert(slot, labels),
            place: Place::of(labels),
            names: labels
                .iter()
                .filter(|label| label.source == Source::Fqdn)
                .map(|label| (*label.key).into())
                .collect(),
        };
        for prefix in &member.place.prefixes {
            self.placed.entry(prefix_key(*prefix)).or_default().push(slot);
        }
        let matched = self.matching(&member);
        for selector in &matched {
            if let Some(entry) = &mut self.entries[*selector as usize] {
                entry.matched.insert(slot);
            }
        }
        self.members[slot as usize] = Some(member);
        (slot, matched)
    }

    pub(super) fn remove(&mut self, slot: u32) {
        let Some(member) = self.members.get_mut(slot as usize).and_then(Option::take) else { return };
        for selector in self.matching(&member) {
            if let Some(entry) = &mut self.entries[selector as usize] {
                entry.matched.remove(slot);
            }
        }
        self.index.remove(slot, &member.terms);
        for prefix in &member.place.prefixes {
            let key = prefix_key(*prefix);
            if let Some(slots) = self.placed.get_mut(&key) {
                slots.retain(|placed| *placed != slot);
                if slots.is_empty() {
                    self.placed.remove(&key);
                }
            }
        }
        self.free.push(slot);
    }

    /// Selectors that match the identity in `slot`, sorted.
    pub(super) fn matching_slot(&self, slot: u32) -> Vec<SelectorId> {
        match self.members.get(slot as usize) {
            Some(Some(member)) => self.matching(member),
            _ => Vec::new(),
        }
    }

    fn matching(&self, member: &Member) -> Vec<SelectorId> {
        let by_place = member.place.prefixes.iter().flat_map(|prefix| {
            (1..=prefix.prefix_len()).filter_map(|length| self.by_prefix.get(&shortened(*prefix, length))).flatten()
        });
        let by_family = EVERYTHING.iter().filter_map(|everything| self.by_prefix.get(everything)).flatten();
        let by_name = self.by_name.iter().filter(|_| !member.names.is_empty());
        let mut found: Vec<SelectorId> = self
            .index
            .candidates(&member.terms)
            .chain(by_place.copied())
            .chain(by_family.copied())
            .chain(by_name.copied())
            .collect();
        found.sort_unstable();
        found.dedup();
        found.retain(|selector| self.entry(*selector).is_some_and(|entry| self.holds(entry, member)));
        found
    }

    fn holds(&self, entry: &Entry, member: &Member) -> bool {
        match &entry.matcher {
            PeerMatch::Labels(_) => entry.queries.iter().any(|query| Index::matches(query, &member.terms)),
            PeerMatch::Cidr(cidr) => cidr.matches(&member.place, self.mode),
            PeerMatch::Fqdn(pattern) => member.names.iter().any(|name| pattern.matches(name)),
        }
    }
}

// === selectors ===

impl SelectorCache {
    /// Number of a selector, which is resolved when it is new. Each call wants a [`Self::release`].
    pub(super) fn acquire(&mut self, matcher: PeerMatch) -> SelectorId {
        let next = self.entries.len() as SelectorId;
        let id = *self.ids.entry(matcher.clone()).or_insert(next);
        if let Some(Some(entry)) = self.entries.get_mut(id as usize) {
            entry.users += 1;
            return id;
        }
        let queries: Vec<Query> = match &matcher {
            PeerMatch::Labels(selectors) => selectors
                .iter()
                .map(|selector| {
                    self.keys.add(selector);
                    self.index.query(selector)
                })
                .collect(),
            PeerMatch::Cidr(_) | PeerMatch::Fqdn(_) => Vec::new(),
        };
        for query in &queries {
            self.index.watch(id, query);
        }
        match &matcher {
            PeerMatch::Labels(_) => {}
            PeerMatch::Cidr(cidr) => self.watch_prefixes(id, cidr),
            PeerMatch::Fqdn(_) => self.by_name.push(id),
        }
        let mut entry = Entry { matcher, queries, matched: SlotSet::default(), users: 1 };
        entry.matched = self.resolve_entry(&entry);
        self.entries.push(Some(entry));
        id
    }

    pub(super) fn release(&mut self, id: SelectorId) {
        let Some(slot) = self.entries.get_mut(id as usize) else { return };
        let Some(entry) = slot else { return };
        entry.users -= 1;
        if entry.users > 0 {
            return;
        }
        let Some(entry) = slot.take() else { return };
        self.ids.remove(&entry.matcher);
        for query in &entry.queries {
            self.index.unwatch(id, query);
        }
        match &entry.matcher {
            PeerMatch::Labels(selectors) => selectors.iter().for_each(|selector| self.keys.remove(selector)),
            PeerMatch::Cidr(cidr) => self.unwatch_prefixes(id, cidr),
            PeerMatch::Fqdn(_) => self.by_name.retain(|watcher| *watcher != id),
        }
    }

    /// Slots of the identities that a selector matches.
    pub(super) fn matched(&self, selector: SelectorId) -> &SlotSet {
        static NOBODY: SlotSet = SlotSet::Sparse(Vec::new());
        self.entry(selector).map_or(&NOBODY, |entry| &entry.matched)
    }

    /// A rule's selector asks for this label.
    pub(super) fn selects_on(&self, label: &Label) -> bool {
        self.keys.contains(label)
    }

    /// Builds the index of labels again and resolves every selector from it. Returns how many pairs of selector and
    /// identity match.
    pub(super) fn resolve_all(&mut self) -> usize {
        let members = self.members.iter().enumerate();
        self.index.rebuild(members.filter_map(|(slot, member)| Some((slot as u32, &*member.as_ref()?.terms))));
        let mut pairs = 0;
        for id in 0..self.entries.len() {
            let Some(entry) = &self.entries[id] else { continue };
            let matched = self.resolve_entry(entry);
            pairs += matched.len();
            if let Some(entry) = &mut self.entries[id] {
                entry.matched = matched;
            }
        }
        pairs
    }

    fn resolve_entry(&self, entry: &Entry) -> SlotSet {
        match &entry.matcher {
            PeerMatch::Labels(_) => match &*entry.queries {
                [] => SlotSet::default(),
                [query] => self.index.resolve(query),
                [first, rest @ ..] => {
                    rest.iter().fold(self.index.resolve(first), |all, query| all.union(&self.index.resolve(query)))
                }
            },
            PeerMatch::Cidr(cidr) => self.resolve_cidr(cidr),
            PeerMatch::Fqdn(pattern) => self.resolve_name(pattern),
        }
    }

    fn resolve_cidr(&self, cidr: &CidrMatch) -> SlotSet {
        let mut slots: Vec<u32> = Vec::new();
        for prefix in &cidr.prefixes {
            let (v6, first, _) = prefix_key(*prefix);
            let size = if v6 { 128 } else { 32 } - u32::from(prefix.prefix_len());
            let last = first | 1_u128.checked_shl(size).map_or(u128::MAX, |span| span - 1);
            let range = (v6, first, 0)..=(v6, last, u8::MAX);
            slots.extend(self.placed.range(range).flat_map(|(_, slots)| slots));
            if prefix.prefix_len() == 0 {
                slots.extend(self.index.live().iter());
            }
        }
        slots.sort_unstable();
        slots.dedup();
        slots.retain(|slot| match self.members.get(*slot as usize) {
            Some(Some(member)) => cidr.matches(&member.place, self.mode),
            _ => false,
        });
        SlotSet::from_sorted(slots)
    }

    fn resolve_name(&self, pattern: &FqdnPattern) -> SlotSet {
        self.index
            .labels_of(&Source::Fqdn)
            .filter(|(label, _)| pattern.matches(&label.key))
            .fold(SlotSet::default(), |all, (_, term)| all.union(self.index.slots(term)))
    }

    fn entry(&self, selector: SelectorId) -> Option<&Entry> {
        self.entries.get(selector as usize)?.as_ref()
    }
}

// === prefixes ===

impl SelectorCache {
    /// Prefixes that need an identity of their own: all that rules mention, exceptions included, less those that mean
    /// everything.
    pub(super) fn prefixes(&self) -> impl Iterator<Item = IpNet> + '_ {
        self.prefixes.keys().copied().filter(|prefix| prefix.prefix_len() > 0)
    }

    /// The longest prefix over `address` that a rule mentions; of `Everything` rules only, if so asked.
    pub(super) fn longest(&self, address: std::net::IpAddr, everything_only: bool) -> Option<IpNet> {
        let full = IpNet::from(address);
        (0..=full.prefix_len()).rev().map(|length| shortened(full, length)).find(|prefix| {
            self.prefixes.get(prefix).is_some_and(|users| if everything_only { users.everything > 0 } else { true })
        })
    }

    fn watch_prefixes(&mut self, id: SelectorId, cidr: &CidrMatch) {
        for prefix in &cidr.prefixes {
            self.by_prefix.entry(*prefix).or_default().push(id);
        }
        for prefix in cidr.prefixes.iter().chain(&cidr.except) {
            let users = self.prefixes.entry(*prefix).or_default();
            users.all += 1;
            users.everything += usize::from(cidr.scope == CidrScope::Everything);
        }
    }

    fn unwatch_prefixes(&mut self, id: SelectorId, cidr: &CidrMatch) {
        for prefix in &cidr.prefixes {
            if let Some(watchers) = self.by_prefix.get_mut(prefix) {
                watchers.retain(|watcher| *watcher != id);
                if watchers.is_empty() {
                    self.by_prefix.remove(prefix);
                }
            }
        }
        for prefix in cidr.prefixes.iter().chain(&cidr.except) {
            if let Some(users) = self.prefixes.get_mut(prefix) {
                users.all -= 1;
                users.everything -= usize::from(cidr.scope == CidrScope::Everything);
                if users.all == 0 {
                    self.prefixes.remove(prefix);
                }
            }
        }
    }
}

fn prefix_key(prefix: IpNet) -> PrefixKey {
    match prefix {
        IpNet::V4(net) => (false, u128::from(net.network().to_bits()), net.prefix_len()),
        IpNet::V6(net) => (true, net.network().to_bits(), net.prefix_len()),
    }
}

fn shortened(prefix: IpNet, length: u8) -> IpNet {
    IpNet::new(prefix.addr(), length).map_or(prefix, |shorter| shorter.trunc())
}
