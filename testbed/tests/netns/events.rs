//! What the datapath tells: drops, verdicts and traces with everything a person needs, filters, counters, and loss that
//! is shown.

use nexin_testbed::{
    Node, Result, isolated,
    traffic::{Outcome, TcpEcho, UdpEcho, tcp, udp},
};

use crate::policies::{allow_from, cilium};

#[test]
fn a_deny_names_its_rule() -> Result {
    isolated(|| {
        let node = Node::up("n")?;
        let (a, b) = (node.workload("a", "app=a")?, node.workload("b", "app=b")?);
        let rest = "  log: {value: 'no visitors'}\n  ingressDeny:\n  - fromEndpoints:\n    - matchLabels: {app: a}";
        node.apply("visitors.yaml", &cilium("visitors", "b", rest))?;
        let mut monitor = node.monitor("type=drop")?;
        for to in b.addresses() {
            assert_eq!(tcp(&a.ns, to, 80)?, Outcome::Silence);
            let event = monitor.wait_for("the drop is told", |e| e["destination"]["address"] == to.to_string())?;
            assert_eq!(event["verdict"], "deny", "{event}");
            assert_eq!(event["rule"]["policy"]["name"], "visitors", "{event}");
            assert_eq!(event["rule"]["file"], "visitors.yaml", "{event}");
            assert!(event["rule"]["line"].as_u64() > Some(7), "{event}");
            assert_eq!(event["rule"]["log"], "no visitors", "{event}");
            assert_eq!(event["tcp_flags"], "S", "{event}");
            assert!(event["source"]["labels"].to_string().contains("app"), "{event}");
        }
        assert!(node.metric("cilium_drop_count_total", &["Policy denied by denylist", "INGRESS"])? >= 2.0);
        Ok(())
    })
}

#[test]
fn flows_are_traced_from_first_packet_to_close() -> Result {
    isolated(|| {
        let node = Node::up("n")?;
        let (a, b) = (node.workload("a", "app=a")?, node.workload("b", "app=b")?);
        let _server = TcpEcho::start(&b.ns, 80)?;
        let mut monitor = node.monitor("type=trace&port=80")?;
        assert_eq!(tcp(&a.ns, b.v4.into(), 80)?, Outcome::Answered);
        let first = monitor.wait_for("the first packet", |e| e["tcp_flags"] == "S")?;
        assert_eq!((&first["source"]["workload"], &first["is_reply"]), (&"default/a".into(), &false.into()), "{first}");
        let last = monitor.wait_for("the close", |e| e["closed"] == true)?;
        assert!(last["forward"][0].as_u64() > Some(2), "{last}");
        assert!(last["reverse"][1].as_u64() > Some(100), "{last}");
        Ok(())
    })
}

#[test]
fn filters_keep_others_out() -> Result {
    isolated(|| {
        let node = Node::up("n")?;
        let (a, b) = (node.workload("a", "app=a")?, node.workload("b", "app=b")?);
        let other = node.workload("other", "app=other")?;
        node.apply("b.yaml", &allow_from("b", "nobody"))?;
        let mut monitor = node.monitor("type=drop&from=default/a&port=53")?;
        let _server = UdpEcho::start(&b.ns, 53)?;
        assert_eq!(tcp(&a.ns, b.v4.into(), 80)?, Outcome::Silence);
        assert_eq!(udp(&other.ns, b.v4.into(), 53)?, Outcome::Silence);
        assert_eq!(udp(&a.ns, b.v4.into(), 53)?, Outcome::Silence);
        let mut strangers = Vec::new();
        monitor.wait_for("the one that was asked for", |e| {
            let fits = e["source"]["workload"] == "default/a" && e["destination"]["port"] == 53;
            if !fits {
                strangers.push(e.clone());
            }
            fits
        })?;
        assert!(strangers.is_empty(), "{strangers:#?}");
        Ok(())
    })
}

#[test]
fn forwarded_packets_are_counted() -> Result {
    isolated(|| {
        let node = Node::up("n")?;
        let (a, b) = (node.workload("a", "app=a")?, node.workload("b", "app=b")?);
        let _server = UdpEcho::start(&b.ns, 53)?;
        let before = node.metric("cilium_forward_count_total", &[])?;
        for _ in 0..10 {
            assert_eq!(udp(&a.ns, b.v4.into(), 53)?, Outcome::Answered);
        }
        assert!(node.metric("cilium_forward_count_total", &[])? >= before + 20.0);
        Ok(())
    })
}
