//! Times and durations in Go's writing, with the words of its errors.

use super::DocumentError;

/// Nanoseconds of a duration such as `1h30m` or `-1.5s`.
pub(super) fn duration(text: &str) -> Result<i64, DocumentError> {
    let invalid = || DocumentError::Refused(format!("time: invalid duration {text:?}"));
    let (negative, mut rest) = match text.as_bytes() {
        [b'-', ..] => (true, &text[1..]),
        [b'+', ..] => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let number_end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, after) = rest.split_at(number_end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return Err(invalid());
        }
        let unit_end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, next) = after.split_at(unit_end);
        let scale: u64 = match unit {
            "" => return Err(DocumentError::Refused(format!("time: missing unit in duration {text:?}"))),
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return Err(DocumentError::Refused(format!("time: unknown unit {unit:?} in duration {text:?}"))),
        };
        let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| invalid())? };
        let part = format!("0.{fraction}0").parse::<f64>().map_or(0.0, |part| part * scale as f64);
        total = whole
            .checked_mul(scale)
            .and_then(|whole| whole.checked_add(part as u64))
            .and_then(|n| total.checked_add(n))
            .ok_or_else(invalid)?;
        rest = next;
    }
    let limit = if negative { 1 << 63 } else { (1 << 63) - 1 };
    if total > limit {
        return Err(invalid());
    }
    Ok(if negative { (total as i64).wrapping_neg() } else { total as i64 })
}

/// Seconds since the epoch (and nanoseconds) of a time such as `2023-10-09T23:59:59-07:00`.
pub(super) fn time(text: &str) -> Result<(i64, u32), DocumentError> {
    let mut reader = TimeReader { text, rest: text };
    let year = reader.digits("2006", 4, 4, "year", 0..=9999)?;
    reader.literal("-")?;
    let month = reader.digits("01", 2, 2, "month", 1..=12)?;
    reader.literal("-")?;
    let day = reader.digits("02", 2, 2, "day", 0..=99)?;
    reader.literal("T")?;
    let hour = reader.digits("15", 1, 2, "hour", 0..=23)?;
    reader.literal(":")?;
    let minute = reader.digits("04", 2, 2, "minute", 0..=59)?;
    reader.literal(":")?;
    let second = reader.digits("05", 2, 2, "second", 0..=59)?;
    let nanos = reader.fraction();
    let offset = reader.zone()?;
    if !reader.rest.is_empty() {
        return Err(reader.failed(&format!(": extra text: {:?}", reader.rest)));
    }
    if day < 1 || day > days_in(year, month) {
        return Err(reader.failed(": day out of range"));
    }
    let seconds = ((nexin_hubble::json::days(year, month, day) * 24 + hour) * 60 + minute) * 60 + second;
    Ok((seconds - offset, nanos))
}

struct TimeReader<'a> {
    text: &'a str,
    rest: &'a str,
}

impl TimeReader<'_> {
    fn failed(&self, why: &str) -> DocumentError {
        DocumentError::Refused(format!("parsing time {:?}{why}", self.text))
    }

    fn mismatch(&self, layout: &str) -> DocumentError {
        self.failed(&format!(" as \"2006-01-02T15:04:05Z07:00\": cannot parse {:?} as {layout:?}", self.rest))
    }

    fn literal(&mut self, literal: &str) -> Result<(), DocumentError> {
        self.rest = self.rest.strip_prefix(literal).ok_or_else(|| self.mismatch(literal))?;
        Ok(())
    }

    fn digits(
        &mut self,
        layout: &str,
        least: usize,
        most: usize,
        name: &str,
        range: std::ops::RangeInclusive<i64>,
    ) -> Result<i64, DocumentError> {
        let count = self.rest.bytes().take(most).take_while(u8::is_ascii_digit).count();
        if count < least {
            return Err(self.mismatch(layout));
        }
        let (digits, rest) = self.rest.split_at(count);
        let number: i64 = digits.parse().map_err(|_| self.mismatch(layout))?;
        if !range.contains(&number) {
            return Err(self.failed(&format!(": {name} out of range")));
        }
        self.rest = rest;
        Ok(number)
    }

    /// Parts of a second, which may be missing; what is finer than a nanosecond is dropped.
    fn fraction(&mut self) -> u32 {
        let Some(after) = self.rest.strip_prefix(['.', ',']) else { return 0 };
        let count = after.bytes().take_while(u8::is_ascii_digit).count();
        if count == 0 {
            return 0;
        }
        self.rest = &after[count..];
        let digits = after.bytes().take(count.min(9)).fold(0, |sum, digit| sum * 10 + u32::from(digit - b'0'));
        digits * 10_u32.pow(9 - count.min(9) as u32)
    }

    /// Seconds east of Greenwich.
    fn zone(&mut self) -> Result<i64, DocumentError> {
        const LAYOUT: &str = "Z07:00";
        if let Some(rest) = self.rest.strip_prefix('Z') {
            self.rest = rest;
            return Ok(0);
        }
        let [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2, ..] = self.rest.as_bytes() else {
            return Err(self.mismatch(LAYOUT));
        };
        if ![h1, h2, m1, m2].iter().all(|digit| digit.is_ascii_digit()) {
            return Err(self.mismatch(LAYOUT));
        }
        let pair = |tens: u8, ones: u8| i64::from(tens - b'0') * 10 + i64::from(ones - b'0');
        let (hours, minutes) = (pair(*h1, *h2), pair(*m1, *m2));
        if hours > 24 {
            return Err(self.failed(": time zone offset hour out of range"));
        }
        if minutes > 60 {
            return Err(self.failed(": time zone offset minute out of range"));
        }
        let offset = (hours * 60 + minutes) * 60;
        let sign = if *sign == b'-' { -1 } else { 1 };
        self.rest = &self.rest[6..];
        Ok(sign * offset)
    }
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 => 28 + i64::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}
