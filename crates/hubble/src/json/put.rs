//! Writes values of JSON. No choice of names or fields is made here.

/// What needs an escape: 0 nothing, 1 something, 2 perhaps (first byte of U+2028 and U+2029).
const ESCAPE: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 0x20 {
        table[byte] = 1;
        byte += 1;
    }
    table[b'"' as usize] = 1;
    table[b'\\' as usize] = 1;
    table[b'<' as usize] = 1;
    table[b'>' as usize] = 1;
    table[b'&' as usize] = 1;
    table[0xe2] = 2;
    table
};

/// Ends an object whose members were each written with a leading comma, from `start` on.
pub(super) fn close(start: usize, out: &mut Vec<u8>) {
    match out.get_mut(start) {
        Some(first) => *first = b'{',
        None => out.push(b'{'),
    }
    out.push(b'}');
}

pub(super) fn list<T>(items: &[T], out: &mut Vec<u8>, write: impl Fn(&T, &mut Vec<u8>)) {
    out.push(b'[');
    for (n, item) in items.iter().enumerate() {
        if n > 0 {
            out.push(b',');
        }
        write(item, out);
    }
    out.push(b']');
}

pub(super) fn string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let bytes = text.as_bytes();
    let mut done = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        if ESCAPE[usize::from(byte)] == 0 {
            continue;
        }
        if byte == 0xe2 {
            if bytes[at + 1..].starts_with(&[0x80, 0xa8]) || bytes[at + 1..].starts_with(&[0x80, 0xa9]) {
                out.extend_from_slice(&bytes[done..at]);
                out.extend_from_slice(if bytes[at + 2] == 0xa8 { b"\\u2028" } else { b"\\u2029" });
                done = at + 3;
            }
            continue;
        }
        out.extend_from_slice(&bytes[done..at]);
        done = at + 1;
        escape(byte, out);
    }
    out.extend_from_slice(&bytes[done..]);
    out.push(b'"');
}

fn escape(byte: u8, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let short = match byte {
        b'"' | b'\\' => byte,
        0x08 => b'b',
        0x0c => b'f',
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        _ => {
            out.extend_from_slice(b"\\u00");
            out.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
            return;
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}

pub(super) fn boolean(value: bool, out: &mut Vec<u8>) {
    out.extend_from_slice(if value { b"true" } else { b"false" });
}

/// Numbers of at most 32 bits are numbers.
pub(super) fn small(value: i64, out: &mut Vec<u8>) {
    if value < 0 {
        out.push(b'-');
    }
    digits(value.unsigned_abs(), 1, out);
}

/// Numbers of 64 bits are text.
pub(super) fn unsigned(value: u64, out: &mut Vec<u8>) {
    out.push(b'"');
    digits(value, 1, out);
    out.push(b'"');
}

pub(super) fn signed(value: i64, out: &mut Vec<u8>) {
    out.push(b'"');
    small(value, out);
    out.push(b'"');
}

/// A number with at least `width` (at most 20) digits.
pub(super) fn digits(mut value: u64, width: usize, out: &mut Vec<u8>) {
    let mut text = [b'0'; 20];
    let mut at = text.len();
    while value > 0 {
        at -= 1;
        text[at] = b'0' + (value % 10) as u8;
        value /= 10;
    }
    out.extend_from_slice(&text[at.min(text.len() - width)..]);
}

pub(super) fn enumeration(name: Option<&str>, number: i32, out: &mut Vec<u8>) {
    match name {
        Some(name) => {
            out.push(b'"');
            out.extend_from_slice(name.as_bytes());
            out.push(b'"');
        }
        None => small(i64::from(number), out),
    }
}

/// As Go writes floats: the shortest text that reads back, with an exponent below 1e-6 and from 1e21 on.
pub(super) fn double(value: f64, out: &mut Vec<u8>) {
    let text = match value {
        _ if value.is_nan() => "\"NaN\"".to_owned(),
        _ if value.is_infinite() => if value > 0.0 { "\"Infinity\"" } else { "\"-Infinity\"" }.to_owned(),
        _ if value != 0.0 && !(1e-6..1e21).contains(&value.abs()) => {
            let text = format!("{value:e}");
            match text.split_once('e') {
                Some((mantissa, exponent)) if !exponent.starts_with('-') => format!("{mantissa}e+{exponent}"),
                _ => text,
            }
        }
        _ => format!("{value}"),
    };
    out.extend_from_slice(text.as_bytes());
}
