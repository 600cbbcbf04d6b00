//! To the world and back: masquerading, what is excluded from it, ICMP errors, fragments, the node's own flows.

use std::net::IpAddr;

use nexin_abi::DropReason;
use nexin_abi::maps::cidr::{NoMasq4, NoMasq6, v4, v6};
use nexin_abi::maps::ct::CtEntry;
use nexin_abi::maps::nat::{Nat4, Nat6};
use nexin_bpf::Loader;
use nexin_packet::build::Transport;
use nexin_packet::header::{Ipv4, Ipv6, Udp};
use nexin_packet::tcp::{ACK, FIN, RST, SYN};
use nexin_testbed::Result;

use crate::bed::{
    ALICE, BOB, BOTH, Bed, DROP, Family, NODE, OK, PEER, Party, REDIRECT, bytes, echo, header, packet, spec, sums_up,
    tcp, tuple, udp, unreachable, with_bed, with_loader,
};

fn translations(bed: &Bed, family: Family) -> Result<usize> {
    Ok(match family {
        Family::Four => bed.loaded.map::<Nat4>()?.entries()?.len(),
        Family::Six => bed.loaded.map::<Nat6>()?.entries()?.len(),
    })
}

/// Alice sends it and it leaves by the network's device.
fn out(bed: &Bed, packet: &[u8]) -> Result<Vec<u8>> {
    let sent = bed.send(ALICE, packet)?;
    assert_ne!(sent.action, DROP, "{:?}", bed.events("nx_ev_drop")?);
    let left = bed.leave(&sent.packet)?;
    assert_eq!(left.action, OK, "{:?}", bed.events("nx_ev_drop")?);
    Ok(left.packet)
}

/// The answer to a packet that left: ends swapped, with `transport` made of the swapped ports.
fn answer_to(left: &[u8], family: Family, transport: impl Fn(u16, u16) -> Transport) -> Vec<u8> {
    let (_, source_port, _, destination_port) = tuple(left);
    packet(PEER, NODE, family, transport(destination_port, source_port))
}

#[test]
fn a_connection_is_masqueraded_and_its_replies_come_back() -> Result {
    with_bed(|bed| {
        bed.network()?;
        for family in BOTH {
            let left = out(bed, &packet(ALICE, PEER, family, tcp(40000, 443, SYN)))?;
            assert!(sums_up(&left));
            let (source, port, destination, service) = tuple(&left);
            assert_eq!((source, destination, service), (NODE.ip(family), PEER.ip(family), 443));
            assert!((61_000..=65_535).contains(&port), "{port}");

            let back = bed.arrive(&answer_to(&left, family, |s, d| tcp(s, d, SYN | ACK)))?;
            assert_eq!(back.action, REDIRECT, "{:?}", bed.events("nx_ev_drop")?);
            assert!(sums_up(&back.packet));
            assert_eq!(tuple(&back.packet), (PEER.ip(family), 443, ALICE.ip(family), 40000));

            let second = out(bed, &packet(ALICE, PEER, family, tcp(40000, 443, ACK)))?;
            assert_eq!(tuple(&second).1, port, "one flow, one port");
            assert_eq!(translations(bed, family)?, 1);

            bed.arrive(&answer_to(&left, family, |s, d| tcp(s, d, FIN | ACK)))?;
            out(bed, &packet(ALICE, PEER, family, tcp(40000, 443, FIN | ACK)))?;
            let last = bed.arrive(&answer_to(&left, family, |s, d| tcp(s, d, ACK)))?;
            assert_eq!(last.action, REDIRECT);
            assert_eq!((bed.flows(family)?.len(), translations(bed, family)?), (0, 0), "both are freed together");
        }
        Ok(())
    })
}

