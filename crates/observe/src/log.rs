//! Warnings as lines of `key=value`, as the official command logs them.

use std::io::Write;

use prost_types::Timestamp;

use crate::gotext;
use crate::time::TimeFormat;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    Debug,
    Warn,
}

/// Writes one line. Logging never fails a run.
pub(crate) fn line(err: &mut dyn Write, now: Timestamp, level: Level, message: &str, pairs: &[(&str, &[u8])]) {
    let level = match level {
        Level::Debug => "DEBUG",
        Level::Warn => "WARN",
    };
    let mut text = format!("time={} level={level}", TimeFormat::Rfc3339Milli.print(Some(&now)));
    for (key, value) in [("msg", message.as_bytes())].iter().chain(pairs) {
        text.push_str(&format!(" {key}={}", gotext::log_value(value)));
    }
    text.push('\n');
    let _ = err.write_all(text.as_bytes());
}
