//! What the rules of a policy say about one class of peers, port interval by port interval.

use std::sync::Arc;

use nexin_abi::maps::policy::{RuleId, Verdict};
use nexin_abi::{Action, Be16};
use nexin_model::{Direction, PortRange, Protocol};
use nexin_verdict::precedence::{Call, Voice, settle};

use super::ports::{Interval, TableProtocol};
use super::{RuleInput, RuleSet};
use crate::hash::FastMap;
use crate::rule::{Auth, L4, Level, PortMatch, RuleAction};

/// More ports than a protocol has: a rule about peers only is less specific than one about all ports of a protocol.
const EVERY_PROTOCOL: u32 = 1 << 17;

/// A rule, ready to be asked.
#[derive(Clone, Debug)]
pub(super) struct RankedRule {
    id: RuleId,
    level: u64,
    call: Call,
    any_peer: bool,
    /// Positions of the selectors that make it speak, sorted.
    selectors: Vec<u32>,
    spans: Spans,
    auth: Option<Auth>,
    log: u32,
    default_deny: bool,
    shadow: bool,
}

#[derive(Clone, Debug)]
enum Spans {
    Everything,
    Some(Vec<Span>),
}

#[derive(Clone, Copy, Debug)]
enum Span {
    Ports(TableProtocol, PortRange),
    /// The peer's number for the name at this index, or from it to a last one.
    PeerPort {
        protocol: TableProtocol,
        name: usize,
        last: Option<u16>,
    },
}

impl RankedRule {
    pub(super) fn new(
        input: &RuleInput,
        set: &RuleSet,
        positions: &FastMap<u32, u32>,
        names: &[(Protocol, Arc<str>)],
    ) -> Self {
        let rule = &input.rule;
        let mut selectors: Vec<u32> =
            input.peers.selectors.iter().filter_map(|selector| positions.get(selector)).copied().collect();
        selectors.sort_unstable();
        let spans = match &rule.l4 {
            L4::Any => Spans::Everything,
            L4::Some(ports) => Spans::Some(ports.iter().filter_map(|port| span(port, set, names)).collect()),
        };
        Self {
            id: input.id,
            level: rank(rule.level),
            call: match (rule.action, rule.redirect) {
                (RuleAction::Deny, _) => Call::Deny,
                (RuleAction::Pass, _) => Call::Pass,
                (RuleAction::Allow, Some(redirect)) => Call::Redirect(redirect.priority),
                (RuleAction::Allow, None) => Call::Allow,
            },
            any_peer: input.peers.any,
            selectors,
            spans,
            auth: rule.auth.filter(|_| rule.action == RuleAction::Allow),
            log: input.log,
            default_deny: rule.default_deny,
            shadow: rule.shadow,
        }
    }

    /// Ports of `protocol` it speaks about.
    fn ranges<'a>(
        &'a self,
        peer: &'a PeerView<'_>,
        protocol: TableProtocol,
    ) -> impl Iterator<Item = (PortRange, u32)> + 'a {
        let (all, some): (_, &[Span]) = match &self.spans {
            Spans::Everything => (Some((PortRange::ALL, EVERY_PROTOCOL)), &[]),
            Spans::Some(spans) => (None, spans),
        };
        let some = some.iter().filter_map(move |span| {
            let range = match *span {
                Span::Ports(own, range) => (own == protocol).then_some(range),
                Span::PeerPort { protocol: own, name, last } if own == protocol => {
                    let first = peer.ports.get(name).copied().flatten()?;
                    Some(named_range(first, last))
                }
                Span::PeerPort { .. } => None,
            }?;
            Some((range, u32::from(range.last() - range.first()) + 1))
        });
        all.into_iter().chain(some)
    }
}

/// Rank of a level, for [`settle`].
pub(crate) fn rank(level: Level) -> u64 {
    Voice::level(level.tier as u8, level.priority, level.index.unwrap_or(0))
}

fn named_range(first: u16, last: Option<u16>) -> PortRange {
    last.and_then(|last| PortRange::new(first, last)).unwrap_or(PortRange::single(first))
}

fn table_protocol(protocol: Protocol) -> Option<TableProtocol> {
    match protocol {
        Protocol::Tcp => Some(TableProtocol::Tcp),
        Protocol::Udp => Some(TableProtocol::Udp),
        Protocol::Sctp => Some(TableProtocol::Sctp),
        Protocol::Icmp => Some(TableProtocol::Icmp),
        Protocol::Icmp6 => Some(TableProtocol::Icmp6),
        Protocol::Other(_) => None,
    }
}

