use nexin_hubble::flow::LostEventSource;

use super::*;
use crate::decode;
use crate::decode::tests::{names, trace};

/// Flows whose time is their number.
pub(crate) fn flows(numbers: std::ops::Range<u64>) -> Vec<Event> {
    let names = names();
    numbers.map(|number| Event::Flow(decode::decode(&trace(), &names, number, number).unwrap())).collect()
}

pub(crate) fn ring(capacity: u32) -> Arc<Ring> {
    Arc::new(Ring::new(Capacity::try_from(capacity).unwrap()))
}

fn lost(count: u64) -> Event {
    Event::lost(names().node(), LostEventSource::PerfEventRingBuffer, count, 0, 0)
}

#[test]
fn capacities_are_powers_of_two_less_one() {
    for good in [1, 3, 4_095, 65_535] {
        assert_eq!(Capacity::try_from(good).map(Capacity::get), Ok(good as usize));
    }
    for bad in [0, 2, 4_096, 131_071, u32::MAX] {
        assert_eq!(Capacity::try_from(bad), Err(BadCapacity(bad)));
    }
}

#[test]
fn the_oldest_make_room_to_the_event() {
    let ring = ring(7);
    ring.append(flows(0..5));
    assert_eq!(ring.window(), Window { floor: 0, head: 5, flows: 5 });
    ring.append(flows(5..10));
    assert_eq!(ring.window(), Window { floor: 3, head: 10, flows: 10 });
    assert_eq!(ring.stored_flows(), 7);
    let mut reader = Reader::new(ring.clone(), 0);
    let mut seen = Vec::new();
    while let Step::Events(_, events) = reader.step() {
        seen.extend(events.iter().map(Event::time_ns));
    }
    assert_eq!(seen, [3, 4, 5, 6, 7, 8, 9]);
    ring.append(vec![lost(3)]);
    assert_eq!((ring.stored_flows(), ring.window().flows), (6, 10));
    assert!(ring.append(Vec::new()).is_empty());
}

#[test]
fn an_overtaken_reader_learns_exactly_what_it_missed() {
    let ring = ring(7);
    ring.append(flows(0..3));
    let mut reader = Reader::new(ring.clone(), 0);
    assert!(matches!(reader.step(), Step::Events(0, events) if events.len() == 3));
    let mut batch = flows(3..6);
    batch.insert(1, lost(40));
    ring.append(batch);
    ring.append(flows(6..13));
    let Step::Missed(missed) = reader.step() else { panic!("nothing was told") };
    assert_eq!(missed, Missed { flows: 3, lost: 40, until_ns: 6 });
    assert!(matches!(reader.step(), Step::Events(7, events) if events.len() == 7));
    assert!(matches!(reader.step(), Step::End));
}

#[test]
fn backwards_sees_everything_once() {
    let ring = ring(15);
    for start in 0..10 {
        ring.append(flows(start * 3..start * 3 + 3));
    }
    let mut backwards = Backwards::new(ring.clone(), 29);
    let mut seen = Vec::new();
    while let Some((first, events)) = backwards.step() {
        assert_eq!(events.first().map(Event::time_ns), Some(first));
        seen.extend(events.iter().rev().map(Event::time_ns));
    }
    assert_eq!(seen, (15..29).rev().collect::<Vec<_>>());
}

/// Writers and readers at full speed: what a reader got and what it was told it missed is all there was.
#[test]
fn sent_is_delivered_and_missed() {
    let ring = ring(255);
    let (batches, size) = (400, 37);
    let batch = flows(0..size);
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..2)
            .map(|_| {
                let mut reader = Reader::new(ring.clone(), 0);
                let total = 2 * batches * size;
                scope.spawn(move || {
                    let (mut delivered, mut missed) = (0, 0);
                    while delivered + missed < total {
                        match reader.step() {
                            Step::End => std::thread::yield_now(),
                            Step::Missed(what) => missed += what.flows,
                            Step::Events(_, events) => delivered += events.len() as u64,
                        }
                    }
                    (delivered, missed)
                })
            })
            .collect();
        for _ in 0..2 {
            let (ring, batch) = (&ring, &batch);
            scope.spawn(move || {
                for _ in 0..batches {
                    ring.append(batch.clone());
                }
            });
        }
        for reader in readers {
            let (delivered, missed) = reader.join().unwrap();
            assert_eq!(delivered + missed, 2 * batches * size);
            assert!(delivered >= 255);
        }
    });
}
