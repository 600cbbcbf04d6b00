//! Reads messages from tokens: fields by name, duplicates, oneofs, lists, scalars. The texts of errors are Go's.

use std::fmt;

use thiserror::Error;

use super::Read;
use super::lex::{Kind, Lexer, Token};

/// Messages within messages, through `Any`.
const MAX_DEPTH: u32 = 64;

/// What to do with fields and enumerators that this version does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unknown {
    Refuse,
    Discard,
}

/// Line and column (in characters), both from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    pub line: usize,
    pub column: usize,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "(line {}:{})", self.line, self.column)
    }
}

/// Why a text is not the JSON of a message.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ReadError {
    #[error("proto: unexpected EOF")]
    Eof,
    #[error("proto: exceeded max recursion depth")]
    Depth,
    #[error("proto: syntax error {at}: {what}")]
    Syntax { at: Position, what: String },
    #[error("proto: {at}: unknown field {name}")]
    Field { at: Position, name: String },
    #[error("proto: {at}: duplicate field {name}")]
    Duplicate { at: Position, name: String },
    #[error("proto: {at}: error parsing {name}, oneof {oneof} is already set")]
    Oneof { at: Position, name: String, oneof: &'static str },
    #[error("proto: {at}: invalid value for {kind} field {field}: {value}")]
    Value { at: Position, kind: &'static str, field: &'static str, value: String },
    #[error("proto: {at}: {what}")]
    Known { at: Position, what: String },
}

/// A field of a message: its place in the descriptor and the oneof it is part of.
#[derive(Clone, Copy, Debug)]
pub struct Slot {
    pub field: u8,
    pub oneof: Option<u8>,
}

/// A place in a text.
pub struct Reader<'a> {
    pub(super) lexer: Lexer<'a>,
    pub(super) unknown: Unknown,
    depth: u32,
}

impl<'a> Reader<'a> {
    pub(super) fn new(text: &'a [u8], unknown: Unknown) -> Self {
        Self { lexer: Lexer::new(text), unknown, depth: 0 }
    }

    pub(super) fn end(&mut self) -> Result<(), ReadError> {
        let token = self.lexer.next()?;
        if token.kind == Kind::End { Ok(()) } else { Err(self.lexer.unexpected(&token)) }
    }