#[test]
fn a_reset_from_inside_is_translated_before_the_flow_goes() -> Result {
    with_bed(|bed| {
        bed.network()?;
        for family in BOTH {
            let syn = out(bed, &packet(ALICE, PEER, family, tcp(40000, 443, SYN)))?;
            let reset = out(bed, &packet(ALICE, PEER, family, tcp(40000, 443, RST)))?;
            assert_eq!(tuple(&reset), tuple(&syn));
            assert_eq!((bed.flows(family)?.len(), translations(bed, family)?), (0, 0));
            let late = bed.arrive(&answer_to(&syn, family, |s, d| tcp(s, d, ACK)))?;
            assert_eq!((late.action, late.packet.len()), (OK, syn.len()), "the stack's business now");
        }
        Ok(())
    })
}

#[test]
fn datagrams_and_echoes_are_masqueraded() -> Result {
    with_bed(|bed| {
        bed.network()?;
        for family in BOTH {
            let left = out(bed, &packet(ALICE, PEER, family, udp(5000, 53)))?;
            assert!(sums_up(&left));
            let back = bed.arrive(&answer_to(&left, family, udp))?;
            assert_eq!(tuple(&back.packet), (PEER.ip(family), 53, ALICE.ip(family), 5000));
            assert!(sums_up(&back.packet));

            let ping = out(bed, &packet(ALICE, PEER, family, echo(family, false, 7)))?;
            assert!(sums_up(&ping));
            let at = if family == Family::Four { 38 } else { 58 };
            let id = u16::from_be_bytes([ping[at], ping[at + 1]]);
            assert!((61_000..=65_535).contains(&id));
            let pong = bed.arrive(&packet(PEER, NODE, family, echo(family, true, id)))?;
            assert_eq!(pong.action, REDIRECT, "{:?}", bed.events("nx_ev_drop")?);
            assert!(sums_up(&pong.packet));
            assert_eq!(u16::from_be_bytes([pong.packet[at], pong.packet[at + 1]]), 7);
        }
        Ok(())
    })
}

#[test]
fn a_datagram_without_checksum_stays_without() -> Result {
    with_bed(|bed| {
        bed.network()?;
        let bare = Transport::Udp { source: 5000, destination: 53, checksum: false };
        let left = out(bed, &packet(ALICE, PEER, Family::Four, bare))?;
        assert_eq!({ header::<Udp>(&left, 34).checksum }.get(), 0);
        assert_eq!(tuple(&left).0, NODE.four);
        Ok(())
    })
}

#[test]
fn excluded_destinations_and_connections_from_outside_keep_their_addresses() -> Result {
    with_bed(|bed| {
        bed.network()?;
        for family in BOTH {
            // The peer connects to Alice herself; her answers must not change their source.
            let knock = bed.arrive(&packet(PEER, ALICE, family, tcp(50000, 80, SYN)))?;
            assert_eq!(knock.action, REDIRECT);
            let answer = out(bed, &packet(ALICE, PEER, family, tcp(80, 50000, SYN | ACK)))?;
            assert_eq!(tuple(&answer).0, ALICE.ip(family));
        }
        let (IpAddr::V4(four), IpAddr::V6(six)) = (PEER.four, PEER.six) else { unreachable!("named so") };
        bed.set::<NoMasq4>(&v4::PrefixKey { bits: 24, addr: four.into() }, &1)?;
        bed.set::<NoMasq6>(&v6::PrefixKey { bits: 64, addr: six.into() }, &1)?;
        for family in BOTH {
            let left = out(bed, &packet(ALICE, PEER, family, udp(5000, 53)))?;
            assert_eq!(tuple(&left), (ALICE.ip(family), 5000, PEER.ip(family), 53));
            assert!(bed.flows(family)?.iter().any(|flow| flow.target == CtEntry::UNTRANSLATED));
            assert_eq!(translations(bed, family)?, 0);
        }
        Ok(())
    })
}

/// The error that `about` (as its sender sent it) earns from `from`.
fn error_about(about: &[u8], from: Party, to: Party, family: Family) -> Vec<u8> {
    let quote = &about[14..about.len().min(14 + 64)];
    bytes(&spec(from, to, family, unreachable(family)).payload(quote))
}

