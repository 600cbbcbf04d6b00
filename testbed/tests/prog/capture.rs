//! Copies of chosen packets: what filters choose, how much of a packet is copied, and that losses are counted.

use nexin_abi::maps::capture::{CaptureFilter, CaptureFilters, CaptureRing, CaptureSide, Captured};
use nexin_abi::maps::config::{Config, ConfigMap};
use nexin_abi::maps::metrics::Lost;
use nexin_abi::{DropReason, EventKind, Identity};
use nexin_bpf::{Loader, Ring};
use nexin_packet::tcp::{ACK, SYN};
use nexin_testbed::Result;
use zerocopy::FromBytes as _;

use crate::bed::{
    ALICE, BOB, BOTH, Bed, DROP, Family, MALLORY, PEER, Party, bytes, packet, spec, tcp, udp, with_bed, with_loader,
};

const ALL: CaptureFilter = CaptureFilter {
    flags: CaptureFilter::ACTIVE | CaptureFilter::FORWARDED | CaptureFilter::DROPPED | CaptureFilter::UNREADABLE,
    snap: 256,
    source: ANY,
    destination: ANY,
    family: 0,
    protocol: 0,
    reserved: 0,
};
const ANY: CaptureSide = CaptureSide {
    address: [0; 16],
    mask: [0; 16],
    identity: Identity(0),
    endpoint: 0,
    reserved: 0,
    first_port: 0,
    last_port: 0,
};

/// Has the programs capture, in slots from 0 on.
fn start(bed: &Bed, filters: &[CaptureFilter]) -> Result {
    for (slot, filter) in (0..).zip(filters) {
        bed.set::<CaptureFilters>(&slot, filter)?;
    }
    let map = bed.loaded.map::<ConfigMap>()?;
    let config = map.get(&0)?.expect("array");
    Ok(map.set(&0, &Config { flags: config.flags | Config::CAPTURE, ..config })?)
}

/// Copies that were not taken yet.
fn copies(bed: &Bed) -> Result<Vec<(Captured, Vec<u8>)>> {
    let mut found = Vec::new();
    let mut ring = Ring::new(bed.loaded.raw_map("nx_capture")?)?;
    ring.drain_bytes(usize::MAX, |record| {
        let (header, bytes) = Captured::read_from_prefix(record).expect("a header");
        found.push((header, bytes[..header.bytes as usize].to_vec()));
    });
    Ok(found)
}

