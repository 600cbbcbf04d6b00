//! What filters and metrics ask of a flow, so that they run on the compact record in the ring and on a protobuf message
//! from a file or another node alike.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;

use nexin_hubble::flow;

/// An address as it stands in a flow. Hubble compares exact addresses as text, so the text of foreign flows is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Address<'a> {
    Text(&'a str),
    Ip(IpAddr),
}

impl Address<'_> {
    pub fn parse(self) -> Option<IpAddr> {
        match self {
            Self::Text(text) => text.parse().ok(),
            Self::Ip(ip) => Some(ip),
        }
    }

    pub fn is_empty(self) -> bool {
        matches!(self, Self::Text(""))
    }
}

impl fmt::Display for Address<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Ip(ip) => ip.fmt(f),
        }
    }
}

/// The network header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ip<'a> {
    pub source: Address<'a>,
    pub destination: Address<'a>,
    /// Number of [`flow::IpVersion`].
    pub version: i32,
    pub encrypted: bool,
    /// Source after masquerading; empty where nothing was translated.
    pub source_xlated: Address<'a>,
}

/// Flags of TCP, bit n is bit n of the header (FIN = 1 .. CWR = 128, NS = 256).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpFlags(pub u16);

impl TcpFlags {
    pub const FIN: u16 = 1;
    pub const SYN: u16 = 1 << 1;
    pub const RST: u16 = 1 << 2;
    pub const PSH: u16 = 1 << 3;
    pub const ACK: u16 = 1 << 4;
    pub const URG: u16 = 1 << 5;
    pub const ECE: u16 = 1 << 6;
    pub const CWR: u16 = 1 << 7;
    pub const NS: u16 = 1 << 8;

    pub fn has(self, flags: u16) -> bool {
        self.0 & flags == flags
    }
}

impl From<&flow::TcpFlags> for TcpFlags {
    fn from(f: &flow::TcpFlags) -> Self {
        let bits = [f.fin, f.syn, f.rst, f.psh, f.ack, f.urg, f.ece, f.cwr, f.ns];
        Self(bits.iter().enumerate().map(|(n, set)| u16::from(*set) << n).sum())
    }
}

impl From<TcpFlags> for flow::TcpFlags {
    fn from(flags: TcpFlags) -> Self {
        let has = |bit| flags.has(bit);
        Self {
            fin: has(TcpFlags::FIN),
            syn: has(TcpFlags::SYN),
            rst: has(TcpFlags::RST),
            psh: has(TcpFlags::PSH),
            ack: has(TcpFlags::ACK),
            urg: has(TcpFlags::URG),
            ece: has(TcpFlags::ECE),
            cwr: has(TcpFlags::CWR),
            ns: has(TcpFlags::NS),
        }
    }
}

/// The transport header. Ports are as wide as on the wire of Hubble, which carries 32 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum L4<'a> {
    Tcp { source: u32, destination: u32, flags: Option<TcpFlags> },
    Udp { source: u32, destination: u32 },
    Sctp { source: u32, destination: u32, chunk: i32 },
    Icmp4 { kind: u32, code: u32 },
    Icmp6 { kind: u32, code: u32 },
    Vrrp { kind: u32, vrid: u32, priority: u32 },
    Igmp { kind: u32, group: &'a str },
}

impl L4<'_> {
    /// Source and destination port, where the protocol has ports.
    pub fn ports(self) -> Option<(u32, u32)> {
        match self {
            Self::Tcp { source, destination, .. }
            | Self::Udp { source, destination }
            | Self::Sctp { source, destination, .. } => Some((source, destination)),
            _ => None,
        }
    }
}

/// A flow that can be asked. Enumerations are the numbers of [`flow`]'s enums, unknown ones included.
pub trait View {
    fn uuid_is(&self, uuid: &str) -> bool;
    /// Seconds and nanoseconds since the epoch.
    fn time(&self) -> Option<(i64, i32)>;
    fn verdict(&self) -> i32;
    fn drop_reason(&self) -> i32;
    /// Type and subtype: see "two code spaces" of the reference.
    fn event_type(&self) -> Option<(i32, i32)>;
    fn traffic_direction(&self) -> i32;
    fn is_reply(&self) -> Option<bool>;
    fn policy_match_type(&self) -> u32;
    fn ip(&self) -> Option<Ip<'_>>;
    fn l4(&self) -> Option<L4<'_>>;
    /// Whether there is a transport header at all: a message may hold an empty one.
    fn has_l4(&self) -> bool {
        self.l4().is_some()
    }
    fn l7(&self) -> Option<&flow::Layer7>;
    fn source(&self) -> Option<&flow::Endpoint>;
    fn destination(&self) -> Option<&flow::Endpoint>;
    fn source_names(&self) -> &[String];
    fn destination_names(&self) -> &[String];
    fn source_service(&self) -> Option<&flow::Service>;
    fn destination_service(&self) -> Option<&flow::Service>;
    fn node_name(&self) -> &str;
    fn node_labels(&self) -> &[String];
    /// Index and name.
    fn interface(&self) -> Option<(u32, &str)>;
    /// W3C trace id.
    fn trace_id(&self) -> &str;
    /// Trace id of the IP option, 0 where there is none.
    fn ip_trace_id(&self) -> u64;
    /// Everything, for CEL and for the wire.
    fn flow(&self) -> Cow<'_, flow::Flow>;
}

