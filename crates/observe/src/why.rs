//! Why a flow was let through or not, in one line: what the official command has no place for.

use nexin_hubble::flow::{DropReason, Flow, Policy, TrafficDirection, Verdict};

use crate::names;

/// Rule, policy, file and line of the decision. None where nothing was decided.
pub(crate) fn text(flow: &Flow) -> Option<String> {
    let mut parts = Vec::new();
    if let Some(reason) = reason(flow) {
        parts.push(reason);
    }
    for (word, policies) in [
        ("ingress denied by", &flow.ingress_denied_by),
        ("egress denied by", &flow.egress_denied_by),
        ("ingress allowed by", &flow.ingress_allowed_by),
        ("egress allowed by", &flow.egress_allowed_by),
    ] {
        if !policies.is_empty() {
            let named: Vec<String> = policies.iter().map(policy).collect();
            parts.push(format!("{word} {}", named.join(", ")));
        }
    }
    if parts.is_empty() && flow.policy_match_type != 0 {
        parts.push(format!("matched {}", names::match_type(flow.policy_match_type)));
    }
    parts.extend(flow.policy_log.iter().map(|line| format!("log {line:?}")));
    if let Some(file) = flow.file.as_ref().filter(|file| !file.name.is_empty()) {
        parts.push(format!("at {}:{}", file.name, file.line));
    }
    if parts.is_empty() { None } else { Some(format!("why: {}", parts.join("; "))) }
}

fn reason(flow: &Flow) -> Option<String> {
    if flow.verdict != i32::from(Verdict::Dropped) {
        return None;
    }
    let text = names::drop_text(flow.drop_reason_desc);
    let denied = [DropReason::PolicyDenied, DropReason::PolicyDeny].map(i32::from).contains(&flow.drop_reason_desc);
    let nobody = flow.ingress_denied_by.is_empty() && flow.egress_denied_by.is_empty();
    if !(denied && nobody) {
        return Some(text);
    }
    let direction = match TrafficDirection::try_from(flow.traffic_direction) {
        Ok(TrafficDirection::Ingress) => " at ingress",
        Ok(TrafficDirection::Egress) => " at egress",
        _ => "",
    };
    Some(format!("{text}{direction}: no rule allows it"))
}

fn policy(policy: &Policy) -> String {
    let kind = if policy.kind.is_empty() { "policy" } else { &policy.kind };
    let name = if policy.name.is_empty() { "(unnamed)" } else { &policy.name };
    let mut text = match policy.namespace.as_str() {
        "" => format!("{kind}/{name}"),
        namespace => format!("{kind}/{namespace}/{name}"),
    };
    if policy.revision != 0 {
        text.push_str(&format!(" (revision {})", policy.revision));
    }
    text
}

#[cfg(test)]
mod tests {
    use nexin_hubble::flow::FileInfo;

    use super::*;

    #[test]
    fn a_drop_says_who_where_and_why() {
        let mut flow = Flow {
            verdict: Verdict::Dropped.into(),
            drop_reason_desc: DropReason::PolicyDenied.into(),
            traffic_direction: TrafficDirection::Ingress.into(),
            file: Some(FileInfo { name: "to_workload.rs".into(), line: 12 }),
            ..Flow::default()
        };
        let expected = "why: Policy denied at ingress: no rule allows it; at to_workload.rs:12";
        assert_eq!(text(&flow).as_deref(), Some(expected));
        flow.ingress_denied_by.push(Policy {
            kind: "CiliumNetworkPolicy".into(),
            namespace: "default".into(),
            name: "web".into(),
            revision: 3,
            ..Policy::default()
        });
        let expected =
            "why: Policy denied; ingress denied by CiliumNetworkPolicy/default/web (revision 3); at to_workload.rs:12";
        assert_eq!(text(&flow).as_deref(), Some(expected));
        assert_eq!(text(&Flow::default()), None);
    }
}
