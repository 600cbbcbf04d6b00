//! `observe`: flows of a server or of a file.

mod rawjson;
pub(crate) mod request;

use std::fs::File;
use std::io::Read;
use std::pin::pin;

use futures_util::StreamExt as _;
use nexin_api::hubble::Code;
use nexin_hubble::json;
use nexin_hubble::observer::GetFlowsRequest;

use crate::error::{self, Error};
use crate::offline::Offline;
use crate::print::{Colours, Look, Output, Printer};
use crate::settings::{Settings, yaml_text};
use crate::time::TimeFormat;
use crate::verbs::{automatic, legacy_json, server};
use crate::{Run, remote};

/// How many flows or events are asked for where nobody says.
pub(super) const LAST: u64 = 20;

pub(super) async fn run(run: &mut Run<'_>, settings: &Settings<'_>) -> Result<(), Error> {
    if settings.flags.filters.dangling_not() {
        return Err(Error::usage("trailing --not found in the arguments"));
    }
    let look = flow_look(run, settings)?;
    let mask = request::mask(settings, look.output)?;
    let request = request::flows(run.now, settings, &mask)?;
    if settings.flags.bool("print-raw-filters") == Some(true) {
        return Ok(run.console.out.write_all(raw_filters(&request).as_bytes())?);
    }
    let mut printer = Printer::new(look);
    let input = settings.flags.text("input-file").unwrap_or_default();
    if !input.is_empty() {
        if settings.bool("port-forward") {
            return Err(Error::usage("cannot use --input-file and --auto-port-forward together"));
        }
        return from_file(run, &request, input, &mut printer);
    }
    from_server(run, settings, request, &mut printer).await
}

async fn from_server(
    run: &mut Run<'_>,
    settings: &Settings<'_>,
    request: GetFlowsRequest,
    printer: &mut Printer,
) -> Result<(), Error> {
    let client = remote::client(settings, &server(run.house, settings))?;
    let follow = request.follow;
    let mut flows = client.get_flows(request);
    let mut result = Ok(());
    let mut compared = false;
    let mut interrupted = pin!(tokio::signal::ctrl_c());
    loop {
        // What was collected is printed when somebody interrupts.
        let response = tokio::select! {
            response = flows.next() => response,
            _ = &mut interrupted => None,
        };
        let Some(response) = response else { break };
        if !std::mem::replace(&mut compared, true) {
            remote::compare(&client.versions(), run.now, run.console.err);
        }
        match response {
            Ok(response) => printer.response(&response, run.console.out, run.console.err)?,
            Err(refusal) if refusal.code == Code::Cancelled => break,
            Err(refusal) => {
                result = Err(error::of_stream(refusal));
                break;
            }
        }
        if follow {
            run.console.out.flush()?;
        }
    }
    printer.finish(run.console.out)?;
    result
}

fn from_file(run: &mut Run<'_>, request: &GetFlowsRequest, path: &str, printer: &mut Printer) -> Result<(), Error> {
    let mut file;
    let input: &mut dyn Read = if path == "-" {
        &mut *run.console.input
    } else {
        file = File::open(path).map_err(|source| Error::Open { path: path.to_owned(), source })?;
        &mut file
    };
    let mut offline = Offline::new(input, path, request, run.now)?;
    let mut result = Ok(());
    loop {
        match offline.next(run.console.err) {
            Ok(Some(response)) => printer.response(&response, run.console.out, run.console.err)?,
            Ok(None) => break,
            Err(error) => {
                result = Err(error);
                break;
            }
        }
    }
    printer.finish(run.console.out)?;
    result
}

/// The filters as YAML that a configuration file takes.
fn raw_filters(request: &GetFlowsRequest) -> String {
    let mut text = String::new();
    for (name, filters) in [("allowlist", &request.whitelist), ("denylist", &request.blacklist)] {
        if !filters.is_empty() {
            text.push_str(&format!("{name}:\n"));
        }
        for filter in filters {
            text.push_str(&format!("    - {}\n", yaml_text(&json::text(filter))));
        }
    }
    if text.is_empty() { "{}\n".to_owned() } else { text }
}

// === looks ===

fn output(run: &Run<'_>, settings: &Settings<'_>) -> Result<Output, Error> {
    let name = settings.flags.text("output").unwrap_or("compact");
    match name {
        "compact" => Ok(Output::Compact),
        "dict" => Ok(Output::Dict),
        "json" | "JSON" if legacy_json(run) => Ok(Output::JsonLegacy),
        "json" | "JSON" | "jsonpb" => Ok(Output::Json),
        "tab" | "table" if settings.flags.bool("follow") == Some(true) => {
            Err(Error::usage("table output format is not compatible with follow mode"))
        }
        "tab" | "table" => Ok(Output::Table),
        other => Err(Error::Usage(format!("invalid output format: {other}"))),
    }
}

/// How agent and debug events look: they know no colours and no names.
pub(super) fn event_look(run: &Run<'_>, settings: &Settings<'_>) -> Result<Look, Error> {
    let flags = settings.flags;
    let yes = |name: &str| flags.bool(name).unwrap_or(false);
    Ok(Look {
        output: output(run, settings)?,
        time: TimeFormat::named(flags.text("time-format").unwrap_or_default()),
        colours: Colours::Never,
        names: false,
        node: yes("print-node-name"),
        policies: yes("print-policy-names"),
        why: yes("why"),
        debug: settings.bool("debug"),
        silent: yes("silent-errors"),
    })
}

fn flow_look(run: &Run<'_>, settings: &Settings<'_>) -> Result<Look, Error> {
    let flags = settings.flags;
    let colours = match flags.text("color").unwrap_or("auto").to_lowercase().as_str() {
        "always" => Colours::Always,
        "never" => Colours::Never,
        _ if automatic(run) => Colours::Always,
        _ => Colours::Never,
    };
    let names = flags.bool("ip-translation").unwrap_or(true) && !flags.bool("numeric").unwrap_or(false);
    Ok(Look { colours, names, ..event_look(run, settings)? })
}
