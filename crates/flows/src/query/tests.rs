use super::*;
use crate::decode::tests::names;
use crate::ring::tests::{flows, ring};

fn even(event: &Event) -> bool {
    event.time_ns().is_multiple_of(2)
}

/// Times of the events that answer now; lost ones are negative counts.
fn answer(selection: &mut Selection, keep: Keep<'_>) -> (Vec<i64>, Progress) {
    let mut seen = Vec::new();
    loop {
        let progress = selection.step(keep, |event| {
            seen.push(match event {
                Event::Lost(notice) => -(notice.what.num_events_lost as i64),
                other => other.time_ns() as i64,
            });
        });
        if progress != Progress::More {
            return (seen, progress);
        }
    }
}

fn selected(query: Query) -> Vec<i64> {
    let ring = ring(31);
    ring.append(flows(0..7));
    ring.append(flows(7..20));
    let mut selection = Selection::start(ring, query, names().node().clone(), &even);
    answer(&mut selection, &even).0
}

#[test]
fn a_request_selects_as_hubbles_server_does() {
    let query = Query::default();
    assert_eq!(selected(query), [0, 2, 4, 6, 8, 10, 12, 14, 16, 18]);
    assert_eq!(selected(Query { number: 3, ..query }), [14, 16, 18]);
    assert_eq!(selected(Query { number: 1_000, ..query }).len(), 10);
    assert_eq!(selected(Query { number: u64::MAX, ..query }).len(), 10);
    assert_eq!(selected(Query { number: 3, first: true, ..query }), [0, 2, 4]);
    assert_eq!(selected(Query { first: true, ..query }).len(), 10);
    assert_eq!(selected(Query { since: Some(13), ..query }), [14, 16, 18]);
    assert_eq!(selected(Query { since: Some(13), number: 2, ..query }), [14, 16]);
    assert_eq!(selected(Query { until: Some(5), ..query }), [0, 2, 4]);
    assert_eq!(selected(Query { since: Some(3), until: Some(8), ..query }), [4, 6, 8]);
    assert_eq!(selected(Query { number: 2, until: Some(9), ..query }), [6, 8]);
    assert!(selected(Query { since: Some(900), ..query }).is_empty());
}

#[test]
fn following_goes_on_where_the_past_ended() {
    for (number, past) in [(0, &[][..]), (2, &[16, 18])] {
        let ring = ring(31);
        ring.append(flows(0..20));
        let query = Query { follow: true, number, ..Query::default() };
        let mut selection = Selection::start(ring.clone(), query, names().node().clone(), &even);
        assert_eq!(answer(&mut selection, &even), (past.to_vec(), Progress::Waiting));
        ring.append(flows(20..25));
        assert_eq!(answer(&mut selection, &even), (vec![20, 22, 24], Progress::Waiting));
    }
}

#[test]
fn a_followed_stream_ends_at_the_first_later_event() {
    let ring = ring(31);
    let query = Query { follow: true, until: Some(4), ..Query::default() };
    let mut selection = Selection::start(ring.clone(), query, names().node().clone(), &even);
    ring.append(flows(0..4));
    assert_eq!(answer(&mut selection, &even), (vec![0, 2], Progress::Waiting));
    ring.append(flows(4..9));
    assert_eq!(answer(&mut selection, &even), (vec![4], Progress::Done));
}

#[test]
fn losses_come_whatever_the_filter_is_and_do_not_count() {
    let ring = ring(31);
    let node = names().node().clone();
    let lost = Event::lost(&node, LostEventSource::PerfEventRingBuffer, 5, 1, 3);
    ring.append([flows(0..3), vec![lost], flows(3..8)].concat());
    let query = Query { number: 3, first: true, ..Query::default() };
    let mut selection = Selection::start(ring.clone(), query, node.clone(), &even);
    assert_eq!(answer(&mut selection, &even), (vec![0, 2, -5, 4], Progress::Done));
    let nothing = |_: &Event| false;
    let mut selection = Selection::start(ring, Query::default(), node, &nothing);
    assert_eq!(answer(&mut selection, &nothing).0, [-5]);
}

#[test]
fn a_slow_follower_is_told_and_goes_on() {
    let ring = ring(7);
    let query = Query { follow: true, ..Query::default() };
    let node = names().node().clone();
    let all = |_: &Event| true;
    let mut selection = Selection::start(ring.clone(), query, node.clone(), &all);
    ring.append(flows(0..2));
    assert_eq!(answer(&mut selection, &all).0, [0, 1]);
    ring.append(flows(2..10));
    ring.append(vec![Event::lost(&node, LostEventSource::PerfEventRingBuffer, 9, 10, 10)]);
    ring.append(flows(10..17));
    let mut sources = Vec::new();
    while selection.step(&all, |event| {
        if let Event::Lost(notice) = event {
            sources.push((notice.what.source(), notice.what.num_events_lost));
            let times = [notice.what.first, notice.what.last].map(|time| time.map(|time| time.nanos));
            assert_eq!(times, [Some(1), Some(10)]);
        }
    }) == Progress::More
    {}
    assert_eq!(sources, [(LostEventSource::HubbleRingBuffer, 8), (LostEventSource::PerfEventRingBuffer, 9)]);
}

#[test]
fn requests_that_contradict_themselves_are_refused() {
    let both = GetFlowsRequest { first: true, follow: true, ..GetFlowsRequest::default() };
    assert_eq!(Query::try_from(&both), Err(QueryError::FirstAndFollow));
    let bad = GetFlowsRequest { since: Some(Timestamp { seconds: 1, nanos: -1 }), ..GetFlowsRequest::default() };
    assert_eq!(Query::try_from(&bad), Err(QueryError::BadTime("since")));
    let early = GetFlowsRequest { until: Some(Timestamp { seconds: -5, nanos: 1 }), ..GetFlowsRequest::default() };
    assert_eq!(Query::try_from(&early).map(|query| query.until), Ok(Some(1)));
}
