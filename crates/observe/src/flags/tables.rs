//! The flags of the command: names, kinds, defaults and the help texts that people and scripts know. Facts only.

use super::{Flag, Kind};

pub(crate) const SELECTORS: &[Flag] = &[
    Flag::new(
        "all",
        Kind::Bool,
        "Get all flows stored in Hubble's buffer. Note: this option may cause Hubble to return a lot of data. It is recommended to only use it along filters to limit the amount of data returned.",
    ),
    Flag::new(
        "first",
        Kind::Uint64,
        "Get first N flows stored in Hubble's buffer. When querying against Hubble Relay, this gets N flows per instance of Hubble connected to that Relay.",
    ),
    Flag::new("follow", Kind::Bool, "Follow flows output").short('f'),
    Flag::new(
        "last",
        Kind::Uint64,
        "Get last N flows stored in Hubble's buffer (default 20). When querying against Hubble Relay, this gets N flows per instance of Hubble connected to that Relay.",
    ),
    Flag::new(
        "since",
        Kind::Text,
        "Filter flows since a specific date. The format is relative (e.g. 3s, 4m, 1h43,, ...) or one of:\n\
\x20 StampMilli:             Jan _2 15:04:05.000\n\
\x20 YearMonthDay:           2006-01-02\n\
\x20 YearMonthDayHour:       2006-01-02T15-07:00\n\
\x20 YearMonthDayHourMinute: 2006-01-02T15:04-07:00\n\
\x20 RFC3339:                2006-01-02T15:04:05-07:00\n\
\x20 RFC3339Milli:           2006-01-02T15:04:05.999-07:00\n\
\x20 RFC3339Micro:           2006-01-02T15:04:05.999999-07:00\n\
\x20 RFC3339Nano:            2006-01-02T15:04:05.999999999-07:00\n\
\x20 RFC1123Z:               Mon, 02 Jan 2006 15:04:05 -0700\n\
\x20",
    ),
    Flag::new(
        "until",
        Kind::Text,
        "Filter flows until a specific date. The format is relative (e.g. 3s, 4m, 1h43,, ...) or one of:\n\
\x20 StampMilli:             Jan _2 15:04:05.000\n\
\x20 YearMonthDay:           2006-01-02\n\
\x20 YearMonthDayHour:       2006-01-02T15-07:00\n\
\x20 YearMonthDayHourMinute: 2006-01-02T15:04-07:00\n\
\x20 RFC3339:                2006-01-02T15:04:05-07:00\n\
\x20 RFC3339Milli:           2006-01-02T15:04:05.999-07:00\n\
\x20 RFC3339Micro:           2006-01-02T15:04:05.999999-07:00\n\
\x20 RFC3339Nano:            2006-01-02T15:04:05.999999999-07:00\n\
\x20 RFC1123Z:               Mon, 02 Jan 2006 15:04:05 -0700\n\
\x20",
    ),
];

