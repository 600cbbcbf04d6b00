//! How flags look in a help text.

use super::{Flag, Kind};
use crate::gotext::quote;

/// Lines of flags in the order of their names. `default_of` gives a default that is not known beforehand.
pub(crate) fn usages(flags: &[Flag], default_of: impl Fn(&Flag) -> String) -> String {
    let mut sorted: Vec<&Flag> = flags.iter().collect();
    sorted.sort_by_key(|flag| flag.name);
    let rows: Vec<(String, String)> = sorted.into_iter().map(|flag| row(flag, &default_of(flag))).collect();
    let width = rows.iter().map(|(left, _)| left.len()).max().unwrap_or(0) + 1;
    let mut out = String::new();
    for (left, right) in rows {
        let right = right.replace('\n', &format!("\n{:width$}  ", ""));
        out.push_str(&format!("{left:width$}  {right}\n"));
    }
    out
}

fn row(flag: &Flag, default: &str) -> (String, String) {
    let mut left = match flag.short {
        Some(short) => format!("  -{short}, --{}", flag.name),
        None => format!("      --{}", flag.name),
    };
    let shown = flag.kind.shown();
    if !shown.is_empty() {
        left.push_str(&format!(" {shown}"));
    }
    if let Some(implied) = flag.implied.filter(|_| flag.kind != Kind::Bool) {
        left.push_str(&format!("[={implied}]"));
    }
    let mut right = flag.usage.to_owned();
    let zero = matches!(default, "" | "false" | "0" | "0s" | "[]");
    if !zero {
        match flag.kind {
            Kind::Text => right.push_str(&format!(" (default {})", quote(default))),
            _ => right.push_str(&format!(" (default {default})")),
        }
    }
    (left, right)
}