    pub(super) fn message<T: Read>(&mut self) -> Result<T, ReadError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(ReadError::Depth);
        }
        let message = T::read_message(self);
        self.depth -= 1;
        message
    }

    /// An object of a message's fields; `typed` where a member `@type` is no field.
    pub(super) fn object<T: Read>(&mut self, typed: bool) -> Result<T, ReadError> {
        self.expect(Kind::ObjectOpen)?;
        let mut message = T::default();
        let mut seen = 0_u64;
        let mut oneofs = 0_u64;
        loop {
            let token = self.lexer.next()?;
            match token.kind {
                Kind::ObjectClose => return Ok(message),
                Kind::Name => {}
                _ => return Err(self.lexer.unexpected(&token)),
            }
            if typed && token.text == "@type" {
                self.lexer.next()?;
                continue;
            }
            let Some(slot) = T::slot(&token.text) else {
                if self.unknown == Unknown::Discard {
                    self.skip()?;
                    continue;
                }
                return Err(ReadError::Field { at: self.place(&token), name: self.lexer.raw(&token) });
            };
            if seen >> slot.field & 1 == 1 {
                return Err(ReadError::Duplicate { at: self.place(&token), name: self.lexer.raw(&token) });
            }
            seen |= 1 << slot.field;
            if self.null() {
                continue;
            }
            if let Some(oneof) = slot.oneof {
                if oneofs >> oneof & 1 == 1 {
                    let (at, name) = (self.place(&token), self.lexer.raw(&token));
                    return Err(ReadError::Oneof { at, name, oneof: T::ONEOFS[usize::from(oneof)] });
                }
                oneofs |= 1 << oneof;
            }
            message.read_field(slot.field, self)?;
        }
    }

    pub(super) fn list(&mut self, mut item: impl FnMut(&mut Self) -> Result<(), ReadError>) -> Result<(), ReadError> {
        self.expect(Kind::ArrayOpen)?;
        while self.lexer.peek()?.kind != Kind::ArrayClose {
            item(self)?;
        }
        self.lexer.next().map(drop)
    }

    /// Passes over one value.
    pub(super) fn skip(&mut self) -> Result<(), ReadError> {
        let mut open = 0_usize;
        loop {
            match self.lexer.next()?.kind {
                Kind::ObjectClose | Kind::ArrayClose => open = open.saturating_sub(1),
                Kind::ObjectOpen | Kind::ArrayOpen => open += 1,
                Kind::End => return Err(ReadError::Eof),
                _ => {}
            }
            if open == 0 {
                return Ok(());
            }
        }
    }

    /// A second reader at the same place.
    pub(super) fn ahead(&self) -> Self {
        Self { lexer: self.lexer.clone(), unknown: self.unknown, depth: self.depth }
    }

    pub(super) fn place(&self, token: &Token<'_>) -> Position {
        self.lexer.position(token.start)
    }

    fn expect(&mut self, kind: Kind) -> Result<(), ReadError> {
        let token = self.lexer.next()?;
        if token.kind == kind { Ok(()) } else { Err(self.lexer.unexpected(&token)) }
    }

    /// Passes over a null. An error that stands here is met again by who reads the value.
    fn null(&mut self) -> bool {
        let null = matches!(self.lexer.peek(), Ok(Token { kind: Kind::Null, .. }));
        null && self.lexer.next().is_ok()
    }

    // === scalars ===

    fn wrong<T>(&self, token: &Token<'_>, kind: &'static str, field: &'static str) -> Result<T, ReadError> {
        Err(ReadError::Value { at: self.place(token), kind, field, value: self.lexer.raw(token) })
    }

    pub(super) fn string(&mut self, field: &'static str) -> Result<String, ReadError> {
        let token = self.lexer.next()?;
        match token.kind {
            Kind::Text => Ok(token.text.into_owned()),
            _ => self.wrong(&token, "string", field),
        }
    }

    pub(super) fn boolean(&mut self, field: &'static str) -> Result<bool, ReadError> {
        let token = self.lexer.next()?;
        match token.kind {
            Kind::Bool(value) => Ok(value),
            _ => self.wrong(&token, "bool", field),
        }
    }

    pub(super) fn uint32(&mut self, field: &'static str) -> Result<u32, ReadError> {
        self.integer("uint32", field)
    }

    pub(super) fn int32(&mut self, field: &'static str) -> Result<i32, ReadError> {
        self.integer("int32", field)
    }

    pub(super) fn uint64(&mut self, field: &'static str) -> Result<u64, ReadError> {
        self.integer("uint64", field)
    }

    pub(super) fn int64(&mut self, field: &'static str) -> Result<i64, ReadError> {
        self.integer("int64", field)
    }

    fn integer<T: TryFrom<i128>>(&mut self, kind: &'static str, field: &'static str) -> Result<T, ReadError> {
        let token = self.lexer.next()?;
        let value = match token.kind {
            Kind::Number => whole(self.lexer.number(&token)),
            Kind::Text => quoted(&token.text).and_then(whole),
            _ => None,
        };
        match value.and_then(|value| T::try_from(value).ok()) {
            Some(value) => Ok(value),
            None => self.wrong(&token, kind, field),
        }
    }

    pub(super) fn double(&mut self, field: &'static str) -> Result<f64, ReadError> {
        let token = self.lexer.next()?;
        let finite = |text: &str| text.parse().ok().filter(|value: &f64| value.is_finite());
        let value = match token.kind {
            Kind::Number => finite(self.lexer.number(&token)),
            Kind::Text => match &*token.text {
                "NaN" => Some(f64::NAN),
                "Infinity" => Some(f64::INFINITY),
                "-Infinity" => Some(f64::NEG_INFINITY),
                text => quoted(text).and_then(finite),
            },
            _ => None,
        };
        value.map_or_else(|| self.wrong(&token, "double", field), Ok)
    }

    /// An enumerator by name or number; none where its name is unknown and may be discarded.
    pub(super) fn enumeration(
        &mut self,
        field: &'static str,
        number: impl Fn(&str) -> Option<i32>,
    ) -> Result<Option<i32>, ReadError> {
        let token = self.lexer.next()?;
        let value = match token.kind {
            Kind::Text => number(&token.text),
            Kind::Number => whole(self.lexer.number(&token)).and_then(|value| i32::try_from(value).ok()),
            _ => None,
        };
        match value {
            Some(value) => Ok(Some(value)),
            None if token.kind == Kind::Text && self.unknown == Unknown::Discard => Ok(None),
            None => self.wrong(&token, "enum", field),
        }
    }
}

/// The number in a text, if the text is a number to the letter.
fn quoted(text: &str) -> Option<&str> {
    let token = Lexer::new(text.as_bytes()).next().ok().filter(|token| token.kind == Kind::Number)?;
    (token.start == 0 && token.end == text.len()).then_some(text)
}

/// The whole number that a JSON number is, if it is one (1.0 and 1e2 are).
fn whole(text: &str) -> Option<i128> {
    if let Ok(value) = text.parse::<i128>() {
        return Some(value);
    }
    let (sign, text) = text.strip_prefix('-').map_or((1, text), |rest| (-1, rest));
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let exponent: i32 = if exponent.is_empty() { 0 } else { exponent.parse().ok()? };
    let (before, after) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{before}{}", after.trim_end_matches('0'));
    let shift = exponent - i32::try_from(after.trim_end_matches('0').len()).ok()?;
    let digits = digits.trim_start_matches('0');
    let digits = if digits.is_empty() {
        return Some(0);
    } else if shift < 0 {
        let keep = digits.len().checked_sub(shift.unsigned_abs() as usize)?;
        let (kept, cut) = digits.split_at(keep);
        cut.bytes().all(|digit| digit == b'0').then(|| kept.to_owned())?
    } else if shift > 20 {
        return None;
    } else {
        format!("{digits}{}", "0".repeat(shift as usize))
    };
    Some(sign * digits.parse::<i128>().ok()?)
}
