//! From bytes to [`Parsed`]. The hot form takes plain TCP and UDP with two bounds checks; everything else (options,
//! extension headers, fragments, ICMP, headers outside the linear part) goes the long way in a subprogram.

use core::mem::offset_of;

use nexin_abi::{Addr4, Addr6, Be16, Be32, DropReason};
use nexin_packet::header::{Extension, Fragment6, Icmp, Ipv4, Ipv6, Tcp, Udp};
use nexin_packet::{Tuple, protocol};
use zerocopy::FromZeros;

use crate::family::{Family, NO_PORT, V4, V6};
use crate::skb::Skb;

/// Facts that parsing finds.
pub struct Parsed<F: Family> {
    pub tuple: Tuple<F::Addr>,
    /// Offset of the transport header.
    pub l4: u16,
    /// Port as policy sees it, host order: the destination's, for ICMP type and code.
    pub service: u16,
    /// Identification, with [`Parsed::FIRST_FRAGMENT`].
    pub fragment: u32,
    pub tcp_flags: u8,
    /// Bits of [`Parsed`]'s constants.
    pub kind: u8,
}

impl<F: Family> Parsed<F> {
    /// Has no flow of its own: ICMP other than echo.
    pub const UNTRACKED: u8 = 1;
    /// Quotes a packet of the flow it is about.
    pub const ERROR: u8 = 1 << 1;
    /// First of several fragments.
    pub const FIRST_FRAGMENT: u8 = 1 << 2;
    /// Fragment without a transport header.
    pub const LATER_FRAGMENT: u8 = 1 << 3;
    /// IPv4 without "don't fragment".
    pub const MAY_FRAGMENT: u8 = 1 << 4;
    /// ICMP echo reply: answers, never opens.
    pub const ECHO_REPLY: u8 = 1 << 5;
}

/// Parsing of a family.
pub trait Parse: Family {
    /// Plain TCP or UDP with headers in the linear part, else `None`.
    fn hot(skb: Skb, l3: usize) -> Option<Parsed<Self>>;

    /// Any packet. 0, or the number of the [`DropReason`].
    fn cold(skb: Skb, l3: usize, parsed: &mut Parsed<Self>) -> i32;

    /// A packet that an ICMP error quotes, cut off eight bytes into its transport or later.
    fn quoted(skb: Skb, l3: usize, parsed: &mut Parsed<Self>) -> i32;
}

/// Source and destination port, as every transport begins.
#[repr(C, packed)]
#[derive(Clone, Copy, zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable, zerocopy::Unaligned)]
struct PortPair {
    source: Be16,
    destination: Be16,
    rest: Be32,
}

#[inline(always)]
fn hot_transport<F: Family>(
    skb: Skb,
    l4: usize,
    proto: u8,
    source: F::Addr,
    destination: F::Addr,
    kind: u8,
) -> Option<Parsed<F>> {
    let header = skb.view::<{ Udp::LEN }>(l4)?;
    let source_port = Be16::from_raw(header.u16::<{ offset_of!(Udp, source) }>());
    let destination_port = Be16::from_raw(header.u16::<{ offset_of!(Udp, destination) }>());
    let tcp_flags = match proto {
        protocol::TCP => skb.view::<{ Tcp::LEN }>(l4)?.u8::<{ offset_of!(Tcp, flags) }>(),
        protocol::UDP => 0,
        _ => return None,
    };
    let tuple = Tuple { source, destination, source_port, destination_port, protocol: proto };
    Some(Parsed { tuple, l4: l4 as u16, service: destination_port.get(), fragment: 0, tcp_flags, kind })
}

impl Parse for V4 {
    #[inline(always)]
    fn hot(skb: Skb, l3: usize) -> Option<Parsed<V4>> {
        let ip = skb.view::<{ Ipv4::LEN }>(l3)?;
        const FRAGMENTED: u16 = Be16::new(Ipv4::MORE_FRAGMENTS | Ipv4::OFFSET_MASK).raw();
        const DONT: u16 = Be16::new(Ipv4::DONT_FRAGMENT).raw();
        let fragment = ip.u16::<{ offset_of!(Ipv4, fragment) }>();
        if ip.u8::<0>() != Ipv4::PLAIN || fragment & FRAGMENTED != 0 {
            return None;
        }
        let kind = if fragment & DONT == 0 { Parsed::<V4>::MAY_FRAGMENT } else { 0 };
        let source = Addr4(Be32::from_raw(ip.u32::<{ offset_of!(Ipv4, source) }>()));
        let destination = Addr4(Be32::from_raw(ip.u32::<{ offset_of!(Ipv4, destination) }>()));
        hot_transport(skb, l3 + Ipv4::LEN, ip.u8::<{ offset_of!(Ipv4, protocol) }>(), source, destination, kind)
    }

