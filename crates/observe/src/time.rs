//! Times as the command prints and reads them. Always UTC. No clock: the caller says what "now" is.

use prost_types::Timestamp;

use crate::gotext;

/// How times are printed (`--time-format`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum TimeFormat {
    YearMonthDay,
    YearMonthDayHour,
    YearMonthDayHourMinute,
    #[default]
    StampMilli,
    Rfc3339,
    Rfc3339Milli,
    Rfc3339Micro,
    Rfc3339Nano,
    Rfc1123Z,
}

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const DAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];

impl TimeFormat {
    /// What is not a name is the default, without a word: the official command does so.
    pub(crate) fn named(name: &str) -> Self {
        match name.to_lowercase().as_str() {
            "yearmonthday" => Self::YearMonthDay,
            "yearmonthdayhour" => Self::YearMonthDayHour,
            "yearmonthdayhourminute" => Self::YearMonthDayHourMinute,
            "rfc3339" => Self::Rfc3339,
            "rfc3339milli" => Self::Rfc3339Milli,
            "rfc3339micro" => Self::Rfc3339Micro,
            "rfc3339nano" => Self::Rfc3339Nano,
            "rfc1123z" => Self::Rfc1123Z,
            _ => Self::StampMilli,
        }
    }

    /// `N/A` where there is no time, or one outside of years 1 to 9999.
    pub(crate) fn print(self, time: Option<&Timestamp>) -> String {
        let Some(time) = time.filter(|time| is_valid(time)) else { return "N/A".to_owned() };
        let Civil { year, month, day, hour, minute, second, weekday } = Civil::of(time.seconds);
        let date = format!("{year:04}-{month:02}-{day:02}");
        let clock = format!("{hour:02}:{minute:02}:{second:02}");
        match self {
            Self::YearMonthDay => date,
            Self::YearMonthDayHour => format!("{date}T{hour:02}Z"),
            Self::YearMonthDayHourMinute => format!("{date}T{hour:02}:{minute:02}Z"),
            Self::StampMilli => {
                let month = MONTHS[month as usize - 1];
                format!("{month} {day:>2} {clock}.{:03}", time.nanos / 1_000_000)
            }
            Self::Rfc3339 => format!("{date}T{clock}Z"),
            Self::Rfc3339Milli => format!("{date}T{clock}{}Z", decimals(time.nanos, 3)),
            Self::Rfc3339Micro => format!("{date}T{clock}{}Z", decimals(time.nanos, 6)),
            Self::Rfc3339Nano => format!("{date}T{clock}{}Z", decimals(time.nanos, 9)),
            Self::Rfc1123Z => {
                let (weekday, month) = (DAYS[weekday], MONTHS[month as usize - 1]);
                format!("{weekday}, {day:02} {month} {year:04} {clock} +0000")
            }
        }
    }
}

/// Up to `digits` decimals of a second, without trailing zeros.
fn decimals(nanos: i32, digits: usize) -> String {
    let text = format!("{nanos:09}");
    let kept = text[..digits].trim_end_matches('0');
    if kept.is_empty() { String::new() } else { format!(".{kept}") }
}

pub(crate) fn is_valid(time: &Timestamp) -> bool {
    (-62_135_596_800..=253_402_300_799).contains(&time.seconds) && (0..1_000_000_000).contains(&time.nanos)
}

/// A moment of the proleptic Gregorian calendar.
struct Civil {
    year: i64,
    month: i64,
    day: i64,
    hour: i64,
    minute: i64,
    second: i64,
    weekday: usize,
}

