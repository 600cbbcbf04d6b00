//! Policy in force: running flows change with it, deny beats allow, audit and shadow only tell, bad documents change
//! nothing.

use nexin_testbed::{
    Node, Result, isolated,
    traffic::{Datagrams, Outcome, Stream, TcpEcho, UdpEcho, ping, tcp, udp},
    until_ok,
};

use crate::{
    policies::{allow_from, cilium, no_egress},
    settings,
};

#[test]
fn a_verdict_changes_for_running_flows() -> Result {
    isolated(|| {
        let node = Node::up("n")?;
        let (a, b) = (node.workload("a", "app=a")?, node.workload("b", "app=b")?);
        let _servers = (TcpEcho::start(&b.ns, 80)?, UdpEcho::start(&b.ns, 53)?);
        for to in b.addresses() {
            let (stream, datagrams) = (Stream::start(&a.ns, to, 80)?, Datagrams::start(&a.ns, to, 53)?);
            stream.wait_for(20)?;
            datagrams.wait_for(20)?;
            node.apply("b.yaml", &allow_from("b", "somebody-else"))?;
            // The datagrams' flow is refused from its next packet on: whoever asks now hears nothing.
            assert_eq!(udp(&a.ns, to, 53)?, Outcome::Silence, "{to}");
            node.api()?.delete("/v1/policies/CiliumNetworkPolicy/default/b")?;
            stream.wait_for(20)?;
            datagrams.wait_for(20)?;
            let (stream, datagrams) = (stream.finish(), datagrams.finish());
            assert!(stream.lost > 0 && stream.error.is_none(), "the connection paused and went on: {stream:?}");
            assert!(datagrams.lost > 20, "datagrams were refused meanwhile: {datagrams:?}");
        }
        Ok(())
    })
}

#[test]
fn an_allowed_flow_does_not_feel_other_changes() -> Result {
    isolated(|| {
        let node = Node::up("n")?;
        node.apply("b.yaml", &allow_from("b", "a"))?;
        let (a, b) = (node.workload("a", "app=a")?, node.workload("b", "app=b")?);
        let _servers = (TcpEcho::start(&b.ns, 80)?, UdpEcho::start(&b.ns, 53)?);
        let streams = b
            .addresses()
            .map(|to| Ok::<_, nexin_testbed::Error>((Stream::start(&a.ns, to, 80)?, Datagrams::start(&a.ns, to, 53)?)));
        for round in 0..20 {
            node.apply("other.yaml", &allow_from("other", &format!("x{round}")))?;
            node.apply(
                "b2.yaml",
                &cilium(
                    "b2",
                    "b",
                    &format!(
                        "  ingress:\n  - toPorts:\n    - ports:\n      - {{port: '{}', protocol: TCP}}",
                        1000 + round
                    ),
                ),
            )?;
        }
        let extra = node.workload("extra", "app=extra")?;
        extra.relabel(&node, "app=b")?;
        extra.delete(&node)?;
        for pair in streams {
            let (stream, datagrams) = pair?;
            stream.wait_for(20)?;
            stream.finish().expect_whole("stream")?;
            datagrams.finish().expect_whole("datagrams")?;
        }
        Ok(())
    })
}

#[test]
fn deny_beats_allow_and_egress_is_judged_too() -> Result {
    isolated(|| {
        let node = Node::up("n")?;
        let (a, b) = (node.workload("a", "app=a,bad=yes")?, node.workload("b", "app=b")?);
        let good = node.workload("good", "app=a")?;
        let _server = TcpEcho::start(&b.ns, 80)?;
        node.apply("b.yaml", &allow_from("b", "a"))?;
        assert_eq!(tcp(&a.ns, b.v4.into(), 80)?, Outcome::Answered);
        let deny = "  ingressDeny:\n  - fromEndpoints:\n    - matchLabels: {bad: 'yes'}";
        node.apply("deny.yaml", &cilium("deny", "b", deny))?;
        for to in b.addresses() {
            assert_eq!(tcp(&a.ns, to, 80)?, Outcome::Silence, "{to}");
            assert_eq!(tcp(&good.ns, to, 80)?, Outcome::Answered, "{to}");
        }
        node.apply("egress.yaml", &no_egress("a"))?;
        for to in b.addresses() {
            assert_eq!(tcp(&good.ns, to, 80)?, Outcome::Silence, "{to}");
        }
        assert_eq!(tcp(&b.ns, good.v4.into(), 80)?, Outcome::Refused, "answers of a refused sender still pass");
        Ok(())
    })
}

#[test]
fn ports_ranges_and_icmp_types_are_told_apart() -> Result {
    isolated(|| {
        let node = Node::up("n")?;
        let (a, b) = (node.workload("a", "app=a")?, node.workload("b", "app=b")?);
        let servers = [80, 8080, 8081, 9000].map(|port| TcpEcho::start(&b.ns, port));
        for server in servers.iter() {
            assert_eq!(server.as_ref().map(TcpEcho::accepted).ok(), Some(0));
        }
        let rest = "  ingress:
  - toPorts:
    - ports:
      - {port: '80', protocol: TCP}
      - {port: '8080', endPort: 8081, protocol: TCP}
  - icmps:
    - fields:
      - {type: EchoRequest, family: IPv4}";
        node.apply("b.yaml", &cilium("b", "b", rest))?;
        for to in b.addresses() {
            for (port, outcome) in [
                (80, Outcome::Answered),
                (8080, Outcome::Answered),
                (8081, Outcome::Answered),
                (9000, Outcome::Silence),
            ] {
                assert_eq!(tcp(&a.ns, to, port)?, outcome, "{to} {port}");
            }
        }
        assert_eq!(ping(&a.ns, b.v4.into(), "")?, Outcome::Answered);
        assert_eq!(ping(&a.ns, b.v6.into(), "")?, Outcome::Silence);
        Ok(())
    })
}

