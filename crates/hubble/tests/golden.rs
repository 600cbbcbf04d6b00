//! Every response that the official code printed, as JSON (to the byte) and as protobuf, both ways.

mod golden_support;

use base64::Engine as _;
use nexin_hubble::json::{self, Json, Read, Unknown};
use nexin_hubble::observer::{GetAgentEventsResponse, GetDebugEventsResponse, GetFlowsResponse};

/// How many lines there were, all of them read and written alike; none without the data.
fn both_ways<T: Json + Read + PartialEq>(name: &str) -> Option<usize> {
    let (texts, wires) =
        (golden_support::lines(&format!("{name}.jsonl"))?, golden_support::lines(&format!("{name}.pb64"))?);
    assert_eq!(texts.len(), wires.len());
    for (n, (text, wire)) in texts.iter().zip(&wires).enumerate() {
        let wire = base64::engine::general_purpose::STANDARD.decode(wire).expect("base64");
        let from_wire = T::decode(&*wire).expect("protobuf");
        assert_eq!(json::text(&from_wire), *text, "line {n}");
        // Go writes members of oneofs last; the order on the wire means nothing.
        let again = from_wire.encode_to_vec();
        assert_eq!(again.len(), wire.len(), "line {n}");
        assert!(T::decode(&*again).expect("our own protobuf") == from_wire, "line {n}");
        let from_text: T = json::read(text.as_bytes(), Unknown::Refuse).unwrap_or_else(|error| panic!("{n}: {error}"));
        assert!(from_text == from_wire, "line {n}");
    }
    Some(texts.len())
}

#[test]
fn flows() {
    assert!(both_ways::<GetFlowsResponse>("flows").is_none_or(|lines| lines == 604));
}

#[test]
fn agent_events() {
    assert!(both_ways::<GetAgentEventsResponse>("agent_events").is_none_or(|lines| lines == 26));
}

#[test]
fn debug_events() {
    assert!(both_ways::<GetDebugEventsResponse>("debug_events").is_none_or(|lines| lines == 70));
}