pub(crate) const FILTERS: &[Flag] = &[
    Flag::new("all-namespaces", Kind::Filter, "Show all flows in any Kubernetes namespace.").short('A').implied("true"),
    Flag::new("cel-expression", Kind::Filter, "Filter flows using the given CEL expression"),
    Flag::new(
        "cluster",
        Kind::Filter,
        "Show all flows which match the cluster names (e.g. \"test-cluster\", \"prod-*\")",
    ),
    Flag::new(
        "drop-reason-desc",
        Kind::Filter,
        "Show only flows which match this drop reason describe (e.g. \"POLICY_DENIED\", \"UNSUPPORTED_L3_PROTOCOL\")",
    ),
    Flag::new("encrypted", Kind::Filter, "Show only encrypted flows (WireGuard/IPsec)").implied("true"),
    Flag::new(
        "fqdn",
        Kind::Filter,
        "Show all flows related to the given fully qualified domain name (e.g. \"*.cilium.io\").",
    ),
    Flag::new("from-all-namespaces", Kind::Filter, "Show flows originating in any Kubernetes namespace.")
        .implied("true"),
    Flag::new(
        "from-cluster",
        Kind::Filter,
        "Show all flows originating from endpoints known to be in the given cluster name",
    ),
    Flag::new(
        "from-fqdn",
        Kind::Filter,
        "Show all flows originating at the given fully qualified domain name (e.g. \"*.cilium.io\").",
    ),
    Flag::new(
        "from-identity",
        Kind::Filter,
        "Show all flows originating at an endpoint with the given security identity",
    ),
    Flag::new(
        "from-ip",
        Kind::Filter,
        "Show all flows originating at the given IP address. Each of the source IPs can be specified as an exact match (e.g. '1.1.1.1') or as a CIDR range (e.g.'1.1.1.0/24').",
    ),
    Flag::new(
        "from-label",
        Kind::Filter,
        "Show only flows originating in an endpoint with the given labels (e.g. \"key1=value1\", \"reserved:world\")",
    ),
    Flag::new("from-namespace", Kind::Filter, "Show all flows originating in the given Kubernetes namespace."),
    Flag::new(
        "from-pod",
        Kind::Filter,
        "Show all flows originating in the given pod name prefix([namespace/]<pod-name>). If namespace is not provided, 'default' is used",
    ),
    Flag::new("from-port", Kind::Filter, "Show only flows with the given source port (e.g. 8080)"),
    Flag::new(
        "from-service",
        Kind::Filter,
        "Shows flows where the source IP address matches the ClusterIP address of the given service name prefix([namespace/]<svc-name>). If namespace is not provided, 'default' is used",
    ),
    Flag::new("from-workload", Kind::Filter, "Show all flows originating at an endpoint with the given workload"),
    Flag::new(
        "http-header",
        Kind::Filter,
        "Show only flows which match this HTTP header key:value pairs (e.g. \"foo:bar\")",
    ),
    Flag::new("http-method", Kind::Filter, "Show only flows which match this HTTP method (e.g. \"get\", \"post\")"),
    Flag::new(
        "http-path",
        Kind::Filter,
        "Show only flows which match this HTTP path regular expressions (e.g. \"/page/\\\\d+\")",
    ),
    Flag::new(
        "http-status",
        Kind::Filter,
        "Show only flows which match this HTTP status code prefix (e.g. \"404\", \"5+\")",
    ),
    Flag::new(
        "http-url",
        Kind::Filter,
        "Show only flows which match this HTTP URL regular expressions (e.g. \"http://.*cilium\\.io/page/\\\\d+\")",
    ),
    Flag::new("identity", Kind::Filter, "Show all flows related to an endpoint with the given security identity"),
    Flag::new("interface", Kind::Filter, "Show all flows observed at the given interface name (e.g. eth0)"),
    Flag::new(
        "ip",
        Kind::Filter,
        "Show all flows originating or terminating at the given IP address. Each of the IPs can be specified as an exact match (e.g. '1.1.1.1') or as a CIDR range (e.g.'1.1.1.0/24').",
    ),
    Flag::new("ip-trace-id", Kind::Filter, "Show only flows which match this IP trace ID"),
    Flag::new(
        "ip-version",
        Kind::Filter,
        "Show only IPv4, IPv6 flows or non IP flows (e.g. ARP packets) (ie: \"none\", \"v4\", \"v6\")",
    ),
    Flag::new("ipv4", Kind::Filter, "Show only IPv4 flows").short('4').implied("v4"),
    Flag::new("ipv6", Kind::Filter, "Show only IPv6 flows").short('6').implied("v6"),
    Flag::new(
        "label",
        Kind::Filter,
        "Show only flows related to an endpoint with the given labels (e.g. \"key1=value1\", \"reserved:world\")",
    )
    .short('l'),
    Flag::new("namespace", Kind::Filter, "Show all flows related to the given Kubernetes namespace.").short('n'),
    Flag::new(
        "node-label",
        Kind::Filter,
        "Show only flows observed on nodes matching the given label filter (e.g. \"key1=value1\", \"io.cilium/egress-gateway\")",
    ),
    Flag::new(
        "node-name",
        Kind::Filter,
        "Show all flows which match the given node names (e.g. \"k8s*\", \"test-cluster/*.company.com\")",
    ),
    Flag::new("not", Kind::Filter, "Reverses the next filter to be blacklist i.e. --not --from-ip 2.2.2.2")
        .implied("true"),
    Flag::new("not-reply", Kind::Filter, "Show only non-reply flows").implied("true"),
    Flag::new(
        "pod",
        Kind::Filter,
        "Show all flows related to the given pod name prefix ([namespace/]<pod-name>). If namespace is not provided, 'default' is used.",
    ),
    Flag::new("port", Kind::Filter, "Show only flows with given port in either source or destination (e.g. 8080)"),
    Flag::new(
        "protocol",
        Kind::Filter,
        "Show only flows which match the given L4/L7 flow protocol (e.g. \"udp\", \"http\")",
    ),
    Flag::new("reply", Kind::Filter, "Show only reply flows").implied("true"),
    Flag::new(
        "service",
        Kind::Filter,
        "Shows flows where either the source or destination IP address matches the ClusterIP address of the given service name prefix ([namespace/]<svc-name>). If namespace is not provided, 'default' is used. ",
    ),
    Flag::new(
        "snat-ip",
        Kind::Filter,
        "Show all flows SNATed with the given IP address. Each of the SNAT IPs can be specified as an exact match (e.g. '1.1.1.1') or as a CIDR range (e.g.'1.1.1.0/24').",
    ),
    Flag::new(
        "tcp-flags",
        Kind::Filter,
        "Show only flows which match the given TCP flags (e.g. \"syn\", \"ack\", \"fin\")",
    ),
    Flag::new("to-all-namespaces", Kind::Filter, "Show flows terminating in any Kubernetes namespace.").implied("true"),
    Flag::new("to-cluster", Kind::Filter, "Show all flows destined to endpoints known to be in the given cluster name"),
    Flag::new(
        "to-fqdn",
        Kind::Filter,
        "Show all flows terminating at the given fully qualified domain name (e.g. \"*.cilium.io\").",
    ),
    Flag::new(
        "to-identity",
        Kind::Filter,
        "Show all flows terminating at an endpoint with the given security identity",
    ),
    Flag::new(
        "to-ip",
        Kind::Filter,
        "Show all flows terminating at the given IP address. Each of the destination IPs can be specified as an exact match (e.g. '1.1.1.1') or as a CIDR range (e.g.'1.1.1.0/24').",
    ),
    Flag::new(
        "to-label",
        Kind::Filter,
        "Show only flows terminating in an endpoint with given labels (e.g. \"key1=value1\", \"reserved:world\")",
    ),
    Flag::new("to-namespace", Kind::Filter, "Show all flows terminating in the given Kubernetes namespace."),
    Flag::new(
        "to-pod",
        Kind::Filter,
        "Show all flows terminating in the given pod name prefix([namespace/]<pod-name>). If namespace is not provided, 'default' is used",
    ),
    Flag::new("to-port", Kind::Filter, "Show only flows with the given destination port (e.g. 8080)"),
    Flag::new(
        "to-service",
        Kind::Filter,
        "Shows flows where the destination IP address matches the ClusterIP address of the given service name prefix ([namespace/]<svc-name>). If namespace is not provided, 'default' is used",
    ),
    Flag::new("to-workload", Kind::Filter, "Show all flows terminating at an endpoint with the given workload"),
    Flag::new("trace-id", Kind::Filter, "Show only flows which match this trace ID"),
    Flag::new(
        "traffic-direction",
        Kind::Filter,
        "Show all flows in the given traffic direction (either ingress or egress)",
    ),
    Flag::new(
        "type",
        Kind::Filter,
        "Filter by event types TYPE[:SUBTYPE]. Available types and subtypes:\n\
TYPE             SUBTYPE\n\
capture          n/a\n\
drop             n/a\n\
l7               n/a\n\
policy-verdict   n/a\n\
trace            from-endpoint\n\
\x20                from-host\n\
\x20                from-network\n\
\x20                from-overlay\n\
\x20                from-proxy\n\
\x20                from-stack\n\
\x20                from-crypto\n\
\x20                to-endpoint\n\
\x20                to-host\n\
\x20                to-network\n\
\x20                to-overlay\n\
\x20                to-proxy\n\
\x20                to-stack\n\
\x20                to-crypto\n\
trace-sock       n/a",
    )
    .short('t'),
    Flag::new("unencrypted", Kind::Filter, "Show only unencrypted flows").implied("true"),
    Flag::new("uuid", Kind::Filter, "Show the only flow matching this unique flow identifier, if any"),
    Flag::new(
        "verdict",
        Kind::Filter,
        "Show only flows with this verdict [FORWARDED, DROPPED, AUDIT, REDIRECTED, ERROR, TRACED, TRANSLATED]",
    ),
    Flag::new("workload", Kind::Filter, "Show all flows related to an endpoint with the given workload"),
];

