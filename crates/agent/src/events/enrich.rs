//! A kernel event becomes a flow event: numbers become labels, names, files and lines; the refusal is put in words.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, SystemTime};

use nexin_abi::maps::ct::Counter;
use nexin_abi::{Action, Direction as KernelDirection, DropReason, Event, EventKind, SourceFile};
use nexin_api::v1::{
    Direction, EventType, FlowEvent, Labels, Observation, Party, PolicyRef, Protocol, RuleRef, Timestamp, Verdict,
};
use nexin_model::Identity;

use super::directory::Directory;

/// Turns the kernel's monotonic time into wall time. Measured once: both run at the same speed but for steps of the wall
/// clock, which must not reorder events.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    boot: SystemTime,
}

impl Clock {
    /// `monotonic` was read at the moment `now`.
    pub(crate) fn new(now: SystemTime, monotonic: Duration) -> Self {
        Self { boot: now.checked_sub(monotonic).unwrap_or(SystemTime::UNIX_EPOCH) }
    }

    pub(crate) fn wall(&self, monotonic_ns: u64) -> Timestamp {
        Timestamp::from(self.boot + Duration::from_nanos(monotonic_ns))
    }
}

/// None for an event of a kind this version does not know.
pub(crate) fn enrich(event: &Event, directory: &Directory, clock: &Clock) -> Option<FlowEvent> {
    let kind = event_type(event.kind)?;
    let protocol = Protocol::from_number(event.protocol);
    let icmp = matches!(protocol, Protocol::Icmp | Protocol::Icmp6);
    let ports = if protocol.has_ports() { (event.source_port.get(), event.destination_port.get()) } else { (0, 0) };
    let source = party(directory, event, event.source, ports.0, event.source_identity, event.source_endpoint);
    let destination =
        party(directory, event, event.destination, ports.1, event.destination_identity, event.destination_endpoint);
    let direction =
        if event.direction == KernelDirection::Egress as u8 { Direction::Egress } else { Direction::Ingress };
    let reason = DropReason::from_code(event.reason).filter(|_| kind == EventType::Drop);
    let by_policy = kind == EventType::Verdict
        || matches!(reason, Some(DropReason::PolicyDenied | DropReason::PolicyDenyRule | DropReason::NoConfiguration));
    let audited = event.flags & Event::AUDIT != 0;
    // For a drop the reason says which it was; the action tells verdict events apart.
    let verdict = match reason {
        Some(DropReason::PolicyDenyRule) => Some(Verdict::Deny),
        Some(DropReason::PolicyDenied) => Some(Verdict::DefaultDeny),
        _ => by_policy.then(|| action(event.action, audited)),
    };
    let rule = rule_ref(directory, event.rule).filter(|_| by_policy);
    let shadow = event.flags & Event::SHADOW != 0;
    let isolated_by: Vec<PolicyRef> = match (&verdict, &rule) {
        (Some(Verdict::DefaultDeny), Some(rule)) => vec![rule.policy.clone()],
        (Some(Verdict::Audit), Some(rule)) if event.action == Action::DefaultDeny as u8 => {
            vec![rule.policy.clone()]
        }
        _ => Vec::new(),
    };
    let is_trace = kind == EventType::Trace;
    let mut flow = FlowEvent {
        time: clock.wall(event.time_ns),
        event: kind,
        source,
        destination,
        protocol,
        tcp_flags: if protocol == Protocol::Tcp { tcp_flags(event.tcp_flags) } else { String::new() },
        icmp: icmp.then(|| {
            let both = event.destination_port.get();
            ((both >> 8) as u8, both as u8)
        }),
        direction,
        verdict,
        reason_code: (kind == EventType::Drop).then_some(event.reason),
        reason: reason.map(|reason| reason.wire_name().to_owned()),
        explanation: None,
        rule,
        isolated_by,
        shadow_verdict: shadow.then(|| action(event.shadow_action, false)),
        shadow_rule: rule_ref(directory, event.shadow_rule).filter(|_| shadow),
        observation: observation(event.observation).filter(|_| is_trace),
        is_reply: (event.flags & Event::REPLY_KNOWN != 0).then_some(event.flags & Event::REPLY != 0),
        closed: event.flags & Event::CLOSED != 0,
        ifindex: event.ifindex,
        length: event.length,
        forward: is_trace.then(|| counted(event.forward)),
        reverse: is_trace.then(|| counted(event.reverse)),
        masqueraded_from: address(event.family, event.nat_source).filter(|ip| !ip.is_unspecified()),
        kernel_source: format!("{}:{}", source_file(event.file), event.line),
    };
    flow.explanation = explain(&flow, reason);
    Some(flow)
}

fn event_type(kind: u8) -> Option<EventType> {
    match kind {
        k if k == EventKind::Drop as u8 => Some(EventType::Drop),
        k if k == EventKind::Verdict as u8 => Some(EventType::Verdict),
        k if k == EventKind::Trace as u8 => Some(EventType::Trace),
        _ => None,
    }
}

fn party(directory: &Directory, event: &Event, raw: [u8; 16], port: u16, identity: Identity, endpoint: u16) -> Party {
    Party {
        address: address(event.family, raw).unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
        port,
        identity: identity.0,
        labels: directory.labels(identity),
        endpoint: (endpoint != 0).then_some(endpoint),
        workload: directory.workload(endpoint).map(|workload| workload.name.clone()),
    }
}

