//! Any bytes as a request for flows, as a client of ours or anybody's may send it: refused, or filters and a mask that judge a flow and
//! always judge it alike; and any text as the address of a server.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nexin_api::hubble::Address;
use nexin_flows::filter::{Filters, Seen};
use nexin_flows::mask::Mask;
use nexin_http::{ListenAddress, Target};
use nexin_hubble::flow::{Endpoint, Flow, Ip};
use nexin_hubble::observer::GetFlowsRequest;
use prost::Message as _;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(text) = std::str::from_utf8(bytes) {
        addresses(text);
    }
    let Ok(request) = GetFlowsRequest::decode(bytes) else { return };
    assert_eq!(GetFlowsRequest::decode(request.encode_to_vec().as_slice()).as_ref(), Ok(&request));
    let flow = flow();
    if let Ok(filters) = Filters::compile(&request.whitelist, &request.blacklist) {
        assert_eq!(filters.matches(Seen::Flow(&flow)), filters.matches(Seen::Flow(&flow)));
    }
    let paths = request.field_mask.map(|mask| mask.paths).unwrap_or_default();
    if let Ok(Some(mask)) = Mask::of_request(&paths) {
        let masked = mask.apply(&flow);
        assert_eq!(mask.apply(&masked), masked, "{paths:?}");
    }
});

fn flow() -> Flow {
    let pod = |name: &str| Endpoint {
        namespace: "default".into(),
        pod_name: name.into(),
        labels: vec!["k8s:app=web".into()],
        identity: 7,
        ..Endpoint::default()
    };
    let ip = Ip { source: "10.0.0.1".into(), destination: "fd00::1".into(), ..Ip::default() };
    Flow { source: Some(pod("a")), destination: Some(pod("b")), ip: Some(ip), is_reply: Some(false), ..Flow::default() }
}

/// What is an address is written as one that means the same.
fn addresses(text: &str) {
    if let Ok(Address { target, .. }) = text.parse() {
        assert_eq!(target.to_string().parse::<Target>(), Ok(target));
    }
    if let Ok(listen) = text.parse::<ListenAddress>() {
        assert_eq!(listen.to_string().parse::<ListenAddress>(), Ok(listen));
    }
}