fn span(port: &PortMatch, set: &RuleSet, names: &[(Protocol, Arc<str>)]) -> Option<Span> {
    match port {
        PortMatch::Ports { protocol, ports } => Some(Span::Ports(table_protocol(*protocol)?, *ports)),
        PortMatch::Icmp(icmp) => Some(Span::Ports(table_protocol(icmp.protocol())?, icmp.as_ports())),
        PortMatch::Named { protocol, name, last } => {
            let table = table_protocol(*protocol)?;
            if set.direction == Direction::Ingress {
                let first = set.subject_ports.get(name, *protocol)?;
                return Some(Span::Ports(table, named_range(first, *last)));
            }
            let name = names.iter().position(|(own, known)| own == protocol && known == name)?;
            Some(Span::PeerPort { protocol: table, name, last: *last })
        }
    }
}

/// Ports that the rules name, each once, in a fixed order.
pub(super) fn names_used(set: &RuleSet) -> Vec<(Protocol, Arc<str>)> {
    let mut names: Vec<(Protocol, Arc<str>)> = Vec::new();
    for rule in &set.rules {
        let L4::Some(ports) = &rule.rule.l4 else { continue };
        names.extend(ports.iter().filter_map(|port| match port {
            PortMatch::Named { protocol, name, .. } => Some((*protocol, name.clone())),
            PortMatch::Ports { .. } | PortMatch::Icmp(_) => None,
        }));
    }
    names.sort_unstable();
    names.dedup();
    names
}

/// A class of peers.
pub(super) struct PeerView<'a> {
    pub(super) matched: &'a [u32],
    pub(super) ports: &'a [Option<u16>],
    pub(super) host: bool,
}

/// The rules of a policy in the order they speak.
#[derive(Clone, Debug)]
pub(super) struct Settlement {
    rules: Vec<RankedRule>,
    /// Places of the rules about everyone, and of those that a selector (by position) makes speak: a class asks only them.
    about_all: Vec<u32>,
    by_selector: FastMap<u32, Vec<u32>>,
    live: Defaults,
    /// With the rules in shadow mode; `None` when there are none.
    shadow: Option<Defaults>,
}

/// What holds when no rule decides.
#[derive(Clone, Copy, Debug)]
struct Defaults {
    isolated: bool,
    /// The rule that isolates, 0 when the configuration does.
    by: RuleId,
    /// The local host is let in.
    host: bool,
}

impl Settlement {
    pub(super) fn new(mut rules: Vec<RankedRule>, forced: bool, localhost: bool) -> Self {
        rules.sort_by_key(|rule| rule.level);
        let defaults = |shadow: bool| {
            let mut counted = rules.iter().filter(|rule| shadow || !rule.shadow).peekable();
            let any = counted.peek().is_some();
            let by = counted.find(|rule| rule.default_deny).map(|rule| rule.id);
            let isolated = forced || by.is_some();
            Defaults { isolated, by: by.unwrap_or(0), host: localhost && isolated && any }
        };
        let shadow = rules.iter().any(|rule| rule.shadow).then(|| defaults(true));
        let live = defaults(false);
        let mut by_selector: FastMap<u32, Vec<u32>> = FastMap::default();
        let mut about_all = Vec::new();
        for (place, rule) in (0..).zip(&rules) {
            if rule.any_peer {
                about_all.push(place);
                continue;
            }
            for selector in &rule.selectors {
                by_selector.entry(*selector).or_default().push(place);
            }
        }
        Self { live, shadow, rules, about_all, by_selector }
    }

    /// Rules that are about this peer, in the order they speak.
    fn about<'a>(&'a self, peer: &PeerView<'_>) -> impl Iterator<Item = &'a RankedRule> {
        let selected = peer.matched.iter().filter_map(|selector| self.by_selector.get(selector)).flatten();
        let mut places: Vec<u32> = self.about_all.iter().chain(selected).copied().collect();
        places.sort_unstable();
        places.dedup();
        places.into_iter().map(|place| &self.rules[place as usize])
    }

