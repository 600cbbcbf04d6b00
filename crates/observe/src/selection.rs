//! Flows that other commands choose with the flags of `observe`: to record them, to capture their packets.

use nexin_api::hubble::Client;
use nexin_hubble::flow::FlowFilter;
use nexin_hubble::observer::GetFlowsRequest;
use prost_types::Timestamp;

use crate::command::find;
use crate::flags::Parsed;
use crate::settings::{Environment, Settings};
use crate::verbs::observe::request;
use crate::verbs::server;
use crate::{Error, House, remote};

/// A request for whole flows, and whom to ask.
#[derive(Debug)]
pub struct Selection {
    pub request: GetFlowsRequest,
    pub client: Client,
    /// The server's name, for people.
    pub server: String,
    /// Nobody said how many flows, or since or until when.
    pub open_ended: bool,
}

/// What filter flags mean: filters that allow, and filters that deny.
pub fn filters(flags: &[String]) -> Result<(Vec<FlowFilter>, Vec<FlowFilter>), Error> {
    Ok(parse(flags)?.filters.build())
}

/// Flags of `observe`, and nothing else.
fn parse(flags: &[String]) -> Result<Parsed, Error> {
    let words: Vec<String> = std::iter::once("observe".to_owned()).chain(flags.iter().cloned()).collect();
    let (path, rest) = find(&words)?;
    let (parsed, result) = Parsed::read(&path.flags(), &rest);
    result?;
    if let Some(word) = parsed.arguments.first() {
        return Err(Error::Usage(format!("{word:?} is no flag of `nexin observe`, whose flags choose flows here")));
    }
    if parsed.filters.dangling_not() {
        return Err(Error::usage("trailing --not found in the arguments"));
    }
    Ok(parsed)
}

impl Selection {
    /// Reads flags of `observe`. Those about printing are understood and mean nothing; a field mask is refused, since a
    /// recording holds whole flows.
    pub fn read(flags: &[String], environment: &Environment, now: Timestamp) -> Result<Self, Error> {
        let parsed = parse(flags)?;
        for flag in ["field-mask", "input-file"] {
            if parsed.is_set(flag) {
                return Err(Error::Usage(format!("--{flag} cannot stand here: whole flows of a server are taken")));
            }
        }
        let settings = Settings::load(&parsed, environment);
        remote::check(&settings)?;
        let request = request::flows(now, &settings, &[])?;
        let server = server(House::Nexin, &settings);
        let open_ended = !["last", "first", "all", "since", "until"].iter().any(|flag| parsed.is_set(flag));
        Ok(Self { request, client: remote::client(&settings, &server)?, server, open_ended })
    }
}
