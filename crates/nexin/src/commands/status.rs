//! `nexin status`, `nexin doctor` and `nexin version`.

use std::process::ExitCode;

use clap::Args;
use nexin_agent::Settings;
use nexin_api::ClientError;
use nexin_api::v1::{CheckState, ComponentState, DoctorReply, StatusReply};
use serde::Serialize;

use super::Context;
use crate::error::Result;
use crate::output::{Cell, Paint, Style, Table, facts};

#[derive(Args)]
pub(crate) struct Status {
    /// Only say whether all is well, by the exit code
    #[arg(short, long)]
    quiet: bool,
}

#[derive(Args)]
pub(crate) struct Doctor {}

#[derive(Args)]
pub(crate) struct Version {}

/// Fails where the agent is not ready, so that scripts can wait for it.
pub(crate) async fn status(context: &Context, args: &Status) -> Result<ExitCode> {
    let reply = context.client()?.status().await?;
    if !args.quiet {
        context.out.show(&reply, |style| render(&reply, style))?;
    }
    Ok(if reply.ready { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn render(reply: &StatusReply, style: Style) -> String {
    let agent = &reply.agent;
    let ready = if reply.ready { Cell::new(Paint::Good, "ready") } else { Cell::new(Paint::Bad, "not ready") };
    let counts = &reply.endpoints;
    let mut text = facts(
        style,
        &[
            ("agent", ready),
            ("node", agent.node.as_str().into()),
            ("version", format!("{} (maps layout {})", agent.version, agent.layout).into()),
            ("kernel", format!("{}, programs attached by {}", agent.kernel, agent.attach).into()),
            ("process", format!("{}, {} MiB, since {}", agent.pid, agent.memory_bytes >> 20, agent.started).into()),
            (
                "policy mode",
                if agent.audit { Cell::new(Paint::Warn, "audit: denials are let through") } else { "enforced".into() },
            ),
            (
                "endpoints",
                endpoint_counts(
                    counts.ready,
                    &[("init", counts.init), ("restoring", counts.restoring), ("broken", counts.broken)],
                ),
            ),
            ("identities", reply.identities.to_string().into()),
            ("policies", reply.policies.to_string().into()),
            ("epoch", reply.sync.epoch.to_string().into()),
            ("lost events", lost(reply)),
        ],
    );
    text.push('\n');
    text.push_str(&components(reply, style));
    text.push_str(&problems(reply, style));
    text
}

fn endpoint_counts(ready: u32, others: &[(&str, u32)]) -> Cell {
    let mut text = format!("{ready} ready");
    for (name, count) in others.iter().filter(|(_, count)| *count > 0) {
        text.push_str(&format!(", {count} {name}"));
    }
    text.into()
}

fn lost(reply: &StatusReply) -> Cell {
    let lost = &reply.lost_events;
    if lost.drop + lost.verdict + lost.trace == 0 {
        return "none".into();
    }
    Cell::new(Paint::Warn, format!("{} drops, {} verdicts, {} traces", lost.drop, lost.verdict, lost.trace))
}

fn components(reply: &StatusReply, style: Style) -> String {
    let mut table = Table::new(&["PART", "HEALTH", "MESSAGE"], "");
    for part in &reply.components {
        let health = match part.health {
            ComponentState::Ok => Cell::new(Paint::Good, "ok"),
            ComponentState::Starting => Cell::new(Paint::Warn, "starting"),
            ComponentState::Degraded => Cell::new(Paint::Warn, "degraded"),
            ComponentState::Failed => Cell::new(Paint::Bad, "failed"),
        };
        let message = match &part.hint {
            Some(hint) => format!("{} ({hint})", part.message),
            None => part.message.clone(),
        };
        table.row([part.name.as_str().into(), health, message.into()]);
    }
    table.render(style)
}

/// What needs somebody's attention; nothing where all is well.
fn problems(reply: &StatusReply, style: Style) -> String {
    let mut lines = Vec::new();
    for problem in &reply.policy_problems {
        let kept = if problem.last_good_in_force {
            "its last good version stays in force"
        } else {
            "nothing of it is in force"
        };
        lines.push(format!("policy {}: {} ({kept})", problem.file, problem.message));
    }
    for map in
        reply.maps.iter().filter(|map| map.entries * 10 >= u64::from(map.max_entries) * 9 && map.max_entries > 16)
    {
        lines.push(format!("map {} is nearly full: {} of {}", map.map, map.entries, map.max_entries));
    }
    for drift in reply.drift.iter().filter(|drift| drift.repaired > 0) {
        lines.push(format!("changed behind the agent's back and repaired: {} x {}", drift.repaired, drift.object));
    }
    for file in &reply.quarantined {
        lines.push(format!("unreadable state was set aside: {file}"));
    }
    if let Some(error) = &reply.sync.error {
        lines.push(format!("the last sync failed: {error}"));
    }
    if lines.is_empty() {
        return String::new();
    }
    let lines: Vec<String> = lines.iter().map(|line| format!("{} {line}\n", style.paint(Paint::Warn, "!"))).collect();
    format!("\n{}", lines.concat())
}

// === doctor ===

/// Fails where something that is needed is missing. Without an agent this process looks itself, with default settings.
pub(crate) async fn doctor(context: &Context) -> Result<ExitCode> {
    let reply = match context.client()?.doctor().await {
        Ok(reply) => reply,
        Err(ClientError::Connect { .. }) => {
            eprintln!("no agent answers at {}: looking without one", context.socket.display());
            nexin_agent::examine(&Settings::default())
        }
        Err(error) => return Err(error.into()),
    };
    context.out.show(&reply, |style| findings(&reply, style))?;
    Ok(if reply.worst() == CheckState::Missing { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn findings(reply: &DoctorReply, style: Style) -> String {
    let mut text = format!("kernel {}\n\n", reply.kernel);
    let mut table = Table::new(&["CHECK", "RESULT", "FOUND"], "nothing was checked");
    for check in &reply.checks {
        let result = match check.result {
            CheckState::Ok => Cell::new(Paint::Good, "ok"),
            CheckState::Degraded => Cell::new(Paint::Warn, "degraded"),
            CheckState::Missing => Cell::new(Paint::Bad, "missing"),
            CheckState::Unknown => Cell::new(Paint::Dim, "unknown"),
        };
        table.row([check.name.as_str().into(), result, check.found.as_str().into()]);
    }
    text.push_str(&table.render(style));
    for check in reply.checks.iter().filter(|check| check.result != CheckState::Ok) {
        let Some(cost) = &check.cost else { continue };
        let unless = if check.result == CheckState::Unknown { "where it is off, " } else { "" };
        text.push_str(&format!("\n{}: {unless}{cost}\n", style.strong(&check.name)));
        if let Some(remedy) = &check.remedy {
            text.push_str(&format!("  {remedy}\n"));
        }
    }
    text
}

// === version ===

#[derive(Serialize)]
struct Versions {
    client: &'static str,
    agent: Option<String>,
    layout: Option<u32>,
}

/// An agent that does not answer is no error here.
pub(crate) async fn version(context: &Context) -> Result<()> {
    let agent = context.client()?.status().await.ok().map(|status| status.agent);
    let versions = Versions {
        client: env!("CARGO_PKG_VERSION"),
        layout: agent.as_ref().map(|agent| agent.layout),
        agent: agent.map(|agent| agent.version),
    };
    let agent = match (&versions.agent, versions.layout) {
        (Some(version), Some(layout)) => format!("{version} (maps layout {layout})"),
        _ => format!("does not answer at {}", context.socket.display()),
    };
    Ok(context
        .out
        .show(&versions, |style| facts(style, &[("client", versions.client.into()), ("agent", agent.into())]))?)
}
