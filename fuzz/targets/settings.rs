//! Any text as the agent's settings file, and its first line as a flag: settings in which every key has its origin, or an
//! error that names the key or the place.
#![no_main]
#![allow(dead_code, reason = "the agent reads more of its settings than this program")]

#[path = "../../crates/agent/src"]
mod agent {
    pub(crate) mod settings;
}
mod host {
    pub(crate) mod file;
}

use agent::settings::Settings;
use libfuzzer_sys::fuzz_target;
use nexin_runtime::settings::Sources;

fuzz_target!(|text: &str| {
    let file = host::file::holding("settings", text);
    let whole = Settings::load(&Sources { file: Some(file), ..Sources::default() });
    check(&whole);
    let flag = text.lines().next().and_then(|line| line.split_once('='));
    let flags = flag.map(|(key, value)| (key.trim().to_owned(), value.trim().to_owned())).into_iter().collect();
    check(&Settings::load(&Sources { flags, ..Sources::default() }));
});

fn check(loaded: &Result<nexin_runtime::settings::Loaded<Settings>, nexin_runtime::settings::SettingsError>) {
    match loaded {
        Ok(loaded) => assert_eq!(loaded.origins.len(), Settings::fields().len()),
        Err(error) => assert!(error.to_string().len() > 4, "{error}"),
    }
}
