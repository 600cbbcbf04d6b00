//! Questions to case files instead of an agent. Answers come in the API's form, from the engine that the agent uses.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use nexin_agent::words::{combined, detail, diagnostic, direction_answer, document_key, rule_ref, wire_labels};
use nexin_api::v1::{self, ExplainQuery, ExplainReply, PeerRef, PolicyRef, PortProtocol, SimulateReply, SimulatedFlow};
use nexin_policy::cases::{self, Case, World};
use nexin_policy::explain::{Explanation, FlowAnswer};
use nexin_policy::input;
use nexin_policy::rule::{Document, LowerOptions};
use nexin_policy::simulate::{Change, Flow, FlowChange, simulate as compare};
use nexin_runtime::settings::nearest;

use super::files::PolicyFile;
use super::validate;
use crate::error::{CliError, Result};
use crate::output::Style;

/// Every case of a file.
///
/// # Errors
/// The file, or a policy that it names, has mistakes: they are printed.
pub(super) fn read_cases(path: &Path) -> Result<Vec<Case>> {
    let text = fs::read_to_string(path).map_err(|source| CliError::file(path, source))?;
    let beside = path.parent().unwrap_or(Path::new(""));
    let name = path.display().to_string();
    let found = cases::read(&text, &name, &mut |file| fs::read_to_string(beside.join(file)));
    let source = |file: &str| if file == name { text.as_str() } else { "" };
    say(&found.diagnostics, source, &name, "the format is described in docs/design/policy.md")?;
    Ok(found.cases)
}

fn one_case(path: &Path, wanted: Option<&str>) -> Result<Case> {
    let mut all = read_cases(path)?;
    let names: Vec<String> = all.iter().map(|case| case.name.to_string()).collect();
    let index = match wanted {
        Some(wanted) => names.iter().position(|name| name == wanted).ok_or_else(|| {
            let near = nearest(wanted, names.iter().map(String::as_str));
            let next = near
                .map_or_else(|| format!("there are: {}", names.join(", ")), |near| format!("did you mean {near:?}?"));
            CliError::input(format!("{} has no case named {wanted:?}", path.display()), next)
        })?,
        None if all.len() == 1 => 0,
        None => {
            let next = format!("choose with --case: {}", names.join(", "));
            return Err(CliError::input(format!("{} has {} cases", path.display(), all.len()), next));
        }
    };
    Ok(all.swap_remove(index))
}

// === explain ===

pub(super) fn explain(file: &Path, case: Option<&str>, query: &ExplainQuery) -> Result<ExplainReply> {
    let mut world = World::new(one_case(file, case)?.scenario);
    let (from, to) = (peer(&world, &query.from)?, peer(&world, &query.to)?);
    let (protocol, port) = (query.port.protocol, engine_port(query.port));
    let known = workload_names(&world);
    let ends = world.endpoints(&from, &to).map_err(|error| unknown(&error, &known))?;
    let [egress, ingress] = world.explain(&from, &to, protocol, port).map_err(|error| unknown(&error, &known))?;
    let labels = |identity| {
        let spec = world.engine().identity(identity);
        spec.map(|spec| wire_labels(&spec.labels)).unwrap_or_default()
    };
    Ok(ExplainReply {
        // Numbers are an agent's to give.
        from_identity: 0,
        from_labels: labels(ends.source),
        to_identity: 0,
        to_labels: labels(ends.destination),
        port: query.port,
        verdict: combined(egress.answer.decision, ingress.answer.decision, false),
        egress: direction_answer(&egress, false),
        ingress: direction_answer(&ingress, false),
    })
}

fn workload_names(world: &World) -> Vec<String> {
    world.scenario().workloads.iter().map(|workload| format!("{}/{}", workload.namespace, workload.name)).collect()
}

fn unknown(error: &cases::UnknownPeer, known: &[String]) -> CliError {
    let near = match error {
        cases::UnknownPeer::Workload { namespace, name } => {
            nearest(&format!("{namespace}/{name}"), known.iter().map(String::as_str)).map(str::to_owned)
        }
        _ => None,
    };
    let next =
        near.map_or_else(|| format!("the case has: {}", known.join(", ")), |near| format!("did you mean {near}?"));
    CliError::input(error.to_string(), next)
}

/// The engine takes an ICMP type in the high byte.
const fn engine_port(port: PortProtocol) -> u16 {
    if port.protocol.has_ports() { port.port } else { port.port << 8 }
}

/// A peer of the case file. Labels stand for the first workload that has them all.
fn peer(world: &World, peer: &PeerRef) -> Result<cases::PeerRef> {
    let scenario = world.scenario();
    match peer {
        PeerRef::Address(address) => Ok(cases::PeerRef::Address(*address)),
        PeerRef::Reserved(name) => Ok(cases::PeerRef::Reserved(name.as_str().into())),
        PeerRef::Workload { namespace, name } => {
            let known = scenario
                .workloads
                .iter()
                .any(|workload| *workload.namespace == **namespace && *workload.name == **name);
            // `node:a` and DNS names look like a workload's name.
            match name.parse() {
                Ok(other) if !known && namespace == "default" => Ok(other),
                _ => Ok(cases::PeerRef::Workload { namespace: namespace.as_str().into(), name: name.as_str().into() }),
            }
        }
        PeerRef::Labels(labels) => {
            let has_all = |workload: &&cases::Workload| {
                let own = wire_labels(&workload.labels);
                labels
                    .0
                    .iter()
                    .all(|(key, value)| own.0.get(key).or_else(|| own.0.get(&format!("k8s:{key}"))) == Some(value))
            };
            let found = scenario.workloads.iter().find(has_all).ok_or_else(|| {
                CliError::input(
                    format!("no workload of the case has the labels {labels}"),
                    "name a workload, an address or reserved:NAME",
                )
            })?;
            Ok(cases::PeerRef::Workload { namespace: found.namespace.clone(), name: found.name.clone() })
        }
        PeerRef::Endpoint(_) | PeerRef::Identity(_) => Err(CliError::input(
            format!("{peer} is a number that an agent gives"),
            "offline, name a workload (namespace/name), an address, labels or reserved:NAME",
        )),
    }
}

