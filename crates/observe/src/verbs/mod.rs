//! What the commands do.

mod config;
mod events;
mod list;
pub(crate) mod observe;
mod status;
mod watch;

use prost_types::Timestamp;

use crate::command::{self, Path, Verb, complete, help, shells};
use crate::error::Error;
use crate::flags::{Parsed, tables};
use crate::log::{self, Level};
use crate::settings::{self, Environment, Settings};
use crate::{House, OWN_SERVER, Run, remote};

/// Finds the command, reads its flags and runs it.
pub(crate) async fn run(run: &mut Run<'_>) -> Result<(), Error> {
    let (path, rest) = command::find(&run.arguments)?;
    let verb = path.command().verb;
    if let Verb::Complete(descriptions) = verb {
        return completions(run, &rest, descriptions);
    }
    let mut known = path.flags();
    if run.house == House::Nexin && verb == Verb::Observe {
        known.add(tables::NEXIN);
    }
    let (flags, result) = Parsed::read(&known, &rest);
    result?;
    if flags.help || !path.command().runs() {
        return show_help(run, &path);
    }
    let environment = run.environment.clone();
    let settings = Settings::load(&flags, &environment);
    if settings.bool("debug") {
        let file = settings.text("config");
        log::line(run.console.err, run.now, Level::Debug, "Using config file", &[("configFile", file.as_bytes())]);
    }
    let about_config = matches!(verb, Verb::ConfigView | Verb::ConfigGet | Verb::ConfigSet | Verb::ConfigReset);
    if !about_config && verb != Verb::Config {
        remote::check(&settings)?;
        remote::tls(&settings)?;
    }
    match verb {
        Verb::Observe => observe::run(run, &settings).await,
        Verb::AgentEvents => events::agent(run, &settings).await,
        Verb::DebugEvents => events::debug(run, &settings).await,
        Verb::Status => status::run(run, &settings).await,
        Verb::ListNodes => list::nodes(run, &settings).await,
        Verb::ListNamespaces => list::namespaces(run, &settings).await,
        Verb::WatchPeers => watch::peers(run, &settings).await,
        Verb::Reflect => watch::reflect(run),
        Verb::ConfigView => config::view(run, &settings),
        Verb::ConfigGet => config::get(run, &settings),
        Verb::ConfigSet => config::set(run, &settings),
        Verb::ConfigReset => config::reset(run, &settings),
        Verb::Version => version(run),
        Verb::Help => help_of(run, &flags.arguments),
        Verb::Completion(shell) => {
            let descriptions = flags.bool("no-descriptions") != Some(true);
            let script = shells::script(shell, Path::root().command().name, descriptions);
            Ok(run.console.out.write_all(script.as_bytes())?)
        }
        Verb::Config | Verb::Group | Verb::Complete(_) => show_help(run, &path),
    }
}

fn show_help(run: &mut Run<'_>, path: &Path) -> Result<(), Error> {
    let text = help::text(path, &run.environment);
    let text = match run.house {
        House::Hubble => text,
        House::Nexin => own_help(&text, path),
    };
    Ok(run.console.out.write_all(text.as_bytes())?)
}

/// The help of `nexin observe`: its name, its server, its own flags.
fn own_help(text: &str, path: &Path) -> String {
    let official = settings::bound("server").map(|flag| flag.default_text()).unwrap_or_default();
    let text = text.replace("hubble observe", "nexin observe").replace(official, OWN_SERVER);
    if path.command().verb != Verb::Observe {
        return text;
    }
    let own = crate::flags::usage::usages(tables::NEXIN, |flag| flag.default_text().to_owned());
    text.replacen("Selectors Flags:", &format!("Nexin Flags:\n{own}\nSelectors Flags:"), 1)
}

/// `help COMMAND`.
fn help_of(run: &mut Run<'_>, topic: &[String]) -> Result<(), Error> {
    if let Ok((path, _)) = command::find(topic) {
        return show_help(run, &path);
    }
    let topics: Vec<String> = topic.iter().map(|word| format!("`{word}`")).collect();
    let usage = help::usage_text(&Path::root(), &run.environment);
    Ok(write!(run.console.err, "Unknown help topic [{}]\n{usage}", topics.join(" "))?)
}

fn version(run: &mut Run<'_>) -> Result<(), Error> {
    let (version, system) = (env!("CARGO_PKG_VERSION"), std::env::consts::OS);
    let machine = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    Ok(writeln!(run.console.out, "hubble v{version} (nexin, as hubble 1.20) on {system}/{machine}")?)
}

