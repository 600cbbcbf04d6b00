//! Flows, lost events and states of nodes in every output.

use std::io::{self, Write};

use nexin_hubble::flow::{Flow, LostEvent, LostEventSource};
use nexin_hubble::observer::GetFlowsResponse;
use nexin_hubble::relay::{NodeState, NodeStatusEvent};

use super::{Output, Printer, SEPARATOR, line, text};
use crate::gotext::quote;
use crate::names;
use crate::why;

/// Names of nodes are cut at about this length.
const NODES_WIDTH: usize = 50;
const COLUMNS: [&str; 5] = ["SOURCE", "DESTINATION", "TYPE", "VERDICT", "SUMMARY"];

impl Printer {
    pub(super) fn flow(&mut self, response: &GetFlowsResponse, flow: &Flow, out: &mut dyn Write) -> io::Result<()> {
        match self.look.output {
            Output::JsonLegacy => return line(out, flow),
            Output::Json => return line(out, response),
            Output::Table => self.flow_row(flow),
            Output::Dict => self.flow_dict(flow, out)?,
            Output::Compact => self.flow_line(flow, out)?,
        }
        self.line += 1;
        Ok(())
    }

    fn flow_row(&mut self, flow: &Flow) {
        self.heading(&COLUMNS);
        let time = self.look.time.print(flow.time.as_ref());
        let node = self.node(&flow.node_name);
        let (source, destination) = self.ends(flow);
        let mut summary = self.summary(flow);
        if let Some(why) = self.why(flow) {
            summary.push_str(&format!("; {why}"));
        }
        let cells = [&source, &destination, &text::kind(flow), &self.verdict(flow), &summary];
        self.row(&time, node.as_deref(), &cells.map(String::as_str));
    }

    fn flow_dict(&mut self, flow: &Flow, out: &mut dyn Write) -> io::Result<()> {
        let (source, destination) = self.ends(flow);
        let mut text = self.dict_head(&self.look.time.print(flow.time.as_ref()), &flow.node_name);
        text.push_str(&format!(
            "     SOURCE: {source}\nDESTINATION: {destination}\n       TYPE: {}\n    VERDICT: {}\n    SUMMARY: {}\n",
            text::kind(flow),
            self.verdict(flow),
            self.summary(flow),
        ));
        if let Some(why) = self.why(flow) {
            text.push_str(&format!("        WHY: {why}\n"));
        }
        self.put(out, &text)
    }

    fn flow_line(&mut self, flow: &Flow, out: &mut dyn Write) -> io::Result<()> {
        let time = self.look.time.print(flow.time.as_ref());
        let node = self.node(&flow.node_name).map(|node| format!(" [{node}]")).unwrap_or_default();
        let ((source, destination), (from, to)) = (self.ends(flow), self.identities(flow));
        let (left, arrow, right) = match flow.is_reply {
            None => ((source, from), "<>", (destination, to)),
            Some(false) => ((source, from), "->", (destination, to)),
            Some(true) => ((destination, to), "<-", (source, from)),
        };
        let mut text = format!(
            "{time}{node}: {} {} {arrow} {} {} {} {} ({})\n",
            left.0,
            left.1,
            right.0,
            right.1,
            text::kind(flow),
            self.verdict(flow),
            self.summary(flow),
        );
        if let Some(why) = self.why(flow) {
            text.push_str(&format!("    {why}\n"));
        }
        self.put(out, &text)
    }

    fn why(&self, flow: &Flow) -> Option<String> {
        self.look.why.then(|| why::text(flow)).flatten()
    }

    fn dict_head(&self, time: &str, node: &str) -> String {
        let mut text = String::new();
        if self.line != 0 {
            text.push_str(&format!("{SEPARATOR}\n"));
        }
        text.push_str(&format!("  TIMESTAMP: {time}\n"));
        if self.look.node {
            text.push_str(&format!("       NODE: {node}\n"));
        }
        text
    }

