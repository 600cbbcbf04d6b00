//! Recordings of flows: lines of JSON, one `GetFlowsResponse` each, as `hubble observe -o jsonpb` prints them and
//! `--input-file` reads them. A recording grows at its end only, so it can be continued: what is whole stays, a torn last
//! line goes.
//!
//! Values in, values out: files are the caller's.

use nexin_hubble::flow::Flow;
use nexin_hubble::json::{self, ReadError, Unknown};
use nexin_hubble::observer::GetFlowsResponse;
use nexin_hubble::observer::get_flows_response::ResponseTypes;
use prost_types::Timestamp;

/// A response as a line of a recording, its end included.
pub fn line(response: &GetFlowsResponse) -> String {
    let mut text = json::text(response);
    text.push('\n');
    text
}

/// One line of a recording. Fields of later versions are left out.
///
/// # Errors
/// The line is no response.
pub fn read_line(line: &[u8]) -> Result<GetFlowsResponse, ReadError> {
    json::read(line.trim_ascii_end(), Unknown::Discard)
}

/// The flow of a response, where it holds one.
pub fn flow(response: &GetFlowsResponse) -> Option<&Flow> {
    match &response.response_types {
        Some(ResponseTypes::Flow(flow)) => Some(flow),
        _ => None,
    }
}

/// How many events the stream says were lost.
pub fn lost(response: &GetFlowsResponse) -> u64 {
    match &response.response_types {
        Some(ResponseTypes::LostEvents(lost)) => lost.num_events_lost,
        _ => 0,
    }
}

/// What a recording holds so far. Lines are fed in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// Bytes of whole lines.
    pub bytes: u64,
    pub flows: u64,
    pub lost: u64,
    /// Lines that are no response.
    pub unreadable: u64,
    pub first: Option<Timestamp>,
    pub last: Option<Timestamp>,
}

impl Extent {
    /// One more line, with its end. A line without one is torn and does not count: false.
    pub fn feed(&mut self, line: &[u8]) -> bool {
        if !line.ends_with(b"\n") {
            return false;
        }
        match read_line(line) {
            Ok(response) => self.add(&response, line.len() as u64),
            Err(_) => {
                self.bytes += line.len() as u64;
                self.unreadable += 1;
            }
        }
        true
    }

    /// A response that was written as `bytes` bytes.
    pub fn add(&mut self, response: &GetFlowsResponse, bytes: u64) {
        self.bytes += bytes;
        self.lost += lost(response);
        if flow(response).is_none() {
            return;
        }
        self.flows += 1;
        let Some(time) = response.time else { return };
        let stamp = |time: &Timestamp| (time.seconds, time.nanos);
        if self.first.as_ref().is_none_or(|first| stamp(&time) < stamp(first)) {
            self.first = Some(time);
        }
        if self.last.as_ref().is_none_or(|last| stamp(&time) > stamp(last)) {
            self.last = Some(time);
        }
    }

    /// Where to go on: the first moment that is not recorded.
    pub fn next(&self) -> Option<Timestamp> {
        let last = self.last?;
        let (seconds, nanos) = match last.nanos {
            999_999_999 => (last.seconds + 1, 0),
            nanos => (last.seconds, nanos + 1),
        };
        Some(Timestamp { seconds, nanos })
    }
}

/// Where a recording ends by itself. `None`: never.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    pub flows: Option<u64>,
    pub bytes: Option<u64>,
}

impl Bounds {
    /// Whether a line of `bytes` bytes would still fit.
    pub fn admit(&self, extent: &Extent, bytes: u64) -> bool {
        self.flows.is_none_or(|most| extent.flows < most)
            && self.bytes.is_none_or(|most| extent.bytes.saturating_add(bytes) <= most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(seconds: i64, nanos: i32) -> GetFlowsResponse {
        let time = Some(Timestamp { seconds, nanos });
        let flow = Flow { time, ..Flow::default() };
        GetFlowsResponse { response_types: Some(ResponseTypes::Flow(flow)), time, ..GetFlowsResponse::default() }
    }

    #[test]
    fn a_recording_goes_on_after_its_last_whole_line() {
        let mut extent = Extent::default();
        let first = line(&response(10, 999_999_999));
        assert!(extent.feed(first.as_bytes()));
        assert!(extent.feed(line(&response(9, 0)).as_bytes()));
        assert!(extent.feed(b"no json\n"));
        assert!(!extent.feed(b"{\"flow\":{"), "a torn line");
        assert_eq!((extent.flows, extent.unreadable), (2, 1));
        assert_eq!(extent.next(), Some(Timestamp { seconds: 11, nanos: 0 }));
        assert_eq!(extent.first, Some(Timestamp { seconds: 9, nanos: 0 }));
    }

    #[test]
    fn bounds_hold_before_they_are_passed() {
        let mut extent = Extent::default();
        extent.add(&response(1, 0), 100);
        assert!(Bounds { flows: Some(2), bytes: Some(200) }.admit(&extent, 100));
        assert!(!Bounds { flows: Some(1), bytes: None }.admit(&extent, 1));
        assert!(!Bounds { flows: None, bytes: Some(150) }.admit(&extent, 51));
    }
}
