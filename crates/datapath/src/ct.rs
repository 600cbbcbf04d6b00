//! Flows: what is tracked, what has ended, what masquerading belongs to it. Layout: `nexin_abi::maps::ct`.
//!
//! Programs make and refresh flows and remove closed ones; the walk here removes those that ran out of time, with their
//! translation, and corrects the counters that only a walk can know.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use nexin_abi::maps::KernelMap;
use nexin_abi::maps::ct::{self, Counter, Ct4, Ct6, CtEntry, CtState};
use nexin_abi::maps::nat::{self, Nat4, Nat6, NatAddr4, NatAddr6};
use nexin_abi::{Addr4, Addr6, Be16};
use nexin_bpf::clock::{Jiffies, Offset};
use nexin_bpf::{Loaded, Map};

use crate::error::Result;
use crate::{Datapath, NX};

/// IP protocol number.
pub type Protocol = u8;

const ICMP: Protocol = 1;
const ICMP6: Protocol = 58;

/// A tracked flow, from its originator's view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flow {
    pub protocol: Protocol,
    /// For ICMP echo both ports are the identifier.
    pub source: (IpAddr, u16),
    pub destination: (IpAddr, u16),
    pub state: FlowState,
    /// Local endpoints on either side.
    pub source_endpoint: Option<u16>,
    pub destination_endpoint: Option<u16>,
    /// Source address and port on the wire where it is masqueraded.
    pub masquerade: Option<(IpAddr, u16)>,
    /// Packets and bytes of the originator; they wrap at 2^24 and 2^40.
    pub forward: Counter,
    pub reverse: Counter,
    /// Policy epoch of its last decision.
    pub epoch: u32,
    pub expires: Offset,
}

/// State of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlowState {
    New,
    Established,
    Closing,
    LastAck,
    /// Policy refused it while it ran.
    Denied,
}

impl FlowState {
    pub const fn name(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Established => "established",
            Self::Closing => "closing",
            Self::LastAck => "last-ack",
            Self::Denied => "denied",
        }
    }

    fn of(state: u8) -> Self {
        match state & CtEntry::STATE_MASK {
            s if s == CtState::Established as u8 => Self::Established,
            s if s == CtState::Closing as u8 => Self::Closing,
            s if s == CtState::LastAck as u8 => Self::LastAck,
            s if s == CtState::Denied as u8 => Self::Denied,
            _ => Self::New,
        }
    }
}

/// Which flows are meant; all conditions hold together, none means all flows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FlowFilter {
    /// Local endpoint on either side.
    pub endpoint: Option<u16>,
    /// Address on either side.
    pub address: Option<IpAddr>,
    /// Port on either side.
    pub port: Option<u16>,
    pub protocol: Option<Protocol>,
}

impl FlowFilter {
    pub fn matches(&self, flow: &Flow) -> bool {
        let either = |a: bool, b: bool| a || b;
        self.protocol.is_none_or(|protocol| flow.protocol == protocol)
            && self
                .endpoint
                .is_none_or(|e| either(flow.source_endpoint == Some(e), flow.destination_endpoint == Some(e)))
            && self.address.is_none_or(|address| either(flow.source.0 == address, flow.destination.0 == address))
            && self.port.is_none_or(|port| either(flow.source.1 == port, flow.destination.1 == port))
    }
}

/// What a walk over the flows found and did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GcReport {
    /// Flows that are alive.
    pub flows: usize,
    pub expired: usize,
    /// Flows of endpoints that no longer exist.
    pub orphaned: usize,
    /// Translations removed, with their flow or since they had none.
    pub translations: usize,
    /// Half-open counters that were off.
    pub recounted: usize,
    pub elapsed: Duration,
    /// When to walk again.
    pub next: Duration,
}

/// The flow maps and what the last walk left to remember.
pub(crate) struct Flows {
    four: Tracked<V4>,
    six: Tracked<V6>,
    pub(crate) jiffies: Jiffies,
    interval: Duration,
}

/// An entry as the kernel has it, and what it means.
type Listed<F> = (<<F as Family>::Ct as KernelMap>::Key, CtEntry, Flow);

struct Tracked<F: Family> {
    ct: Map<F::Ct>,
    nat: Map<F::Nat>,
    addresses: Map<F::NatAddresses>,
    /// Translations that belonged to no flow in the last walk. A flow younger than the walk has one too.
    suspects: HashSet<<F::Nat as KernelMap>::Key>,
    flows: u32,
    translations: u32,
}

