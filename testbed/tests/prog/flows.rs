//! Conntrack between workloads: TCP's life, quotas, refusals that stick, other protocols.

use nexin_abi::DropReason;
use nexin_abi::maps::ct::{Ct4, CtEntry, CtState};
use nexin_abi::maps::endpoint::EndpointStates;
use nexin_bpf::Loader;
use nexin_packet::build::Transport;
use nexin_packet::header::Ethernet;
use nexin_packet::tcp::{ACK, FIN, PSH, RST, SYN};
use nexin_testbed::Result;

use crate::bed::{
    ALICE, BOB, BOTH, Bed, DROP, Family, MALLORY, REDIRECT, echo, header, packet, sums_up, tcp, udp, with_bed,
    with_loader,
};

fn life(bed: &Bed, family: Family) -> Result<u8> {
    Ok(bed.flows(family)?[0].state & CtEntry::STATE_MASK)
}

fn half_open(bed: &Bed) -> Result<u32> {
    Ok(bed.loaded.map::<EndpointStates>()?.get(&ALICE.number.into())?.expect("array").half_open)
}

/// Alice opens a connection to Bob's port 80.
fn handshake(bed: &Bed, family: Family) -> Result {
    for (from, to, transport) in
        [(ALICE, BOB, tcp(40000, 80, SYN)), (BOB, ALICE, tcp(80, 40000, SYN | ACK)), (ALICE, BOB, tcp(40000, 80, ACK))]
    {
        let outcome = bed.send(from, &packet(from, to, family, transport))?;
        assert_eq!(outcome.action, REDIRECT, "{transport:?}");
    }
    Ok(())
}

#[test]
fn a_handshake_establishes_one_flow() -> Result {
    with_bed(|bed| {
        for family in BOTH {
            let syn = bed.send(ALICE, &packet(ALICE, BOB, family, tcp(40000, 80, SYN)))?;
            assert_eq!(syn.action, REDIRECT);
            assert!(sums_up(&syn.packet));
            let ethernet: Ethernet = header(&syn.packet, 0);
            assert_eq!((ethernet.destination, ethernet.source), (BOB.mac(), BOB.gateway_mac()));
            assert_eq!(half_open(bed)?, 1);
            bed.send(BOB, &packet(BOB, ALICE, family, tcp(80, 40000, SYN | ACK)))?;
            assert_eq!(life(bed, family)?, CtState::New as u8, "an answer alone establishes nothing");
            bed.send(ALICE, &packet(ALICE, BOB, family, tcp(40000, 80, ACK)))?;
            let flows = bed.flows(family)?;
            assert_eq!(flows.len(), 1);
            assert_eq!(life(bed, family)?, CtState::Established as u8);
            assert_eq!((flows[0].forward.packets(), flows[0].reverse.packets()), (2, 1));
            assert_eq!(half_open(bed)?, 0);
            let data = packet(BOB, ALICE, family, tcp(80, 40000, ACK | PSH));
            assert_eq!(bed.send(BOB, &data)?.action, REDIRECT);
            assert_eq!(bed.flows(family)?[0].reverse.bytes(), flows[0].reverse.bytes() + data.len() as u64);
        }
        Ok(())
    })
}

#[test]
fn both_fins_and_the_last_acknowledgement_remove_the_flow() -> Result {
    with_bed(|bed| {
        for family in BOTH {
            handshake(bed, family)?;
            bed.send(BOB, &packet(BOB, ALICE, family, tcp(80, 40000, FIN | ACK)))?;
            assert_eq!(life(bed, family)?, CtState::Closing as u8);
            bed.send(ALICE, &packet(ALICE, BOB, family, tcp(40000, 80, ACK)))?;
            assert_eq!(life(bed, family)?, CtState::Closing as u8, "half closed is not closed");
            bed.send(ALICE, &packet(ALICE, BOB, family, tcp(40000, 80, FIN | ACK)))?;
            assert_eq!(life(bed, family)?, CtState::LastAck as u8);
            let last = bed.send(BOB, &packet(BOB, ALICE, family, tcp(80, 40000, ACK)))?;
            assert_eq!(last.action, REDIRECT);
            assert_eq!(bed.flows(family)?.len(), 0);
        }
        Ok(())
    })
}

#[test]
fn a_reset_removes_the_flow_and_its_place_in_the_quota() -> Result {
    with_bed(|bed| {
        for family in BOTH {
            bed.send(ALICE, &packet(ALICE, BOB, family, tcp(40000, 80, SYN)))?;
            assert_eq!(half_open(bed)?, 1);
            let reset = bed.send(BOB, &packet(BOB, ALICE, family, tcp(80, 40000, RST | ACK)))?;
            assert_eq!(reset.action, REDIRECT);
            assert_eq!((bed.flows(family)?.len(), half_open(bed)?), (0, 0));
        }
        Ok(())
    })
}