    #[inline(always)]
    fn cold(skb: Skb, l3: usize, parsed: &mut Parsed<V4>) -> i32 {
        cold4(skb, l3 as u32, parsed, false)
    }

    #[inline(always)]
    fn quoted(skb: Skb, l3: usize, parsed: &mut Parsed<V4>) -> i32 {
        cold4(skb, l3 as u32, parsed, true)
    }
}

impl Parse for V6 {
    #[inline(always)]
    fn hot(skb: Skb, l3: usize) -> Option<Parsed<V6>> {
        let ip = skb.view::<{ Ipv6::LEN }>(l3)?;
        const SOURCE: usize = offset_of!(Ipv6, source);
        const DESTINATION: usize = offset_of!(Ipv6, destination);
        let source: Addr6 = zerocopy::transmute!([ip.u64::<SOURCE>(), ip.u64::<{ SOURCE + 8 }>()]);
        let destination: Addr6 = zerocopy::transmute!([ip.u64::<DESTINATION>(), ip.u64::<{ DESTINATION + 8 }>()]);
        hot_transport(skb, l3 + Ipv6::LEN, ip.u8::<{ offset_of!(Ipv6, next_header) }>(), source, destination, 0)
    }

    #[inline(always)]
    fn cold(skb: Skb, l3: usize, parsed: &mut Parsed<V6>) -> i32 {
        cold6(skb, l3 as u32, parsed, false)
    }

    #[inline(always)]
    fn quoted(skb: Skb, l3: usize, parsed: &mut Parsed<V6>) -> i32 {
        cold6(skb, l3 as u32, parsed, true)
    }
}

impl<F: Family> Parsed<F> {
    /// Nothing known yet.
    #[inline(always)]
    pub fn empty() -> Self {
        let zero = F::Addr::new_zeroed();
        let tuple =
            Tuple { source: zero, destination: zero, source_port: NO_PORT, destination_port: NO_PORT, protocol: 0 };
        Self { tuple, l4: 0, service: 0, fragment: 0, tcp_flags: 0, kind: 0 }
    }
}

#[inline(always)]
fn cold4(skb: Skb, l3: u32, parsed: &mut Parsed<V4>, quoted: bool) -> i32 {
    let Some(ip) = skb.load::<Ipv4>(l3 as usize) else {
        return DropReason::InvalidPacket as i32;
    };
    let header = Ipv4::header_len(ip.version_len);
    let total = u32::from(ip.total_len.get());
    if ip.version_len >> 4 != 4 || header < Ipv4::LEN || total < header as u32 {
        return DropReason::InvalidPacket as i32;
    }
    if !quoted && total > skb.len() - l3 {
        return DropReason::InvalidPacket as i32;
    }
    let fragment = ip.fragment.get();
    let more = fragment & Ipv4::MORE_FRAGMENTS != 0;
    let offset = fragment & Ipv4::OFFSET_MASK;
    parsed.tuple.source = ip.source;
    parsed.tuple.destination = ip.destination;
    parsed.tuple.protocol = ip.protocol;
    parsed.l4 = (l3 as usize + header) as u16;
    parsed.kind = if fragment & Ipv4::DONT_FRAGMENT == 0 { Parsed::<V4>::MAY_FRAGMENT } else { 0 };
    let fragment = Fragment { id: u32::from(ip.id.get()), later: offset != 0, more };
    // RFC 1858: a second fragment this early rewrites the flags that the first one was judged by.
    if offset == 1 && ip.protocol == protocol::TCP {
        return DropReason::InvalidPacket as i32;
    }
    transport(skb, parsed, fragment, quoted)
}

/// Extension headers a packet may carry before its transport.
const EXTENSIONS: u32 = 8;

