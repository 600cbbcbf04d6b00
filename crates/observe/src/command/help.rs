//! Help texts, put together from the tables.

use super::{Command, GLOBAL, Path};
use crate::flags::usage;
use crate::settings::{self, Environment};

/// What `--help` prints.
pub(crate) fn text(path: &Path, environment: &Environment) -> String {
    let command = path.command();
    let about = if command.long.is_empty() { command.short } else { command.long };
    let mut out = format!("{}\n\n", about.trim_end());
    out.push_str(&usage_text(path, environment));
    out
}

/// The same without the description.
pub(crate) fn usage_text(path: &Path, environment: &Environment) -> String {
    let command = path.command();
    let name = path.text();
    let mut out = String::from("Usage:");
    if command.runs() {
        out.push_str(&format!("\n  {}", use_line(path)));
    }
    if !command.commands.is_empty() {
        out.push_str(&format!("\n  {name} [command]"));
    }
    if !command.aliases.is_empty() {
        out.push_str(&format!("\n\nAliases:\n  {}, {}", command.name, command.aliases.join(", ")));
    }
    if !command.example.is_empty() {
        out.push_str(&format!("\n\nExamples:\n{}", command.example));
    }
    if !command.commands.is_empty() {
        out.push_str("\n\nAvailable Commands:");
        let width = command.commands.iter().map(|c| c.name.len()).max().unwrap_or(0).max(11);
        let width = if path.0.len() == 1 { 11 } else { width };
        for sub in command.commands.iter().filter(|sub| !sub.hidden) {
            out.push_str(&format!("\n  {:width$} {}", sub.name, sub.short));
        }
    }
    out.push_str("\n\n");
    for group in command.groups.iter().chain([&GLOBAL]) {
        let flags = usage::usages(group.flags, |flag| settings::default_of(flag, environment));
        out.push_str(&format!("{} Flags:\n{flags}\n", group.title));
    }
    out.push_str("Get help:\n  -h, --help\tHelp for any command or subcommand");
    if !command.commands.is_empty() {
        out.push_str(&format!("\n\nUse \"{name} [command] --help\" for more information about a command."));
    }
    out.push('\n');
    out
}

fn use_line(path: &Path) -> String {
    let command: &Command = path.command();
    let mut line = path.text();
    if !command.operands.is_empty() {
        line.push_str(&format!(" {}", command.operands));
    }
    if command.verb != super::Verb::Completion(super::shells::Shell::Bash) {
        line.push_str(" [flags]");
    }
    line
}
