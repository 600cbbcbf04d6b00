//! Questions to case files instead of an agent.

use std::path::Path;

use nexin_api::v1::{ExplainQuery, ExplainReply, SimulateReply};

use super::files::PolicyFile;
use crate::error::{CliError, Result};

pub(super) fn explain(file: &Path, _case: Option<&str>, _query: &ExplainQuery) -> Result<ExplainReply> {
    Err(CliError::input(format!("{}: case files are not read yet", file.display()), "ask a running agent"))
}

pub(super) fn simulate(file: &Path, _case: Option<&str>, _files: &[PolicyFile], _all: bool) -> Result<SimulateReply> {
    Err(CliError::input(format!("{}: case files are not read yet", file.display()), "ask a running agent"))
}
