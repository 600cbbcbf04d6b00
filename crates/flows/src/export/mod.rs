//! Flows as lines of JSON for files: which of them, which fields, one by one or counted together. The caller has the files.

mod config;
mod lines;

pub use config::{DEFAULT_MAX_BACKUPS, DEFAULT_MAX_SIZE_MB, FlowLog, FlowLogsError, STDOUT};
pub use lines::{ExportError, Exporter, FilterTextError, parse_filters};

#[cfg(test)]
mod tests;