    /// The local host is told apart from others.
    pub(super) fn knows_host(&self) -> bool {
        self.live.host || self.shadow.is_some_and(|defaults| defaults.host)
    }

    /// All ports of `protocol` in rising order with what is decided about each.
    pub(super) fn intervals(&self, peer: &PeerView<'_>, protocol: TableProtocol) -> Vec<Interval> {
        let spoken: Vec<(PortRange, u32, &RankedRule)> = self
            .about(peer)
            .flat_map(|rule| rule.ranges(peer, protocol).map(move |(range, breadth)| (range, breadth, rule)))
            .collect();
        let mut starts: Vec<u16> = vec![0];
        for (range, ..) in &spoken {
            starts.push(range.first());
            starts.extend(range.last().checked_add(1));
        }
        starts.sort_unstable();
        starts.dedup();
        let mut intervals: Vec<Interval> = Vec::with_capacity(starts.len());
        for (index, first) in starts.iter().enumerate() {
            let last = starts.get(index + 1).map_or(u16::MAX, |next| next - 1);
            let here: Vec<Spoken<'_>> = spoken
                .iter()
                .filter(|(range, ..)| range.contains(*first))
                .map(|(_, breadth, rule)| Spoken { rule, breadth: *breadth })
                .collect();
            let verdict = self.verdict(&here, peer.host);
            match intervals.last_mut() {
                Some(before) if before.verdict == verdict => before.last = last,
                _ => intervals.push(Interval { first: *first, last, verdict }),
            }
        }
        intervals
    }

    /// The rules about this peer in the order they speak, each with whether it matches the port.
    pub(super) fn spoken(&self, peer: &PeerView<'_>, protocol: Protocol, port: u16) -> Vec<(RuleId, bool)> {
        let table = table_protocol(protocol).unwrap_or(TableProtocol::Other);
        self.about(peer)
            .map(|rule| (rule.id, rule.ranges(peer, table).any(|(range, _)| range.contains(port))))
            .collect()
    }

    fn verdict(&self, spoken: &[Spoken<'_>], host: bool) -> Verdict {
        let live: Vec<Spoken<'_>> = spoken.iter().filter(|spoken| !spoken.rule.shadow).copied().collect();
        let mut verdict = decide(&live, self.live, host);
        if let Some(defaults) = self.shadow {
            let with = decide(spoken, defaults, host);
            verdict.flags |= Verdict::SHADOW;
            verdict.shadow_action = with.action;
            verdict.shadow_rule = with.rule;
        }
        verdict
    }
}

#[derive(Clone, Copy)]
struct Spoken<'a> {
    rule: &'a RankedRule,
    breadth: u32,
}

fn decide(spoken: &[Spoken<'_>], defaults: Defaults, host: bool) -> Verdict {
    let voices: Vec<Voice> = spoken
        .iter()
        .map(|spoken| Voice { level: spoken.rule.level, call: spoken.rule.call, breadth: spoken.breadth })
        .collect();
    let Some(winner) = settle(&voices, defaults.by != 0).map(|index| spoken[index].rule) else {
        let allowed = !defaults.isolated || (host && defaults.host);
        let (action, rule) = if allowed { (Action::Allow, 0) } else { (Action::DefaultDeny, defaults.by) };
        return Verdict { action: action as u8, rule, ..Verdict::default() };
    };
    let (action, redirect) = match winner.call {
        Call::Deny => (Action::Deny, false),
        Call::Redirect(_) => (Action::Allow, true),
        Call::Allow | Call::Pass => (Action::Allow, false),
    };
    Verdict {
        action: action as u8,
        flags: if redirect { Verdict::REDIRECT } else { 0 },
        auth: if action == Action::Allow { auth(spoken, winner) } else { 0 },
        proxy_port: Be16::default(),
        rule: winner.id,
        log: winner.log,
        ..Verdict::default()
    }
}

/// Authentication of the most specific rule of the winner's level that asks for some or for none.
fn auth(spoken: &[Spoken<'_>], winner: &RankedRule) -> u8 {
    spoken
        .iter()
        .filter(|spoken| spoken.rule.level == winner.level && spoken.rule.call != Call::Pass)
        .filter_map(|spoken| spoken.rule.auth.map(|auth| (spoken.breadth, std::cmp::Reverse(auth))))
        .min()
        .map_or(0, |(_, auth)| auth.0 as u8)
}
