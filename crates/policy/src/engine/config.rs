//! Settings that change what policies mean. The same for the whole cluster.

use std::sync::Arc;

use nexin_model::LabelFilter;

use super::peer::CidrMatchMode;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    pub enforcement: Enforcement,
    pub cidr_match: CidrMatchMode,
    pub allow_localhost: AllowLocalhost,
    pub cluster_name: Arc<str>,
    pub label_filter: LabelFilter,
    /// Rules with a node selector are enforced on the node itself.
    pub host_firewall: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            enforcement: Enforcement::default(),
            cidr_match: CidrMatchMode::default(),
            allow_localhost: AllowLocalhost::default(),
            cluster_name: "default".into(),
            label_filter: LabelFilter::default(),
            host_firewall: false,
        }
    }
}

/// `enable-policy`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Enforcement {
    /// A direction is enforced where a rule selects the endpoint.
    #[default]
    Default,
    /// Every direction of every endpoint is isolated.
    Always,
    Never,
}

/// `allow-localhost`: may the local host reach isolated workloads without a rule (health probes)?
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum AllowLocalhost {
    #[default]
    Always,
    /// Only as rules say.
    Policy,
}