fn quoted(error: &[u8], family: Family) -> (IpAddr, u16, IpAddr, u16) {
    let header = if family == Family::Four { Ipv4::LEN } else { Ipv6::LEN };
    let mut inner = error[..14].to_vec();
    inner.extend_from_slice(&error[14 + header + 8..]);
    tuple(&inner)
}

#[test]
fn errors_come_back_translated_with_what_they_quote() -> Result {
    with_bed(|bed| {
        bed.network()?;
        for family in BOTH {
            let left = out(bed, &packet(ALICE, PEER, family, udp(5000, 53)))?;
            let error = bed.arrive(&error_about(&left, PEER, NODE, family))?;
            assert_eq!(error.action, REDIRECT, "{:?}", bed.events("nx_ev_drop")?);
            assert!(sums_up(&error.packet));
            assert_eq!(tuple(&error.packet).2, ALICE.ip(family));
            assert_eq!(quoted(&error.packet, family), (ALICE.ip(family), 5000, PEER.ip(family), 53));
            let foreign = packet(NODE, PEER, family, udp(5000, 53));
            assert_eq!(bed.arrive(&error_about(&foreign, PEER, NODE, family))?.action, OK, "the node's own");
        }
        Ok(())
    })
}

#[test]
fn errors_of_workloads_leave_translated() -> Result {
    with_bed(|bed| {
        bed.network()?;
        for family in BOTH {
            let left = out(bed, &packet(ALICE, PEER, family, udp(5000, 53)))?;
            let reply = bed.arrive(&answer_to(&left, family, udp))?;
            // Alice has closed her socket meanwhile.
            let error = out(bed, &error_about(&reply.packet, ALICE, PEER, family))?;
            assert!(sums_up(&error));
            assert_eq!(tuple(&error).0, NODE.ip(family));
            let (source, port, destination, nat_port) = quoted(&error, family);
            assert_eq!((source, port, destination), (PEER.ip(family), 53, NODE.ip(family)));
            assert_eq!(nat_port, tuple(&left).1);
        }
        Ok(())
    })
}

#[test]
fn errors_between_workloads_pass_with_their_flow_only() -> Result {
    with_bed(|bed| {
        bed.policy(1, &[], 0)?;
        bed.change_endpoint(ALICE, |alice| alice.ingress_policy = 1)?;
        for family in BOTH {
            let sent = bed.send(ALICE, &packet(ALICE, BOB, family, udp(5000, 53)))?;
            let error = error_about(&sent.packet, BOB, ALICE, family);
            assert_eq!(bed.send(BOB, &error)?.action, REDIRECT, "{:?}", bed.events("nx_ev_drop")?);
            let unknown = packet(ALICE, BOB, family, udp(5001, 53));
            assert_eq!(bed.send(BOB, &error_about(&unknown, BOB, ALICE, family))?.action, DROP);
            assert_eq!(bed.drop_reason()?, DropReason::PolicyDenied);
        }
        Ok(())
    })
}

#[test]
fn fragments_follow_their_first() -> Result {
    with_bed(|bed| {
        bed.network()?;
        for family in BOTH {
            let later = bytes(&spec(ALICE, PEER, family, udp(5000, 53)).fragment(9, 1480, false));
            assert_eq!(bed.send(ALICE, &later)?.action, DROP);
            let drop = bed.events("nx_ev_drop")?.pop().expect("told");
            assert_eq!(drop.reason, DropReason::FragmentNotFound as u8);
            assert_eq!((drop.source_endpoint, drop.source_identity.0), (ALICE.number, ALICE.identity), "whose it was");
            let first = bytes(&spec(ALICE, PEER, family, udp(5000, 53)).fragment(9, 0, true));
            // What was sent in Alice's name leaves no trace.
            assert_eq!(bed.send(BOB, &first)?.action, DROP);
            assert_eq!((bed.send(ALICE, &later)?.action, bed.events("nx_ev_drop")?.len()), (DROP, 2));
            let left = out(bed, &first)?;
            let rest = out(bed, &later)?;
            let source = if family == Family::Four { 26..30 } else { 22..38 };
            assert_eq!(rest[source.clone()], left[source], "both have the node's address");
            assert_eq!(bed.flows(family)?.len(), 1);
            if family == Family::Four {
                let ip: Ipv4 = header(&rest, 14);
                assert_eq!(nexin_packet::checksum::finish(nexin_packet::checksum::sum(&rest[14..34], 0)).raw(), 0);
                assert_eq!({ ip.fragment }.get(), 1480 / 8);
            }
        }
        Ok(())
    })
}

