//! Words as Go programs write them: quoting, numbers, durations, paths. The command's users know these texts from the
//! official command, and scripts match on them. Refuses nothing and knows no flag.

use std::borrow::Cow;

use nexin_hubble::gotext::quote_bytes;
pub(crate) use nexin_hubble::gotext::{is_print, quote, quote_char};

/// Why a number was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NumberError {
    #[error("invalid syntax")]
    Syntax,
    #[error("value out of range")]
    Range,
}

/// `strconv.ParseUint`: base 0 means that prefixes (`0x`, `0b`, `0o`, `0`) and underscores are understood.
pub(crate) fn parse_uint(text: &str, base: u32, bits: u32) -> Result<u64, NumberError> {
    let digits_of = |rest: &str, base| parse_digits(rest, base, bits);
    if base != 0 {
        return digits_of(text, base);
    }
    let lower = text.to_ascii_lowercase();
    let (rest, base) = match lower.as_bytes() {
        [b'0', b'x', _, ..] => (&lower[2..], 16),
        [b'0', b'b', _, ..] => (&lower[2..], 2),
        [b'0', b'o', _, ..] => (&lower[2..], 8),
        [b'0', _, ..] => (&lower[1..], 8),
        _ => (lower.as_str(), 10),
    };
    if !rest.contains('_') {
        return digits_of(rest, base);
    }
    if rest.ends_with('_') || rest.contains("__") || (base == 10 && rest.starts_with('_')) {
        return Err(NumberError::Syntax);
    }
    digits_of(&rest.replace('_', ""), base)
}

fn parse_digits(text: &str, base: u32, bits: u32) -> Result<u64, NumberError> {
    if text.is_empty() {
        return Err(NumberError::Syntax);
    }
    let max = if bits == 64 { u64::MAX } else { (1 << bits) - 1 };
    let mut number = 0u64;
    let mut over = false;
    for c in text.chars() {
        let digit = c.to_digit(base).ok_or(NumberError::Syntax)?;
        let next = number.checked_mul(u64::from(base)).and_then(|n| n.checked_add(u64::from(digit)));
        match next.filter(|next| *next <= max) {
            Some(next) if !over => number = next,
            _ => over = true,
        }
    }
    if over { Err(NumberError::Range) } else { Ok(number) }
}

/// A text that is no unsigned number, in the words of the function that reads it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("strconv.ParseUint: parsing {}: {why}", quote(.text))]
pub(crate) struct UintError {
    text: String,
    why: NumberError,
}

/// `parse_uint` with the error text of the function.
pub(crate) fn uint(text: &str, base: u32, bits: u32) -> Result<u64, UintError> {
    parse_uint(text, base, bits).map_err(|why| UintError { text: text.to_owned(), why })
}

pub(crate) fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}

/// Digits in groups of three.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

// === durations ===

const NANO: u64 = 1;
const MICRO: u64 = 1_000;
const MILLI: u64 = 1_000_000;
const SECOND: u64 = 1_000_000_000;

/// `time.Duration.String()`.
pub(crate) fn duration(nanoseconds: i64) -> String {
    let sign = if nanoseconds < 0 { "-" } else { "" };
    let total = nanoseconds.unsigned_abs();
    if total == 0 {
        return "0s".to_owned();
    }
    let scaled = |unit: u64, name: &str| format!("{sign}{}{name}", fraction(total, unit));
    if total < MICRO {
        return format!("{sign}{total}ns");
    }
    if total < MILLI {
        return scaled(MICRO, "µs");
    }
    if total < SECOND {
        return scaled(MILLI, "ms");
    }
    let minutes = total / SECOND / 60;
    let seconds = fraction(total - minutes * 60 * SECOND, SECOND);
    match (minutes / 60, minutes % 60) {
        (0, 0) => format!("{sign}{seconds}s"),
        (0, minutes) => format!("{sign}{minutes}m{seconds}s"),
        (hours, minutes) => format!("{sign}{hours}h{minutes}m{seconds}s"),
    }
}

/// `value / unit` without trailing zeros.
fn fraction(value: u64, unit: u64) -> String {
    let rest = value % unit;
    if rest == 0 {
        return (value / unit).to_string();
    }
    let width = unit.ilog10() as usize;
    let digits = format!("{rest:0width$}");
    format!("{}.{}", value / unit, digits.trim_end_matches('0'))
}

