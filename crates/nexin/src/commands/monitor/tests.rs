use nexin_api::v1::{Direction, PolicyKind, PolicyRef, Timestamp};

use super::*;

fn party(address: &str, port: u16, workload: Option<&str>) -> Party {
    Party {
        address: address.parse().unwrap(),
        port,
        identity: 2,
        labels: [("reserved:world", "")].into_iter().collect(),
        endpoint: None,
        workload: workload.map(str::to_owned),
    }
}

fn drop_event() -> FlowEvent {
    let ends = [party("10.0.0.4", 40_000, Some("default/xwing")), party("10.0.0.2", 80, Some("default/deathstar"))];
    let time = Timestamp(1_700_000_000_123_456_789);
    FlowEvent {
        tcp_flags: "S".into(),
        verdict: Some(Verdict::DefaultDeny),
        explanation: Some("Policy denied: default deny of CiliumNetworkPolicy/default/rule1".into()),
        is_reply: Some(false),
        ifindex: 7,
        length: 74,
        kernel_source: "policy.rs:120".into(),
        ..FlowEvent::new(time, EventType::Drop, ends, Protocol::Tcp, Direction::Ingress)
    }
}

#[test]
fn a_drop_says_who_and_why() {
    assert_eq!(
        line(&drop_event(), true, Style::new(false)),
        "22:13:20.123 drop         default/xwing (10.0.0.4:40000) -> default/deathstar (10.0.0.2:80) TCP [S]  \
         Policy denied: default deny of CiliumNetworkPolicy/default/rule1  policy.rs:120 if 7 74 bytes"
    );
}

#[test]
fn a_shadow_verdict_names_its_rule() {
    let mut event = drop_event();
    event.event = EventType::Verdict;
    event.verdict = Some(Verdict::Allow);
    event.explanation = None;
    event.source = party("192.0.2.1", 0, None);
    event.shadow_verdict = Some(Verdict::Deny);
    event.shadow_rule = Some(RuleRef {
        id: 3,
        policy: PolicyRef { kind: PolicyKind::NetworkPolicy, namespace: Some("default".into()), name: "p".into() },
        file: "p.yaml".into(),
        line: 9,
        field: "spec.ingress[0]".into(),
        log: Some("tried".into()),
    });
    let text = line(&event, false, Style::new(false));
    assert!(text.contains("allow        reserved:world (192.0.2.1) -> default/deathstar"), "{text}");
    assert!(text.ends_with("[shadow: deny by NetworkPolicy/default/p (p.yaml:9) \"tried\"]"), "{text}");
}

#[test]
fn loss_is_said_by_its_cause() {
    let lost = LostEvents { time: Timestamp(0), kernel: 3, client: 0 };
    assert_eq!(loss(&lost, Style::new(false)), "events are missing here: 3 found the kernel's ring full");
}

#[test]
fn words_are_read_as_the_api_spells_them() {
    assert_eq!(word::<Verdict>("Default-Deny").unwrap(), Verdict::DefaultDeny);
    assert!(word::<EventType>("drops").unwrap_err().to_string().contains("`drop`, `verdict`, `trace`"));
}
