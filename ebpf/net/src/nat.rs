//! Masquerading: a workload's flow to the world leaves with the node's address. The forward translation is kept in the
//! flow's own entry, the way back in a map of its own; both come and go together.
//!
//! The node's own flows are never stolen: ports are taken from a range apart from the stack's ephemeral ports, a port a
//! socket of the node uses towards that peer is passed over, and a flow of the node's own on a port of the range gets a
//! translation like any other (its own port, if free), so that it and a workload's flow cannot share a tuple.

use core::mem::offset_of;

use nexin_abi::maps::KernelMap;
use nexin_abi::maps::ct::CtEntry;
use nexin_abi::maps::device::Device;
use nexin_abi::maps::nat::{Nat4, Nat6, v4, v6};
use nexin_abi::{Addr4, Addr6, Be16};
use nexin_packet::header::{Icmp, Ipv4, Ipv6, Tcp, Udp};
use nexin_packet::protocol;

use crate::config::Setting;
use crate::ct::{Flow, half_open_closed};
use crate::deliver::Deliver;
use crate::family::{Family, NO_PORT, V4, V6};
use crate::maps::{self, Table};
use crate::packet::Packet;
use crate::parse::Parsed;
use crate::skb::{Skb, sum};

/// Ports tried for a new flow before it is refused.
const TRIES: u32 = 32;

/// An address and a port (ICMP: the identifier).
#[derive(Clone, Copy)]
pub struct End<A> {
    pub addr: A,
    pub port: Be16,
}

/// Which end of a packet.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Source,
    Destination,
}

/// Translation that differs by family.
pub trait Translate: Deliver {
    type Nat: KernelMap<Key = Self::NatKey, Value = Self::NatEntry> + 'static;
    type NatKey: Copy + 'static;
    type NatEntry: Copy + 'static;

    fn nat() -> &'static Table<Self::Nat>;
    fn nat_key(nat: End<Self::Addr>, peer: End<Self::Addr>, proto: u8) -> Self::NatKey;
    fn nat_entry(source: End<Self::Addr>) -> Self::NatEntry;
    fn before(entry: &Self::NatEntry) -> End<Self::Addr>;
    /// Masquerade address of this index.
    fn nat_address(index: u32) -> Option<Self::Addr>;
    /// Index + 1 of the device's masquerade address, 0 = none.
    fn nat_index(device: &Device) -> u8;
    /// The node has a socket that would get this packet's answers.
    fn host_uses(skb: Skb, local: End<Self::Addr>, peer: End<Self::Addr>, proto: u8) -> bool;
    /// Offset of an address in the header.
    fn address_at(side: Side) -> usize;
    /// Corrects the header's own checksum, if it has one.
    fn sum_header(skb: Skb, l3: usize, old: &Self::Addr, new: &Self::Addr) -> bool;
    /// Corrects a checksum that covers the address; `pseudo` = through the pseudo header.
    fn sum_address(skb: Skb, at: usize, old: &Self::Addr, new: &Self::Addr, pseudo: bool, keep_zero: bool) -> bool;
}

macro_rules! tables {
    ($module:ident, $map:ty, $addr:ty, $table:ident, $addresses:ident, $index:ident) => {
        type Nat = $map;
        type NatKey = $module::NatKey;
        type NatEntry = $module::NatEntry;

        #[inline(always)]
        fn nat() -> &'static Table<$map> {
            &maps::$table
        }

        #[inline(always)]
        fn nat_key(nat: End<$addr>, peer: End<$addr>, proto: u8) -> $module::NatKey {
            $module::NatKey {
                nat: nat.addr,
                peer: peer.addr,
                nat_port: nat.port,
                peer_port: peer.port,
                protocol: proto,
                reserved: [0; 3],
            }
        }

        #[inline(always)]
        fn nat_entry(source: End<$addr>) -> $module::NatEntry {
            $module::NatEntry { source: source.addr, port: source.port, reserved: [0; 2] }
        }

        #[inline(always)]
        fn before(entry: &$module::NatEntry) -> End<$addr> {
            End { addr: entry.source, port: entry.port }
        }

        #[inline(always)]
        fn nat_address(index: u32) -> Option<$addr> {
            maps::$addresses.get(&index)
        }

        #[inline(always)]
        fn nat_index(device: &Device) -> u8 {
            device.$index
        }
    };
}

