//! What the programs tell of traffic: how much of it (aggregation), where it was seen, and what was lost.

use nexin_abi::maps::config::{Aggregation, Telling};
use nexin_abi::maps::metrics::{Lost, Pace, TraceEvents, Withheld};
use nexin_abi::{Event, EventKind, Observation};
use nexin_bpf::Loader;
use nexin_packet::build::Transport;
use nexin_packet::tcp::{ACK, FIN, PSH, RST, SYN};
use nexin_testbed::Result;

use crate::bed::{
    ALICE, BOB, BOTH, Bed, DROP, Family, GATEWAY, NODE, OK, PEER, Party, echo, packet, tcp, unreachable, with_bed,
    with_loader,
};
use crate::bed::{spec, udp};

const DROPS: &str = "nx_ev_drop";
const VERDICTS: &str = "nx_ev_verdict";
const TRACES: &str = "nx_ev_trace";

fn level(aggregation: Aggregation) -> Telling {
    Telling { aggregation, ..Telling::default() }
}

/// A connection from Alice to Bob's port 80, from its first packet to its last.
const CONNECTION: [(Party, Party, Transport); 8] = [
    (ALICE, BOB, tcp(40000, 80, SYN)),
    (BOB, ALICE, tcp(80, 40000, SYN | ACK)),
    (ALICE, BOB, tcp(40000, 80, ACK)),
    (ALICE, BOB, tcp(40000, 80, ACK | PSH)),
    (BOB, ALICE, tcp(80, 40000, ACK)),
    (ALICE, BOB, tcp(40000, 80, FIN | ACK)),
    (BOB, ALICE, tcp(80, 40000, FIN | ACK)),
    (ALICE, BOB, tcp(40000, 80, ACK)),
];

/// What is told of a whole connection.
fn connection(bed: &Bed, family: Family) -> Result<Vec<Event>> {
    for (from, to, transport) in CONNECTION {
        bed.send(from, &packet(from, to, family, transport))?;
    }
    bed.events(TRACES)
}

fn flags(told: &[Event]) -> Vec<u8> {
    told.iter().map(|event| event.tcp_flags).collect()
}

fn seen_at(event: &Event, observation: Observation) -> bool {
    event.observation == observation as u8
}

#[test]
fn medium_tells_of_beginning_reply_new_flags_and_end() -> Result {
    with_bed(|bed| {
        for family in BOTH {
            let told = connection(bed, family)?;
            assert_eq!(flags(&told), [SYN, SYN | ACK, FIN | ACK, FIN | ACK, ACK], "what changes nothing is silent");
            assert!(told.iter().all(|e| seen_at(e, Observation::ToEndpoint) && e.entered == 0));
            assert!(told.iter().all(|e| e.flags & Event::REPLY_KNOWN != 0));
            let replies: Vec<bool> = told.iter().map(|e| e.flags & Event::REPLY != 0).collect();
            assert_eq!(replies, [false, true, false, true, false]);
            let known: Vec<bool> = told.iter().map(|e| e.flags & Event::ESTABLISHED != 0).collect();
            assert_eq!(known, [false, true, true, true, true]);
            let counters: Vec<(u64, u64)> = told.iter().map(|e| (e.forward >> 40, e.reverse >> 40)).collect();
            assert_eq!(counters, [(1, 0), (1, 1), (4, 2), (4, 3), (5, 3)]);
            let ends: Vec<bool> = told.iter().map(|e| e.flags & Event::CLOSED != 0).collect();
            assert_eq!(ends, [false, false, false, false, true]);
        }
        Ok(())
    })
}

#[test]
fn the_flags_that_count_can_be_chosen() -> Result {
    with_bed(|bed| {
        bed.tell(&Telling { tcp_flags: PSH, ..Telling::default() })?;
        let told = connection(bed, Family::Four)?;
        assert_eq!(flags(&told), [SYN, SYN | ACK, ACK | PSH, ACK], "beginning, first reply, the flag, the end");
        Ok(())
    })
}

