//! The policy engine's words in the API's, so that answers look the same with an agent and without one (`--offline`).
//!
//! Nothing here decides or looks anything up.

use nexin_api::v1::{
    Detail, Diagnostic, DirectionAnswer, Labels, PolicyKind, PolicyRef, RuleRef, Severity, SpokenRule, Verdict,
};
use nexin_model::LabelSet;
use nexin_policy::explain::{self, Decision, Explanation, Part};
use nexin_policy::input;
use nexin_policy::rule::{DocumentKey, Kind, Origin, RuleAction};

/// Which document a key means.
pub fn policy_ref(key: &DocumentKey) -> PolicyRef {
    let kind = match key.kind {
        Kind::NetworkPolicy => PolicyKind::NetworkPolicy,
        Kind::CiliumNetworkPolicy => PolicyKind::CiliumNetworkPolicy,
        Kind::CiliumClusterwideNetworkPolicy => PolicyKind::CiliumClusterwideNetworkPolicy,
        Kind::ClusterNetworkPolicy => PolicyKind::ClusterNetworkPolicy,
        Kind::CiliumCIDRGroup => PolicyKind::CiliumCidrGroup,
    };
    PolicyRef { kind, namespace: key.namespace.as_deref().map(str::to_owned), name: key.name.to_string() }
}

/// The way back of [`policy_ref`].
pub fn document_key(reference: &PolicyRef) -> DocumentKey {
    let kind = match reference.kind {
        PolicyKind::NetworkPolicy => Kind::NetworkPolicy,
        PolicyKind::CiliumNetworkPolicy => Kind::CiliumNetworkPolicy,
        PolicyKind::CiliumClusterwideNetworkPolicy => Kind::CiliumClusterwideNetworkPolicy,
        PolicyKind::ClusterNetworkPolicy => Kind::ClusterNetworkPolicy,
        PolicyKind::CiliumCidrGroup => Kind::CiliumCIDRGroup,
    };
    DocumentKey {
        kind,
        namespace: reference.namespace.as_deref().map(Into::into),
        name: reference.name.as_str().into(),
    }
}

/// What reading said of a place.
pub fn diagnostic(said: &input::Diagnostic) -> Diagnostic {
    Diagnostic {
        severity: if said.is_error() { Severity::Error } else { Severity::Warning },
        file: said.file.to_string(),
        line: said.line,
        column: said.column,
        field: said.path.clone(),
        message: said.message.clone(),
        hint: said.help.clone(),
    }
}

/// The same as part of an error.
pub fn detail(said: Diagnostic) -> Detail {
    Detail {
        file: Some(said.file),
        line: Some(said.line),
        column: Some(said.column),
        field: Some(said.field),
        message: said.message,
        hint: said.hint,
    }
}

/// Labels by `source:key`.
pub fn wire_labels(labels: &LabelSet) -> Labels {
    labels.iter().map(|label| (format!("{}:{}", label.source, label.key), label.value.to_string())).collect()
}

/// What becomes of a packet; `audit` lets through what would be refused.
pub const fn verdict(decision: Decision, audit: bool) -> Verdict {
    match decision {
        Decision::Unrestricted | Decision::Allowed => Verdict::Allow,
        Decision::Denied | Decision::DefaultDenied if audit => Verdict::Audit,
        Decision::Denied => Verdict::Deny,
        Decision::DefaultDenied => Verdict::DefaultDeny,
    }
}

/// Both sides of a flow: the first that refuses.
pub const fn combined(egress: Decision, ingress: Decision, audit: bool) -> Verdict {
    verdict(if egress.passes() { ingress } else { egress }, audit)
}

/// A rule by its kernel number and the place where it is written.
pub fn rule_ref(id: u32, origin: &Origin) -> RuleRef {
    RuleRef {
        id,
        policy: policy_ref(&origin.document),
        file: origin.file.to_string(),
        line: origin.line,
        field: origin.path.to_string(),
        log: None,
    }
}

/// One side of an explanation.
pub fn direction_answer(side: &Explanation, audit: bool) -> DirectionAnswer {
    let answer = &side.answer;
    DirectionAnswer {
        direction: answer.direction,
        enforced: answer.decision != Decision::Unrestricted,
        reason: side.reason(),
        verdict: verdict(answer.decision, audit),
        rules: side.rules.iter().map(spoken).collect(),
        isolated_by: side.isolated_by.iter().map(policy_ref).collect(),
        shadow_verdict: answer.shadow.as_ref().map(|shadow| verdict(shadow.decision, false)),
        kernel_verdict: None,
    }
}

fn spoken(rule: &explain::SpokenRule) -> SpokenRule {
    let part = match rule.part {
        // The answer marks it.
        Part::Decides => "",
        Part::WouldDecide => "; would decide if shadow policies were in force",
        Part::Overruled => "; a stronger rule decides",
        Part::OtherPorts => "; about this peer, but other ports",
    };
    let pass = if rule.action == RuleAction::Pass { "; leaves it to the next tier" } else { "" };
    SpokenRule {
        policy: policy_ref(&rule.origin.document),
        file: rule.origin.file.to_string(),
        line: rule.origin.line,
        field: rule.origin.path.to_string(),
        verdict: if rule.action == RuleAction::Deny { Verdict::Deny } else { Verdict::Allow },
        winner: rule.part == Part::Decides,
        shadow: rule.shadow,
        reason: format!("{}{part}{pass}", rule.origin.text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_references_mean_the_same_documents() {
        let kinds = [
            Kind::NetworkPolicy,
            Kind::CiliumNetworkPolicy,
            Kind::CiliumClusterwideNetworkPolicy,
            Kind::ClusterNetworkPolicy,
            Kind::CiliumCIDRGroup,
        ];
        for kind in kinds {
            for namespace in [None, Some("shop")] {
                let key = DocumentKey { kind, namespace: namespace.map(Into::into), name: "p".into() };
                assert_eq!(document_key(&policy_ref(&key)), key);
            }
        }
    }

    #[test]
    fn audit_lets_through_what_would_be_refused_and_nothing_else() {
        for decision in [Decision::Unrestricted, Decision::Allowed, Decision::Denied, Decision::DefaultDenied] {
            let (strict, lenient) = (verdict(decision, false), verdict(decision, true));
            assert_eq!(lenient == Verdict::Audit, strict != Verdict::Allow, "{decision:?}");
            assert_eq!(lenient == strict, strict == Verdict::Allow, "{decision:?}");
        }
        assert_eq!(combined(Decision::Denied, Decision::DefaultDenied, false), Verdict::Deny);
        assert_eq!(combined(Decision::Allowed, Decision::DefaultDenied, false), Verdict::DefaultDeny);
    }
}
