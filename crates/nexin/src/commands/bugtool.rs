//! `nexin bugtool`: what a bug report needs, in one archive.
//!
//! What cannot be had is noted in the archive and stops nothing: a bug report is most wanted when things do not work.
//! Values of settings and environment-like texts that look like secrets are left out.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use clap::Args;
use nexin_api::Client;
use nexin_api::v1::{ConfigReply, CtQuery, MapInfo, MapKind, MonitorFilter, Timestamp};
use serde::Serialize;

use super::Context;
use crate::error::{CliError, Result};
use crate::output::Progress;

#[derive(Args)]
pub(crate) struct Bugtool {
    /// Where to write the archive; a name with the time in the working directory when left out
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Also the agent's log
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
}

/// Entries of a map that are worth having in a report.
const CT_LIMIT: u32 = 10_000;
const EVENTS: u64 = 1_000;
/// The end of a log that is taken, bytes.
const LOG_BYTES: usize = 4 << 20;
/// Of the machine, from its own tools; each may be missing.
const MACHINE: &[(&str, &[&str])] = &[
    ("uname", &["-a"]),
    ("ip", &["-details", "address"]),
    ("ip", &["route", "show", "table", "all"]),
    ("ip", &["-6", "route", "show", "table", "all"]),
    ("ip", &["neighbour"]),
    ("bpftool", &["link"]),
    ("bpftool", &["net"]),
    ("bpftool", &["prog"]),
];

pub(crate) async fn bugtool(context: &Context, args: &Bugtool) -> Result<()> {
    let now = Timestamp::from(SystemTime::now()).to_string();
    let stamp: String = now.chars().take(19).filter(char::is_ascii_alphanumeric).collect();
    let path = args.file.clone().unwrap_or_else(|| format!("nexin-bugtool-{stamp}.tar").into());
    let file = fs::File::create(&path).map_err(|source| CliError::file(&path, source))?;
    let mut archive = Archive { tar: tar::Builder::new(file), missing: Vec::new(), progress: Progress::new() };
    let collected = collect(&mut archive, &context.client()?, args).await.and_then(|()| archive.finish());
    let missing = collected.map_err(|source| CliError::file(&path, source))?;
    context.out.item(&path, |_| {
        let notes: Vec<String> = missing.iter().map(|note| format!("  without {note}\n")).collect();
        format!("{} written; look through it before you share it\n{}", path.display(), notes.concat())
    })?;
    Ok(())
}

async fn collect(archive: &mut Archive, client: &Client, args: &Bugtool) -> io::Result<()> {
    archive.text("version.txt", env!("CARGO_PKG_VERSION"))?;
    archive.answer("status.json", client.status().await)?;
    archive.answer("doctor.json", client.doctor().await)?;
    archive.answer("settings.json", client.config().await.map(redacted))?;
    archive.answer("endpoints.json", client.endpoints().await)?;
    archive.answer("identities.json", client.identities().await)?;
    archive.answer("policies.json", client.policies().await)?;
    archive.answer("ipam.json", client.ipam().await)?;
    archive.answer("ct.json", client.conntrack(&CtQuery { endpoint: None, limit: Some(CT_LIMIT) }).await)?;
    archive.answer("metrics.json", client.metrics().await)?;
    let maps = client.maps().await;
    let has_entries = |map: &&MapInfo| !matches!(map.kind, MapKind::RingBuf | MapKind::PerCpuArray);
    for map in maps.iter().flatten().filter(has_entries) {
        archive.answer(&format!("maps/{}.json", map.name), client.map(&map.name).await)?;
    }
    archive.answer("maps.json", maps)?;
    archive.answer("events.json", events(client).await)?;
    for (number, (program, arguments)) in MACHINE.iter().enumerate() {
        archive.command(&format!("machine/{number}-{program}.txt"), program, arguments)?;
    }
    if let Some(log) = &args.log {
        archive.log(log)?;
    }
    Ok(())
}

