//! Headers as they stand on the wire: alignment 1, so that a header may begin anywhere in a buffer.

use nexin_abi::{Addr4, Addr6, Be16, Be32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

macro_rules! header {
    ($(#[$doc:meta])* $name:ident, $size:literal { $($(#[$field_doc:meta])* $field:ident: $ty:ty,)* }) => {
        $(#[$doc])*
        #[repr(C, packed)]
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
        pub struct $name { $($(#[$field_doc])* pub $field: $ty,)* }
        impl $name {
            /// Bytes on the wire.
            pub const LEN: usize = $size;
        }
        const _: () = assert!(size_of::<$name>() == $size);
    };
}

header!(
    /// Ethernet II.
    Ethernet, 14 { destination: [u8; 6], source: [u8; 6], kind: Be16, }
);
header!(
    /// ARP for IPv4 over Ethernet (RFC 826).
    Arp, 28 {
        hardware: Be16, protocol: Be16, hardware_len: u8, protocol_len: u8,
        /// 1 request, 2 reply.
        operation: Be16,
        sender_mac: [u8; 6], sender: Addr4, target_mac: [u8; 6], target: Addr4,
    }
);
header!(
    /// IPv4 without options (RFC 791).
    Ipv4, 20 {
        /// 4 in the high nibble, header length in words in the low one.
        version_len: u8, tos: u8, total_len: Be16, id: Be16,
        /// Flags and fragment offset in units of 8 bytes.
        fragment: Be16,
        ttl: u8, protocol: u8, checksum: Be16, source: Addr4, destination: Addr4,
    }
);
header!(
    /// IPv6 (RFC 8200).
    Ipv6, 40 {
        version_class_flow: Be32, payload_len: Be16, next_header: u8, hop_limit: u8, source: Addr6, destination: Addr6,
    }
);
header!(
    /// Begin of most IPv6 extension headers: `len` counts units of 8 bytes beyond the first.
    Extension, 8 { next_header: u8, len: u8, rest: [u8; 6], }
);
header!(
    /// IPv6 fragment header.
    Fragment6, 8 {
        next_header: u8, reserved: u8,
        /// Offset in units of 8 bytes in the upper 13 bits, "more" in bit 0.
        offset: Be16,
        id: Be32,
    }
);
header!(
    /// TCP without options (RFC 9293).
    Tcp, 20 {
        source: Be16, destination: Be16, sequence: Be32, acknowledgement: Be32,
        /// Header length in words in the high nibble.
        offset: u8, flags: u8, window: Be16, checksum: Be16, urgent: Be16,
    }
);
header!(
    /// UDP (RFC 768). Checksum 0 means "none" (IPv4 only).
    Udp, 8 { source: Be16, destination: Be16, len: Be16, checksum: Be16, }
);
header!(
    /// SCTP common header (RFC 9260). The checksum is a CRC32c that no pseudo header enters.
    Sctp, 12 { source: Be16, destination: Be16, tag: Be32, checksum: Be32, }
);
header!(
    /// ICMP and ICMPv6. `id` and `sequence` belong to echo; errors put the next hop's MTU in `sequence` (ICMP) or in both (ICMPv6).
    Icmp, 8 { kind: u8, code: u8, checksum: Be16, id: Be16, sequence: Be16, }
);
header!(
    /// Neighbour solicitation or advertisement with one link-layer address option (RFC 4861).
    Neighbor, 32 {
        kind: u8, code: u8, checksum: Be16,
        /// Advertisement: router, solicited and override bits on top.
        flags: Be32,
        target: Addr6,
        /// 1 source, 2 target link-layer address.
        option: u8,
        /// In units of 8 bytes.
        option_len: u8,
        mac: [u8; 6],
    }
);

impl Ipv4 {
    pub const DONT_FRAGMENT: u16 = 0x4000;
    pub const MORE_FRAGMENTS: u16 = 0x2000;
    pub const OFFSET_MASK: u16 = 0x1fff;
    /// First byte of a header without options.
    pub const PLAIN: u8 = 0x45;

    /// Bytes of header, options included.
    #[inline(always)]
    pub const fn header_len(version_len: u8) -> usize {
        ((version_len & 0x0f) as usize) << 2
    }
}

impl Arp {
    pub const REQUEST: u16 = 1;
    pub const REPLY: u16 = 2;
}

impl Neighbor {
    pub const SOLICITED: u32 = 1 << 30;
    pub const OVERRIDE: u32 = 1 << 29;
    pub const ROUTER: u32 = 1 << 31;
    pub const SOURCE_LINK: u8 = 1;
    pub const TARGET_LINK: u8 = 2;
}
