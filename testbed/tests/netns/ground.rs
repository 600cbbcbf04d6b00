//! The testbed itself, on plain Linux: its instruments must notice what the other tests rely on them to notice.

use std::net::{IpAddr, Ipv4Addr};

use nexin_testbed::{
    Namespace, Node, Result, World, isolated,
    traffic::{Connections, Datagrams, Outcome, Stream, TcpEcho, UdpEcho, http_get, ping, tcp, udp, udp_sized},
};

/// Two namespaces with one link between them: 10.0.0.1 and 10.0.0.2.
fn pair() -> Result<(Namespace, Namespace)> {
    let (a, b) = (Namespace::new("a")?, Namespace::new("b")?);
    a.join("ab", &b, "ba")?;
    a.ip("addr add 10.0.0.1/24 dev ab")?;
    b.ip("addr add 10.0.0.2/24 dev ba")?;
    Ok((a, b))
}

const B: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2));

#[test]
fn questions_tell_answers_refusals_and_silence_apart() -> Result {
    isolated(|| {
        let (a, b) = pair()?;
        let _tcp = TcpEcho::start(&b, 80)?;
        let udp_server = UdpEcho::start(&b, 53)?;
        assert_eq!(tcp(&a, B, 80)?, Outcome::Answered);
        assert_eq!(http_get(&a, B, 80, "/")?, 200);
        assert_eq!(tcp(&a, B, 81)?, Outcome::Refused);
        assert_eq!(udp(&a, B, 53)?, Outcome::Answered);
        assert_eq!(udp_sized(&a, B, 53, 4000)?, Outcome::Answered);
        assert_eq!(udp_server.last_peer().map(|p| p.ip()), Some(Ipv4Addr::new(10, 0, 0, 1).into()));
        assert_eq!(udp(&a, B, 54)?, Outcome::Refused);
        assert_eq!(ping(&a, B, "")?, Outcome::Answered);
        assert_eq!(ping(&a, B, "-s 2000 -M do")?, Outcome::Unreachable);
        b.ip("route add blackhole 10.0.0.1/32")?;
        assert_eq!(tcp(&a, B, 80)?, Outcome::Silence);
        assert_eq!(udp(&a, B, 53)?, Outcome::Silence);
        assert_eq!(ping(&a, B, "")?, Outcome::Silence);
        Ok(())
    })
}

#[test]
fn steady_streams_notice_a_short_cut() -> Result {
    isolated(|| {
        let (a, b) = pair()?;
        let (_tcp, _udp) = (TcpEcho::start(&b, 80)?, UdpEcho::start(&b, 53)?);
        let streams = || -> Result<_> {
            let found = (Stream::start(&a, B, 80)?, Datagrams::start(&a, B, 53)?, Connections::start(&a, B, 80)?);
            found.0.wait_for(20)?;
            found.1.wait_for(20)?;
            found.2.wait_for(20)?;
            Ok(found)
        };
        let (stream, datagrams, connections) = streams()?;
        stream.finish().expect_whole("undisturbed stream")?;
        datagrams.finish().expect_whole("undisturbed datagrams")?;
        connections.finish().expect_whole("undisturbed connections")?;

        let (stream, datagrams, connections) = streams()?;
        b.ip("route add blackhole 10.0.0.1/32")?;
        assert_eq!(udp(&a, B, 53)?, Outcome::Silence, "this is how long the cut lasts");
        b.ip("route del blackhole 10.0.0.1/32")?;
        stream.wait_for(20)?;
        datagrams.wait_for(20)?;
        connections.wait_for(20)?;
        assert!(stream.finish().lost > 0);
        assert!(datagrams.finish().lost > 0);
        assert!(connections.finish().lost > 0);
        Ok(())
    })
}

#[test]
fn a_node_reaches_the_world_and_leaves_nothing() -> Result {
    isolated(|| {
        let before = std::fs::read_dir("/run/netns")?.count();
        {
            let node = Node::bare("hg")?;
            let _server = TcpEcho::start(&node.world.ns, 80)?;
            for to in [World::V4.into(), World::V6.into(), World::FAR_V4.into(), World::FAR_V6.into()] {
                assert_eq!(tcp(&node.ns, to, 80)?, Outcome::Answered, "{to}");
            }
            assert!(std::fs::read_dir("/run/netns")?.count() > before);
        }
        assert_eq!(std::fs::read_dir("/run/netns")?.count(), before);
        Ok(())
    })
}

#[test]
fn a_failure_inside_comes_out() {
    let error = isolated(|| panic!("on purpose")).expect_err("failures must be handed on").to_string();
    assert!(error.contains("on purpose"), "{error}");
}
