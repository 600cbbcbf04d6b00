//! Any text as a filter of Hubble's, CEL and regular expressions included: filters that can be asked, or an error; never a panic
//! and never a stack too deep.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use nexin_flows::filter::{Filters, Seen};
use nexin_hubble::flow::{Flow, FlowFilter};
use nexin_hubble::json::{self, Unknown};

/// A flow with something in most of its fields.
static FLOW: LazyLock<Flow> = LazyLock::new(|| {
    let text = r#"{"time":"2026-03-04T05:06:07.5Z","uuid":"u","verdict":"DROPPED","drop_reason_desc":"POLICY_DENIED",
        "IP":{"source":"10.0.0.1","destination":"fd00::1","ipVersion":"IPv6"},"l4":{"TCP":{"source_port":1,"flags":{"SYN":true}}},
        "source":{"identity":1,"namespace":"a","labels":["k8s:a=b","reserved:host"],"pod_name":"p","workloads":[{"name":"w"}]},
        "node_name":"c/n","source_names":["a.example"],"l7":{"http":{"code":200,"method":"GET","url":"http://h/p?q","headers":[{}]}},
        "event_type":{"type":129},"is_reply":false}"#;
    json::read(text.as_bytes(), Unknown::Refuse).expect("a flow")
});

fuzz_target!(|bytes: &[u8]| {
    let Ok(filter) = json::read::<FlowFilter>(bytes, Unknown::Discard) else { return };
    match Filters::compile(std::slice::from_ref(&filter), &[]) {
        Ok(filters) => {
            let passed = filters.matches(Seen::Flow(&*FLOW));
            let taken = Filters::compile(&[], &[filter]).expect("it was built before");
            assert_eq!(taken.matches(Seen::Flow(&*FLOW)), !passed);
            filters.matches::<Flow>(Seen::Lost);
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
