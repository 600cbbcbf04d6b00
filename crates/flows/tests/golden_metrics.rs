//! Metrics as Hubble's own server exposes them: the same flows, the same options, the same text.

#[path = "../../hubble/tests/golden_support/mod.rs"]
mod golden_support;

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use nexin_flows::metrics::{Config, ConfigError, DEFAULT_LIMIT, Format, Metrics};
use nexin_hubble::flow::Flow;
use nexin_hubble::observer::GetFlowsResponse;
use nexin_hubble::observer::get_flows_response::ResponseTypes;
use prost::Message as _;
use serde::Deserialize;

#[derive(Deserialize)]
struct Case {
    id: u64,
    config: Option<String>,
    dynamic: Option<serde_json::Value>,
    #[serde(default)]
    status: BTreeMap<String, String>,
    #[serde(default)]
    content_type: String,
    #[serde(default)]
    exposition: String,
    openmetrics: Option<String>,
    error: Option<String>,
    /// Where theirs ends with a panic, we refuse with its words.
    panic: Option<String>,
    #[serde(default)]
    log: Vec<String>,
}

const NOW: Duration = Duration::from_secs(1_772_600_000);

fn flows() -> Option<Vec<Flow>> {
    let flow = |line: String| {
        let bytes = base64::engine::general_purpose::STANDARD.decode(line).expect("base64");
        match GetFlowsResponse::decode(bytes.as_slice()).expect("a response").response_types {
            Some(ResponseTypes::Flow(flow)) => Some(flow),
            _ => None,
        }
    };
    Some(golden_support::lines("flows.pb64")?.into_iter().filter_map(flow).collect())
}

fn cases() -> Option<Vec<Case>> {
    let lines = golden_support::lines("metrics.jsonl")?;
    Some(lines.iter().map(|line| serde_json::from_str(line).expect("a case a line")).collect())
}

fn replay(case: &Case, flows: &[Flow]) -> Result<Metrics, ConfigError> {
    let config = match (&case.config, &case.dynamic) {
        (Some(config), _) => Config::parse_static(config),
        (None, Some(dynamic)) => Config::parse_yaml(&serde_json::json!({ "metrics": dynamic }).to_string())?,
        (None, None) => panic!("case {} has no configuration", case.id),
    };
    let mut metrics = Metrics::new(&config, DEFAULT_LIMIT)?;
    for flow in flows {
        metrics.observe(flow, NOW);
    }
    Ok(metrics)
}

/// The line with an exemplar's time as the data has it: replaced.
fn without_time(text: &str) -> String {
    let line = |line: &str| match line.split_once(" # {") {
        Some(_) => format!("{} <TS>\n", line.rsplit_once(' ').expect("a time").0),
        None => format!("{line}\n"),
    };
    text.lines().map(line).collect()
}

fn differences(found: &str, expected: &str) -> String {
    let (found, expected): (Vec<_>, Vec<_>) = (found.lines().collect(), expected.lines().collect());
    let missing = expected.iter().filter(|line| !found.contains(line)).take(4).map(|line| format!("\n  - {line}"));
    let surplus = found.iter().filter(|line| !expected.contains(line)).take(4).map(|line| format!("\n  + {line}"));
    missing.chain(surplus).collect()
}

fn check(case: &Case, flows: &[Flow]) -> Result<(), String> {
    let refusal = case.error.as_ref().or(case.panic.as_ref());
    let metrics = match (replay(case, flows), refusal) {
        (Err(error), Some(expected)) if error.to_string() == *expected => return Ok(()),
        (Err(error), expected) => return Err(format!("refused with {error:?}, not {expected:?}")),
        (Ok(_), Some(expected)) => return Err(format!("accepted, not refused with {expected:?}")),
        (Ok(metrics), None) => metrics,
    };
    let text = metrics.encode(Format::Prometheus) + Format::Prometheus.end();
    if text != case.exposition {
        return Err(format!("exposition:{}", differences(&text, &case.exposition)));
    }
    if let Some(expected) = &case.openmetrics {
        let text = without_time(&(metrics.encode(Format::OpenMetrics) + Format::OpenMetrics.end()));
        if text != *expected {
            return Err(format!("OpenMetrics:{}", differences(&text, expected)));
        }
    }
    let status: BTreeMap<String, String> =
        metrics.status().into_iter().map(|(name, status)| (name.to_owned(), status)).collect();
    let log: Vec<String> =
        metrics.unknown().iter().map(|name| format!("WARN Skipping unknown hubble metric name={name}")).collect();
    if status != case.status || log != case.log {
        return Err(format!("status {status:?} is not {:?}, or log {log:?} is not {:?}", case.status, case.log));
    }
    if case.content_type != Format::Prometheus.content_type() {
        return Err(format!("content type is {}", case.content_type));
    }
    Ok(())
}

#[test]
fn expositions_are_those_of_the_official_server() {
    let (Some(cases), Some(flows)) = (cases(), flows()) else { return };
    assert!(cases.len() >= 33 && flows.len() == 590, "{} cases, {} flows", cases.len(), flows.len());
    let failed: Vec<String> = cases
        .iter()
        .filter_map(|case| {
            check(case, &flows).err().map(|error| format!("case {} {:?}: {error}", case.id, case.config))
        })
        .collect();
    assert!(failed.is_empty(), "{} of {} differ:\n{}", failed.len(), cases.len(), failed.join("\n"));
}