/// The two families, which differ in keys.
trait Family: Sized {
    type Ct: KernelMap<Value = CtEntry, Key: Eq + Hash>;
    type Nat: KernelMap<Key: Eq + Hash>;
    type NatAddresses: KernelMap<Key = u32>;

    fn sides(key: &<Self::Ct as KernelMap>::Key) -> ([(IpAddr, Be16); 2], Protocol);
    fn ip(address: &<Self::NatAddresses as KernelMap>::Value) -> IpAddr;
    /// Key of the translation of a flow to `peer` that leaves as `wire`.
    fn nat_key(
        key: &<Self::Ct as KernelMap>::Key,
        origin_is_high: bool,
        address: <Self::NatAddresses as KernelMap>::Value,
        port: Be16,
    ) -> <Self::Nat as KernelMap>::Key;
}

enum V4 {}
enum V6 {}

macro_rules! family {
    ($family:ident, $module:ident, $addr:ty, $ip:ty, $ct:ty, $nat:ty, $addresses:ty) => {
        impl Family for $family {
            type Ct = $ct;
            type Nat = $nat;
            type NatAddresses = $addresses;

            fn sides(key: &ct::$module::CtKey) -> ([(IpAddr, Be16); 2], Protocol) {
                let side = |addr: $addr, port| (IpAddr::from(<$ip>::from(addr)), port);
                ([side(key.low, key.low_port), side(key.high, key.high_port)], key.protocol)
            }

            fn ip(address: &$addr) -> IpAddr {
                <$ip>::from(*address).into()
            }

            fn nat_key(
                key: &ct::$module::CtKey,
                origin_is_high: bool,
                nat: $addr,
                nat_port: Be16,
            ) -> nat::$module::NatKey {
                let (peer, port) = if origin_is_high { (key.low, key.low_port) } else { (key.high, key.high_port) };
                // An echo's reply carries the translated identifier, which stands for both ports.
                let peer_port = if matches!(key.protocol, ICMP | ICMP6) { nat_port } else { port };
                nat::$module::NatKey { nat, peer, nat_port, peer_port, protocol: key.protocol, reserved: [0; 3] }
            }
        }
    };
}
family!(V4, v4, Addr4, Ipv4Addr, Ct4, Nat4, NatAddr4);
family!(V6, v6, Addr6, Ipv6Addr, Ct6, Nat6, NatAddr6);

impl<F: Family> Tracked<F> {
    fn open(kernel: &Loaded) -> Result<Self> {
        Ok(Self {
            ct: kernel.map()?,
            nat: kernel.map()?,
            addresses: kernel.map()?,
            suspects: HashSet::new(),
            flows: 0,
            translations: 0,
        })
    }

    fn nat_addresses(&self) -> Result<HashMap<u32, <F::NatAddresses as KernelMap>::Value>> {
        Ok(self.addresses.entries()?.into_iter().collect())
    }

    fn walk(&mut self, jiffies: &Jiffies, walk: &mut Walk<'_>) -> Result<()> {
        let now = jiffies.now()?;
        let addresses = self.nat_addresses()?;
        let mut ended: Vec<(<F::Ct as KernelMap>::Key, CtEntry)> = Vec::new();
        let mut translated = HashSet::new();
        let mut flows = 0;
        self.ct.visit(|keys, entries| {
            for (key, entry) in keys.iter().zip(entries) {
                if expired(entry, now) || !walk.keeps(entry) {
                    ended.push((*key, *entry));
                    continue;
                }
                flows += 1;
                if entry.state & CtEntry::HALF_OPEN != 0 {
                    *walk.half_open.entry(local(entry.source_endpoint).unwrap_or(0)).or_default() += 1;
                }
                translated.extend(nat_key::<F>(key, entry, &addresses));
            }
        })?;
        walk.report.flows += flows as usize;
        self.flows = flows;
        self.end(ended, now, &addresses, walk)?;
        walk.report.translations += self.drop_unused(&translated)?;
        Ok(())
    }

    /// Removes flows that are still over now, with their translations.
    fn end(
        &mut self,
        ended: Vec<(<F::Ct as KernelMap>::Key, CtEntry)>,
        now: u32,
        addresses: &HashMap<u32, <F::NatAddresses as KernelMap>::Value>,
        walk: &mut Walk<'_>,
    ) -> Result<()> {
        let (mut flows, mut translations) = (Vec::new(), Vec::new());
        for (key, _) in ended {
            // A packet may have refreshed it since the walk saw it.
            let Some(entry) = self.ct.get(&key)? else { continue };
            if expired(&entry, now) {
                walk.report.expired += 1;
            } else if !walk.keeps(&entry) {
                walk.report.orphaned += 1;
            } else {
                continue;
            }
            flows.push(key);
            translations.extend(nat_key::<F>(&key, &entry, addresses));
        }
        self.ct.remove_many(&flows)?;
        walk.report.translations += self.nat.remove_many(&translations)?;
        Ok(())
    }

