//! Flows: what is tracked, what has ended, what masquerading belongs to it. Layout: `nexin_abi::maps::ct`.
//!
//! Programs make and refresh flows and remove closed ones; what runs out of time is collected in `gc.rs`.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use nexin_abi::maps::KernelMap;
use nexin_abi::maps::ct::{self, Counter, Ct4, Ct6, CtEntry, CtState};
use nexin_abi::maps::nat::{self, Nat4, Nat6, NatAddr4, NatAddr6};
use nexin_abi::{Addr4, Addr6, Be16};
use nexin_bpf::clock::{Jiffies, Offset};
use nexin_bpf::{Loaded, Map};

use crate::Datapath;
use crate::error::Result;

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

/// The flow maps.
pub(crate) struct Flows {
    pub(crate) four: Tracked<V4>,
    pub(crate) six: Tracked<V6>,
    pub(crate) jiffies: Jiffies,
}

/// An entry as the kernel has it, and what it means.
type Listed<F> = (<<F as Family>::Ct as KernelMap>::Key, CtEntry, Flow);

/// Flows and translations of one family.
pub(crate) struct Tracked<F: Family> {
    pub(crate) ct: Map<F::Ct>,
    pub(crate) nat: Map<F::Nat>,
    addresses: Map<F::NatAddresses>,
    /// Counted by the last walk, as far as it has come.
    pub(crate) flows: u32,
    /// A walk is under way.
    pub(crate) counting: bool,
    pub(crate) translations: u32,
}

/// The two families, which differ in keys.
pub(crate) trait Family: Sized {
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

pub(crate) enum V4 {}
pub(crate) enum V6 {}

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
            flows: 0,
            counting: false,
            translations: 0,
        })
    }

    pub(crate) fn nat_addresses(&self) -> Result<HashMap<u32, <F::NatAddresses as KernelMap>::Value>> {
        Ok(self.addresses.entries()?.into_iter().collect())
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

impl Flows {
    pub(crate) fn open(kernel: &Loaded, jiffies: Jiffies) -> Result<Self> {
        Ok(Self { four: Tracked::open(kernel)?, six: Tracked::open(kernel)?, jiffies })
    }

    /// Timer interrupts a second.
    pub(crate) fn hz(&self) -> u32 {
        self.jiffies.hz()
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

pub(crate) fn expired(entry: &CtEntry, now: u32) -> bool {
    (entry.expires.wrapping_sub(now) as i32) < 0
}

/// A local endpoint's number, if it is one.
pub(crate) fn local(number: u16) -> Option<u16> {
    (number != 0 && number != CtEntry::HOST && number != CtEntry::UNTRANSLATED).then_some(number)
}

pub(crate) fn nat_key<F: Family>(
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
