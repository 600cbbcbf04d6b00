//! The hosts file and resolv.conf of a workload. The machine's own may name things that only exist outside: a resolver on
//! loopback, an address of the machine's name.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use nexin_api::v1::Endpoint;

use super::super::endpoint::FlagError;
use crate::error::{CliError, Result};

const RESOLV: &str = "/etc/resolv.conf";
const HOSTS: &str = "/etc/hosts";
const HOSTNAME: &str = "/proc/sys/kernel/hostname";
/// Where systemd keeps the real name servers when `/etc/resolv.conf` names its stub.
const REAL_RESOLV: &str = "/run/systemd/resolve/resolv.conf";

/// `NAME=ADDRESS`
pub(super) fn host(text: &str) -> std::result::Result<(String, IpAddr), FlagError> {
    let (name, address) = text.split_once('=').ok_or(FlagError::Host)?;
    Ok((name.to_owned(), address.parse().map_err(|_| FlagError::Host)?))
}

/// Files that are mounted over the machine's; removed from disk when dropped, which does not touch the mounts.
pub(super) struct Overlay {
    dir: tempfile::TempDir,
    files: Vec<&'static str>,
}

impl Overlay {
    pub(super) fn make(endpoint: &Endpoint, dns: &[IpAddr], hosts: &[(String, IpAddr)]) -> Result<Self> {
        let dir = tempfile::TempDir::with_prefix("nexin-run-")
            .map_err(|source| CliError::system("make a directory for hosts", source))?;
        let mut overlay = Self { dir, files: Vec::new() };
        let machine = fs::read_to_string(HOSTNAME).unwrap_or_default();
        overlay.write(HOSTS, &hosts_file(endpoint, machine.trim(), hosts))?;
        let ours = fs::read_to_string(REAL_RESOLV).or_else(|_| fs::read_to_string(RESOLV)).unwrap_or_default();
        overlay.write(RESOLV, &resolv_conf(&ours, dns))?;
        Ok(overlay)
    }

    /// A file that the machine lacks cannot be mounted over, and is not needed.
    fn write(&mut self, target: &'static str, text: &str) -> Result<()> {
        if !Path::new(target).exists() {
            return Ok(());
        }
        let path = self.source(target);
        fs::write(&path, text).map_err(|source| CliError::file(path, source))?;
        self.files.push(target);
        Ok(())
    }

    fn source(&self, target: &str) -> PathBuf {
        self.dir.path().join(Path::new(target).file_name().unwrap_or_default())
    }

    pub(super) fn mounts(&self) -> Vec<(PathBuf, PathBuf)> {
        // Mounts do not follow a link for us.
        let real = |target: &str| fs::canonicalize(target).unwrap_or_else(|_| target.into());
        self.files.iter().map(|target| (self.source(target), real(target))).collect()
    }
}

/// `machine` is the host name that programs find for themselves: many look it up before they serve, and would wait for a name
/// server that does not know it.
fn hosts_file(endpoint: &Endpoint, machine: &str, hosts: &[(String, IpAddr)]) -> String {
    let mut text = String::from("127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n");
    let own = [endpoint.ipv4.map(IpAddr::from), endpoint.ipv6.map(IpAddr::from)];
    for address in own.into_iter().flatten() {
        text.push_str(&format!("{address} {}\n", endpoint.name));
        if !machine.is_empty() && machine != endpoint.name {
            text.push_str(&format!("{address} {machine}\n"));
        }
    }
    for (name, address) in hosts {
        text.push_str(&format!("{address} {name}\n"));
    }
    text
}

/// The machine's, without name servers on loopback: those are the machine's, not the workload's.
fn resolv_conf(ours: &str, dns: &[IpAddr]) -> String {
    let is_server = |line: &str| line.split_whitespace().next() == Some("nameserver");
    let usable = |line: &&str| {
        if !is_server(line) {
            return true;
        }
        let address: Option<IpAddr> = line.split_whitespace().nth(1).and_then(|address| address.parse().ok());
        dns.is_empty() && address.is_some_and(|address| !address.is_loopback())
    };
    let given = dns.iter().map(|address| format!("nameserver {address}"));
    let lines: Vec<String> = given.chain(ours.lines().filter(usable).map(str::to_owned)).collect();
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: &str =
        "# generated\nnameserver 127.0.0.53\nnameserver 192.0.2.53\nnameserver fd00::53\nsearch example.net\n";

    #[test]
    fn name_servers_on_loopback_are_left_out() {
        assert_eq!(
            resolv_conf(OURS, &[]),
            "# generated\nnameserver 192.0.2.53\nnameserver fd00::53\nsearch example.net\n"
        );
    }

    #[test]
    fn given_name_servers_replace_the_machines() {
        let dns = ["198.51.100.1".parse().unwrap()];
        assert_eq!(resolv_conf(OURS, &dns), "nameserver 198.51.100.1\n# generated\nsearch example.net\n");
    }

    #[test]
    fn hosts_are_read() {
        assert_eq!(host("web=10.0.0.1"), Ok(("web".into(), "10.0.0.1".parse().unwrap())));
        assert_eq!(host("web"), Err(FlagError::Host));
    }
}