#[test]
fn packets_of_no_flow() -> Result {
    with_bed(|bed| {
        for family in BOTH {
            let answer = bed.send(BOB, &packet(BOB, ALICE, family, tcp(80, 40000, SYN | ACK)))?;
            assert_eq!(answer.action, DROP);
            assert_eq!(bed.drop_reason()?, DropReason::CtNoFlow);
            for flags in [FIN | ACK, RST] {
                let stray = bed.send(ALICE, &packet(ALICE, BOB, family, tcp(40000, 80, flags)))?;
                assert_eq!(stray.action, REDIRECT, "passes, since a flow would");
                assert_eq!(bed.flows(family)?.len(), 0, "but makes none");
            }
            // Mid-stream: the policy decides, and until both sides were seen the entry is a short-lived one.
            assert_eq!(bed.send(ALICE, &packet(ALICE, BOB, family, tcp(40000, 80, ACK)))?.action, REDIRECT);
            assert_eq!((life(bed, family)?, half_open(bed)?), (CtState::New as u8, 0));
        }
        Ok(())
    })
}

#[test]
fn strays_need_a_policy_that_allows_one_direction() -> Result {
    with_bed(|bed| {
        bed.policy(1, &[MALLORY.identity], 7)?;
        bed.change_endpoint(BOB, |bob| bob.ingress_policy = 1)?;
        bed.change_endpoint(ALICE, |alice| alice.ingress_policy = 1)?;
        let stray = bed.send(ALICE, &packet(ALICE, BOB, Family::Four, tcp(40000, 80, RST)))?;
        assert_eq!((stray.action, bed.drop_reason()?), (DROP, DropReason::PolicyDenied));
        bed.change_endpoint(ALICE, |alice| alice.ingress_policy = 0)?;
        let stray = bed.send(ALICE, &packet(ALICE, BOB, Family::Four, tcp(80, 40000, RST)))?;
        assert_eq!(stray.action, REDIRECT, "Bob may open to Alice, so this may be an answer");
        Ok(())
    })
}

#[test]
fn too_many_half_open_connections() -> Result {
    with_loader(Loader::new().global("NX_HALF_OPEN_LIMIT", &2_u32.to_ne_bytes()), |bed| {
        for port in [1000, 1001] {
            assert_eq!(bed.send(ALICE, &packet(ALICE, BOB, Family::Four, tcp(port, 80, SYN)))?.action, REDIRECT);
        }
        let third = bed.send(ALICE, &packet(ALICE, BOB, Family::Four, tcp(1002, 80, SYN)))?;
        assert_eq!((third.action, bed.drop_reason()?), (DROP, DropReason::HalfOpenLimit));
        assert_eq!(bed.send(MALLORY, &packet(MALLORY, BOB, Family::Four, tcp(1, 80, SYN)))?.action, REDIRECT);
        // One becomes established, so there is room again.
        bed.send(BOB, &packet(BOB, ALICE, Family::Four, tcp(80, 1000, SYN | ACK)))?;
        bed.send(ALICE, &packet(ALICE, BOB, Family::Four, tcp(1000, 80, ACK)))?;
        assert_eq!(bed.send(ALICE, &packet(ALICE, BOB, Family::Four, tcp(1002, 80, SYN)))?.action, REDIRECT);
        Ok(())
    })
}

#[test]
fn a_full_map_refuses_new_flows_and_keeps_old_ones() -> Result {
    with_loader(Loader::new().entries::<Ct4>(4), |bed| {
        let mut full = false;
        for port in 1..64 {
            full |= bed.send(ALICE, &packet(ALICE, BOB, Family::Four, udp(port, 53)))?.action == DROP;
        }
        assert!(full);
        let drops = bed.events("nx_ev_drop")?;
        assert!(drops.iter().all(|e| e.reason == DropReason::CtInsertFailed as u8));
        assert_eq!(bed.send(ALICE, &packet(ALICE, BOB, Family::Four, udp(1, 53)))?.action, REDIRECT);
        Ok(())
    })
}

#[test]
fn expired_flows_and_reused_ports_begin_anew() -> Result {
    with_bed(|bed| {
        for family in BOTH {
            handshake(bed, family)?;
            bed.change_flow(family, |flow| flow.expires = flow.expires.wrapping_sub(10_000 * 1000))?;
            let late = bed.send(BOB, &packet(BOB, ALICE, family, tcp(80, 40000, SYN | ACK)))?;
            assert_eq!((late.action, bed.drop_reason()?), (DROP, DropReason::CtNoFlow), "the flow is gone");
            handshake(bed, family)?;
            bed.send(ALICE, &packet(ALICE, BOB, family, tcp(40000, 80, FIN | ACK)))?;
            // Bob connects from port 80 to 40000 while the old connection is closing.
            bed.send(BOB, &packet(BOB, ALICE, family, tcp(80, 40000, SYN)))?;
            let flow = bed.flows(family)?[0];
            assert_eq!((flow.source_endpoint, flow.target), (BOB.number, ALICE.number));
            assert_eq!(flow.forward.packets(), 1);
        }
        Ok(())
    })
}

