//! Smells of production code, with the thresholds of the style guide.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::LazyLock,
};

use regex::Regex;

use super::{
    Finding,
    rust::{Source, functions, line_of, pattern},
};

/// Production lines a file should stay under.
pub(super) const FILE_SOFT: usize = 400;
const FILE_HARD: usize = 600;
const FUNCTION_LINES: usize = 90;
const ERROR_VARIANTS: usize = 12;
/// Lines that two files may not share.
const DUPLICATE_LINES: usize = 8;

/// Crates whose code runs for each packet: nothing there may panic.
const PACKET_PATH: [&str; 3] = ["ebpf/", "crates/verdict/", "crates/packet/"];
/// The doors to the kernel.
const UNSAFE_ALLOWED: [&str; 3] = ["crates/bpf/", "crates/netlink/", "ebpf/"];
/// Settings are read in one crate; the house's own chores and the tests' switches are not settings.
const ENVIRONMENT_ALLOWED: [&str; 3] = ["crates/runtime/", "xtask/", "testbed/src/switches.rs"];
/// Layers below L3, where nothing waits. (`runtime` is L1 and owns the waiting.)
const NEVER_ASYNC: [&str; 7] = [
    "crates/abi/",
    "crates/packet/",
    "crates/verdict/",
    "crates/model/",
    "crates/reconcile/",
    "crates/policy/",
    "crates/ipam/",
];

pub(super) fn check(sources: &[Source]) -> Vec<Finding> {
    let production: Vec<&Source> = sources.iter().filter(|s| !s.is_test).collect();
    let mut findings = Vec::new();
    for source in &production {
        sizes(source, &mut findings);
        places(source, &mut findings);
        error_enums(source, &mut findings);
        module_doc(source, &mut findings);
    }
    panics(&production, &mut findings);
    narration(&production, &mut findings);
    single_traits(sources, &mut findings);
    duplicates(&production, &mut findings);
    twin_parsers(&production, &mut findings);
    findings
}

fn starts_with_any(path: &str, prefixes: &[&str]) -> bool {
    prefixes.iter().any(|p| path.starts_with(p))
}

/// Whether the function at a line implements a trait's, where `async` is the trait's word.
fn is_a_traits(production: &str, line: usize) -> bool {
    let opening = |l: &&str| l.trim_start().starts_with("impl") || l.starts_with('}');
    let block = production.lines().take(line).filter(opening).last();
    block.is_some_and(|l| l.trim_start().starts_with("impl") && l.contains(" for "))
}

fn sizes(source: &Source, findings: &mut Vec<Finding>) {
    let lines = source.production_lines();
    if lines > FILE_HARD {
        findings.push(Finding::new("file size", &source.path, format!("{lines} production lines, over {FILE_HARD}")));
    }
    for function in functions(&source.production) {
        let lines = function.body.lines().count();
        let place = format!("{}:{}", source.path, function.line);
        if lines > FUNCTION_LINES {
            findings.push(Finding::new(
                "function size",
                &place,
                format!("{} has {lines} lines, over {FUNCTION_LINES}", function.name),
            ));
        }
        if function.is_async && starts_with_any(&source.path, &NEVER_ASYNC) {
            findings.push(Finding::new("async", &place, format!("{} waits below L3", function.name)));
        } else if function.is_async
            && function.body.len() > 6
            && !is_a_traits(&source.production, function.line)
            && !["await", "select!", "join!", "poll_fn", "async"].iter().any(|w| function.body.contains(w))
        {
            findings.push(Finding::new("async", &place, format!("{} never awaits", function.name)));
        }
    }
}

