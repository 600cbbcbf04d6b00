//! What a verb says when it cannot do its work: what happened, and what to do next.

use std::io;
use std::path::{Path, PathBuf};

use nexin_api::ClientError;
use nexin_api::v1::{Detail, ErrorBody, ErrorCode};

pub(crate) type Result<T> = std::result::Result<T, CliError>;

#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    #[error(transparent)]
    Agent(#[from] ClientError),
    /// Standard output is closed or full.
    #[error("writing the answer: {0}")]
    Output(#[from] io::Error),
    #[error("{path}: {source}", path = path.display())]
    File { path: PathBuf, source: io::Error },
    /// What was asked for does not exist or does not fit.
    #[error("{what}")]
    Input { what: String, next: Option<String> },
    /// Documents that cannot be used, with every place; `shown` has the lines themselves.
    #[error("{what}")]
    Mistakes { what: String, next: String, places: Vec<Detail>, shown: String },
    #[error("{doing}: {source}")]
    System { doing: String, source: io::Error },
    #[error(transparent)]
    Network(#[from] nexin_netlink::Error),
    #[error(transparent)]
    Lab(#[from] nexin_lab::Error),
    #[error(transparent)]
    Observe(#[from] nexin_observe::Error),
    #[error(transparent)]
    Settings(#[from] nexin_runtime::settings::SettingsError),
    #[error(transparent)]
    Daemon(#[from] nexin_agent::AgentError),
    #[error(transparent)]
    Relay(#[from] nexin_relay::RelayError),
}

impl CliError {
    pub(crate) fn file(path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self::File { path: path.into(), source }
    }

    pub(crate) fn input(what: impl Into<String>, next: impl Into<String>) -> Self {
        Self::Input { what: what.into(), next: Some(next.into()) }
    }

    pub(crate) fn system(doing: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Self::System { doing: doing.into(), source: source.into() }
    }

    /// The reader of our output went away (`nexin monitor | head`): nothing went wrong.
    pub(crate) fn is_closed_pipe(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }

    /// What to do next.
    pub(crate) fn next(&self) -> Option<String> {
        match self {
            Self::Agent(ClientError::Connect { socket, .. }) => Some(reach_agent(socket)),
            Self::Agent(error) => error.hint(),
            Self::Input { next, .. } => next.clone(),
            Self::Mistakes { next, .. } => Some(next.clone()),
            Self::File { source, .. } | Self::System { source, .. }
                if source.kind() == io::ErrorKind::PermissionDenied =>
            {
                Some("run it as root".to_owned())
            }
            _ => None,
        }
    }

    /// Places in files that are complained about, in text.
    pub(crate) fn places(&self) -> String {
        match self {
            Self::Agent(ClientError::Refused(body)) => {
                body.details.iter().map(|detail| format!("  {}\n", place(detail))).collect()
            }
            Self::Mistakes { shown, .. } => shown.clone(),
            _ => String::new(),
        }
    }

    /// For programs (`-o json`): the form in which the agent refuses a request.
    pub(crate) fn body(&self) -> ErrorBody {
        let (code, details) = match self {
            Self::Agent(ClientError::Refused(body)) => (body.code, body.details.clone()),
            Self::Agent(ClientError::Connect { .. } | ClientError::Transport(_)) => {
                (ErrorCode::Unavailable, Vec::new())
            }
            Self::Mistakes { places, .. } => (ErrorCode::InvalidPolicy, places.clone()),
            Self::File { source, .. } if source.kind() == io::ErrorKind::NotFound => (ErrorCode::NotFound, Vec::new()),
            Self::Input { .. } | Self::Settings(_) => (ErrorCode::BadRequest, Vec::new()),
            _ => (ErrorCode::Failed, Vec::new()),
        };
        ErrorBody { code, message: self.to_string(), hint: self.next(), details }
    }
}

fn place(detail: &Detail) -> String {
    let mut text = String::new();
    if let Some(file) = &detail.file {
        text.push_str(file);
        for number in [detail.line, detail.column].into_iter().flatten() {
            text.push_str(&format!(":{number}"));
        }
        text.push_str(": ");
    }
    if let Some(field) = detail.field.as_deref().filter(|field| !field.is_empty()) {
        text.push_str(&format!("{field}: "));
    }
    text.push_str(&detail.message);
    if let Some(hint) = &detail.hint {
        text.push_str(&format!(" ({hint})"));
    }
    text
}

fn reach_agent(socket: &Path) -> String {
    let shown = socket.display();
    match socket.try_exists() {
        Ok(true) => format!(
            "{shown} exists, but nobody answers there: is the agent still running, and may you use its socket (root may)?"
        ),
        Ok(false) => {
            "start it with `nexin agent` as root, or name the socket of a running one with --socket or NEXIN_SOCKET"
                .to_owned()
        }
        Err(_) => format!("{shown} may not be looked at: run this as root"),
    }
}
