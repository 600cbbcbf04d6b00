//! Any text as a file of policy cases: cases that can be run, or diagnostics; never a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nexin_policy::cases;

/// What every policy that a case names contains.
const POLICY: &str = "kind: CiliumNetworkPolicy\napiVersion: cilium.io/v2\nmetadata: {name: p}\nspec: {endpointSelector: {}, ingress: [{}]}\n";

fuzz_target!(|text: &str| {
    let file = cases::read(text, "fuzz.yaml", &mut |_| Ok(POLICY.to_owned()));
    assert!(!file.cases.is_empty() || !file.diagnostics.is_empty() || is_blank(text), "nothing came of {text:?}");
    for case in &file.cases {
        let report = cases::run(case);
        assert_eq!(report.name, *case.name);
    }
});

/// Whether a file may hold no case and no mistake: comments and separators.
fn is_blank(text: &str) -> bool {
    text.lines().all(|line| {
        let line = line.trim();
        line.is_empty() || line.starts_with(['#', '-', '.', '%', '\u{feff}'])
    })
}
