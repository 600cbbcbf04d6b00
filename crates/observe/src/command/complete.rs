//! What shells ask for when somebody presses the tab key (`__complete`).

use super::{Path, Verb, find};
use crate::flags::{Flag, Parsed};
use crate::settings;

/// What the shell should do besides offering the words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Directive {
    Default,
    NoFiles,
}

impl Directive {
    pub(crate) fn number(self) -> u8 {
        match self {
            Self::Default => 0,
            Self::NoFiles => 4,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Default => "ShellCompDirectiveDefault",
            Self::NoFiles => "ShellCompDirectiveNoFileComp",
        }
    }
}

/// Words with descriptions, and why there are none.
#[derive(Debug)]
pub(crate) struct Completions {
    pub(crate) words: Vec<(String, String)>,
    pub(crate) directive: Directive,
    pub(crate) error: Option<String>,
}

impl Completions {
    fn new(directive: Directive) -> Self {
        Self { words: Vec::new(), directive, error: None }
    }

    fn failed(error: String) -> Self {
        Self { error: Some(error), ..Self::new(Directive::Default) }
    }

    fn offer(&mut self, word: impl Into<String>, about: &str) {
        self.words.push((word.into(), about.to_owned()));
    }
}

/// Completes the last word; the others are complete.
pub(crate) fn complete(words: &[String], last: &str) -> Completions {
    let Ok((path, rest)) = find(words) else {
        return Completions::failed(format!("unable to find a command for arguments: [{}]", words.join(" ")));
    };
    let flags = path.flags();
    let (value_of, rest) = flag_in_progress(&path, &rest, last);
    let (parsed, result) = Parsed::read(&flags, &rest);
    if let Err(error) = result {
        return Completions::failed(format!("Error while parsing flags from args [{}]: {error}", rest.join(" ")));
    }
    if parsed.help {
        return Completions::new(Directive::NoFiles);
    }
    let values = match value_of {
        InProgress::None => None,
        InProgress::Value(flag) => Some(flag),
        InProgress::Strange(name) if parsed.dash.is_none() => {
            let command = path.command().name;
            return Completions::failed(format!("Subcommand '{command}' does not support flag '{name}'"));
        }
        InProgress::Strange(_) => None,
    };
    if let Some(flag) = values.filter(|_| parsed.dash.is_none()) {
        let mut all = Completions::new(Directive::Default);
        flag.values.iter().for_each(|value| all.offer(*value, ""));
        return all;
    }
    if last.starts_with('-') && !last.contains('=') && parsed.dash.is_none() {
        return names(&path, &parsed, last);
    }
    operands(&path, &parsed, last)
}

enum InProgress {
    None,
    /// The value of this flag is typed.
    Value(Flag),
    /// The value of a flag that the command has not.
    Strange(String),
}

/// Which flag's value is being typed, and the arguments without that flag.
fn flag_in_progress(path: &Path, rest: &[String], last: &str) -> (InProgress, Vec<String>) {
    let flags = path.flags();
    let named = |name: &str| match name.chars().count() {
        1 => flags.get(name).or_else(|| name.chars().next().and_then(|c| flags.short(c))).copied(),
        _ => flags.get(name).copied(),
    };
    let of = |argument: &str| match argument.strip_prefix("--") {
        Some(name) => name.to_owned(),
        None => argument.chars().last().map(String::from).unwrap_or_default(),
    };
    if last.starts_with('-') {
        let Some((name, _)) = last.split_once('=') else { return (InProgress::None, rest.to_vec()) };
        let found = named(&of(name)).map_or_else(|| InProgress::Strange(of(name)), InProgress::Value);
        return (found, rest.to_vec());
    }
    let Some(before) = rest.last().filter(|before| is_flag(before) && !before.contains('=')) else {
        return (InProgress::None, rest.to_vec());
    };
    match named(&of(before)) {
        None => (InProgress::Strange(of(before)), rest.to_vec()),
        Some(flag) if flag.implied.is_some() => (InProgress::None, rest.to_vec()),
        Some(flag) => (InProgress::Value(flag), rest[..rest.len() - 1].to_vec()),
    }
}

fn is_flag(argument: &str) -> bool {
    let bytes = argument.as_bytes();
    matches!(bytes, [b'-', b'-', c, ..] if *c != b'-')
        || matches!(bytes, [b'-', c] if *c != b'-')
        || bytes.len() > 2 && bytes[0] == b'-' && bytes[1] != b'-'
}

/// Names of flags: first those that every command has.
fn names(path: &Path, parsed: &Parsed, last: &str) -> Completions {
    use crate::flags::tables::{GLOBAL, SERVER};
    let mut all = Completions::new(Directive::NoFiles);
    let everywhere = |flag: &Flag| GLOBAL.iter().chain(SERVER).any(|other| other.name == flag.name);
    let flags = path.flags();
    let at_root = path.0.len() == 1;
    let (first, then): (Vec<&Flag>, Vec<&Flag>) = flags.iter().partition(|flag| !at_root && everywhere(flag));
    for flag in first.into_iter().chain(then) {
        let repeats = matches!(flag.kind, crate::flags::Kind::List | crate::flags::Kind::Array);
        if parsed.is_set(flag.name) && !repeats {
            continue;
        }
        let help = format!("help for {}", path.command().name);
        let about = if flag.name == "help" { &help } else { flag.usage };
        let long = format!("--{}", flag.name);
        let short = flag.short.map(|short| format!("-{short}"));
        for word in std::iter::once(long).chain(short).filter(|word| word.starts_with(last)) {
            all.offer(word, about);
        }
    }
    all
}

/// Names of commands and of keys.
fn operands(path: &Path, parsed: &Parsed, last: &str) -> Completions {
    let command = path.command();
    let mut all = Completions::new(Directive::Default);
    let own = path.flags();
    let own_flag = own.iter().any(|flag| parsed.is_set(flag.name) && settings::bound(flag.name).is_none());
    if parsed.arguments.is_empty() && !own_flag {
        let commands = if command.verb == Verb::Help { Path::root().command().commands } else { command.commands };
        for sub in commands.iter().filter(|sub| !sub.hidden) {
            all.directive = Directive::NoFiles;
            if sub.name.starts_with(last) {
                all.offer(sub.name, sub.short);
            }
        }
    }
    let keys = matches!(command.verb, Verb::ConfigGet | Verb::ConfigSet | Verb::ConfigReset);
    if keys && parsed.arguments.is_empty() {
        all.directive = Directive::NoFiles;
        settings::bindable()
            .iter()
            .filter(|flag| flag.name.starts_with(last))
            .for_each(|flag| all.offer(flag.name, ""));
    }
    if matches!(command.verb, Verb::Completion(_)) {
        all.directive = Directive::NoFiles;
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> (Vec<String>, u8) {
        let mut typed: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let last = typed.pop().expect("split gives one");
        let all = complete(&typed, &last);
        (all.words.into_iter().map(|(word, _)| word).collect(), all.directive.number())
    }

    #[test]
    fn commands_flags_values_and_keys() {
        for (line, expected, directive) in [
            ("li", &["list"][..], 4),
            ("observe ", &["agent-events", "debug-events", "flows"], 4),
            ("observe --ver", &["--verdict"], 4),
            ("status -o c", &["compact", "dict", "json", "table"], 0),
            ("observe --output ", &[], 0),
            ("config get s", &["server"], 4),
            ("observe --all -- ", &[], 0),
        ] {
            let expected: Vec<String> = expected.iter().map(|word| (*word).to_owned()).collect();
            assert_eq!(words(line), (expected, directive), "{line}");
        }
    }
}
