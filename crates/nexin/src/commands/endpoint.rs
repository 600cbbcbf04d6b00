//! `nexin endpoint`: the workloads of this node.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use clap::{Args, Subcommand};
use nexin_api::Client;
use nexin_api::v1::{self, EndpointCreate, EndpointState, Enforcement, Labels, LabelsUpdate, NamedPort, PortProtocol};

use super::Context;
use crate::error::{CliError, Result};
use crate::output::{Cell, Paint, Style, Table, facts};
use nexin_runtime::settings::nearest;

#[derive(Subcommand)]
pub(crate) enum Endpoint {
    /// Every workload
    #[command(visible_alias = "ls")]
    List {
        /// Only this namespace
        #[arg(short, long)]
        namespace: Option<String>,
    },
    /// One workload with all that is known of it
    Get {
        /// Number, namespace/name, or name in namespace default
        endpoint: String,
    },
    /// Wire up a network namespace. Without labels it is reserved:init until they are known
    Create(Create),
    /// Take workloads off the network: links, routes, addresses and map entries go
    #[command(visible_alias = "rm")]
    Delete {
        /// Numbers or names
        #[arg(required = true)]
        endpoints: Vec<String>,
    },
    /// Replace the labels of a workload
    Labels {
        /// Number or name
        endpoint: String,
        /// The labels that it has from now on
        #[arg(value_name = "KEY=VALUE", value_parser = label)]
        labels: Vec<(String, String)>,
    },
}

#[derive(Args)]
pub(crate) struct Create {
    /// Path of the network namespace, such as /run/netns/web
    #[arg(long, value_name = "PATH")]
    netns: PathBuf,
    /// Name of the interface inside
    #[arg(long, value_name = "NAME")]
    interface: Option<String>,
    /// Identifier that the runtime uses; the name when left out
    #[arg(long, value_name = "ID")]
    container_id: Option<String>,
    #[command(flatten)]
    workload: Workload,
}

/// Flags that describe a workload; `run` has them too.
#[derive(Args)]
pub(crate) struct Workload {
    /// Name of the workload
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Its Kubernetes namespace
    #[arg(short, long, default_value = "default")]
    pub(crate) namespace: String,
    /// A label; give it once for each
    #[arg(short, long = "label", value_name = "KEY=VALUE", value_parser = label)]
    pub(crate) labels: Vec<(String, String)>,
    /// A port with a name that policies may use
    #[arg(long = "port", value_name = "NAME=PORT/PROTO", value_parser = named_port)]
    pub(crate) ports: Vec<NamedPort>,
    /// Its service account, which policies may select on
    #[arg(long, value_name = "NAME")]
    pub(crate) service_account: Option<String>,
    /// An address of the node's pool; any free one when left out
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) ipv4: Option<Ipv4Addr>,
    /// The same for IPv6
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) ipv6: Option<Ipv6Addr>,
}