#[test]
fn maximum_tells_of_beginning_and_end() -> Result {
    with_bed(|bed| {
        bed.tell(&level(Aggregation::Maximum))?;
        for family in BOTH {
            let told = connection(bed, family)?;
            assert_eq!(flags(&told), [SYN, ACK]);
            assert_ne!(told[1].flags & Event::CLOSED, 0);
        }
        Ok(())
    })
}

#[test]
fn low_tells_of_every_packet_once() -> Result {
    with_bed(|bed| {
        bed.tell(&level(Aggregation::Low))?;
        for family in BOTH {
            let told = connection(bed, family)?;
            assert_eq!(told.len(), CONNECTION.len());
            assert!(told.iter().all(|e| seen_at(e, Observation::ToEndpoint) && e.entered == 0));
        }
        Ok(())
    })
}

#[test]
fn none_tells_of_every_packet_at_both_ends() -> Result {
    with_bed(|bed| {
        bed.tell(&level(Aggregation::None))?;
        for family in BOTH {
            let told = connection(bed, family)?;
            assert_eq!(told.len(), CONNECTION.len());
            for (event, (from, to, transport)) in told.iter().zip(CONNECTION) {
                assert!(seen_at(event, Observation::ToEndpoint));
                assert_eq!(event.entered, Observation::FromEndpoint as u8 + 1);
                let Transport::Tcp { source, destination, flags } = transport else { continue };
                assert_eq!((event.source_port.get(), event.destination_port.get()), (source, destination));
                assert_eq!((event.tcp_flags, event.protocol), (flags, 6));
                assert_eq!(event.flags & Event::REPLY != 0, from.number == BOB.number);
                assert_eq!((event.source_endpoint, event.destination_endpoint), (from.number, to.number));
                assert_eq!((event.source_identity.0, event.destination_identity.0), (from.identity, to.identity));
            }
        }
        Ok(())
    })
}

#[test]
fn traces_can_be_off_altogether() -> Result {
    with_bed(|bed| {
        bed.tell(&Telling { traces: false, ..level(Aggregation::None) })?;
        for family in BOTH {
            assert_eq!(connection(bed, family)?, []);
        }
        Ok(())
    })
}

#[test]
fn drops_and_verdicts_have_switches() -> Result {
    with_bed(|bed| {
        bed.policy(1, &[], 0)?;
        bed.change_endpoint(BOB, |bob| bob.ingress_policy = 1)?;
        for (drops, verdicts) in [(true, true), (true, false), (false, true), (false, false)] {
            bed.tell(&Telling { drops, verdicts, ..Telling::default() })?;
            for family in BOTH {
                assert_eq!(bed.send(ALICE, &packet(ALICE, BOB, family, tcp(1, 80, SYN)))?.action, DROP);
                assert_eq!(bed.events(DROPS)?.len(), usize::from(drops));
                assert_eq!(bed.events(VERDICTS)?.len(), usize::from(verdicts));
            }
            let garbage = [0; 60];
            assert_eq!(bed.send(ALICE, &garbage)?.action, DROP);
            assert_eq!(bed.events(DROPS)?.len(), usize::from(drops), "nor of what cannot be read");
        }
        Ok(())
    })
}

#[test]
fn a_drop_says_where_its_packet_came_in() -> Result {
    with_bed(|bed| {
        bed.tell(&level(Aggregation::None))?;
        bed.policy(1, &[], 0)?;
        bed.change_endpoint(BOB, |bob| bob.ingress_policy = 1)?;
        bed.send(ALICE, &packet(ALICE, BOB, Family::Six, udp(1, 2)))?;
        let drop = bed.events(DROPS)?.pop().expect("told");
        assert_eq!(drop.entered, Observation::FromEndpoint as u8 + 1);
        assert_eq!(bed.events(TRACES)?, [], "it goes nowhere");
        Ok(())
    })
}

