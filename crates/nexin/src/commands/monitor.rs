//! `nexin monitor`: drops, verdicts and traces as they happen. What the stream misses is said in the stream.

use clap::Args;
use futures_util::StreamExt;
use nexin_api::v1::{
    EventType, FlowEvent, LostEvents, MonitorFilter, MonitorRecord, Party, PeerRef, PortRange, Protocol, RuleRef,
    Verdict,
};
use serde::de::DeserializeOwned;

use super::Context;
use super::ct::socket;
use super::endpoint::short_labels;
use crate::error::Result;
use crate::output::{Paint, Style};

#[derive(Args)]
pub(crate) struct Monitor {
    /// Only these classes: drop, verdict, trace
    #[arg(short = 't', long = "type", value_name = "CLASS", value_delimiter = ',', value_parser = word::<EventType>)]
    types: Vec<EventType>,
    /// Only from this source: namespace/name, endpoint:N, address, key=value, identity:N, world, host
    #[arg(long, value_name = "PEER")]
    from: Vec<PeerRef>,
    /// Only to this destination
    #[arg(long, value_name = "PEER")]
    to: Vec<PeerRef>,
    /// Only with this peer on either side
    #[arg(long, value_name = "PEER")]
    peer: Vec<PeerRef>,
    /// Only these verdicts: allow, deny, default-deny, audit
    #[arg(long, value_name = "VERDICT", value_delimiter = ',', value_parser = word::<Verdict>)]
    verdict: Vec<Verdict>,
    /// Only this port (or range, such as 8000-8080) on either side
    #[arg(long, value_name = "PORT", value_delimiter = ',')]
    port: Vec<PortRange>,
    /// Only this protocol
    #[arg(long, value_name = "PROTO", value_delimiter = ',')]
    protocol: Vec<Protocol>,
    /// Only drops for this reason (name or number)
    #[arg(long, value_name = "REASON", value_delimiter = ',')]
    reason: Vec<String>,
    /// First the last so many events that are recorded
    #[arg(long, value_name = "COUNT")]
    last: Option<u64>,
    /// Stop after so many events
    #[arg(long, value_name = "COUNT")]
    limit: Option<u64>,
    /// Only what is recorded already
    #[arg(long)]
    no_follow: bool,
    /// Also the kernel source line and interface of each event
    #[arg(short, long)]
    verbose: bool,
}

/// A value that the API spells in JSON as a word.
fn word<T: DeserializeOwned>(text: &str) -> std::result::Result<T, serde_json::Error> {
    serde_json::from_value(serde_json::Value::String(text.to_ascii_lowercase()))
}

pub(crate) async fn monitor(context: &Context, args: &Monitor) -> Result<()> {
    let filter = MonitorFilter {
        types: args.types.clone(),
        from: args.from.clone(),
        to: args.to.clone(),
        peer: args.peer.clone(),
        verdict: args.verdict.clone(),
        port: args.port.clone(),
        protocol: args.protocol.clone(),
        reason: args.reason.clone(),
        limit: args.limit,
        last: args.last,
        no_follow: args.no_follow,
    };
    let mut records = context.client()?.monitor(&filter).await?;
    while let Some(record) = records.next().await {
        let record = record?;
        context.out.item(&record, |style| match &record {
            MonitorRecord::Flow(event) => line(event, args.verbose, style),
            MonitorRecord::Lost(lost) => loss(lost, style),
        })?;
    }
    Ok(())
}

/// One line an event: time, what, who to whom, and why.
pub(crate) fn line(event: &FlowEvent, verbose: bool, style: Style) -> String {
    let time = event.time.to_string();
    let clock = time.get(11..23).unwrap_or(&time);
    let mut text = format!(
        "{} {} {} {} {} {}",
        style.dim(clock),
        what(event, style),
        party(&event.source, style),
        if event.is_reply == Some(true) { "<-" } else { "->" },
        party(&event.destination, style),
        protocol(event),
    );
    if let Some(why) = why(event) {
        text.push_str(&format!("  {why}"));
    }
    if let Some(shadow) = event.shadow_verdict {
        let rule = event.shadow_rule.as_ref().map(|rule| format!(" by {}", rule_text(rule))).unwrap_or_default();
        text.push_str(&format!("  [shadow: {}{rule}]", verdict_name(shadow)));
    }
    if verbose {
        text.push_str(&style.dim(&format!("  {} if {} {} bytes", event.kernel_source, event.ifindex, event.length)));
    }
    text
}

fn what(event: &FlowEvent, style: Style) -> String {
    let (paint, text) = match (event.event, event.verdict) {
        (EventType::Drop, _) => (Paint::Bad, "drop".to_owned()),
        (EventType::Verdict, Some(verdict)) => (verdict_paint(verdict), verdict_name(verdict).to_owned()),
        (EventType::Verdict, None) => (Paint::Plain, "verdict".to_owned()),
        (EventType::Trace, _) if event.closed => (Paint::Dim, "closed".to_owned()),
        (EventType::Trace, _) => (Paint::Dim, event.observation.map_or_else(|| "trace".to_owned(), |at| kebab(&at))),
    };
    style.paint(paint, &format!("{text:<12}"))
}

fn kebab<T: serde::Serialize>(value: &T) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(text)) => text,
        _ => String::new(),
    }
}

pub(crate) const fn verdict_name(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Allow => "allow",
        Verdict::Deny => "deny",
        Verdict::DefaultDeny => "default deny",
        Verdict::Audit => "audit",
    }
}

pub(crate) const fn verdict_paint(verdict: Verdict) -> Paint {
    match verdict {
        Verdict::Allow => Paint::Good,
        Verdict::Deny | Verdict::DefaultDeny => Paint::Bad,
        Verdict::Audit => Paint::Warn,
    }
}

fn party(party: &Party, style: Style) -> String {
    let name = match &party.workload {
        Some(workload) => workload.clone(),
        None => short_labels(&party.labels),
    };
    let address = socket(party.address, party.port);
    if name.is_empty() { address } else { format!("{} {}", style.strong(&name), style.dim(&format!("({address})"))) }
}

fn protocol(event: &FlowEvent) -> String {
    match event.icmp {
        Some((kind, code)) => format!("{} type {kind} code {code}", event.protocol),
        None if event.tcp_flags.is_empty() => event.protocol.to_string(),
        None => format!("{} [{}]", event.protocol, event.tcp_flags),
    }
}

fn rule_text(rule: &RuleRef) -> String {
    let log = rule.log.as_ref().map(|log| format!(" \"{log}\"")).unwrap_or_default();
    format!("{} ({}:{}){log}", rule.policy, rule.file, rule.line)
}

fn why(event: &FlowEvent) -> Option<String> {
    if let Some(explanation) = &event.explanation {
        return Some(explanation.clone());
    }
    if let Some(rule) = &event.rule {
        return Some(rule_text(rule));
    }
    if let (Some((forward, forward_bytes)), Some((reverse, reverse_bytes))) = (event.forward, event.reverse) {
        return Some(format!("{forward} packets {forward_bytes} bytes, back {reverse} packets {reverse_bytes} bytes"));
    }
    event.masqueraded_as.map(|address| format!("masqueraded as {address}"))
}

fn loss(lost: &LostEvents, style: Style) -> String {
    let mut parts = Vec::new();
    if lost.kernel > 0 {
        parts.push(format!("{} found the kernel's ring full", lost.kernel));
    }
    if lost.client > 0 {
        parts.push(format!("{} came faster than this reader read", lost.client));
    }
    style.paint(Paint::Warn, &format!("events are missing here: {}", parts.join(", ")))
}

#[cfg(test)]
mod tests;
