//! Texts: places, several documents, JSON, what cannot be read.

use nexin_policy::input::{self, Strictness};

use crate::{check_lapse, check_refused, check_taken, parse};

const POLICY: &str = "\
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata:
  name: p
spec:
  endpointSelector: {}
  ingress:
  - fromEntities:
    - world
    toPorts:
    - ports:
      - port: 80
";

#[test]
fn a_diagnostic_says_where_and_what_to_write() {
    let parsed = parse(POLICY);
    assert_eq!(
        parsed.diagnostics[0].to_string(),
        "test.yaml:12:15: error: spec.ingress[0].toPorts[0].ports[0].port: a port is text, this is a number\n  \
         help: put it in quotes: `port: \"80\"`"
    );
    let json = serde_json::to_value(&parsed.diagnostics[0]).expect("diagnostics are plain data");
    assert_eq!(json["severity"], "error");
    assert_eq!((json["line"].as_u64(), json["column"].as_u64()), (Some(12), Some(15)));
}

#[test]
fn everything_that_is_wrong_is_told() {
    let text = POLICY.replace("world", "wrld").replace("name: p", "name: P").replace("toPorts", "toPort");
    let found: Vec<(u32, u32)> = parse(&text).diagnostics.iter().map(|found| (found.line, found.column)).collect();
    assert_eq!(found, [(4, 9), (9, 7), (10, 5)]);
}

#[test]
fn documents_stand_for_themselves() {
    let good = POLICY.replace("80", "'80'");
    let text = format!("# head\n---\n{good}---\n# nothing\n---\n{POLICY}---\na: [b\n---\n{good}...\n---   \n{good}");
    let parsed = parse(&text);
    assert_eq!(parsed.documents.len(), 3);
    let lines: Vec<u32> = parsed.documents.iter().map(|document| document.at.line).collect();
    assert_eq!(lines, [3, 33, 47]);
    assert_eq!(parsed.diagnostics.iter().filter(|found| found.is_error()).count(), 2);
    assert_eq!(parsed.diagnostics[0].line, 29);
}

#[test]
fn json_and_other_ways_to_write() {
    check_taken(
        "{\n\t\"apiVersion\": \"cilium.io/v2\", \"kind\": \"CiliumNetworkPolicy\",\n\t\"metadata\": {\"name\": \"p\"},\n\t\"spec\": \
         {\"endpointSelector\": {\"matchLabels\": {\"a\": \"\\u0062\"}}, \"ingress\": [{}]}\n}\n",
    );
    let good = POLICY.replace("80", "'80'");
    check_taken(&good.replace('\n', "\r\n"));
    check_taken(&format!("\u{feff}{good}"));
    check_taken(&good.replace("p\n", "&name p # the name\n"));
    check_taken(&good.replace("'80'", "!!str 80"));
    check_taken(&good.replace("'80'", "|-\n          80"));
    check_taken(&format!("%YAML 1.2\n---\n{good}"));
    check_taken(&format!("{good}---\n...\n---\n"));
}

#[test]
fn anchors_and_merges_unfold() {
    let text =
        POLICY.replace("port: 80", "&tcp {port: '80', protocol: TCP}\n      - {<<: *tcp, port: '81'}\n      - *tcp");
    let parsed = parse(&text);
    let rules = parsed.documents[0].lower(&nexin_policy::rule::LowerOptions::default()).rules;
    assert_eq!(&*rules[0].origin.text, "allow from entity world on TCP 80 or TCP 81 or TCP 80");
    check_refused(&POLICY.replace("port: 80", "<<: 5"), "", "`<<` takes mappings");
    check_refused(&POLICY.replace("port: 80", "*nowhere"), "", "not readable");
    check_refused(&POLICY.replace("- world", "- &a [*a]"), "", "part of");
}

#[test]
fn twice_written_keys() {
    let text = POLICY.replace("80", "'80'\n        port: '81'");
    check_refused(&text, "", "`port` is written twice; the first is in line 12");
    let pruned = input::parse(&text, "test.yaml", Strictness::Prune);
    let rules = pruned.documents[0].lower(&nexin_policy::rule::LowerOptions::default()).rules;
    assert!(rules[0].origin.text.contains("TCP 81"), "the last one counts: {}", rules[0].origin.text);
}