/// A text that is no duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DurationError {
    #[error("time: invalid duration {}", quote(.0))]
    Invalid(String),
    #[error("time: missing unit in duration {}", quote(.0))]
    NoUnit(String),
    #[error("time: unknown unit {} in duration {}", quote(.unit), quote(.text))]
    StrangeUnit { unit: String, text: String },
}

/// `time.ParseDuration`, in nanoseconds.
pub(crate) fn parse_duration(text: &str) -> Result<i64, DurationError> {
    let invalid = || DurationError::Invalid(text.to_owned());
    let (negative, mut rest) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total = 0u64;
    while !rest.is_empty() {
        let whole = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let after = &rest[whole..];
        let decimals = after.strip_prefix('.').map(|tail| {
            let digits = tail.len() - tail.trim_start_matches(|c: char| c.is_ascii_digit()).len();
            &tail[..digits]
        });
        let number = &rest[..whole];
        if number.is_empty() && decimals.unwrap_or("").is_empty() {
            return Err(invalid());
        }
        rest = &after[decimals.map_or(0, |digits| digits.len() + 1)..];
        let end = rest.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(rest.len());
        let (unit, tail) = rest.split_at(end);
        if unit.is_empty() {
            return Err(DurationError::NoUnit(text.to_owned()));
        }
        let scale = match unit {
            "ns" => NANO,
            "us" | "µs" | "μs" => MICRO,
            "ms" => MILLI,
            "s" => SECOND,
            "m" => 60 * SECOND,
            "h" => 3_600 * SECOND,
            _ => return Err(DurationError::StrangeUnit { unit: unit.to_owned(), text: text.to_owned() }),
        };
        rest = tail;
        let whole = if number.is_empty() { 0 } else { number.parse::<u64>().map_err(|_| invalid())? };
        let part = decimals.map_or(0.0, |digits| format!("0.{digits}0").parse::<f64>().unwrap_or(0.0));
        total = whole
            .checked_mul(scale)
            .and_then(|value| value.checked_add((part * scale as f64) as u64))
            .and_then(|value| value.checked_add(total))
            .filter(|value| *value <= 1 << 63)
            .ok_or_else(invalid)?;
    }
    match (negative, i64::try_from(total)) {
        (true, Ok(value)) => Ok(-value),
        (true, Err(_)) => Ok(i64::MIN),
        (false, Ok(value)) => Ok(value),
        (false, Err(_)) => Err(invalid()),
    }
}

// === names ===

/// `path.Join` of two parts: empty ones vanish, and `.` and `..` are resolved.
pub(crate) fn join_path(first: &str, second: &str) -> String {
    let joined: Vec<&str> = [first, second].into_iter().filter(|part| !part.is_empty()).collect();
    if joined.is_empty() {
        return String::new();
    }
    let joined = joined.join("/");
    let rooted = joined.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in joined.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => drop(parts.pop()),
            ".." if rooted => {}
            part => parts.push(part),
        }
    }
    match (rooted, parts.is_empty()) {
        (false, true) => ".".to_owned(),
        (rooted, _) => format!("{}{}", if rooted { "/" } else { "" }, parts.join("/")),
    }
}

/// `net.JoinHostPort`.
pub(crate) fn join_host_port(host: &str, port: &str) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

// === comma-separated values ===

/// A text that is no record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("parse error on line 1, column {column}: {why}")]
pub(crate) struct CsvError {
    column: usize,
    why: &'static str,
}