#[test]
fn datagrams_are_told_both_ways_once() -> Result {
    with_bed(|bed| {
        for family in BOTH {
            for _ in 0..3 {
                bed.send(ALICE, &packet(ALICE, BOB, family, udp(5000, 53)))?;
                bed.send(BOB, &packet(BOB, ALICE, family, udp(53, 5000)))?;
            }
            let told = bed.events(TRACES)?;
            assert_eq!(told.iter().map(|e| e.flags & Event::REPLY).collect::<Vec<_>>(), [0, Event::REPLY]);
        }
        Ok(())
    })
}

#[test]
fn a_running_flow_is_told_once_an_interval() -> Result {
    with_bed(|bed| {
        for aggregation in [Aggregation::Medium, Aggregation::Maximum] {
            bed.tell(&level(aggregation))?;
            for family in BOTH {
                let datagram = packet(ALICE, BOB, family, udp(7, aggregation as u16));
                bed.send(ALICE, &datagram)?;
                bed.change_flow(family, |flow| flow.reported = flow.reported.wrapping_sub(100))?;
                for _ in 0..3 {
                    bed.send(ALICE, &datagram)?;
                }
                let told = bed.events(TRACES)?;
                let packets: Vec<u64> = told.iter().map(|e| e.forward >> 40).collect();
                assert_eq!(packets, [1, 2], "once for the new flow, once for the time");
                bed.clear_flows(family)?;
            }
        }
        Ok(())
    })
}

#[test]
fn errors_are_told_as_related() -> Result {
    with_bed(|bed| {
        for family in BOTH {
            let first = packet(ALICE, BOB, family, udp(5000, 53));
            bed.send(ALICE, &first)?;
            let error = crate::bed::bytes(&spec(BOB, ALICE, family, unreachable(family)).payload(&first[14..]));
            bed.send(BOB, &error)?;
            let told = bed.events(TRACES)?;
            assert_eq!(told.iter().map(|e| e.flags & Event::RELATED).collect::<Vec<_>>(), [0, Event::RELATED]);
        }
        Ok(())
    })
}

#[test]
fn traces_name_where_a_packet_was_seen() -> Result {
    with_bed(|bed| {
        bed.network()?;
        bed.tell(&level(Aggregation::None))?;
        for family in BOTH {
            let once = |program: &str, bytes: &[u8], device: Party| -> Result<(i32, u8, u8)> {
                let action = bed.run(program, bytes, bed.device_of(device))?.action;
                let told = bed.events(TRACES)?;
                let [event] = told.as_slice() else { nexin_testbed::fail!("{program}: {told:?}") };
                Ok((action, event.entered.wrapping_sub(1), event.observation))
            };
            let point = |o: Observation| o as u8;
            let to_host = packet(ALICE, NODE, family, udp(5000, 53));
            assert_eq!(
                once("from_workload", &to_host, ALICE)?,
                (OK, point(Observation::FromEndpoint), point(Observation::ToHost))
            );
            let from_host = packet(GATEWAY, BOB, family, tcp(5000, 80, SYN));
            assert_eq!(
                once("to_workload", &from_host, BOB)?,
                (OK, point(Observation::FromHost), point(Observation::ToEndpoint))
            );
            let routed = packet(PEER, BOB, family, tcp(5000, 80, SYN));
            assert_eq!(
                once("to_workload", &routed, BOB)?,
                (OK, point(Observation::FromStack), point(Observation::ToEndpoint))
            );
            let to_world = packet(ALICE, PEER, family, echo(family, false, 5));
            // Nothing is routed in this namespace, so the stack is to say so.
            assert_eq!(
                once("from_workload", &to_world, ALICE)?,
                (OK, point(Observation::FromEndpoint), point(Observation::ToStack))
            );
            let (action, entered, left) = once("to_network", &to_world, PEER)?;
            assert_eq!((action, entered, left), (OK, u8::MAX, point(Observation::ToNetwork)));
        }
        Ok(())
    })
}