pub(crate) const RAW_FILTERS: &[Flag] = &[
    Flag::new("allowlist", Kind::Array, "Specify allowlist as JSON encoded FlowFilters"),
    Flag::new("denylist", Kind::Array, "Specify denylist as JSON encoded FlowFilters"),
];

pub(crate) const FORMATTING: &[Flag] = &[
    Flag::new(
        "output",
        Kind::Text,
        "Specify the output format, one of:\n\
\x20 compact:  Compact output\n\
\x20 dict:     Each flow is shown as KEY:VALUE pair\n\
\x20 jsonpb:   JSON encoded GetFlowResponse according to proto3's JSON mapping\n\
\x20 json:     Alias for jsonpb\n\
\x20 table:    Tab-aligned columns\n\
",
    )
    .or("compact")
    .short('o'),
    Flag::new("print-node-name", Kind::Bool, "Print node name in output"),
    Flag::new("print-policy-names", Kind::Bool, "Print policy names in output"),
    Flag::new(
        "time-format",
        Kind::Text,
        "Specify the time format for printing. This option does not apply to the json and jsonpb output type. One of:\n\
\x20 StampMilli:             Jan _2 15:04:05.000\n\
\x20 YearMonthDay:           2006-01-02\n\
\x20 YearMonthDayHour:       2006-01-02T15Z07:00\n\
\x20 YearMonthDayHourMinute: 2006-01-02T15:04Z07:00\n\
\x20 RFC3339:                2006-01-02T15:04:05Z07:00\n\
\x20 RFC3339Milli:           2006-01-02T15:04:05.999Z07:00\n\
\x20 RFC3339Micro:           2006-01-02T15:04:05.999999Z07:00\n\
\x20 RFC3339Nano:            2006-01-02T15:04:05.999999999Z07:00\n\
\x20 RFC1123Z:               Mon, 02 Jan 2006 15:04:05 -0700\n\
\x20",
    )
    .or("StampMilli"),
];

