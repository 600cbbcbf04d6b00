use std::net::Ipv4Addr;

use nexin_abi::{Action, Be16, DropReason, Event as Kernel, EventKind, Identity, Observation, SourceFile};
use nexin_hubble::flow;
use nexin_model::{Label, LabelSet};

use super::*;
use crate::record::{Node, Rule, RulePlace};
use crate::view::View;

const NAMESPACE: &str = "io.kubernetes.pod.namespace";

fn labels(list: &[Label]) -> LabelSet {
    list.iter().cloned().collect()
}

pub(crate) fn names() -> Names {
    let node = Node { name: "n1".into(), emitter: Node::emitter(), seed: 7, ..Node::default() };
    let mut names = Names::new(node);
    names.set_identity(Identity(300), &labels(&[Label::k8s("app", "xwing"), Label::k8s(NAMESPACE, "space")]));
    names.set_identity(Identity(301), &labels(&[Label::k8s("app", "deathstar"), Label::k8s(NAMESPACE, "space")]));
    names.set_endpoint(
        5,
        flow::Endpoint {
            id: 5,
            identity: 301,
            namespace: "space".into(),
            pod_name: "deathstar".into(),
            ..flow::Endpoint::default()
        },
    );
    let policy = flow::Policy { name: "landing".into(), kind: "CiliumNetworkPolicy".into(), ..flow::Policy::default() };
    let place = RulePlace { file: "sw.yaml".into(), line: 9, field: "spec.ingress[0]".into() };
    names.set_rules([Rule {
        id: 42,
        policy,
        place,
        log: Some("seen".into()),
        whole_protocols: vec![6],
        ..Rule::default()
    }]);
    names.set_interfaces([(3, "nx5".to_owned())]);
    names
}

fn raw(ip: [u8; 4]) -> [u8; 16] {
    let mut raw = [0; 16];
    raw[..4].copy_from_slice(&ip);
    raw
}

pub(crate) fn trace() -> Kernel {
    Kernel {
        kind: EventKind::Trace as u8,
        family: 4,
        protocol: 6,
        tcp_flags: 0x12,
        source: raw([10, 0, 0, 1]),
        destination: raw([10, 0, 0, 5]),
        source_port: Be16::new(40_000),
        destination_port: Be16::new(80),
        source_identity: Identity(300),
        destination_identity: Identity(301),
        destination_endpoint: 5,
        ifindex: 3,
        length: 66,
        source_mac: [10, 0, 0, 0, 0, 1],
        destination_mac: [10, 0, 0, 0, 0, 2],
        flags: Kernel::REPLY_KNOWN,
        ..Kernel::default()
    }
}

fn drop() -> Kernel {
    Kernel {
        kind: EventKind::Drop as u8,
        reason: DropReason::PolicyDenied as u8,
        action: Action::DefaultDeny as u8,
        file: SourceFile::Policy as u8,
        line: 120,
        rule: 42,
        ..trace()
    }
}

fn record(event: &Kernel) -> Record {
    decode(event, &names(), 1_500_000_000_000_000_001, 1).unwrap()
}

