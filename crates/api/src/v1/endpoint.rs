//! Endpoints: the workloads of this node.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{Labels, Protocol, Timestamp};

/// A port with a name that policies may use instead of the number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NamedPort {
    pub name: String,
    pub port: u16,
    #[serde(default = "tcp")]
    #[schema(value_type = String)]
    pub protocol: Protocol,
}

const fn tcp() -> Protocol {
    Protocol::Tcp
}

fn default_namespace() -> String {
    "default".to_owned()
}

/// `POST /v1/endpoints`: wires a network namespace up and gives it addresses, an identity and policy.
///
/// Idempotent by `(container_id, interface)`: asked again, the agent answers with the endpoint it has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EndpointCreate {
    /// What the container runtime calls it; without one, the name is taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container_id: Option<String>,
    /// Name of the workload (pod).
    pub name: String,
    #[serde(default = "default_namespace")]
    pub namespace: String,
    /// Path of the network namespace as the agent sees it, such as `/run/netns/web` or `/proc/4711/ns/net`.
    #[schema(value_type = String)]
    pub netns: PathBuf,
    /// Name of the interface inside, `eth0` when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// Left out: not known yet, the endpoint is `reserved:init` until `PUT /v1/endpoints/{id}/labels`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<Labels>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub named_ports: Vec<NamedPort>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_account: Option<String>,
    /// An address of the node's pool to give it; any free one when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub ipv4: Option<Ipv4Addr>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub ipv6: Option<Ipv6Addr>,
    /// MAC of the interface inside, `aa:bb:cc:dd:ee:ff`; derived when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
    /// CNI network that asked. Collections of garbage touch only endpoints of their own network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
    /// Only when this is set may the workload send with source addresses that are not its own.
    #[serde(default)]
    pub no_source_check: bool,
}

/// `PUT /v1/endpoints/{id}/labels`: replaces the workload's labels (and what is given beside them).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LabelsUpdate {
    pub labels: Labels,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub named_ports: Option<Vec<NamedPort>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_account: Option<String>,
}

/// Query of `DELETE /v1/endpoints`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Attachment {
    pub container_id: String,
    /// Interface inside; all of the container's when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
}

/// Answer of `DELETE /v1/endpoints`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RemovedReply {
    pub removed: u32,
}

/// `PUT /v1/namespaces/{name}`: labels of a namespace, for namespace selectors.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NamespaceUpdate {
    pub labels: Labels,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum EndpointState {
    /// Wired, and its policy is in force.
    Ready,
    /// Labels are not known: identity `reserved:init`.
    Init,
    /// Known from disk, not yet in the kernel.
    Restoring,
    /// The network namespace or the link is gone; the address is kept until the endpoint is deleted.
    Broken,
}

/// What stands between the endpoint and its peers in one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Enforcement {
    /// No policy isolates this direction.
    Open,
    Enforced,
    /// Judged and reported, let through.
    Audit,
}

/// An endpoint as the agent has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Endpoint {
    /// Number of the endpoint on this node, 1..4095.
    pub id: u16,
    pub container_id: String,
    pub name: String,
    pub namespace: String,
    #[schema(value_type = String)]
    pub netns: PathBuf,
    /// Interface inside the workload.
    pub interface: String,
    /// Host side of the veth pair.
    pub host_interface: String,
    pub host_ifindex: u32,
    /// MAC of the interface inside, `aa:bb:cc:dd:ee:ff`.
    pub mac: String,
    /// MAC of the host side, which the workload sees as its gateway's.
    pub gateway_mac: String,
    pub mtu: u16,
    #[schema(value_type = Option<String>)]
    pub ipv4: Option<Ipv4Addr>,
    #[schema(value_type = Option<String>)]
    pub ipv6: Option<Ipv6Addr>,
    #[schema(value_type = Option<String>)]
    pub gateway_ipv4: Option<Ipv4Addr>,
    #[schema(value_type = Option<String>)]
    pub gateway_ipv6: Option<Ipv6Addr>,
    pub identity: u32,
    /// Labels of the identity, each with its source.
    pub labels: Labels,
    pub named_ports: Vec<NamedPort>,
    pub service_account: Option<String>,
    /// CNI network that asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
    pub state: EndpointState,
    pub ingress: Enforcement,
    pub egress: Enforcement,
    pub created: Timestamp,
}
