//! Any bytes as an event of a kernel program, this one's or a newer one's: a flow that says the same as a record, as a message
//! and as JSON.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nexin_abi::Event;
use nexin_flows::decode::{Names, decode};
use nexin_flows::record::Node;
use nexin_flows::view::{L4, View};
use nexin_hubble::flow::Flow;
use nexin_hubble::json::{self, Unknown};
use zerocopy::FromBytes;

fuzz_target!(|bytes: &[u8]| {
    let mut whole = [0; size_of::<Event>()];
    let length = bytes.len().min(whole.len());
    whole[..length].copy_from_slice(&bytes[..length]);
    let Ok(event) = Event::read_from_bytes(&whole) else { return };
    let names = Names::new(Node { name: "node".into(), emitter: Node::emitter(), ..Node::default() });
    let Some(record) = decode(&event, &names, event.time_ns, 1) else { return };
    let flow = record.to_flow();
    assert_eq!(told(&record), told(&flow));
    let text = json::text(&flow);
    assert_eq!(json::read::<Flow>(text.as_bytes(), Unknown::Refuse).expect("what was written is read"), flow, "{text}");
    assert!(!nexin_flows::summary::text(&record).contains('\n'));
});

/// What filters and metrics go by.
fn told(flow: &impl View) -> (i32, i32, Option<(i32, i32)>, i32, Option<bool>, Option<L4<'_>>) {
    let (verdict, reason, kind) = (flow.verdict(), flow.drop_reason(), flow.event_type());
    (verdict, reason, kind, flow.traffic_direction(), flow.is_reply(), flow.l4())
}
