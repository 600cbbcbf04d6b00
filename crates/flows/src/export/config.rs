//! Which exporters there are: the file that may change while the agent runs.

use std::collections::HashSet;
use std::time::Duration;

use nexin_hubble::flow::FlowFilter;

use crate::document::{Document, DocumentError, Entry};

/// One exporter that was asked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FlowLog {
    pub name: String,
    /// Where lines go; `stdout` is the program's output.
    pub file_path: String,
    /// Only these fields; all where there are none.
    pub field_mask: Vec<String>,
    /// Flows alike in these fields are counted together.
    pub field_aggregate: Vec<String>,
    /// How often counts are written, in nanoseconds; not positive: flows are written one by one.
    pub aggregation_interval: i64,
    pub include: Vec<FlowFilter>,
    pub exclude: Vec<FlowFilter>,
    /// Zero: [`DEFAULT_MAX_SIZE_MB`].
    pub file_max_size_mb: i64,
    /// Zero: [`DEFAULT_MAX_BACKUPS`].
    pub file_max_backups: i64,
    pub file_compress: bool,
    /// Seconds since the epoch and nanoseconds from which on nothing is written.
    pub end: Option<(i64, u32)>,
}

/// Megabytes of a file before it is put aside.
pub const DEFAULT_MAX_SIZE_MB: i64 = 10;
/// Files put aside that are kept.
pub const DEFAULT_MAX_BACKUPS: i64 = 5;
/// The path that means the program's output.
pub const STDOUT: &str = "stdout";

/// Why a file is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FlowLogsError {
    #[error("failed to unmarshal yaml config: {0}")]
    Unreadable(#[from] DocumentError),
    /// All findings, one a line.
    #[error("failed to validate config: {}", .0.join("\n"))]
    Invalid(Vec<String>),
}

impl FlowLog {
    /// A YAML document with a list `flowLogs`. Keys that mean nothing are passed over; so are, until the exporter is
    /// made, filters and field masks that mean nothing.
    pub fn parse_all(text: &str) -> Result<Vec<Self>, FlowLogsError> {
        const TYPE: &str = "exporter.FlowLogConfig";
        let document = Document::parse(text, "exporter.DynamicExportersConfig")?;
        let entries =
            document.root().of("DynamicExportersConfig").list("flowLogs", "[]*exporter.FlowLogConfig", TYPE)?;
        let read = |entry: Option<Entry<'_>>| entry.map(|entry| Self::read(&entry.of("FlowLogConfig"))).transpose();
        let logs: Vec<Option<Self>> = entries.into_iter().map(read).collect::<Result<_, _>>()?;
        let findings = findings(&logs);
        if findings.is_empty() {
            Ok(logs.into_iter().flatten().collect())
        } else {
            Err(FlowLogsError::Invalid(findings))
        }
    }

    fn read(entry: &Entry<'_>) -> Result<Self, DocumentError> {
        // In the order of the alphabet, in which the first mistake is found.
        Ok(Self {
            aggregation_interval: entry.duration("aggregationInterval")?,
            end: entry.time("end")?,
            exclude: entry.filters("excludeFilters", "exporter.FlowFilters")?,
            field_aggregate: entry.strings("fieldAggregate", "exporter.FieldAggregate")?,
            field_mask: entry.strings("fieldMask", "exporter.FieldMask")?,
            file_compress: entry.flag("fileCompress")?,
            file_max_backups: entry.integer("fileMaxBackups")?,
            file_max_size_mb: entry.integer("fileMaxSizeMb")?,
            file_path: entry.string("filePath")?,
            include: entry.filters("includeFilters", "exporter.FlowFilters")?,
            name: entry.string("name")?,
        })
    }

    /// Whether anything is still to be written at `now` (since the epoch).
    pub fn is_active(&self, now: Duration) -> bool {
        let Some((seconds, nanos)) = self.end else { return true };
        let now = (i64::try_from(now.as_secs()).unwrap_or(i64::MAX), now.subsec_nanos());
        (seconds, nanos) > now
    }
}

fn findings(logs: &[Option<FlowLog>]) -> Vec<String> {
    let (mut names, mut paths) = (HashSet::new(), HashSet::new());
    let mut findings = Vec::new();
    for (index, log) in logs.iter().enumerate() {
        let Some(log) = log else {
            findings.push(format!("invalid flowlog at index {index}"));
            continue;
        };
        if log.name.is_empty() {
            findings.push("name is required".to_owned());
        } else if !names.insert(&log.name) {
            findings.push(format!("duplicated flowlog name {}", log.name));
        }
        if log.file_path.is_empty() {
            findings.push("filePath is required".to_owned());
        } else if !paths.insert(&log.file_path) {
            findings.push(format!("duplicated flowlog path {}", log.file_path));
        }
    }
    findings
}
