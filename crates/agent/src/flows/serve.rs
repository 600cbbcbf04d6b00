//! Hubble's API on a unix socket and on TCP, and the peers that a relay finds by it.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use nexin_api::hubble::{Health, HubbleServer, Peer, serve as serve_api};
use nexin_http::{Listener, Protocol, ServerTls};
use nexin_runtime::settings::{Choice, PathText};
use nexin_runtime::tasks::Lifetime;

use super::observer::Observer;
use super::{Flows, node_name};
use crate::agent::Agent;
use crate::node::Node;
use crate::settings::{HubbleSettings, Settings};

/// Part of the status that tells what does not work here.
const PART: &str = "hubble";

/// Serves until the agent stops. Without this API the agent does everything else: what fails is told, not fatal.
pub(crate) async fn serve(agent: &Agent) {
    let settings = &agent.settings().hubble;
    if !settings.enabled {
        return;
    }
    let mut listeners = Vec::new();
    let mut troubles = Vec::new();
    if let Some(path) = socket(agent.settings()) {
        match Listener::unix(&path).await {
            Ok(listener) => listeners.push(listener),
            Err(error) => troubles.push(format!("{error}; set hubble.socket to another path or off")),
        }
    }
    match tcp(settings) {
        Ok(listener) => listeners.extend(listener),
        Err(error) => troubles.push(format!("{error} (hubble.listen)")),
    }
    agent.trouble(PART, (!troubles.is_empty()).then(|| troubles.join("; ")));
    if listeners.is_empty() {
        return;
    }
    let health = Health::default();
    health.set(true);
    let server =
        HubbleServer { observer: Observer(agent.0.flows.clone()), peers: Some(agent.0.flows.peers().clone()), health };
    let (agent, stop) = (agent.clone(), agent.0.tasks.stop().clone());
    agent.clone().0.tasks.spawn("hubble", Lifetime::Program, async move {
        if let Err(error) = serve_api(server, listeners, stop.clone()).await {
            agent.trouble(PART, Some(error.to_string()));
            stop.cancelled().await;
        }
    });
}

/// Path of the unix socket, if there is to be one.
pub(crate) fn socket(settings: &Settings) -> Option<PathBuf> {
    match &settings.hubble.socket {
        Choice::Auto => Some(settings.agent.run_dir.join("hubble.sock")),
        Choice::Off => None,
        Choice::Value(path) => Some(path.0.clone()),
    }
}

fn tls_files(settings: &HubbleSettings) -> Option<(&Path, &Path)> {
    match (settings.tls_disabled, &settings.tls_cert_file, &settings.tls_key_file) {
        (false, Choice::Value(PathText(cert)), Choice::Value(PathText(key))) => Some((cert, key)),
        _ => None,
    }
}

#[derive(Debug, thiserror::Error)]
enum TcpError {
    #[error(transparent)]
    Tls(#[from] nexin_http::TlsError),
    #[error(transparent)]
    Listen(#[from] nexin_http::ListenError),
}

fn tcp(settings: &HubbleSettings) -> Result<Option<Listener>, TcpError> {
    let Choice::Value(address) = settings.listen else { return Ok(None) };
    let tls = match tls_files(settings) {
        Some((cert, key)) => Some(ServerTls::from_files(cert, key, &settings.tls_client_ca_files, Protocol::Grpc)?),
        None => None,
    };
    let exposed = address.ip.is_none_or(|ip| !ip.is_loopback());
    if tls.is_none() && exposed {
        tracing::warn!(%address, "flows are served in plaintext to whoever reaches this address (hubble.tls_cert_file)");
    }
    Ok(Some(Listener::tcp(address, tls)?))
}

/// The nodes that this one tells relays of: itself, and those that the settings name.
pub(crate) fn peers(flows: &Flows, settings: &Settings, node: &Node) {
    let hubble = &settings.hubble;
    let tls = tls_files(hubble).is_some();
    let cluster = &settings.agent.cluster_name;
    let port = match &hubble.listen {
        Choice::Value(address) => Some(address.port),
        Choice::Auto | Choice::Off => None,
    };
    let ip = match &hubble.listen {
        Choice::Value(address) => address.ip,
        Choice::Auto | Choice::Off => None,
    };
    let own = ip.or_else(|| node.main_address(hubble.prefer_ipv6)).map(|ip| with_port(ip, port));
    let own = own.map(|address| Peer::of_node(cluster, &node_name(settings), address, tls));
    let others = hubble.peers.iter().filter_map(|peer| peer.split_once('=')).map(|(name, address)| {
        let (cluster, node) = name.split_once('/').unwrap_or((cluster, name));
        Peer::of_node(cluster, node, address.to_owned(), tls)
    });
    flows.peers().replace(own.into_iter().chain(others));
}

fn with_port(ip: IpAddr, port: Option<u16>) -> String {
    match port {
        Some(port) => std::net::SocketAddr::new(ip, port).to_string(),
        None => ip.to_string(),
    }
}
