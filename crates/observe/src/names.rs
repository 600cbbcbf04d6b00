//! Numbers and their names where the command prints or reads them: Cilium's monitor numbers, not the enums of the wire.

/// Kinds of monitor messages.
pub(crate) const MESSAGE_TYPES: &[(i32, &str)] = &[
    (1, "drop"),
    (2, "debug"),
    (3, "capture"),
    (4, "trace"),
    (5, "policy-verdict"),
    (7, "trace-sock"),
    (129, "l7"),
    (130, "agent"),
];

/// Where a packet was seen, in the datapath's numbers.
pub(crate) const TRACE_POINTS: &[(i32, &str)] = &[
    (0, "to-endpoint"),
    (1, "to-proxy"),
    (2, "to-host"),
    (3, "to-stack"),
    (4, "to-overlay"),
    (5, "from-endpoint"),
    (6, "from-proxy"),
    (7, "from-host"),
    (8, "from-stack"),
    (9, "from-overlay"),
    (10, "from-network"),
    (11, "to-network"),
    (12, "from-crypto"),
    (13, "to-crypto"),
];

/// Notifications of the agent, as the `--type` flag names them.
pub(crate) const AGENT_SUBTYPES: &[(i32, &str)] = &[
    (0, "unspecified"),
    (1, "message"),
    (2, "agent-started"),
    (3, "policy-updated"),
    (4, "policy-deleted"),
    (5, "endpoint-regenerate-success"),
    (6, "endpoint-regenerate-failure"),
    (7, "endpoint-created"),
    (8, "endpoint-deleted"),
    (9, "ipcache-upserted"),
    (10, "ipcache-deleted"),
];

/// Identities with names, in the order of numbers. The first has no number of its own on the command line.
pub(crate) const RESERVED_IDENTITIES: &[(u32, &str)] = &[
    (0, "unknown"),
    (1, "host"),
    (2, "world"),
    (3, "unmanaged"),
    (4, "health"),
    (5, "init"),
    (6, "remote-node"),
    (7, "kube-apiserver"),
    (8, "ingress"),
    (9, "world-ipv4"),
    (10, "world-ipv6"),
    (11, "aggregate-cluster"),
    (12, "aggregate-cluster-mesh"),
    (13, "aggregate-world"),
    (14, "aggregate-remote-node"),
];

/// Reasons below the drops proper, and those the kernel of ours never gives.
const DROP_TEXTS: &[(u8, &str)] = &[
    (0, "Success"),
    (2, "Invalid packet"),
    (3, "Interface"),
    (4, "Interface Decrypted"),
    (5, "LB, sock cgroup: No backend slot entry found"),
    (6, "LB, sock cgroup: No backend entry found"),
    (7, "LB, sock cgroup: Reverse entry update failed"),
    (8, "LB, sock cgroup: Reverse entry stale"),
    (9, "Fragmented packet"),
    (10, "Fragmented packet entry update failed"),
    (11, "Missed tail call to custom program"),
    (12, "Interface Decrypting"),
    (13, "Interface Encrypting"),
    (14, "LB: sock cgroup: Reverse entry delete succeeded"),
    (15, "MTU error message"),
    (131, "Invalid destination mac"),
    (136, "Fragmentation needed"),
    (138, "CT: Can't create entry from packet"),
    (147, "Error retrieving tunnel key"),
    (148, "Error retrieving tunnel options"),
    (149, "Invalid Geneve option"),
    (151, "Stale or unroutable IP"),
    (152, "No matching local container found"),
    (153, "Error while correcting L3 checksum"),
    (154, "Error while correcting L4 checksum"),
    (158, "Service backend not found"),
    (160, "No tunnel/encapsulation endpoint (datapath BUG!)"),
    (161, "NAT 46/64 not enabled"),
    (162, "Reached EDT rate-limiting drop horizon"),
    (163, "Unknown connection tracking state"),
    (164, "Local host is unreachable"),
    (166, "Unsupported L2 protocol"),
    (171, "Invalid identity"),
    (172, "Unknown sender"),
    (173, "NAT not needed"),
    (174, "Is a ClusterIP"),
    (175, "First logical datagram fragment not found"),
    (176, "Forbidden ICMPv6 message"),
    (177, "Denied by LB src range check"),
    (178, "Socket lookup failed"),
    (179, "Socket assign failed"),
    (180, "Proxy redirection not supported for protocol"),
    (182, "VLAN traffic disallowed by VLAN filter"),
    (183, "Incorrect VNI from VTEP"),
    (184, "Failed to update or lookup TC buffer"),
    (185, "No SID was found for the IP address"),
    (186, "SRv6 state was removed during tail call"),
    (187, "L3 translation from IPv4 to IPv6 failed (NAT46)"),
    (188, "L3 translation from IPv6 to IPv4 failed (NAT64)"),
    (189, "Authentication required"),
    (190, "No conntrack map found"),
    (191, "No nat map found"),
    (192, "Invalid ClusterID"),
    (193, "Unsupported packet protocol for DSR encapsulation"),
    (194, "No egress gateway found"),
    (195, "Traffic is unencrypted"),
    (197, "No node ID found"),
    (199, "IGMP handled"),
    (200, "IGMP subscribed"),
    (201, "Multicast handled"),
    (204, "No Egress IP configured"),
    (205, "Punt to proxy"),
    (206, "No device"),
    (207, "First logical datagram fragment not found from world"),
];

/// Text of a drop. The command knows the low byte of the number only.
pub(crate) fn drop_text(subtype: i32) -> String {
    let code = subtype as u8;
    if let Some(reason) = nexin_abi::DropReason::from_code(code) {
        return reason.text().to_owned();
    }
    let found = DROP_TEXTS.iter().find(|(number, _)| *number == code);
    found.map_or_else(|| format!("{code}, 0"), |(_, text)| (*text).to_owned())
}

pub(crate) fn trace_point(subtype: i32) -> String {
    let code = subtype as u8;
    let found = TRACE_POINTS.iter().find(|(number, _)| *number == i32::from(code));
    found.map_or_else(|| code.to_string(), |(_, name)| (*name).to_owned())
}

/// What a policy verdict matched on.
pub(crate) fn match_type(number: u32) -> &'static str {
    match number {
        0 => "none",
        1 => "L3-Only",
        2 => "L3-L4",
        3 => "L4-Only",
        4 => "all",
        5 => "L3-Proto",
        6 => "Proto-Only",
        _ => "unknown",
    }
}

pub(crate) fn identity(number: u32) -> String {
    let found = RESERVED_IDENTITIES.iter().find(|(reserved, _)| *reserved == number);
    found.map_or_else(|| format!("(ID:{number})"), |(_, name)| format!("({name})"))
}

/// Name of an enum's value; what has no name is its number.
pub(crate) fn enum_name<E>(number: i32, name: impl Fn(&E) -> &'static str) -> String
where
    E: TryFrom<i32>,
{
    E::try_from(number).map_or_else(|_| number.to_string(), |value| name(&value).to_owned())
}
