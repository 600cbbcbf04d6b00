//! Regular expressions of Go on Rust's engine: the same syntax errors, and classes such as `\w` and `\b` that know ASCII only.
//! Both engines take time linear in the text.

use regex::bytes::{Regex, RegexBuilder};
use thiserror::Error;

/// Why an expression is none, in Go's words.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("error parsing regexp: {what}: `{part}`")]
pub struct RegexpError {
    what: &'static str,
    part: String,
}

/// An expression over texts.
#[derive(Clone, Debug)]
pub(super) struct Regexp(Regex);

impl Regexp {
    pub(super) fn build(text: &str) -> Result<Self, RegexpError> {
        let translated = translate(text)?;
        // Bytes, since only there a boundary of ASCII words may be asked for; texts are UTF-8 all the same.
        RegexBuilder::new(&translated)
            .size_limit(1 << 22)
            .build()
            .map(Self)
            .map_err(|_| error("expression too large", text))
    }

    pub(super) fn is_match(&self, text: &str) -> bool {
        self.0.is_match(text.as_bytes())
    }
}

fn error(what: &'static str, part: &str) -> RegexpError {
    RegexpError { what, part: part.to_owned() }
}

/// What stands before the other in a text, given as the rest of it.
fn between<'a>(from: &'a str, to: &str) -> &'a str {
    &from[..from.len() - to.len()]
}

/// The expression in Rust's syntax.
fn translate(text: &str) -> Result<String, RegexpError> {
    let mut out = String::new();
    let mut rest = text;
    // Whether something stands before that can be repeated, for each open group.
    let mut open: Vec<bool> = Vec::new();
    let mut atom = false;
    let mut repeated: Option<&str> = None;
    while let Some(first) = rest.chars().next() {
        let before = rest;
        let mut now_repeated = None;
        match first {
            '(' if rest.starts_with("(?") => {
                let (group, after) = flags(rest)?;
                out.push_str(&group);
                if !group.ends_with(')') {
                    open.push(true);
                    atom = false;
                }
                rest = after;
            }
            '(' => {
                out.push('(');
                open.push(true);
                atom = false;
                rest = &rest[1..];
            }
            ')' => {
                open.pop().ok_or_else(|| error("unexpected )", text))?;
                out.push(')');
                atom = true;
                rest = &rest[1..];
            }
            '|' => {
                out.push('|');
                atom = false;
                rest = &rest[1..];
            }
            '*' | '+' | '?' | '{' => match repetition(rest)? {
                None => {
                    out.push_str("\\{");
                    atom = true;
                    rest = &rest[1..];
                }
                Some((operator, after)) => {
                    if let Some(earlier) = repeated {
                        return Err(error("invalid nested repetition operator", between(earlier, after)));
                    }
                    if !atom {
                        return Err(error("missing argument to repetition operator", between(before, after)));
                    }
                    out.push_str(operator);
                    now_repeated = Some(before);
                    rest = after;
                }
            },
            '[' => {
                rest = class(rest, &mut out)?;
                atom = true;
            }
            '\\' => {
                rest = escaped(rest, &mut out)?;
                atom = true;
            }
            '^' | '$' | '.' => {
                out.push(first);
                atom = true;
                rest = &rest[1..];
            }
            literal => {
                out.push_str(&regex::escape(literal.encode_utf8(&mut [0; 4])));
                atom = true;
                rest = &rest[literal.len_utf8()..];
            }
        }
        repeated = now_repeated;
    }
    if open.is_empty() { Ok(out) } else { Err(error("missing closing )", text)) }
}

/// What a group begins with, and what follows.
fn flags(text: &str) -> Result<(String, &str), RegexpError> {
    let named = text.strip_prefix("(?P<").or_else(|| text.strip_prefix("(?<"));
    if let Some(after) = named {
        let (name, after) = after.split_once('>').ok_or_else(|| error("invalid named capture", text))?;
        if name.is_empty() || !name.bytes().all(|byte| byte == b'_' || byte.is_ascii_alphanumeric()) {
            return Err(error("invalid named capture", between(text, after)));
        }
        // Names are of no use in a filter, and Go lets them begin with a digit.
        return Ok(("(".to_owned(), after));
    }
    let mut rest = &text[2..];
    let mut negative = false;
    let mut any = false;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        match c {
            'i' | 'm' | 's' | 'U' => any = true,
            '-' if !negative => {
                negative = true;
                any = false;
            }
            ':' | ')' if any || !negative => {
                // Rust refuses a flag given twice, and a group that changes nothing and opens nothing.
                let mut group = String::new();
                for flag in between(text, rest).chars() {
                    if !group.contains(flag) {
                        group.push(flag);
                    }
                }
                return Ok((if group == "(?)" { String::from("(?:)") } else { group }, rest));
            }
            _ => break,
        }
    }
    Err(error("invalid or unsupported Perl syntax", between(text, rest)))
}