impl Civil {
    fn of(seconds: i64) -> Self {
        let (days, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
        // Years begin in March, so that the leap day is the last of its year; eras have 400 years.
        let shifted = days + 719_468;
        let (era, of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
        let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year + year / 4 - year / 100);
        let march = (5 * of_year + 2) / 153;
        let month = if march < 10 { march + 3 } else { march - 9 };
        Self {
            year: year + era * 400 + i64::from(month <= 2),
            month,
            day: of_year - (153 * march + 2) / 5 + 1,
            hour: rest / 3_600,
            minute: rest / 60 % 60,
            second: rest % 60,
            weekday: (days + 4).rem_euclid(7) as usize,
        }
    }
}

fn days_before(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let march = if month > 2 { month - 3 } else { month + 9 };
    let of_year = (153 * march + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

// === reading ===

/// `--since` and `--until`: a duration before `now`, or a moment.
pub(crate) fn parse(text: &str, now: Timestamp) -> Option<Timestamp> {
    if let Ok(ago) = gotext::parse_duration(text) {
        let nanos = i128::from(now.seconds) * 1_000_000_000 + i128::from(now.nanos) - i128::from(ago);
        let (seconds, nanos) = (nanos.div_euclid(1_000_000_000), nanos.rem_euclid(1_000_000_000));
        return Some(Timestamp { seconds: i64::try_from(seconds).ok()?, nanos: i32::try_from(nanos).ok()? });
    }
    date_time(text).or_else(|| mail_date(text))
}

/// Reads from the front of a text.
struct Reader<'a>(&'a str);

impl Reader<'_> {
    fn literal(&mut self, text: &str) -> Option<()> {
        self.0 = self.0.strip_prefix(text)?;
        Some(())
    }

    fn digits(&mut self, least: usize, most: usize) -> Option<i64> {
        let found = self.0.bytes().take(most).take_while(u8::is_ascii_digit).count();
        if found < least {
            return None;
        }
        let number = self.0[..found].parse().ok()?;
        self.0 = &self.0[found..];
        Some(number)
    }

    /// A fraction may follow seconds of any layout. In nanoseconds.
    fn fraction(&mut self) -> Option<i32> {
        let Some(rest) = self.0.strip_prefix(['.', ',']) else { return Some(0) };
        let count = rest.bytes().take_while(u8::is_ascii_digit).count();
        if count == 0 {
            return Some(0);
        }
        let digits = &rest[..count.min(9)];
        self.0 = &rest[count..];
        format!("{digits:0<9}").parse().ok()
    }

    /// Seconds east of UTC; `colon` stands between hours and minutes.
    fn zone(&mut self, colon: &str) -> Option<i64> {
        let sign = match self.0.as_bytes().first()? {
            b'+' => 1,
            b'-' => -1,
            _ => return None,
        };
        self.0 = &self.0[1..];
        let hours = self.digits(2, 2).filter(|hours| *hours <= 24)?;
        self.literal(colon)?;
        let minutes = self.digits(2, 2).filter(|minutes| *minutes <= 60)?;
        Some(sign * (hours * 3_600 + minutes * 60))
    }

    fn name(&mut self, names: &[&str]) -> Option<usize> {
        let found = names
            .iter()
            .position(|name| self.0.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name)))?;
        self.0 = &self.0[names[found].len()..];
        Some(found)
    }
}

