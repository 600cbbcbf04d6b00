//! Errors as the CNI specification wants them told: a number that runtimes act on, a sentence, and what to do.

use serde_json::{Value, json};

/// Error codes (CNI specification 1.1, section 5; from 100 on they are this plugin's own).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Code {
    IncompatibleVersion = 1,
    UnsupportedField = 2,
    /// The container or its namespace is gone: the runtime need not clean up.
    UnknownContainer = 3,
    InvalidEnvironment = 4,
    Io = 5,
    Decode = 6,
    InvalidConfig = 7,
    TryAgainLater = 11,
    /// Answer to STATUS: an ADD would fail.
    NotAvailable = 50,
    /// Answer to STATUS: an ADD would fail and existing containers may be cut off.
    LimitedConnectivity = 51,
    Exhausted = 101,
    Conflict = 102,
    /// The agent tried and failed.
    Failed = 103,
    /// CHECK found a difference.
    Differs = 104,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Error {
    pub(crate) code: Code,
    pub(crate) message: String,
    /// What to do.
    pub(crate) details: Option<String>,
}

impl Error {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), details: None }
    }

    pub(crate) fn hint(mut self, details: impl Into<String>) -> Self {
        self.details = Some(details.into());
        self
    }

    pub(crate) fn to_json(&self, version: &str) -> Value {
        let mut body =
            json!({"cniVersion": version, "code": self.code as u32, "msg": format!("nexin-cni: {}", self.message)});
        if let Some(details) = &self.details {
            body["details"] = details.as_str().into();
        }
        body
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_have_the_documented_form() {
        let error = Error::new(Code::TryAgainLater, "no agent").hint("start it");
        let expected = json!({"cniVersion": "1.0.0", "code": 11, "msg": "nexin-cni: no agent", "details": "start it"});
        assert_eq!(error.to_json("1.0.0"), expected);
    }
}