fn completions(run: &mut Run<'_>, words: &[String], descriptions: bool) -> Result<(), Error> {
    let Some((last, words)) = words.split_last() else {
        return Err(Error::usage("requires at least 1 arg(s), only received 0"));
    };
    let all = complete::complete(words, last);
    if let Some(error) = &all.error {
        writeln!(run.console.err, "[Debug] [Error] {error}")?;
    }
    for (word, about) in &all.words {
        let about = about.lines().next().unwrap_or_default();
        let text = if descriptions { format!("{word}\t{about}") } else { word.clone() };
        writeln!(run.console.out, "{}", text.trim())?;
    }
    writeln!(run.console.out, ":{}", all.directive.number())?;
    Ok(writeln!(run.console.err, "Completion ended with directive: {}", all.directive.name())?)
}

/// The server to ask: the house's own where none is named.
pub(crate) fn server(house: House, settings: &Settings<'_>) -> String {
    match house {
        House::Nexin if !settings.is_given("server") => own_server(settings.environment),
        _ => settings.text("server"),
    }
}

/// The agent's socket of flows stands beside its other one, which `NEXIN_SOCKET` names for every verb.
fn own_server(environment: &Environment) -> String {
    let socket = environment.get("NEXIN_SOCKET").filter(|path| !path.is_empty());
    let beside = socket.and_then(|path| path.rsplit_once('/')).map(|(directory, _)| directory);
    beside.map_or_else(|| OWN_SERVER.to_owned(), |directory| format!("unix:{directory}/hubble.sock"))
}

/// A message as indented JSON, as `encoding/json` indents.
fn indented(text: &str) -> String {
    let mut out = String::with_capacity(text.len() * 2);
    let (mut depth, mut quoted, mut escaped) = (0usize, false, false);
    let mut rest = text.chars().peekable();
    let newline = |out: &mut String, depth: usize| {
        out.push('\n');
        out.extend(std::iter::repeat_n("  ", depth));
    };
    while let Some(c) = rest.next() {
        if quoted {
            out.push(c);
            quoted = escaped || c != '"';
            escaped = !escaped && c == '\\';
            continue;
        }
        match c {
            '"' => {
                quoted = true;
                out.push(c);
            }
            '{' | '[' => {
                out.push(c);
                if let Some(end) = rest.next_if(|next| matches!(next, '}' | ']')) {
                    out.push(end);
                } else {
                    depth += 1;
                    newline(&mut out, depth);
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                newline(&mut out, depth);
                out.push(c);
            }
            ',' => {
                out.push(c);
                newline(&mut out, depth);
            }
            ':' => out.push_str(": "),
            c => out.push(c),
        }
    }
    out
}

/// Whether standard output wants colours where nobody said so.
fn automatic(run: &Run<'_>) -> bool {
    let variable = |name: &str| run.environment.get(name).map_or("", String::as_str);
    run.console.terminal && variable("NO_COLOR").is_empty() && variable("TERM") != "dumb"
}

/// `HUBBLE_COMPAT=legacy-json-output`.
fn legacy_json(run: &Run<'_>) -> bool {
    let options = run.environment.get("HUBBLE_COMPAT").map_or("", String::as_str);
    options.split(',').any(|option| option.to_lowercase() == "legacy-json-output")
}

/// `--since` or `--until`.
fn moment(now: Timestamp, flags: &Parsed, name: &str) -> Result<Option<Timestamp>, Error> {
    let Some(text) = flags.text(name).filter(|text| !text.is_empty()) else { return Ok(None) };
    let Some(time) = crate::time::parse(text, now) else {
        return Err(Error::Usage(format!("failed to parse the {name} time: failed to convert {text} to time")));
    };
    if crate::time::is_valid(&time) {
        return Ok(Some(time));
    }
    let after = if time.seconds < 0 { "before 0001-01-01" } else { "after 9999-12-31" };
    let shown = format!("seconds:{}", time.seconds);
    Err(Error::Usage(format!("failed to convert `{name}` timestamp to proto: proto: timestamp ({shown}) {after}")))
}

/// Too many words after a command that takes few.
fn too_many(what: &str, takes: &str, arguments: &[String]) -> Error {
    Error::Usage(format!("invalid arguments: {what} requires exactly {takes}: got '{}'", arguments.join(" ")))
}

/// A value that does not fit its key.
fn unfit(value: &str, key: &str, kind: &str, why: &dyn std::fmt::Display) -> Error {
    Error::Usage(format!("cannot assign value={value} for key={key}, expected type={kind}: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_server_is_beside_the_named_socket() {
        let named = Environment::from([("NEXIN_SOCKET".to_owned(), "/run/lab/a/nexin.sock".to_owned())]);
        assert_eq!(own_server(&named), "unix:/run/lab/a/hubble.sock");
        assert_eq!(own_server(&Environment::new()), OWN_SERVER);
    }

    #[test]
    fn json_is_indented_like_go() {
        let text = "{\"a\":[],\"b\":{\"c\":\"x,{\\\"\"},\"d\":[1,2]}";
        let expected = "{\n  \"a\": [],\n  \"b\": {\n    \"c\": \"x,{\\\"\"\n  },\n  \"d\": [\n    1,\n    2\n  ]\n}";
        assert_eq!(indented(text), expected);
    }
}
