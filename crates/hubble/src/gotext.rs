//! Text quoted as Go quotes it: Hubble's errors and its command's output show names that way, and scripts match on them.
//! Nothing else of Go's library is here.

/// `%q` of a string.
pub fn quote(text: &str) -> String {
    quote_bytes(text.as_bytes())
}

/// `%q` of a string that may not be UTF-8.
pub fn quote_bytes(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() + 2);
    out.push('"');
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            escape(&mut out, c, '"');
        }
        for byte in chunk.invalid() {
            out.push_str(&format!("\\x{byte:02x}"));
        }
    }
    out.push('"');
    out
}

/// `%q` of a character.
pub fn quote_char(c: char) -> String {
    let mut out = String::from("'");
    escape(&mut out, c, '\'');
    out.push('\'');
    out
}

fn escape(out: &mut String, c: char, mark: char) {
    match c {
        '\x07' => out.push_str("\\a"),
        '\x08' => out.push_str("\\b"),
        '\x0c' => out.push_str("\\f"),
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        '\x0b' => out.push_str("\\v"),
        '\\' => out.push_str("\\\\"),
        c if c == mark => {
            out.push('\\');
            out.push(c);
        }
        c if is_print(c) => out.push(c),
        c if (c as u32) < 0x80 => out.push_str(&format!("\\x{:02x}", c as u32)),
        c if (c as u32) < 0x1_0000 => out.push_str(&format!("\\u{:04x}", c as u32)),
        c => out.push_str(&format!("\\U{:08x}", c as u32)),
    }
}

/// Letters, marks, numbers, punctuation, symbols and the space. A combining mark alone is escaped by Rust, after a
/// letter it is not.
pub fn is_print(c: char) -> bool {
    if c.is_ascii() {
        return (' '..='~').contains(&c);
    }
    let mut shown = String::from("a");
    shown.push(c);
    shown.escape_debug().eq(shown.chars())
}

#[cfg(test)]
mod tests {
    use super::{quote, quote_bytes, quote_char};

    #[test]
    fn quotes_like_go() {
        assert_eq!(quote("a\"\\b\n\u{7}\u{1}\u{7f}é\u{ad}\u{e000}"), r#""a\"\\b\n\a\x01\x7fé\u00ad\ue000""#);
        assert_eq!(quote_char('\''), r"'\''");
        assert_eq!(quote_char('ü'), "'ü'");
        assert_eq!(quote_bytes(b"a\xff"), r#""a\xff""#);
    }
}
