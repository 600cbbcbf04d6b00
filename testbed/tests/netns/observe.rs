//! From traffic to a policy and to packets, with the commands that people type.

use std::{
    fs,
    process::{Child, Command, Stdio},
};

use nexin_testbed::{
    Node, Result, Tool, fail, isolated, program,
    traffic::{Outcome, TcpEcho, tcp},
    until_ok,
};

/// The command, told whom to ask by the environment, as a person would.
fn nexin(words: &[&str]) -> Result<Command> {
    let mut command = Command::new(program("nexin")?);
    command.args(words).env("NEXIN_SOCKET", "/run/test/n/nexin.sock");
    command.env("HUBBLE_SERVER", "unix:/run/test/n/run/hubble.sock");
    Ok(command)
}

fn says(words: &[&str]) -> Result<Tool> {
    let done = Tool::run(&mut nexin(words)?)?;
    if !done.success {
        fail!("nexin {words:?}: {}{}", done.stdout, done.stderr);
    }
    Ok(done)
}

#[test]
fn a_suggested_policy_admits_what_was_recorded_and_nothing_else() -> Result {
    isolated(|| {
        let node = Node::up("n")?;
        let (a, b) = (node.workload("a", "app=a")?, node.workload("b", "app=b")?);
        let foe = node.workload("foe", "app=foe")?;
        let _servers = (TcpEcho::start(&b.ns, 80)?, TcpEcho::start(&b.ns, 81)?);
        assert_eq!(tcp(&a.ns, b.v4.into(), 80)?, Outcome::Answered);
        assert_eq!(tcp(&foe.ns, a.v4.into(), 7)?, Outcome::Refused);
        until_ok("both connections are told", || {
            let seen = says(&["observe", "--all", "--type", "trace", "-o", "jsonpb"])?.stdout;
            if !(seen.contains("\"destination_port\":80") && seen.contains("\"destination_port\":7,")) {
                fail!("{seen}");
            }
            Ok(())
        })?;
        let folder = tempfile::tempdir()?;
        let path = |name: &str| folder.path().join(name).display().to_string();
        let (recording, policies) = (path("flows"), path("policies.yaml"));
        says(&["flows", "record", &recording, "--", "--all"])?;
        let again = says(&["flows", "record", &recording, "--", "--last", "1"])?.stderr;
        assert!(again.contains("going on after the last"), "{again}");
        fs::write(&policies, says(&["flows", "suggest-policy", &recording])?.stdout)?;
        let same = says(&["policy", "simulate", "--recording", &recording, "-f", &policies])?.stdout;
        assert!(same.starts_with("0 of "), "{same}");
        says(&["policy", "apply", "-f", &policies])?;
        until_ok("what was not recorded is refused", || match tcp(&a.ns, b.v4.into(), 81)? {
            Outcome::Silence => Ok(()),
            other => fail!("{other:?}"),
        })?;
        assert_eq!(tcp(&a.ns, b.v4.into(), 80)?, Outcome::Answered);
        assert_eq!(tcp(&foe.ns, b.v4.into(), 80)?, Outcome::Silence);
        let why = says(&["observe", "--all", "--verdict", "DROPPED", "--to-port", "81", "--why"])?.stdout;
        assert!(why.contains("why: Policy denied") && why.contains(".rs:"), "{why}");
        Ok(())
    })
}

/// Ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn packets_come_with_the_decision_about_them() -> Result {
    isolated(|| {
        let node = Node::up("n")?;
        let (a, b) = (node.workload("a", "app=a")?, node.workload("b", "app=b")?);
        let _server = TcpEcho::start(&b.ns, 80)?;
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("x.pcapng");
        let words = ["capture", "--count", "4", "-w", &file.display().to_string(), "--", "--pod", "b", "--port", "80"];
        let mut capture = nexin(&words)?;
        let mut running = Running(capture.stderr(Stdio::null()).spawn()?);
        until_ok("packets are captured", || {
            assert_eq!(tcp(&a.ns, b.v4.into(), 80)?, Outcome::Answered);
            match running.0.try_wait()? {
                Some(status) if status.success() => Ok(()),
                Some(status) => fail!("{status}"),
                None => fail!("not yet"),
            }
        })?;
        let bytes = fs::read(&file)?;
        let text = String::from_utf8_lossy(&bytes);
        assert_eq!(bytes[..4], [0x0a, 0x0d, 0x0d, 0x0a], "a section of pcapng");
        assert!(text.contains("default/b") && text.contains("to-endpoint") && text.contains("identity"), "{text}");
        Ok(())
    })
}
