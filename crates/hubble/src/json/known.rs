//! The types of protobuf that have a JSON of their own: field masks and `Any` (times are next door).

use prost::Message;
use prost_types::{Any, Duration, FieldMask, Timestamp};

use super::generated::{read_named, write_named};
use super::lex::{Kind, Token};
use super::read::{ReadError, Reader, Unknown};
use super::{Json, Read, put};

// === field masks ===

impl Json for FieldMask {
    fn write(&self, out: &mut Vec<u8>) {
        let paths: Vec<String> = self.paths.iter().map(|path| camel(path)).collect();
        put::string(&paths.join(","), out);
    }
}

impl Read for FieldMask {
    fn read_message(r: &mut Reader<'_>) -> Result<Self, ReadError> {
        let token = r.lexer.next()?;
        if token.kind != Kind::Text {
            return Err(r.lexer.unexpected(&token));
        }
        let mut paths = Vec::new();
        if !token.text.trim().is_empty() {
            for path in token.text.trim().split(',') {
                let snake = snake(path);
                let named = snake.split('.').all(|part| {
                    part.starts_with(|c: char| c == '_' || c.is_ascii_alphabetic())
                        && part.chars().all(|c| c == '_' || c.is_ascii_alphanumeric())
                });
                if path.contains('_') || !named {
                    let what = format!("google.protobuf.FieldMask.paths contains invalid path: {path:?}");
                    return Err(ReadError::Known { at: r.place(&token), what });
                }
                paths.push(snake);
            }
        }
        Ok(Self { paths })
    }
}

fn camel(path: &str) -> String {
    let mut out = String::new();
    let mut upper = false;
    for c in path.chars() {
        if c == '_' {
            upper = true;
        } else {
            out.push(if upper { c.to_ascii_uppercase() } else { c });
            upper = false;
        }
    }
    out
}

