//! What an unquoted YAML word is: null, boolean, number or text.
//!
//! Kubernetes reads YAML 1.1, where `yes`, `on` and `0120` are not text. A policy must mean here what it means there, so
//! the same words are booleans and numbers here. Source: yaml.org/type, and the resolver that kubectl uses.

use super::node::Value;

/// Resolves an unquoted scalar.
pub(super) fn resolve(word: &str) -> Value {
    match word {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => return Value::Bool(true),
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            return Value::Bool(false);
        }
        ".nan" | ".NaN" | ".NAN" => return Value::Float(f64::NAN),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => return Value::Float(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => return Value::Float(f64::NEG_INFINITY),
        _ => {}
    }
    if word.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.')) && !is_date(word) {
        let plain = word.replace('_', "");
        if let Some(number) = integer(&plain) {
            return Value::Int(number);
        }
        if is_float(&plain)
            && let Ok(number) = plain.parse()
        {
            return float(number);
        }
    }
    Value::String(word.to_owned())
}

/// On its way through JSON a float without a fraction becomes an integer.
fn float(number: f64) -> Value {
    let whole = number as i128;
    if number.abs() < 1e18 && whole as f64 == number { Value::Int(whole) } else { Value::Float(number) }
}

fn integer(word: &str) -> Option<i128> {
    let (negative, digits) = match word.as_bytes().first()? {
        b'-' => (true, &word[1..]),
        b'+' => (false, &word[1..]),
        _ => (false, word),
    };
    let (digits, radix) = match digits.as_bytes() {
        [b'0', b'x' | b'X', ..] => (&digits[2..], 16),
        [b'0', b'o' | b'O', ..] => (&digits[2..], 8),
        [b'0', b'b' | b'B', ..] => (&digits[2..], 2),
        [b'0', _, ..] => (&digits[1..], 8),
        _ => (digits, 10),
    };
    // 40 digits overflow any number that a field here takes; the sign is allowed once.
    if digits.is_empty() || digits.len() > 64 || !digits.bytes().all(|c| c.is_ascii_alphanumeric()) {
        return None;
    }
    let number = i128::from_str_radix(digits, radix).ok()?;
    let number = if negative { -number } else { number };
    (i128::from(i64::MIN)..=i128::from(u64::MAX)).contains(&number).then_some(number)
}

/// `[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?`
fn is_float(word: &str) -> bool {
    let word = word.strip_prefix(['-', '+']).unwrap_or(word);
    let (mantissa, exponent) = match word.find(['e', 'E']) {
        Some(at) => (&word[..at], Some(&word[at + 1..])),
        None => (word, None),
    };
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
    let mantissa_ok = match mantissa.split_once('.') {
        Some(("", fraction)) => digits(fraction),
        Some((whole, fraction)) => digits(whole) && (fraction.is_empty() || digits(fraction)),
        None => digits(mantissa),
    };
    mantissa_ok && exponent.is_none_or(|text| digits(text.strip_prefix(['-', '+']).unwrap_or(text)))
}

/// Dates stay text: `2001-12-14`.
fn is_date(word: &str) -> bool {
    let bytes = word.as_bytes();
    bytes.len() >= 8 && bytes[..4].iter().all(u8::is_ascii_digit) && bytes[4] == b'-'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_as_yaml_1_1() {
        for (word, value) in [
            ("", Value::Null),
            ("~", Value::Null),
            ("yes", Value::Bool(true)),
            ("Off", Value::Bool(false)),
            ("80", Value::Int(80)),
            ("-1", Value::Int(-1)),
            ("0120", Value::Int(80)),
            ("0x50", Value::Int(80)),
            ("0b11", Value::Int(3)),
            ("1_000", Value::Int(1000)),
            ("18446744073709551615", Value::Int(i128::from(u64::MAX))),
            ("1.5", Value::Float(1.5)),
            ("1e3", Value::Int(1000)),
            ("80.0", Value::Int(80)),
            ("08", Value::Int(8)),
            (".5", Value::Float(0.5)),
        ] {
            assert_eq!(resolve(word), value, "{word}");
        }
    }

    #[test]
    fn the_rest_is_text() {
        for word in ["web", "0o9", "10.0.0.1", "10.0.0.0/8", "2001-12-14", "-", "+", ".", "1e", "true1", "--1", "0x"] {
            assert_eq!(resolve(word), Value::String(word.to_owned()), "{word}");
        }
    }
}