#[test]
fn a_drop_says_everything_a_node_knows() {
    let flow = record(&drop()).to_flow();
    assert_eq!(flow.verdict(), flow::Verdict::Dropped);
    #[allow(deprecated)]
    let reason = (flow.drop_reason, flow.drop_reason_desc());
    assert_eq!(reason, (133, flow::DropReason::PolicyDenied));
    assert_eq!(flow.event_type, Some(flow::CiliumEventType { r#type: 1, sub_type: 133 }));
    assert_eq!((flow.is_reply, flow.traffic_direction()), (None, flow::TrafficDirection::Ingress));
    assert_eq!(flow.file, Some(flow::FileInfo { name: "policy.rs".into(), line: 120 }));
    assert_eq!(flow.ingress_denied_by[0].name, "landing");
    assert_eq!(flow.policy_log, ["seen"]);
    assert_eq!(flow.interface, Some(flow::NetworkInterface { index: 3, name: "nx5".into() }));
    let destination = flow.destination.unwrap();
    assert_eq!((destination.id, destination.pod_name.as_str()), (5, "deathstar"));
    let source = flow.source.unwrap();
    assert_eq!((source.namespace.as_str(), source.identity), ("space", 300));
    assert_eq!(source.labels, ["k8s:app=xwing", "k8s:io.kubernetes.pod.namespace=space"]);
    assert_eq!(flow.ethernet.unwrap().source, "0a:00:00:00:00:01");
    let time = flow.time.unwrap();
    assert_eq!((time.seconds, time.nanos), (1_500_000_000, 1));
    assert_eq!((flow.node_name.as_str(), flow.emitter.unwrap().name.as_str()), ("n1", "Nexin"));
}

#[test]
fn a_trace_knows_its_point_its_reason_and_its_direction() {
    use flow::TrafficDirection::{Egress, Ingress, Unknown};
    let reply = Kernel::REPLY_KNOWN | Kernel::REPLY | Kernel::ESTABLISHED;
    let established = Kernel::REPLY_KNOWN | Kernel::ESTABLISHED;
    let (new, none) = (Kernel::REPLY_KNOWN, 0);
    use flow::TraceReason as R;
    for (flags, direction, is_reply, reason) in [
        (new, Ingress, Some(false), R::New),
        (established, Ingress, Some(false), R::Established),
        (reply, Egress, Some(true), R::Reply),
        (none, Unknown, None, R::Unknown),
        (new | Kernel::RELATED, Ingress, Some(false), R::Related),
    ] {
        let flow = record(&Kernel { flags, ..trace() }).to_flow();
        assert_eq!((flow.traffic_direction(), flow.is_reply, flow.trace_reason()), (direction, is_reply, reason));
        assert_eq!(flow.trace_observation_point(), flow::TraceObservationPoint::ToEndpoint);
        assert_eq!(flow.verdict(), flow::Verdict::Forwarded);
        #[allow(deprecated)]
        let summary = flow.summary.as_str();
        assert_eq!(summary, "TCP Flags: SYN, ACK");
        assert_eq!(flow.file, None);
    }
}

#[test]
fn a_verdict_is_mapped_with_its_match() {
    use flow::Verdict::{Audit, Dropped, Forwarded};
    let (deny, allow) = (Action::Deny as u8, Action::Allow as u8);
    let verdict = Kernel { kind: EventKind::Verdict as u8, rule: 42, flags: 0, ..trace() };
    for (action, flags, rule, expected, match_type, is_reply) in [
        (allow, 0, 42, Forwarded, 5, Some(false)),
        (allow, 0, 0, Forwarded, 4, Some(false)),
        (deny, 0, 42, Dropped, 5, None),
        (deny, Kernel::AUDIT, 42, Audit, 5, Some(false)),
        (Action::DefaultDeny as u8, 0, 42, Dropped, 0, None),
    ] {
        let reason = if expected == Dropped { 181 } else { 0 };
        let record = record(&Kernel { action, flags, rule, reason, ..verdict });
        let flow = record.to_flow();
        assert_eq!((flow.verdict(), flow.policy_match_type, flow.is_reply), (expected, match_type, is_reply));
        assert_eq!(flow.drop_reason_desc, i32::from(reason));
        assert_eq!(flow.ingress_denied_by.len(), usize::from(action != allow));
        assert_eq!(flow.ingress_allowed_by.len(), usize::from(action == allow && rule != 0));
        assert_eq!(flow.event_type, Some(flow::CiliumEventType { r#type: 5, sub_type: 0 }));
        assert_eq!(record.tcp_flags(), 0x12);
    }
}

#[test]
fn a_record_and_its_message_answer_alike() {
    let masqueraded = Kernel { nat_source: raw([192, 0, 2, 1]), ..trace() };
    let ping = Kernel { protocol: 1, destination_port: Be16::new(8 << 8), ..trace() };
    let unparsed = Kernel { family: 0, ..drop() };
    for event in [trace(), drop(), masqueraded, ping, unparsed] {
        let record = record(&event);
        let flow = record.to_flow();
        assert!(record.uuid_is(&flow.uuid) && !record.uuid_is(""));
        assert_eq!(View::time(&record), View::time(&flow));
        assert_eq!(View::verdict(&record), View::verdict(&flow));
        assert_eq!(View::drop_reason(&record), View::drop_reason(&flow));
        assert_eq!(View::event_type(&record), View::event_type(&flow));
        assert_eq!(View::traffic_direction(&record), View::traffic_direction(&flow));
        assert_eq!(View::is_reply(&record), View::is_reply(&flow));
        assert_eq!(View::l4(&record), View::l4(&flow));
        assert_eq!(View::source(&record), View::source(&flow));
        assert_eq!(View::interface(&record), View::interface(&flow));
        let texts = |ip: crate::view::Ip<'_>| {
            (ip.source.to_string(), ip.destination.to_string(), ip.source_xlated.to_string(), ip.version)
        };
        assert_eq!(View::ip(&record).map(texts), View::ip(&flow).map(texts));
    }
    let flow = record(&masqueraded).to_flow();
    let ip = flow.ip.unwrap();
    assert_eq!((ip.source.as_str(), ip.source_xlated.as_str()), ("10.0.0.1", "192.0.2.1"));
    assert_eq!(crate::summary::text(&record(&ping)), "ICMPv4 EchoRequest");
    assert_eq!(crate::summary::text(&record(&unparsed)), "Ethernet");
}

#[test]
fn uuids_are_of_version_4_and_never_twice() {
    let mut seen = std::collections::BTreeSet::new();
    for number in 0..10_000 {
        let record = decode(&trace(), &names(), 0, number).unwrap();
        let uuid = uuid::Uuid::parse_str(&record.to_flow().uuid).unwrap();
        assert_eq!((uuid.get_version_num(), uuid.get_variant()), (4, uuid::Variant::RFC4122));
        assert!(seen.insert(uuid));
    }
}

#[test]
fn the_point_tells_a_traces_direction() {
    use Observation::{FromEndpoint, FromHost, FromNetwork, ToEndpoint, ToNetwork, ToStack};
    for (point, direction) in [
        (FromEndpoint, flow::TrafficDirection::Egress),
        (ToNetwork, flow::TrafficDirection::Egress),
        (ToStack, flow::TrafficDirection::Egress),
        (ToEndpoint, flow::TrafficDirection::Ingress),
        (FromNetwork, flow::TrafficDirection::Ingress),
        (FromHost, flow::TrafficDirection::Ingress),
    ] {
        let flow = record(&Kernel { observation: point as u8, ..trace() }).to_flow();
        assert_eq!(flow.traffic_direction(), direction, "{point:?}");
    }
}

#[test]
fn unknown_numbers_are_passed_on_and_unknown_kinds_are_not() {
    let odd = Kernel { reason: 250, rule: 9, source_identity: Identity(9_999), ifindex: 77, observation: 99, ..drop() };
    let flow = record(&odd).to_flow();
    assert_eq!((flow.drop_reason_desc, flow.source.unwrap().identity), (250, 9_999));
    assert_eq!(flow.interface, Some(flow::NetworkInterface { index: 77, name: String::new() }));
    assert!(decode(&Kernel { kind: 9, ..trace() }, &names(), 0, 0).is_none());
    let nobody = Kernel { source_identity: Identity::UNKNOWN, ..drop() };
    assert_eq!(record(&nobody).to_flow().source.unwrap().labels, ["reserved:unknown"]);
}

#[test]
fn the_identity_that_the_kernel_saw_is_shown() {
    let event = Kernel { destination_identity: Identity(300), ..trace() };
    let destination = record(&event).to_flow().destination.unwrap();
    assert_eq!((destination.identity, destination.pod_name.as_str()), (300, "deathstar"));
    assert_eq!(destination.labels[0], "k8s:app=xwing");
}

#[test]
fn names_that_did_not_change_stay_shared() {
    let mut names = names();
    let before = names.party(Identity(300), 0);
    names.set_identity(Identity(300), &labels(&[Label::k8s("app", "xwing"), Label::k8s(NAMESPACE, "space")]));
    assert!(std::sync::Arc::ptr_eq(&before, &names.party(Identity(300), 0)));
    names.set_identity(Identity(300), &labels(&[Label::k8s("app", "ywing")]));
    assert_eq!(names.party(Identity(300), 0).labels, ["k8s:app=ywing"]);
    assert!(names.remove_endpoint(5) && !names.remove_endpoint(5));
}

#[test]
fn of_nested_prefixes_only_the_narrowest_is_shown() {
    let cidr = |text: &str| Label::cidr(text.parse().unwrap());
    let set = labels(&[cidr("10.0.0.0/8"), cidr("10.1.0.0/16"), cidr("10.1.2.0/24"), Label::reserved("world")]);
    assert_eq!(sorted_labels(Identity(Identity::SCOPE_LOCAL + 1), &set), ["cidr:10.1.2.0/24", "reserved:world"]);
    assert_eq!(sorted_labels(Identity::HOST, &set).len(), 4);
    assert_eq!(Ipv4Addr::new(10, 0, 0, 1).octets(), [10, 0, 0, 1]);
}
