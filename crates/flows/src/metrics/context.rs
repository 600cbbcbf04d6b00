//! Who a series is about: the context options that every plugin takes, and the labels they add.

use std::fmt::Write as _;

use nexin_hubble::flow::{Endpoint, TrafficDirection};

use super::config::ContextOption;
use super::names;
use crate::view::{Address, View};

/// One way to name an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Identifier {
    Identity,
    Namespace,
    Pod,
    PodName,
    Dns,
    Ip,
    ReservedIdentity,
    Workload,
    WorkloadName,
    App,
}

impl Identifier {
    const ALL: [(&'static str, Self); 10] = [
        ("identity", Self::Identity),
        ("namespace", Self::Namespace),
        ("pod", Self::Pod),
        ("pod-name", Self::PodName),
        ("dns", Self::Dns),
        ("ip", Self::Ip),
        ("reserved-identity", Self::ReservedIdentity),
        ("workload", Self::Workload),
        ("workload-name", Self::WorkloadName),
        ("app", Self::App),
    ];

    fn parse(text: &str) -> Result<Self, ContextError> {
        let known = Self::ALL.iter().find(|(name, _)| name.eq_ignore_ascii_case(text));
        known.map(|(_, identifier)| *identifier).ok_or_else(|| ContextError::Identifier(text.to_owned()))
    }

    /// As the status line has it, which for pod names is a number.
    fn status(self) -> &'static str {
        match self {
            Self::PodName => "4",
            _ => Self::ALL.iter().find(|(_, one)| *one == self).map_or("", |(name, _)| name),
        }
    }
}

/// What `labelsContext` may name, in the order in which the status prints them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ContextLabel {
    Ip(Side),
    Pod(Side),
    Namespace(Side),
    Workload(Side),
    WorkloadKind(Side),
    App(Side),
    TrafficDirection,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Source,
    Destination,
}

impl Side {
    fn other(self) -> Self {
        match self {
            Self::Source => Self::Destination,
            Self::Destination => Self::Source,
        }
    }

    fn endpoint<V: View>(self, flow: &V) -> Option<&Endpoint> {
        match self {
            Self::Source => flow.source(),
            Self::Destination => flow.destination(),
        }
    }

    fn names<V: View>(self, flow: &V) -> &[String] {
        match self {
            Self::Source => flow.source_names(),
            Self::Destination => flow.destination_names(),
        }
    }

    fn address<V: View>(self, flow: &V) -> Option<Address<'_>> {
        let ip = flow.ip()?;
        Some(match self {
            Self::Source => ip.source,
            Self::Destination => ip.destination,
        })
    }
}

impl ContextLabel {
    pub(crate) const ALL: [(&'static str, Self); 13] = [
        ("source_ip", Self::Ip(Side::Source)),
        ("source_pod", Self::Pod(Side::Source)),
        ("source_namespace", Self::Namespace(Side::Source)),
        ("source_workload", Self::Workload(Side::Source)),
        ("source_workload_kind", Self::WorkloadKind(Side::Source)),
        ("source_app", Self::App(Side::Source)),
        ("destination_ip", Self::Ip(Side::Destination)),
        ("destination_pod", Self::Pod(Side::Destination)),
        ("destination_namespace", Self::Namespace(Side::Destination)),
        ("destination_workload", Self::Workload(Side::Destination)),
        ("destination_workload_kind", Self::WorkloadKind(Side::Destination)),
        ("destination_app", Self::App(Side::Destination)),
        ("traffic_direction", Self::TrafficDirection),
    ];

    fn write<V: View>(self, flow: &V, swapped: bool, value: &mut String) {
        let turned = |side: Side| if swapped { side.other() } else { side };
        let endpoint = |side: Side| turned(side).endpoint(flow);
        match self {
            Self::Ip(side) => address(turned(side).address(flow), value),
            Self::Pod(side) => value.push_str(endpoint(side).map_or("", |endpoint| &endpoint.pod_name)),
            Self::Namespace(side) => value.push_str(endpoint(side).map_or("", |endpoint| &endpoint.namespace)),
            Self::Workload(side) => value.push_str(workload(endpoint(side)).0),
            Self::WorkloadKind(side) => value.push_str(workload(endpoint(side)).1),
            Self::App(side) => value.push_str(app(endpoint(side))),
            Self::TrafficDirection => {
                const UNKNOWN: i32 = TrafficDirection::Unknown as i32;
                match flow.traffic_direction() {
                    UNKNOWN => value.push_str("unknown"),
                    number => super::labels::lower(names::direction(number), number, value),
                }
            }
        }
    }
}

/// The context options of one metric.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Context {
    source: Vec<Identifier>,
    source_egress: Vec<Identifier>,
    source_ingress: Vec<Identifier>,
    destination: Vec<Identifier>,
    destination_egress: Vec<Identifier>,
    destination_ingress: Vec<Identifier>,
    labels: Vec<ContextLabel>,
}