fn address(party: Party, family: Family, prefix: usize) -> CaptureSide {
    let mut side = ANY;
    let octets: Vec<u8> = match party.ip(family) {
        std::net::IpAddr::V4(ip) => ip.octets().to_vec(),
        std::net::IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    for (n, octet) in octets.iter().enumerate() {
        let bits = prefix.saturating_sub(n * 8).min(8);
        side.mask[n] = (0xff00_u16 >> bits) as u8;
        side.address[n] = octet & side.mask[n];
    }
    side
}

#[test]
fn a_copy_is_the_packet_as_it_left() -> Result {
    with_bed(|bed| {
        start(bed, &[ALL])?;
        for family in BOTH {
            // The second and third take what is the fast path at other times.
            for _ in 0..3 {
                let sent = packet(ALICE, BOB, family, udp(5000, 53));
                let outcome = bed.send(ALICE, &sent)?;
                let copies = copies(bed)?;
                let [(header, copy)] = copies.as_slice() else { nexin_testbed::fail!("{copies:?}") };
                assert_eq!(copy, &outcome.packet);
                assert_eq!((header.event.kind, header.event.length), (EventKind::Trace as u8, sent.len() as u32));
                assert_eq!((header.filters, header.ethernet), (1, 1));
                assert_eq!((header.event.source_endpoint, header.event.destination_endpoint), (1, 2));
            }
        }
        Ok(())
    })
}

#[test]
fn nothing_is_copied_unless_asked() -> Result {
    with_bed(|bed| {
        bed.set::<CaptureFilters>(&0, &ALL)?;
        bed.send(ALICE, &packet(ALICE, BOB, Family::Four, udp(5000, 53)))?;
        assert_eq!(copies(bed)?, []);
        Ok(())
    })
}

#[test]
fn a_drop_is_copied_with_its_reason() -> Result {
    with_bed(|bed| {
        bed.policy(1, &[], 0)?;
        bed.change_endpoint(BOB, |bob| bob.ingress_policy = 1)?;
        start(bed, &[CaptureFilter { flags: CaptureFilter::ACTIVE | CaptureFilter::DROPPED, ..ALL }])?;
        for family in BOTH {
            bed.send(ALICE, &packet(ALICE, MALLORY, family, udp(5000, 53)))?;
            let refused = packet(ALICE, BOB, family, udp(5000, 53));
            assert_eq!(bed.send(ALICE, &refused)?.action, DROP);
            let copies = copies(bed)?;
            let [(header, copy)] = copies.as_slice() else { nexin_testbed::fail!("{copies:?}") };
            assert_eq!(copy, &refused);
            let event = header.event;
            assert_eq!((event.kind, event.reason), (EventKind::Drop as u8, DropReason::PolicyDenied as u8));
            assert_eq!((event.policy, event.direction), (1, 0));
            assert_ne!((event.file, event.line), (0, 0));
        }
        Ok(())
    })
}

#[test]
fn what_cannot_be_read_is_copied_on_request() -> Result {
    with_bed(|bed| {
        start(bed, &[ALL, CaptureFilter { flags: CaptureFilter::ACTIVE | CaptureFilter::DROPPED, ..ALL }])?;
        assert_eq!(bed.send(ALICE, &[7; 60])?.action, DROP);
        let copies = copies(bed)?;
        let [(header, copy)] = copies.as_slice() else { nexin_testbed::fail!("{copies:?}") };
        assert_eq!((header.filters, header.event.family, copy.as_slice()), (1, 0, [7; 60].as_slice()));
        Ok(())
    })
}

/// Which of four packets a filter chooses: Alice to Bob and back, Mallory to Bob, Alice to a stranger.
fn chosen(bed: &Bed, family: Family, filter: CaptureFilter) -> Result<[bool; 4]> {
    start(bed, &[filter])?;
    let packets = [
        (ALICE, packet(ALICE, BOB, family, udp(5000, 53))),
        (BOB, packet(BOB, ALICE, family, udp(53, 5000))),
        (MALLORY, packet(MALLORY, BOB, family, tcp(5000, 80, SYN))),
        (ALICE, packet(ALICE, PEER, family, udp(5000, 443))),
    ];
    let mut chosen = [false; 4];
    for (chosen, (from, packet)) in chosen.iter_mut().zip(&packets) {
        bed.send(*from, packet)?;
        *chosen = !copies(bed)?.is_empty();
    }
    bed.clear_flows(family)?;
    Ok(chosen)
}

#[test]
fn filters_choose() -> Result {
    with_bed(|bed| {
        let either = ALL.flags | CaptureFilter::EITHER_WAY;
        let ports = |first_port, last_port| CaptureSide { first_port, last_port, ..ANY };
        for family in BOTH {
            let (whole, net) = if family == Family::Four { (32, 24) } else { (128, 64) };
            let (alice, local) = (address(ALICE, family, whole), address(BOB, family, net));
            let cases = [
                (ALL, [true, true, true, true]),
                (CaptureFilter { flags: CaptureFilter::ACTIVE | CaptureFilter::DROPPED, ..ALL }, [false; 4]),
                (CaptureFilter { source: alice, ..ALL }, [true, false, false, true]),
                (CaptureFilter { source: alice, flags: either, ..ALL }, [true, true, false, true]),
                (CaptureFilter { source: alice, destination: local, ..ALL }, [true, false, false, false]),
                (CaptureFilter { destination: local, ..ALL }, [true, true, true, false]),
                (CaptureFilter { protocol: 6, ..ALL }, [false, false, true, false]),
                (CaptureFilter { family: 10 - family_number(family), ..ALL }, [false; 4]),
                (CaptureFilter { family: family_number(family), ..ALL }, [true; 4]),
                (CaptureFilter { destination: ports(53, 80), ..ALL }, [true, false, true, false]),
                (CaptureFilter { destination: ports(81, 443), flags: either, ..ALL }, [false, false, false, true]),
                (
                    CaptureFilter { source: CaptureSide { identity: Identity(1003), ..ANY }, ..ALL },
                    [false, false, true, false],
                ),
                (CaptureFilter { source: CaptureSide { endpoint: 2, ..ANY }, ..ALL }, [false, true, false, false]),
            ];
            for (filter, expected) in cases {
                assert_eq!(chosen(bed, family, filter)?, expected, "{family:?} {filter:?}");
            }
        }
        Ok(())
    })
}

fn family_number(family: Family) -> u8 {
    if family == Family::Four { 4 } else { 6 }
}

#[test]
fn the_longest_wish_decides_how_much_is_copied() -> Result {
    with_bed(|bed| {
        let snap = |snap| CaptureFilter { snap, ..ALL };
        let alice_only = CaptureFilter { source: address(ALICE, Family::Four, 32), ..snap(100) };
        start(bed, &[snap(60), alice_only, CaptureFilter::default(), snap(0)])?;
        let from_alice = bytes(&spec(ALICE, BOB, Family::Four, udp(1, 2)).payload(&[9; 1000]));
        bed.send(ALICE, &from_alice)?;
        bed.send(BOB, &packet(BOB, MALLORY, Family::Four, udp(1, 2)))?;
        let sizes: Vec<(u32, usize)> = copies(bed)?.iter().map(|(h, copy)| (h.filters, copy.len())).collect();
        assert_eq!(sizes, [(0b1011, 100), (0b1001, 59)], "a short packet is copied whole");
        start(bed, &[snap(u32::MAX)])?;
        let long = bytes(&spec(ALICE, BOB, Family::Four, udp(3, 2)).payload(&[9; 3_000]));
        bed.change_endpoint(BOB, |bob| bob.mtu = 0)?;
        bed.send(ALICE, &long)?;
        let copies = copies(bed)?;
        assert_eq!((copies[0].1.len(), copies[0].0.event.length), (long.len(), long.len() as u32));
        Ok(())
    })
}

#[test]
fn copies_without_room_are_counted() -> Result {
    with_loader(Loader::new().entries::<CaptureRing>(4096), |bed| {
        start(bed, &[ALL])?;
        for _ in 0..100 {
            bed.send(ALICE, &packet(ALICE, BOB, Family::Six, tcp(1, 80, ACK)))?;
        }
        let lost: u64 = bed.loaded.map::<Lost>()?.per_cpu(&0)?.iter().sum();
        let copied = copies(bed)?.len() as u64;
        assert!(lost > 0 && copied > 0);
        assert_eq!(lost + copied, 100);
        Ok(())
    })
}
