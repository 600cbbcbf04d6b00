//! Flows that leave the node by themselves: as metrics that are scraped, as files, and to a collector. A part that cannot work is told and
//! left out; the others do.

mod files;
mod otlp;
mod rotate;
#[cfg(test)]
pub(crate) mod tests;

use std::sync::Arc;
use std::time::Duration;

use nexin_api::otlp::{Client, Endpoint, EndpointError, Failure, Origin, Protocol as OtlpWay};
use nexin_flows::export::{ExportError, FilterTextError, FlowLog, parse_filters};
use nexin_flows::metrics::ConfigError;
use nexin_http::{ClientTls, ListenError, Listener, Protocol, ServerTls, TlsError, Trust, serve_text};
use nexin_runtime::settings::Choice;
use nexin_runtime::tasks::{Lifetime, Tasks};

use crate::flows::FlowHook;
use crate::hubble_metrics::{FlowMetrics, MetricsHook};
use crate::settings::{HubbleSettings, OtlpProtocol};
use files::FilesHook;

/// Why a part does not work. The texts say which setting to look at.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SinkError {
    #[error("hubble.metrics: {0}")]
    Metrics(#[from] ConfigError),
    #[error("hubble.metrics_listen: {0}")]
    Listen(#[from] ListenError),
    #[error("certificates: {0}")]
    Tls(#[from] TlsError),
    #[error("hubble.export_allowlist or hubble.export_denylist: {0}")]
    Filters(#[from] FilterTextError),
    #[error("hubble.export_*: {0}")]
    Export(#[from] ExportError),
    #[error("hubble.otlp_endpoint: {0}")]
    Endpoint(#[from] EndpointError),
    #[error("hubble.otlp_headers: {0:?} is not name=value")]
    Header(String),
    #[error("OTLP: {0}")]
    Collector(#[from] Failure),
}

/// What looks at flows, and what of it does not work.
pub(crate) struct Sinks {
    pub(crate) hooks: Vec<Box<dyn FlowHook>>,
    pub(crate) troubles: Vec<(&'static str, SinkError)>,
}

/// One request to a collector may take so long.
const REQUEST_LIMIT: Duration = Duration::from_secs(10);

/// Starts everything that settings ask for. `node` is this node's name in flows, with its cluster's where that has one.
pub(crate) fn start(settings: &HubbleSettings, node: &str, tasks: &Tasks) -> Sinks {
    let mut sinks = Sinks { hooks: Vec::new(), troubles: Vec::new() };
    let metrics = metrics(settings).unwrap_or_else(|error| {
        sinks.troubles.push(("hubble-metrics", error));
        None
    });
    match files(settings) {
        Ok(Some(files)) => {
            if let Some(metrics) = &metrics {
                let status = files.status();
                metrics.tell_too(move |tell| status.each(tell));
            }
            sinks.hooks.push(Box::new(files));
        }
        Ok(None) => {}
        Err(error) => sinks.troubles.push(("hubble-export", error)),
    }
    if let Err(error) = collector(settings, node, metrics.as_ref(), tasks, &mut sinks.hooks) {
        sinks.troubles.push(("hubble-otlp", error));
    }
    if let Some(metrics) = metrics {
        if let Err(error) = serve(settings, &metrics, tasks) {
            sinks.troubles.push(("hubble-metrics", error));
        }
        sinks.hooks.push(Box::new(MetricsHook::new(metrics)));
    }
    sinks
}

/// Metrics are counted where they are asked for, and where somebody looks at what others tell beside them.
fn metrics(settings: &HubbleSettings) -> Result<Option<FlowMetrics>, SinkError> {
    let limit = usize::try_from(settings.metrics_series_limit).unwrap_or(usize::MAX);
    let listens = matches!(settings.metrics_listen, Choice::Value(_));
    if let Choice::Value(path) = &settings.metrics_config_file {
        return Ok(Some(FlowMetrics::from_file(&path.0, limit, settings.open_metrics)));
    }
    let sends = matches!(settings.otlp_endpoint, Choice::Value(_)) && settings.otlp_metrics;
    if settings.metrics.trim().is_empty() || !(listens || sends) {
        return Ok(None);
    }
    Ok(Some(FlowMetrics::new(&settings.metrics, limit, settings.open_metrics)?))
}

fn serve(settings: &HubbleSettings, metrics: &FlowMetrics, tasks: &Tasks) -> Result<(), SinkError> {
    let Choice::Value(address) = &settings.metrics_listen else { return Ok(()) };
    let tls = match (&settings.metrics_tls_cert_file, &settings.metrics_tls_key_file) {
        (Choice::Value(cert), Choice::Value(key)) => {
            let authorities = &settings.metrics_tls_client_ca_files;
            Some(ServerTls::from_files(&cert.0, &key.0, authorities, Protocol::Http1)?)
        }
        _ => None,
    };
    let listener = Listener::tcp(*address, tls)?;
    let (metrics, stop) = (metrics.clone(), tasks.stop().clone());
    tasks.spawn("hubble-metrics", Lifetime::Program, async move {
        let answer = move |request| {
            let reply = metrics.answer(&request);
            async move { reply }
        };
        serve_text(listener, answer, stop).await;
    });
    Ok(())
}

fn files(settings: &HubbleSettings) -> Result<Option<FilesHook>, SinkError> {
    let mut fixed = Vec::new();
    if let Choice::Value(path) = &settings.export_file {
        let nanos = i64::try_from(settings.export_aggregation_interval.0.as_nanos()).unwrap_or(i64::MAX);
        fixed.push(FlowLog {
            name: "static-exporter".to_owned(),
            file_path: path.to_string(),
            field_mask: settings.export_fieldmask.clone(),
            field_aggregate: settings.export_aggregate.clone(),
            aggregation_interval: nanos,
            include: parse_filters(&settings.export_allowlist)?,
            exclude: parse_filters(&settings.export_denylist)?,
            file_max_size_mb: size(settings.export_max_size_mb),
            file_max_backups: size(settings.export_max_backups),
            file_compress: settings.export_compress,
            end: None,
        });
    }
    let file = match &settings.flowlogs_config_file {
        Choice::Value(path) => Some(path.0.clone()),
        _ => None,
    };
    if fixed.is_empty() && file.is_none() {
        return Ok(None);
    }
    Ok(Some(FilesHook::new(fixed, file)?))
}

/// In settings 0 is "never" or "none put aside is deleted"; in a flow log it is "as usual".
fn size(value: u32) -> i64 {
    if value == 0 { -1 } else { value.into() }
}

fn collector(
    settings: &HubbleSettings,
    node: &str,
    metrics: Option<&FlowMetrics>,
    tasks: &Tasks,
    hooks: &mut Vec<Box<dyn FlowHook>>,
) -> Result<(), SinkError> {
    let Choice::Value(endpoint) = &settings.otlp_endpoint else { return Ok(()) };
    let (way, protocol) = match settings.otlp_protocol {
        OtlpProtocol::Grpc => (OtlpWay::Grpc, Protocol::Grpc),
        OtlpProtocol::Http => (OtlpWay::Http, Protocol::Http1),
    };
    let endpoint = Endpoint::new(endpoint, way)?;
    let tls = match (endpoint.tls, settings.otlp_ca_files.as_slice()) {
        (false, _) => None,
        (true, []) => Some(ClientTls::from_files(Trust::System, None, protocol)?),
        (true, files) => Some(ClientTls::from_files(Trust::Files(files.to_vec()), None, protocol)?),
    };
    let headers = settings.otlp_headers.iter().map(|header| {
        let pair = header.split_once('=').filter(|(name, _)| !name.is_empty());
        let pair = pair.ok_or_else(|| SinkError::Header(header.clone()))?;
        Ok((pair.0.trim().to_owned(), pair.1.trim().to_owned()))
    });
    let headers: Vec<(String, String)> = headers.collect::<Result<_, SinkError>>()?;
    let (cluster, name) = node.split_once('/').unwrap_or(("", node));
    let origin = Origin::new(name, cluster);
    let counts = Arc::new(otlp::Counts::default());
    if let Some(metrics) = metrics {
        let told = counts.clone();
        metrics.tell_too(move |tell| told.each(tell));
    }
    if settings.otlp_logs {
        let client = Client::new(&endpoint, tls.clone(), headers.clone(), REQUEST_LIMIT)?;
        let most = usize::try_from(settings.queue_size).unwrap_or(usize::MAX);
        let (hook, sender) = otlp::logs(client, origin.clone(), most, &counts);
        hooks.push(Box::new(hook));
        tasks.spawn("otlp-logs", Lifetime::Program, sender.run(tasks.stop().clone()));
    }
    if let Some(metrics) = metrics.filter(|_| settings.otlp_metrics) {
        let client = Client::new(&endpoint, tls, headers, REQUEST_LIMIT)?;
        let sent = otlp::send_metrics(
            client,
            origin,
            metrics.clone(),
            settings.otlp_interval.0.max(Duration::from_secs(1)),
            counts,
            tasks.stop().clone(),
        );
        tasks.spawn("otlp-metrics", Lifetime::Program, sent);
    }
    Ok(())
}
