//! `observe agent-events` and `observe debug-events`: only agents have them, and nothing filters them.

use futures_util::StreamExt as _;
use nexin_api::hubble::Code;
use nexin_hubble::observer::{GetAgentEventsRequest, GetDebugEventsRequest};
use prost_types::Timestamp;

use crate::error::{self, Error};
use crate::print::Printer;
use crate::settings::Settings;
use crate::verbs::observe::{self, LAST};
use crate::verbs::{moment, server};
use crate::{Run, remote};

/// Which events, as both requests say it.
struct Wanted {
    number: u64,
    follow: bool,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
}

fn wanted(run: &Run<'_>, settings: &Settings<'_>) -> Result<Wanted, Error> {
    let flags = settings.flags;
    let follow = flags.bool("follow").unwrap_or(false);
    let since = moment(run.now, flags, "since")?;
    let until = if follow { None } else { moment(run.now, flags, "until")? };
    let mut number = flags.number("last").unwrap_or(0);
    if since.is_none() && until.is_none() {
        match (flags.bool("all"), number) {
            (Some(true), _) => number = u64::MAX,
            (_, 0) => number = LAST,
            _ => {}
        }
    }
    Ok(Wanted { number, follow, since, until })
}

pub(super) async fn agent(run: &mut Run<'_>, settings: &Settings<'_>) -> Result<(), Error> {
    let mut printer = Printer::new(observe::event_look(run, settings)?);
    let Wanted { number, follow, since, until } = wanted(run, settings)?;
    let client = remote::client(settings, &server(run.house, settings))?;
    let request = GetAgentEventsRequest { number, follow, since, until, ..GetAgentEventsRequest::default() };
    let mut events = client.get_agent_events(request);
    let mut result = Ok(());
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => printer.agent_event(&event, run.console.out)?,
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
    remote::compare(&client.versions(), run.now, run.console.err);
    result
}

pub(super) async fn debug(run: &mut Run<'_>, settings: &Settings<'_>) -> Result<(), Error> {
    let mut printer = Printer::new(observe::event_look(run, settings)?);
    let Wanted { number, follow, since, until } = wanted(run, settings)?;
    let client = remote::client(settings, &server(run.house, settings))?;
    let request = GetDebugEventsRequest { number, follow, since, until, ..GetDebugEventsRequest::default() };
    let mut events = client.get_debug_events(request);
    let mut result = Ok(());
    while let Some(event) = events.next().await {
        match event {
            Ok(event) => printer.debug_event(&event, run.console.out)?,
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
    remote::compare(&client.versions(), run.now, run.console.err);
    result
}
