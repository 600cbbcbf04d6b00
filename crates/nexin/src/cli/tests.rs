use clap::{Arg, Command, CommandFactory};
use nexin_runtime::settings::Environment;

use super::*;

#[test]
fn the_tree_is_consistent() {
    let command = Cli::command();
    command.clone().debug_assert();
    let silent: Vec<&str> =
        command.get_subcommands().filter(|verb| verb.get_about().is_none()).map(|verb| verb.get_name()).collect();
    assert!(silent.is_empty(), "verbs without help: {silent:?}");
}

#[test]
fn no_color_takes_any_text() {
    let plain = |args: &[&str]| Cli::try_parse_from(args).map(|cli| cli.global.no_color).ok();
    assert_eq!(plain(&["nexin", "--no-color", "status"]), Some(true));
    assert_eq!(is_set("0"), Ok(true));
    assert_eq!(is_set(""), Ok(false));
}

/// The reference page, from the tree itself.
fn reference() -> String {
    let mut page = String::from(
        "# The command line\n\nGenerated from the verbs in `crates/nexin/src` by their own test; do not edit.\n\n\
         Every verb also takes `--socket PATH` (or NEXIN_SOCKET), `-o table|json|yaml` and `--no-color` (or NO_COLOR). Exit codes: 0 done,\n\
         1 not done, not valid, not ready or not as expected, 2 a command line that is not understood; `run` and `lab exec` end as their\n\
         command ends.\n",
    );
    let mut tree = Cli::command();
    tree.build();
    for verb in tree.get_subcommands().filter(|verb| !verb.is_hide_set()) {
        section(&mut page, verb, &format!("nexin {}", verb.get_name()), 2);
    }
    page
}

fn section(page: &mut String, verb: &Command, path: &str, depth: usize) {
    let about = verb.get_about().map(ToString::to_string).unwrap_or_default();
    page.push_str(&format!("\n{} {path}\n\n{about}.\n", "#".repeat(depth)));
    let everywhere = ["help", "socket", "output", "no_color"];
    let own = |arg: &&Arg| !arg.is_hide_set() && !everywhere.contains(&arg.get_id().as_str());
    let settings = verb.get_arguments().filter(own).any(|arg| arg.get_help_heading() == Some("Settings"));
    let listed: Vec<&Arg> =
        verb.get_arguments().filter(own).filter(|arg| arg.get_help_heading() != Some("Settings")).collect();
    if !listed.is_empty() {
        page.push_str("\n| | |\n|---|---|\n");
    }
    for arg in listed {
        let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
        page.push_str(&format!("| `{}` | {} |\n", shape(arg), help.replace('|', "\\|")));
    }
    if settings {
        page.push_str(
            "\nEvery key of [the settings](settings.md) is a flag as well: `policy.audit` is `--policy-audit`.\n",
        );
    }
    for inner in verb.get_subcommands().filter(|verb| verb.get_name() != "help") {
        section(page, inner, &format!("{path} {}", inner.get_name()), depth + 1);
    }
}

/// `-n, --namespace NAMESPACE` or `NAME...`.
fn shape(arg: &Arg) -> String {
    let flags: Vec<String> = [arg.get_short().map(|c| format!("-{c}")), arg.get_long().map(|long| format!("--{long}"))]
        .into_iter()
        .flatten()
        .collect();
    let takes = arg.get_action().takes_values();
    let names = arg.get_value_names().into_iter().flatten().map(ToString::to_string);
    let value = if takes { names.collect::<Vec<_>>().join(" ") } else { String::new() };
    let many = arg.get_num_args().is_some_and(|count| count.max_values() > 1);
    let value = if many { format!("{value}...") } else { value };
    [flags.join(", "), value].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
}

/// NEXIN_BLESS=1 writes the page instead.
#[test]
fn the_reference_page_is_current() {
    let page = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/cli.md");
    if Environment::of_process().0.iter().any(|(key, _)| key == "NEXIN_BLESS") {
        std::fs::write(&page, reference()).unwrap();
    }
    let written = std::fs::read_to_string(&page).unwrap();
    assert!(written == reference(), "docs/cli.md is old: run this test with NEXIN_BLESS=1");
}
