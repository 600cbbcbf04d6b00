//! Any standard input and any `CNI_*` variables of the plugin: understood or refused by the specification's codes. The
//! input is the configuration, then lines of variables behind a zero byte.
#![no_main]
#![allow(dead_code, reason = "the plugin's other half is not here")]

#[path = "../../crates/nexin-cni/src/config.rs"]
mod config;
#[path = "../../crates/nexin-cni/src/error.rs"]
mod error;
#[path = "../../crates/nexin-cni/src/invocation.rs"]
mod invocation;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let (input, variables) = bytes.split_at(bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len()));
    match config::Config::parse(input) {
        Ok(config) => {
            assert!(invocation::is_identifier(&config.name) && config.socket != config.queue);
            assert_eq!(config::version_of(input), Some(config.version.to_string()));
        }
        Err(error) => assert!(!error.message.is_empty() && error.to_json("1.1.0")["code"].is_u64()),
    }
    let lines = String::from_utf8_lossy(variables);
    let pairs = lines.trim_start_matches('\0').lines().filter_map(|line| line.split_once(':'));
    let environment = pairs.map(|(key, value)| (format!("CNI_{key}"), value.to_owned())).collect();
    match invocation::Invocation::read(&environment) {
        Ok(invocation) => assert_eq!(environment["CNI_COMMAND"], invocation.name()),
        Err(error) => assert!(error.message.contains("CNI_"), "{}", error.message),
    }
});
