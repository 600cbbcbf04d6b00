//! One line an operation in the file the configuration names. Runtimes swallow what plugins write to standard error.

use crate::{config::Config, error::Error, invocation::Invocation};
use nexin_api::v1::Timestamp;
use serde_json::{Value, json};
use std::{
    fs::File,
    io::Write,
    time::{Duration, SystemTime},
};

/// A log that cannot be written stops nothing: the operation's outcome is what matters.
pub(crate) fn write(config: &Config, invocation: &Invocation, outcome: &Result<Option<Value>, Error>, took: Duration) {
    let Some(path) = &config.log else { return };
    let mut line = json!({
        "time": Timestamp::from(SystemTime::now()).to_string(),
        "command": invocation.name(),
        "network": config.name,
        "milliseconds": took.as_micros() as f64 / 1000.0,
    });
    if let Invocation::Add(attachment, ..) | Invocation::Del(attachment) | Invocation::Check(attachment, _) = invocation
    {
        line["container"] = attachment.container_id.as_str().into();
        line["interface"] = attachment.interface.as_str().into();
    }
    match outcome {
        Ok(Some(result)) => line["ips"] = result["ips"].clone(),
        Ok(None) => {}
        Err(error) => line["error"] = error.to_json(&config.version.to_string()),
    }
    let opened = File::options().append(true).create(true).open(path);
    if let Err(e) = opened.and_then(|mut file| file.write_all(format!("{line}\n").as_bytes())) {
        eprintln!("nexin-cni: cannot write the log {}: {e}", path.display());
    }
}
