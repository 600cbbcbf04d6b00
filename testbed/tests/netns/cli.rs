//! The verbs against a running agent: what people type, what they are told.

use std::{fs, process::Command};

use nexin_testbed::{
    Node, Result, Tool, fail, isolated, program,
    traffic::{Outcome, TcpEcho, tcp},
    until_ok,
};
use serde_json::Value;

use crate::policies::allow_from;

/// A node with an agent, and its socket.
struct Desk {
    node: Node,
    socket: String,
}

impl Desk {
    fn new() -> Result<Self> {
        let mut node = Node::up("n")?;
        let socket = node.agent()?.folder().join("nexin.sock").display().to_string();
        Ok(Self { node, socket })
    }

    fn nexin(&self, words: &[&str]) -> Result<Tool> {
        Tool::run(Command::new(program("nexin")?).args(words).args(["--socket", &self.socket]))
    }

    /// The same; an error unless it succeeds.
    fn says(&self, words: &[&str]) -> Result<String> {
        let done = self.nexin(words)?;
        if !done.success {
            fail!("nexin {words:?}: {}{}", done.stdout, done.stderr);
        }
        Ok(done.stdout)
    }

    fn json(&self, words: &[&str]) -> Result<Value> {
        Ok(serde_json::from_str(&self.says(&[words, &["-o", "json"]].concat())?)?)
    }
}

#[test]
fn workloads_are_made_renamed_and_removed_by_hand() -> Result {
    isolated(|| {
        let desk = Desk::new()?;
        let ns = nexin_testbed::Namespace::new("byhand")?;
        let path = ns.path().display().to_string();
        let words = ["endpoint", "create", "--netns", &path, "--name", "web", "-l", "app=web", "--port", "http=80/TCP"];
        let made = desk.json(&words)?;
        assert_eq!((&made["name"], &made["state"]), (&"web".into(), &"ready".into()), "{made}");
        let listed = desk.says(&["endpoint", "list"])?;
        assert!(
            listed.lines().nth(1).is_some_and(|line| line.contains("default/web") && line.contains("app=web")),
            "{listed}"
        );
        let relabelled = desk.says(&["endpoint", "labels", "web", "app=db"])?;
        assert!(relabelled.starts_with("default/web is app=db (identity "), "{relabelled}");
        let typo = desk.nexin(&["endpoint", "get", "wbe"])?;
        assert!(!typo.success && typo.stderr.contains("did you mean default/web?"), "{typo:?}");
        assert!(desk.says(&["endpoint", "delete", "web"])?.ends_with("(default/web) deleted\n"));
        assert_eq!(desk.json(&["endpoint", "list"])?, Value::Array(Vec::new()));
        Ok(())
    })
}

#[test]
fn a_refusal_is_shown_explained_and_lifted() -> Result {
    isolated(|| {
        let desk = Desk::new()?;
        let (server, foe) = (desk.node.workload("server", "app=server")?, desk.node.workload("foe", "app=foe")?);
        let _server = TcpEcho::start(&server.ns, 80)?;
        fs::write("/run/test/p.yaml", allow_from("server", "friend"))?;
        assert_eq!(tcp(&foe.ns, server.v4.into(), 80)?, Outcome::Answered);
        let simulated = until_ok("the flow is known", || {
            let reply = desk.json(&["policy", "simulate", "-f", "/run/test/p.yaml"])?;
            if reply["changes"].as_array().is_none_or(Vec::is_empty) {
                fail!("{reply}");
            }
            Ok(reply)
        })?;
        assert_eq!(simulated["changes"][0]["after"], "default-deny", "{simulated}");

        assert!(
            desk.says(&["policy", "apply", "-f", "/run/test/p.yaml"])?
                .contains("CiliumNetworkPolicy/default/server applied")
        );
        assert!(desk.says(&["policy", "apply", "-f", "/run/test/p.yaml"])?.contains("unchanged"));
        assert_eq!(tcp(&foe.ns, server.v4.into(), 80)?, Outcome::Silence);
        let drops = [
            "monitor",
            "--type",
            "drop",
            "--from",
            "foe",
            "--to",
            "server",
            "--port",
            "80",
            "--last",
            "1",
            "--no-follow",
        ];
        let line = until_ok("the drop is told", || {
            let said = desk.says(&drops)?;
            if said.is_empty() { fail!("nothing yet") } else { Ok(said) }
        })?;
        assert!(
            line.contains("default/foe (") && line.contains("isolates default/server for what it receives"),
            "{line}"
        );
        let explained = desk.says(&["policy", "explain", "foe", "server", "80/TCP"])?;
        assert!(explained.contains("refused") && explained.contains("the kernel's tables say the same"), "{explained}");
        let typo = desk.nexin(&["policy", "explain", "foo", "server", "80"])?;
        assert!(typo.stderr.contains("did you mean default/foe?"), "{typo:?}");
        desk.says(&["policy", "delete", "server"])?;
        assert_eq!(tcp(&foe.ns, server.v4.into(), 80)?, Outcome::Answered);
        Ok(())
    })
}