fn moment(date: (i64, i64, i64), clock: (i64, i64, i64), nanos: i32, zone: i64) -> Option<Timestamp> {
    let ((year, month, day), (hour, minute, second)) = (date, clock);
    let sane =
        (1..=12).contains(&month) && day >= 1 && day <= days_in(year, month) && hour < 24 && minute < 60 && second < 60;
    let seconds = days_before(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second - zone;
    sane.then_some(Timestamp { seconds, nanos })
}

/// `2006-01-02`, with `T15`, `T15:04` or `T15:04:05.999` and a zone.
fn date_time(text: &str) -> Option<Timestamp> {
    let mut reader = Reader(text);
    let year = reader.digits(4, 4)?;
    reader.literal("-")?;
    let month = reader.digits(2, 2)?;
    reader.literal("-")?;
    let date = (year, month, reader.digits(2, 2)?);
    if reader.0.is_empty() {
        return moment(date, (0, 0, 0), 0, 0);
    }
    reader.literal("T")?;
    let hour = reader.digits(1, 2)?;
    let (mut minute, mut second, mut nanos) = (0, 0, 0);
    if reader.literal(":").is_some() {
        minute = reader.digits(2, 2)?;
        if reader.literal(":").is_some() {
            second = reader.digits(2, 2)?;
            nanos = reader.fraction()?;
        }
    }
    let zone = if reader.literal("Z").is_some() { 0 } else { reader.zone(":")? };
    reader.0.is_empty().then_some(())?;
    moment(date, (hour, minute, second), nanos, zone)
}

/// `Mon, 02 Jan 2006 15:04:05 -0700`. The day of the week is read, not checked.
fn mail_date(text: &str) -> Option<Timestamp> {
    let mut reader = Reader(text);
    reader.name(&DAYS)?;
    reader.literal(", ")?;
    let day = reader.digits(2, 2)?;
    reader.literal(" ")?;
    let month = reader.name(&MONTHS)? as i64 + 1;
    reader.literal(" ")?;
    let year = reader.digits(4, 4)?;
    reader.literal(" ")?;
    let hour = reader.digits(1, 2)?;
    reader.literal(":")?;
    let minute = reader.digits(2, 2)?;
    reader.literal(":")?;
    let second = reader.digits(2, 2)?;
    let nanos = reader.fraction()?;
    reader.literal(" ")?;
    let zone = reader.zone("")?;
    reader.0.is_empty().then_some(())?;
    moment((year, month, day), (hour, minute, second), nanos, zone)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp { seconds: 1_772_600_767, nanos: 89_012_345 };

    #[test]
    fn prints_every_layout() {
        for (name, expected) in [
            ("YearMonthDay", "2026-03-04"),
            ("yearmonthdayhour", "2026-03-04T05Z"),
            ("YearMonthDayHourMinute", "2026-03-04T05:06Z"),
            ("bogus", "Mar  4 05:06:07.089"),
            ("RFC3339", "2026-03-04T05:06:07Z"),
            ("RFC3339Milli", "2026-03-04T05:06:07.089Z"),
            ("RFC3339Micro", "2026-03-04T05:06:07.089012Z"),
            ("RFC3339Nano", "2026-03-04T05:06:07.089012345Z"),
            ("RFC1123Z", "Wed, 04 Mar 2026 05:06:07 +0000"),
        ] {
            assert_eq!(TimeFormat::named(name).print(Some(&NOW)), expected, "{name}");
        }
        assert_eq!(TimeFormat::StampMilli.print(None), "N/A");
        assert_eq!(TimeFormat::StampMilli.print(Some(&Timestamp { seconds: 0, nanos: -1 })), "N/A");
    }

    #[test]
    fn reads_what_it_prints_and_more() {
        let whole = Timestamp { seconds: NOW.seconds, nanos: 0 };
        for (text, expected) in [
            ("2026-03-04T05:06:07Z", whole),
            ("2026-03-04T06:06:07+01:00", whole),
            ("2026-03-04T05:06:07.089012345Z", NOW),
            ("Wed, 04 Mar 2026 05:06:07 +0000", whole),
            ("2026-03-04", Timestamp { seconds: 1_772_582_400, nanos: 0 }),
            ("2026-03-04T05Z", Timestamp { seconds: 1_772_600_400, nanos: 0 }),
            ("7s", Timestamp { seconds: NOW.seconds - 7, nanos: NOW.nanos }),
        ] {
            assert_eq!(parse(text, NOW), Some(expected), "{text}");
        }
        for text in ["2026-13-01", "2026-02-29", "", "yesterday", "2026-03-04T05:06", "2026-03-04 05:06:07Z"] {
            assert_eq!(parse(text, NOW), None, "{text}");
        }
    }
}
