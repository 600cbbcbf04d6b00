//! The tree of commands: names, help texts, flags, and how arguments find their command. What commands do is in
//! [`crate::verbs`].

pub(crate) mod complete;
pub(crate) mod help;
pub(crate) mod shells;
mod texts;

use crate::flags::{Flag, FlagSet, Group, Kind, tables};
use crate::gotext::quote;

/// What a command does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    /// Nothing by itself: it shows its help.
    Group,
    Observe,
    AgentEvents,
    DebugEvents,
    Status,
    ListNodes,
    ListNamespaces,
    WatchPeers,
    Config,
    ConfigView,
    ConfigGet,
    ConfigSet,
    ConfigReset,
    Version,
    Reflect,
    Help,
    Completion(shells::Shell),
    /// What shells call; `true` with descriptions.
    Complete(bool),
}

#[derive(Debug)]
pub(crate) struct Command {
    pub(crate) name: &'static str,
    /// What follows the name in the usage line.
    pub(crate) operands: &'static str,
    pub(crate) aliases: &'static [&'static str],
    pub(crate) short: &'static str,
    pub(crate) long: &'static str,
    pub(crate) example: &'static str,
    pub(crate) hidden: bool,
    pub(crate) verb: Verb,
    /// Groups of flags as the help text shows them; global flags are added.
    pub(crate) groups: &'static [Group],
    pub(crate) commands: &'static [Command],
}

const SELECTORS: Group = Group { title: "Selectors", flags: tables::SELECTORS };
const FILTERS: Group = Group { title: "Filters", flags: tables::FILTERS };
const RAW_FILTERS: Group = Group { title: "Raw-Filters", flags: tables::RAW_FILTERS };
const FORMATTING: Group = Group { title: "Formatting", flags: tables::FORMATTING };
const FLOW_FORMAT: Group = Group { title: "Flow Format", flags: tables::FLOW_FORMAT };
const SERVER: Group = Group { title: "Server", flags: tables::SERVER };
const OTHER: Group = Group { title: "Other", flags: tables::OTHER };
const LIST_FORMAT: Group = Group { title: "Formatting", flags: tables::LIST_FORMAT };

const FLOW_GROUPS: &[Group] = &[SELECTORS, FILTERS, RAW_FILTERS, FORMATTING, FLOW_FORMAT, SERVER, OTHER];
const EVENT_GROUPS: &[Group] = &[SELECTORS, FORMATTING, SERVER, OTHER];

impl Command {
    const fn new(name: &'static str, verb: Verb, short: &'static str) -> Self {
        Self {
            name,
            operands: "",
            aliases: &[],
            short,
            long: "",
            example: "",
            hidden: false,
            verb,
            groups: &[],
            commands: &[],
        }
    }

    const fn long(mut self, long: &'static str) -> Self {
        self.long = long;
        self
    }

    const fn operands(mut self, operands: &'static str) -> Self {
        self.operands = operands;
        self
    }

    const fn alias(mut self, aliases: &'static [&'static str]) -> Self {
        self.aliases = aliases;
        self
    }

    const fn hidden(mut self) -> Self {
        self.hidden = true;
        self
    }

    const fn groups(mut self, groups: &'static [Group]) -> Self {
        self.groups = groups;
        self
    }

    const fn commands(mut self, commands: &'static [Command]) -> Self {
        self.commands = commands;
        self
    }

    pub(crate) fn find(&self, name: &str) -> Option<&'static Command> {
        self.commands.iter().find(|command| command.name == name || command.aliases.contains(&name))
    }

    pub(crate) fn runs(&self) -> bool {
        self.verb != Verb::Group
    }
}

/// Flags that a command has but its help does not list in a group of its own.
fn extra_flags(command: &Command) -> &'static [Flag] {
    match command.verb {
        Verb::Status => tables::STATUS_FORMAT,
        Verb::Completion(_) => tables::COMPLETION,
        _ => &[],
    }
}

const LIST: &[Command] = &[
    Command::new("namespaces", Verb::ListNamespaces, "List namespaces with recent flows")
        .groups(&[LIST_FORMAT, SERVER]),
    Command::new("nodes", Verb::ListNodes, "List Hubble nodes").alias(&["node"]).groups(&[LIST_FORMAT, SERVER]),
];