pub(crate) const FLOW_FORMAT: &[Flag] = &[
    Flag::new("color", Kind::Text, "Colorize the output when the output format is one of 'compact' or 'dict'. The value is one of 'auto' (default), 'always' or 'never'").or("auto"),
    Flag::new("ip-translation", Kind::Bool, "Translate IP addresses to logical names such as pod name, FQDN, ...").or("true"),
    Flag::new("numeric", Kind::Bool, "Display all information in numeric form"),
];

pub(crate) const SERVER: &[Flag] = &[
    Flag::new("basic-auth-password", Kind::Text, "Specify a password for basic auth"),
    Flag::new("basic-auth-username", Kind::Text, "Specify a username for basic auth"),
    Flag::new("kube-context", Kind::Text, "Kubernetes configuration context. This option is only considered when --port-forward is set."),
    Flag::new("kube-namespace", Kind::Text, "Namespace Cilium is running in. This option is only considered when --port-forward is set.").or("kube-system"),
    Flag::new("kubeconfig", Kind::Text, "Path to the kubeconfig file. This option is only considered when --port-forward is set."),
    Flag::new("port-forward", Kind::Bool, "Automatically forward the relay port to the local machine. Analoguous to running: 'cilium hubble port-forward'.").short('P'),
    Flag::new("port-forward-port", Kind::Uint16, "Local port to forward to. 0 will select a random port. This option is only considered when --port-forward is set.").or("4245"),
    Flag::new("request-timeout", Kind::Duration, "Unary Request timeout. Only applies to non-streaming RPCs (ServerStatus, ListNodes, ListNamespaces).").or("12s"),
    Flag::new("server", Kind::Text, "Address of a Hubble server. Ignored when --input-file or --port-forward is provided.").or("localhost:4245"),
    Flag::new("timeout", Kind::Duration, "Hubble server dialing timeout").or("5s"),
    Flag::new("tls", Kind::Bool, "Specify that TLS must be used when establishing a connection to a Hubble server.\r\n\
By default, TLS is only enabled if the server address starts with 'tls://'."),
    Flag::new("tls-allow-insecure", Kind::Bool, "Allows the client to skip verifying the server's certificate chain and host name.\r\n\
This option is NOT recommended as, in this mode, TLS is susceptible to machine-in-the-middle attacks.\r\n\
See also the 'tls-server-name' option which allows setting the server name."),
    Flag::new("tls-ca-cert-files", Kind::List, "Paths to custom Certificate Authority (CA) certificate files.The files must contain PEM encoded data."),
    Flag::new("tls-client-cert-file", Kind::Text, "Path to the public key file for the client certificate to connect to a Hubble server (implies TLS).\r\n\
The file must contain PEM encoded data."),
    Flag::new("tls-client-key-file", Kind::Text, "Path to the private key file for the client certificate to connect a Hubble server (implies TLS).\r\n\
The file must contain PEM encoded data."),
    Flag::new("tls-server-name", Kind::Text, "Specify a server name to verify the hostname on the returned certificate (eg: 'instance.hubble-relay.cilium.io')."),
];

