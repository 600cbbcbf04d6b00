//! Times and spans of expressions: texts, parts, bounds. There is no clock here to be asked.

use nexin_hubble::json;
use prost_types::Timestamp;

use super::eval::Fault;
use super::functions::Function;
use super::value::Val;

const SECOND: i128 = 1_000_000_000;
const RANGE: Fault = Fault("timestamp overflow");
/// Years 1 to 9999.
const SECONDS: std::ops::RangeInclusive<i128> = -62_135_596_800..=253_402_300_799;

pub(super) fn time<'a>(nanos: i128) -> Result<Val<'a>, Fault> {
    if SECONDS.contains(&nanos.div_euclid(SECOND)) { Ok(Val::Time(nanos)) } else { Err(RANGE) }
}

/// Spans are numbers of 64 bits in Go.
pub(super) fn span<'a>(nanos: i128) -> Result<Val<'a>, Fault> {
    i64::try_from(nanos).map(|_| Val::Span(nanos)).map_err(|_| Fault("integer overflow"))
}

pub(super) fn time_of<'a>(text: &str) -> Result<Val<'a>, Fault> {
    let time = json::parse_time(text).ok_or(Fault("cannot parse time"))?;
    self::time(i128::from(time.seconds) * SECOND + i128::from(time.nanos))
}

pub(super) fn time_text(nanos: i128) -> String {
    let time = Timestamp { seconds: nanos.div_euclid(SECOND) as i64, nanos: nanos.rem_euclid(SECOND) as i32 };
    let text = json::text(&time);
    let text = text.trim_matches('"').trim_end_matches('Z');
    let text = if text.contains('.') { text.trim_end_matches('0') } else { text };
    format!("{text}Z")
}

/// Seconds with as many digits as there are.
pub(super) fn span_text(nanos: i128) -> String {
    let (sign, nanos) = if nanos < 0 { ("-", -nanos) } else { ("", nanos) };
    let text = format!("{}.{:09}", nanos / SECOND, nanos % SECOND);
    format!("{sign}{}s", text.trim_end_matches('0').trim_end_matches('.'))
}

/// Go's durations: `1h30m`, `-1.5s`, `100us`, `0`.
pub(super) fn span_of<'a>(text: &str) -> Result<Val<'a>, Fault> {
    const WRONG: Fault = Fault("time: invalid duration");
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Ok(Val::Span(0));
    }
    let mut nanos = 0_i128;
    if rest.is_empty() {
        return Err(WRONG);
    }
    while !rest.is_empty() {
        let number = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or(WRONG)?;
        let (value, after) = rest.split_at(number);
        let unit = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(unit);
        let scale: i128 = match unit {
            "ns" => 1,
            "us" | "\u{b5}s" | "\u{3bc}s" => 1000,
            "ms" => 1_000_000,
            "s" => SECOND,
            "m" => 60 * SECOND,
            "h" => 3600 * SECOND,
            _ => return Err(WRONG),
        };
        let (whole, part) = value.split_once('.').unwrap_or((value, ""));
        if whole.len() > 18 || part.contains('.') || whole.is_empty() && part.is_empty() {
            return Err(WRONG);
        }
        nanos += if whole.is_empty() { 0 } else { whole.parse::<i128>().map_err(|_| WRONG)? * scale };
        let part = &part[..part.len().min(18)];
        if !part.is_empty() {
            nanos += part.parse::<i128>().map_err(|_| WRONG)? * scale / 10_i128.pow(part.len() as u32);
        }
        rest = after;
    }
    span(if negative { -nanos } else { nanos })
}

/// A part of a time or span.
pub(super) fn get(function: Function, of: &Val<'_>, zone: Option<&Val<'_>>) -> Result<i64, Fault> {
    use Function as F;
    let nanos = match (of, zone) {
        (Val::Span(nanos), None) => {
            return Ok(match function {
                F::Hours => nanos / (3600 * SECOND),
                F::Minutes => nanos / (60 * SECOND),
                F::Seconds => nanos / SECOND,
                F::Milliseconds => nanos / 1_000_000,
                _ => return Err(Fault("no such overload")),
            } as i64);
        }
        (Val::Time(nanos), None) => *nanos,
        (Val::Time(nanos), Some(Val::Text(zone))) => nanos + i128::from(offset(zone)?) * SECOND,
        _ => return Err(Fault("no such overload")),
    };
    let seconds = nanos.div_euclid(SECOND) as i64;
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = json::date(days);
    Ok(match function {
        F::FullYear => year,
        F::Month => month as i64 - 1,
        F::DayOfYear => days - json::days(year, 1, 1),
        F::DayOfMonth => day as i64 - 1,
        F::Date => day as i64,
        F::DayOfWeek => (days + 4).rem_euclid(7),
        F::Hours => second / 3600,
        F::Minutes => second / 60 % 60,
        F::Seconds => second % 60,
        F::Milliseconds => (nanos.rem_euclid(SECOND) / 1_000_000) as i64,
        _ => return Err(Fault("no such overload")),
    })
}

/// Seconds east of Greenwich of `UTC` or `+02:00`. Names of zones would need a table of them.
fn offset(zone: &str) -> Result<i64, Fault> {
    const UNKNOWN: Fault = Fault("unknown time zone");
    if matches!(zone, "" | "UTC" | "Z") {
        return Ok(0);
    }
    let (sign, digits) = match zone.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, zone.strip_prefix('+').unwrap_or(zone)),
    };
    let (hours, minutes) = digits.split_once(':').ok_or(UNKNOWN)?;
    let number = |text: &str| text.parse::<i64>().map_err(|_| UNKNOWN);
    Ok(sign * (number(hours)? * 3600 + number(minutes)? * 60))
}
