//! What the parser takes and refuses, against what Cilium 1.20.2 takes and refuses (golden data, not in the repository).
//!
//! The data's folder is `../shared/data` beside the project, or what NEXIN_DATA names; without it only a note is
//! printed: the rules themselves have tests of their own beside the code.

use std::path::PathBuf;
use std::process::Command;

use nexin_policy::input::{self, Parsed, Strictness};
use serde::Deserialize;

#[derive(Deserialize)]
struct Case {
    id: String,
    accepted: bool,
    yaml: String,
    #[serde(default)]
    error: Option<String>,
    why: String,
}

fn data() -> Option<Vec<Case>> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    let folder = std::env::var_os("NEXIN_DATA").map_or_else(|| root.join("../shared/data"), PathBuf::from);
    let plain = folder.join("policy-corpus-given.jsonl");
    let packed = folder.join("policy-corpus-given.jsonl.xz");
    let text = match std::fs::read_to_string(&plain) {
        Ok(text) => text,
        Err(_) if packed.exists() => {
            let output = Command::new("xz").arg("-dc").arg(&packed).output().expect("xz unpacks the data");
            assert!(output.status.success(), "xz: {}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8(output.stdout).expect("the data is text")
        }
        Err(_) => {
            println!("note: no golden data at {}; the corpus is not replayed", folder.display());
            return None;
        }
    };
    Some(text.lines().map(|line| serde_json::from_str(line).expect("a case a line")).collect())
}

fn parse(case: &Case, strictness: Strictness) -> Parsed {
    input::parse(&case.yaml, &case.id, strictness)
}

fn accepted(parsed: &Parsed) -> bool {
    !parsed.has_errors() && !parsed.documents.is_empty()
}

#[test]
fn probe() {
    let Some(cases) = data() else { return };
    for strictness in [Strictness::Prune, Strictness::Strict] {
        let mut agree = 0;
        for case in &cases {
            let parsed = parse(case, strictness);
            if accepted(&parsed) == case.accepted {
                agree += 1;
                continue;
            }
            println!("{strictness:?} {} cilium={} {} {:?}", case.id, case.accepted, case.why, case.error);
            for diagnostic in &parsed.diagnostics {
                println!("    {diagnostic}");
            }
        }
        println!("{strictness:?}: {agree} of {}", cases.len());
    }
}
