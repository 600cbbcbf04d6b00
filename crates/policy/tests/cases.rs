//! Case files of this folder's `cases`: what policies mean, in the words of the case format itself.

use std::path::Path;

use nexin_policy::cases::{self, CaseReport, World};
use nexin_policy::explain::Decision;
use nexin_policy::input::Diagnostic;
use nexin_policy::rule::LowerOptions;

fn read(name: &str) -> Vec<cases::Case> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let text = std::fs::read_to_string(folder.join(name)).expect("the case file is there");
    let file = cases::read(&text, name, &mut |other| std::fs::read_to_string(folder.join(other)));
    assert!(!file.diagnostics.iter().any(Diagnostic::is_error), "{:#?}", file.diagnostics);
    file.cases
}

fn failures(reports: &[CaseReport]) -> Vec<String> {
    let mut found = Vec::new();
    for report in reports {
        for row in report.rows.iter().filter(|row| !row.differences.is_empty()) {
            found.push(format!("{}:{} {}: {row:#?}", report.file, row.line, report.name));
        }
    }
    found
}

#[test]
fn every_case_comes_out_as_written() {
    for (name, rows) in
        [("selectors.yaml", 30), ("ports.yaml", 25), ("precedence.yaml", 20), ("cidr.yaml", 20), ("tiers.yaml", 20)]
    {
        let cases = read(name);
        let reports: Vec<CaseReport> = cases.iter().map(cases::run).collect();
        let failed = failures(&reports);
        assert!(failed.is_empty(), "{}", failed.join("\n"));
        let judged: usize = reports.iter().map(|report| report.rows.len()).sum();
        assert!(judged >= rows, "{name}: {judged} rows");
    }
}

#[test]
fn a_wrong_expectation_is_a_failure_that_says_why() {
    let text = "
name: wrong
workloads: {shop/web: {labels: {app: web}}, shop/client: {}}
policies:
- apiVersion: networking.k8s.io/v1
  kind: NetworkPolicy
  metadata: {name: closed, namespace: shop}
  spec: {podSelector: {}, policyTypes: [Ingress]}
tests:
- {from: shop/client, to: shop/web, port: 80/TCP, expect: allowed}
- {from: shop/nobody, to: shop/web, port: 80/TCP, expect: allowed}
";
    let file = cases::read(text, "wrong.yaml", &mut |_| unreachable!("no other file is named"));
    assert_eq!(file.diagnostics, []);
    let report = cases::run(&file.cases[0]);
    assert!(!report.passed());
    let why = &report.rows[0].differences[0].why;
    assert!(why.contains("NetworkPolicy shop/closed"), "{why}");
    assert!(report.rows[1].differences[0].why.contains("no workload shop/nobody"));
    let junit = cases::junit(std::slice::from_ref(&report));
    assert!(junit.contains("failures=\"2\"") && junit.contains("expected allowed, found denied by default"), "{junit}");
    assert_eq!(cases::json(&[report])["failed"], 2);
}

#[test]
fn mistakes_in_a_case_file_are_told_with_their_place() {
    let text = "name: x\nworkloads:\n  web: {}\n  shop/web: {adresses: [10.0.0.1]}\ntests:\n- {from: shop/web, to: a b, port: 80/QUIC}\npolicies:\n- file: gone.yaml\n- |\n  kind: NetworkPolicy\n";
    let missing = || Err(std::io::Error::from(std::io::ErrorKind::NotFound));
    let file = cases::read(text, "bad.yaml", &mut |_| missing());
    assert!(file.cases.is_empty());
    let lines: Vec<u32> = file.diagnostics.iter().filter(|one| one.is_error()).map(|one| one.line).collect();
    for line in [3, 4, 6, 8, 10] {
        assert!(lines.contains(&line), "line {line} of {:#?}", file.diagnostics);
    }
}

#[test]
fn a_simulation_names_the_flows_that_change() {
    let case = read("precedence.yaml").swap_remove(0);
    let world = World::new(case.scenario);
    let text = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: more, namespace: shop}\nspec:\n  podSelector: {matchLabels: {app: good}}\n  policyTypes: [Egress]\n";
    let (documents, _) =
        nexin_policy::input::load(text, "more.yaml", nexin_policy::input::Strictness::Strict, &LowerOptions::default());
    let peer = |text: &str| text.parse::<cases::PeerRef>().expect("a peer");
    let tcp = nexin_model::Protocol::Tcp;
    let flows = [(peer("shop/good"), peer("shop/web"), tcp, 80), (peer("shop/bad"), peer("shop/web"), tcp, 8080)];
    let changes = world.simulate(documents, &flows).expect("all peers exist");
    assert_eq!(changes.iter().map(|change| change.flow).collect::<Vec<_>>(), [0]);
    assert_eq!(changes[0].before.egress.decision, Decision::Unrestricted);
    assert_eq!(changes[0].after.egress.decision, Decision::DefaultDenied);
    assert!(changes[0].why[0].reason().contains("NetworkPolicy shop/more"), "{}", changes[0].why[0]);
}

#[test]
fn an_explanation_names_every_rule_that_spoke() {
    let case = read("precedence.yaml").swap_remove(0);
    let mut world = World::new(case.scenario);
    let peer = |text: &str| text.parse::<cases::PeerRef>().expect("a peer");
    let [egress, ingress] =
        world.explain(&peer("shop/bad"), &peer("shop/web"), nexin_model::Protocol::Tcp, 80).expect("both exist");
    assert_eq!(egress.answer.decision, Decision::Unrestricted);
    assert_eq!(ingress.answer.decision, Decision::Denied);
    let parts: Vec<_> = ingress.rules.iter().map(|rule| (rule.part, rule.origin.path.to_string())).collect();
    assert_eq!(ingress.rules.len(), 2, "{parts:?}");
    assert!(parts[0].1.starts_with("spec.ingressDeny[0]"), "{parts:?}");
    let shown = ingress.to_string();
    assert!(shown.contains("decides") && shown.contains("a stronger rule decides"), "{shown}");
    assert!(shown.contains("precedence.yaml:"), "{shown}");
}

#[test]
fn an_explanation_shows_what_shadow_policies_would_do() {
    let case = read("precedence.yaml").into_iter().find(|case| case.name.contains("shadow")).expect("it is there");
    let mut world = World::new(case.scenario);
    let peer = |text: &str| text.parse::<cases::PeerRef>().expect("a peer");
    let [_, ingress] =
        world.explain(&peer("shop/client"), &peer("shop/web"), nexin_model::Protocol::Tcp, 80).expect("both exist");
    assert_eq!(ingress.answer.decision, Decision::Allowed);
    assert_eq!(ingress.answer.shadow.as_ref().map(|shadow| shadow.decision), Some(Decision::DefaultDenied));
    assert!(ingress.to_string().contains("with shadow policies in force: denied by default"), "{ingress}");
}
