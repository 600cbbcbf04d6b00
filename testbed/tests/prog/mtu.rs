//! Packets that cannot go on: too long, or their time is up. And headers that are not plain.

use nexin_abi::DropReason;
use nexin_bpf::{SkBuff, TestRun};
use nexin_packet::header::{Icmp, Ipv4, Ipv6};
use nexin_packet::tcp::{ACK, SYN};
use nexin_packet::{icmp, icmp6};
use nexin_testbed::Result;

use crate::bed::{
    ALICE, BOB, BOTH, DROP, Family, OK, PEER, REDIRECT, bytes, header, spec, sums_up, tcp, tuple, udp, with_bed,
};

#[test]
fn too_long_a_packet_is_answered() -> Result {
    with_bed(|bed| {
        bed.change_endpoint(BOB, |bob| bob.mtu = 1300)?;
        for family in BOTH {
            let long = bytes(&spec(ALICE, BOB, family, udp(5000, 53)).payload(&[7; 1400]));
            for _ in 0..2 {
                let outcome = bed.send(ALICE, &long)?;
                assert_eq!(outcome.action, REDIRECT);
                let answer = outcome.packet;
                assert!(sums_up(&answer), "{family:?}");
                assert_eq!(answer[0..6], ALICE.mac());
                assert_eq!((tuple(&answer).0, tuple(&answer).2), (BOB.ip(family), ALICE.ip(family)));
                let (at, kind, code) = match family {
                    Family::Four => (34, icmp::UNREACHABLE, icmp::FRAGMENTATION_NEEDED),
                    Family::Six => (54, icmp6::PACKET_TOO_BIG, 0),
                };
                let error: Icmp = header(&answer, at);
                assert_eq!((error.kind, error.code, { error.sequence }.get()), (kind, code, 1300));
                assert_eq!(answer[at + 8..at + 8 + 40], long[14..54], "what it quotes");
                assert!(answer.len() <= 14 + if family == Family::Four { 576 } else { 1280 });
            }
            let short = bytes(&spec(ALICE, BOB, family, udp(5000, 53)).payload(&[7; 1200]));
            assert_eq!(bed.send(ALICE, &short)?.packet.len(), short.len());
        }
        // What may be fragmented is left to the stack.
        let mut may = spec(ALICE, BOB, Family::Four, udp(5000, 54)).payload(&[7; 1400]);
        may.dont_fragment = false;
        assert_eq!(bed.send(ALICE, &bytes(&may))?.action, OK);
        Ok(())
    })
}

#[test]
fn segments_are_measured_not_their_sum() -> Result {
    with_bed(|bed| {
        bed.change_endpoint(BOB, |bob| bob.mtu = 1300)?;
        for family in BOTH {
            let large = bytes(&spec(ALICE, BOB, family, tcp(40000, 80, ACK)).payload(&[7; 3500]));
            for (segment, passes) in [(1200, true), (1290, false)] {
                let ctx = SkBuff { gso_size: segment, gso_segs: 3, ..TestRun::new(&large, bed.device_of(ALICE)).ctx };
                let run = TestRun { ctx, ..TestRun::new(&large, bed.device_of(ALICE)) };
                let outcome = bed.loaded.program("from_workload")?.test_run(&run)?;
                let length = outcome.data.map_or(0, |data| data.len());
                assert_eq!(length == large.len(), passes, "{family:?}, segments of {segment}: {length}");
            }
        }
        Ok(())
    })
}

