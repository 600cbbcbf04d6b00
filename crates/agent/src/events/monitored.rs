//! A flow in the words of `GET /v1/monitor`; the refusal is put in words.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, SystemTime};

use nexin_abi::maps::ct::Counter;
use nexin_abi::{Action, Direction as KernelDirection, DropReason, EventKind};
use nexin_api::v1::{
    Direction, EventType, FlowEvent, Labels, Observation, Party, PolicyRef, Protocol, RuleRef, Timestamp, Verdict,
};
use nexin_flows::Record;
use nexin_flows::record::Rule;
use nexin_hubble::flow;

/// The same flow, in the monitor's words.
pub(crate) fn monitored(record: &Record) -> FlowEvent {
    let kind = match record.kind() {
        EventKind::Drop => EventType::Drop,
        EventKind::Verdict => EventType::Verdict,
        EventKind::Trace => EventType::Trace,
    };
    let protocol = Protocol::from_number(record.protocol());
    let icmp = matches!(protocol, Protocol::Icmp | Protocol::Icmp6);
    let ports = record.raw_ports();
    let shown = if protocol.has_ports() { ports } else { (0, 0) };
    let nowhere = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    let (from, to) = record.addresses().unwrap_or((nowhere, nowhere));
    let ends = [
        party(from, shown.0, record.shared_source().map(|party| &**party)),
        party(to, shown.1, record.shared_destination().map(|party| &**party)),
    ];
    let egress = record.policy_direction() == KernelDirection::Egress;
    let direction = if egress { Direction::Egress } else { Direction::Ingress };
    let is_drop = kind == EventType::Drop;
    let reason = DropReason::from_code(record.reason()).filter(|_| is_drop);
    let by_policy = kind == EventType::Verdict
        || matches!(reason, Some(DropReason::PolicyDenied | DropReason::PolicyDenyRule | DropReason::NoConfiguration));
    // For a drop the reason says which it was; the action tells verdict events apart.
    let verdict = match reason {
        Some(DropReason::PolicyDenyRule) => Some(Verdict::Deny),
        Some(DropReason::PolicyDenied) => Some(Verdict::DefaultDeny),
        _ => by_policy.then(|| action(record.action(), record.is_audited())),
    };
    let rule = record.rule().filter(|_| by_policy).and_then(|rule| rule_ref(rule));
    let default_deny = record.action() == Action::DefaultDeny as u8;
    let isolated = verdict == Some(Verdict::DefaultDeny) || verdict == Some(Verdict::Audit) && default_deny;
    let isolated_by = rule.iter().filter(|_| isolated).map(|rule| rule.policy.clone()).collect();
    let shadow = record.shadow();
    let counters = record.counters();
    let (file, line) = record.place();
    let mut flow = FlowEvent {
        tcp_flags: if protocol == Protocol::Tcp { tcp_flags(record.tcp_flags()) } else { String::new() },
        icmp: icmp.then_some(((ports.1 >> 8) as u8, ports.1 as u8)),
        verdict,
        reason_code: is_drop.then_some(record.reason()),
        reason: reason.map(|reason| reason.wire_name().to_owned()),
        rule,
        isolated_by,
        shadow_verdict: shadow.map(|(code, _)| action(code, false)),
        shadow_rule: shadow.and_then(|(_, rule)| rule_ref(rule?)),
        observation: observation(record.observation()).filter(|_| kind == EventType::Trace),
        is_reply: record.tracked_reply(),
        closed: record.is_closed(),
        ifindex: record.interface_index(),
        length: record.length(),
        forward: counters.map(|(forward, _)| counted(forward)),
        reverse: counters.map(|(_, reverse)| counted(reverse)),
        masqueraded_as: record.translated_source(),
        kernel_source: format!("{file}:{line}"),
        ..FlowEvent::new(time(record.time_ns()), kind, ends, protocol, direction)
    };
    flow.explanation = explain(&flow, reason);
    flow
}

pub(crate) fn time(time_ns: u64) -> Timestamp {
    Timestamp::from(SystemTime::UNIX_EPOCH + Duration::from_nanos(time_ns))
}

