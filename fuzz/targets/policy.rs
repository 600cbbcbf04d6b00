//! Any text as policy documents: an answer, never a panic. `./x test fuzz` runs it.
//!
//! The same entry point runs in the ordinary tests over the seeds and their mutations (`tests/input/hostile.rs`).
#![no_main]

use libfuzzer_sys::fuzz_target;
use nexin_policy::input::{self, Options, Strictness};
use nexin_policy::rule::LowerOptions;

fuzz_target!(|text: &str| {
    for strictness in [Strictness::Strict, Strictness::Prune] {
        let options = Options { strictness, node_selector_labels: true, extended_protocols: true };
        for document in input::parse(text, "fuzz.yaml", options).documents {
            let _ = document.lower(&LowerOptions::default());
            let _ = document.unenforceable();
        }
    }
});
