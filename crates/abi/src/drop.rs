//! Why a packet was dropped. Numbers and names up to 207 are Cilium's (`api/v1/flow/flow.proto`, `DropReason`), so that
//! flow records mean the same everywhere; those from 240 on are Nexin's own.

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $wire:literal, $text:literal;)*) => {
        /// Reason of a drop; `as u8` is the number on the wire.
        #[repr(u8)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum DropReason { $($(#[$doc])* $name = $code,)* }

        impl DropReason {
            /// Every reason, in the order of numbers.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The reason with this number.
            pub const fn from_code(code: u8) -> Option<Self> {
                match code { $($code => Some(Self::$name),)* _ => None }
            }

            /// Name in flow records, as in Cilium's flow.proto.
            pub const fn wire_name(self) -> &'static str {
                match self { $(Self::$name => $wire,)* }
            }

            /// Words for people and for metric labels.
            pub const fn text(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

reasons! {
    InvalidSourceMac = 130, "INVALID_SOURCE_MAC", "Invalid source mac";
    InvalidSourceIp = 132, "INVALID_SOURCE_IP", "Invalid source ip";
    /// No rule allows it and the policy isolates this direction.
    PolicyDenied = 133, "POLICY_DENIED", "Policy denied";
    InvalidPacket = 134, "INVALID_PACKET_DROPPED", "Invalid packet";
    CtInvalidHeader = 135, "CT_TRUNCATED_OR_INVALID_HEADER", "CT: Truncated or invalid header";
    CtUnknownL4 = 137, "CT_UNKNOWN_L4_PROTOCOL", "CT: Unknown L4 protocol";
    UnsupportedL3 = 139, "UNSUPPORTED_L3_PROTOCOL", "Unsupported L3 protocol";
    MissedTailCall = 140, "MISSED_TAIL_CALL", "Missed tail call";
    WriteError = 141, "ERROR_WRITING_TO_PACKET", "Error writing to packet";
    UnknownL4 = 142, "UNKNOWN_L4_PROTOCOL", "Unknown L4 protocol";
    UnknownIcmp4Code = 143, "UNKNOWN_ICMPV4_CODE", "Unknown ICMPv4 code";
    UnknownIcmp4Type = 144, "UNKNOWN_ICMPV4_TYPE", "Unknown ICMPv4 type";
    UnknownIcmp6Code = 145, "UNKNOWN_ICMPV6_CODE", "Unknown ICMPv6 code";
    UnknownIcmp6Type = 146, "UNKNOWN_ICMPV6_TYPE", "Unknown ICMPv6 type";
    UnknownTarget = 150, "UNKNOWN_L3_TARGET_ADDRESS", "Unknown L3 target address";
    CtInsertFailed = 155, "CT_MAP_INSERTION_FAILED", "CT: Map insertion failed";
    InvalidExtensionHeader = 156, "INVALID_IPV6_EXTENSION_HEADER", "Invalid IPv6 extension header";
    FragmentNotFound = 157, "IP_FRAGMENTATION_NOT_SUPPORTED", "IP fragmentation not supported";
    /// The policy tables an endpoint points to are not loaded.
    NoConfiguration = 165, "NO_CONFIGURATION_AVAILABLE_TO_PERFORM_POLICY_DECISION", "No configuration available to perform policy decision";
    NatNoMapping = 167, "NO_MAPPING_FOR_NAT_MASQUERADE", "No mapping for NAT masquerade";
    NatUnsupported = 168, "UNSUPPORTED_PROTOCOL_FOR_NAT_MASQUERADE", "Unsupported protocol for NAT masquerade";
    FibLookupFailed = 169, "FIB_LOOKUP_FAILED", "FIB lookup failed";
    EncapsulationProhibited = 170, "ENCAPSULATION_TRAFFIC_IS_PROHIBITED", "Encapsulation traffic is prohibited";
    /// A deny rule matched.
    PolicyDenyRule = 181, "POLICY_DENY", "Policy denied by denylist";
    TtlExceeded = 196, "TTL_EXCEEDED", "TTL exceeded";
    RateLimited = 198, "RATE_LIMITED", "Rate limited";
    HostNotReady = 202, "HOST_NOT_READY", "Host datapath not ready";
    EndpointNotReady = 203, "EP_NOT_READY", "Endpoint policy program not available";
    /// Nexin: the source has too many TCP connections that were never established.
    HalfOpenLimit = 240, "NEXIN_HALF_OPEN_LIMIT", "Too many half-open connections";
    /// Nexin: a TCP SYN-ACK that answers nothing we know.
    CtNoFlow = 241, "NEXIN_CT_NO_FLOW", "CT: No such connection";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_found_again() {
        for reason in DropReason::ALL {
            assert_eq!(DropReason::from_code(*reason as u8), Some(*reason));
        }
    }
}