fn party(address: IpAddr, port: u16, known: Option<&flow::Endpoint>) -> Party {
    let labels = known.map(|known| known.labels.as_slice()).unwrap_or_default();
    let local = known.filter(|known| known.id != 0);
    Party {
        address,
        port,
        identity: known.map_or(0, |known| known.identity),
        labels: labels.iter().map(|label| label.split_once('=').unwrap_or((label, ""))).collect::<Labels>(),
        endpoint: local.and_then(|local| u16::try_from(local.id).ok()),
        workload: local.map(|local| format!("{}/{}", local.namespace, local.pod_name)),
    }
}

fn action(action: u8, audited: bool) -> Verdict {
    match action {
        a if a == Action::Allow as u8 => Verdict::Allow,
        _ if audited => Verdict::Audit,
        a if a == Action::Deny as u8 => Verdict::Deny,
        _ => Verdict::DefaultDeny,
    }
}

fn rule_ref(rule: &Rule) -> Option<RuleRef> {
    let policy = &rule.policy;
    Some(RuleRef {
        id: rule.id,
        policy: PolicyRef {
            kind: policy.kind.parse().ok()?,
            namespace: (!policy.namespace.is_empty()).then(|| policy.namespace.clone()),
            name: policy.name.clone(),
        },
        file: rule.place.file.clone(),
        line: rule.place.line,
        field: rule.place.field.clone(),
        log: rule.log.clone(),
    })
}

fn counted(counter: Counter) -> (u64, u64) {
    (counter.packets(), counter.bytes())
}

fn tcp_flags(flags: u8) -> String {
    "FSRPAUEC".chars().enumerate().filter(|(bit, _)| flags & 1 << bit != 0).map(|(_, letter)| letter).collect()
}

fn observation(code: u8) -> Option<Observation> {
    const ALL: [Observation; 12] = [
        Observation::ToEndpoint,
        Observation::ToProxy,
        Observation::ToHost,
        Observation::ToStack,
        Observation::ToOverlay,
        Observation::FromEndpoint,
        Observation::FromProxy,
        Observation::FromHost,
        Observation::FromStack,
        Observation::FromOverlay,
        Observation::FromNetwork,
        Observation::ToNetwork,
    ];
    ALL.get(usize::from(code)).copied()
}

/// A drop or a refusal in one sentence.
fn explain(flow: &FlowEvent, reason: Option<DropReason>) -> Option<String> {
    let place = |rule: &RuleRef| format!("{} ({}:{})", rule.policy, rule.file, rule.line);
    match (flow.verdict, &flow.rule) {
        (Some(Verdict::Deny), Some(rule)) => Some(format!("denied by a rule of {}", place(rule))),
        (Some(Verdict::DefaultDeny), Some(rule)) => {
            Some(format!("no rule allows it: {} isolates {}", place(rule), subject(flow)))
        }
        (Some(Verdict::DefaultDeny), None) if flow.reason_code == Some(DropReason::NoConfiguration as u8) => {
            Some("the endpoint's policy is not loaded yet".to_owned())
        }
        (Some(Verdict::DefaultDeny), None) => {
            Some(format!("no rule allows it, and {} is isolated by the settings or its labels", subject(flow)))
        }
        (Some(Verdict::Allow), Some(rule)) => Some(format!("allowed by a rule of {}", place(rule))),
        (Some(Verdict::Audit), Some(rule)) => {
            Some(format!("would be refused by {}; audit mode let it through", place(rule)))
        }
        (Some(Verdict::Audit), None) => Some("would be refused; audit mode let it through".to_owned()),
        _ => match (reason, flow.reason_code) {
            (Some(reason), _) => Some(reason.text().to_owned()),
            (None, Some(code)) => Some(format!("reason {code}, unknown to this version")),
            (None, None) => None,
        },
    }
}

fn subject(flow: &FlowEvent) -> String {
    let (party, direction) = match flow.direction {
        Direction::Egress => (&flow.source, "for what it sends"),
        Direction::Ingress => (&flow.destination, "for what it receives"),
    };
    let name = party.workload.clone().unwrap_or_else(|| Labels::to_string(&party.labels));
    format!("{name} {direction}")
}

#[cfg(test)]
pub(super) mod tests {
    use nexin_abi::{Be16, Event, Identity, SourceFile};
    use nexin_flows::decode::{Names, decode};
    use nexin_flows::record::{Node, RulePlace};
    use nexin_model::{Label, LabelSet};

    use super::*;