fn snake(path: &str) -> String {
    let mut out = String::new();
    for c in path.chars() {
        if c.is_ascii_uppercase() {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}

// === any message ===

impl Json for Any {
    /// A message of a type that is not known here is written with its bytes in base64 under `value`.
    fn write(&self, out: &mut Vec<u8>) {
        if self.type_url.is_empty() && self.value.is_empty() {
            return out.extend_from_slice(b"{}");
        }
        out.extend_from_slice(b"{\"@type\":");
        put::string(&self.type_url, out);
        let name = self.type_url.rsplit('/').next().unwrap_or_default();
        let fields = out.len();
        if let Some(Ok(())) = write_named(name, &self.value, out) {
            out[fields] = b',';
            if out.ends_with(b",}") {
                out.truncate(fields);
                out.push(b'}');
            }
            return;
        }
        out.truncate(fields);
        if name == "google.protobuf.Empty" {
            return out.push(b'}');
        }
        out.extend_from_slice(b",\"value\":");
        let value = out.len();
        if write_wrapper(name, &self.value, out).is_none() {
            out.truncate(value);
            out.push(b'"');
            base64(&self.value, out);
            out.push(b'"');
        }
        out.push(b'}');
    }
}

/// Writes a message of protobuf's own that has another JSON than an object of its fields.
fn write_wrapper(name: &str, value: &[u8], out: &mut Vec<u8>) -> Option<()> {
    match name.strip_prefix("google.protobuf.")? {
        "StringValue" => put::string(&String::decode(value).ok()?, out),
        "BoolValue" => put::boolean(bool::decode(value).ok()?, out),
        "Int32Value" => put::small(i32::decode(value).ok()?.into(), out),
        "UInt32Value" => put::small(u32::decode(value).ok()?.into(), out),
        "Int64Value" => put::signed(i64::decode(value).ok()?, out),
        "UInt64Value" => put::unsigned(u64::decode(value).ok()?, out),
        "DoubleValue" => put::double(f64::decode(value).ok()?, out),
        "Timestamp" => Timestamp::decode(value).ok()?.write(out),
        "FieldMask" => FieldMask::decode(value).ok()?.write(out),
        "Any" => Any::decode(value).ok()?.write(out),
        "Duration" => Duration::decode(value).ok()?.write(out),
        _ => return None,
    }
    Some(())
}

fn read_wrapper(name: &str, r: &mut Reader<'_>) -> Option<Result<Vec<u8>, ReadError>> {
    fn bytes<T: Message>(value: Result<T, ReadError>) -> Result<Vec<u8>, ReadError> {
        value.map(|value| value.encode_to_vec())
    }
    Some(match name.strip_prefix("google.protobuf.")? {
        "StringValue" => value(r, |r| bytes(r.string("value"))),
        "BoolValue" => value(r, |r| bytes(r.boolean("value"))),
        "Int32Value" => value(r, |r| bytes(r.int32("value"))),
        "UInt32Value" => value(r, |r| bytes(r.uint32("value"))),
        "Int64Value" => value(r, |r| bytes(r.int64("value"))),
        "UInt64Value" => value(r, |r| bytes(r.uint64("value"))),
        "DoubleValue" => value(r, |r| bytes(r.double("value"))),
        "Duration" => value(r, |r| bytes(r.message::<Duration>())),
        "Timestamp" => value(r, |r| bytes(r.message::<Timestamp>())),
        "FieldMask" => value(r, |r| bytes(r.message::<FieldMask>())),
        "Any" => value(r, |r| bytes(r.message::<Any>())),
        "Empty" => members(r, true, |r| bytes(r.object::<()>(false))),
        _ => return None,
    })
}

/// The members of an `Any` that holds a type with a JSON of its own: its type and `value`.
fn value(
    r: &mut Reader<'_>,
    read: impl Fn(&mut Reader<'_>) -> Result<Vec<u8>, ReadError>,
) -> Result<Vec<u8>, ReadError> {
    members(r, false, read)
}

/// Where the value is `optional`, it may be left out.
fn members(
    r: &mut Reader<'_>,
    optional: bool,
    read: impl Fn(&mut Reader<'_>) -> Result<Vec<u8>, ReadError>,
) -> Result<Vec<u8>, ReadError> {
    let mut found = None;
    r.lexer.next()?;
    loop {
        let token = r.lexer.next()?;
        match token.kind {
            Kind::ObjectClose => {
                let missing = || ReadError::Known { at: r.place(&token), what: "missing \"value\" field".to_owned() };
                return found.or_else(|| optional.then(Vec::new)).ok_or_else(missing);
            }
            Kind::Name => {}
            _ => return Err(r.lexer.unexpected(&token)),
        }
        match &*token.text {
            "@type" => drop(r.lexer.next()?),
            "value" if found.is_some() => {
                return Err(ReadError::Known { at: r.place(&token), what: "duplicate \"value\" field".to_owned() });
            }
            "value" => found = Some(read(r)?),
            _ if r.unknown == Unknown::Discard => r.skip()?,
            _ => return Err(ReadError::Field { at: r.place(&token), name: r.lexer.raw(&token) }),
        }
    }
}

impl Read for () {}

impl Read for Any {
    fn read_message(r: &mut Reader<'_>) -> Result<Self, ReadError> {
        let start = r.lexer.peek()?.clone();
        if start.kind != Kind::ObjectOpen {
            return Err(r.lexer.unexpected(&start));
        }
        let mut ahead = r.ahead();
        let (type_url, at) = match type_url(&mut ahead)? {
            TypeUrl::Found(url, at) => (url, at),
            TypeUrl::Empty => return r.skip().map(|()| Self::default()),
            TypeUrl::Missing if r.unknown == Unknown::Discard => return r.skip().map(|()| Self::default()),
            TypeUrl::Missing => {
                return Err(ReadError::Known { at: r.place(&start), what: "missing \"@type\" field".to_owned() });
            }
        };
        let name = type_url.rsplit('/').next().unwrap_or_default();
        let value = match read_wrapper(name, r) {
            Some(value) => value?,
            None => match read_named(name, r) {
                Some(value) => value?,
                None => {
                    let what = format!("unable to resolve {}: \"not found\"", ahead.lexer.raw(&at));
                    return Err(ReadError::Known { at: r.place(&at), what });
                }
            },
        };
        Ok(Self { type_url, value })
    }
}

enum TypeUrl<'a> {
    Found(String, Token<'a>),
    Empty,
    Missing,
}

/// Looks through an object for its `@type`.
fn type_url<'a>(r: &mut Reader<'a>) -> Result<TypeUrl<'a>, ReadError> {
    let mut found = None;
    let mut members = 0;
    r.lexer.next()?;
    loop {
        let name = r.lexer.next()?;
        match name.kind {
            Kind::ObjectClose if members == 0 => return Ok(TypeUrl::Empty),
            Kind::ObjectClose => return Ok(found.map_or(TypeUrl::Missing, |(url, at)| TypeUrl::Found(url, at))),
            Kind::Name => members += 1,
            _ => return Err(r.lexer.unexpected(&name)),
        }
        if name.text != "@type" {
            r.skip()?;
            continue;
        }
        let wrong = |what: String, at: &Token<'_>| Err(ReadError::Known { at: r.place(at), what });
        if found.is_some() {
            return wrong("duplicate \"@type\" field".to_owned(), &name);
        }
        let token = r.lexer.next()?;
        if token.kind != Kind::Text {
            let what = format!("@type field value is not a string: {}", r.lexer.raw(&token));
            return Err(ReadError::Known { at: r.place(&token), what });
        }
        if token.text.is_empty() {
            let what = "@type field contains empty value".to_owned();
            return Err(ReadError::Known { at: r.place(&token), what });
        }
        found = Some((token.text.clone().into_owned(), token));
    }
}

fn base64(bytes: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().fold(0_usize, |word, byte| word << 8 | usize::from(*byte)) << (8 * (3 - chunk.len()));
        for n in 0..4 {
            out.push(if n <= chunk.len() { DIGITS[word >> (18 - 6 * n) & 63] } else { b'=' });
        }
    }
}