impl Translate for V4 {
    tables!(v4, Nat4, Addr4, NAT4, NAT_ADDR4, nat_addr4);

    #[inline(always)]
    fn host_uses(skb: Skb, local: End<Addr4>, peer: End<Addr4>, proto: u8) -> bool {
        // struct bpf_sock_tuple.ipv4: source address, destination address, ports; the packet that would come.
        let tuple = [peer.addr.0.raw(), local.addr.0.raw(), ports(peer.port, local.port)];
        skb.has_socket(&tuple, proto == protocol::TCP)
    }

    #[inline(always)]
    fn address_at(side: Side) -> usize {
        if side == Side::Source { offset_of!(Ipv4, source) } else { offset_of!(Ipv4, destination) }
    }

    #[inline(always)]
    fn sum_header(skb: Skb, l3: usize, old: &Addr4, new: &Addr4) -> bool {
        skb.replace_l3(l3 + offset_of!(Ipv4, checksum), old.0.raw(), new.0.raw())
    }

    #[inline(always)]
    fn sum_address(skb: Skb, at: usize, old: &Addr4, new: &Addr4, pseudo: bool, keep_zero: bool) -> bool {
        let flags = 4 | if pseudo { sum::PSEUDO } else { 0 } | if keep_zero { sum::KEEP_ZERO } else { 0 };
        skb.replace_l4(at, old.0.raw().into(), new.0.raw().into(), flags)
    }
}

impl Translate for V6 {
    tables!(v6, Nat6, Addr6, NAT6, NAT_ADDR6, nat_addr6);

    #[inline(always)]
    fn host_uses(skb: Skb, local: End<Addr6>, peer: End<Addr6>, proto: u8) -> bool {
        let (from, to) = (peer.addr.0, local.addr.0);
        let words = [from[0], from[1], from[2], from[3], to[0], to[1], to[2], to[3]].map(nexin_abi::Be32::raw);
        let [a, b, c, d, e, f, g, h] = words;
        skb.has_socket(&[a, b, c, d, e, f, g, h, ports(peer.port, local.port)], proto == protocol::TCP)
    }

    #[inline(always)]
    fn address_at(side: Side) -> usize {
        if side == Side::Source { offset_of!(Ipv6, source) } else { offset_of!(Ipv6, destination) }
    }

    #[inline(always)]
    fn sum_header(_skb: Skb, _l3: usize, _old: &Addr6, _new: &Addr6) -> bool {
        true
    }

    #[inline(always)]
    fn sum_address(skb: Skb, at: usize, old: &Addr6, new: &Addr6, pseudo: bool, keep_zero: bool) -> bool {
        let difference = skb.difference(old, new);
        let flags = if keep_zero { sum::KEEP_ZERO } else { 0 };
        if !pseudo {
            return skb.replace_l4(at, 0, difference, flags);
        }
        // Kernels that do not know the flag also lack the bug (of device checksums) that it mends, or live with it.
        let flags = flags | sum::PSEUDO;
        skb.replace_l4(at, 0, difference, flags | sum::SIX) || skb.replace_l4(at, 0, difference, flags)
    }
}

/// Two ports as they stand side by side.
#[inline(always)]
fn ports(first: Be16, second: Be16) -> u32 {
    u32::from(first.raw()) | u32::from(second.raw()) << 16
}

/// What there is to rewrite in a packet: where its headers begin and what the transport is.
#[derive(Clone, Copy)]
pub struct Place {
    pub l3: usize,
    pub l4: usize,
    pub proto: u8,
    /// A fragment without a transport header.
    pub headless: bool,
}