#[test]
fn a_masqueraded_packet_shows_both_sources() -> Result {
    with_bed(|bed| {
        bed.network()?;
        bed.tell(&level(Aggregation::Low))?;
        let first = packet(ALICE, PEER, Family::Four, udp(5000, 53));
        bed.send(ALICE, &first)?;
        bed.events(TRACES)?;
        let out = bed.leave(&first)?;
        let told = bed.events(TRACES)?;
        let [event] = told.as_slice() else { nexin_testbed::fail!("{told:?}") };
        assert_eq!((event.source[3], event.source_port.get()), (11, 5000), "the workload's own");
        let (source, port, ..) = crate::bed::tuple(&out.packet);
        assert_eq!(event.nat_source[..4], std::net::Ipv4Addr::new(192, 168, 7, 2).octets());
        assert_eq!((source, port), (NODE.four, event.nat_port.get()));
        Ok(())
    })
}

#[test]
fn events_without_room_are_counted() -> Result {
    with_loader(Loader::new().entries::<TraceEvents>(4096), |bed| {
        bed.tell(&level(Aggregation::None))?;
        let sent = 100;
        for _ in 0..sent {
            bed.send(ALICE, &packet(ALICE, BOB, Family::Four, udp(1, 2)))?;
        }
        let lost: u64 = bed.loaded.map::<Lost>()?.per_cpu(&(EventKind::Trace as u32))?.iter().sum();
        let told = bed.events(TRACES)?.len() as u64;
        assert!(lost > 0);
        assert_eq!(lost + told, sent);
        Ok(())
    })
}

#[test]
fn a_rate_limit_withholds_and_counts() -> Result {
    const SECOND: u32 = 1_000_000_000;
    let loader = Loader::new()
        .global("NX_EVENT_GAP_NS", &SECOND.to_ne_bytes())
        .global("NX_EVENT_BURST_NS", &(3 * SECOND).to_ne_bytes());
    with_loader(loader, |bed| {
        bed.tell(&level(Aggregation::Low))?;
        let withheld =
            || -> Result<u64> { Ok(bed.loaded.map::<Withheld>()?.per_cpu(&(EventKind::Trace as u32))?.iter().sum()) };
        for _ in 0..20 {
            bed.send(ALICE, &packet(ALICE, BOB, Family::Four, udp(1, 2)))?;
        }
        let told = bed.events(TRACES)?.len() as u64;
        assert!((4..20).contains(&told), "the burst and what the time allows: {told}");
        assert_eq!(told + withheld()?, 20);
        bed.send(ALICE, &packet(ALICE, ALICE, Family::Four, tcp(1, 2, SYN | ACK)))?;
        assert_eq!(bed.events(DROPS)?.len(), 1, "a class has a rate of its own");
        bed.set::<Pace>(&(EventKind::Trace as u32), &0)?;
        bed.send(ALICE, &packet(ALICE, BOB, Family::Four, udp(1, 2)))?;
        assert_eq!(bed.events(TRACES)?.len(), 1, "after a while there is room again");
        Ok(())
    })
}

#[test]
fn a_reset_ends_what_is_told() -> Result {
    with_bed(|bed| {
        for family in BOTH {
            bed.send(ALICE, &packet(ALICE, BOB, family, tcp(40000, 80, SYN)))?;
            bed.send(BOB, &packet(BOB, ALICE, family, tcp(80, 40000, RST | ACK)))?;
            let told = bed.events(TRACES)?;
            let [_, end] = told.as_slice() else { nexin_testbed::fail!("{told:?}") };
            assert_eq!(end.flags & (Event::CLOSED | Event::REPLY), Event::CLOSED | Event::REPLY);
            assert_eq!((end.forward >> 40, end.reverse >> 40), (1, 1));
            assert_eq!(bed.flows(family)?, []);
        }
        Ok(())
    })
}
