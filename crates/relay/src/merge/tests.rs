use proptest::prelude::*;

use super::*;

const DRAIN: Duration = Duration::from_secs(1);
const NONE: [u64; 0] = [];

fn limits(live: bool) -> Limits {
    Limits { entries: 100, drain: DRAIN, live }
}

fn drained(merge: &mut Merge<u64>, now: Instant) -> Vec<u64> {
    std::iter::from_fn(|| merge.pop(now)).collect()
}

#[test]
fn an_entry_waits_for_the_lane_that_showed_nothing() {
    let start = Instant::now();
    let mut merge = Merge::new(limits(false));
    merge.open(1, start);
    merge.open(2, start);
    merge.push(1, Some((5, 0)), 5, start);
    assert_eq!(drained(&mut merge, start), NONE);
    merge.push(2, Some((3, 0)), 3, start);
    assert_eq!(drained(&mut merge, start), [3]);
    merge.close(2);
    assert_eq!(drained(&mut merge, start), [5]);
    merge.close(1);
    assert!(merge.is_done());
}

#[test]
fn a_silent_lane_holds_others_up_once_and_not_again() {
    let start = Instant::now();
    let mut merge = Merge::new(limits(false));
    merge.open(1, start);
    merge.open(2, start);
    for n in 0..3 {
        merge.push(1, Some((n, 0)), n as u64, start);
    }
    assert_eq!(merge.free_at(), Some(start + DRAIN));
    assert_eq!(drained(&mut merge, start + DRAIN / 2), NONE);
    assert_eq!(drained(&mut merge, start + DRAIN), [0, 1, 2]);
    merge.push(1, Some((9, 0)), 9, start + DRAIN);
    assert_eq!(drained(&mut merge, start + DRAIN), [9]);
    // What the silent lane has after all is not lost.
    merge.push(2, Some((1, 0)), 100, start + DRAIN);
    assert_eq!(drained(&mut merge, start + DRAIN * 2), [100]);
}

#[test]
fn a_full_live_buffer_lets_the_oldest_go() {
    let start = Instant::now();
    let mut merge = Merge::new(limits(true));
    merge.open(1, start);
    merge.open(2, start);
    merge.push(2, Some((0, 0)), 1_000, start);
    for n in 0..99 {
        merge.push(1, Some((n, 0)), n as u64, start);
    }
    assert_eq!(drained(&mut merge, start).len(), 1, "the second lane is empty now, and the buffer not full");
    merge.push(1, Some((99, 0)), 99, start);
    assert!(!merge.wants(1) && merge.wants(2));
    assert_eq!(merge.pop(start), Some(0));
    assert_eq!(merge.pop(start), None);
    assert!(merge.wants(1));
}

#[test]
fn a_live_buffer_waits_for_lanes_that_never_answered() {
    let start = Instant::now();
    let mut merge = Merge::new(limits(true));
    merge.open(1, start);
    merge.open(2, start);
    for n in 10..110 {
        merge.push(1, Some((n, 0)), n as u64, start);
    }
    assert_eq!(merge.pop(start), None);
    merge.push(2, Some((1, 0)), 1, start);
    assert_eq!(merge.pop(start), Some(1));
}

#[test]
fn a_lane_with_a_slow_clock_delays_others_by_the_drain_time_at_most() {
    let start = Instant::now();
    let mut merge = Merge::new(limits(true));
    merge.open(1, start);
    merge.open(2, start);
    merge.push(1, Some((1_000, 0)), 1, start);
    let mut now = start;
    let mut out = Vec::new();
    for n in 0..3 {
        merge.push(2, Some((n, 0)), 50, now);
        out.extend(drained(&mut merge, now));
        now += DRAIN / 2;
    }
    assert!(out.contains(&1), "{out:?}");
}

proptest! {
    /// Streams in order that answer in time: the merge is the sorted union, whatever the interleaving.
    #[test]
    fn nothing_is_lost_and_order_holds(
        lanes in prop::collection::vec(prop::collection::vec(0u16..50, 0..60), 1..6),
        picks in prop::collection::vec(0usize..6, 0..600),
        entries in 1usize..20,
        live in any::<bool>(),
    ) {
        let now = Instant::now();
        let mut merge = Merge::new(Limits { entries, drain: DRAIN, live });
        let mut sources: Vec<Vec<u16>> = lanes;
        let mut all: Vec<u16> = sources.concat();
        for (id, source) in sources.iter_mut().enumerate() {
            source.sort_unstable();
            source.reverse();
            merge.open(id as u64, now);
        }
        let mut out: Vec<u16> = Vec::new();
        let mut feed = |merge: &mut Merge<u16>, lane: usize| {
            let id = lane as u64;
            if !merge.wants(id) {
                return;
            }
            match sources[lane].pop() {
                Some(time) => merge.push(id, Some((i64::from(time), 0)), time, now),
                None => merge.close(id),
            }
        };
        let count = merge.lanes.len();
        for pick in picks {
            feed(&mut merge, pick % count);
            out.extend(std::iter::from_fn(|| merge.pop(now)));
        }
        for round in 0.. {
            if merge.is_done() {
                break;
            }
            prop_assert!(round < 10_000, "stalled");
            (0..count).for_each(|lane| feed(&mut merge, lane));
            out.extend(std::iter::from_fn(|| merge.pop(now)));
        }
        all.sort_unstable();
        let mut sorted = out.clone();
        sorted.sort_unstable();
        prop_assert_eq!(&sorted, &all, "lost or doubled");
        // A live merge trades order for not losing when its buffer is full.
        if !live {
            prop_assert_eq!(out, all);
        }
    }
}