/// Offset of the transport checksum, whether the addresses enter it, and whether zero means "none".
#[inline(always)]
fn transport_sum<F: Family>(proto: u8) -> Option<(usize, bool, bool)> {
    match proto {
        protocol::TCP => Some((offset_of!(Tcp, checksum), true, false)),
        protocol::UDP => Some((offset_of!(Udp, checksum), true, true)),
        protocol::ICMP | protocol::ICMP6 if proto == F::ICMP => {
            Some((offset_of!(Icmp, checksum), F::VERSION == 6, false))
        }
        _ => None,
    }
}

/// Offset of the port in the transport header.
#[inline(always)]
fn port_at<F: Family>(proto: u8, side: Side) -> usize {
    if proto == F::ICMP {
        offset_of!(Icmp, id)
    } else if side == Side::Source {
        offset_of!(Udp, source)
    } else {
        offset_of!(Udp, destination)
    }
}

/// Replaces one end of the packet, all checksums included. False when the packet is too short for that.
#[inline(always)]
pub fn rewrite<F: Translate>(skb: Skb, at: Place, side: Side, old: &End<F::Addr>, new: &End<F::Addr>) -> bool {
    if !at.headless
        && let Some((offset, pseudo, keep_zero)) = transport_sum::<F>(at.proto)
    {
        let sum_at = at.l4 + offset;
        if pseudo && !F::sum_address(skb, sum_at, &old.addr, &new.addr, true, keep_zero) {
            return false;
        }
        let flags = 2 | if keep_zero { sum::KEEP_ZERO } else { 0 };
        if old.port != new.port
            && !(skb.replace_l4(sum_at, old.port.raw().into(), new.port.raw().into(), flags)
                && skb.store(at.l4 + port_at::<F>(at.proto, side), &new.port))
        {
            return false;
        }
    }
    F::sum_header(skb, at.l3, &old.addr, &new.addr) && skb.store(at.l3 + F::address_at(side), &new.addr)
}

/// Translates an ICMP error: the end of the packet it quotes (`quoted` says where that is), and its own other end. The
/// quoted transport's checksum is left: it may be cut off, and nobody verifies it.
#[inline(always)]
pub fn rewrite_error<F: Translate>(
    skb: Skb,
    outer: Place,
    quoted: Place,
    side: Side,
    old: &End<F::Addr>,
    new: &End<F::Addr>,
) -> bool {
    let sum_at = outer.l4 + offset_of!(Icmp, checksum);
    // In IPv4 the quoted header's own checksum makes up for the address in the message's sum.
    if F::VERSION == 6 && !F::sum_address(skb, sum_at, &old.addr, &new.addr, false, false) {
        return false;
    }
    if !F::sum_header(skb, quoted.l3, &old.addr, &new.addr) || !skb.store(quoted.l3 + F::address_at(side), &new.addr) {
        return false;
    }
    if old.port != new.port
        && !(skb.replace_l4(sum_at, old.port.raw().into(), new.port.raw().into(), 2)
            && skb.store(quoted.l4 + port_at::<F>(quoted.proto, side), &new.port))
    {
        return false;
    }
    let own = if side == Side::Source { Side::Destination } else { Side::Source };
    let (old, new) = (End { addr: old.addr, port: NO_PORT }, End { addr: new.addr, port: NO_PORT });
    rewrite::<F>(skb, outer, own, &old, &new)
}

impl<F: Translate> Packet<F> {
    #[inline(always)]
    pub fn place(&self) -> Place {
        let headless = self.is(Parsed::<F>::LATER_FRAGMENT);
        Place { l3: (self.l3 & 14) as usize, l4: self.l4 as usize, proto: self.protocol, headless }
    }

    /// The packet has another destination now: key and owners follow.
    #[inline(always)]
    pub fn redirect(&mut self, to: &End<F::Addr>) {
        let mut tuple = self.tuple();
        tuple.destination = to.addr;
        if self.protocol == F::ICMP {
            tuple.source_port = to.port;
        }
        tuple.destination_port = to.port;
        self.service = if self.protocol == F::ICMP { self.service } else { to.port.get() };
        (self.key, self.sender_is_low) = F::key(&tuple);
        self.resolved = false;
    }

