//! What a workload's link is allowed to say: ARP, neighbour discovery, source addresses, tunnels.

use std::net::{Ipv4Addr, Ipv6Addr};

use nexin_abi::maps::endpoint::Endpoint;
use nexin_abi::{Addr6, Be16, Be32, DropReason};
use nexin_bpf::Loader;
use nexin_packet::build::{Spec, Transport};
use nexin_packet::header::{Arp, Ethernet, Ipv6, Neighbor};
use nexin_packet::tcp::SYN;
use nexin_packet::{checksum, ether, icmp6, protocol};
use nexin_testbed::Result;
use zerocopy::IntoBytes;

use crate::bed::{
    ALICE, BOB, BOTH, DROP, Family, GATEWAY, MALLORY, NODE, OK, Party, REDIRECT, bytes, header, packet, spec, sums_up,
    tcp, udp, with_bed, with_loader,
};

fn four(party: Party) -> Ipv4Addr {
    match party.four {
        std::net::IpAddr::V4(addr) => addr,
        std::net::IpAddr::V6(_) => unreachable!("it is named four"),
    }
}

fn six(party: Party) -> Ipv6Addr {
    match party.six {
        std::net::IpAddr::V6(addr) => addr,
        std::net::IpAddr::V4(_) => unreachable!("it is named six"),
    }
}

fn arp(target: Party, operation: u16) -> Vec<u8> {
    let ethernet = Ethernet { destination: [0xff; 6], source: ALICE.mac(), kind: Be16::new(ether::ARP) };
    let arp = Arp {
        hardware: Be16::new(1),
        protocol: Be16::new(ether::IPV4),
        hardware_len: 6,
        protocol_len: 4,
        operation: Be16::new(operation),
        sender_mac: ALICE.mac(),
        sender: four(ALICE).into(),
        target_mac: [0; 6],
        target: four(target).into(),
    };
    [ethernet.as_bytes(), arp.as_bytes()].concat()
}

fn solicitation(source: Ipv6Addr, target: Party, hop_limit: u8) -> Vec<u8> {
    let to = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00, 1);
    let ethernet =
        Ethernet { destination: [0x33, 0x33, 0xff, 0, 0, 1], source: ALICE.mac(), kind: Be16::new(ether::IPV6) };
    let mut neighbor = Neighbor {
        kind: icmp6::NEIGHBOR_SOLICITATION,
        target: six(target).into(),
        option: Neighbor::SOURCE_LINK,
        option_len: 1,
        mac: ALICE.mac(),
        ..Neighbor::default()
    };
    neighbor.checksum = checksum::icmp6(&source.into(), &to.into(), neighbor.as_bytes());
    let ip = Ipv6 {
        version_class_flow: Be32::new(6 << 28),
        payload_len: Be16::new(Neighbor::LEN as u16),
        next_header: protocol::ICMP6,
        hop_limit,
        source: source.into(),
        destination: to.into(),
    };
    [ethernet.as_bytes(), ip.as_bytes(), neighbor.as_bytes()].concat()
}

#[test]
fn arp_for_the_gateway_is_answered_in_place() -> Result {
    with_bed(|bed| {
        let outcome = bed.send(ALICE, &arp(GATEWAY, Arp::REQUEST))?;
        assert_eq!(outcome.action, REDIRECT);
        let (ethernet, reply): (Ethernet, Arp) = (header(&outcome.packet, 0), header(&outcome.packet, 14));
        assert_eq!((ethernet.destination, ethernet.source), (ALICE.mac(), ALICE.gateway_mac()));
        assert_eq!({ reply.operation }, Be16::new(Arp::REPLY));
        assert_eq!((reply.sender_mac, reply.target_mac), (ALICE.gateway_mac(), ALICE.mac()));
        assert_eq!(({ reply.sender }, { reply.target }), (four(GATEWAY).into(), four(ALICE).into()));
        for (target, operation) in [(BOB, Arp::REQUEST), (NODE, Arp::REQUEST), (GATEWAY, Arp::REPLY)] {
            assert_eq!(bed.send(ALICE, &arp(target, operation))?.action, DROP);
            assert_eq!(bed.drop_reason()?, DropReason::UnknownTarget);
        }
        Ok(())
    })
}