pub(crate) const OTHER: &[Flag] = &[
    Flag::new(
        "field-mask",
        Kind::List,
        "Comma-separated list of fields for mask. Fields not in the mask will be removed from server response.",
    ),
    Flag::new(
        "input-file",
        Kind::Text,
        "Query flows from this file instead of the server. Use '-' to read from stdin.",
    ),
    Flag::new(
        "print-raw-filters",
        Kind::Bool,
        "Print allowlist/denylist filters and exit without sending the request to Hubble server",
    ),
    Flag::new("silent-errors", Kind::Bool, "Silently ignores errors and warnings").short('s'),
    Flag::new(
        "use-default-field-masks",
        Kind::Bool,
        "Request only visible fields when the output format is compact, tab, or dict.",
    )
    .or("true"),
];

pub(crate) const GLOBAL: &[Flag] = &[
    Flag::new("config", Kind::Text, "Optional config file"),
    Flag::new("debug", Kind::Bool, "Enable debug messages").short('D'),
];

/// `-o` of `status`.
pub(crate) const STATUS_FORMAT: &[Flag] = &[Flag::new(
    "output",
    Kind::Text,
    "Specify the output format, one of:\n\
\x20compact:  Compact output\n\
\x20dict:     Status is shown as KEY:VALUE pair\n\
\x20json:     JSON encoding\n\
\x20table:    Tab-aligned columns\n",
)
.or("compact")
.short('o')
.values(&["compact", "dict", "json", "table"])];

/// `-o` of `list nodes` and `list namespaces`.
pub(crate) const LIST_FORMAT: &[Flag] = &[Flag::new(
    "output",
    Kind::Text,
    "Specify the output format, one of:\n\
\x20json:     JSON encoding\n\
\x20table:    Tab-aligned columns\n\
\x20wide:     Tab-aligned columns with additional information",
)
.or("table")
.short('o')
.values(&["json", "table", "wide"])];

/// `completion` of a shell.
pub(crate) const COMPLETION: &[Flag] = &[Flag::new("no-descriptions", Kind::Bool, "disable completion descriptions")];

/// What only Nexin has.
pub(crate) const NEXIN: &[Flag] = &[Flag::new(
    "why",
    Kind::Bool,
    "Print why each flow was let through or dropped: reason, rule, policy, file and line of the decision",
)];