/// Rules of the form "this text may not stand here".
fn places(source: &Source, findings: &mut Vec<Finding>) {
    static ENUM_FIELD: LazyLock<Regex> = LazyLock::new(|| {
        pattern(
            r"\n\s*(?:pub(?:\([^)]*\))?\s+)?((?:\w+_)?(?:mode|type|kind|state|status|policy|protocol|proto|direction|action|verdict|family|level|strategy|algorithm|phase|role|scope))\s*:\s*(?:Option<)?(?:String|&'static str|Arc<str>)>?\s*,",
        )
    });
    static ENVIRONMENT: LazyLock<Regex> = LazyLock::new(|| pattern(r"\benv::(?:var|var_os|vars)\b"));
    static SPAWN: LazyLock<Regex> = LazyLock::new(|| pattern(r"\btokio::(?:task::)?spawn\s*\("));
    static UNSAFE: LazyLock<Regex> = LazyLock::new(|| pattern(r"\bunsafe\b"));
    static FEATURE: LazyLock<Regex> = LazyLock::new(|| pattern(r"cfg(?:_attr)?!?\([^\n]*feature\s*="));
    static STRING_ERROR: LazyLock<Regex> =
        LazyLock::new(|| pattern(r"Result<[^<>\n]*(?:<[^<>\n]*>)?[^<>\n]*,\s*(?:String|&'static str)\s*>"));
    let path = source.path.as_str();
    let mut each = |rule, regex: &Regex, what: &str, allowed: bool| {
        if !allowed {
            for hit in regex.find_iter(&source.production) {
                let start = hit.start() + hit.as_str().len() - hit.as_str().trim_start().len();
                findings.push(Finding::new(rule, format!("{path}:{}", line_of(&source.production, start)), what));
            }
        }
    };
    each("strings", &ENUM_FIELD, "a field of this name wants an enum", false);
    let build_script = path.ends_with("/build.rs") || path.contains("/build/");
    let environment = build_script || starts_with_any(path, &ENVIRONMENT_ALLOWED);
    each("environment", &ENVIRONMENT, "settings are read by nexin-runtime only", environment);
    each(
        "spawn",
        &SPAWN,
        "tasks are spawned by nexin-runtime, which names and joins them",
        path.starts_with("crates/runtime/"),
    );
    each("unsafe", &UNSAFE, "unsafe lives in bpf, netlink and ebpf only", starts_with_any(path, &UNSAFE_ALLOWED));
    each("features", &FEATURE, "no cargo features", path.starts_with("testbed/"));
    each("errors", &STRING_ERROR, "an error is a type, not a text", false);
}

fn error_enums(source: &Source, findings: &mut Vec<Finding>) {
    static HEAD: LazyLock<Regex> = LazyLock::new(|| pattern(r"enum\s+(\w*Error)\b[^{]*\{"));
    static VARIANT: LazyLock<Regex> = LazyLock::new(|| pattern(r"(?m)^    ([A-Z]\w*)\s*(?:[,({=]|$)"));
    static CATCH_ALL: LazyLock<Regex> =
        LazyLock::new(|| pattern(r"^(?:Other|Generic|General|Unknown|Anyhow|Internal|Custom|Misc)"));
    for head in HEAD.captures_iter(&source.production) {
        let (Some(whole), Some(name)) = (head.get(0), head.get(1)) else { continue };
        let body = &source.production[whole.end()..];
        let body = &body[..body.find("\n}").unwrap_or(body.len())];
        let variants: Vec<&str> = VARIANT.captures_iter(body).filter_map(|c| Some(c.get(1)?.as_str())).collect();
        let place = format!("{}:{}", source.path, line_of(&source.production, whole.start()));
        if variants.len() > ERROR_VARIANTS {
            let what = format!("{} has {} variants, over {ERROR_VARIANTS}", name.as_str(), variants.len());
            findings.push(Finding::new("errors", &place, what));
        }
        if let Some(vague) = variants.iter().find(|v| CATCH_ALL.is_match(v)) {
            findings.push(Finding::new("errors", &place, format!("{}::{vague} catches everything", name.as_str())));
        }
    }
}

fn module_doc(source: &Source, findings: &mut Vec<Finding>) {
    if !source.text.lines().any(|l| l.starts_with("//!")) {
        findings.push(Finding::new(
            "module docs",
            &source.path,
            "no `//!`: what is it for, what does it refuse to do?",
        ));
    }
}

fn panics(sources: &[&Source], findings: &mut Vec<Finding>) {
    static UNWRAP: LazyLock<Regex> =
        LazyLock::new(|| pattern(r"\.unwrap\(\)|\b(?:panic|todo|unimplemented|unreachable)!"));
    static EXPECT: LazyLock<Regex> = LazyLock::new(|| pattern(r"\.expect\("));
    let mut expects = Vec::new();
    for source in sources {
        let place = |at| format!("{}:{}", source.path, line_of(&source.production, at));
        for hit in UNWRAP.find_iter(&source.production) {
            findings.push(Finding::new("panics", place(hit.start()), format!("{} in production", hit.as_str())));
        }
        for hit in EXPECT.find_iter(&source.production) {
            if starts_with_any(&source.path, &PACKET_PATH) {
                findings.push(Finding::new("panics", place(hit.start()), "expect() on the packet path"));
            }
            expects.push(place(hit.start()));
        }
    }
    let lines: usize = sources.iter().map(|s| s.production_lines()).sum();
    let allowed = lines.div_ceil(1000);
    if expects.len() > allowed {
        let what = format!("{} expect() in {lines} lines, {allowed} allowed: {}", expects.len(), expects.join(" "));
        findings.push(Finding::new("panics", "everywhere", what));
    }
}