#[test]
fn two_flows_to_one_peer_get_two_ports_until_there_are_none() -> Result {
    let loader = Loader::new()
        .global("NX_NAT_FIRST", &61_000_u32.to_ne_bytes())
        .global("NX_NAT_LAST", &61_001_u32.to_ne_bytes());
    with_loader(loader, |bed| {
        bed.network()?;
        for family in BOTH {
            let mut ports = Vec::new();
            for source in [1000, 1001] {
                ports.push(tuple(&out(bed, &packet(ALICE, PEER, family, udp(source, 53)))?).1);
            }
            ports.sort_unstable();
            assert_eq!(ports, [61_000, 61_001]);
            let third = bed.send(ALICE, &packet(ALICE, PEER, family, udp(1002, 53)))?;
            assert_eq!(bed.leave(&third.packet)?.action, DROP);
            assert_eq!(bed.drop_reason()?, DropReason::NatNoMapping);
            out(bed, &packet(ALICE, PEER, family, udp(1002, 54)))?;
        }
        Ok(())
    })
}

#[test]
fn ports_of_the_nodes_sockets_are_passed_over() -> Result {
    let loader = Loader::new()
        .global("NX_NAT_FIRST", &61_000_u32.to_ne_bytes())
        .global("NX_NAT_LAST", &61_001_u32.to_ne_bytes());
    with_loader(loader, |bed| {
        bed.network()?;
        let taken = std::net::UdpSocket::bind("[::]:61000")?;
        for family in BOTH {
            let left = out(bed, &packet(ALICE, PEER, family, udp(5000, 53)))?;
            assert_eq!(tuple(&left).1, 61_001);
            let answer = bed.arrive(&packet(PEER, NODE, family, udp(53, 61_000)))?;
            assert_eq!(answer.action, OK, "for the socket");
        }
        drop(taken);
        Ok(())
    })
}

#[test]
fn the_nodes_own_flow_and_a_workloads_share_no_tuple() -> Result {
    with_bed(|bed| {
        bed.network()?;
        for family in BOTH {
            let left = out(bed, &packet(ALICE, PEER, family, udp(5000, 53)))?;
            let port = tuple(&left).1;
            // The node starts to talk from the very port that stands for Alice.
            let own = bed.leave(&packet(NODE, PEER, family, udp(port, 53)))?;
            assert_eq!(own.action, OK);
            assert!(sums_up(&own.packet));
            let moved = tuple(&own.packet).1;
            assert_ne!(moved, port);
            let to_node = bed.arrive(&answer_to(&own.packet, family, udp))?;
            assert_eq!(to_node.action, OK);
            assert_eq!(tuple(&to_node.packet), (PEER.ip(family), 53, NODE.ip(family), port));
            let to_alice = bed.arrive(&answer_to(&left, family, udp))?;
            assert_eq!(to_alice.action, REDIRECT);
            // Outside the range nothing is touched or remembered.
            let flows = bed.flows(family)?.len();
            let plain = packet(NODE, PEER, family, udp(40_000, 53));
            assert_eq!(bed.leave(&plain)?.packet, plain);
            assert_eq!(bed.flows(family)?.len(), flows);
        }
        Ok(())
    })
}

