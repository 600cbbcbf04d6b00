//! Tokens of JSON and the order in which they may follow each other, with the places and texts of errors that Go's reader
//! of protobuf's JSON gives. It knows no message.

use std::borrow::Cow;

use super::read::{Position, ReadError};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Start,
    End,
    Null,
    Bool(bool),
    Number,
    Text,
    Name,
    ObjectOpen,
    ObjectClose,
    ArrayOpen,
    ArrayClose,
    Comma,
}

impl Kind {
    fn ends_value(self) -> bool {
        matches!(self, Self::Null | Self::Bool(_) | Self::Number | Self::Text | Self::ObjectClose | Self::ArrayClose)
    }
}

/// A token: where it stands, and the content of text and names.
#[derive(Clone, Debug)]
pub(super) struct Token<'a> {
    pub(super) kind: Kind,
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) text: Cow<'a, str>,
}

#[derive(Clone)]
pub(super) struct Lexer<'a> {
    input: &'a [u8],
    at: usize,
    /// Whether each open bracket is an object's.
    open: Vec<bool>,
    last: Kind,
    peeked: Option<Result<Token<'a>, ReadError>>,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(input: &'a [u8]) -> Self {
        Self { input, at: 0, open: Vec::new(), last: Kind::Start, peeked: None }
    }

    pub(super) fn peek(&mut self) -> Result<&Token<'a>, ReadError> {
        if self.peeked.is_none() {
            self.peeked = Some(self.advance());
        }
        match self.peeked.as_ref().expect("just filled") {
            Ok(token) => Ok(token),
            Err(error) => Err(error.clone()),
        }
    }

    pub(super) fn next(&mut self) -> Result<Token<'a>, ReadError> {
        match self.peeked.take() {
            Some(token) => token,
            None => self.advance(),
        }
    }

    /// The token as it stands in the input.
    pub(super) fn raw(&self, token: &Token<'_>) -> String {
        String::from_utf8_lossy(&self.input[token.start..token.end]).into_owned()
    }

    /// The text of a number.
    pub(super) fn number(&self, token: &Token<'_>) -> &'a str {
        std::str::from_utf8(&self.input[token.start..token.end]).unwrap_or_default()
    }

    pub(super) fn position(&self, at: usize) -> Position {
        let before = &self.input[..at];
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        let start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        Position { line, column: String::from_utf8_lossy(&before[start..]).chars().count() + 1 }
    }

    pub(super) fn unexpected(&self, token: &Token<'_>) -> ReadError {
        self.syntax(token.start, format!("unexpected token {}", self.raw(token)))
    }

    fn syntax(&self, at: usize, what: String) -> ReadError {
        ReadError::Syntax { at: self.position(at), what }
    }

    /// A token that may stand here. Commas are checked and skipped.
    fn advance(&mut self) -> Result<Token<'a>, ReadError> {
        loop {
            let mut token = self.scan()?;
            let object = self.open.last().copied();
            let fits = match token.kind {
                Kind::End => {
                    if object.is_some() {
                        return Err(ReadError::Eof);
                    }
                    true
                }
                Kind::Null | Kind::Bool(_) | Kind::Number => self.value_fits(),
                Kind::ObjectOpen | Kind::ArrayOpen => {
                    let fits = self.value_fits();
                    self.open.push(token.kind == Kind::ObjectOpen);
                    fits
                }
                Kind::Text if !self.value_fits() => {
                    let fits = matches!(self.last, Kind::ObjectOpen | Kind::Comma);
                    if fits {
                        token.kind = Kind::Name;
                        self.colon()?;
                    }
                    fits
                }
                Kind::ObjectClose => {
                    self.open.pop();
                    object == Some(true) && !matches!(self.last, Kind::Name | Kind::Comma)
                }
                Kind::ArrayClose => {
                    self.open.pop();
                    object == Some(false) && self.last != Kind::Comma
                }
                Kind::Comma => object.is_some() && self.last.ends_value(),
                Kind::Text | Kind::Name | Kind::Start => true,
            };
            if !fits {
                return Err(self.unexpected(&token));
            }
            self.last = token.kind;
            if token.kind != Kind::Comma {
                return Ok(token);
            }
        }
    }

    /// Whether a value may follow the last token.
    fn value_fits(&self) -> bool {
        match self.open.last() {
            None => self.last == Kind::Start,
            Some(true) => self.last == Kind::Name,
            Some(false) => matches!(self.last, Kind::ArrayOpen | Kind::Comma),
        }
    }

    fn colon(&mut self) -> Result<(), ReadError> {
        match self.input.get(self.at) {
            Some(b':') => {
                self.at += 1;
                Ok(())
            }
            Some(&byte) => Err(self
                .syntax(self.at, format!("unexpected character {}, missing \":\" after field name", char::from(byte)))),
            None => Err(ReadError::Eof),
        }
    }

    fn skip_space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.input.get(self.at) {
            self.at += 1;
        }
    }

    fn scan(&mut self) -> Result<Token<'a>, ReadError> {
        self.skip_space();
        let rest = &self.input[self.at..];
        let start = self.at;
        let Some(&first) = rest.first() else {
            return Ok(self.token(Kind::End, start, start, Cow::Borrowed("")));
        };
        let (kind, length) = match first {
            b'{' => (Kind::ObjectOpen, 1),
            b'}' => (Kind::ObjectClose, 1),
            b'[' => (Kind::ArrayOpen, 1),
            b']' => (Kind::ArrayClose, 1),
            b',' => (Kind::Comma, 1),
            b'n' if word(rest, b"null") => (Kind::Null, 4),
            b't' if word(rest, b"true") => (Kind::Bool(true), 4),
            b'f' if word(rest, b"false") => (Kind::Bool(false), 5),
            b'"' => {
                let (text, length) = self.text(rest)?;
                return Ok(self.token(Kind::Text, start, start + length, text));
            }
            b'-' | b'0'..=b'9' if number(rest).is_some() => (Kind::Number, number(rest).unwrap_or_default()),
            _ => {
                let sign = |byte: &u8| byte.is_ascii_alphanumeric() || b"-+._".contains(byte);
                let length = rest.iter().take(32).take_while(|byte| sign(byte)).count();
                let shown = if length == 0 {
                    let text = String::from_utf8_lossy(rest);
                    text.chars().next().map(String::from).unwrap_or_default()
                } else {
                    String::from_utf8_lossy(&rest[..length]).into_owned()
                };
                return Err(self.syntax(start, format!("invalid value {shown}")));
            }
        };
        Ok(self.token(kind, start, start + length, Cow::Borrowed("")))
    }

    fn token(&mut self, kind: Kind, start: usize, end: usize, text: Cow<'a, str>) -> Token<'a> {
        self.at = end;
        self.skip_space();
        Token { kind, start, end, text }
    }

    /// Content and length of the text that `rest` begins with.
    fn text(&self, rest: &'a [u8]) -> Result<(Cow<'a, str>, usize), ReadError> {
        let plain = rest[1..].iter().position(|&byte| byte == b'"' || byte == b'\\' || byte < 0x20);
        let plain = 1 + plain.unwrap_or(rest.len() - 1);
        let invalid = || self.syntax(self.at, "invalid UTF-8 in string".to_owned());
        let head = std::str::from_utf8(&rest[1..plain]).map_err(|_| invalid())?;
        if rest.get(plain) == Some(&b'"') {
            return Ok((Cow::Borrowed(head), plain + 1));
        }
        let mut out = head.to_owned();
        let mut at = plain;
        loop {
            match rest.get(at).copied().ok_or(ReadError::Eof)? {
                b'"' => return Ok((Cow::Owned(out), at + 1)),
                b'\\' => at += self.escape(&rest[at..], &mut out)?,
                byte if byte < 0x20 => {
                    return Err(self.syntax(self.at, format!("invalid character {} in string", rune(byte))));
                }
                _ => {
                    let more = rest[at..].iter().position(|&byte| byte == b'"' || byte == b'\\' || byte < 0x20);
                    let end = more.map_or(rest.len(), |more| at + more);
                    out.push_str(std::str::from_utf8(&rest[at..end]).map_err(|_| invalid())?);
                    at = end;
                }
            }
        }
    }

    /// Appends what the escape at the head of `rest` stands for; how long it is.
    fn escape(&self, rest: &[u8], out: &mut String) -> Result<usize, ReadError> {
        let wrong = |code: &[u8]| {
            let code = go_quote(&String::from_utf8_lossy(code));
            self.syntax(self.at, format!("invalid escape code {code} in string"))
        };
        let plain = match rest.get(1).copied().ok_or(ReadError::Eof)? {
            sign @ (b'"' | b'\\' | b'/') => char::from(sign),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let code = rest.get(..6).ok_or(ReadError::Eof)?;
                let unit = hex(&code[2..]).ok_or_else(|| wrong(code))?;
                if !(0xd800..0xe000).contains(&unit) {
                    out.push(char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER));
                    return Ok(6);
                }
                let low = rest.get(6..12).ok_or(ReadError::Eof)?;
                let pair = hex(&low[2..]).filter(|_| low.starts_with(b"\\u")).and_then(|low| {
                    let valid = (0xd800..0xdc00).contains(&unit) && (0xdc00..0xe000).contains(&low);
                    valid.then(|| 0x1_0000 + ((unit - 0xd800) << 10) + (low - 0xdc00))
                });
                out.push(pair.and_then(char::from_u32).ok_or_else(|| wrong(low))?);
                return Ok(12);
            }
            _ => return Err(wrong(&rest[..2])),
        };
        out.push(plain);
        Ok(2)
    }
}

