//! Reads Rust source just well enough to check it: blanks comments and strings, finds the spans that only tests
//! compile, and lists functions. It is not a parser and does not try to be one; it must never reject a file.

use std::{
    fs, io,
    ops::Range,
    path::{Path, PathBuf},
    sync::LazyLock,
};

use regex::Regex;

/// One source file in three views that agree line by line.
pub(crate) struct Source {
    /// Path from the workspace root, with forward slashes.
    pub(crate) path: String,
    pub(crate) text: String,
    /// `text` without comments and string contents.
    pub(crate) code: String,
    /// `code` without what only tests compile.
    pub(crate) production: String,
    /// The whole file belongs to tests.
    pub(crate) is_test: bool,
    test_lines: Vec<Range<usize>>,
}

/// A function with a body.
pub(crate) struct Function<'a> {
    pub(crate) name: &'a str,
    pub(crate) is_async: bool,
    /// Line of the signature, from 1.
    pub(crate) line: usize,
    pub(crate) body: &'a str,
}

pub(crate) fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("patterns are literals of this crate, run at every tidy")
}

static TEST_PATH: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"(^|/)(tests?|benches|fuzz|examples?)(/|\.rs$)|(^|/|_)tests?\.rs$"));
static TEST_ATTRIBUTE: LazyLock<Regex> = LazyLock::new(|| {
    pattern(r"#\[cfg\((?:test|(?:all|any)\([^\]]*\btest\b[^\]]*\))\)\]|#\[(?:\w+::)*test(?:\([^\]]*\))?\]")
});
static FUNCTION: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r#"(?m)^[ \t]*(?:pub(?:\([^)]*\))?\s+)?(?:const\s+)?(async\s+)?(?:unsafe\s+)?(?:extern\s+"[^"]*"\s+)?fn\s+(\w+)"#,
    )
});

impl Source {
    pub(crate) fn read(root: &Path, file: &Path) -> io::Result<Self> {
        let text = fs::read_to_string(file)?;
        let path = file.strip_prefix(root).unwrap_or(file).to_string_lossy().replace('\\', "/");
        Ok(Self::new(path, text))
    }

    pub(crate) fn new(path: String, text: String) -> Self {
        let code = blank(&text);
        let spans = test_spans(&code);
        let mut production = code.clone().into_bytes();
        for span in &spans {
            erase(&mut production[span.clone()]);
        }
        let test_lines = spans.iter().map(|s| line_of(&code, s.start)..line_of(&code, s.end) + 1).collect();
        let production = String::from_utf8_lossy(&production).into_owned();
        Self { is_test: TEST_PATH.is_match(&path), path, text, code, production, test_lines }
    }

    pub(crate) fn production_lines(&self) -> usize {
        if self.is_test { 0 } else { self.production.lines().filter(|l| !l.trim().is_empty()).count() }
    }

    pub(crate) fn is_test_line(&self, line: usize) -> bool {
        self.is_test || self.test_lines.iter().any(|r| r.contains(&line))
    }
}

/// Line of a byte offset, from 1.
pub(crate) fn line_of(code: &str, at: usize) -> usize {
    code.as_bytes()[..at].iter().filter(|b| **b == b'\n').count() + 1
}

/// Functions with bodies, in order.
pub(crate) fn functions(code: &str) -> Vec<Function<'_>> {
    let bytes = code.as_bytes();
    FUNCTION
        .captures_iter(code)
        .filter_map(|m| {
            let whole = m.get(0)?;
            let open = whole.end() + bytes[whole.end()..].iter().position(|b| matches!(b, b'{' | b';'))?;
            if bytes[open] == b';' {
                return None;
            }
            let name = m.get(2)?;
            let end = closing(bytes, open);
            Some(Function {
                name: name.as_str(),
                is_async: m.get(1).is_some(),
                line: line_of(code, name.start()),
                body: &code[open..end],
            })
        })
        .collect()
}

/// Every file with this extension below `root` that people wrote.
pub(crate) fn find(root: &Path, extension: &str) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if entry.file_type()?.is_dir() {
                if !name.starts_with("target") && !matches!(&*name, ".git" | "node_modules" | "corpus" | "artifacts") {
                    folders.push(entry.path());
                }
            } else if entry.path().extension().is_some_and(|e| e == extension) {
                found.push(entry.path());
            }
        }
    }
    found.sort();
    Ok(found)
}

// === blanking ===

fn erase(bytes: &mut [u8]) {
    bytes.iter_mut().filter(|b| **b != b'\n').for_each(|b| *b = b' ');
}

