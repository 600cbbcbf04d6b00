//! What Markdown names must exist: linked files, paths in code spans, verbs of `./x` and `cargo xtask`, cargo targets.

use std::{collections::BTreeSet, fs, io, path::Path, sync::LazyLock};

use regex::Regex;

use super::{
    Finding,
    rust::{find, line_of, pattern},
};

/// A code span that begins with one of these is a path of this tree.
const ROOTS: [&str; 9] = ["crates/", "ebpf/", "testbed/", "xtask/", "docs/", "fuzz/", "examples/", ".ci/", ".cargo/"];

pub(super) fn check(root: &Path) -> io::Result<Vec<Finding>> {
    let entry = fs::read_to_string(root.join("x"))?;
    let verbs = entry_verbs(&entry);
    let mut findings = Vec::new();
    for file in find(root, "md")? {
        let text = fs::read_to_string(&file)?;
        let name = file.strip_prefix(root).unwrap_or(&file).to_string_lossy().into_owned();
        let folder = file.parent().unwrap_or(root);
        for (at, what) in broken(&text, root, folder, &verbs) {
            findings.push(Finding::new("markdown", format!("{name}:{}", line_of(&text, at)), what));
        }
    }
    Ok(findings)
}

/// The verbs in the entry script's own dispatch.
fn entry_verbs(entry: &str) -> BTreeSet<String> {
    static ARM: LazyLock<Regex> = LazyLock::new(|| pattern(r"(?m)^  ([a-z]+)(?: \| [^)]*)?\) "));
    let dispatch = entry.split("case $verb in").nth(1).unwrap_or("");
    ARM.captures_iter(dispatch).filter_map(|c| Some(c.get(1)?.as_str().to_owned())).collect()
}

fn broken(text: &str, root: &Path, folder: &Path, verbs: &BTreeSet<String>) -> Vec<(usize, String)> {
    static LINK: LazyLock<Regex> = LazyLock::new(|| pattern(r"\]\(([^)\s]+)\)"));
    static SPAN: LazyLock<Regex> = LazyLock::new(|| pattern(r"`([^`\n]+)`"));
    static VERB: LazyLock<Regex> = LazyLock::new(|| pattern(r"\./x ([a-z]+)"));
    static TARGET: LazyLock<Regex> = LazyLock::new(|| pattern(r"cargo [^`\n]*?(-p|--test) ([\w-]+)"));
    static XTASK: LazyLock<Regex> = LazyLock::new(|| pattern(r"cargo xtask ([a-z]+)"));
    let mut found = Vec::new();
    for (at, target) in captures(&LINK, text) {
        let target = target.split('#').next().unwrap_or("");
        let outside = target.is_empty() || target.contains("://") || target.starts_with("mailto:");
        if !outside && !folder.join(target).exists() {
            found.push((at, format!("links to {target}, which does not exist")));
        }
    }
    for (at, span) in captures(&SPAN, text) {
        if let Some(path) = span.split(' ').next().filter(|_| ROOTS.iter().any(|r| span.starts_with(r))) {
            found.extend(
                expand(path)
                    .into_iter()
                    .filter(|p| !root.join(p).exists())
                    .map(|p| (at, format!("names {p}, which does not exist"))),
            );
        }
    }
    for (at, verb) in captures(&VERB, text) {
        if !verbs.contains(verb) {
            found.push((at, format!("names ./x {verb}, which is no verb")));
        }
    }
    for (at, verb) in captures(&XTASK, text) {
        if !crate::VERBS.contains(&verb) {
            found.push((at, format!("names cargo xtask {verb}, which is no verb")));
        }
    }
    for hit in TARGET.captures_iter(text) {
        let (Some(kind), Some(name)) = (hit.get(1), hit.get(2)) else { continue };
        let exists = match kind.as_str() {
            "-p" => is_package(root, name.as_str()),
            _ => ["testbed/tests", "crates/policy/tests"]
                .iter()
                .map(|f| root.join(f).join(name.as_str()))
                .any(|f| f.is_dir() || f.with_extension("rs").exists()),
        };
        if !exists {
            found.push((name.start(), format!("names {} {}, which does not exist", kind.as_str(), name.as_str())));
        }
    }
    found
}

fn captures<'a>(regex: &Regex, text: &'a str) -> Vec<(usize, &'a str)> {
    regex.captures_iter(text).filter_map(|c| c.get(1)).map(|m| (m.start(), m.as_str())).collect()
}

fn is_package(root: &Path, name: &str) -> bool {
    let short = name.trim_start_matches("nexin-");
    let folders = [format!("crates/{name}"), format!("crates/{short}"), short.to_owned(), short.replace('-', "/")];
    folders.iter().any(|f| root.join(f).join("Cargo.toml").exists())
}

/// `a/{b,c}.rs:12` stands for `a/b.rs` and `a/c.rs`; placeholders and wild cards end a path.
fn expand(path: &str) -> Vec<String> {
    let path = path.split(':').next().unwrap_or(path).trim_end_matches(['.', ',', ';']);
    if let (Some(open), Some(close)) = (path.find('{'), path.find('}')) {
        let (head, tail) = (&path[..open], &path[close + 1..]);
        return path[open + 1..close].split(',').flat_map(|part| expand(&format!("{head}{part}{tail}"))).collect();
    }
    let fixed = path.split(['*', '<', '$']).next().unwrap_or(path);
    let fixed = if fixed.len() < path.len() { fixed.rsplit_once('/').map_or("", |(folder, _)| folder) } else { fixed };
    if fixed.is_empty() { Vec::new() } else { vec![fixed.trim_end_matches('/').to_owned()] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_expanded() {
        assert_eq!(expand("crates/{a,b}/src/x.rs:3"), ["crates/a/src/x.rs", "crates/b/src/x.rs"]);
        assert_eq!(expand("docs/design/*.md"), ["docs/design"]);
        assert_eq!(expand("crates/<name>/src"), ["crates"]);
    }

    #[test]
    fn what_does_not_exist_is_named() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let verbs = entry_verbs("case $verb in\n  test) a ;;\n  help | -h) b ;;\n");
        assert_eq!(verbs, BTreeSet::from(["test".to_owned(), "help".to_owned()]));
        let text = "[a](README-not.md) `crates/nothing/x.rs` ./x fly, cargo xtask fly, `cargo test -p nexin-nothing`\n\
                    [b](Cargo.toml) `crates/abi/src/lib.rs` ./x test, cargo xtask tidy, `cargo test -p nexin-abi`";
        let lines: Vec<_> = broken(text, &root, &root, &verbs).iter().map(|(at, _)| line_of(text, *at)).collect();
        assert_eq!(lines, [1, 1, 1, 1, 1]);
    }
}