#[test]
fn neighbour_discovery_for_the_gateway_is_answered_in_place() -> Result {
    with_bed(|bed| {
        let link_local = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 11);
        for source in [six(ALICE), link_local] {
            let outcome = bed.send(ALICE, &solicitation(source, GATEWAY, 255))?;
            assert_eq!(outcome.action, REDIRECT);
            assert!(sums_up(&outcome.packet));
            let (ip, reply): (Ipv6, Neighbor) = (header(&outcome.packet, 14), header(&outcome.packet, 54));
            assert_eq!({ ip.destination }, Addr6::from(source));
            assert_eq!(({ reply.target }, reply.mac), (six(GATEWAY).into(), ALICE.gateway_mac()));
            assert_eq!(reply.kind, icmp6::NEIGHBOR_ADVERTISEMENT);
        }
        for bad in [
            solicitation(six(ALICE), BOB, 255),
            solicitation(six(ALICE), GATEWAY, 254),
            solicitation(Ipv6Addr::UNSPECIFIED, GATEWAY, 255),
        ] {
            assert_eq!(bed.send(ALICE, &bad)?.action, DROP);
        }
        assert_eq!(bed.flows(Family::Six)?.len(), 0);
        let from_host = bed.run("to_workload", &solicitation(six(GATEWAY), ALICE, 255), bed.device_of(ALICE))?;
        assert_eq!(from_host.action, OK, "the host may ask");
        Ok(())
    })
}

#[test]
fn source_addresses_are_verified() -> Result {
    with_bed(|bed| {
        for family in BOTH {
            for claimed in [BOB, NODE, crate::bed::PEER] {
                let forged = packet(claimed, MALLORY, family, udp(1, 2));
                assert_eq!(bed.send(ALICE, &forged)?.action, DROP);
                assert_eq!(bed.drop_reason()?, DropReason::InvalidSourceIp);
            }
            // An existing flow is no way round.
            bed.send(ALICE, &packet(ALICE, BOB, family, udp(1, 2)))?;
            for forged in [packet(ALICE, BOB, family, udp(1, 2)), packet(BOB, ALICE, family, udp(2, 1))] {
                assert_eq!(bed.send(MALLORY, &forged)?.action, DROP);
                assert_eq!(bed.drop_reason()?, DropReason::InvalidSourceIp);
            }
            assert_eq!(bed.flows(family)?.len(), 1);
        }
        Ok(())
    })
}

#[test]
fn a_router_may_use_other_sources_and_keeps_its_identity() -> Result {
    with_bed(|bed| {
        bed.change_endpoint(ALICE, |alice| alice.flags = Endpoint::NO_SOURCE_CHECK)?;
        bed.policy(1, &[ALICE.identity], 7)?;
        bed.change_endpoint(BOB, |bob| bob.ingress_policy = 1)?;
        for family in BOTH {
            let routed = packet(crate::bed::PEER, BOB, family, udp(1, 2));
            assert_eq!(bed.send(ALICE, &routed)?.action, REDIRECT);
            bed.bump()?;
            assert_eq!(bed.send(ALICE, &routed)?.action, REDIRECT, "also when judged again");
            assert_eq!(bed.flows(family)?[0].source_endpoint, ALICE.number);
        }
        Ok(())
    })
}

#[test]
fn source_macs_are_verified_on_request() -> Result {
    with_loader(Loader::new().global("NX_CHECK_MAC", &1_u32.to_ne_bytes()), |bed| {
        for family in BOTH {
            let forged = bytes(&spec(ALICE, BOB, family, udp(1, 2)).macs(BOB.mac(), ALICE.gateway_mac()));
            assert_eq!(bed.send(ALICE, &forged)?.action, DROP);
            assert_eq!(bed.drop_reason()?, DropReason::InvalidSourceMac);
            for _ in 0..2 {
                assert_eq!(bed.send(ALICE, &packet(ALICE, BOB, family, udp(1, 2)))?.action, REDIRECT);
            }
            assert_eq!(bed.send(ALICE, &forged)?.action, DROP, "nor within a flow");
            assert_eq!(bed.drop_reason()?, DropReason::InvalidSourceMac);
        }
        Ok(())
    })
}

