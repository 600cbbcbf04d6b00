//! Any text at all: an answer, never a panic, and one that lowering and printing can live with.

use nexin_policy::input::{self, Options, Strictness};
use nexin_policy::rule::LowerOptions;
use proptest::prelude::*;

/// Everything that is done with a text; the fuzz target calls the same.
fn run(text: &str) {
    for strictness in [Strictness::Strict, Strictness::Prune] {
        let options = Options { strictness, node_selector_labels: true, extended_protocols: true };
        let parsed = input::parse(text, "hostile.yaml", options);
        for diagnostic in &parsed.diagnostics {
            assert!(diagnostic.line >= 1 && diagnostic.column >= 1, "{diagnostic:?}");
            assert!(!diagnostic.to_string().is_empty());
        }
        for document in &parsed.documents {
            let lowered = document.lower(&LowerOptions::default());
            assert_eq!(lowered.key, document.key());
            let _ = document.unenforceable();
        }
    }
}

fn seeds() -> Vec<(String, String)> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/policy");
    let mut seeds: Vec<(String, String)> = std::fs::read_dir(&folder)
        .expect("the seeds are committed")
        .map(|entry| {
            let path = entry.expect("the folder is readable").path();
            let text = std::fs::read_to_string(&path).expect("seeds are text");
            (path.display().to_string(), text)
        })
        .collect();
    seeds.sort();
    seeds
}

/// A small generator of numbers: the same mutations on each run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(limit.max(1)).unwrap_or(1)).unwrap_or(0)
    }
}

const TOKENS: [&str; 40] = [
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    "- ",
    "\n",
    "  ",
    "\t",
    "'",
    "\"",
    "|",
    ">",
    "&a ",
    "*a",
    "<<: *a",
    "!!str ",
    "!x ",
    "---\n",
    "...\n",
    "#",
    "? ",
    "null",
    "~",
    "0",
    "-1",
    "65536",
    "1e9",
    "yes",
    "'80'",
    "10.0.0.0/8",
    "::/0",
    "\u{feff}",
    "\u{0}",
    "\u{200b}",
    "é",
    "%YAML 9\n",
    "http: []",
    "[{}]",
];

fn mutate(text: &str, numbers: &mut Numbers) -> String {
    let mut chars: Vec<char> = text.chars().collect();
    for _ in 0..=numbers.below(4) {
        let at = numbers.below(chars.len() + 1);
        let length = numbers.below(12).min(chars.len() - at);
        match numbers.below(5) {
            0 => drop(chars.drain(at..at + length)),
            1 => {
                let piece: Vec<char> = chars[at..at + length].to_vec();
                let to = numbers.below(chars.len() + 1);
                chars.splice(to..to, piece);
            }
            2 if at < chars.len() => chars[at] = char::from(u8::try_from(numbers.below(127)).unwrap_or(b' ')),
            _ => {
                let token = TOKENS[numbers.below(TOKENS.len())];
                chars.splice(at..at + length.min(numbers.below(3)), token.chars());
            }
        }
    }
    chars.into_iter().collect()
}

#[test]
fn seeds_are_what_their_names_say() {
    let seeds = seeds();
    assert!(seeds.len() >= 12, "{}", seeds.len());
    for (name, text) in &seeds {
        run(text);
        let parsed = input::parse(text, name, Strictness::Strict);
        assert_eq!(parsed.has_errors(), name.contains("bad-"), "{name}: {:#?}", parsed.diagnostics);
    }
}

#[test]
fn mutated_seeds_never_panic() {
    let mut numbers = Numbers(0x9E37_79B9_7F4A_7C15);
    for (_, text) in seeds() {
        for _ in 0..400 {
            run(&mutate(&text, &mut numbers));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(500) })]

    #[test]
    fn any_text_never_panics(text in any::<String>()) {
        run(&text);
    }

    #[test]
    fn any_yaml_like_text_never_panics(text in "([a-c]: |- |\\n|  |\\{|\\}|\\[|\\]|,|&a |\\*a|'|\"|\\||>|#|\\?|!|---\\n|%|\\t){0,60}") {
        run(&text);
    }

    #[test]
    fn any_value_in_any_field_never_panics(
        field in prop::sample::select(vec![
            "endpointSelector", "nodeSelector", "ingress", "egressDeny", "enableDefaultDeny", "labels", "log", "description",
        ]),
        value in "[ -~]{0,40}",
    ) {
        run(&format!(
            "apiVersion: cilium.io/v2\nkind: CiliumClusterwideNetworkPolicy\nmetadata: {{name: p}}\nspec:\n  egress: [{{}}]\n  {field}: {value}\n"
        ));
    }
}