/// Comments of one line that say what the next line says.
fn narration(sources: &[&Source], findings: &mut Vec<Finding>) {
    let mut hits = Vec::new();
    for source in sources {
        let lines: Vec<&str> = source.text.lines().collect();
        let comment = |i: usize| lines.get(i).is_some_and(|l| l.trim_start().starts_with("//"));
        for (i, line) in lines.iter().enumerate() {
            let Some(text) = line.trim().strip_prefix("//") else { continue };
            if text.starts_with(['/', '!']) || text.contains("===") || (i > 0 && comment(i - 1)) || comment(i + 1) {
                continue;
            }
            let (said, done) = (words(text), words(lines.get(i + 1).unwrap_or(&"")));
            let shared = said.intersection(&done).count();
            if !source.is_test_line(i + 1) && (2..=9).contains(&said.len()) && shared * 10 >= said.len() * 6 {
                hits.push(Finding::new("narration", format!("{}:{}", source.path, i + 1), text.trim().to_owned()));
            }
        }
    }
    let lines: usize = sources.iter().map(|s| s.production_lines()).sum();
    if hits.len() * 10_000 > lines * 3 {
        findings.extend(hits);
    }
}

/// Content words of a comment or of code, lower case, plural endings gone.
fn words(text: &str) -> BTreeSet<String> {
    const STOP: &str = " the a an of to for is are it its this that in on and or we if not be as with from by then into now our here up at new let get set all first next will so ";
    let mut spaced = String::new();
    let mut lower = false;
    for c in text.chars() {
        if c.is_uppercase() && lower {
            spaced.push(' ');
        }
        lower = c.is_lowercase();
        spaced.extend(c.to_lowercase());
    }
    spaced
        .split(|c: char| !c.is_alphanumeric())
        .filter(|w| w.len() > 1 && !STOP.contains(&format!(" {w} ")) && !w.chars().all(|c| c.is_ascii_digit()))
        .map(|w| w.trim_end_matches('s').to_owned())
        .collect()
}

fn single_traits(sources: &[Source], findings: &mut Vec<Finding>) {
    static TRAIT: LazyLock<Regex> = LazyLock::new(|| pattern(r"\btrait\s+(\w+)"));
    static IMPL: LazyLock<Regex> = LazyLock::new(|| {
        pattern(r"\bimpl\b(?:\s*<[^{;]*?>)?\s+(?:\$crate::)?(?:[\w:]+::)?(\w+)(?:<[^{;]*?>)?\s+for\s+(\$?)")
    });
    let mut implementations: BTreeMap<&str, usize> = BTreeMap::new();
    for hit in sources.iter().flat_map(|s| IMPL.captures_iter(&s.code)) {
        let name = hit.get(1).map_or("", |m| m.as_str());
        // An implementation inside a macro stands for as many types as the macro is called with.
        let weight = if hit.get(2).is_some_and(|m| !m.is_empty()) { 2 } else { 1 };
        *implementations.entry(name).or_default() += weight;
    }
    for source in sources.iter().filter(|s| !s.is_test) {
        for hit in TRAIT.captures_iter(&source.production) {
            let Some(name) = hit.get(1) else { continue };
            if implementations.get(name.as_str()) == Some(&1) {
                let place = format!("{}:{}", source.path, line_of(&source.production, name.start()));
                findings.push(Finding::new("traits", place, format!("{} has one implementation", name.as_str())));
            }
        }
    }
}