#[test]
fn workloads_speak_no_tunnel_protocol_to_nodes() -> Result {
    with_bed(|bed| {
        for family in BOTH {
            for port in [8472, 6081] {
                assert_eq!(bed.send(ALICE, &packet(ALICE, NODE, family, udp(5000, port)))?.action, DROP);
                assert_eq!(bed.drop_reason()?, DropReason::EncapsulationProhibited);
            }
            assert_eq!(bed.send(ALICE, &packet(ALICE, NODE, family, udp(5000, 53)))?.action, OK);
            assert_eq!(bed.send(ALICE, &packet(ALICE, NODE, family, tcp(5000, 8472, SYN)))?.action, OK);
            assert_eq!(bed.send(ALICE, &packet(ALICE, BOB, family, udp(5000, 8472)))?.action, REDIRECT);
        }
        Ok(())
    })
}

#[test]
fn other_ethertypes_and_broken_headers_are_dropped() -> Result {
    with_bed(|bed| {
        let mut odd = packet(ALICE, BOB, Family::Four, udp(1, 2));
        odd[12..14].copy_from_slice(&[0x88, 0xb5]);
        assert_eq!((bed.send(ALICE, &odd)?.action, bed.drop_reason()?), (DROP, DropReason::UnsupportedL3));
        let mut short_header = packet(ALICE, BOB, Family::Four, tcp(1, 2, SYN));
        short_header[14] = 0x44;
        assert_eq!(bed.send(ALICE, &short_header)?.action, DROP);
        assert_eq!(bed.drop_reason()?, DropReason::InvalidPacket);
        let longer = {
            let mut packet = bytes(&Spec { options: 2, ..spec(ALICE, BOB, Family::Four, udp(1, 2)) });
            packet[16] = 0xff;
            packet
        };
        assert_eq!((bed.send(ALICE, &longer)?.action, bed.drop_reason()?), (DROP, DropReason::InvalidPacket));
        let short = bytes(&spec(ALICE, BOB, Family::Six, Transport::Raw(protocol::TCP)).payload(&[0; 10]));
        assert_eq!((bed.send(ALICE, &short)?.action, bed.drop_reason()?), (DROP, DropReason::CtInvalidHeader));
        Ok(())
    })
}

#[test]
fn the_network_cannot_speak_for_this_node() -> Result {
    with_bed(|bed| {
        bed.network()?;
        for family in BOTH {
            bed.send(ALICE, &packet(ALICE, BOB, family, udp(1, 2)))?;
            // As part of a flow between workloads, as a new one, and in the node's name.
            for forged in [
                packet(ALICE, BOB, family, udp(1, 2)),
                packet(BOB, ALICE, family, udp(2, 1)),
                packet(MALLORY, BOB, family, udp(1, 2)),
                packet(NODE, BOB, family, udp(1, 2)),
            ] {
                assert_eq!(bed.arrive(&forged)?.action, DROP);
                assert_eq!(bed.drop_reason()?, DropReason::InvalidSourceIp);
            }
        }
        Ok(())
    })
}

#[test]
fn an_address_that_an_endpoint_lost_ends_its_flows() -> Result {
    with_bed(|bed| {
        bed.send(ALICE, &packet(ALICE, BOB, Family::Four, udp(1, 2)))?;
        bed.loaded.map::<nexin_abi::maps::addr::Addr4Map>()?.remove(&four(ALICE).into())?;
        bed.bump()?;
        assert_eq!(bed.send(ALICE, &packet(ALICE, BOB, Family::Four, udp(1, 2)))?.action, DROP);
        assert_eq!(bed.drop_reason()?, DropReason::InvalidSourceIp);
        Ok(())
    })
}

#[test]
fn what_the_stack_sends_into_a_device_is_judged_by_its_endpoint() -> Result {
    with_bed(|bed| {
        bed.policy(1, &[], 0)?;
        bed.change_endpoint(BOB, |bob| bob.ingress_policy = 1)?;
        let link_local = Spec {
            destination: Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 12).into(),
            ..spec(NODE, BOB, Family::Six, udp(1, 2))
        };
        let outcome = bed.run("to_workload", &bytes(&link_local), bed.device_of(BOB))?;
        assert_eq!((outcome.action, bed.drop_reason()?), (DROP, DropReason::PolicyDenied));
        let nobody = bed.run("to_workload", &bytes(&link_local), bed.device_of(crate::bed::PEER))?;
        assert_eq!((nobody.action, bed.drop_reason()?), (DROP, DropReason::EndpointNotReady));
        Ok(())
    })
}
