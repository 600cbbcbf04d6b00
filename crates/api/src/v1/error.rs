//! What a request that failed is told.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Why a request failed, for programs. The HTTP status follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorCode {
    /// The request cannot be read: not JSON, unknown or missing field, a value out of range.
    BadRequest,
    /// Nothing has this name, number or path.
    NotFound,
    /// It exists already and differs, or its present state forbids the request.
    Conflict,
    /// Addresses, numbers or map entries are used up.
    Exhausted,
    /// Policy documents are invalid; `details` has every place.
    InvalidPolicy,
    /// Policy documents are valid, but need parts that are not enforced yet; nothing was applied.
    NotEnforceable,
    /// The body is larger than the agent accepts.
    TooLarge,
    /// The agent is not ready, or shutting down. Ask again.
    Unavailable,
    /// The kernel or the disk refused; the message says what was tried.
    Failed,
}

impl ErrorCode {
    pub const fn http_status(self) -> u16 {
        match self {
            Self::BadRequest => 400,
            Self::NotFound => 404,
            Self::Conflict => 409,
            Self::TooLarge => 413,
            Self::InvalidPolicy | Self::NotEnforceable => 422,
            Self::Failed => 500,
            Self::Unavailable => 503,
            Self::Exhausted => 507,
        }
    }
}

/// One place or fact that belongs to an error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Detail {
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub file: Option<String>,
    /// 1-based.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub line: Option<u32>,
    /// 1-based.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub column: Option<u32>,
    /// Path of the field in the document, such as `spec.ingress[0].fromEndpoints`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub field: Option<String>,
    pub message: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub hint: Option<String>,
}

/// Body of every answer that is not 2xx.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema, thiserror::Error)]
#[error("{message}")]
pub struct ErrorBody {
    pub code: ErrorCode,
    pub message: String,
    /// What to do next.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub hint: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub details: Vec<Detail>,
}

impl ErrorBody {
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hint: None, details: Vec::new() }
    }

    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    #[must_use]
    pub fn details(mut self, details: Vec<Detail>) -> Self {
        self.details = details;
        self
    }
}