// === a message of Hubble's ===

impl View for flow::Flow {
    fn uuid_is(&self, uuid: &str) -> bool {
        self.uuid == uuid
    }

    fn time(&self) -> Option<(i64, i32)> {
        self.time.map(|time| (time.seconds, time.nanos))
    }

    fn verdict(&self) -> i32 {
        self.verdict
    }

    fn drop_reason(&self) -> i32 {
        self.drop_reason_desc
    }

    fn event_type(&self) -> Option<(i32, i32)> {
        self.event_type.map(|event| (event.r#type, event.sub_type))
    }

    fn traffic_direction(&self) -> i32 {
        self.traffic_direction
    }

    fn is_reply(&self) -> Option<bool> {
        self.is_reply
    }

    fn policy_match_type(&self) -> u32 {
        self.policy_match_type
    }

    fn ip(&self) -> Option<Ip<'_>> {
        self.ip.as_ref().map(|ip| Ip {
            source: Address::Text(&ip.source),
            destination: Address::Text(&ip.destination),
            version: ip.ip_version,
            encrypted: ip.encrypted,
            source_xlated: Address::Text(&ip.source_xlated),
        })
    }

    fn l4(&self) -> Option<L4<'_>> {
        use flow::layer4::Protocol as P;
        Some(match self.l4.as_ref()?.protocol.as_ref()? {
            P::Tcp(l4) => L4::Tcp {
                source: l4.source_port,
                destination: l4.destination_port,
                flags: l4.flags.as_ref().map(TcpFlags::from),
            },
            P::Udp(l4) => L4::Udp { source: l4.source_port, destination: l4.destination_port },
            P::Sctp(l4) => L4::Sctp { source: l4.source_port, destination: l4.destination_port, chunk: l4.chunk_type },
            P::IcmPv4(l4) => L4::Icmp4 { kind: l4.r#type, code: l4.code },
            P::IcmPv6(l4) => L4::Icmp6 { kind: l4.r#type, code: l4.code },
            P::Vrrp(l4) => L4::Vrrp { kind: l4.r#type, vrid: l4.vrid, priority: l4.priority },
            P::Igmp(l4) => L4::Igmp { kind: l4.r#type, group: &l4.group_address },
        })
    }

    fn has_l4(&self) -> bool {
        self.l4.is_some()
    }

    fn l7(&self) -> Option<&flow::Layer7> {
        self.l7.as_ref()
    }

    fn source(&self) -> Option<&flow::Endpoint> {
        self.source.as_ref()
    }

    fn destination(&self) -> Option<&flow::Endpoint> {
        self.destination.as_ref()
    }

    fn source_names(&self) -> &[String] {
        &self.source_names
    }

    fn destination_names(&self) -> &[String] {
        &self.destination_names
    }

    fn source_service(&self) -> Option<&flow::Service> {
        self.source_service.as_ref()
    }

    fn destination_service(&self) -> Option<&flow::Service> {
        self.destination_service.as_ref()
    }

    fn node_name(&self) -> &str {
        &self.node_name
    }

    fn node_labels(&self) -> &[String] {
        &self.node_labels
    }

    fn interface(&self) -> Option<(u32, &str)> {
        self.interface.as_ref().map(|interface| (interface.index, interface.name.as_str()))
    }

    fn trace_id(&self) -> &str {
        self.trace_context.as_ref().and_then(|context| context.parent.as_ref()).map_or("", |parent| &parent.trace_id)
    }

    fn ip_trace_id(&self) -> u64 {
        self.ip_trace_id.map_or(0, |id| id.trace_id)
    }

    fn flow(&self) -> Cow<'_, flow::Flow> {
        Cow::Borrowed(self)
    }
}
