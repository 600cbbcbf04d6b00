//! What an event costs the packet it tells of, and that overload loses nothing uncounted.

use nexin_abi::maps::config::{Aggregation, Telling};
use nexin_abi::maps::metrics::Lost;
use nexin_abi::{Event, EventKind};
use nexin_bpf::{Ring, TestRun};
use nexin_testbed::{Result, note};

use crate::bed::{ALICE, BOB, BOTH, Bed, Family, packet, udp, with_bed};

/// Packets of a run: their events fit into the ring.
const RUN: u32 = 20_000;
const ROUNDS: usize = 25;

/// The telling to compare with silence.
fn levels() -> [Telling; 4] {
    let packets = |aggregation| Telling { aggregation, ..Telling::default() };
    let silent = Telling { traces: false, ..Telling::default() };
    [silent, Telling::default(), packets(Aggregation::Low), packets(Aggregation::None)]
}

/// Nanoseconds of an established packet with each telling: the least of several rounds, in turn.
fn measure(bed: &Bed, family: Family) -> Result<[f64; 4]> {
    let datagram = packet(ALICE, BOB, family, udp(5000, 53));
    bed.send(ALICE, &datagram)?;
    bed.send(BOB, &packet(BOB, ALICE, family, udp(53, 5000)))?;
    let mut ring = Ring::new(bed.loaded.raw_map("nx_ev_trace")?)?;
    let mut least = [f64::MAX; 4];
    for _ in 0..ROUNDS {
        for (best, telling) in least.iter_mut().zip(levels()) {
            bed.tell(&telling)?;
            ring.drain::<Event>(usize::MAX, |_| ());
            let run = TestRun { repeat: RUN, want_data: false, ..TestRun::new(&datagram, bed.device_of(ALICE)) };
            let mean = bed.loaded.program("from_workload")?.test_run(&run)?.mean;
            *best = best.min(mean.as_secs_f64() * 1e9);
        }
    }
    Ok(least)
}

#[test]
fn an_event_costs_less_than_its_packet() -> Result {
    with_bed(|bed| {
        let mut said = String::new();
        for family in BOTH {
            let [silent, medium, low, none] = measure(bed, family)?;
            said += &format!("; {family:?}: silent {silent:.0}, medium {medium:.0}, low {low:.0}, none {none:.0} ns");
            let event = low.max(none) - silent;
            assert!(event < silent, "{event:.0} ns an event on a packet of {silent:.0} ns");
            assert!(medium < silent * 1.25, "a steady flow pays for being silent: {medium:.0} to {silent:.0} ns");
        }
        note(&format!("\nNOTE a packet's cost{said}"));
        Ok(())
    })
}

#[test]
fn beyond_the_ring_every_event_is_delivered_or_counted() -> Result {
    with_bed(|bed| {
        bed.tell(&levels()[3])?;
        let datagram = packet(ALICE, BOB, Family::Six, udp(5000, 53));
        let run = TestRun { repeat: 10 * RUN, want_data: false, ..TestRun::new(&datagram, bed.device_of(ALICE)) };
        bed.loaded.program("from_workload")?.test_run(&run)?;
        let mut delivered = 0;
        Ring::new(bed.loaded.raw_map("nx_ev_trace")?)?.drain::<Event>(usize::MAX, |_| delivered += 1);
        let lost: u64 = bed.loaded.map::<Lost>()?.per_cpu(&(EventKind::Trace as u32))?.iter().sum();
        assert!(lost > 0 && delivered > 0);
        assert_eq!(delivered + lost, u64::from(10 * RUN));
        Ok(())
    })
}