    fn names() -> Names {
        let mut names = Names::new(Node::default());
        let app = |app: &str| [Label::k8s("app", app)].into_iter().collect::<LabelSet>();
        names.set_identity(Identity(300), &app("xwing"));
        names.set_identity(Identity(301), &app("deathstar"));
        let local = flow::Endpoint {
            id: 7,
            identity: 301,
            namespace: "space".into(),
            pod_name: "deathstar".into(),
            ..flow::Endpoint::default()
        };
        names.set_endpoint(7, local);
        let policy = flow::Policy {
            kind: "CiliumNetworkPolicy".into(),
            namespace: "space".into(),
            name: "landing".into(),
            ..flow::Policy::default()
        };
        let place = RulePlace { file: "sw.yaml".into(), line: 9, field: "spec.ingress[0]".into() };
        names.set_rules([Rule { id: 77, policy, place, ..Rule::default() }]);
        names
    }

    pub(crate) fn record(event: &Event) -> Record {
        decode(event, &names(), 6_000_001_500, 1).unwrap()
    }

    fn raw(address: [u8; 4]) -> [u8; 16] {
        let mut raw = [0; 16];
        raw[..4].copy_from_slice(&address);
        raw
    }

    pub(crate) fn event() -> Event {
        Event {
            time_ns: 1_500,
            kind: EventKind::Drop as u8,
            reason: DropReason::PolicyDenied as u8,
            action: Action::DefaultDeny as u8,
            family: 4,
            protocol: 6,
            tcp_flags: 2,
            flags: Event::REPLY_KNOWN,
            source: raw([10, 0, 0, 5]),
            destination: raw([10, 0, 0, 7]),
            source_port: Be16::new(40_000),
            destination_port: Be16::new(80),
            source_identity: Identity(300),
            destination_identity: Identity(301),
            destination_endpoint: 7,
            rule: 77,
            file: SourceFile::Policy as u8,
            line: 42,
            ..Event::default()
        }
    }

    #[test]
    fn a_refusal_names_rule_file_line_and_both_sides() {
        let flow = monitored(&record(&event()));
        assert_eq!(flow.time, Timestamp(6_000_001_500));
        assert_eq!(flow.source.labels, Labels::from_iter([("k8s:app", "xwing")]));
        assert_eq!(flow.destination.workload.as_deref(), Some("space/deathstar"));
        assert_eq!((flow.destination.port, flow.tcp_flags.as_str(), flow.is_reply), (80, "S", Some(false)));
        assert_eq!(flow.verdict, Some(Verdict::DefaultDeny));
        assert_eq!(flow.reason.as_deref(), Some("POLICY_DENIED"));
        assert_eq!(flow.isolated_by.len(), 1);
        assert_eq!(flow.kernel_source, "policy.rs:42");
        assert_eq!(
            flow.explanation.as_deref(),
            Some(
                "no rule allows it: CiliumNetworkPolicy/space/landing (sw.yaml:9) isolates space/deathstar for what it receives"
            )
        );
    }

    #[test]
    fn the_reason_of_a_drop_tells_a_deny_rule() {
        let denied = Event { reason: DropReason::PolicyDenyRule as u8, ..event() };
        let flow = monitored(&record(&denied));
        assert_eq!((flow.verdict, flow.isolated_by.len()), (Some(Verdict::Deny), 0));
        assert_eq!(
            flow.explanation.as_deref(),
            Some("denied by a rule of CiliumNetworkPolicy/space/landing (sw.yaml:9)")
        );
    }

    #[test]
    fn unknown_numbers_are_passed_on_not_lost() {
        let unknown = Event { reason: 250, rule: 5, source_identity: Identity(9_999), observation: 99, ..event() };
        let flow = monitored(&record(&unknown));
        assert_eq!((flow.reason_code, flow.reason, flow.source.identity), (Some(250), None, 9_999));
        assert_eq!(flow.explanation.as_deref(), Some("reason 250, unknown to this version"));
    }

    #[test]
    fn audit_and_icmp_are_told() {
        let audited = Event { kind: EventKind::Verdict as u8, flags: Event::AUDIT, ..event() };
        let flow = monitored(&record(&audited));
        assert_eq!((flow.verdict, flow.reason), (Some(Verdict::Audit), None));
        let ping = Event { protocol: 1, destination_port: Be16::new(8 << 8), ..event() };
        let flow = monitored(&record(&ping));
        assert_eq!((flow.icmp, flow.destination.port), (Some((8, 0)), 0));
    }
}