#[test]
fn a_policy_change_bites_a_running_flow_and_sticks() -> Result {
    with_bed(|bed| {
        for family in BOTH {
            bed.change_endpoint(BOB, |bob| bob.ingress_policy = 0)?;
            bed.bump()?;
            handshake(bed, family)?;
            bed.policy(3, &[MALLORY.identity], 7)?;
            bed.change_endpoint(BOB, |bob| bob.ingress_policy = 3)?;
            bed.bump()?;
            // The reply comes first: it is judged by the flow's own direction, not as a flow of Bob's.
            let reply = bed.send(BOB, &packet(BOB, ALICE, family, tcp(80, 40000, ACK)))?;
            assert_eq!((reply.action, bed.drop_reason()?), (DROP, DropReason::PolicyDenied));
            assert_eq!(life(bed, family)?, CtState::Denied as u8);
            let verdict = bed.events("nx_ev_verdict")?.pop().expect("a changed verdict is told");
            assert_eq!(verdict.policy, 3);
            for (from, to, transport) in [(ALICE, BOB, tcp(40000, 80, ACK)), (BOB, ALICE, tcp(80, 40000, ACK))] {
                assert_eq!(bed.send(from, &packet(from, to, family, transport))?.action, DROP);
                let drop = bed.events("nx_ev_drop")?.pop().expect("told");
                assert_eq!((drop.reason, drop.policy), (DropReason::PolicyDenied as u8, 3));
            }
            assert_eq!(bed.events("nx_ev_verdict")?.len(), 0, "once");
            bed.policy(4, &[ALICE.identity], 8)?;
            bed.change_endpoint(BOB, |bob| bob.ingress_policy = 4)?;
            bed.bump()?;
            assert_eq!(bed.send(BOB, &packet(BOB, ALICE, family, tcp(80, 40000, ACK)))?.action, REDIRECT);
            assert_eq!(life(bed, family)?, CtState::Established as u8);
            bed.send(ALICE, &packet(ALICE, BOB, family, tcp(40000, 80, RST)))?;
        }
        Ok(())
    })
}

#[test]
fn load_time_constants_do_not_reach_the_node_s_configuration() -> Result {
    // The compiler once took this constant, zero by default, for the key of the node's configuration.
    with_loader(Loader::new().global("NX_CHECK_MAC", &1_u32.to_ne_bytes()), |bed| {
        for family in BOTH {
            handshake(bed, family)?;
            bed.policy(3, &[MALLORY.identity], 7)?;
            bed.change_endpoint(BOB, |bob| bob.ingress_policy = 3)?;
            bed.bump()?;
            let data = packet(ALICE, BOB, family, tcp(40000, 80, ACK));
            assert_eq!(bed.send(ALICE, &data)?.action, DROP, "a policy change bites");
            bed.change_endpoint(BOB, |bob| bob.ingress_policy = 0)?;
        }
        Ok(())
    })
}

#[test]
fn other_protocols_are_tracked_too() -> Result {
    with_bed(|bed| {
        for family in BOTH {
            let both: [(Transport, Transport); 4] = [
                (udp(5000, 53), udp(53, 5000)),
                (echo(family, false, 77), echo(family, true, 77)),
                (Transport::Sctp { source: 9, destination: 10 }, Transport::Sctp { source: 10, destination: 9 }),
                (Transport::Raw(47), Transport::Raw(47)),
            ];
            bed.policy(5, &[], 0)?;
            bed.change_endpoint(ALICE, |alice| alice.ingress_policy = 5)?;
            for (n, (there, back)) in both.into_iter().enumerate() {
                let early = bed.send(BOB, &packet(BOB, ALICE, family, back))?;
                assert_eq!(early.action, DROP, "{back:?} opens nothing");
                assert_eq!(bed.send(ALICE, &packet(ALICE, BOB, family, there))?.action, REDIRECT, "{there:?}");
                assert_eq!(bed.send(BOB, &packet(BOB, ALICE, family, back))?.action, REDIRECT, "{back:?}");
                assert_eq!(bed.flows(family)?.len(), n + 1);
            }
            assert!(
                bed.flows(family)?.iter().all(|flow| flow.state & CtEntry::STATE_MASK == CtState::Established as u8)
            );
        }
        Ok(())
    })
}
