//! Structured logs on standard error.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

use crate::settings::{LogFormat, LogLevel};

crate::section! {
    /// Logging.
    pub struct LogSettings in "log" {
        /// `error`, `warn`, `info`, `debug` or `trace`.
        level: LogLevel = LogLevel::Info,
        /// `text` for people or `json` for machines, one object a line.
        format: LogFormat = LogFormat::Text,
        /// Levels by module on top of `log.level`, such as `nexin_agent=debug`, in the syntax of `tracing`.
        modules: Vec<String> = Vec::new(),
    }
}

/// Starts logging for this process. A second call changes nothing.
pub fn start(settings: &LogSettings) {
    let level = match settings.level {
        LogLevel::Error => "error",
        LogLevel::Warn => "warn",
        LogLevel::Info => "info",
        LogLevel::Debug => "debug",
        LogLevel::Trace => "trace",
    };
    // Other crates tell what only their authors want to know.
    let others = if settings.level > LogLevel::Info { "info" } else { level };
    let mut directives = vec![others.to_owned(), format!("nexin={level}")];
    directives.extend(settings.modules.iter().cloned());
    let builder = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_env_filter(EnvFilter::new(directives.join(",")));
    let started = match settings.format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    if started.is_err() {
        tracing::debug!("logging was started before; these settings change nothing");
    }
}