#[test]
fn bad_policies_are_shown_where_they_are() -> Result {
    isolated(|| {
        let desk = Desk::new()?;
        fs::write(
            "/run/test/bad.yaml",
            allow_from("server", "friend").replace("endpointSelector", "endpointSelecter"),
        )?;
        let done = desk.nexin(&["policy", "apply", "-f", "/run/test/bad.yaml"])?;
        assert!(
            !done.success && done.stderr.contains("/run/test/bad.yaml:") && done.stderr.contains("endpointSelector"),
            "{done:?}"
        );
        assert_eq!(desk.json(&["policy", "get"])?, Value::Array(Vec::new()), "nothing was applied");
        Ok(())
    })
}

#[test]
fn the_insides_can_be_looked_at() -> Result {
    isolated(|| {
        let desk = Desk::new()?;
        let (a, b) = (desk.node.workload("a", "app=a")?, desk.node.workload("b", "app=b")?);
        let _server = TcpEcho::start(&b.ns, 80)?;
        assert_eq!(tcp(&a.ns, b.v4.into(), 80)?, Outcome::Answered);
        for words in [
            &["status"][..],
            &["doctor"],
            &["identity", "list"],
            &["ipam", "-a"],
            &["map", "list"],
            &["ct", "list"],
            &["version"],
        ] {
            for format in ["table", "json", "yaml"] {
                let done = desk.nexin(&[words, &["-o", format]].concat())?;
                // The doctor fails where something is missing on this machine.
                assert!(done.success || words == ["doctor"], "{words:?} {format}: {done:?}");
                assert!(!done.stdout.is_empty() && done.stderr.is_empty(), "{words:?} {format}: {done:?}");
            }
        }
        assert!(desk.says(&["map", "dump", "nx_endpoint"])?.lines().count() >= 3);
        let typo = desk.nexin(&["map", "dump", "nx_endpiont"])?;
        assert!(typo.stderr.contains("did you mean nx_endpoint?"), "{typo:?}");
        desk.says(&["ct", "flush", "--all"])?;
        assert_eq!(desk.json(&["ct", "list"])?, Value::Array(Vec::new()));
        desk.says(&["bugtool", "--file", "/run/test/bug.tar"])?;
        let names = nexin_testbed::tool("tar", ["tf", "/run/test/bug.tar"])?;
        for name in ["status", "doctor", "settings", "endpoints", "policies", "maps/nx_endpoint", "events"] {
            assert!(names.contains(&format!("nexin-bugtool/{name}.json\n")), "{name} in {names}");
        }
        Ok(())
    })
}

/// `-o json` holds for refusals too: one object on standard error, and nothing on standard output.
#[test]
fn refusals_are_json_where_answers_are() -> Result {
    isolated(|| {
        let desk = Desk::new()?;
        fs::write("/run/test/bad.yaml", allow_from("a", "b").replace("ingress", "ingres"))?;
        let cases: [(&[&str], &str); 4] = [
            (&["endpoint", "get", "nobody"], "bad-request"),
            (&["policy", "get", "cnp/default/none"], "bad-request"),
            (&["policy", "apply", "-f", "/run/test/none.yaml"], "not-found"),
            (&["policy", "apply", "-f", "/run/test/bad.yaml"], "invalid-policy"),
        ];
        for (words, code) in cases {
            let done = desk.nexin(&[words, &["-o", "json"]].concat())?;
            let Ok(error) = serde_json::from_str::<Value>(&done.stderr) else { fail!("{words:?}: {done:?}") };
            assert_eq!((done.success, done.stdout.as_str(), &error["code"]), (false, "", &code.into()), "{error}");
            assert!(error["message"].is_string(), "{error}");
        }
        Ok(())
    })
}

#[test]
fn several_files_are_applied_whole_or_not_at_all() -> Result {
    isolated(|| {
        let desk = Desk::new()?;
        fs::write("/run/test/a.yaml", allow_from("a", "b"))?;
        fs::write("/run/test/b.yaml", allow_from("b", "c").replace("ingress", "ingres"))?;
        let both = ["policy", "apply", "-f", "/run/test/a.yaml", "-f", "/run/test/b.yaml"];
        let refused = desk.nexin(&both)?;
        assert!(!refused.success && refused.stderr.contains("/run/test/b.yaml:"), "{refused:?}");
        assert_eq!(desk.json(&["policy", "get"])?, Value::Array(Vec::new()));
        fs::write("/run/test/b.yaml", allow_from("b", "c"))?;
        let applied = desk.json(&both)?;
        assert_eq!(applied["applied"].as_array().map(Vec::len), Some(2), "{applied}");
        Ok(())
    })
}
