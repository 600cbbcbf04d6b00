//! What exporters write, and what is said of their configurations: as the official exporter does it.

#[path = "../../hubble/tests/golden_support/mod.rs"]
mod golden_support;

use std::collections::BTreeMap;

use base64::Engine as _;
use nexin_flows::export::{Exporter, FlowLog};
use nexin_hubble::flow::FlowFilter;
use nexin_hubble::json;
use nexin_hubble::observer::export_event::ResponseTypes as Exported;
use nexin_hubble::observer::get_flows_response::ResponseTypes;
use nexin_hubble::observer::{GetAgentEventsResponse, GetDebugEventsResponse, GetFlowsResponse};
use prost::Message;
use prost_types::Timestamp;
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
struct Case {
    id: u64,
    group: String,
    #[serde(default)]
    allow: Vec<Value>,
    #[serde(default)]
    deny: Vec<Value>,
    #[serde(default)]
    field_mask: Vec<String>,
    #[serde(default)]
    field_aggregate: Vec<String>,
    aggregation_interval: String,
    events: String,
    yaml: String,
    #[serde(default)]
    lines: Vec<String>,
    #[serde(default)]
    lines_sorted: bool,
    parsed: Option<BTreeMap<String, Value>>,
    error: Option<String>,
    decode_error: Option<String>,
}

type Said = (Exported, Option<Timestamp>);

fn messages<T: Message + Default>(name: &str) -> Option<Vec<T>> {
    let decode = |line: &String| {
        let bytes = base64::engine::general_purpose::STANDARD.decode(line).expect("base64");
        T::decode(bytes.as_slice()).expect("a message")
    };
    Some(golden_support::lines(name)?.iter().map(decode).collect())
}

/// Everything there is to export: flows and lost events, then agent and debug events.
fn said() -> Option<Vec<Said>> {
    let mut said = Vec::new();
    for response in messages::<GetFlowsResponse>("flows.pb64")? {
        match response.response_types {
            Some(ResponseTypes::Flow(flow)) => said.push((Exported::Flow(flow), response.time)),
            Some(ResponseTypes::LostEvents(lost)) => said.push((Exported::LostEvents(lost), response.time)),
            _ => {}
        }
    }
    for response in messages::<GetAgentEventsResponse>("agent_events.pb64")? {
        said.extend(response.agent_event.map(|event| (Exported::AgentEvent(event), response.time)));
    }
    for response in messages::<GetDebugEventsResponse>("debug_events.pb64")? {
        said.extend(response.debug_event.map(|event| (Exported::DebugEvent(event), response.time)));
    }
    Some(said)
}

/// As the data's authors wrote filters: with a space after colons and commas, so that positions in errors are theirs.
fn spaced(value: &Value) -> String {
    let mut quoted = false;
    value.to_string().chars().fold(String::new(), |mut text, character| {
        quoted ^= character == '"' && !text.ends_with('\\');
        text.push(character);
        if !quoted && matches!(character, ':' | ',') {
            text.push(' ');
        }
        text
    })
}

fn filters(values: &[Value]) -> Result<Vec<FlowFilter>, String> {
    let read = |value: &Value| json::read(spaced(value).as_bytes(), json::Unknown::Refuse);
    values.iter().map(|value| read(value).map_err(|error| error.to_string())).collect()
}

/// Go writes a space of either kind after `proto:`, by a hash of the binary.
fn plain(text: &str) -> String {
    text.replace('\u{a0}', " ")
}

fn export(case: &Case, said: &[Said]) -> Result<Vec<String>, String> {
    let interval =
        format!("flowLogs: [{{name: a, filePath: p, aggregationInterval: '{}'}}]", case.aggregation_interval);
    let nanos = match case.aggregation_interval.as_str() {
        "" => 0,
        _ => FlowLog::parse_all(&interval).expect("an interval")[0].aggregation_interval,
    };
    let log = FlowLog {
        include: filters(&case.allow)?,
        exclude: filters(&case.deny)?,
        field_mask: case.field_mask.clone(),
        field_aggregate: case.field_aggregate.clone(),
        aggregation_interval: nanos,
        ..FlowLog::default()
    };
    let mut exporter = Exporter::new(&log).map_err(|error| error.to_string())?;
    let mut out = Vec::new();
    let all = case.events == "all";
    let chosen = |event: &Exported| all || matches!(event, Exported::Flow(_) | Exported::LostEvents(_));
    for (event, time) in said.iter().filter(|(event, _)| chosen(event)) {
        exporter.said(event.clone(), "golden-node", *time, &mut out);
    }
    exporter.flush(&mut out);
    let mut lines: Vec<String> = String::from_utf8(out).expect("lines are text").lines().map(str::to_owned).collect();
    if case.lines_sorted {
        lines.sort_unstable();
    }
    Ok(lines)
}

fn same(log: &FlowLog, expected: &Value) -> Result<(), String> {
    let text = serde_json::json!({ "flowLogs": [expected] }).to_string();
    let expected = FlowLog::parse_all(&text).map_err(|error| error.to_string())?;
    if expected.first() == Some(log) { Ok(()) } else { Err(format!("{log:?} is not {expected:?}")) }
}

fn check_yaml(case: &Case) -> Result<(), String> {
    match (FlowLog::parse_all(&case.yaml), &case.error) {
        (Err(error), Some(expected)) if error.to_string() == plain(expected) => Ok(()),
        (Err(error), expected) => Err(format!("{error} is not {expected:?}")),
        (Ok(_), Some(expected)) => Err(format!("accepted, not refused with {expected}")),
        (Ok(logs), None) => {
            let expected = case.parsed.clone().unwrap_or_default();
            if logs.len() != expected.len() {
                return Err(format!("{logs:?} is not {expected:?}"));
            }
            logs.iter().try_for_each(|log| same(log, expected.get(&log.name).unwrap_or(&Value::Null)))
        }
    }
}

fn check(case: &Case, said: &[Said]) -> Result<(), String> {
    if case.group == "yaml" {
        return check_yaml(case);
    }
    let refusal = case.error.as_ref().or(case.decode_error.as_ref());
    match (export(case, said), refusal) {
        (Err(error), Some(expected)) if error == plain(expected) => Ok(()),
        (Err(error), expected) => Err(format!("{error} is not {expected:?}")),
        (Ok(_), Some(expected)) => Err(format!("accepted, not refused with {expected}")),
        (Ok(lines), None) if lines == case.lines => Ok(()),
        (Ok(lines), None) => {
            let different = lines.iter().zip(&case.lines).find(|(found, expected)| found != expected);
            Err(format!("{} lines of {}; first difference {different:?}", lines.len(), case.lines.len()))
        }
    }
}

#[test]
fn lines_are_those_of_the_official_exporter() {
    let (Some(lines), Some(said)) = (golden_support::lines("export.jsonl"), said()) else { return };
    let cases: Vec<Case> = lines.iter().map(|line| serde_json::from_str(line).expect("a case a line")).collect();
    assert!(cases.len() >= 20 && said.len() > 600, "{} cases, {} events", cases.len(), said.len());
    let failed: Vec<String> = cases
        .iter()
        .filter_map(|case| check(case, &said).err().map(|error| format!("case {} {}: {error}", case.id, case.group)))
        .collect();
    assert!(failed.is_empty(), "{} of {} differ:\n{}", failed.len(), cases.len(), failed.join("\n"));
}
