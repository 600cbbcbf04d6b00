//! Cuts a text into its JSON values and says what is wrong with it in the words of Go's decoder. What the values mean is
//! for others.

use crate::gotext::quote_char;

/// Why a text is no row of JSON values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum JsonError {
    #[error("unexpected EOF")]
    Eof,
    #[error("invalid character {} {place}", quote_char(*.found))]
    Character { found: char, place: Place },
}

/// Where a character does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Place {
    #[error("looking for beginning of value")]
    Value,
    #[error("looking for beginning of object key string")]
    Key,
    #[error("after object key")]
    AfterKey,
    #[error("after object key:value pair")]
    AfterPair,
    #[error("after array element")]
    AfterElement,
    #[error("in string literal")]
    Text,
    #[error("in string escape code")]
    Escape,
    #[error("in \\u hexadecimal character escape")]
    Unicode,
    #[error("in literal {word} (expecting {})", quote_char(*.expected))]
    Literal { word: &'static str, expected: char },
    #[error("in numeric literal")]
    Number,
    #[error("after decimal point in numeric literal")]
    Fraction,
    #[error("in exponent of numeric literal")]
    Exponent,
}

/// The values of a text, in order.
pub(super) fn values(text: &str) -> Result<Vec<&str>, JsonError> {
    let mut found = Vec::new();
    let mut scanner = Scanner { text, at: 0 };
    loop {
        scanner.blank();
        let start = scanner.at;
        if scanner.peek().is_none() {
            return Ok(found);
        }
        scanner.value()?;
        found.push(&text[start..scanner.at]);
    }
}

struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

impl Scanner<'_> {
    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn blank(&mut self) {
        let rest = &self.text[self.at..];
        self.at += rest.len() - rest.trim_start_matches([' ', '\t', '\r', '\n']).len();
    }

    /// The next character after white space.
    fn next_mark(&mut self) -> Result<char, JsonError> {
        self.blank();
        self.peek().ok_or(JsonError::Eof)
    }

    fn bad(&self, place: Place) -> JsonError {
        self.peek().map_or(JsonError::Eof, |found| JsonError::Character { found, place })
    }

    fn eat(&mut self, c: char) -> bool {
        let found = self.peek() == Some(c);
        if found {
            self.at += c.len_utf8();
        }
        found
    }

    fn value(&mut self) -> Result<(), JsonError> {
        match self.next_mark()? {
            '{' => self.object(),
            '[' => self.array(),
            '"' => self.string(),
            't' => self.literal("true"),
            'f' => self.literal("false"),
            'n' => self.literal("null"),
            '-' | '0'..='9' => self.number(),
            _ => Err(self.bad(Place::Value)),
        }
    }

    fn object(&mut self) -> Result<(), JsonError> {
        self.at += 1;
        if self.next_mark()? == '}' {
            self.at += 1;
            return Ok(());
        }
        loop {
            if self.next_mark()? != '"' {
                return Err(self.bad(Place::Key));
            }
            self.string()?;
            if self.next_mark()? != ':' {
                return Err(self.bad(Place::AfterKey));
            }
            self.at += 1;
            self.value()?;
            match self.next_mark()? {
                ',' => self.at += 1,
                '}' => {
                    self.at += 1;
                    return Ok(());
                }
                _ => return Err(self.bad(Place::AfterPair)),
            }
        }
    }

    fn array(&mut self) -> Result<(), JsonError> {
        self.at += 1;
        if self.next_mark()? == ']' {
            self.at += 1;
            return Ok(());
        }
        loop {
            self.value()?;
            match self.next_mark()? {
                ',' => self.at += 1,
                ']' => {
                    self.at += 1;
                    return Ok(());
                }
                _ => return Err(self.bad(Place::AfterElement)),
            }
        }
    }

    fn string(&mut self) -> Result<(), JsonError> {
        self.at += 1;
        loop {
            match self.peek() {
                Some('"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some('\\') => self.escape()?,
                Some(c) if c >= ' ' => self.at += c.len_utf8(),
                _ => return Err(self.bad(Place::Text)),
            }
        }
    }

    fn escape(&mut self) -> Result<(), JsonError> {
        self.at += 1;
        match self.peek() {
            Some('b' | 'f' | 'n' | 'r' | 't' | '\\' | '/' | '"') => self.at += 1,
            Some('u') => {
                self.at += 1;
                for _ in 0..4 {
                    if !self.peek().is_some_and(|c| c.is_ascii_hexdigit()) {
                        return Err(self.bad(Place::Unicode));
                    }
                    self.at += 1;
                }
            }
            _ => return Err(self.bad(Place::Escape)),
        }
        Ok(())
    }

    fn literal(&mut self, word: &'static str) -> Result<(), JsonError> {
        for expected in word.chars() {
            if !self.eat(expected) {
                return Err(self.bad(Place::Literal { word, expected }));
            }
        }
        Ok(())
    }

    fn number(&mut self) -> Result<(), JsonError> {
        self.eat('-');
        if !self.eat('0') {
            self.digits(Place::Number)?;
        }
        if self.eat('.') {
            self.digits(Place::Fraction)?;
        }
        if self.eat('e') || self.eat('E') {
            let _sign = self.eat('+') || self.eat('-');
            self.digits(Place::Exponent)?;
        }
        Ok(())
    }

    fn digits(&mut self, place: Place) -> Result<(), JsonError> {
        if !self.peek().is_some_and(|c| c.is_ascii_digit()) {
            return Err(self.bad(place));
        }
        while self.peek().is_some_and(|c| c.is_ascii_digit()) {
            self.at += 1;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_may_hold_several_values() {
        assert_eq!(
            values(" {\"a\":\"}\\\"\"} {\"b\":[{}]}\n1 null"),
            Ok(vec!["{\"a\":\"}\\\"\"}", "{\"b\":[{}]}", "1", "null"])
        );
        assert_eq!(values(""), Ok(Vec::new()));
    }

    #[test]
    fn errors_are_those_of_go() {
        for (text, expected) in [
            ("{", "unexpected EOF"),
            ("x", "invalid character 'x' looking for beginning of value"),
            ("{a", "invalid character 'a' looking for beginning of object key string"),
            ("{\"a\" 1}", "invalid character '1' after object key"),
            ("{\"a\":1 2}", "invalid character '2' after object key:value pair"),
            ("[1 2]", "invalid character '2' after array element"),
            ("tru3", "invalid character '3' in literal true (expecting 'e')"),
            ("\"\\x\"", "invalid character 'x' in string escape code"),
            ("{},", "invalid character ',' looking for beginning of value"),
        ] {
            assert_eq!(values(text).map_err(|error| error.to_string()), Err(expected.to_owned()), "{text}");
        }
    }
}