/// A repetition operator and what follows; none where a brace is only a brace.
fn repetition(text: &str) -> Result<Option<(&str, &str)>, RegexpError> {
    let mut after = &text[1..];
    if text.starts_with('{') {
        let Some((counts, rest)) = after.split_once('}') else { return Ok(None) };
        let (least, most) = counts
            .split_once(',')
            .map_or((counts, Some(counts)), |(least, most)| (least, Some(most).filter(|most| !most.is_empty())));
        let count = |text: &str| {
            let number = !text.is_empty()
                && text.bytes().all(|byte| byte.is_ascii_digit())
                && (text.len() == 1 || !text.starts_with('0'));
            number.then(|| if text.len() > 4 { u32::MAX } else { text.parse().unwrap_or(u32::MAX) })
        };
        let (Some(least), Some(most)) = (count(least), most.map_or(Some(None), |most| count(most).map(Some))) else {
            return Ok(None);
        };
        if least > 1000 || most.is_some_and(|most| most > 1000 || least > most) {
            return Err(error("invalid repeat count", between(text, rest)));
        }
        after = rest;
    }
    after = after.strip_prefix('?').unwrap_or(after);
    Ok(Some((between(text, after), after)))
}

/// Writes an escape outside of classes; what follows it.
fn escaped<'a>(text: &'a str, out: &mut String) -> Result<&'a str, RegexpError> {
    let after = text.get(2..);
    match (text[1..].chars().next(), after) {
        (Some('A'), Some(after)) => {
            out.push_str("\\A");
            return Ok(after);
        }
        (Some('z'), Some(after)) => {
            out.push_str("\\z");
            return Ok(after);
        }
        (Some('b'), Some(after)) => {
            out.push_str("(?-u:\\b)");
            return Ok(after);
        }
        (Some('B'), Some(after)) => {
            out.push_str("(?-u:\\B)");
            return Ok(after);
        }
        (Some('C'), Some(_)) => return Err(error("invalid escape sequence", "\\C")),
        (Some('Q'), Some(after)) => {
            let (literal, after) = after.split_once("\\E").unwrap_or((after, ""));
            out.push_str(&regex::escape(literal));
            return Ok(after);
        }
        _ => {}
    }
    if let Some(after) = set(text, out, true)? {
        return Ok(after);
    }
    let (c, after) = character(text)?;
    out.push_str(&regex::escape(c.encode_utf8(&mut [0; 4])));
    Ok(after)
}

/// Writes `\d`, `\pL` and the like; what follows it.
fn set<'a>(text: &'a str, out: &mut String, alone: bool) -> Result<Option<&'a str>, RegexpError> {
    let Some(kind) = text.strip_prefix('\\').and_then(|rest| rest.chars().next()) else { return Ok(None) };
    let items = match kind.to_ascii_lowercase() {
        'd' => "0-9",
        's' => "\\t\\n\\f\\r ",
        'w' => "0-9A-Za-z_",
        'p' => {
            let after = &text[2..];
            let end = match after.chars().next() {
                Some('{') => after.find('}').map(|at| at + 1),
                Some(c) => Some(c.len_utf8()),
                None => None,
            };
            let end = end.ok_or_else(|| error("invalid character class range", text))?;
            let name = after[..end].trim_start_matches('{').trim_end_matches('}');
            let (name, inverted) = name.strip_prefix('^').map_or((name, false), |name| (name, true));
            let p = if (kind == 'P') != inverted { 'P' } else { 'p' };
            let written = format!("\\{p}{{{name}}}");
            let known = name != "Any" && Regex::new(&written).is_ok();
            match (known, name) {
                (true, _) => out.push_str(&written),
                (false, "Any") => out.push_str(if p == 'p' { "[\\x{0}-\\x{10FFFF}]" } else { "[^\\x{0}-\\x{10FFFF}]" }),
                (false, _) => return Err(error("invalid character class range", &text[..2 + end])),
            }
            return Ok(Some(&after[end..]));
        }
        _ => return Ok(None),
    };
    match (kind.is_ascii_uppercase(), alone) {
        (true, _) => out.extend(["[^", items, "]"]),
        (false, true) => out.extend(["[", items, "]"]),
        (false, false) => out.push_str(items),
    }
    Ok(Some(&text[2..]))
}