#[test]
fn packets_for_the_world_age_and_die() -> Result {
    with_bed(|bed| {
        // A route to the peer, so that BPF forwards instead of the stack.
        for line in [
            "addr add 192.168.7.2/24 dev net0",
            "-6 addr add fd07::2/64 dev net0 nodad",
            "route add default via 192.168.7.1",
            "-6 route add default via fd07::1",
        ] {
            nexin_testbed::tool("ip", line.split(' '))?;
        }
        for device in ["all", "nxk1"] {
            std::fs::write(format!("/proc/sys/net/ipv4/conf/{device}/forwarding"), "1")?;
            std::fs::write(format!("/proc/sys/net/ipv6/conf/{device}/forwarding"), "1")?;
        }
        for family in BOTH {
            let fresh = bed.send(ALICE, &bytes(&spec(ALICE, PEER, family, udp(5000, 53)).ttl(2)))?;
            assert_eq!(fresh.action, REDIRECT);
            assert!(sums_up(&fresh.packet));
            let ttl = match family {
                Family::Four => header::<Ipv4>(&fresh.packet, 14).ttl,
                Family::Six => header::<Ipv6>(&fresh.packet, 14).hop_limit,
            };
            assert_eq!(ttl, 1);
            let dead = bed.send(ALICE, &bytes(&spec(ALICE, PEER, family, udp(5000, 53)).ttl(1).payload(&[0; 100])))?;
            assert_eq!(dead.action, REDIRECT);
            assert!(sums_up(&dead.packet));
            let (at, kind) =
                if family == Family::Four { (34, icmp::TIME_EXCEEDED) } else { (54, icmp6::TIME_EXCEEDED) };
            let error: Icmp = header(&dead.packet, at);
            assert_eq!((error.kind, error.code), (kind, 0));
            let long = bytes(&spec(ALICE, PEER, family, udp(5000, 53)).payload(&[7; 1600]));
            let error: Icmp = header(&bed.send(ALICE, &long)?.packet, at);
            assert_eq!({ error.sequence }.get(), 1500, "the route's MTU");
            // From outside it is a hop, too; the stack answers where it ends.
            let inbound = bed.arrive(&bytes(&spec(PEER, BOB, family, udp(1, 2)).ttl(9)))?;
            assert_eq!(inbound.action, REDIRECT);
            assert!(sums_up(&inbound.packet));
            assert_eq!(bed.arrive(&bytes(&spec(PEER, BOB, family, udp(1, 2)).ttl(1)))?.action, OK);
        }
        Ok(())
    })
}

#[test]
fn between_workloads_of_a_node_packets_do_not_age() -> Result {
    with_bed(|bed| {
        for family in BOTH {
            let sent = bed.send(ALICE, &bytes(&spec(ALICE, BOB, family, udp(1, 2)).ttl(1)))?;
            assert_eq!(sent.action, REDIRECT);
            assert!(sums_up(&sent.packet));
        }
        Ok(())
    })
}

#[test]
fn options_and_extension_headers_are_walked() -> Result {
    with_bed(|bed| {
        for family in BOTH {
            for options in [1, 3, 6] {
                let with = bytes(&spec(ALICE, BOB, family, tcp(40000, 80, SYN)).options(options));
                assert_eq!(bed.send(ALICE, &with)?.action, REDIRECT, "{family:?} {options}");
            }
            assert_eq!(bed.flows(family)?.len(), 1, "all one flow");
        }
        let many = bytes(&spec(ALICE, BOB, Family::Six, tcp(40000, 80, SYN)).options(9));
        assert_eq!((bed.send(ALICE, &many)?.action, bed.drop_reason()?), (DROP, DropReason::InvalidExtensionHeader));
        // Routing header type 0.
        let mut source_routed = bytes(&spec(ALICE, BOB, Family::Six, tcp(40000, 80, SYN)).options(1));
        source_routed[20] = nexin_packet::protocol::ROUTING;
        source_routed[56] = 0;
        assert_eq!(bed.send(ALICE, &source_routed)?.action, DROP);
        assert_eq!(bed.drop_reason()?, DropReason::InvalidExtensionHeader);
        // A TCP fragment that would overwrite the flags of the first.
        let overlapping = bytes(&spec(ALICE, BOB, Family::Four, tcp(1, 2, SYN)).fragment(3, 8, false));
        assert_eq!((bed.send(ALICE, &overlapping)?.action, bed.drop_reason()?), (DROP, DropReason::InvalidPacket));
        Ok(())
    })
}
