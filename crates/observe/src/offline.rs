//! Flows from a file: lines of JSON, as `-o jsonpb` prints them. Lines that are no response are told and left out; a line
//! of 64 KiB ends everything, as in the official command.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};

use nexin_hubble::json::{self, Unknown};
use nexin_hubble::observer::GetFlowsRequest;
use nexin_hubble::observer::GetFlowsResponse;
use nexin_hubble::observer::get_flows_response::ResponseTypes;
use prost_types::Timestamp;

use crate::error::Error;
use crate::log::{self, Level};

/// Bytes of a line, its end included, that are too many.
const LINE_LIMIT: usize = 65_536;
/// How many responses `--last` may keep.
const KEPT_LIMIT: u64 = 1_000_000;

/// Which of the responses that pass are wanted.
enum Keep {
    All,
    /// This many more.
    First(u64),
    Last(VecDeque<GetFlowsResponse>, usize),
}

pub(crate) struct Offline<'a> {
    lines: BufReader<&'a mut dyn Read>,
    /// How the input is called in errors.
    path: String,
    line: Vec<u8>,
    unknown: Unknown,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    filters: crate::matching::Filters,
    keep: Keep,
    now: Timestamp,
    ended: bool,
}

impl<'a> Offline<'a> {
    pub(crate) fn new(
        input: &'a mut dyn Read,
        path: &str,
        request: &GetFlowsRequest,
        now: Timestamp,
    ) -> Result<Self, Error> {
        let filters = crate::matching::Filters::new(&request.whitelist, &request.blacklist)?;
        let keep = match (request.first, request.number) {
            (_, 0 | u64::MAX) => Keep::All,
            (true, number) => Keep::First(number),
            (false, number) if number > KEPT_LIMIT => {
                return Err(Error::Usage(format!("--last must be <= 1_000_000, got {number}")));
            }
            (false, number) => Keep::Last(VecDeque::new(), number as usize),
        };
        Ok(Self {
            lines: BufReader::new(input),
            path: if path == "-" { "/dev/stdin".to_owned() } else { path.to_owned() },
            line: Vec::new(),
            unknown: Unknown::Refuse,
            since: request.since,
            until: request.until,
            filters,
            keep,
            now,
            ended: false,
        })
    }

    /// The next response that is wanted. Warnings go to `err`.
    pub(crate) fn next(&mut self, err: &mut dyn Write) -> Result<Option<GetFlowsResponse>, Error> {
        loop {
            match &mut self.keep {
                Keep::First(0) => return Ok(None),
                Keep::Last(kept, _) if self.ended => return Ok(kept.pop_front()),
                _ if self.ended => return Ok(None),
                _ => {}
            }
            if !self.read_line()? {
                self.ended = true;
                continue;
            }
            let Some(response) = self.decode(err) else { continue };
            if !self.wanted(&response) {
                continue;
            }
            match &mut self.keep {
                Keep::All => return Ok(Some(response)),
                Keep::First(left) => {
                    *left -= 1;
                    return Ok(Some(response));
                }
                Keep::Last(kept, most) => {
                    if kept.len() == *most {
                        kept.pop_front();
                    }
                    kept.push_back(response);
                }
            }
        }
    }

    /// False at the end of the input.
    fn read_line(&mut self) -> Result<bool, Error> {
        self.line.clear();
        let limit = LINE_LIMIT as u64;
        let read = (&mut self.lines).take(limit).read_until(b'\n', &mut self.line);
        let read = read.map_err(|source| Error::Read { path: self.path.clone(), source })?;
        match self.line.strip_suffix(b"\n") {
            Some(line) => self.line = line.strip_suffix(b"\r").unwrap_or(line).to_vec(),
            None if read == LINE_LIMIT => return Err(Error::LongLine),
            None => {
                if self.line.last() == Some(&b'\r') {
                    self.line.pop();
                }
            }
        }
        Ok(read > 0)
    }

    fn decode(&mut self, err: &mut dyn Write) -> Option<GetFlowsResponse> {
        let mut result = json::read(&self.line, self.unknown);
        if let (Err(first), Unknown::Refuse) = (&result, self.unknown) {
            let first = first.to_string();
            result = json::read(&self.line, Unknown::Discard);
            if result.is_ok() {
                // Once is enough: from here on unknown fields are left out.
                self.unknown = Unknown::Discard;
                let message = "unknown field detected, upgrade the Hubble CLI to get rid of this warning";
                log::line(err, self.now, Level::Warn, message, &[("error", first.as_bytes())]);
            }
        }
        match result {
            Ok(response) => Some(response),
            Err(error) => {
                let pairs = [("error", error.to_string().into_bytes()), ("line", self.line.clone())];
                let pairs = [(pairs[0].0, pairs[0].1.as_slice()), (pairs[1].0, pairs[1].1.as_slice())];
                log::line(err, self.now, Level::Warn, "Failed to unmarshal json to flow", &pairs);
                None
            }
        }
    }

    fn wanted(&self, response: &GetFlowsResponse) -> bool {
        let time = response.time.map_or((0, 0), |time| (time.seconds, time.nanos));
        let stamp = |time: &Timestamp| (time.seconds, time.nanos);
        if self.since.as_ref().is_some_and(|since| stamp(since) > time)
            || self.until.as_ref().is_some_and(|until| stamp(until) < time)
        {
            return false;
        }
        let flow = match &response.response_types {
            Some(ResponseTypes::Flow(flow)) => Some(flow),
            _ => None,
        };
        self.filters.pass(flow)
    }
}
