//! Why a command failed. The text is what people see.

use std::io;
use std::net::SocketAddr;

use nexin_api::hubble::{Code, Refusal};
use nexin_hubble::json::ReadError;

use crate::command::UnknownCommand;
use crate::flags::FlagError;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The command line is wrong.
    #[error("{0}")]
    Usage(String),
    /// Writing the answer, or reading the input.
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("open {path}: {}", reason(.source))]
    Open { path: String, source: io::Error },
    #[error("read {path}: {}", reason(.source))]
    Read { path: String, source: io::Error },
    /// A line of the input file is longer than the official command reads.
    #[error("bufio.Scanner: token too long")]
    LongLine,
    /// A JSON filter of the command line, the environment or the configuration file.
    #[error("invalid --{flag} flag: failed to decode '{text}': {source}")]
    RawFilter { flag: &'static str, text: String, source: ReadError },
    /// The server refused, or was not reached.
    #[error("{}", remote(.0))]
    Remote(Refusal),
    #[error("{doing}: {}", remote(.source))]
    RemoteStep { doing: &'static str, source: Refusal },
    #[error("not healthy")]
    Unhealthy,
}

impl From<FlagError> for Error {
    fn from(error: FlagError) -> Self {
        Self::Usage(error.to_string())
    }
}

impl From<UnknownCommand> for Error {
    fn from(error: UnknownCommand) -> Self {
        Self::Usage(error.to_string())
    }
}

impl Error {
    pub(crate) fn usage(text: impl Into<String>) -> Self {
        Self::Usage(text.into())
    }

    /// The reader of our output went away: nothing went wrong.
    pub fn is_closed_pipe(&self) -> bool {
        matches!(self, Self::Io(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }
}

/// As Go's gRPC writes a status.
fn remote(refusal: &Refusal) -> String {
    let message = dialing(&refusal.message).unwrap_or_else(|| refusal.message.clone());
    format!("rpc error: code = {} desc = {message}", refusal.code_name())
}

/// A server that was not reached, in Go's words.
fn dialing(message: &str) -> Option<String> {
    let (target, why) = message.strip_prefix("cannot connect to ")?.rsplit_once(": ")?;
    let network = if target.parse::<SocketAddr>().is_ok() { "tcp" } else { "unix" };
    let why = why.split(" (os error").next().unwrap_or(why).to_lowercase();
    Some(format!(
        "connection error: desc = \"transport: Error while dialing: dial {network} {target}: connect: {why}\""
    ))
}

/// Streams say the bare message where the server gave no code: so filters are refused.
pub(crate) fn of_stream(refusal: Refusal) -> Error {
    if refusal.code == Code::Unknown { Error::Usage(refusal.message) } else { Error::Remote(refusal) }
}

fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "no such file or directory".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        io::ErrorKind::IsADirectory => "is a directory".to_owned(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_there_in_the_words_that_scripts_know() {
        let told = |message: &str| Error::Remote(Refusal::unavailable(message)).to_string();
        assert_eq!(
            told("cannot connect to 127.0.0.1:4245: Connection refused (os error 111)"),
            "rpc error: code = Unavailable desc = connection error: desc = \"transport: Error while dialing: dial tcp 127.0.0.1:4245: connect: connection refused\""
        );
        assert!(
            told("cannot connect to h.sock: No such file or directory (os error 2)")
                .contains("dial unix h.sock: connect: no such file")
        );
        assert_eq!(told("busy"), "rpc error: code = Unavailable desc = busy");
    }
}