    /// Removes translations that no flow had in this walk and in the one before.
    fn drop_unused(&mut self, used: &HashSet<<F::Nat as KernelMap>::Key>) -> Result<usize> {
        let mut unused = HashSet::new();
        let mut count = 0;
        self.nat.visit(|keys, _| {
            count += keys.len() as u32;
            unused.extend(keys.iter().filter(|key| !used.contains(key)).copied());
        })?;
        self.translations = count;
        let gone: Vec<_> = unused.intersection(&self.suspects).copied().collect();
        self.suspects = unused;
        Ok(self.nat.remove_many(&gone)?)
    }

    fn list(&self, jiffies: &Jiffies, filter: &FlowFilter) -> Result<Vec<Listed<F>>> {
        let now = jiffies.now()?;
        let addresses = self.nat_addresses()?;
        let mut found = Vec::new();
        self.ct.visit(|keys, entries| {
            for (key, entry) in keys.iter().zip(entries) {
                let flow = flow::<F>(key, entry, &addresses, jiffies.until(entry.expires, now));
                if filter.matches(&flow) {
                    found.push((*key, *entry, flow));
                }
            }
        })?;
        Ok(found)
    }

    fn flush(&self, jiffies: &Jiffies, filter: &FlowFilter) -> Result<usize> {
        let addresses = self.nat_addresses()?;
        let found = self.list(jiffies, filter)?;
        let translations: Vec<_> =
            found.iter().filter_map(|(key, entry, _)| nat_key::<F>(key, entry, &addresses)).collect();
        let flows: Vec<_> = found.into_iter().map(|(key, ..)| key).collect();
        let removed = self.ct.remove_many(&flows)?;
        self.nat.remove_many(&translations)?;
        Ok(removed)
    }
}

/// One walk over both families.
struct Walk<'a> {
    /// Whether a local endpoint exists.
    exists: &'a dyn Fn(u16) -> bool,
    half_open: HashMap<u16, u32>,
    report: GcReport,
}

impl Walk<'_> {
    /// Both sides' endpoints still exist.
    fn keeps(&self, entry: &CtEntry) -> bool {
        let exists = |side: Option<u16>| side.is_none_or(self.exists);
        let target = if entry.state & CtEntry::MASQUERADED != 0 { None } else { local(entry.target) };
        exists(local(entry.source_endpoint)) && exists(target)
    }
}

impl Flows {
    pub(crate) fn open(kernel: &Loaded, jiffies: Jiffies) -> Result<Self> {
        Ok(Self { four: Tracked::open(kernel)?, six: Tracked::open(kernel)?, jiffies, interval: SHORTEST })
    }

    /// Flows and translations as of the last walk: name, used, available.
    pub(crate) fn pressure(&self) -> [(&'static str, u32, u32); 4] {
        let (four, six) = (&self.four, &self.six);
        [
            (Ct4::NAME, four.flows, four.ct.raw().max_entries()),
            (Ct6::NAME, six.flows, six.ct.raw().max_entries()),
            (Nat4::NAME, four.translations, four.nat.raw().max_entries()),
            (Nat6::NAME, six.translations, six.nat.raw().max_entries()),
        ]
    }
}

impl Datapath {
    /// Removes what has ended: flows out of time or of endpoints that no longer exist, translations without a flow, policies
    /// and table entries out of use. The report says when to call again.
    pub fn gc(&mut self) -> Result<GcReport> {
        let start = Instant::now();
        if self.policies.needs_sweep() {
            self.sweep()?;
        }
        let endpoints = self.tables.endpoints.known();
        let exists = |number: u16| endpoints.contains_key(&u32::from(number));
        let mut walk = Walk { exists: &exists, half_open: HashMap::new(), report: GcReport::default() };
        self.flows.four.walk(&self.flows.jiffies, &mut walk)?;
        self.flows.six.walk(&self.flows.jiffies, &mut walk)?;
        let Walk { half_open, mut report, .. } = walk;
        report.recounted = self.tables.recount_half_open(&half_open)?;
        let fullest = self
            .flows
            .pressure()
            .iter()
            .map(|(_, used, room)| f64::from(*used) / f64::from((*room).max(1)))
            .fold(0.0, f64::max);
        self.flows.interval = next_interval(self.flows.interval, report.expired, report.flows, fullest);
        report.elapsed = start.elapsed();
        report.next = self.flows.interval;
        tracing::debug!(target: NX, flows = report.flows, expired = report.expired, next = ?report.next, "flows collected");
        Ok(report)
    }

