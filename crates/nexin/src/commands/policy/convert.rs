//! The policy engine's words in the API's, so that answers look the same with and without an agent.

use std::sync::Arc;

use nexin_api::v1::{
    Diagnostic, Direction, DirectionAnswer, Labels, PolicyKind, PolicyRef, RuleRef, Severity, SpokenRule, Verdict,
};
use nexin_policy::explain::{self as engine, Decision, Explanation, Part};
use nexin_policy::input;
use nexin_policy::rule::{DocumentKey, Kind, Origin, RuleAction};

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
    let mut said = with_severity(diagnostic, Severity::NotEnforceable);
    // The severity says so already.
    if let Some(what) = said.message.strip_prefix("not enforceable yet: ") {
        said.message = what.to_owned();
    }
    said
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

pub(super) fn key(policy: &PolicyRef) -> DocumentKey {
    let kind = match policy.kind {
        PolicyKind::NetworkPolicy => Kind::NetworkPolicy,
        PolicyKind::CiliumNetworkPolicy => Kind::CiliumNetworkPolicy,
        PolicyKind::CiliumClusterwideNetworkPolicy => Kind::CiliumClusterwideNetworkPolicy,
        PolicyKind::ClusterNetworkPolicy => Kind::ClusterNetworkPolicy,
        PolicyKind::CiliumCidrGroup => Kind::CiliumCIDRGroup,
    };
    DocumentKey { kind, namespace: policy.namespace.as_deref().map(Arc::from), name: policy.name.as_str().into() }
}

pub(super) fn labels(labels: &nexin_model::LabelSet) -> Labels {
    labels.iter().map(|label| (format!("{}:{}", label.source, label.key), label.value.to_string())).collect()
}

pub(super) const fn verdict(decision: Decision) -> Verdict {
    match decision {
        Decision::Unrestricted | Decision::Allowed => Verdict::Allow,
        Decision::Denied => Verdict::Deny,
        Decision::DefaultDenied => Verdict::DefaultDeny,
    }
}

/// Both sides of a flow: the first that refuses.
pub(super) const fn combined(egress: Decision, ingress: Decision) -> Verdict {
    verdict(if egress.passes() { ingress } else { egress })
}

pub(super) fn rule(id: u32, origin: &Origin) -> RuleRef {
    RuleRef {
        id,
        policy: reference(&origin.document),
        file: origin.file.to_string(),
        line: origin.line,
        field: origin.path.to_string(),
        log: None,
    }
}

pub(super) fn direction(side: &Explanation) -> DirectionAnswer {
    let answer = &side.answer;
    DirectionAnswer {
        direction: match answer.direction {
            nexin_model::Direction::Ingress => Direction::Ingress,
            nexin_model::Direction::Egress => Direction::Egress,
        },
        enforced: answer.decision != Decision::Unrestricted,
        reason: side.reason(),
        verdict: verdict(answer.decision),
        rules: side.rules.iter().map(spoken).collect(),
        isolated_by: side.isolated_by.iter().map(reference).collect(),
        shadow_verdict: answer.shadow.as_ref().map(|shadow| verdict(shadow.decision)),
        kernel_verdict: None,
    }
}

fn spoken(rule: &engine::SpokenRule) -> SpokenRule {
    let part = match rule.part {
        Part::Decides => "decides",
        Part::WouldDecide => "would decide if shadow policies were in force",
        Part::Overruled => "matches, but a stronger rule decides",
        Part::OtherPorts => "is about this peer, but other ports",
    };
    let pass = if rule.action == RuleAction::Pass { "; leaves it to the next tier" } else { "" };
    SpokenRule {
        policy: reference(&rule.origin.document),
        file: rule.origin.file.to_string(),
        line: rule.origin.line,
        field: rule.origin.path.to_string(),
        verdict: if rule.action == RuleAction::Deny { Verdict::Deny } else { Verdict::Allow },
        winner: rule.part == Part::Decides,
        shadow: rule.shadow,
        reason: format!("{}: {part}{pass}", rule.origin.text),
    }
}
