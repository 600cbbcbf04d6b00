//! Times as protobuf's JSON has them: RFC 3339 in UTC with 0, 3, 6 or 9 digits of a second; read with any offset.

use prost_types::{Duration, Timestamp};

use super::lex::Kind;
use super::read::{ReadError, Reader};
use super::{Json, Read, put};

const DAY: i64 = 86_400;
/// Years 1 to 9999.
const SECONDS: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;

impl Json for Timestamp {
    fn write(&self, out: &mut Vec<u8>) {
        let (days, second) = (self.seconds.div_euclid(DAY), self.seconds.rem_euclid(DAY) as u64);
        let (year, month, day) = date(days);
        out.push(b'"');
        if year < 0 {
            out.push(b'-');
        }
        put::digits(year.unsigned_abs(), 4, out);
        for (before, value) in
            [(b'-', month), (b'-', day), (b'T', second / 3600), (b':', second / 60 % 60), (b':', second % 60)]
        {
            out.push(before);
            put::digits(value, 2, out);
        }
        fraction(self.nanos, out);
        out.extend_from_slice(b"Z\"");
    }
}

/// The point and three, six or nine digits, if there is a part of a second.
fn fraction(nanos: i32, out: &mut Vec<u8>) {
    let nanos = u64::from(nanos.unsigned_abs());
    if nanos == 0 {
        return;
    }
    out.push(b'.');
    if nanos.is_multiple_of(1_000_000) {
        put::digits(nanos / 1_000_000, 3, out);
    } else if nanos.is_multiple_of(1000) {
        put::digits(nanos / 1000, 6, out);
    } else {
        put::digits(nanos, 9, out);
    }
}

impl Json for Duration {
    fn write(&self, out: &mut Vec<u8>) {
        out.push(b'"');
        if self.seconds < 0 || self.nanos < 0 {
            out.push(b'-');
        }
        put::digits(self.seconds.unsigned_abs(), 1, out);
        fraction(self.nanos, out);
        out.extend_from_slice(b"s\"");
    }
}

impl Read for Duration {
    fn read_message(r: &mut Reader<'_>) -> Result<Self, ReadError> {
        let token = r.lexer.next()?;
        if token.kind != Kind::Text {
            return Err(r.lexer.unexpected(&token));
        }
        duration_of(&token.text).ok_or_else(|| {
            let what = format!("invalid google.protobuf.Duration value {}", r.lexer.raw(&token));
            ReadError::Known { at: r.place(&token), what }
        })
    }
}

/// Seconds with at most nine digits behind the point, and an `s`.
fn duration_of(text: &str) -> Option<Duration> {
    let text = text.strip_suffix('s')?;
    let (sign, text) = text.strip_prefix('-').map_or((1, text), |text| (-1, text));
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    if part.len() > 9 || !whole.bytes().chain(part.bytes()).all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let nanos: i32 = format!("{part:0<9}").parse().ok()?;
    Some(Duration { seconds: whole.parse::<i64>().ok()? * sign, nanos: nanos * sign as i32 })
}

/// Year, month and day of a day since 1970-01-01 (Howard Hinnant's `civil_from_days`).
pub fn date(days: i64) -> (i64, u64, u64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year + era * 400 + i64::from(month <= 2), month as u64, day as u64)
}

/// Days since 1970-01-01 of a date (`days_from_civil`).
pub fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

impl Read for Timestamp {
    fn read_message(r: &mut Reader<'_>) -> Result<Self, ReadError> {
        let token = r.lexer.next()?;
        if token.kind != Kind::Text {
            return Err(r.lexer.unexpected(&token));
        }
        let wrong = |what: String| ReadError::Known { at: r.place(&token), what };
        let Some(time) = parse_time(&token.text) else {
            return Err(wrong(format!("invalid google.protobuf.Timestamp value {}", r.lexer.raw(&token))));
        };
        if !SECONDS.contains(&time.seconds) {
            return Err(wrong(format!("google.protobuf.Timestamp value out of range: {}", r.lexer.raw(&token))));
        }
        Ok(time)
    }
}

/// A time of RFC 3339 as Go reads it: an hour may have one digit, a comma may stand for the point.
pub fn parse_time(text: &str) -> Option<Timestamp> {
    let bytes = text.as_bytes();
    let mut at = 0;
    let year = number(bytes, &mut at, 4)?;
    let month = number(bytes, skip(bytes, &mut at, b'-')?, 2)?;
    let day = number(bytes, skip(bytes, &mut at, b'-')?, 2)?;
    skip(bytes, &mut at, b'T')?;
    let hour = number(bytes, &mut at, 2).or_else(|| number(bytes, &mut at, 1))?;
    let minute = number(bytes, skip(bytes, &mut at, b':')?, 2)?;
    let second = number(bytes, skip(bytes, &mut at, b':')?, 2)?;
    let mut nanos = 0;
    if let Some(b'.' | b',') = bytes.get(at) {
        let digits = bytes[at + 1..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        if digits == 0 || digits > 9 {
            return None;
        }
        at += 1;
        nanos = number(bytes, &mut at, digits)? * 10_i64.pow(9 - digits as u32);
    }
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let last = match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    if !(1..=12).contains(&month) || !(1..=last).contains(&day) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let offset = match bytes.get(at)? {
        b'Z' => {
            at += 1;
            0
        }
        sign @ (b'+' | b'-') => {
            at += 1;
            let hours = number(bytes, &mut at, 2).filter(|hours| *hours <= 24)?;
            let minutes = number(bytes, skip(bytes, &mut at, b':')?, 2).filter(|minutes| *minutes <= 60)?;
            let offset = hours * 3600 + minutes * 60;
            if *sign == b'-' { -offset } else { offset }
        }
        _ => return None,
    };
    let seconds = days(year, month, day) * DAY + hour * 3600 + minute * 60 + second - offset;
    (at == bytes.len()).then_some(Timestamp { seconds, nanos: nanos as i32 })
}

fn number(bytes: &[u8], at: &mut usize, digits: usize) -> Option<i64> {
    let text = bytes.get(*at..*at + digits)?;
    let value = text.iter().try_fold(0, |value, byte| Some(value * 10 + i64::from(char::from(*byte).to_digit(10)?)))?;
    *at += digits;
    Some(value)
}

fn skip<'a>(bytes: &[u8], at: &'a mut usize, sign: u8) -> Option<&'a mut usize> {
    (bytes.get(*at) == Some(&sign)).then(|| {
        *at += 1;
        at
    })
}