/// Replaces comments, string contents and character literals by spaces.
fn blank(text: &str) -> String {
    let source = text.as_bytes();
    let mut out = source.to_vec();
    let mut at = 0;
    while at < source.len() {
        let rest = &source[at..];
        let end = match rest[0] {
            b'/' if rest.starts_with(b"//") => at + rest.iter().position(|b| *b == b'\n').unwrap_or(rest.len()),
            b'/' if rest.starts_with(b"/*") => at + block_comment(rest),
            b'"' | b'r' | b'b' => match string(source, at) {
                Some((open, close, end)) => {
                    erase(&mut out[open..close]);
                    at = end;
                    continue;
                }
                None => {
                    at += 1;
                    continue;
                }
            },
            b'\'' if character(text, at) > 0 => at + character(text, at),
            _ => {
                at += 1;
                continue;
            }
        };
        erase(&mut out[at..end]);
        at = end.max(at + 1);
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn block_comment(rest: &[u8]) -> usize {
    let (mut depth, mut at) = (1, 2);
    while at < rest.len() && depth > 0 {
        match &rest[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
    }
    at
}

/// Contents' start and end, and where the literal ends; `None` when this is no string.
fn string(source: &[u8], at: usize) -> Option<(usize, usize, usize)> {
    if at > 0 && source[at] != b'"' && (source[at - 1].is_ascii_alphanumeric() || source[at - 1] == b'_') {
        return None;
    }
    let mut open = at;
    while matches!(source.get(open), Some(b'b' | b'r')) && open < at + 2 {
        open += 1;
    }
    let raw = source[at..open].contains(&b'r');
    let hashes = source[open..].iter().take_while(|b| raw && **b == b'#').count();
    open += hashes;
    if source.get(open) != Some(&b'"') {
        return None;
    }
    let start = open + 1;
    let mut close = start;
    while close < source.len() {
        match source[close] {
            b'\\' if !raw => close += 1,
            b'"' if source[close + 1..].iter().take(hashes).filter(|b| **b == b'#').count() == hashes => break,
            _ => {}
        }
        close += 1;
    }
    let close = close.min(source.len());
    Some((start, close, (close + 1 + hashes).min(source.len())))
}

/// Length of a character literal at `at`, 0 for a lifetime's tick.
fn character(text: &str, at: usize) -> usize {
    static LITERAL: LazyLock<Regex> = LazyLock::new(|| pattern(r"^'(\\[^\n']?[^'\n]*|[^\\'\n])'"));
    LITERAL.find(&text[at..]).map_or(0, |m| m.len())
}

/// Where the brace opened at `open` closes (one past it).
fn closing(bytes: &[u8], open: usize) -> usize {
    let mut depth = 0usize;
    for (i, b) in bytes.iter().enumerate().skip(open) {
        match b {
            b'{' => depth += 1,
            b'}' => depth = depth.saturating_sub(1),
            _ => continue,
        }
        if depth == 0 {
            return i + 1;
        }
    }
    bytes.len()
}

/// Spans of items under a test attribute.
fn test_spans(code: &str) -> Vec<Range<usize>> {
    let bytes = code.as_bytes();
    let mut spans = Vec::new();
    let mut from = 0;
    while let Some(found) = TEST_ATTRIBUTE.find_at(code, from) {
        let mut depth = 0i32;
        let mut end = bytes.len();
        for (i, b) in bytes.iter().enumerate().skip(found.end()) {
            match b {
                b'(' | b'[' => depth += 1,
                b')' | b']' => depth -= 1,
                b';' | b',' if depth == 0 => end = i + 1,
                b'{' if depth == 0 => end = closing(bytes, i),
                b'}' if depth == 0 => end = i,
                _ => continue,
            }
            if end != bytes.len() {
                break;
            }
        }
        spans.push(found.start()..end);
        from = end.max(found.end());
    }
    spans
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_and_comments_vanish_and_lines_stay() {
        let source = "let a = \"x.unwrap()\"; // unwrap()\nlet b = r#\"\"unwrap()\"#; /* unwrap\n */ let c = '\"'; d\n";
        let code = blank(source);
        assert!(!code.contains("unwrap"), "{code}");
        assert_eq!(code.lines().count(), source.lines().count());
        assert!(code.contains("let c") && code.contains("; d"), "{code}");
    }

    #[test]
    fn test_modules_are_not_production() {
        let text = "fn a() {}\n#[cfg(test)]\nmod tests {\n    fn b() {}\n}\nfn c() {}\n";
        let source = Source::new("crates/x/src/lib.rs".into(), text.into());
        let names: Vec<_> = functions(&source.production).iter().map(|f| f.name).collect();
        assert_eq!(names, ["a", "c"]);
        assert!(source.is_test_line(4) && !source.is_test_line(6));
        assert_eq!(source.production_lines(), 2);
    }

    #[test]
    fn lifetimes_are_no_characters() {
        assert_eq!(blank("fn f<'a>(x: &'a str) { '}' }"), "fn f<'a>(x: &'a str) {     }");
    }
}
