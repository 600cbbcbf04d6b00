//! How answers reach people and programs: tables for the former, JSON and YAML for the latter.
//!
//! Every command renders through [`Out`]; nothing else in this crate writes to standard output, so that `-o` and colour
//! mean the same everywhere. It knows no reply type: commands say how their reply looks as a table.

mod style;
mod table;
mod yaml;

use std::io::{self, IsTerminal, Write};

use clap::ValueEnum;
use serde::Serialize;

pub(crate) use style::{Paint, Style};
pub(crate) use table::{Cell, Table, facts};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    #[default]
    Table,
    Json,
    Yaml,
}

impl Format {
    /// `value` for programs; `None` where people read.
    pub(crate) fn of<T: Serialize>(self, value: &T) -> Option<String> {
        match self {
            Self::Table => None,
            Self::Json => json(value).ok().map(|text| text + "\n"),
            Self::Yaml => serde_json::to_value(value).ok().map(|value| yaml::emit(&value)),
        }
    }
}

/// Standard output with a format and a decision about colour.
pub(crate) struct Out {
    pub(crate) format: Format,
    pub(crate) style: Style,
}

impl Out {
    /// Colour needs a terminal and a user who did not object.
    pub(crate) fn new(format: Format, no_color: bool) -> Self {
        Self { format, style: Style::new(!no_color && io::stdout().is_terminal()) }
    }

    /// Prints `value` whole for programs, or what `human` makes of it.
    pub(crate) fn show<T: Serialize>(&self, value: &T, human: impl FnOnce(Style) -> String) -> io::Result<()> {
        self.text(&match self.format {
            Format::Table => human(self.style),
            Format::Json => json(value)?,
            Format::Yaml => yaml::emit(&serde_json::to_value(value)?),
        })
    }

    /// One element of a stream: a line of JSON, a YAML document, or what `human` makes of it.
    pub(crate) fn item<T: Serialize>(&self, value: &T, human: impl FnOnce(Style) -> String) -> io::Result<()> {
        self.text(&match self.format {
            Format::Table => human(self.style),
            Format::Json => serde_json::to_string(value)?,
            Format::Yaml => format!("---\n{}", yaml::emit(&serde_json::to_value(value)?)),
        })
    }

    /// Prints text and ends its last line.
    pub(crate) fn text(&self, text: &str) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(text.as_bytes())?;
        if !text.is_empty() && !text.ends_with('\n') {
            stdout.write_all(b"\n")?;
        }
        stdout.flush()
    }
}

fn json<T: Serialize>(value: &T) -> io::Result<String> {
    Ok(serde_json::to_string_pretty(value)?)
}

/// A line about work in progress, on standard error and only where somebody watches.
pub(crate) struct Progress {
    shown: bool,
}

impl Progress {
    pub(crate) fn new() -> Self {
        Self { shown: io::stderr().is_terminal() }
    }

    pub(crate) fn say(&self, what: &str) {
        if self.shown {
            eprint!("\r\x1b[K{what} ...");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown {
            eprint!("\r\x1b[K");
        }
    }
}