/// One record of `encoding/csv`, as lists on the command line are written.
pub(crate) fn read_csv(text: &str) -> Result<Vec<String>, CsvError> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let bad = |column: usize, why: &'static str| CsvError { column, why };
    let mut fields = Vec::new();
    let mut rest = text;
    loop {
        let column = text.len() - rest.len();
        let Some(mut quoted) = rest.strip_prefix('"') else {
            let end = rest.find([',', '\n']).unwrap_or(rest.len());
            if let Some(at) = rest[..end].find('"') {
                return Err(bad(column + at + 1, "bare \" in non-quoted field"));
            }
            fields.push(rest[..end].to_owned());
            match rest[end..].strip_prefix(',') {
                Some(tail) => rest = tail,
                None => return Ok(fields),
            }
            continue;
        };
        let mut field = String::new();
        loop {
            let Some(at) = quoted.find('"') else {
                return Err(bad(text.len() + 1, "extraneous or missing \" in quoted-field"));
            };
            field.push_str(&quoted[..at]);
            quoted = &quoted[at + 1..];
            match quoted.strip_prefix('"') {
                Some(tail) => {
                    field.push('"');
                    quoted = tail;
                }
                None => break,
            }
        }
        fields.push(field);
        match quoted.as_bytes().first() {
            Some(b',') => rest = &quoted[1..],
            None | Some(b'\n') => return Ok(fields),
            Some(_) => {
                return Err(bad(text.len() - quoted.len(), "extraneous or missing \" in quoted-field"));
            }
        }
    }
}

/// A value in a structured log line: quoted where it must be.
pub(crate) fn log_value(bytes: &[u8]) -> Cow<'_, str> {
    let plain = std::str::from_utf8(bytes).ok().filter(|text| {
        !text.is_empty()
            && text.chars().all(|c| match c {
                ' ' | '=' | '"' => false,
                c if c.is_ascii() => !c.is_ascii_control(),
                c => c != char::REPLACEMENT_CHARACTER && !c.is_whitespace() && is_print(c),
            })
    });
    plain.map_or_else(|| Cow::Owned(quote_bytes(bytes)), Cow::Borrowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_like_go() {
        assert_eq!(quote("a\"b\\\n\u{1}é\u{a0}\u{feff}\u{301}"), "\"a\\\"b\\\\\\n\\x01é\\u00a0\\ufeff\u{301}\"");
        assert_eq!(quote_bytes(b"a\xffb"), "\"a\\xffb\"");
        assert_eq!(quote_char('\''), "'\\''");
    }

    #[test]
    fn numbers_as_strconv_reads_them() {
        assert_eq!(parse_uint("0x10", 0, 64), Ok(16));
        assert_eq!(parse_uint("1_000", 0, 64), Ok(1000));
        assert_eq!(parse_uint("010", 0, 64), Ok(8));
        assert_eq!(parse_uint("0x", 0, 64), Err(NumberError::Syntax));
        assert_eq!(parse_uint("99999", 0, 16), Err(NumberError::Range));
        assert_eq!(parse_uint("18446744073709551615", 10, 64), Ok(u64::MAX));
        assert_eq!(parse_uint("-1", 10, 32), Err(NumberError::Syntax));
    }

    #[test]
    fn durations_both_ways() {
        for (text, nanoseconds, printed) in [
            ("1h43m", 6_180_000_000_000, "1h43m0s"),
            ("1.5s", 1_500_000_000, "1.5s"),
            ("-3ms", -3_000_000, "-3ms"),
            (".5h", 1_800_000_000_000, "30m0s"),
            ("12us", 12_000, "12µs"),
            ("0", 0, "0s"),
        ] {
            assert_eq!(parse_duration(text), Ok(nanoseconds), "{text}");
            assert_eq!(duration(nanoseconds), printed);
        }
        let wrong = |text: &str| parse_duration(text).map_err(|error| error.to_string());
        assert_eq!(wrong("3"), Err("time: missing unit in duration \"3\"".into()));
        assert_eq!(wrong("3x"), Err("time: unknown unit \"x\" in duration \"3x\"".into()));
        assert_eq!(wrong("x"), Err("time: invalid duration \"x\"".into()));
    }

    #[test]
    fn paths_are_cleaned() {
        assert_eq!(join_path("", "pod"), "pod");
        assert_eq!(join_path("ns", "../pod"), "pod");
        assert_eq!(join_path("ns", "../../pod"), "../pod");
        assert_eq!(join_path("/ns", "../../pod"), "/pod");
        assert_eq!(join_path("ns", ".."), ".");
    }

    #[test]
    fn comma_separated_values() {
        assert_eq!(read_csv("a,\"b,\"\"c\",").expect("well formed"), ["a", "b,\"c", ""]);
        let wrong = read_csv("a\"b").map_err(|error| error.to_string());
        assert_eq!(wrong, Err("parse error on line 1, column 2: bare \" in non-quoted field".into()));
    }
}