    /// Flows that `filter` means, in no order.
    pub fn flows(&self, filter: &FlowFilter) -> Result<Vec<Flow>> {
        let four = self.flows.four.list(&self.flows.jiffies, filter)?.into_iter().map(|found| found.2);
        let six = self.flows.six.list(&self.flows.jiffies, filter)?.into_iter().map(|found| found.2);
        Ok(four.chain(six).collect())
    }

    /// Forgets flows that `filter` means, with their translations. Returns how many.
    pub fn flush_flows(&mut self, filter: &FlowFilter) -> Result<usize> {
        Ok(self.flows.four.flush(&self.flows.jiffies, filter)? + self.flows.six.flush(&self.flows.jiffies, filter)?)
    }
}

const SHORTEST: Duration = Duration::from_secs(5);
const LONGEST: Duration = Duration::from_secs(300);

/// When to walk again: sooner when a walk found much to remove or a map fills up, later when it found little.
fn next_interval(last: Duration, expired: usize, alive: usize, fullest: f64) -> Duration {
    let share = expired as f64 / (expired + alive).max(1) as f64;
    let next = if fullest > 0.75 {
        SHORTEST
    } else if share > 0.25 {
        last / 2
    } else if share < 0.05 {
        last * 3 / 2
    } else {
        last
    };
    next.clamp(SHORTEST, LONGEST)
}

fn expired(entry: &CtEntry, now: u32) -> bool {
    (entry.expires.wrapping_sub(now) as i32) < 0
}

/// A local endpoint's number, if it is one.
fn local(number: u16) -> Option<u16> {
    (number != 0 && number != CtEntry::HOST && number != CtEntry::UNTRANSLATED).then_some(number)
}

fn nat_key<F: Family>(
    key: &<F::Ct as KernelMap>::Key,
    entry: &CtEntry,
    addresses: &HashMap<u32, <F::NatAddresses as KernelMap>::Value>,
) -> Option<<F::Nat as KernelMap>::Key> {
    let masqueraded = entry.state & CtEntry::MASQUERADED != 0;
    let address = addresses.get(&u32::from(entry.nat_addr)).filter(|_| masqueraded)?;
    Some(F::nat_key(key, entry.state & CtEntry::ORIGIN_IS_HIGH != 0, *address, Be16::from_raw(entry.target)))
}

fn flow<F: Family>(
    key: &<F::Ct as KernelMap>::Key,
    entry: &CtEntry,
    addresses: &HashMap<u32, <F::NatAddresses as KernelMap>::Value>,
    expires: Offset,
) -> Flow {
    let ([low, high], protocol) = F::sides(key);
    let (source, destination) = if entry.state & CtEntry::ORIGIN_IS_HIGH != 0 { (high, low) } else { (low, high) };
    let masqueraded = entry.state & CtEntry::MASQUERADED != 0;
    let address = addresses.get(&u32::from(entry.nat_addr)).filter(|_| masqueraded);
    Flow {
        protocol,
        source: (source.0, source.1.get()),
        destination: (destination.0, destination.1.get()),
        state: FlowState::of(entry.state),
        source_endpoint: local(entry.source_endpoint),
        destination_endpoint: if masqueraded { None } else { local(entry.target) },
        masquerade: address.map(|address| (F::ip(address), Be16::from_raw(entry.target).get())),
        forward: entry.forward,
        reverse: entry.reverse,
        epoch: entry.epoch,
        expires,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_follows_what_is_found() {
        let minute = Duration::from_secs(60);
        assert_eq!(next_interval(minute, 50, 50, 0.1), minute / 2);
        assert_eq!(next_interval(minute, 10, 90, 0.1), minute);
        assert_eq!(next_interval(minute, 0, 100, 0.1), minute * 3 / 2);
        assert_eq!(next_interval(minute, 0, 100, 0.9), SHORTEST);
        assert_eq!(next_interval(LONGEST, 0, 0, 0.0), LONGEST);
        assert_eq!(next_interval(SHORTEST, 100, 0, 0.0), SHORTEST);
    }

    #[test]
    fn expiry_survives_the_tick_counters_wrap() {
        let entry = |expires| CtEntry { expires, ..CtEntry::default() };
        assert!(expired(&entry(99), 100) && !expired(&entry(100), 100) && !expired(&entry(101), 100));
        assert!(!expired(&entry(5), u32::MAX - 5) && expired(&entry(u32::MAX - 5), 5));
    }
}
