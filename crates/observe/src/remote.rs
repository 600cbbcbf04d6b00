//! The connection to a server, as flags, environment and file name it.

use std::path::{Path, PathBuf};

use nexin_api::hubble::{Address, BasicAuth, Client, ClientOptions, Versions};
use nexin_http::{ClientTls, Protocol, Trust};
use prost_types::Timestamp;

use crate::error::Error;
use crate::log::{self, Level};
use crate::settings::Settings;

/// The version whose behaviour this command has; older servers are fine, newer ones are worth a word.
const MINOR: (u64, u64) = (1, 20);

/// What the settings say about credentials must fit together, whether or not a server is asked.
pub(crate) fn check(settings: &Settings<'_>) -> Result<(), Error> {
    let set = |name: &str| !settings.text(name).is_empty();
    if set("basic-auth-username") != set("basic-auth-password") {
        return Err(invalid("must specify both basic-auth-username and basic-auth-password"));
    }
    let (key, certificate) = (set("tls-client-key-file"), set("tls-client-cert-file"));
    if key != certificate {
        return Err(invalid("certificate and private key are both required, but only one was provided"));
    }
    if key && !wants_tls(settings) {
        return Err(invalid("transport layer security required"));
    }
    Ok(())
}

fn invalid(what: &str) -> Error {
    Error::Usage(format!("invalid flag(s): {what}"))
}

fn wants_tls(settings: &Settings<'_>) -> bool {
    settings.bool("tls") || settings.text("server").starts_with("tls://")
}

/// TLS as asked for. The files are read at once, so that a wrong one is told first.
pub(crate) fn tls(settings: &Settings<'_>) -> Result<Option<ClientTls>, Error> {
    if !wants_tls(settings) {
        return Ok(None);
    }
    let authorities: Vec<PathBuf> = settings.list("tls-ca-cert-files").iter().map(PathBuf::from).collect();
    let trust = match (settings.bool("tls-allow-insecure"), authorities.is_empty()) {
        (true, _) => Trust::Anyone,
        (false, true) => Trust::System,
        (false, false) => Trust::Files(authorities),
    };
    let (certificate, key) = (settings.text("tls-client-cert-file"), settings.text("tls-client-key-file"));
    let identity = (!certificate.is_empty()).then(|| (Path::new(&certificate), Path::new(&key)));
    let usage = |error: nexin_http::TlsError| Error::Usage(error.to_string());
    let tls = ClientTls::from_files(trust, identity, Protocol::Grpc).map_err(usage)?;
    let name = settings.text("tls-server-name");
    let tls = if name.is_empty() { tls } else { tls.named(&name).map_err(usage)? };
    Ok(Some(tls))
}

/// A client of the server named `server`; it connects at its first call.
pub(crate) fn client(settings: &Settings<'_>, server: &str) -> Result<Client, Error> {
    if settings.bool("port-forward") {
        return Err(Error::usage(
            "failed to create k8s port forwader: this command does not speak to Kubernetes; run `kubectl -n kube-system port-forward service/hubble-relay 4245:80` and leave -P out",
        ));
    }
    let address: Address =
        server.parse().map_err(|error| Error::Usage(format!("failed to create gRPC client to '{server}': {error}")))?;
    let username = settings.text("basic-auth-username");
    let basic_auth =
        (!username.is_empty()).then(|| BasicAuth { username, password: settings.text("basic-auth-password") });
    let options = ClientOptions {
        tls: tls(settings)?,
        basic_auth,
        dial_timeout: settings.duration("timeout"),
        unary_timeout: settings.duration("request-timeout"),
    };
    Client::lazy(&address, options).map_err(Error::Remote)
}

/// A word about a server that is newer than this command.
pub(crate) fn compare(versions: &Versions, now: Timestamp, err: &mut dyn std::io::Write) {
    let told = [
        ("Hubble Relay", "hubble-relay-version", &versions.relay),
        ("Hubble Server", "hubble-server-version", &versions.server),
    ];
    for (who, key, version) in told {
        let Some(version) = version.as_deref().filter(|version| is_newer(version)) else { continue };
        let message = format!(
            "Hubble CLI version is lower than {who}, API compatibility is not guaranteed, updating to a matching or higher version is recommended"
        );
        let own = format!("{}.{}.0", MINOR.0, MINOR.1);
        let pairs = [("hubble-cli-version", own.as_bytes()), (key, version.as_bytes())];
        log::line(err, now, Level::Warn, &message, &pairs);
    }
}

fn is_newer(version: &str) -> bool {
    let mut parts = version.trim_start_matches('v').split('.').map(|part| part.parse::<u64>().ok());
    match (parts.next().flatten(), parts.next().flatten()) {
        (Some(major), Some(minor)) => (major, minor) > MINOR,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_newer_servers_are_worth_a_word() {
        assert!(is_newer("v1.21.0") && is_newer("2.0.0-dev"));
        assert!(!is_newer("1.20.9") && !is_newer("v1.19.4") && !is_newer("garbage"));
    }
}
