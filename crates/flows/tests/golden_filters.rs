//! Every filter case that the official code answered: what matches among the golden flows and events, and the texts of errors.

#[path = "../../hubble/tests/golden_support/mod.rs"]
mod golden_support;

use std::io::Write;

use nexin_flows::filter::{Filters, Seen};
use nexin_hubble::flow::{Flow, FlowFilter};
use nexin_hubble::json::{self, Read, Unknown};
use nexin_hubble::observer::get_flows_response::ResponseTypes;
use nexin_hubble::observer::{GetAgentEventsResponse, GetDebugEventsResponse, GetFlowsResponse};
use serde::{Deserialize, Serialize as _};
use serde_json::Value;

#[derive(Deserialize)]
struct Case {
    id: u32,
    group: String,
    #[serde(default)]
    whitelist: Vec<Value>,
    #[serde(default)]
    blacklist: Vec<Value>,
    r#match: Option<Vec<usize>>,
    match_cli: Option<Vec<usize>>,
    match_agent: Option<Vec<usize>>,
    match_debug: Option<Vec<usize>>,
    error: Option<String>,
    decode_error: Option<String>,
}

fn read_all<T: Read>(name: &str) -> Option<Vec<T>> {
    let read = |line: &String| json::read(line.as_bytes(), Unknown::Refuse).expect("golden JSON");
    Some(golden_support::lines(name)?.iter().map(read).collect())
}

fn as_server(response: &GetFlowsResponse) -> Option<Seen<'_, Flow>> {
    match &response.response_types {
        Some(ResponseTypes::Flow(flow)) => Some(Seen::Flow(flow)),
        Some(ResponseTypes::LostEvents(_)) => Some(Seen::Lost),
        _ => None,
    }
}

struct World {
    flows: Vec<GetFlowsResponse>,
    agent: Vec<GetAgentEventsResponse>,
    debug: Vec<GetDebugEventsResponse>,
}

impl World {
    fn read() -> Option<Self> {
        Some(Self {
            flows: read_all("flows.jsonl")?,
            agent: read_all("agent_events.jsonl")?,
            debug: read_all("debug_events.jsonl")?,
        })
    }

    fn answers(&self, filters: &Filters) -> [Vec<usize>; 4] {
        let matching = |seen: &[Option<Seen<'_, Flow>>]| {
            let hits =
                |(n, seen): (usize, &Option<Seen<'_, Flow>>)| seen.filter(|seen| filters.matches(*seen)).map(|_| n);
            seen.iter().enumerate().filter_map(hits).collect()
        };
        let server: Vec<_> = self.flows.iter().map(as_server).collect();
        let as_cli =
            |seen: &Option<_>| Some(seen.filter(|seen| matches!(seen, Seen::Flow(_))).unwrap_or(Seen::Nothing));
        let offline: Vec<_> = server.iter().map(as_cli).collect();
        let kind = |event: &GetAgentEventsResponse| event.agent_event.as_ref().map_or(0, |event| event.r#type);
        let agent: Vec<_> = self.agent.iter().map(|event| Some(Seen::Agent(kind(event)))).collect();
        let kind = |event: &GetDebugEventsResponse| event.debug_event.as_ref().map_or(0, |event| event.r#type);
        let debug: Vec<_> = self.debug.iter().map(|event| Some(Seen::Debug(kind(event)))).collect();
        [matching(&server), matching(&offline), matching(&agent), matching(&debug)]
    }
}

/// The places in the golden errors are those of a text with spaces after commas and colons.
struct Spaced;

impl serde_json::ser::Formatter for Spaced {
    fn begin_array_value<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> std::io::Result<()> {
        writer.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> std::io::Result<()> {
        self.begin_array_value(writer, first)
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> std::io::Result<()> {
        writer.write_all(b": ")
    }
}

fn spaced(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    value.serialize(&mut serde_json::Serializer::with_formatter(&mut out, Spaced)).expect("JSON");
    out
}

fn decode(filters: &[Value]) -> Result<Vec<FlowFilter>, json::ReadError> {
    filters.iter().map(|filter| json::read(&spaced(filter), Unknown::Refuse)).collect()
}

/// What differs, if anything does.
fn replay(case: &Case, world: &World) -> Result<(), String> {
    let decoded = decode(&case.whitelist).and_then(|whitelist| Ok((whitelist, decode(&case.blacklist)?)));
    let (whitelist, blacklist) = match (decoded, &case.decode_error) {
        (Ok(lists), None) => lists,
        (Err(error), Some(wanted)) if error.to_string() == wanted.replace('\u{a0}', " ") => return Ok(()),
        (got, wanted) => {
            return Err(format!("decoded {:?}, wanted {wanted:?}", got.map(drop).map_err(|e| e.to_string())));
        }
    };
    let filters = match (Filters::compile(&whitelist, &blacklist), &case.error) {
        (Ok(filters), None) => filters,
        (Err(error), Some(wanted)) if error.to_string() == *wanted => return Ok(()),
        (got, wanted) => {
            return Err(format!("built {:?}, wanted {wanted:?}", got.map(drop).map_err(|e| e.to_string())));
        }
    };
    let wanted = [&case.r#match, &case.match_cli, &case.match_agent, &case.match_debug];
    for ((what, got), wanted) in
        ["match", "match_cli", "match_agent", "match_debug"].iter().zip(world.answers(&filters)).zip(wanted)
    {
        let wanted = wanted.as_deref().unwrap_or_default();
        if got != wanted {
            return Err(format!("{what}: {got:?} wanted {wanted:?}"));
        }
    }
    Ok(())
}

#[test]
fn every_case_is_answered_alike() {
    let (Some(world), Some(cases)) = (World::read(), golden_support::lines("filters.jsonl")) else {
        return;
    };
    let mut wrong = Vec::new();
    for line in &cases {
        let case: Case = serde_json::from_str(line).expect("a case");
        if let Err(why) = replay(&case, &world) {
            let why: String = why.chars().take(600).collect();
            wrong.push(format!("{} {} {:?} {:?}: {why}", case.id, case.group, case.whitelist, case.blacklist));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}
