//! CiliumNetworkPolicy and CiliumClusterwideNetworkPolicy, as Cilium 1.20 has them, with Kafka rules as before 1.20.
//!
//! What is accepted follows Cilium's CRDs and its `pkg/policy/api` validation together: either of them can refuse.

mod icmp;
mod l7;
mod peers;
mod ports;
mod rule;

pub use icmp::IcmpField;
pub use l7::{DnsRule, HeaderMatch, HttpRule, KafkaRule, L7Rules, Mismatch};
pub use peers::{CidrRule, CidrRuleSource, Fqdn, Peers, Service};
pub use ports::{EnvoyConfigKind, Listener, Port, PortName, PortProtocol, PortRule, Secret, TlsContext};
pub use rule::{DefaultDeny, Rule, RuleSubject, Section, TrafficRule};

use super::decode::{Context, Object, Path};

/// Whose policy it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// One namespace; cannot select nodes.
    Namespace,
    Cluster,
}

/// Reads `spec` and `specs`.
pub(super) fn read(object: &Object<'_>, scope: Scope, cx: &mut Context<'_>) -> Option<Vec<Rule>> {
    if !object.has("spec") && !object.has("specs") {
        cx.error(&Path::ROOT, object.at(), "`spec` or `specs` is needed", None);
        return None;
    }
    let spec = object.read("spec", &Path::ROOT, cx, |node, path, cx| rule::read(node, path, cx, scope));
    let specs = object.list("specs", &Path::ROOT, cx, |node, path, cx| rule::read(node, path, cx, scope));
    if specs.as_ref().is_some_and(Vec::is_empty) && spec.is_none() {
        cx.warning(&Path::ROOT.key("specs"), object.at(), "there is no rule in this policy", None);
    }
    Some(spec.into_iter().chain(specs.into_iter().flatten()).collect())
}