#[inline(always)]
fn cold6(skb: Skb, l3: u32, parsed: &mut Parsed<V6>, quoted: bool) -> i32 {
    let Some(ip) = skb.load::<Ipv6>(l3 as usize) else {
        return DropReason::InvalidPacket as i32;
    };
    if ip.version_class_flow.get() >> 28 != 6 {
        return DropReason::InvalidPacket as i32;
    }
    parsed.tuple.source = ip.source;
    parsed.tuple.destination = ip.destination;
    let mut next = ip.next_header;
    let mut at = l3 as usize + Ipv6::LEN;
    let (mut id, mut later, mut more) = (0, false, false);
    for _ in 0..EXTENSIONS {
        match next {
            protocol::FRAGMENT => {
                let Some(fragment) = skb.load::<Fragment6>(at) else {
                    return DropReason::InvalidExtensionHeader as i32;
                };
                id = fragment.id.get();
                later = fragment.offset.get() & 0xfff8 != 0;
                more = fragment.offset.get() & 1 != 0;
                next = fragment.next_header;
                at += Fragment6::LEN;
                if later {
                    break;
                }
            }
            protocol::HOP_BY_HOP
            | protocol::ROUTING
            | protocol::DESTINATION_OPTIONS
            | protocol::MOBILITY
            | protocol::AUTH => {
                let Some(extension) = skb.load::<Extension>(at) else {
                    return DropReason::InvalidExtensionHeader as i32;
                };
                // RFC 5095: routing header type 0 must not be forwarded.
                if next == protocol::ROUTING && extension.rest[0] == 0 {
                    return DropReason::InvalidExtensionHeader as i32;
                }
                let units = extension.len as usize;
                at += if next == protocol::AUTH { (units + 2) << 2 } else { (units + 1) << 3 };
                next = extension.next_header;
            }
            _ => break,
        }
    }
    if matches!(next, protocol::HOP_BY_HOP | protocol::ROUTING | protocol::DESTINATION_OPTIONS) && !later {
        return DropReason::InvalidExtensionHeader as i32;
    }
    parsed.tuple.protocol = next;
    parsed.l4 = at as u16;
    parsed.kind = 0;
    transport(skb, parsed, Fragment { id, later, more }, quoted)
}

/// What a packet says of its fragmentation.
#[derive(Clone, Copy)]
struct Fragment {
    id: u32,
    /// Not the first.
    later: bool,
    more: bool,
}

/// Ports, or what stands for them; for later fragments as the first one left them.
#[inline(always)]
fn transport<F: Family>(skb: Skb, parsed: &mut Parsed<F>, fragment: Fragment, quoted: bool) -> i32 {
    let t = &mut parsed.tuple;
    if fragment.later {
        parsed.kind |= Parsed::<F>::LATER_FRAGMENT;
        let Some(ports) = F::frag().get(&F::frag_key(t.source, t.destination, fragment.id, t.protocol)) else {
            return DropReason::FragmentNotFound as i32;
        };
        t.source_port = ports.source;
        t.destination_port = ports.destination;
        parsed.service = ports.destination.get();
        return 0;
    }
    match t.protocol {
        protocol::TCP if !quoted => {
            let Some(tcp) = skb.load::<Tcp>(parsed.l4 as usize) else {
                return DropReason::CtInvalidHeader as i32;
            };
            t.source_port = tcp.source;
            t.destination_port = tcp.destination;
            parsed.tcp_flags = tcp.flags;
        }
        protocol::TCP | protocol::UDP | protocol::SCTP => {
            let Some(ports) = skb.load::<PortPair>(parsed.l4 as usize) else {
                return DropReason::CtInvalidHeader as i32;
            };
            t.source_port = ports.source;
            t.destination_port = ports.destination;
        }
        proto if proto == F::ICMP => {
            let Some(icmp) = skb.load::<Icmp>(parsed.l4 as usize) else {
                return DropReason::CtInvalidHeader as i32;
            };
            if icmp.kind == F::ECHO || icmp.kind == F::ECHO_REPLY {
                t.source_port = icmp.id;
                t.destination_port = icmp.id;
                parsed.kind |= if icmp.kind == F::ECHO { 0 } else { Parsed::<F>::ECHO_REPLY };
            } else {
                parsed.kind |= Parsed::<F>::UNTRACKED;
                if F::is_icmp_error(icmp.kind) {
                    parsed.kind |= Parsed::<F>::ERROR;
                }
            }
            parsed.service = u16::from(icmp.kind) << 8 | u16::from(icmp.code);
        }
        _ => {}
    }
    if t.protocol != F::ICMP {
        parsed.service = t.destination_port.get();
    }
    if fragment.more && !quoted {
        parsed.kind |= Parsed::<F>::FIRST_FRAGMENT;
        parsed.fragment = fragment.id;
    }
    0
}
