//! Flows and events as text. One printer for each output; nothing here reads, filters or connects.

mod escape;
mod events;
mod flow;
mod health;
pub(crate) mod table;
mod text;

use std::io::{self, Write};

use nexin_hubble::json::{self, Json};
use nexin_hubble::observer::get_flows_response::ResponseTypes;
use nexin_hubble::observer::{GetAgentEventsResponse, GetDebugEventsResponse, GetFlowsResponse};

pub(crate) use escape::Colours;
use escape::Palette;
pub(crate) use health::status;

use crate::time::TimeFormat;

/// `-o`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    Compact,
    Dict,
    Table,
    /// The whole response.
    Json,
    /// Only what the response holds, as before version 0.11.
    JsonLegacy,
}

/// What to print, and how.
#[derive(Clone, Debug)]
pub(crate) struct Look {
    pub(crate) output: Output,
    pub(crate) time: TimeFormat,
    pub(crate) colours: Colours,
    /// Names in place of addresses.
    pub(crate) names: bool,
    pub(crate) node: bool,
    pub(crate) policies: bool,
    /// Which rule decided, with policy, file and line: Nexin's own.
    pub(crate) why: bool,
    /// Also states of nodes that are no trouble.
    pub(crate) debug: bool,
    /// Nothing about nodes.
    pub(crate) silent: bool,
}

const SEPARATOR: &str = "------------";

/// Prints responses one after the other.
pub(crate) struct Printer {
    look: Look,
    palette: Palette,
    /// Lines printed so far, as separators and headings count them.
    line: usize,
    /// What a table collects until its columns are known.
    rows: String,
}

impl Printer {
    pub(crate) fn new(look: Look) -> Self {
        let colours = if look.output == Output::Table { Colours::Never } else { look.colours };
        Self { palette: Palette::new(colours), look, line: 0, rows: String::new() }
    }

    /// One response of `GetFlows`. States of nodes go to `err`.
    pub(crate) fn response(
        &mut self,
        response: &GetFlowsResponse,
        out: &mut dyn Write,
        err: &mut dyn Write,
    ) -> io::Result<()> {
        match &response.response_types {
            Some(ResponseTypes::Flow(flow)) => self.flow(response, flow, out),
            Some(ResponseTypes::LostEvents(lost)) => self.lost(response, lost, out),
            Some(ResponseTypes::NodeStatus(status)) => self.node_status(response, status, err),
            None => Ok(()),
        }
    }

    /// Prints what a table collected.
    pub(crate) fn finish(&mut self, out: &mut dyn Write) -> io::Result<()> {
        if self.look.output == Output::Table {
            out.write_all(table::align(&std::mem::take(&mut self.rows), 2, 3).as_bytes())?;
        }
        out.flush()
    }

    pub(crate) fn agent_event(&mut self, response: &GetAgentEventsResponse, out: &mut dyn Write) -> io::Result<()> {
        let Some(event) = &response.agent_event else { return Err(io::Error::other("not an agent event")) };
        let time = self.look.time.print(response.time.as_ref());
        let kind = events::agent_type(event);
        let details = events::agent_details(event, self.look.time);
        let node = self.node(&response.node_name);
        match self.look.output {
            Output::JsonLegacy => return line(out, event),
            Output::Json => return line(out, response),
            Output::Dict => {
                let text = format!("       TYPE: {kind}\n    DETAILS: {details}\n");
                self.dict_event(&time, &response.node_name, &text, out)?;
            }
            Output::Table => {
                self.heading(&["TYPE", "DETAILS"]);
                self.row(&time, node.as_deref(), &[&kind, &details]);
            }
            Output::Compact => {
                let node = node.map(|node| format!(" [{node}]")).unwrap_or_default();
                self.put(out, &format!("{time}{node}: {kind} ({details})\n"))?;
            }
        }
        self.line += 1;
        Ok(())
    }

    pub(crate) fn debug_event(&mut self, response: &GetDebugEventsResponse, out: &mut dyn Write) -> io::Result<()> {
        let Some(event) = &response.debug_event else { return Err(io::Error::other("not a debug event")) };
        let time = self.look.time.print(response.time.as_ref());
        let kind = events::debug_type(event);
        let (from, mark, cpu) = (events::endpoint(event.source.as_ref()), events::mark(event), events::cpu(event));
        let message = event.message.as_str();
        let node = self.node(&response.node_name);
        match self.look.output {
            Output::JsonLegacy => return line(out, event),
            Output::Json => return line(out, response),
            Output::Dict => {
                let text = format!(
                    "       TYPE: {kind}\n       FROM: {from}\n       MARK: {mark}\n        CPU: {cpu}\n    MESSAGE: {message}\n"
                );
                self.dict_event(&time, &response.node_name, &text, out)?;
            }
            Output::Table => {
                self.heading(&["FROM", "", "TYPE", "CPU/MARK", "MESSAGE"]);
                self.row(&time, node.as_deref(), &[&from, "", &kind, &format!("{cpu} {mark}"), message]);
            }
            Output::Compact => {
                let node = node.map(|node| format!(" [{node}]")).unwrap_or_default();
                self.put(out, &format!("{time}{node}: {from} {kind} MARK: {mark} CPU: {cpu} ({message})\n"))?;
            }
        }
        self.line += 1;
        Ok(())
    }

    // === parts ===

    fn node(&self, name: &str) -> Option<String> {
        self.look.node.then(|| name.to_owned())
    }

    /// Agent and debug events: no line break after the separator, as the official command prints them.
    fn dict_event(&mut self, time: &str, node: &str, rest: &str, out: &mut dyn Write) -> io::Result<()> {
        let mut text = String::new();
        if self.line != 0 {
            text.push_str(SEPARATOR);
        }
        text.push_str(&format!("  TIMESTAMP: {time}\n"));
        if self.look.node {
            text.push_str(&format!("       NODE: {node}\n"));
        }
        text.push_str(rest);
        self.put(out, &text)
    }

    fn heading(&mut self, columns: &[&str]) {
        if self.line == 0 {
            let node = self.look.node.then_some("NODE");
            self.row("TIMESTAMP", node, columns);
        }
    }

    fn row(&mut self, time: &str, node: Option<&str>, cells: &[&str]) {
        let cells: Vec<&str> = std::iter::once(time).chain(node).chain(cells.iter().copied()).collect();
        let row = cells.join("\t");
        self.rows.push_str(&self.palette.escape(&row));
        self.rows.push('\n');
    }

    fn put(&self, out: &mut dyn Write, text: &str) -> io::Result<()> {
        out.write_all(self.palette.escape(text).as_bytes())
    }
}

/// A message as a line of JSON.
fn line(out: &mut dyn Write, message: &impl Json) -> io::Result<()> {
    let mut text = json::text(message);
    text.push('\n');
    out.write_all(text.as_bytes())
}
