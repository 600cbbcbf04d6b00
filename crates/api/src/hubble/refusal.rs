//! Why a call has no answer, in gRPC's terms.

use std::error::Error as _;

use nexin_http::ConnectError;
pub use tonic::Code;

/// A gRPC status that is not OK. `message` is for people; the `hubble` command prints it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    pub code: Code,
    pub message: String,
}

impl Refusal {
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// The request contradicts itself.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(Code::InvalidArgument, message)
    }

    /// A filter or field mask that cannot be used. Hubble's servers tell these without a code, so clients expect `Unknown`.
    pub fn filter(message: impl Into<String>) -> Self {
        Self::new(Code::Unknown, message)
    }

    /// This server never answers `method`.
    pub fn unimplemented(method: &str) -> Self {
        Self::new(Code::Unimplemented, format!("{method} not implemented"))
    }

    /// Not now; asking again later may help.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(Code::Unavailable, message)
    }

    /// The code as Go's gRPC, and so the official command, spells it.
    pub const fn code_name(&self) -> &'static str {
        match self.code {
            Code::Ok => "OK",
            Code::Cancelled => "Canceled",
            Code::Unknown => "Unknown",
            Code::InvalidArgument => "InvalidArgument",
            Code::DeadlineExceeded => "DeadlineExceeded",
            Code::NotFound => "NotFound",
            Code::AlreadyExists => "AlreadyExists",
            Code::PermissionDenied => "PermissionDenied",
            Code::ResourceExhausted => "ResourceExhausted",
            Code::FailedPrecondition => "FailedPrecondition",
            Code::Aborted => "Aborted",
            Code::OutOfRange => "OutOfRange",
            Code::Unimplemented => "Unimplemented",
            Code::Internal => "Internal",
            Code::Unavailable => "Unavailable",
            Code::DataLoss => "DataLoss",
            Code::Unauthenticated => "Unauthenticated",
        }
    }
}

impl From<Refusal> for tonic::Status {
    fn from(refusal: Refusal) -> Self {
        Self::new(refusal.code, refusal.message)
    }
}

impl From<tonic::Status> for Refusal {
    /// What the server said, or, of a call that found nobody or broke, which step failed instead of "transport error".
    fn from(status: tonic::Status) -> Self {
        if let Some(error) = chain(&status).find_map(|error| error.downcast_ref::<ConnectError>()) {
            return error.into();
        }
        // Only what this side made itself has a source. A broken connection is Go's "unavailable", whatever HTTP/2 calls it.
        match (status.source().is_some(), status.code()) {
            (false, code) => Self::new(code, status.message()),
            (true, Code::Unknown | Code::Internal) => Self::unavailable(causes(&status)),
            (true, code) => Self::new(code, causes(&status)),
        }
    }
}

impl From<&ConnectError> for Refusal {
    fn from(error: &ConnectError) -> Self {
        Self::unavailable(error.to_string())
    }
}

fn chain(status: &tonic::Status) -> impl Iterator<Item = &(dyn std::error::Error + 'static)> {
    let mut next = status.source();
    std::iter::from_fn(move || {
        let this = next?;
        next = this.source();
        Some(this)
    })
}

/// The innermost causes, which alone say something.
fn causes(status: &tonic::Status) -> String {
    let texts: Vec<String> = chain(status).map(ToString::to_string).filter(|text| text != "transport error").collect();
    if texts.is_empty() { status.message().to_owned() } else { texts.join(": ") }
}