/// A context option that means nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ContextError {
    #[error("unknown context '{0}'")]
    Identifier(String),
    #[error("invalid labelsContext value: {0}")]
    InvalidLabel(String),
}

/// One label that context options add.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Added {
    Label(ContextLabel),
    Side(Side),
}

impl Added {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Label(label) => ContextLabel::ALL.iter().find(|(_, one)| *one == label).map_or("", |(name, _)| name),
            Self::Side(Side::Source) => "source",
            Self::Side(Side::Destination) => "destination",
        }
    }
}

impl Context {
    /// Options of a plugin's own are passed over. Where an option stands twice, the last counts.
    pub(crate) fn parse(options: &[ContextOption]) -> Result<Self, ContextError> {
        let mut context = Self::default();
        for option in options {
            let list = match option.name.to_lowercase().as_str() {
                "destinationcontext" => &mut context.destination,
                "destinationegresscontext" => &mut context.destination_egress,
                "destinationingresscontext" => &mut context.destination_ingress,
                "sourcecontext" => &mut context.source,
                "sourceegresscontext" => &mut context.source_egress,
                "sourceingresscontext" => &mut context.source_ingress,
                "labelscontext" => {
                    context.labels = labels(&option.values)?;
                    continue;
                }
                _ => continue,
            };
            *list = option.values.iter().map(|value| Identifier::parse(value)).collect::<Result<_, _>>()?;
        }
        Ok(context)
    }

    /// The labels in the order in which they are declared (exposition sorts them by name).
    pub(crate) fn added(&self) -> Vec<Added> {
        let mut added: Vec<Added> = self.labels.iter().map(|label| Added::Label(*label)).collect();
        for side in [Side::Source, Side::Destination] {
            let (any, egress, ingress) = self.lists(side);
            if ![any, egress, ingress].iter().all(|list| list.is_empty()) {
                added.push(Added::Side(side));
            }
        }
        added
    }

    /// Appends the value of a label. `swapped` is for metrics made from answers, whose source is the server.
    pub(crate) fn write<V: View>(&self, added: Added, flow: &V, swapped: bool, value: &mut String) {
        match added {
            Added::Label(label) => label.write(flow, swapped, value),
            Added::Side(side) => self.side(if swapped { side.other() } else { side }, flow, value),
        }
    }

    /// The first identifier that says something wins.
    fn side<V: View>(&self, side: Side, flow: &V, value: &mut String) {
        let (any, egress, ingress) = self.lists(side);
        let list = match TrafficDirection::try_from(flow.traffic_direction()) {
            Ok(TrafficDirection::Ingress) if !ingress.is_empty() => ingress,
            Ok(TrafficDirection::Egress) if !egress.is_empty() => egress,
            _ => any,
        };
        let start = value.len();
        for identifier in list {
            identify(*identifier, side, flow, value);
            if value.len() > start {
                return;
            }
        }
    }

    fn lists(&self, side: Side) -> (&[Identifier], &[Identifier], &[Identifier]) {
        match side {
            Side::Source => (&self.source, &self.source_egress, &self.source_ingress),
            Side::Destination => (&self.destination, &self.destination_egress, &self.destination_ingress),
        }
    }

    /// Whether the side's label may hold `namespace/pod`.
    pub(crate) fn names_pods(&self, side: Side) -> bool {
        let (any, egress, ingress) = self.lists(side);
        [any, egress, ingress].iter().any(|list| list.contains(&Identifier::Pod))
    }