const OBSERVE: &[Command] = &[
    Command::new("agent-events", Verb::AgentEvents, "Observe Cilium agent events").groups(EVENT_GROUPS),
    Command::new("debug-events", Verb::DebugEvents, "Observe Cilium debug events").groups(EVENT_GROUPS),
    Command {
        example: texts::FLOWS_EXAMPLE,
        ..Command::new("flows", Verb::Observe, "Observe flows of a Hubble server")
            .long(texts::FLOWS)
            .groups(FLOW_GROUPS)
    },
];

const CONFIG: &[Command] = &[
    Command::new("get", Verb::ConfigGet, "Get an individual value in the hubble config file")
        .operands("[KEY]")
        .long(texts::CONFIG_GET),
    Command::new("reset", Verb::ConfigReset, "Reset all or an individual value in the hubble config file")
        .operands("[KEY]")
        .long(texts::CONFIG_RESET),
    Command::new("set", Verb::ConfigSet, "Set an individual value in the hubble config file")
        .operands("KEY [VALUE]")
        .long(texts::CONFIG_SET),
    Command::new("view", Verb::ConfigView, "Display merged configuration settings")
        .long("Display merged configuration settings"),
];

const COMPLETION: &[Command] = &[
    shell("bash", shells::Shell::Bash, "Generate the autocompletion script for bash", texts::BASH),
    shell("fish", shells::Shell::Fish, "Generate the autocompletion script for fish", texts::FISH),
    shell(
        "powershell",
        shells::Shell::Powershell,
        "Generate the autocompletion script for powershell",
        texts::POWERSHELL,
    ),
    shell("zsh", shells::Shell::Zsh, "Generate the autocompletion script for zsh", texts::ZSH),
];

const fn shell(name: &'static str, shell: shells::Shell, short: &'static str, long: &'static str) -> Command {
    Command::new(name, Verb::Completion(shell), short).long(long)
}

/// The command `hubble`.
pub(crate) const ROOT: Command = Command::new("hubble", Verb::Group, "CLI").long(texts::HUBBLE).commands(&[
    Command::new("completion", Verb::Group, "Generate the autocompletion script for the specified shell")
        .long(texts::COMPLETION)
        .commands(COMPLETION),
    Command::new("config", Verb::Config, "Modify or view hubble config").long(texts::CONFIG).commands(CONFIG),
    Command::new("help", Verb::Help, "Help about any command").operands("[command]").long(texts::HELP),
    Command::new("list", Verb::Group, "List Hubble objects").groups(&[SERVER]).commands(LIST),
    Command::new("observe", Verb::Observe, "Observe flows and events of a Hubble server")
        .groups(FLOW_GROUPS)
        .commands(OBSERVE),
    Command::new("reflect", Verb::Reflect, "Use gRPC reflection to explore Hubble's API").hidden().groups(&[SERVER]),
    Command::new("status", Verb::Status, "Display status of Hubble server").long(texts::STATUS).groups(&[SERVER]),
    Command::new("version", Verb::Version, "Display detailed version information").long(texts::VERSION),
    Command::new("watch", Verb::Group, "Watch Hubble objects").alias(&["w"]).hidden().groups(&[SERVER]).commands(&[
        Command::new("peers", Verb::WatchPeers, "Watch for Hubble peers updates").alias(&["peer"]).groups(&[SERVER]),
    ]),
    Command::new("__complete", Verb::Complete(true), "Request shell completion choices").hidden(),
    Command::new("__completeNoDesc", Verb::Complete(false), "Request shell completion choices").hidden(),
]);

pub(crate) const GLOBAL: Group = Group { title: "Global", flags: tables::GLOBAL };

/// A command with the way to it.
#[derive(Clone, Debug)]
pub(crate) struct Path(pub(crate) Vec<&'static Command>);

impl Path {
    pub(crate) fn root() -> Self {
        static HUBBLE: Command = ROOT;
        Self(vec![&HUBBLE])
    }

    pub(crate) fn command(&self) -> &'static Command {
        self.0.last().expect("a path begins with the root")
    }

    /// `hubble list nodes`.
    pub(crate) fn text(&self) -> String {
        let names: Vec<&str> = self.0.iter().map(|command| command.name).collect();
        names.join(" ")
    }

    /// Every flag that may stand after the command.
    pub(crate) fn flags(&self) -> FlagSet {
        let command = self.command();
        let mut flags = FlagSet::default();
        flags.add(&[self.help_flag()]);
        flags.add(extra_flags(command));
        for group in command.groups {
            flags.add(group.flags);
        }
        // Those of the root may stand anywhere.
        flags.add(tables::GLOBAL);
        flags.add(tables::SERVER);
        flags
    }

    pub(crate) fn help_flag(&self) -> Flag {
        Flag::new("help", Kind::Bool, "Help for any command or subcommand").short('h')
    }
}

