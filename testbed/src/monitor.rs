//! The agent's event stream, read as it comes.

use std::{
    collections::VecDeque,
    io::{BufRead as _, BufReader, ErrorKind},
    os::unix::net::UnixStream,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{Api, DEADLINE, Result, fail};

/// `GET /v1/monitor`: one JSON record a line.
pub struct Monitor {
    stream: BufReader<UnixStream>,
    /// Bytes of a line that has not ended yet.
    partial: Vec<u8>,
    /// The last records, for failures.
    recent: VecDeque<Value>,
}

impl Monitor {
    pub(crate) fn open(api: &Api, query: &str) -> Result<Self> {
        Self::of(api, "GET", &format!("/v1/monitor?{query}"), "")
    }

    /// Any answer of one JSON record a line.
    pub(crate) fn of(api: &Api, method: &str, path: &str, body: &str) -> Result<Self> {
        let mut stream = BufReader::new(api.open(method, path, body)?);
        let mut line = String::new();
        let mut status = String::new();
        while line != "\r\n" {
            line.clear();
            if stream.read_line(&mut line)? == 0 {
                fail!("the monitor closed at once: {status}");
            }
            if status.is_empty() {
                status.clone_from(&line);
            }
        }
        if !status.contains(" 200 ") {
            fail!("the monitor answered {status}");
        }
        stream.get_ref().set_read_timeout(Some(Duration::from_millis(100)))?;
        Ok(Self { stream, partial: Vec::new(), recent: VecDeque::new() })
    }

    /// Reads until a record fits; an error with the last records when none comes.
    pub fn wait_for(&mut self, what: &str, mut fits: impl FnMut(&Value) -> bool) -> Result<Value> {
        let start = Instant::now();
        while start.elapsed() < DEADLINE {
            if let Some(record) = self.next()? {
                if fits(&record) {
                    return Ok(record);
                }
                self.recent.push_back(record);
                self.recent.truncate(20);
            }
        }
        fail!("no event until {what}; saw {:#?}", self.recent)
    }

    /// One record, if one comes within a moment.
    fn next(&mut self) -> Result<Option<Value>> {
        match self.stream.read_until(b'\n', &mut self.partial) {
            Ok(0) => fail!("the monitor's stream ended"),
            Ok(_) if self.partial.ends_with(b"\n") => {}
            Ok(_) => return Ok(None),
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return Ok(None),
            Err(e) => return Err(e.into()),
        }
        let line = std::mem::take(&mut self.partial);
        if line.trim_ascii().is_empty() {
            return Ok(None);
        }
        Ok(Some(serde_json::from_slice(&line)?))
    }
}