// === simulate ===

/// What to imagine: documents that come, documents that go.
pub(super) struct Imagined<'a> {
    pub(super) files: &'a [PolicyFile],
    pub(super) delete: &'a [PolicyRef],
    pub(super) all: bool,
}

pub(super) fn simulate(file: &Path, case: Option<&str>, imagined: &Imagined<'_>) -> Result<SimulateReply> {
    let case = one_case(file, case)?;
    let world = World::new(case.scenario.clone());
    let change = change(imagined)?;
    let known = workload_names(&world);
    let party = |peer| world.party(peer).map_err(|error| unknown(&error, &known));
    let flows = case.rows.iter().map(|row| {
        Ok(Flow { source: party(&row.from)?, destination: party(&row.to)?, protocol: row.protocol, port: row.port })
    });
    let flows = flows.collect::<Result<Vec<_>>>()?;
    let changes = compare(world.engine(), &change, &flows);
    let shown = |change: &FlowChange| v1::FlowChange {
        flow: simulated(&case.rows[change.flow]),
        before: verdict(&change.before),
        after: verdict(&change.after),
        rule_before: None,
        rule_after: change.why.iter().find_map(deciding),
    };
    let mut unchanged = Vec::new();
    if imagined.all {
        let changed = |index: usize| changes.iter().any(|change| change.flow == index);
        let mut world = world.clone();
        for (_, row) in case.rows.iter().enumerate().filter(|(index, _)| !changed(*index)) {
            let answer = world.judge(&row.from, &row.to, row.protocol, row.port);
            let now = verdict(&answer.map_err(|error| unknown(&error, &known))?);
            unchanged.push(v1::FlowChange {
                flow: simulated(row),
                before: now,
                after: now,
                rule_before: None,
                rule_after: None,
            });
        }
    }
    Ok(SimulateReply {
        flows: case.rows.len() as u64,
        changes: changes.iter().map(shown).collect(),
        unchanged,
        warnings: Vec::new(),
        lost_events: 0,
    })
}

fn change(imagined: &Imagined<'_>) -> Result<Change> {
    Ok(Change { apply: documents(imagined)?, remove: imagined.delete.iter().map(document_key).collect() })
}

/// What would be applied.
pub(super) fn documents(imagined: &Imagined<'_>) -> Result<Vec<Document>> {
    let mut all = Vec::new();
    for file in imagined.files {
        let (documents, said) =
            input::load(&file.text, &file.name, input::Strictness::Strict, &LowerOptions::default());
        say(&said, |_| &file.text, &file.name, "nothing was simulated")?;
        all.extend(documents);
    }
    Ok(all)
}

/// Warnings are shown, with their lines out of `source`.
///
/// # Errors
/// There is something worse.
fn say<'a>(found: &[input::Diagnostic], source: impl Fn(&str) -> &'a str, file: &str, next: &str) -> Result<()> {
    let said: Vec<v1::Diagnostic> = found.iter().map(diagnostic).collect();
    let one =
        |said: &v1::Diagnostic| validate::diagnostics(std::slice::from_ref(said), source(&said.file), Style::default());
    let shown: String = said.iter().map(one).collect();
    if !found.iter().any(input::Diagnostic::is_error) {
        eprint!("{shown}");
        return Ok(());
    }
    let places = said.into_iter().map(detail).collect();
    Err(CliError::Mistakes { what: format!("{file} has mistakes"), next: next.to_owned(), places, shown })
}

pub(super) fn verdict(answer: &FlowAnswer) -> v1::Verdict {
    combined(answer.egress.decision, answer.ingress.decision, false)
}

pub(super) fn deciding(side: &Explanation) -> Option<v1::RuleRef> {
    let rule = side.rules.iter().find(|rule| rule.part == nexin_policy::explain::Part::Decides)?;
    Some(rule_ref(rule.rule, &rule.origin))
}

/// A row as a flow. Its ends are named; addresses are only there where the row has one.
fn simulated(row: &cases::Row) -> SimulatedFlow {
    let address = |peer: &cases::PeerRef| match peer {
        cases::PeerRef::Address(address) => *address,
        _ => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
    };
    let port = if row.protocol.has_ports() { row.port } else { row.port >> 8 };
    SimulatedFlow {
        source: address(&row.from),
        source_identity: 0,
        source_labels: v1::Labels::default(),
        source_workload: Some(row.from.to_string()),
        destination: address(&row.to),
        destination_identity: 0,
        destination_labels: v1::Labels::default(),
        destination_workload: Some(row.to.to_string()),
        port: PortProtocol { port, protocol: row.protocol },
        running: false,
        seen: 0,
    }
}
