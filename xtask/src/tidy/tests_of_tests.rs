//! Rules for tests: each can fail, none waits for time, none is switched off.

use std::sync::LazyLock;

use regex::Regex;

use super::{
    Finding,
    rust::{Source, functions, line_of, pattern},
};

pub(super) fn check(sources: &[Source]) -> Vec<Finding> {
    static SLEEP: LazyLock<Regex> = LazyLock::new(|| pattern(r"\bsleep\s*\("));
    static IGNORED: LazyLock<Regex> = LazyLock::new(|| pattern(r"#\[ignore|cfg_attr\([^\]]*ignore"));
    let mut findings = Vec::new();
    for source in sources {
        let place = |line: usize| format!("{}:{line}", source.path);
        for hit in IGNORED.find_iter(&source.code) {
            findings.push(Finding::new("tests", place(line_of(&source.code, hit.start())), "is switched off"));
        }
        for line in SLEEP.find_iter(&source.code).map(|hit| line_of(&source.code, hit.start())) {
            if source.is_test_line(line) {
                findings.push(Finding::new("tests", place(line), "sleeps: wait for a fact instead"));
            }
        }
        for (line, what) in weak_tests(source) {
            findings.push(Finding::new("tests", place(line), what));
        }
    }
    findings
}

fn weak_tests(source: &Source) -> Vec<(usize, String)> {
    static CHECKS: LazyLock<Regex> = LazyLock::new(|| {
        pattern(r"\b\w*assert|\bpanic!|\bexpect|\bunwrap|\bcheck\w*\s*[(!<]|\bisolated\w*\s*\(|\brun\w*\(|\?[;\s)]")
    });
    static OK_ONLY: LazyLock<Regex> = LazyLock::new(|| pattern(r"assert!\([^;]*?\.is_(?:ok|some)\(\)"));
    static ASSERT: LazyLock<Regex> = LazyLock::new(|| pattern(r"\b\w*assert"));
    let lines: Vec<&str> = source.code.lines().collect();
    let all = functions(&source.code);
    // A helper of the same file may do the checking.
    let checking: Vec<String> =
        all.iter().filter(|f| CHECKS.is_match(f.body)).map(|f| format!("{}(", f.name)).collect();
    let checks = |body: &str| CHECKS.is_match(body) || checking.iter().any(|call| body.contains(call.as_str()));
    let mut weak = Vec::new();
    for function in &all {
        let attributes = attributes_above(&lines, function.line);
        if !attributes.contains("test]") && !attributes.contains("test(") || attributes.contains("cfg(test)]") {
            continue;
        }
        if !attributes.contains("should_panic") && !checks(function.body) {
            weak.push((function.line, format!("{} checks nothing", function.name)));
        } else {
            let ok_only = OK_ONLY.find_iter(function.body).count();
            if ok_only > 0 && ASSERT.find_iter(function.body).count() == ok_only && !function.body.contains("_err()") {
                weak.push((function.line, format!("{} only asks whether it is ok, not what it is", function.name)));
            }
        }
    }
    weak
}

fn attributes_above(lines: &[&str], line: usize) -> String {
    let above = lines[..line - 1].iter().rev();
    above.take_while(|l| l.trim().is_empty() || l.trim().starts_with("#[")).copied().collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weak_tests_are_found() {
        let bad = [
            "#[test]\nfn a() { f(); }",
            "#[tokio::test]\nasync fn a() { f().await; }",
            "#[test]\nfn a() { assert!(f().is_ok()); }",
            "#[test]\n#[ignore]\nfn a() { assert_eq!(f(), 1); }",
            "#[test]\nfn a() { sleep(1); assert_eq!(f(), 1); }",
        ];
        for text in bad {
            let source = Source::new("testbed/tests/x.rs".into(), text.into());
            assert_eq!(check(&[source]).len(), 1, "{text}");
        }
        let good = Source::new("testbed/tests/x.rs".into(), "#[test]\nfn a() { assert_eq!(f(), 1); }".into());
        assert_eq!(check(&[good]).len(), 0);
    }
}
