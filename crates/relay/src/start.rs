//! Puts the relay together, and runs it until a signal.

use std::path::Path;
use std::time::Duration;

use nexin_api::hubble::{Address, Client, ClientOptions, Health, HubbleServer, Peer, Refusal, serve, serve_health};
use nexin_http::{
    ClientTls, ListenAddress, ListenError, Listener, Protocol, ServerTls, Target, TextReply, TextRequest, TlsError,
    Trust, serve_text,
};
use nexin_runtime::metrics::{CONTENT_TYPE, PLAIN_CONTENT_TYPE, plain};
use nexin_runtime::settings::{Choice, Loaded, PathText};
use nexin_runtime::tasks::{Lifetime, TaskFailure, Tasks};

use crate::discover::Discovery;
use crate::fan::FanLimits;
use crate::metrics::RelayMetrics;
use crate::observer::RelayObserver;
use crate::pool::{Calling, Pool, State};
use crate::settings::{RelaySettings, Settings};

/// Why the relay does not run.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    #[error("cannot start: {0}")]
    Start(#[from] std::io::Error),
    #[error(transparent)]
    Listen(#[from] ListenError),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("peer service {service}: {reason}")]
    PeerService { service: Target, reason: Refusal },
    #[error(transparent)]
    Task(#[from] TaskFailure),
}

/// How long a shutdown waits for requests under way.
const PATIENCE: Duration = Duration::from_secs(5);

/// Runs until SIGTERM or SIGINT.
pub fn run(loaded: Loaded<Settings>) -> Result<(), RelayError> {
    nexin_runtime::logging::start(&loaded.settings.log);
    for name in &loaded.foreign_variables {
        tracing::debug!(name, "an environment variable that is no setting");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let tasks = Tasks::new();
        tasks.stop_on_signals()?;
        start(&loaded.settings.relay, &tasks).await?;
        Ok(tasks.finish(PATIENCE).await?)
    })
}

/// The addresses that were bound: with port 0 in the settings, the kernel chose.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Bound {
    pub(crate) api: Option<std::net::SocketAddr>,
    pub(crate) health: Option<std::net::SocketAddr>,
    pub(crate) metrics: Option<std::net::SocketAddr>,
}

/// Starts every task; they end when `tasks` are stopped.
pub(crate) async fn start(settings: &RelaySettings, tasks: &Tasks) -> Result<Bound, RelayError> {
    let calling = calling(settings)?;
    let pool = Pool::new(calling.clone(), tasks.clone());
    let metrics = RelayMetrics::new();
    let health = Health::new();
    let mut bound = Bound::default();

    let mut listeners = Vec::new();
    if let Choice::Value(address) = settings.listen_address {
        let listener = Listener::tcp(address, server_tls(settings)?)?;
        bound.api = listener.local_addr();
        tracing::info!(address = ?bound.api, tls = listener.is_tls(), "Hubble API");
        listeners.push(listener);
    }
    if let Choice::Value(PathText(path)) = &settings.socket {
        listeners.push(Listener::unix(path).await?);
        tracing::info!(socket = %path.display(), "Hubble API");
    }
    let probes = listener(&settings.health_listen_address)?;
    bound.health = probes.as_ref().and_then(Listener::local_addr);
    let scrapes = listener(&settings.metrics_listen_address)?;
    bound.metrics = scrapes.as_ref().and_then(Listener::local_addr);

    let discovery = discover(settings, &calling, &pool, tasks)?;
    let observer = RelayObserver {
        pool: pool.clone(),
        name: host_name(),
        limits: FanLimits {
            entries: settings.sort_buffer_len_max as usize,
            drain: settings.sort_buffer_drain_timeout.0,
        },
        metrics: metrics.clone(),
    };
    let server = HubbleServer { observer, peers: None, health: health.clone() };
    let stop = tasks.stop().clone();
    tasks.spawn("relay-api", Lifetime::Program, async move {
        if let Err(error) = serve(server, listeners, stop).await {
            tracing::error!(%error, "the API ended");
        }
    });
    if let Some(probes) = probes {
        let (health, stop) = (health.clone(), tasks.stop().clone());
        tasks.spawn("relay-health", Lifetime::Program, async move {
            if let Err(error) = serve_health(health, probes, stop).await {
                tracing::error!(%error, "the health service ended");
            }
        });
    }
    if let Some(scrapes) = scrapes {
        let (metrics, stop) = (metrics.clone(), tasks.stop().clone());
        tasks.spawn("relay-metrics", Lifetime::Program, async move {
            let answer = move |request| std::future::ready(answer_scrape(&metrics, &request));
            serve_text(scrapes, answer, stop).await;
        });
    }
    let stop = tasks.stop().clone();
    tasks.spawn("relay-state", Lifetime::Program, async move {
        tokio::select! {
            () = stop.cancelled() => {}
            () = watch_state(pool, discovery, health, metrics) => {}
        }
    });
    Ok(bound)
}