    /// As [`Packet::redirect`], for packets without ports.
    #[inline(always)]
    pub fn redirect_to(&mut self, addr: &F::Addr) {
        self.redirect(&End { addr: *addr, port: NO_PORT });
    }

    /// Where the packet comes from and where it goes.
    #[inline(always)]
    pub fn source_and_destination(&self) -> (End<F::Addr>, End<F::Addr>) {
        let t = self.tuple();
        (End { addr: t.source, port: t.source_port }, End { addr: t.destination, port: t.destination_port })
    }
}

/// Stage: finds a free port for the flow whose first packet this is. 1 when the flow is translated now, 0 when there is none.
#[inline(always)]
pub fn allocate<F: Translate>(skb: Skb, p: &mut Packet<F>, flow: Option<Flow>, index: u32) -> i32 {
    let (Some(flow), Some(nat_addr)) = (flow, F::nat_address(index)) else { return 0 };
    let (source, mut peer) = p.source_and_destination();
    let entry = F::nat_entry(source);
    let (first, last) = (Setting::NX_NAT_FIRST(), Setting::NX_NAT_LAST());
    let span = last.wrapping_sub(first).wrapping_add(1);
    let own = u32::from(source.port.get());
    let free_choice = matches!(p.protocol, protocol::TCP | protocol::UDP) || p.protocol == F::ICMP;
    let start = if in_range(own) { own - first } else { crate::skb::random().checked_rem(span).unwrap_or(0) };
    for n in 0..TRIES {
        let port = if free_choice {
            Be16::new((first + (start + n).checked_rem(span).unwrap_or(0)) as u16)
        } else {
            source.port
        };
        let nat = End { addr: nat_addr, port };
        if p.protocol == F::ICMP {
            peer.port = port;
        }
        let socket = matches!(p.protocol, protocol::TCP | protocol::UDP)
            && flow.source() != CtEntry::HOST
            && F::host_uses(skb, nat, peer, p.protocol);
        if !socket && F::nat().add(&F::nat_key(nat, peer, p.protocol), &entry) {
            flow.set_nat_addr(index as u8);
            flow.set_target(port.raw());
            flow.set_state(flow.state() | CtEntry::MASQUERADED);
            return 1;
        }
        if !free_choice {
            break;
        }
    }
    0
}

/// In the range that masquerading uses.
#[inline(always)]
pub fn in_range(port: u32) -> bool {
    port >= Setting::NX_NAT_FIRST() && port <= Setting::NX_NAT_LAST()
}

/// Stage: gives the packet its flow's translated source. 0 when it cannot be written.
#[inline(always)]
pub fn masquerade<F: Translate>(skb: Skb, p: &mut Packet<F>, flow: Option<Flow>) -> i32 {
    let Some(flow) = flow else { return 0 };
    let Some(addr) = F::nat_address(u32::from(flow.nat_addr())) else { return 0 };
    let (source, _) = p.source_and_destination();
    let new = End { addr, port: Be16::from_raw(flow.target()) };
    i32::from(rewrite::<F>(skb, p.place(), Side::Source, &source, &new))
}

/// Stage: removes a flow, its translation and its share of the half-open quota.
#[inline(always)]
pub fn forget<F: Translate>(_skb: Skb, p: &mut Packet<F>, flow: Option<Flow>) -> i32 {
    let Some(flow) = flow else { return 0 };
    if flow.has(CtEntry::MASQUERADED)
        && let Some(addr) = F::nat_address(u32::from(flow.nat_addr()))
    {
        let nat = End { addr, port: Be16::from_raw(flow.target()) };
        let (source, destination) = p.source_and_destination();
        let mut peer = if p.is_forward(flow.state()) { destination } else { source };
        if p.protocol == F::ICMP {
            peer.port = nat.port;
        }
        F::nat().remove(&F::nat_key(nat, peer, p.protocol));
    }
    let (source, half_open) = (flow.source(), flow.take_half_open());
    // VERIFIER: before 6.6 or so a map key must be on the stack of the function itself.
    let key = p.key;
    F::ct().remove(&key);
    if half_open {
        half_open_closed(source);
    }
    0
}