fn duplicates(sources: &[&Source], findings: &mut Vec<Finding>) {
    let mut windows: HashMap<String, BTreeMap<&str, usize>> = HashMap::new();
    for source in sources {
        let lines: Vec<(usize, String)> = source
            .production
            .lines()
            .enumerate()
            .filter(|(_, l)| l.trim().len() > 3)
            .map(|(i, l)| (i + 1, l.split_whitespace().collect::<Vec<_>>().join(" ")))
            .collect();
        for window in lines.windows(DUPLICATE_LINES) {
            let long = window.iter().filter(|(_, l)| l.len() > 12).count();
            let plumbing = ["use ", "pub use", "#[", "mod ", "pub mod"];
            let plumbed = window.iter().filter(|(_, l)| plumbing.iter().any(|p| l.starts_with(p))).count();
            if long >= 6 && plumbed <= 2 {
                let block = window.iter().map(|(_, l)| l.as_str()).collect::<Vec<_>>().join("\n");
                windows.entry(block).or_default().entry(&source.path).or_insert(window[0].0);
            }
        }
    }
    let mut pairs: BTreeMap<Vec<&str>, usize> = BTreeMap::new();
    for files in windows.values().filter(|files| files.len() > 1) {
        let first = files.values().min().copied().unwrap_or_default();
        pairs.entry(files.keys().copied().collect()).and_modify(|l| *l = first.min(*l)).or_insert(first);
    }
    for (files, line) in pairs {
        let what = format!("shares {DUPLICATE_LINES} lines with {}", files[1..].join(", "));
        findings.push(Finding::new("duplicates", format!("{}:{line}", files[0]), what));
    }
}

fn twin_parsers(sources: &[&Source], findings: &mut Vec<Finding>) {
    let mut parsers: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for source in sources {
        for function in functions(&source.production) {
            if function.name.starts_with("parse_") || function.name.starts_with("decode_") {
                parsers.entry(function.name.to_owned()).or_default().insert(&source.path);
            }
        }
    }
    for (name, files) in parsers.into_iter().filter(|(_, files)| files.len() > 1) {
        let files: Vec<_> = files.into_iter().collect();
        findings.push(Finding::new("twin parsers", files[0], format!("{name} is also in {}", files[1..].join(", "))));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(path: &str, text: &str) -> Vec<&'static str> {
        check(&[Source::new(path.into(), format!("//! Doc.\n\n{text}\n"))]).iter().map(|f| f.rule).collect()
    }

    #[test]
    fn each_smell_is_found_where_it_stands() {
        let bad = [
            ("unsafe { x() }", "unsafe"),
            ("fn f() { x.unwrap(); }", "panics"),
            ("fn f() { let p = std::env::var(a); }", "environment"),
            ("fn f() { tokio::spawn(x); }", "spawn"),
            ("struct A {\n    pub kind: String,\n}", "strings"),
            ("fn f() -> Result<u8, String> { x }", "errors"),
            ("pub enum FooError {\n    A,\n    Other(u8),\n}", "errors"),
            ("async fn f() { let nothing = 1; }", "async"),
            ("trait T {}\nimpl T for A {}", "traits"),
            ("// open the file\nopen(file);", "narration"),
        ];
        for (text, rule) in bad {
            assert_eq!(rules("crates/agent/src/x.rs", text), [rule], "{text}");
        }
    }

    #[test]
    fn the_doors_may() {
        assert_eq!(rules("crates/bpf/src/x.rs", "unsafe { x() }"), [""; 0]);
        assert_eq!(rules("crates/runtime/src/x.rs", "fn f() { tokio::spawn(x); std::env::var(y); }"), [""; 0]);
        assert_eq!(rules("crates/agent/src/x.rs", "trait T {}\nimpl T for A {}\nimpl T for B {}"), [""; 0]);
        let waits = "async fn f() { let nothing = 1; }";
        let (theirs, ours) =
            (format!("impl Observe for A {{\n    {waits}\n}}"), format!("impl Observe for A {{\n}}\n{waits}"));
        assert_eq!(rules("crates/agent/src/x.rs", &theirs), [""; 0]);
        assert_eq!(rules("crates/agent/src/x.rs", &ours), ["async"]);
    }

    #[test]
    fn sizes_are_limits() {
        let long = format!("fn f() {{\n{}}}", "    a();\n".repeat(90));
        assert_eq!(rules("crates/agent/src/x.rs", &long), ["function size"]);
        let short = format!("fn f() {{\n{}}}", "    a();\n".repeat(80));
        assert_eq!(rules("crates/agent/src/x.rs", &short), [""; 0]);
    }

    #[test]
    fn the_same_block_in_two_files_is_found_once() {
        let block: String = (0..9).map(|i| format!("    let value{i} = compute({i});\n")).collect();
        let file = |path: &str| Source::new(path.into(), format!("//! Doc.\nfn f() {{\n{block}}}\n"));
        let found = check(&[file("crates/a/src/a.rs"), file("crates/b/src/b.rs")]);
        assert_eq!(found.iter().map(|f| f.rule).collect::<Vec<_>>(), ["duplicates"]);
    }
}