async fn events(client: &Client) -> std::result::Result<Vec<nexin_api::v1::MonitorRecord>, nexin_api::ClientError> {
    use futures_util::TryStreamExt;
    let filter = MonitorFilter { last: Some(EVENTS), no_follow: true, ..MonitorFilter::default() };
    client.monitor(&filter).await?.try_collect().await
}

/// A setting whose name says that its value is nobody else's business.
fn redacted(mut config: ConfigReply) -> ConfigReply {
    for (key, setting) in &mut config.0 {
        if is_secret(key) {
            setting.value = "(left out)".to_owned();
        }
    }
    config
}

fn is_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    ["secret", "password", "passwd", "token", "credential", "private", "api_key"].iter().any(|word| key.contains(word))
}

/// Lines with a word that introduces a secret lose what follows it.
fn redacted_line(line: &str) -> String {
    let lower = line.to_ascii_lowercase();
    let words = ["secret=", "password=", "token=", "authorization:", "secret\":", "password\":", "token\":"];
    let cut = words.iter().filter_map(|word| lower.find(word).map(|at| at + word.len())).min();
    match cut.and_then(|cut| line.get(..cut)) {
        Some(kept) => format!("{kept}(left out)"),
        None => line.to_owned(),
    }
}

struct Archive {
    tar: tar::Builder<fs::File>,
    missing: Vec<String>,
    progress: Progress,
}

impl Archive {
    fn text(&mut self, name: &str, text: &str) -> io::Result<()> {
        self.progress.say(name);
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o600);
        header.set_cksum();
        self.tar.append_data(&mut header, Path::new("nexin-bugtool").join(name), text.as_bytes())
    }

    fn answer<T: Serialize, E: std::fmt::Display>(
        &mut self,
        name: &str,
        answer: std::result::Result<T, E>,
    ) -> io::Result<()> {
        match answer {
            Ok(answer) => self.text(name, &serde_json::to_string_pretty(&answer)?),
            Err(error) => self.without(name, &error.to_string()),
        }
    }

    fn without(&mut self, name: &str, reason: &str) -> io::Result<()> {
        self.missing.push(format!("{name}: {reason}"));
        Ok(())
    }

    fn command(&mut self, name: &str, program: &str, arguments: &[&str]) -> io::Result<()> {
        match Command::new(program).args(arguments).output() {
            Ok(output) => self.text(name, &String::from_utf8_lossy(&[output.stdout, output.stderr].concat())),
            Err(error) => self.without(name, &format!("{program}: {error}")),
        }
    }

    fn log(&mut self, path: &Path) -> io::Result<()> {
        match fs::read(path) {
            Ok(bytes) => {
                let end = String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(LOG_BYTES)..]);
                let lines: Vec<String> = end.lines().map(redacted_line).collect();
                self.text("agent.log", &lines.join("\n"))
            }
            Err(error) => self.without("agent.log", &format!("{}: {error}", path.display())),
        }
    }

    /// Notes what is missing, in the archive too.
    fn finish(mut self) -> io::Result<Vec<String>> {
        let notes = self.missing.join("\n");
        self.text("missing.txt", &notes)?;
        self.tar.into_inner()?.flush()?;
        Ok(self.missing)
    }
}

#[cfg(test)]
mod tests {
    use nexin_api::v1::{SettingOrigin, SettingValue};

    use super::*;

    #[test]
    fn secrets_stay_at_home() {
        let value = |text: &str| SettingValue { value: text.into(), origin: SettingOrigin::File };
        let config = ConfigReply(
            [("kv.password".to_owned(), value("hunter2")), ("agent.node_name".to_owned(), value("n1"))].into(),
        );
        let redacted = redacted(config);
        assert_eq!(redacted.0["kv.password"].value, "(left out)");
        assert_eq!(redacted.0["agent.node_name"].value, "n1");
        assert_eq!(redacted_line("dial etcd password=hunter2 ok"), "dial etcd password=(left out)");
        assert_eq!(redacted_line(r#"{"Token":"abc"}"#), r#"{"Token":(left out)"#);
        assert_eq!(redacted_line("endpoint 7 ready"), "endpoint 7 ready");
    }
}