#[test]
fn nothing_leaves_with_a_workloads_address_by_accident() -> Result {
    with_bed(|bed| {
        bed.network()?;
        for family in BOTH {
            for (transport, reason) in [
                (tcp(40000, 443, RST), DropReason::NatNoMapping),
                (unreachable(family), DropReason::NatNoMapping),
                (Transport::Icmp { kind: 13, code: 0, id: 0, sequence: 0 }, DropReason::NatUnsupported),
            ] {
                if family == Family::Six && reason == DropReason::NatUnsupported {
                    continue; // Type 13 is no ICMPv6 message; the next test of its kind is unreachable above.
                }
                assert_eq!(bed.leave(&packet(ALICE, PEER, family, transport))?.action, DROP, "{transport:?}");
                assert_eq!(bed.drop_reason()?, reason);
            }
        }
        Ok(())
    })
}

#[test]
fn the_host_talks_to_workloads_and_back() -> Result {
    with_bed(|bed| {
        bed.policy(1, &[NODE.identity], 7)?;
        bed.change_endpoint(BOB, |bob| bob.ingress_policy = 1)?;
        for family in BOTH {
            let device = bed.device_of(BOB);
            let knock = bed.run("to_workload", &packet(NODE, BOB, family, tcp(5000, 80, SYN)), device)?;
            assert_eq!(knock.action, OK);
            assert_eq!(bed.send(BOB, &packet(BOB, NODE, family, tcp(80, 5000, SYN | ACK)))?.action, OK);
            assert_eq!(bed.flows(family)?[0].source_endpoint, CtEntry::HOST);
            let stranger = bed.run("to_workload", &packet(PEER, BOB, family, tcp(5000, 80, SYN)), device)?;
            assert_eq!((stranger.action, bed.drop_reason()?), (DROP, DropReason::PolicyDenied));
            assert_eq!(bed.send(ALICE, &packet(ALICE, NODE, family, tcp(5000, 22, SYN)))?.action, OK);
        }
        Ok(())
    })
}

#[test]
fn protocols_without_ports_to_choose_keep_theirs() -> Result {
    with_bed(|bed| {
        bed.network()?;
        for family in BOTH {
            let left = out(bed, &packet(ALICE, PEER, family, Transport::Sctp { source: 7, destination: 9 }))?;
            assert_eq!(tuple(&left), (NODE.ip(family), 7, PEER.ip(family), 9));
            let back =
                bed.arrive(&answer_to(&left, family, |source, destination| Transport::Sctp { source, destination }))?;
            assert_eq!(tuple(&back.packet), (PEER.ip(family), 9, ALICE.ip(family), 7));
            let second = bed.send(BOB, &packet(BOB, PEER, family, Transport::Sctp { source: 7, destination: 9 }))?;
            assert_eq!(bed.leave(&second.packet)?.action, DROP);
            assert_eq!(bed.drop_reason()?, DropReason::NatNoMapping);
            let tunnel = out(bed, &packet(ALICE, PEER, family, Transport::Raw(47)))?;
            assert_eq!(tuple(&tunnel).0, NODE.ip(family));
        }
        Ok(())
    })
}

#[test]
fn a_flow_that_began_by_the_stack_goes_on_by_the_device() -> Result {
    with_bed(|bed| {
        bed.network()?;
        for family in BOTH {
            // Before the device had its program, the stack forwarded.
            let knock = packet(PEER, BOB, family, tcp(5000, 80, SYN));
            assert_eq!(bed.run("to_workload", &knock, bed.device_of(BOB))?.action, OK);
            assert_eq!(
                bed.send(BOB, &packet(BOB, PEER, family, tcp(80, 5000, SYN | ACK)))?.action,
                OK,
                "by the stack again"
            );
            assert_eq!(bed.arrive(&packet(PEER, BOB, family, tcp(5000, 80, ACK)))?.action, REDIRECT);
        }
        Ok(())
    })
}
