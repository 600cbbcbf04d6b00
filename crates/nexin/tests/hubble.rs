//! The binary under the name `hubble`: every run of the official command in the golden data, byte for byte, and what it
//! asked a server.

#[path = "hubble/canned.rs"]
mod canned;
#[path = "../../hubble/tests/golden_support/mod.rs"]
mod golden_support;

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use canned::Canned;
use serde::Deserialize;

#[derive(Deserialize)]
struct Case {
    id: u32,
    group: String,
    args: Vec<String>,
    stdin: Option<String>,
    env: BTreeMap<String, String>,
    exit_code: i32,
    stdout_file: String,
    stderr: String,
    server: Option<Server>,
    requests: Option<Vec<Request>>,
}

#[derive(Deserialize)]
struct Server {
    canned: String,
}

#[derive(Deserialize)]
struct Request {
    method: String,
    request_pb64: String,
}

/// A link named `hubble` to the program under test.
struct Link {
    path: PathBuf,
    _directory: tempfile::TempDir,
}

impl Link {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("hubble");
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_nexin"), &path).expect("a link");
        Self { path, _directory: directory }
    }

    fn command(&self, arguments: &[String], directory: &Path) -> Command {
        let mut command = Command::new(&self.path);
        command.args(arguments).current_dir(directory).env_clear();
        command.envs([("HOME", "/home/user"), ("TZ", "UTC"), ("LANG", "C")]);
        command
    }
}

/// What differs by nature: the clock, and the space that Go's protobuf picks by a hash of the binary.
fn unstable(text: &str) -> String {
    let lines = text.replace('\u{a0}', " ").replace("\\u00a0", " ");
    let steady = |line: &str| match line.strip_prefix("time=").and_then(|rest| rest.split_once(' ')) {
        Some((_, rest)) => format!("time=<T> {rest}"),
        None => line.to_owned(),
    };
    lines.split('\n').map(steady).collect::<Vec<_>>().join("\n")
}

fn cases(server: bool) -> Option<(PathBuf, Vec<Case>)> {
    let folder = golden_support::folder()?.join("cli");
    let index = golden_support::lines("cli/index.jsonl")?;
    let cases = index.iter().map(|line| serde_json::from_str::<Case>(line).expect("a case a line"));
    Some((folder, cases.filter(|case| case.server.is_some() == server).collect()))
}

/// Runs one case and says how the answer differs.
fn differences(case: &Case, mut command: Command, folder: &Path) -> Vec<String> {
    let stdin = case.stdin.as_ref().map(|name| File::open(folder.join(name)).expect("a file of the data"));
    command.stdin(stdin.map_or_else(Stdio::null, Stdio::from)).envs(&case.env);
    let output = command.output().expect("the program runs");
    let expected = std::fs::read(folder.join(&case.stdout_file)).expect("a file of the data");
    let mut differences = Vec::new();
    if output.status.code() != Some(case.exit_code) {
        differences.push(format!("exit code {:?} for {}", output.status.code(), case.exit_code));
    }
    if output.stdout != expected {
        let (ours, theirs) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&expected));
        let at = ours.lines().zip(theirs.lines()).find(|(ours, theirs)| ours != theirs);
        differences.push(format!("{} bytes for {}, first {at:?}", output.stdout.len(), expected.len()));
    }
    let (ours, theirs) = (unstable(&String::from_utf8_lossy(&output.stderr)), unstable(&case.stderr));
    if ours != theirs {
        differences.push(format!("errors {ours:?} for {theirs:?}"));
    }
    differences
}

fn report(case: &Case, differences: &[String]) -> Option<String> {
    let text = || format!("{} {} {:?}: {}", case.id, case.group, case.args, differences.join("; "));
    (!differences.is_empty()).then(text)
}

#[test]
fn answers_without_a_server() {
    let Some((folder, cases)) = cases(false) else { return };
    let link = Link::new();
    assert!(cases.len() > 100, "{} cases", cases.len());
    let wrong: Vec<String> = cases
        .iter()
        .filter_map(|case| report(case, &differences(case, link.command(&case.args, &folder), &folder)))
        .collect();
    assert!(wrong.is_empty(), "{} of {} differ:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

#[test]
fn questions_to_a_server_and_its_answers() {
    let Some((folder, cases)) = cases(true) else { return };
    let link = Link::new();
    assert!(cases.len() > 20, "{} cases", cases.len());
    let mut wrong = Vec::new();
    for case in &cases {
        let variant = &case.server.as_ref().expect("cases with a server").canned;
        let directory = tempfile::tempdir().expect("a directory");
        let canned = Canned::serve(&directory.path().join("h.sock"), variant);
        let mut differences = differences(case, link.command(&case.args, directory.path()), &folder);
        let expected: Vec<(String, String)> =
            case.requests.iter().flatten().map(|r| (r.method.clone(), r.request_pb64.clone())).collect();
        let asked = canned.stop();
        if asked != expected {
            differences.push(format!("asked {asked:?} for {expected:?}"));
        }
        wrong.extend(report(case, &differences));
    }
    assert!(wrong.is_empty(), "{} of {} differ:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

#[test]
fn nexin_observe_knows_more() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("flows.jsonl");
    let drop = concat!(
        r#"{"flow":{"time":"2026-03-04T05:06:07Z","verdict":"DROPPED","drop_reason_desc":"POLICY_DENIED","#,
        r#""event_type":{"type":1,"sub_type":133},"traffic_direction":"INGRESS","file":{"name":"to_workload.rs","line":7}},"#,
        r#""time":"2026-03-04T05:06:07Z"}"#
    );
    std::fs::write(&file, drop).expect("written");
    let run = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nexin"));
        command.args(arguments).arg("--input-file").arg(&file).env_clear();
        let output = command.output().expect("the program runs");
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let line = "Mar  4 05:06:07.000:  (unknown) <>  (unknown) Policy denied DROPPED ()\n";
    assert_eq!(run(&["observe"]), (Some(0), line.to_owned()));
    let why = "    why: Policy denied at ingress: no rule allows it; at to_workload.rs:7\n";
    assert_eq!(run(&["observe", "--why"]), (Some(0), format!("{line}{why}")));
    assert_eq!(run(&["hubble", "observe", "--why"]).0, Some(1));
}
