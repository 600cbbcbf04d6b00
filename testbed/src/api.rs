//! Talks to the agent as a stranger would: HTTP over its unix socket, JSON in and out. On purpose not `nexin-api`'s
//! client: these tests notice when the wire changes.

use std::{
    io::{Read as _, Write as _},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::Value;

use crate::{DEADLINE, Error, Result, fail};

/// An agent's socket.
#[derive(Clone, Debug)]
pub struct Api {
    socket: PathBuf,
}

/// One answer.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: u16,
    pub text: String,
}

impl Reply {
    pub fn json(&self) -> Result<Value> {
        serde_json::from_str(&self.text).map_err(|e| Error::new(format!("{e} in {:?}", self.text)))
    }
}

impl Api {
    pub fn new(socket: &Path) -> Self {
        Self { socket: socket.to_owned() }
    }

    pub fn socket(&self) -> &Path {
        &self.socket
    }

    pub fn get(&self, path: &str) -> Result<Value> {
        self.expect("GET", path, "").and_then(|r| r.json())
    }

    pub fn post(&self, path: &str, body: &Value) -> Result<Value> {
        self.expect("POST", path, &body.to_string()).and_then(|r| r.json())
    }

    pub fn put(&self, path: &str, body: &Value) -> Result {
        self.expect("PUT", path, &body.to_string()).map(drop)
    }

    pub fn delete(&self, path: &str) -> Result {
        self.expect("DELETE", path, "").map(drop)
    }

    /// Sends a request; an error unless the answer is 2xx.
    pub fn expect(&self, method: &str, path: &str, body: &str) -> Result<Reply> {
        let reply = self.request(method, path, body)?;
        if !(200..300).contains(&reply.status) {
            fail!("{method} {path}: {} {}", reply.status, reply.text);
        }
        Ok(reply)
    }

    /// Sends a request and returns the answer, whatever it is.
    pub fn request(&self, method: &str, path: &str, body: &str) -> Result<Reply> {
        let mut stream = self.open(method, path, body)?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        let answer = String::from_utf8_lossy(&answer);
        let Some((head, text)) = answer.split_once("\r\n\r\n") else { fail!("{method} {path}: no answer") };
        let status = head.split(' ').nth(1).and_then(|s| s.parse().ok());
        let Some(status) = status else { fail!("{method} {path}: strange answer {head:?}") };
        Ok(Reply { status, text: text.to_owned() })
    }

    /// Sends a request and returns the connection; the answer ends where the connection does (HTTP/1.0).
    pub fn open(&self, method: &str, path: &str, body: &str) -> Result<UnixStream> {
        let mut stream = UnixStream::connect(&self.socket)?;
        stream.set_read_timeout(Some(DEADLINE))?;
        stream.set_write_timeout(Some(Duration::from_secs(5)))?;
        let kind = if body.starts_with(['{', '[']) { "application/json" } else { "application/yaml" };
        write!(
            stream,
            "{method} {path} HTTP/1.0\r\nHost: nexin\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )?;
        Ok(stream)
    }
}