/// As every node names itself.
fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_owned()
}

fn listener(address: &Choice<ListenAddress>) -> Result<Option<Listener>, ListenError> {
    match address {
        Choice::Value(address) => Listener::tcp(*address, None).map(Some),
        Choice::Auto | Choice::Off => Ok(None),
    }
}

fn discover(settings: &RelaySettings, calling: &Calling, pool: &Pool, tasks: &Tasks) -> Result<Discovery, RelayError> {
    let discovery = Discovery::new(pool.clone());
    for (number, service) in settings.peer_service.iter().enumerate() {
        let failed = |reason| RelayError::PeerService { service: service.clone(), reason };
        let tls = match (service, &calling.tls) {
            (Target::Tcp { .. }, Some(tls)) if !calling.plaintext => {
                let name = Peer::server_name(&settings.cluster_name, "hubble-peer");
                Some(tls.clone().named(&name)?)
            }
            _ => None,
        };
        let options = ClientOptions { tls, dial_timeout: calling.dial_timeout, ..ClientOptions::default() };
        let client = Client::lazy(&Address::from(service.clone()), options).map_err(failed)?;
        let (listening, stop) = (discovery.clone(), tasks.stop().clone());
        let (name, retry) = (service.to_string(), calling.retry_timeout);
        tasks.spawn("relay-peers", Lifetime::Program, async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = listening.listen(number, name, client, retry) => {}
            }
        });
    }
    Ok(discovery)
}

/// Serving means: some peer service is heard, and some node answers.
async fn watch_state(pool: Pool, discovery: Discovery, health: Health, metrics: RelayMetrics) {
    let (mut nodes, mut listening) = (pool.watch(), discovery.listening());
    loop {
        let now = std::sync::Arc::clone(&nodes.borrow_and_update());
        let heard = *listening.borrow_and_update() > 0;
        metrics.nodes(&now);
        let serving = heard && now.values().any(|node| node.state == State::Connected);
        if serving != health.is_serving() {
            tracing::info!(serving, "health");
        }
        health.set(serving);
        tokio::select! {
            changed = nodes.changed() => if changed.is_err() { return },
            changed = listening.changed() => if changed.is_err() { return },
        }
    }
}

fn answer_scrape(metrics: &RelayMetrics, request: &TextRequest) -> TextReply {
    match request.path.as_str() {
        "/metrics" => match metrics.text() {
            Ok(text) if request.accept.contains("application/openmetrics-text") => TextReply::ok(CONTENT_TYPE, text),
            Ok(text) => TextReply::ok(PLAIN_CONTENT_TYPE, plain(&text)),
            Err(error) => TextReply { status: 500, mime: "text/plain", body: format!("{error}\n") },
        },
        _ => TextReply::not_found(),
    }
}

fn calling(settings: &RelaySettings) -> Result<Calling, TlsError> {
    let authorities: Vec<_> = settings.tls_hubble_server_ca_files.iter().map(Into::into).collect();
    let tls = if authorities.is_empty() || settings.disable_client_tls {
        None
    } else {
        let identity = pair(&settings.tls_hubble_client_cert_file, &settings.tls_hubble_client_key_file);
        Some(ClientTls::from_files(Trust::Files(authorities), identity, Protocol::Grpc)?)
    };
    Ok(Calling {
        tls,
        plaintext: settings.disable_client_tls,
        dial_timeout: settings.dial_timeout.0,
        retry_timeout: settings.retry_timeout.0,
    })
}

fn server_tls(settings: &RelaySettings) -> Result<Option<ServerTls>, TlsError> {
    let identity = pair(&settings.tls_relay_server_cert_file, &settings.tls_relay_server_key_file);
    let Some((certificate, key)) = identity.filter(|_| !settings.disable_server_tls) else { return Ok(None) };
    let clients: Vec<_> = settings.tls_relay_client_ca_files.iter().map(Into::into).collect();
    ServerTls::from_files(certificate, key, &clients, Protocol::Grpc).map(Some)
}

fn pair<'a>(certificate: &'a Choice<PathText>, key: &'a Choice<PathText>) -> Option<(&'a Path, &'a Path)> {
    match (certificate, key) {
        (Choice::Value(PathText(certificate)), Choice::Value(PathText(key))) => Some((certificate, key)),
        _ => None,
    }
}
