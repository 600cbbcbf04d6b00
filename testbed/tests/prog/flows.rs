//! Workload to workload: established flows, TCP's life, refusals.

use nexin_abi::maps::ct::CtState;
use nexin_packet::build::Transport;
use nexin_packet::header::Ethernet;
use nexin_packet::tcp::{ACK, SYN};
use nexin_testbed::Result;

use crate::bed::{ALICE, BOB, BOTH, REDIRECT, header, packet, with_bed};

fn tcp(source: u16, destination: u16, flags: u8) -> Transport {
    Transport::Tcp { source, destination, flags }
}

#[test]
fn a_handshake_establishes_one_flow() -> Result {
    with_bed(|bed| {
        for family in BOTH {
            let syn = bed.send(ALICE, &packet(ALICE, BOB, family, tcp(40000, 80, SYN)))?;
            assert_eq!(syn.action, REDIRECT, "{family:?} {:?}", bed.events("nx_ev_drop")?);
            let ethernet: Ethernet = header(&syn.packet, 0);
            assert_eq!((ethernet.destination, ethernet.source), (BOB.mac(), BOB.gateway_mac()));
            let answer = bed.send(BOB, &packet(BOB, ALICE, family, tcp(80, 40000, SYN | ACK)))?;
            assert_eq!(answer.action, REDIRECT);
            assert_eq!(bed.flows(family)?[0].state & 0x0f, CtState::New as u8);
            bed.send(ALICE, &packet(ALICE, BOB, family, tcp(40000, 80, ACK)))?;
            let flows = bed.flows(family)?;
            assert_eq!(flows.len(), 1);
            assert_eq!(flows[0].state & 0x0f, CtState::Established as u8);
            assert_eq!((flows[0].forward.packets(), flows[0].reverse.packets()), (2, 1));
        }
        Ok(())
    })
}