/// A word that is no command here.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown command {} for {}{suggested}", quote(.typed), quote(.of))]
pub(crate) struct UnknownCommand {
    typed: String,
    of: String,
    suggested: String,
}

/// The command that arguments mean, and the arguments without its names.
pub(crate) fn find(arguments: &[String]) -> Result<(Path, Vec<String>), UnknownCommand> {
    let mut path = Path::root();
    let mut rest = arguments.to_vec();
    loop {
        let flags = path.flags();
        let Some(at) = words(&rest, &flags).first().copied() else { break };
        let Some(next) = path.command().find(&rest[at]) else { break };
        rest.remove(at);
        path.0.push(next);
        if matches!(next.verb, Verb::Complete(_)) {
            break;
        }
    }
    let command = path.command();
    if let [root] = path.0.as_slice()
        && let Some(at) = words(&rest, &path.flags()).first()
    {
        let suggested = suggestions(root, &rest[*at]);
        return Err(UnknownCommand { typed: rest[*at].clone(), of: path.text(), suggested });
    }
    let strict = matches!(command.verb, Verb::Completion(_));
    if strict && let Some(at) = words(&rest, &path.flags()).first() {
        return Err(UnknownCommand { typed: rest[*at].clone(), of: path.text(), suggested: String::new() });
    }
    Ok((path, rest))
}

/// Places of arguments that are neither flags nor values of flags.
fn words(arguments: &[String], flags: &FlagSet) -> Vec<usize> {
    let mut places = Vec::new();
    let mut at = 0;
    while at < arguments.len() {
        let argument = &arguments[at];
        if argument == "--" {
            break;
        }
        let takes_value = match argument.strip_prefix("--") {
            Some(name) => !argument.contains('=') && flags.get(name).is_none_or(|flag| flag.implied.is_none()),
            None => match argument.strip_prefix('-') {
                Some(short) if short.len() == 1 => {
                    short.chars().next().and_then(|c| flags.short(c)).is_none_or(|flag| flag.implied.is_none())
                }
                _ => false,
            },
        };
        if takes_value {
            at += 1;
        } else if !argument.is_empty() && !argument.starts_with('-') {
            places.push(at);
        }
        at += 1;
    }
    places
}

fn suggestions(command: &Command, typed: &str) -> String {
    let typed = typed.to_lowercase();
    let near = |name: &str| distance(&typed, name) <= 2 || name.starts_with(&typed);
    let names = command.commands.iter().filter(|c| !c.hidden).map(|c| c.name).filter(|name| near(name));
    let lines: String = names.map(|name| format!("\t{name}\n")).collect();
    if lines.is_empty() { lines } else { format!("\n\nDid you mean this?\n{lines}") }
}

/// Number of letters to add, drop or change (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let change = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(arguments: &str) -> Result<(String, Vec<String>), UnknownCommand> {
        let arguments: Vec<String> = arguments.split_whitespace().map(str::to_owned).collect();
        find(&arguments).map(|(path, rest)| (path.text(), rest))
    }

    #[test]
    fn flags_may_stand_before_the_command() {
        let expected = ("hubble list nodes".to_owned(), ["--server", "x", "-o", "json"].map(str::to_owned).to_vec());
        assert_eq!(found("--server x list node -o json"), Ok(expected));
        assert_eq!(found("list bogus").map(|found| found.0), Ok("hubble list".into()));
    }

    #[test]
    fn near_names_are_suggested() {
        let wrong = |arguments: &str| found(arguments).map_err(|error| error.to_string());
        assert_eq!(
            wrong("obsrve"),
            Err("unknown command \"obsrve\" for \"hubble\"\n\nDid you mean this?\n\tobserve\n".into())
        );
        assert_eq!(wrong("bogus"), Err("unknown command \"bogus\" for \"hubble\"".into()));
    }
}