impl Workload {
    pub(crate) fn request(&self, name: String, netns: PathBuf) -> EndpointCreate {
        EndpointCreate {
            container_id: None,
            name,
            namespace: self.namespace.clone(),
            netns,
            interface: None,
            labels: (!self.labels.is_empty()).then(|| self.labels.iter().cloned().collect()),
            named_ports: self.ports.clone(),
            service_account: self.service_account.clone(),
            ipv4: self.ipv4,
            ipv6: self.ipv6,
            no_source_check: false,
            network: None,
            mac: None,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FlagError {
    #[error("write KEY=VALUE, such as app=web")]
    Label,
    #[error("write NAME=PORT/PROTO, such as http=80/TCP")]
    Port,
    #[error("write NAME=ADDRESS, such as web=10.0.0.7")]
    Host,
    #[error(transparent)]
    Protocol(#[from] v1::PortProtocolError),
}

pub(crate) fn label(text: &str) -> std::result::Result<(String, String), FlagError> {
    let (key, value) = text.split_once('=').ok_or(FlagError::Label)?;
    if key.is_empty() {
        return Err(FlagError::Label);
    }
    Ok((key.to_owned(), value.to_owned()))
}

fn named_port(text: &str) -> std::result::Result<NamedPort, FlagError> {
    let (name, port) = text.split_once('=').ok_or(FlagError::Port)?;
    let PortProtocol { port, protocol } = port.parse()?;
    Ok(NamedPort { name: name.to_owned(), port, protocol })
}

pub(crate) async fn endpoint(context: &Context, verb: &Endpoint) -> Result<()> {
    let client = context.client()?;
    match verb {
        Endpoint::List { namespace } => {
            let mut endpoints = client.endpoints().await?;
            endpoints.retain(|endpoint| namespace.as_ref().is_none_or(|wanted| endpoint.namespace == *wanted));
            context.out.show(&endpoints, |style| table(&endpoints, style))?;
        }
        Endpoint::Get { endpoint } => {
            let endpoint = find(&client, endpoint).await?;
            context.out.show(&endpoint, |style| detail(&endpoint, style))?;
        }
        Endpoint::Create(args) => {
            let endpoint = client.create_endpoint(&create_request(args)?).await?;
            context.out.show(&endpoint, |style| detail(&endpoint, style))?;
        }
        Endpoint::Delete { endpoints } => {
            for name in endpoints {
                let endpoint = find(&client, name).await?;
                client.delete_endpoint(endpoint.id).await?;
                context
                    .out
                    .item(&endpoint, |_| format!("endpoint {} ({}) deleted", endpoint.id, full_name(&endpoint)))?;
            }
        }
        Endpoint::Labels { endpoint, labels } => {
            let endpoint = find(&client, endpoint).await?;
            let labels: Labels = labels.iter().cloned().collect();
            let update = LabelsUpdate { labels, ..LabelsUpdate::default() };
            let endpoint = client.set_labels(endpoint.id, &update).await?;
            context.out.show(&endpoint, |_| {
                format!(
                    "{} is {} (identity {})",
                    full_name(&endpoint),
                    short_labels(&endpoint.labels),
                    endpoint.identity
                )
            })?;
        }
    }
    Ok(())
}

fn create_request(args: &Create) -> Result<EndpointCreate> {
    let name = args
        .workload
        .name
        .clone()
        .or_else(|| args.container_id.clone())
        .ok_or_else(|| CliError::input("the workload needs a name", "give --name (or --container-id)"))?;
    let mut request = args.workload.request(name, args.netns.clone());
    request.container_id.clone_from(&args.container_id);
    request.interface.clone_from(&args.interface);
    Ok(request)
}

pub(crate) fn full_name(endpoint: &v1::Endpoint) -> String {
    format!("{}/{}", endpoint.namespace, endpoint.name)
}

/// An endpoint by number, `namespace/name`, or name in namespace `default`.
pub(crate) async fn find(client: &Client, wanted: &str) -> Result<v1::Endpoint> {
    if let Ok(id) = wanted.parse() {
        return Ok(client.endpoint(id).await?);
    }
    select(client.endpoints().await?, wanted)
}

fn select(endpoints: Vec<v1::Endpoint>, wanted: &str) -> Result<v1::Endpoint> {
    let full = if wanted.contains('/') { wanted.to_owned() } else { format!("default/{wanted}") };
    let known: Vec<String> = endpoints.iter().map(full_name).collect();
    let mut found = endpoints.into_iter().filter(|endpoint| full_name(endpoint) == full);
    match (found.next(), found.next()) {
        (Some(endpoint), None) => Ok(endpoint),
        (Some(one), Some(other)) => Err(CliError::input(
            format!("several workloads are named {full}"),
            format!("name it by number, such as {} or {}", one.id, other.id),
        )),
        (None, _) => Err(CliError::input(
            format!("no workload named {full}"),
            match nearest(&full, known.iter().map(String::as_str)) {
                Some(near) => format!("did you mean {near}?"),
                None => "`nexin endpoint list` shows those there are".to_owned(),
            },
        )),
    }
}

// === tables ===

fn table(endpoints: &[v1::Endpoint], style: Style) -> String {
    let head = ["ID", "NAME", "STATE", "IDENTITY", "IPV4", "IPV6", "INGRESS", "EGRESS", "LABELS"];
    let mut table = Table::new(&head, "no workloads on this node");
    for endpoint in endpoints {
        table.row([
            endpoint.id.to_string().into(),
            full_name(endpoint).into(),
            state(endpoint.state),
            endpoint.identity.to_string().into(),
            Cell::maybe(endpoint.ipv4),
            Cell::maybe(endpoint.ipv6),
            enforcement(endpoint.ingress),
            enforcement(endpoint.egress),
            short_labels(&endpoint.labels).into(),
        ]);
    }
    table.render(style)
}

/// Labels as people gave them: without the source that is meant anyway, and without those that Kubernetes derives.
pub(crate) fn short_labels(labels: &Labels) -> String {
    let shown = labels.0.iter().filter(|(key, _)| {
        let plain = key.split_once(':').map_or(key.as_str(), |(_, plain)| plain);
        !plain.starts_with("io.cilium.k8s.") && !plain.starts_with("io.kubernetes.pod.")
    });
    let short: Labels = shown.map(|(key, value)| (key.strip_prefix("k8s:").unwrap_or(key), value.as_str())).collect();
    short.to_string()
}

fn state(state: EndpointState) -> Cell {
    match state {
        EndpointState::Ready => Cell::new(Paint::Good, "ready"),
        EndpointState::Init => Cell::new(Paint::Warn, "init"),
        EndpointState::Restoring => Cell::new(Paint::Warn, "restoring"),
        EndpointState::Broken => Cell::new(Paint::Bad, "broken"),
    }
}

fn enforcement(enforcement: Enforcement) -> Cell {
    match enforcement {
        Enforcement::Open => Cell::new(Paint::Dim, "open"),
        Enforcement::Enforced => Cell::new(Paint::Plain, "enforced"),
        Enforcement::Audit => Cell::new(Paint::Warn, "audit"),
    }
}

fn detail(endpoint: &v1::Endpoint, style: Style) -> String {
    let ports = endpoint.named_ports.iter().map(|port| format!("{}={}/{}", port.name, port.port, port.protocol));
    facts(
        style,
        &[
            ("endpoint", endpoint.id.to_string().into()),
            ("name", full_name(endpoint).into()),
            ("state", state(endpoint.state)),
            ("identity", endpoint.identity.to_string().into()),
            ("labels", endpoint.labels.to_string().into()),
            ("ipv4", Cell::maybe(endpoint.ipv4)),
            ("ipv6", Cell::maybe(endpoint.ipv6)),
            ("gateway", format!("{} {}", shown(endpoint.gateway_ipv4), shown(endpoint.gateway_ipv6)).trim().into()),
            ("ingress", enforcement(endpoint.ingress)),
            ("egress", enforcement(endpoint.egress)),
            ("named ports", ports.collect::<Vec<_>>().join(" ").into()),
            ("service account", Cell::maybe(endpoint.service_account.as_deref())),
            ("interface", format!("{} ({}), MTU {}", endpoint.interface, endpoint.mac, endpoint.mtu).into()),
            (
                "host side",
                format!("{} (index {}, {})", endpoint.host_interface, endpoint.host_ifindex, endpoint.gateway_mac)
                    .into(),
            ),
            ("netns", endpoint.netns.display().to_string().into()),
            ("container id", endpoint.container_id.as_str().into()),
            ("created", endpoint.created.to_string().into()),
        ],
    )
}

fn shown<T: ToString>(value: Option<T>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}

#[cfg(test)]
mod tests;
