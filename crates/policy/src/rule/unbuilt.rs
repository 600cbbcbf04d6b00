//! What can be written and evaluated, but not enforced by the datapath yet.

use nexin_model::Protocol;

use super::{Auth, L4, Peer, PortMatch, ProxyKind, Rule, Subject};

impl Rule {
    /// The first part of this rule that the datapath cannot enforce yet.
    pub fn unbuilt(&self) -> Option<Unbuilt> {
        if let Some(redirect) = &self.redirect {
            return Some(Unbuilt::Proxy(redirect.kind));
        }
        if self.auth.is_some_and(|auth| auth != Auth::Disabled) {
            return Some(Unbuilt::Authentication);
        }
        if matches!(self.subject, Subject::Nodes(_)) {
            return Some(Unbuilt::HostFirewall);
        }
        let other = |port: &PortMatch| matches!(port, PortMatch::Ports { protocol: Protocol::Other(_), .. });
        if matches!(&self.l4, L4::Some(ports) if ports.iter().any(other)) {
            return Some(Unbuilt::Protocols);
        }
        self.peers.iter().find_map(|peer| match peer {
            Peer::Fqdn(_) => Some(Unbuilt::Fqdn),
            Peer::Service(_) => Some(Unbuilt::Services),
            Peer::Group { .. } => Some(Unbuilt::Groups),
            _ => None,
        })
    }
}

/// What the datapath cannot do yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unbuilt {
    Proxy(ProxyKind),
    Authentication,
    Fqdn,
    Services,
    Groups,
    HostFirewall,
    /// Protocols without ports are decided all alike; none has a table of its own.
    Protocols,
}

impl Unbuilt {
    pub const fn text(self) -> &'static str {
        match self {
            Self::Proxy(ProxyKind::Http) => "HTTP rules need the proxy",
            Self::Proxy(ProxyKind::Kafka) => "Kafka rules need the proxy",
            Self::Proxy(ProxyKind::Tls) => "server names and TLS interception need the proxy",
            Self::Proxy(ProxyKind::Dns) => "DNS rules need the DNS proxy",
            Self::Proxy(ProxyKind::Listener) => "listeners need the proxy",
            Self::Authentication => "authentication between workloads",
            Self::Fqdn => "rules by DNS name need the DNS proxy",
            Self::Services => "rules by service need services",
            Self::Groups => "rules by cloud group need a cloud provider",
            Self::HostFirewall => "rules for nodes need the host firewall",
            Self::Protocols => "rules for single protocols other than TCP, UDP, SCTP, ICMP and ICMPv6",
        }
    }
}