    /// The configuration in one line, as people read it in logs.
    pub(crate) fn status(&self) -> String {
        let list = |identifiers: &[Identifier]| {
            identifiers.iter().map(|identifier| identifier.status()).collect::<Vec<_>>().join("|")
        };
        let mut status = Vec::new();
        if !self.destination.is_empty() {
            status.push(format!("destination={}", list(&self.destination)));
        }
        if !self.labels.is_empty() {
            let names: Vec<&str> = self.labels.iter().map(|label| Added::Label(*label).name()).collect();
            status.push(format!("labels={}", names.join(",")));
        }
        if !self.source.is_empty() {
            status.push(format!("source={}", list(&self.source)));
        }
        status.join(",")
    }
}

fn labels(values: &[String]) -> Result<Vec<ContextLabel>, ContextError> {
    let known = |value: &str| ContextLabel::ALL.iter().any(|(name, _)| *name == value);
    if let Some(value) = values.iter().find(|value| !known(value)) {
        return Err(ContextError::InvalidLabel(value.clone()));
    }
    let wanted = ContextLabel::ALL.iter().filter(|(name, _)| values.iter().any(|value| value == name));
    Ok(wanted.map(|(_, label)| *label).collect())
}

fn identify<V: View>(identifier: Identifier, side: Side, flow: &V, value: &mut String) {
    let endpoint = side.endpoint(flow);
    let namespace = endpoint.map_or("", |endpoint| endpoint.namespace.as_str());
    let pod = endpoint.map_or("", |endpoint| endpoint.pod_name.as_str());
    match identifier {
        Identifier::Identity => join(endpoint.map_or(&[], |endpoint| endpoint.labels.as_slice()), value),
        Identifier::Namespace => value.push_str(namespace),
        Identifier::Pod => {
            // A namespace without a pod still says something: it ends the list of fallbacks.
            if !namespace.is_empty() {
                value.push_str(namespace);
                value.push('/');
            }
            value.push_str(pod);
        }
        Identifier::PodName => value.push_str(pod),
        Identifier::Dns => join(side.names(flow), value),
        Identifier::Ip => address(side.address(flow), value),
        Identifier::ReservedIdentity => value.push_str(reserved(endpoint)),
        Identifier::Workload => {
            let name = workload(endpoint).0;
            if !name.is_empty() && !namespace.is_empty() {
                value.push_str(namespace);
                value.push('/');
            }
            value.push_str(name);
        }
        Identifier::WorkloadName => value.push_str(workload(endpoint).0),
        Identifier::App => value.push_str(app(endpoint)),
    }
}

fn join(parts: &[String], value: &mut String) {
    for (index, part) in parts.iter().enumerate() {
        if index > 0 {
            value.push(',');
        }
        value.push_str(part);
    }
}

fn address(address: Option<Address<'_>>, value: &mut String) {
    if let Some(address) = address {
        // Writing to a string does not fail.
        let _ = write!(value, "{address}");
    }
}

/// Name and kind of the first workload.
fn workload(endpoint: Option<&Endpoint>) -> (&str, &str) {
    let first = endpoint.and_then(|endpoint| endpoint.workloads.first());
    first.map_or(("", ""), |workload| (workload.name.as_str(), workload.kind.as_str()))
}

/// The API server's label before any other reserved one.
fn reserved(endpoint: Option<&Endpoint>) -> &str {
    const API_SERVER: &str = "reserved:kube-apiserver";
    let labels = endpoint.map_or(&[][..], |endpoint| endpoint.labels.as_slice());
    let api_server = labels.iter().find(|label| *label == API_SERVER);
    api_server.or_else(|| labels.iter().find(|label| label.starts_with("reserved:"))).map_or("", String::as_str)
}

/// The value of the first label that people use for the name of an application.
fn app(endpoint: Option<&Endpoint>) -> &str {
    const KEYS: [&str; 3] = ["k8s:app.kubernetes.io/name=", "k8s:k8s-app=", "k8s:app="];
    let labels = endpoint.map_or(&[][..], |endpoint| endpoint.labels.as_slice());
    let values = labels.iter().filter_map(|label| KEYS.iter().find_map(|key| label.strip_prefix(key)));
    values.into_iter().find(|value| !value.is_empty()).unwrap_or_default()
}