fn address(family: u8, raw: [u8; 16]) -> Option<IpAddr> {
    match family {
        4 => Some(IpAddr::V4(Ipv4Addr::new(raw[0], raw[1], raw[2], raw[3]))),
        6 => Some(IpAddr::V6(Ipv6Addr::from(raw))),
        _ => None,
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

fn rule_ref(directory: &Directory, id: u32) -> Option<RuleRef> {
    let entry = directory.rule(id)?;
    Some(RuleRef {
        id,
        policy: entry.policy.clone(),
        file: entry.file.clone(),
        line: entry.line,
        field: entry.field.clone(),
        log: entry.log.clone(),
    })
}

fn counted(raw: u64) -> (u64, u64) {
    let counter = Counter(raw);
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

fn source_file(code: u8) -> &'static str {
    const NAMES: [(SourceFile, &str); 11] = [
        (SourceFile::FromWorkload, "from_workload.rs"),
        (SourceFile::ToWorkload, "to_workload.rs"),
        (SourceFile::FromNetwork, "from_network.rs"),
        (SourceFile::ToNetwork, "to_network.rs"),
        (SourceFile::Parse, "parse.rs"),
        (SourceFile::Ct, "ct.rs"),
        (SourceFile::Nat, "nat.rs"),
        (SourceFile::Policy, "policy.rs"),
        (SourceFile::Deliver, "deliver.rs"),
        (SourceFile::Icmp, "icmp.rs"),
        (SourceFile::Frag, "frag.rs"),
    ];
    NAMES.iter().find(|(file, _)| *file as u8 == code).map_or("unknown", |(_, name)| name)
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
mod tests {
    use std::collections::HashMap;

    use nexin_abi::{Addr4, Be16};
    use nexin_api::v1::PolicyKind;
    use nexin_model::Label;

    use super::super::directory::{RuleEntry, SharedDirectory, Workload};
    use super::*;

    fn directory() -> SharedDirectory {
        let directory = SharedDirectory::default();
        directory.set_identity(Identity(300), [Label::k8s("app", "xwing")].into_iter().collect());
        directory.set_identity(Identity(301), [Label::k8s("app", "deathstar")].into_iter().collect());
        directory.set_workload(7, Workload { name: "space/deathstar".into() });
        let policy = PolicyRef {
            kind: PolicyKind::CiliumNetworkPolicy,
            namespace: Some("space".into()),
            name: "landing".into(),
        };
        let entry = RuleEntry { policy, file: "sw.yaml".into(), line: 9, field: "spec.ingress[0]".into(), log: None };
        directory.set_rules(HashMap::from([(77, entry)]));
        directory
    }

    fn raw(address: [u8; 4]) -> [u8; 16] {
        let mut raw = [0; 16];
        raw[..4].copy_from_slice(&address);
        raw
    }

    fn event() -> Event {
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
        let clock = Clock::new(SystemTime::UNIX_EPOCH + Duration::from_secs(10), Duration::from_secs(4));
        let flow = enrich(&event(), &directory().read(), &clock).unwrap();
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
        let clock = Clock::new(SystemTime::now(), Duration::ZERO);
        let denied = Event { reason: DropReason::PolicyDenyRule as u8, ..event() };
        let flow = enrich(&denied, &directory().read(), &clock).unwrap();
        assert_eq!((flow.verdict, flow.isolated_by.len()), (Some(Verdict::Deny), 0));
        assert_eq!(
            flow.explanation.as_deref(),
            Some("denied by a rule of CiliumNetworkPolicy/space/landing (sw.yaml:9)")
        );
    }

    #[test]
    fn unknown_numbers_are_passed_on_not_lost() {
        let clock = Clock::new(SystemTime::now(), Duration::ZERO);
        let directory = directory();
        let unknown = Event { reason: 250, rule: 5, source_identity: Identity(9_999), observation: 99, ..event() };
        let flow = enrich(&unknown, &directory.read(), &clock).unwrap();
        assert_eq!((flow.reason_code, flow.reason, flow.source.identity), (Some(250), None, 9_999));
        assert_eq!(flow.explanation.as_deref(), Some("reason 250, unknown to this version"));
        assert_eq!(enrich(&Event { kind: 9, ..event() }, &directory.read(), &clock), None);
        assert_eq!(Ipv4Addr::from(Addr4::from(Ipv4Addr::new(10, 0, 0, 5))).octets(), [10, 0, 0, 5]);
    }

    #[test]
    fn audit_and_icmp_are_told() {
        let clock = Clock::new(SystemTime::now(), Duration::ZERO);
        let directory = directory();
        let audited = Event { kind: EventKind::Verdict as u8, flags: Event::AUDIT, ..event() };
        let flow = enrich(&audited, &directory.read(), &clock).unwrap();
        assert_eq!((flow.verdict, flow.reason), (Some(Verdict::Audit), None));
        let ping = Event { protocol: 1, destination_port: Be16::new(8 << 8), ..event() };
        let flow = enrich(&ping, &directory.read(), &clock).unwrap();
        assert_eq!((flow.icmp, flow.destination.port), (Some((8, 0)), 0));
    }
}