/// Writes a class in brackets; what follows it.
fn class<'a>(text: &'a str, out: &mut String) -> Result<&'a str, RegexpError> {
    const NAMED: [&str; 14] = [
        "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space", "upper",
        "word", "xdigit",
    ];
    let mut rest = &text[1..];
    out.push('[');
    if let Some(after) = rest.strip_prefix('^') {
        out.push('^');
        rest = after;
    }
    let mut first = true;
    while first || !rest.starts_with(']') {
        first = false;
        if let Some((name, after)) = rest.strip_prefix("[:").and_then(|inside| inside.split_once(":]")) {
            if !NAMED.contains(&name.trim_start_matches('^')) {
                return Err(error("invalid character class range", between(rest, after)));
            }
            out.push_str(between(rest, after));
            rest = after;
            continue;
        }
        if let Some(after) = set(rest, out, false)? {
            rest = after;
            continue;
        }
        let range = rest;
        let (low, after) = class_character(rest, text)?;
        rest = after;
        let mut high = low;
        if let Some(after) = rest.strip_prefix('-').filter(|after| !after.is_empty() && !after.starts_with(']')) {
            (high, rest) = class_character(after, text)?;
            if high < low {
                return Err(error("invalid character class range", between(range, rest)));
            }
        }
        out.push_str(&format!("\\x{{{:x}}}-\\x{{{:x}}}", u32::from(low), u32::from(high)));
    }
    out.push(']');
    Ok(&rest[1..])
}

fn class_character<'a>(text: &'a str, class: &str) -> Result<(char, &'a str), RegexpError> {
    match text.chars().next() {
        None => Err(error("missing closing ]", class)),
        Some('\\') => character(text),
        Some(c) => Ok((c, &text[c.len_utf8()..])),
    }
}

/// The character that an escape stands for.
fn character(text: &str) -> Result<(char, &str), RegexpError> {
    let Some(c) = text[1..].chars().next() else {
        return Err(error("trailing backslash at end of expression", ""));
    };
    let after = &text[1 + c.len_utf8()..];
    let invalid = |after: &str| error("invalid escape sequence", between(text, after));
    let plain = match c {
        'a' => '\u{7}',
        'f' => '\u{c}',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'v' => '\u{b}',
        '1'..='7' if !after.starts_with(|next| ('0'..='7').contains(&next)) => return Err(invalid(after)),
        '0'..='7' => {
            let digits = after.bytes().take(2).take_while(|digit| (b'0'..=b'7').contains(digit)).count();
            let value = u32::from_str_radix(&text[1..2 + digits], 8).unwrap_or_default();
            return Ok((char::from_u32(value).unwrap_or_default(), &after[digits..]));
        }
        'x' => return hexadecimal(text, after),
        _ if c.is_ascii() && !c.is_ascii_alphanumeric() => c,
        _ => return Err(invalid(after)),
    };
    Ok((plain, after))
}

fn hexadecimal<'a>(text: &'a str, after: &'a str) -> Result<(char, &'a str), RegexpError> {
    let invalid = |rest: &str| error("invalid escape sequence", between(text, rest));
    if let Some(braced) = after.strip_prefix('{') {
        let mut value = 0;
        let fits = |digit: &u8| {
            let before = value;
            value = value << 4 | char::from(*digit).to_digit(16).unwrap_or_default();
            digit.is_ascii_hexdigit() && before << 4 <= 0x10_ffff && value <= 0x10_ffff
        };
        let digits = braced.bytes().take_while(fits).count();
        let rest = &braced[digits..];
        let next = rest.chars().next().map_or("", |c| &rest[c.len_utf8()..]);
        let value = u32::from_str_radix(&braced[..digits], 16).ok().and_then(char::from_u32);
        return match (rest.strip_prefix('}'), value) {
            (Some(rest), Some(c)) => Ok((c, rest)),
            _ => Err(invalid(next)),
        };
    }
    let digits = after.get(..2).filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
    match digits.and_then(|digits| u32::from_str_radix(digits, 16).ok()).and_then(char::from_u32) {
        Some(c) => Ok((c, &after[2..])),
        None => {
            let read = after.chars().take(2).map(char::len_utf8).sum::<usize>();
            Err(invalid(&after[read..]))
        }
    }
}
