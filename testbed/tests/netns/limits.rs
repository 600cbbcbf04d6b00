//! Full tables and bad input: refused in words, counted, and never half.

use std::net::UdpSocket;

use nexin_testbed::{
    Node, Result, isolated,
    traffic::{Outcome, Stream, TcpEcho, UdpEcho, tcp, udp},
};

use crate::settings;

#[test]
fn a_full_connection_table_refuses_new_flows_and_keeps_old_ones() -> Result {
    isolated(|| {
        let node = Node::up_with("n", &[settings::FEW_FLOWS])?;
        let (a, b) = (node.workload("a", "app=a")?, node.workload("b", "app=b")?);
        let _servers = (TcpEcho::start(&b.ns, 80)?, UdpEcho::start(&b.ns, 53)?);
        let stream = Stream::start(&a.ns, b.v4.into(), 80)?;
        stream.wait_for(10)?;
        let sockets = a.ns.run(|| {
            (0..200)
                .map(|_| {
                    let socket = UdpSocket::bind("0.0.0.0:0")?;
                    socket.connect((b.v4, 53))?;
                    socket.send(b"x")?;
                    Ok(socket)
                })
                .collect::<Result<Vec<_>>>()
        })?;
        assert_eq!(sockets.len(), 200);
        assert_eq!(udp(&a.ns, b.v4.into(), 53)?, Outcome::Silence, "no room for a new flow");
        assert!(node.metric("cilium_drop_count_total", &["CT: Map insertion failed"])? >= 1.0);
        stream.wait_for(10)?;
        stream.finish().expect_whole("the flow that was there before")?;
        Ok(())
    })
}

#[test]
fn half_open_connections_cannot_push_others_out() -> Result {
    isolated(|| {
        let node = Node::up("n")?;
        let (a, b) = (node.workload("a", "app=a")?, node.workload("b", "app=b")?);
        let other = node.workload("other", "app=other")?;
        let _server = TcpEcho::start(&b.ns, 80)?;
        let stream = Stream::start(&other.ns, b.v4.into(), 80)?;
        // b does not answer these: its side of the address is a black hole for the answers' source.
        let dark = node.workload("dark", "app=dark")?;
        dark.ns.ip(&format!("route add blackhole {}", a.v4))?;
        a.ns.run(|| {
            use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, connect, socket};
            let mut sockets = Vec::new();
            for port in 1..=9000u16 {
                let fd = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_NONBLOCK, None)?;
                let target = std::net::SocketAddrV4::new(dark.v4, port);
                let _ = connect(std::os::fd::AsRawFd::as_raw_fd(&fd), &SockaddrIn::from(target));
                sockets.push(fd);
                if sockets.len() == 900 {
                    sockets.clear();
                }
            }
            Ok(())
        })?;
        assert!(node.metric("cilium_drop_count_total", &["Too many half-open connections"])? >= 1.0);
        assert_eq!(tcp(&other.ns, b.v4.into(), 80)?, Outcome::Answered, "others still connect");
        stream.wait_for(10)?;
        stream.finish().expect_whole("an established flow")
    })
}

#[test]
fn strange_requests_are_refused_in_words() -> Result {
    isolated(|| {
        let node = Node::up("n")?;
        let api = node.api()?;
        for (method, path, body) in [
            ("GET", "/v1/nothing", ""),
            ("POST", "/v1/endpoints", "{"),
            ("POST", "/v1/endpoints", "[]"),
            ("GET", "/v1/endpoints/0", ""),
            ("GET", "/v1/endpoints/70000", ""),
            ("DELETE", "/v1/endpoints/77", ""),
            ("PUT", "/v1/endpoints/77/labels", "{\"labels\":{}}"),
            ("PATCH", "/v1/endpoints", ""),
            ("DELETE", "/v1/policies/NoKind/a/b", ""),
            ("DELETE", "/v1/policies/NetworkPolicy/a/b", ""),
            ("GET", "/v1/policies/explain?from=nobody/here&to=10.0.0.1&port=80/TCP", ""),
            ("GET", "/v1/policies/explain?from=10.0.0.1&to=10.0.0.2&port=http", ""),
            ("GET", "/v1/maps/nothing", ""),
            ("GET", "/v1/monitor?nonsense=1", ""),
        ] {
            let reply = api.request(method, path, body)?;
            assert!((400..500).contains(&reply.status), "{method} {path}: {} {}", reply.status, reply.text);
            let error = reply.json()?;
            assert!(error["code"].is_string() && error["message"].is_string(), "{method} {path}: {error}");
        }
        assert_eq!(api.get("/v1/status")?["ready"], true);
        Ok(())
    })
}
