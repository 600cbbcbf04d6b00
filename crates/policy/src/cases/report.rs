//! Reports for machines: JSON, and JUnit XML for the systems that show test results.

use std::fmt::Write;

use super::run::{CaseReport, RowReport};

/// Reports as one JSON object: counts, then the cases.
pub fn json(reports: &[CaseReport]) -> serde_json::Value {
    let rows = || reports.iter().flat_map(|report| &report.rows);
    let failed = rows().filter(|row| !row.differences.is_empty()).count();
    serde_json::json!({
        "cases": reports.len(),
        "rows": rows().count(),
        "failed": failed,
        "passed": failed == 0,
        "reports": reports,
    })
}

/// Reports as JUnit XML: a suite a case, a test a row.
pub fn junit(reports: &[CaseReport]) -> String {
    let count = |rows: &[RowReport]| rows.iter().filter(|row| !row.differences.is_empty()).count();
    let total: usize = reports.iter().map(|report| report.rows.len()).sum();
    let failed: usize = reports.iter().map(|report| count(&report.rows)).sum();
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    // Writing to a String cannot fail.
    let _ = writeln!(out, "<testsuites name=\"nexin policy test\" tests=\"{total}\" failures=\"{failed}\">");
    for report in reports {
        let (tests, failures) = (report.rows.len(), count(&report.rows));
        let (name, file) = (escape(&report.name), escape(&report.file));
        let _ =
            writeln!(out, "  <testsuite name=\"{name}\" file=\"{file}\" tests=\"{tests}\" failures=\"{failures}\">");
        for row in &report.rows {
            let title = escape(&title(row));
            let _ = write!(
                out,
                "    <testcase classname=\"{name}\" name=\"{title}\" file=\"{file}\" line=\"{}\"",
                row.line
            );
            if row.differences.is_empty() {
                out.push_str("/>\n");
                continue;
            }
            out.push_str(">\n");
            for difference in &row.differences {
                let message =
                    format!("{}: expected {}, found {}", difference.side, difference.expected, difference.found);
                let (message, why) = (escape(&message), escape(&difference.why));
                let _ = writeln!(out, "      <failure message=\"{message}\">{why}</failure>");
            }
            out.push_str("    </testcase>\n");
        }
        out.push_str("  </testsuite>\n");
    }
    out.push_str("</testsuites>\n");
    out
}

fn title(row: &RowReport) -> String {
    let port = match row.protocol {
        nexin_model::Protocol::Icmp | nexin_model::Protocol::Icmp6 => row.port >> 8,
        _ => row.port,
    };
    format!("{} -> {} {port}/{}", row.from, row.to, row.protocol)
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            // XML 1.0 has no way to write other control characters.
            c if c.is_control() && !matches!(c, '\n' | '\t') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}
