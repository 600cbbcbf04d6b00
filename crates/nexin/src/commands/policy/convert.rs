//! The policy engine's words in the API's, so that answers look the same with and without an agent.

use nexin_api::v1::{Diagnostic, PolicyKind, PolicyRef, Severity};
use nexin_policy::input;
use nexin_policy::rule::{DocumentKey, Kind};

pub(super) fn reference(key: &DocumentKey) -> PolicyRef {
    let kind = match key.kind {
        Kind::NetworkPolicy => PolicyKind::NetworkPolicy,
        Kind::CiliumNetworkPolicy => PolicyKind::CiliumNetworkPolicy,
        Kind::CiliumClusterwideNetworkPolicy => PolicyKind::CiliumClusterwideNetworkPolicy,
        Kind::ClusterNetworkPolicy => PolicyKind::ClusterNetworkPolicy,
        Kind::CiliumCIDRGroup => PolicyKind::CiliumCidrGroup,
    };
    PolicyRef { kind, namespace: key.namespace.as_deref().map(str::to_owned), name: key.name.to_string() }
}

pub(super) fn diagnostic(diagnostic: &input::Diagnostic) -> Diagnostic {
    let severity = if diagnostic.is_error() { Severity::Error } else { Severity::Warning };
    with_severity(diagnostic, severity)
}

pub(super) fn not_enforceable(diagnostic: &input::Diagnostic) -> Diagnostic {
    with_severity(diagnostic, Severity::NotEnforceable)
}

fn with_severity(diagnostic: &input::Diagnostic, severity: Severity) -> Diagnostic {
    Diagnostic {
        severity,
        file: diagnostic.file.to_string(),
        line: diagnostic.line,
        column: diagnostic.column,
        field: diagnostic.path.clone(),
        message: diagnostic.message.clone(),
        hint: diagnostic.help.clone(),
    }
}
