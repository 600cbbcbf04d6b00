//! The binary as people call it, with the verbs that need neither an agent nor root.

use std::path::Path;
use std::process::{Command, Output};

/// Runs the binary beside the data of these tests.
fn nexin(arguments: &[&str]) -> Output {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let mut command = Command::new(env!("CARGO_BIN_EXE_nexin"));
    command.args(arguments).current_dir(data).env_remove("NEXIN_SOCKET").env_remove("NO_COLOR");
    command.output().expect("the binary was built for this test")
}

/// Exit code, standard output, standard error.
fn run(arguments: &[&str]) -> (i32, String, String) {
    let output = nexin(arguments);
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("output is text");
    (output.status.code().expect("not killed"), text(output.stdout), text(output.stderr))
}

#[test]
fn expected_verdicts_are_checked() {
    let (code, out, err) = run(&["policy", "test", "ships.yaml"]);
    assert_eq!((code, err.as_str()), (0, ""));
    assert_eq!(out, "ok   three ships (8 rows) ships.yaml:2\nall 8 rows are as expected\n");
}

#[test]
fn differences_fail_and_say_why() {
    let (code, out, _) = run(&["policy", "test", "ships.yaml", "wrong.yaml"]);
    assert_eq!(code, 1);
    assert_eq!(
        out,
        "ok   three ships (8 rows) ships.yaml:2\n\
         FAIL a wrong expectation (1 row) wrong.yaml:1\n     \
         default/xwing -> default/deathstar 80/TCP wrong.yaml:8\n       \
         - combined allowed\n       \
         + combined denied by default\n         \
         ingress: default deny of CiliumNetworkPolicy default/rule1: no rule allows this\n\
         1 of 9 rows differ\n"
    );
}

#[test]
fn reports_for_machines() {
    let dir = tempfile::tempdir().unwrap();
    let junit = dir.path().join("junit.xml");
    let (code, out, _) = run(&["policy", "test", "wrong.yaml", "-o", "json", "--junit", junit.to_str().unwrap()]);
    assert_eq!(code, 1);
    let report: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&report["rows"], &report["failed"]), (&1.into(), &1.into()));
    let xml = std::fs::read_to_string(junit).unwrap();
    assert!(xml.contains("tests=\"1\" failures=\"1\"") && xml.contains("<failure"), "{xml}");
}

#[test]
fn nothing_to_check_is_no_success() {
    let (code, out, _) = run(&["policy", "test", "ships.yaml", "--case", "no such case"]);
    assert_eq!((code, out.as_str()), (1, "no case has a row to check\n"));
}

#[test]
fn a_refusal_is_explained_without_an_agent() {
    let (code, out, _) = run(&["policy", "explain", "xwing", "deathstar", "80/TCP", "--offline", "ships.yaml"]);
    assert_eq!(code, 0);
    let first =
        "default/xwing {class=xwing,org=alliance} -> default/deathstar {class=deathstar,org=empire}, 80/TCP: refused";
    assert_eq!(out.lines().next(), Some(first));
    assert!(out.contains("isolated by CiliumNetworkPolicy/default/rule1"), "{out}");
}

#[test]
fn an_allowance_names_its_rule() {
    let (_, out, _) = run(&["policy", "explain", "class=tiefighter", "10.0.0.1", "80", "--offline", "ships.yaml"]);
    assert!(
        out.contains(" => allow CiliumNetworkPolicy/default/rule1 spec.ingress[0].toPorts[0] at rule1.yaml:12"),
        "{out}"
    );
}

#[test]
fn slips_in_names_are_noticed() {
    let (code, _, err) = run(&["policy", "explain", "xwign", "deathstar", "80", "--offline", "ships.yaml"]);
    assert_eq!(code, 1);
    assert_eq!(err, "nexin: there is no workload default/xwign\nhint: did you mean default/xwing?\n");
}

#[test]
fn changes_are_simulated_in_both_directions() {
    let (_, out, _) = run(&["policy", "simulate", "-f", "lockdown.yaml", "--offline", "ships.yaml"]);
    assert!(out.ends_with("1 of 8 flows would be judged differently\n"), "{out}");
    assert!(out.contains("default/deathstar  default/xwing  80/TCP  allow  default deny"), "{out}");
    let (_, out, _) = run(&["policy", "simulate", "--delete", "cnp/default/rule1", "--offline", "ships.yaml"]);
    assert!(out.ends_with("5 of 8 flows would be judged differently\n"), "{out}");
}

#[test]
fn mistakes_are_shown_where_they_are() {
    let (code, out, _) = run(&["policy", "validate", "slips.yaml"]);
    assert_eq!(code, 1);
    assert_eq!(
        out,
        "error: the field `fromEndpoint` is not known here\n  \
         --> slips.yaml:8:5 spec.ingress[0].fromEndpoint\n  \
         |\n8 |   - fromEndpoint:\n  |     ^\n  \
         help: did you mean `fromEndpoints`?\n\n\
         refused: 0 documents without errors; 1 error\n"
    );
}

#[test]
fn what_is_not_enforced_yet_is_refused() {
    let (code, out, _) = run(&["policy", "validate", "http.yaml"]);
    assert_eq!(code, 1);
    assert!(out.starts_with("not enforceable yet: HTTP rules need the proxy\n"), "{out}");
    let (code, out, _) = run(&["policy", "validate", "rule1.yaml", "lockdown.yaml", "-o", "yaml"]);
    assert_eq!(code, 0);
    assert!(out.ends_with("valid: true\n"), "{out}");
}

#[test]
fn without_an_agent_the_next_step_is_named() {
    let (code, out, err) = run(&["status", "--socket", "/nonexistent/nexin.sock"]);
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(err.contains("hint: start it with `nexin agent` as root"), "{err}");
}

#[test]
fn unknown_settings_are_refused() {
    let (code, _, err) = run(&["agent", "--set", "policy.audti=true", "--show-settings"]);
    assert_eq!(code, 1);
    assert!(err.contains("did you mean policy.audit?"), "{err}");
    let (code, out, _) = run(&["agent", "--policy-audit", "true", "--show-settings"]);
    assert_eq!(code, 0);
    assert!(
        out.lines().any(|line| line.split_whitespace().collect::<Vec<_>>() == ["policy.audit", "true", "flag"]),
        "{out}"
    );
}

#[test]
fn completion_knows_the_verbs() {
    let (code, out, _) = run(&["completion", "bash"]);
    assert_eq!(code, 0);
    assert!(out.contains("simulate") && out.contains("--offline"));
}

#[test]
fn a_reader_that_leaves_is_no_error() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_nexin"))
        .args(["completion", "zsh"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]));
}