#[test]
fn audit_mode_tells_and_lets_through() -> Result {
    isolated(|| {
        let node = Node::up_with("n", &[settings::AUDIT])?;
        let (a, b) = (node.workload("a", "app=a")?, node.workload("b", "app=b")?);
        let _server = TcpEcho::start(&b.ns, 80)?;
        node.apply("b.yaml", &allow_from("b", "nobody"))?;
        let mut monitor = node.monitor("type=verdict")?;
        assert_eq!(tcp(&a.ns, b.v4.into(), 80)?, Outcome::Answered);
        monitor.wait_for("it is reported", |e| e["verdict"] == "audit" && e["destination"]["port"] == 80)?;
        Ok(())
    })
}

#[test]
fn a_shadow_policy_only_tells() -> Result {
    isolated(|| {
        let node = Node::up("n")?;
        let (a, b) = (node.workload("a", "app=a")?, node.workload("b", "app=b")?);
        let _server = TcpEcho::start(&b.ns, 80)?;
        let mut monitor = node.monitor("type=verdict")?;
        let shadow = allow_from("b", "nobody")
            .replace("  name: b\n", "  name: b\n  annotations: {policy.nexin.dev/mode: shadow}\n");
        node.apply("b.yaml", &shadow)?;
        assert_eq!(tcp(&a.ns, b.v4.into(), 80)?, Outcome::Answered);
        let told = |e: &serde_json::Value| e["verdict"] == "allow" && e["shadow_verdict"] == "default-deny";
        monitor.wait_for("what it would be is reported", told)?;
        Ok(())
    })
}

#[test]
fn a_bad_document_changes_nothing() -> Result {
    isolated(|| {
        let node = Node::up("n")?;
        let (a, b) = (node.workload("a", "app=a")?, node.workload("b", "app=b")?);
        let _server = TcpEcho::start(&b.ns, 80)?;
        node.apply("b.yaml", &allow_from("b", "nobody"))?;
        let good = allow_from("b", "a");
        let bad = good.replace("fromEndpoints", "fromEndpoint");
        for text in
            [format!("{good}---\n{bad}"), format!("{bad}---\n{good}"), "kind: [".to_owned(), good.replace("v2", "v9")]
        {
            let reply = node.api()?.request("POST", "/v1/policies?file=bad.yaml", &text)?;
            assert!((400..500).contains(&reply.status), "{} {}", reply.status, reply.text);
            assert!(reply.text.contains("bad.yaml"), "{}", reply.text);
            assert_eq!(tcp(&a.ns, b.v4.into(), 80)?, Outcome::Silence, "no half of it is in force");
        }
        Ok(())
    })
}

#[test]
fn what_needs_parts_not_built_is_refused_whole() -> Result {
    isolated(|| {
        let node = Node::up("n")?;
        let rest = "  ingress:
  - toPorts:
    - ports: [{port: '80', protocol: TCP}]
      rules:
        http: [{method: GET}]";
        let reply = node.api()?.request("POST", "/v1/policies?file=http.yaml", &cilium("http", "b", rest))?;
        assert!((400..500).contains(&reply.status), "{} {}", reply.status, reply.text);
        assert_eq!(reply.json()?["code"], "not-enforceable", "{}", reply.text);
        assert_eq!(node.api()?.get("/v1/policies")?.as_array().map(Vec::len), Some(0));
        Ok(())
    })
}

#[test]
fn a_watched_directory_is_the_policy() -> Result {
    isolated(|| {
        let folder = std::path::Path::new("/run/test/policies");
        std::fs::create_dir_all(folder)?;
        let setting = format!("policy.directory = {folder:?}");
        let node = Node::up_with("n", &[&setting])?;
        let (a, b) = (node.workload("a", "app=a")?, node.workload("b", "app=b")?);
        let _server = TcpEcho::start(&b.ns, 80)?;
        let becomes = |outcome| {
            until_ok("the directory is in force", || match tcp(&a.ns, b.v4.into(), 80)? {
                found if found == outcome => Ok(()),
                found => nexin_testbed::fail!("{found:?}"),
            })
        };
        std::fs::write(folder.join("b.yaml"), allow_from("b", "nobody"))?;
        becomes(Outcome::Silence)?;
        std::fs::write(folder.join("b.yaml"), allow_from("b", "a"))?;
        becomes(Outcome::Answered)?;
        std::fs::write(folder.join("b.yaml"), "kind: [")?;
        until_ok("the problem is told", || {
            let status = node.api()?.get("/v1/status")?;
            match status["policy_problems"].as_array().is_some_and(|p| !p.is_empty()) {
                true => Ok(()),
                false => nexin_testbed::fail!("{status}"),
            }
        })?;
        assert_eq!(tcp(&a.ns, b.v4.into(), 80)?, Outcome::Answered, "the last good one stays");
        std::fs::write(folder.join("b.yaml"), allow_from("b", "nobody"))?;
        becomes(Outcome::Silence)?;
        std::fs::remove_file(folder.join("b.yaml"))?;
        becomes(Outcome::Answered)
    })
}