fn hex(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0, |value, &digit| Some(value << 4 | char::from(digit).to_digit(16)?))
}

/// Text between double quotes as Go's `%q` shows it, for what can stand in an escape code.
fn go_quote(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// A control character as Go's `%q` shows it.
fn rune(byte: u8) -> String {
    match byte {
        7 => "'\\a'".to_owned(),
        8 => "'\\b'".to_owned(),
        0x0b => "'\\v'".to_owned(),
        0x0c => "'\\f'".to_owned(),
        b'\n' => "'\\n'".to_owned(),
        b'\r' => "'\\r'".to_owned(),
        b'\t' => "'\\t'".to_owned(),
        _ => format!("'\\x{byte:02x}'"),
    }
}

fn delimits(byte: Option<&u8>) -> bool {
    byte.is_none_or(|byte| !byte.is_ascii_alphanumeric() && !b"-+._".contains(byte))
}

fn word(rest: &[u8], word: &[u8]) -> bool {
    rest.starts_with(word) && delimits(rest.get(word.len()))
}

/// Length of the number that `rest` begins with.
fn number(rest: &[u8]) -> Option<usize> {
    let digits = |from: usize| rest[from.min(rest.len())..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let mut at = usize::from(rest.first() == Some(&b'-'));
    at += match rest.get(at)? {
        b'0' => 1,
        b'1'..=b'9' => digits(at),
        _ => return None,
    };
    if rest.get(at) == Some(&b'.') && digits(at + 1) > 0 {
        at += 1 + digits(at + 1);
    }
    if matches!(rest.get(at), Some(b'e' | b'E')) && at + 1 < rest.len() {
        at += 1;
        if matches!(rest.get(at), Some(b'+' | b'-')) {
            at += 1;
            rest.get(at)?;
        }
        at += digits(at);
    }
    delimits(rest.get(at)).then_some(at)
}