    pub(super) fn lost(
        &mut self,
        response: &GetFlowsResponse,
        lost: &LostEvent,
        out: &mut dyn Write,
    ) -> io::Result<()> {
        let time = self.look.time.print(response.time.as_ref());
        let source = names::enum_name(lost.source, LostEventSource::as_str_name);
        let cpu = lost.cpu.unwrap_or(0);
        let span = match (&lost.first, &lost.last) {
            (Some(first), Some(last)) => {
                let (first, last) = (self.look.time.print(Some(first)), self.look.time.print(Some(last)));
                format!(" (first: {first}, last: {last})")
            }
            _ => String::new(),
        };
        let count = lost.num_events_lost;
        let node = if response.node_name.is_empty() { "-" } else { &response.node_name };
        match self.look.output {
            Output::JsonLegacy => return line(out, lost),
            Output::Json => return line(out, response),
            Output::Table => {
                self.heading(&COLUMNS);
                let summary = format!("CPU({cpu}) - {count}{span}");
                let node = self.node(node);
                self.row(&time, node.as_deref(), &[&source, "-", "EVENTS LOST", "-", &summary]);
            }
            Output::Dict => {
                let mut text = self.dict_head(&time, node);
                text.push_str(&format!(
                    "     SOURCE: {source}\n       TYPE: EVENTS LOST\n    VERDICT: -\n    SUMMARY: CPU({cpu}) - {count}{span}\n"
                ));
                self.put(out, &text)?;
            }
            Output::Compact => self.put(out, &format!("{time} EVENTS LOST: {source} CPU({cpu}) {count}{span}\n"))?,
        }
        self.line += 1;
        Ok(())
    }

    pub(super) fn node_status(
        &mut self,
        response: &GetFlowsResponse,
        status: &NodeStatusEvent,
        err: &mut dyn Write,
    ) -> io::Result<()> {
        let state = NodeState::try_from(status.state_change);
        let trouble = matches!(state, Ok(NodeState::NodeError | NodeState::NodeUnavailable));
        if !trouble && !self.look.debug {
            return Ok(());
        }
        let mut quiet = io::sink();
        let err: &mut dyn Write = if self.look.silent { &mut quiet } else { err };
        let time = self.look.time.print(response.time.as_ref());
        let nodes = cut(&status.node_names);
        match self.look.output {
            Output::JsonLegacy => Ok(()),
            Output::Json => line(err, response),
            Output::Dict => {
                let mut text = String::new();
                if self.line == 0 {
                    self.line += 1;
                } else {
                    text.push_str(&format!("{SEPARATOR}\n"));
                }
                let state = names::enum_name(status.state_change, NodeState::as_str_name);
                let message = if status.message.is_empty() { "N/A".to_owned() } else { quote(&status.message) };
                text.push_str(&format!(
                    "  TIMESTAMP: {time}\n      STATE: {state}\n      NODES: {nodes}\n    MESSAGE: {message}\n"
                ));
                self.put(err, &text)
            }
            Output::Compact | Output::Table => {
                let count = status.node_names.len();
                let said = match state {
                    Ok(NodeState::NodeConnected) => format!("Receiving flows from {count} nodes: {nodes}"),
                    Ok(NodeState::NodeUnavailable) => format!("{count} nodes are unavailable: {nodes}"),
                    Ok(NodeState::NodeGone) => format!("{count} nodes removed from cluster: {nodes}"),
                    Ok(NodeState::NodeError) => {
                        format!("Error {} on {count} nodes: {nodes}", quote(&status.message))
                    }
                    Ok(NodeState::UnknownNodeState) | Err(_) => {
                        format!("unknown node status event: {}", nexin_hubble::json::text(status))
                    }
                };
                self.put(err, &format!("{time} [{}]: {said}\n", response.node_name))
            }
        }
    }
}

/// Names up to a width, at least one, and how many there are more.
fn cut(names: &[String]) -> String {
    let mut width = 0;
    let kept = names.iter().enumerate().take_while(|(n, name)| {
        width += name.len() + 2;
        *n == 0 || width <= NODES_WIDTH
    });
    let kept: Vec<&str> = kept.map(|(_, name)| name.as_str()).collect();
    let joined = kept.join(", ");
    match names.len() - kept.len() {
        0 => joined,
        more => format!("{joined} (and {more} more)"),
    }
}