#[test]
fn what_is_no_yaml() {
    check_refused("a: [b\n", "", "not readable");
    check_refused("a: b\n\tc: d\n", "", "spaces");
    check_refused("a: 'b\n", "", "not readable");
    check_refused("? [a]\n: b\n", "", "a key must be a word");
    check_refused("? \n: b\n", "", "a key is empty");
    check_refused("!custom {a: b}\n", "", "the tag");
    check_refused("a: !!int b\n", "", "is no int");
    check_refused("a: !custom b\n", "", "the tag");
    assert_eq!(parse("").documents.len() + parse("# only words\n---\n").diagnostics.len(), 0);
}

#[test]
fn words_that_are_no_text() {
    for word in ["yes", "off", "1.5", "0x1F", "12"] {
        let text = POLICY
            .replace("80", "'80'")
            .replace("endpointSelector: {}", &format!("endpointSelector: {{matchLabels: {{a: {word}}}}}"));
        check_refused(&text, "spec.endpointSelector.matchLabels.a", "put it in quotes");
    }
    check_lapse(&format!("{}extra: 1\n", POLICY.replace("80", "'80'")), "extra", "not known here");
}

#[test]
fn work_is_bounded() {
    check_refused(&format!("a: {}{}\n", "[".repeat(100), "]".repeat(100)), "", "nested deeper");
    check_refused(&format!("a: {}\n", "[".repeat(100_000)), "", "nested deeper");
    let mut laughs = "a: &a [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for (name, of) in ('b'..='z').zip('a'..='y') {
        laughs.push_str(&format!("{name}: &{name} [{}]\n", vec![format!("*{of}"); 10].join(", ")));
    }
    check_refused(&laughs, "", "values in one document");
    let deep = format!("a: {}{}x{}\n", "&a ", "[".repeat(40), "]".repeat(40));
    check_refused(&format!("{deep}b: {}*a{}\n", "[".repeat(40), "]".repeat(40)), "", "nested deeper");
    let anchors: String = (0..40).map(|level| format!("&n{level} [")).collect();
    let kept = format!("a: {anchors}{}{}\n", "x, ".repeat(50_000), "]".repeat(40));
    check_refused(&kept, "", "values in one document");
    check_refused(&" ".repeat(17 << 20), "", "the limit is");
    let many = format!("a:\n{}", "- x\n".repeat(1_100_000));
    check_refused(&many, "", "values in one document");
}

#[test]
fn endless_findings_are_cut_and_still_refuse() {
    let labels: String = (0..5_000).map(|number| format!("      a{number}: -x\n")).collect();
    let bad = format!("endpointSelector:\n    matchLabels:\n{labels}");
    let text = POLICY.replace("80", "'80'").replace("endpointSelector: {}\n", &bad);
    let parsed = input::parse(&text, "test.yaml", Strictness::Prune);
    assert_eq!((parsed.documents.len(), parsed.diagnostics.len()), (0, 1000));
    let parsed = input::parse(&"a: b\n".repeat(5_000), "test.yaml", Strictness::Prune);
    assert!(parsed.documents.is_empty() && parsed.diagnostics.len() < 1_010, "{}", parsed.diagnostics.len());
    let unknown: String = (0..5_000).map(|number| format!("x{number}: y\n")).collect();
    let parsed = input::parse(&format!("{unknown}{POLICY}"), "test.yaml", Strictness::Prune);
    let errors: Vec<&str> =
        parsed.diagnostics.iter().filter(|found| found.is_error()).map(|found| &*found.path).collect();
    assert_eq!((parsed.documents.len(), errors), (0, vec!["spec.ingress[0].toPorts[0].ports[0].port"]));
}

/// Parsers take a zero byte for the end of the text: what stands behind it must not be lost in silence.
#[test]
fn nothing_hides_behind_a_control_character() {
    for (hidden, character) in [('\0', "U+0000"), ('\u{1b}', "U+001B"), ('\u{feff}', "U+FEFF"), ('\u{85}', "")] {
        let text = format!("# comment{hidden}\n---\n{POLICY}").replace("80", "'80'");
        let parsed = parse(&text);
        let places: Vec<_> = parsed.diagnostics.iter().map(|d| (d.line, d.column, d.message.as_str())).collect();
        if character.is_empty() {
            assert!(places.is_empty() && parsed.documents.len() == 1, "{places:?}");
        } else {
            let message = format!("the character {character} may not stand in YAML");
            assert_eq!((places, parsed.documents.len()), (vec![(1, 10, message.as_str())], 0));
        }
    }
}
