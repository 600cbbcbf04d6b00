//! `nexin policy simulate`: which flows would be judged differently.

use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;

use clap::Args;
use nexin_api::v1::{FlowChange, PolicyKind, PolicyRef, SimulateReply, SimulateRequest, SimulatedFlow};

use super::super::Context;
use super::super::monitor::{verdict_name, verdict_paint};
use super::{files, offline, recorded, validate};
use crate::error::{CliError, Result};
use crate::output::{Cell, Paint, Style, Table};

#[derive(Args)]
pub(crate) struct Simulate {
    /// Files or directories of YAML documents to imagine applied, - for standard input
    #[arg(short, long = "file", value_name = "FILE", required_unless_present = "delete")]
    files: Vec<PathBuf>,
    /// Documents to imagine deleted: KIND/NAMESPACE/NAME (cluster-wide kinds: -)
    #[arg(long, value_name = "POLICY", value_parser = reference)]
    delete: Vec<PolicyRef>,
    /// Namespace of documents that name none
    #[arg(short, long)]
    namespace: Option<String>,
    /// Also list flows whose verdict stays
    #[arg(long)]
    all: bool,
    /// Ask this case file (its expected rows are the flows) instead of the agent
    #[arg(long, value_name = "FILE")]
    offline: Option<PathBuf>,
    /// Ask this recording of flows (`nexin flows record`, `hubble observe -o jsonpb`), beside what happened to them
    #[arg(long, value_name = "FILE", conflicts_with_all = ["offline", "delete"])]
    recording: Option<PathBuf>,
    /// The case, where the file has several
    #[arg(long, value_name = "NAME", requires = "offline")]
    case: Option<String>,
}

#[derive(Debug, thiserror::Error)]
enum ReferenceError {
    #[error("write KIND/NAMESPACE/NAME, with - for the namespace of cluster-wide kinds")]
    Shape,
    /// In the words of the kinds' own parser.
    #[error("{0}")]
    Kind(String),
}

fn reference(text: &str) -> std::result::Result<PolicyRef, ReferenceError> {
    let parts: Vec<&str> = text.split('/').collect();
    let [kind, namespace, name] = parts[..] else { return Err(ReferenceError::Shape) };
    let namespace = (namespace != "-").then(|| namespace.to_owned());
    let kind = PolicyKind::from_str(kind).map_err(|error| ReferenceError::Kind(error.to_string()))?;
    Ok(PolicyRef { kind, namespace, name: name.to_owned() })
}

