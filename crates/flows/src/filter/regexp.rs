//! Regular expressions of Go (RE2) on Rust's engine.

use thiserror::Error;

/// Why an expression is none, in Go's words.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("error parsing regexp: {what}: `{part}`")]
pub struct RegexpError {
    what: &'static str,
    part: String,
}

pub(super) fn build(text: &str) -> Result<regex::Regex, RegexpError> {
    regex::Regex::new(text).map_err(|_| RegexpError { what: "expression too large", part: text.to_owned() })
}