pub(crate) async fn simulate(context: &Context, args: &Simulate) -> Result<ExitCode> {
    let files = files::read(&args.files)?;
    if let Some(recording) = &args.recording {
        let reply = recorded::simulate(recording, &offline::Imagined { files: &files, delete: &[], all: args.all })?;
        context.out.show(&reply, |style| render(&reply, style))?;
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(cases) = &args.offline {
        let imagined = offline::Imagined { files: &files, delete: &args.delete, all: args.all };
        let reply = offline::simulate(cases, args.case.as_deref(), &imagined)?;
        context.out.show(&reply, |style| render(&reply, style))?;
        return Ok(ExitCode::SUCCESS);
    }
    let [ref names @ .., ref last] = files[..] else { return ask(context, args, String::new(), None).await };
    if names.is_empty() {
        return ask(context, args, last.text.clone(), Some(last.name.clone())).await;
    }
    if let Some(bad) = files.iter().find(|file| file.text.starts_with("%")) {
        return Err(CliError::input(format!("{} starts with a YAML directive", bad.name), "simulate it alone"));
    }
    let whole: Vec<&str> = files.iter().map(|file| file.text.as_str()).collect();
    ask(context, args, whole.join("\n---\n"), None).await
}

async fn ask(context: &Context, args: &Simulate, yaml: String, file: Option<String>) -> Result<ExitCode> {
    let request =
        SimulateRequest { yaml, file, namespace: args.namespace.clone(), delete: args.delete.clone(), all: args.all };
    let reply = context.client()?.simulate(&request).await?;
    context.out.show(&reply, |style| render(&reply, style))?;
    Ok(ExitCode::SUCCESS)
}

fn render(reply: &SimulateReply, style: Style) -> String {
    let mut text = validate::diagnostics(&reply.warnings, "", style);
    if !reply.changes.is_empty() {
        text.push_str(&table(&reply.changes, style));
    }
    text.push_str(&format!("{} of {} flows would be judged differently\n", reply.changes.len(), reply.flows));
    if !reply.unchanged.is_empty() {
        text.push_str("\nunchanged:\n");
        text.push_str(&table(&reply.unchanged, style));
    }
    if reply.lost_events > 0 {
        let lost =
            format!("{} events were lost since the agent started: flows may be missing here\n", reply.lost_events);
        text.push_str(&style.paint(Paint::Warn, &lost));
    }
    text
}

fn table(changes: &[FlowChange], style: Style) -> String {
    let mut table = Table::new(&["FROM", "TO", "PORT", "NOW", "THEN", "SEEN", "RULE"], "no flows");
    for change in changes {
        let flow = &change.flow;
        let verdict = |verdict| Cell::new(verdict_paint(verdict), verdict_name(verdict));
        let rule = change.rule_after.as_ref().or(change.rule_before.as_ref());
        table.row([
            side(flow.source_workload.as_deref(), &flow.source.to_string()).into(),
            side(flow.destination_workload.as_deref(), &flow.destination.to_string()).into(),
            flow.port.to_string().into(),
            verdict(change.before),
            verdict(change.after),
            seen(flow).into(),
            Cell::maybe(rule.map(|rule| format!("{} ({}:{})", rule.policy, rule.file, rule.line))),
        ]);
    }
    table.render(style)
}

fn side(workload: Option<&str>, address: &str) -> String {
    workload.map_or_else(|| address.to_owned(), str::to_owned)
}

fn seen(flow: &SimulatedFlow) -> String {
    match (flow.running, flow.seen) {
        (true, _) => "running".to_owned(),
        (false, 0) => String::new(),
        (false, 1) => "once".to_owned(),
        (false, count) => format!("{count} times"),
    }
}

#[cfg(test)]
mod tests {
    use nexin_api::v1::{Labels, Verdict};

    use super::*;

    #[test]
    fn a_running_flow_that_would_be_cut() {
        let flow = SimulatedFlow {
            source: "10.0.0.4".parse().unwrap(),
            source_identity: 1,
            source_labels: Labels::default(),
            source_workload: Some("default/xwing".into()),
            destination: "10.0.0.2".parse().unwrap(),
            destination_identity: 2,
            destination_labels: Labels::default(),
            destination_workload: None,
            port: "80/TCP".parse().unwrap(),
            running: true,
            seen: 1,
        };
        let change = FlowChange {
            flow,
            before: Verdict::Allow,
            after: Verdict::DefaultDeny,
            rule_before: None,
            rule_after: None,
        };
        let reply = SimulateReply { flows: 3, changes: vec![change], lost_events: 2, ..SimulateReply::default() };
        assert_eq!(
            render(&reply, Style::new(false)),
            "FROM           TO        PORT    NOW    THEN          SEEN     RULE\n\
             default/xwing  10.0.0.2  80/TCP  allow  default deny  running  -\n\
             1 of 3 flows would be judged differently\n\
             2 events were lost since the agent started: flows may be missing here\n"
        );
    }

    #[test]
    fn documents_to_delete_are_named_in_full() {
        assert_eq!(reference("ccnp/-/x").unwrap().kind, PolicyKind::CiliumClusterwideNetworkPolicy);
        assert_eq!(reference("cnp/shop/x").unwrap().namespace.as_deref(), Some("shop"));
        assert!(matches!(reference("x"), Err(ReferenceError::Shape)));
        assert!(matches!(reference("pod/a/b"), Err(ReferenceError::Kind(_))));
    }
}
