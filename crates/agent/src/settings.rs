//! Every setting of the agent. Nothing outside the paths named here is written, so two agents with other paths (and other
//! network namespaces) do not meet.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use nexin_runtime::logging::LogSettings;
use nexin_runtime::section;
use nexin_runtime::settings::{
    Choice, Field, HumanDuration, Loaded, PathText, Section, SettingsError, Sources, reference_table,
};
use serde::{Deserialize, Serialize};

mod cilium;
mod hubble;

pub(crate) use cilium::CILIUM_KEYS;
pub(crate) use hubble::{AggregationLevel, EventSettings, HubbleSettings, OtlpProtocol};

/// When policy is enforced on an endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EnforcementMode {
    /// In the directions in which a policy isolates it.
    #[default]
    Default,
    /// Always: what no rule allows is refused.
    Always,
    Never,
}

/// How programs are attached to links.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AttachMode {
    /// tcx where the kernel has it, else clsact.
    #[default]
    Auto,
    Tcx,
    Clsact,
}

/// What a CIDR rule of Cilium's kinds matches beyond the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CidrMatch {
    Nodes,
    Pods,
}

section! {
    /// The agent itself.
    pub struct AgentSettings in "agent" {
        /// Name of this node; `auto` is the host name.
        node_name: Choice<String> = Choice::Auto,
        /// Name of the cluster, part of every workload's labels.
        cluster_name: String = "default".to_owned(),
        /// Run-time files: lock, queue of deletions. Emptied at boot.
        run_dir: PathBuf = PathBuf::from("/run/nexin"),
        /// Endpoints, identities and policies. Must survive a reboot.
        state_dir: PathBuf = PathBuf::from("/var/lib/nexin"),
        /// How often the kernel is read back, compared with what should be, and repaired.
        check_interval: HumanDuration = HumanDuration::seconds(30),
        /// How long a shutdown waits for requests that are under way.
        shutdown_patience: HumanDuration = HumanDuration::seconds(5),
        /// Give up, at start, every capability that the agent has no use for.
        drop_capabilities: bool = true,
    }
}

section! {
    /// The control socket.
    pub struct ApiSettings in "api" {
        /// Unix socket of the REST API, mode 0660.
        socket: PathBuf = PathBuf::from(nexin_api::DEFAULT_SOCKET),
    }
}

section! {
    /// Metrics.
    pub struct MetricsSettings in "metrics" {
        /// TCP address of `GET /metrics`, or `off`. They are on the control socket too, at `/v1/metrics`.
        listen: Choice<SocketAddr> = Choice::Value(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 9962))),
        /// Stands before the names of metrics that Cilium does not have. Those it has are called as it calls them (`cilium_...`), so that its dashboards show data.
        prefix: String = "nexin".to_owned(),
    }
}

section! {
    /// The kernel side.
    pub struct DatapathSettings in "datapath" {
        /// Directory of pinned maps and links, on a bpf file system (mounted here when there is none).
        bpffs: PathBuf = PathBuf::from("/sys/fs/bpf/nexin"),
        /// `auto`, `tcx` or `clsact`.
        attach: AttachMode = AttachMode::Auto,
        /// How often dead connections are collected.
        gc_interval: HumanDuration = HumanDuration::seconds(10),
        /// Entries of the IPv4 connection table.
        ct4_entries: Choice<u32> = Choice::Auto,
        /// Entries of the IPv6 connection table.
        ct6_entries: Choice<u32> = Choice::Auto,
        /// Entries of the table of identities by policy.
        class_entries: Choice<u32> = Choice::Auto,
        /// Entries of the IPv4 table of masqueraded flows.
        nat4_entries: Choice<u32> = Choice::Auto,
        /// Entries of the IPv6 table of masqueraded flows.
        nat6_entries: Choice<u32> = Choice::Auto,
        /// Entries of the table of verdicts.
        verdict_entries: Choice<u32> = Choice::Auto,
        /// How long an idle TCP connection is remembered.
        tcp_established: HumanDuration = HumanDuration::seconds(8_000),
        /// How long a TCP connection may take to become established.
        tcp_syn: HumanDuration = HumanDuration::seconds(60),
        /// How long a TCP connection lives after a FIN.
        tcp_fin: HumanDuration = HumanDuration::seconds(10),
        /// How long other idle flows are remembered.
        other: HumanDuration = HumanDuration::seconds(60),
        /// TCP connections that one workload may have half open; 0 = any number.
        half_open_limit: u32 = 8_192,
        /// A workload's packets must carry the MAC address it was given.
        check_mac: bool = false,
        /// UDP ports of tunnels, closed to workloads (at most two).
        tunnel_ports: Vec<u16> = vec![8_472, 6_081],
        /// First source port that masqueraded flows get; they end at 65535.
        nat_first_port: u16 = 61_000,
    }
}

section! {
    /// The node's network.
    pub struct NetworkSettings in "network" {
        /// Devices that lead to the network; none given: those that have a default route.
        devices: Vec<String> = Vec::new(),
        /// Replace the source of what leaves the node by the device's address.
        masquerade: bool = true,
        /// Destinations that see the workload's own address. The node's pools are always among them.
        masquerade_exclude: Vec<IpNet> = Vec::new(),
        /// Of workload links, bytes; `auto` is the smallest of the devices'.
        mtu: Choice<u16> = Choice::Auto,
        /// Switch forwarding on for the families of the pools.
        forwarding: bool = true,
    }
}

section! {
    /// Addresses of workloads.
    pub struct IpamSettings in "ipam" {
        /// IPv4 addresses of this node's workloads, or `off`. The first one is the gateway.
        ipv4_pool: Choice<Ipv4Net> = Choice::Value(Ipv4Net::new_assert(Ipv4Addr::new(10, 78, 0, 0), 16)),
        /// IPv6 addresses of this node's workloads, or `off`. The first one is the gateway.
        ipv6_pool: Choice<Ipv6Net> = Choice::Value(Ipv6Net::new_assert(std::net::Ipv6Addr::new(0xfd00, 0x6e65, 0x7869, 0, 0, 0, 0, 0), 112)),
    }
}

section! {
    /// Policy.
    pub struct PolicySettings in "policy" {
        /// Directory of `*.yaml` and `*.json` documents that is watched and applied, or `off`.
        directory: Choice<PathText> = Choice::Off,
        /// How often the directory is looked at.
        directory_interval: HumanDuration = HumanDuration::millis(500),
        /// `default`, `always` or `never`.
        enforcement: EnforcementMode = EnforcementMode::Default,
        /// Report what policy would refuse, and let it through.
        audit: bool = false,
        /// What CIDR rules of Cilium's kinds match beyond what is outside the cluster: `nodes`, `pods`.
        cidr_match: Vec<CidrMatch> = Vec::new(),
        /// Prefixes of label keys that are not part of identities; none given: those that differ between replicas.
        excluded_labels: Vec<String> = Vec::new(),
        /// The node itself may always reach its workloads (probes).
        allow_host: bool = true,
    }
}

/// All of them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settings {
    pub agent: AgentSettings,
    pub api: ApiSettings,
    pub log: LogSettings,
    pub metrics: MetricsSettings,
    pub datapath: DatapathSettings,
    pub network: NetworkSettings,
    pub ipam: IpamSettings,
    pub policy: PolicySettings,
    pub events: EventSettings,
    pub hubble: HubbleSettings,
}

impl Settings {
    /// Every key, section by section.
    pub fn fields() -> Vec<Field> {
        [
            AgentSettings::fields(),
            ApiSettings::fields(),
            LogSettings::fields(),
            MetricsSettings::fields(),
            DatapathSettings::fields(),
            NetworkSettings::fields(),
            IpamSettings::fields(),
            PolicySettings::fields(),
            EventSettings::fields(),
            HubbleSettings::fields(),
        ]
        .concat()
    }

    /// File, then environment, then flags.
    pub fn load(sources: &Sources) -> Result<Loaded<Self>, SettingsError> {
        sources.load_aliased(&Self::fields(), CILIUM_KEYS, |values| {
            let settings = Self {
                agent: AgentSettings::take(values)?,
                api: ApiSettings::take(values)?,
                log: LogSettings::take(values)?,
                metrics: MetricsSettings::take(values)?,
                datapath: DatapathSettings::take(values)?,
                network: NetworkSettings::take(values)?,
                ipam: IpamSettings::take(values)?,
                policy: PolicySettings::take(values)?,
                events: EventSettings::take(values)?,
                hubble: HubbleSettings::take(values)?,
            };
            settings.agree()?;
            Ok(settings)
        })
    }

    /// What one key cannot tell.
    fn agree(&self) -> Result<(), SettingsError> {
        let contradiction = |reason: &str| Err(SettingsError::Contradiction { reason: reason.to_owned() });
        if !matches!(self.ipam.ipv4_pool, Choice::Value(_)) && !matches!(self.ipam.ipv6_pool, Choice::Value(_)) {
            return contradiction("ipam.ipv4_pool and ipam.ipv6_pool are both off; workloads need an address");
        }
        if matches!(&self.ipam.ipv4_pool, Choice::Value(pool) if pool.prefix_len() > 30) {
            return contradiction(
                "ipam.ipv4_pool needs room for the gateway and a workload: a prefix of at most 30 bits",
            );
        }
        if matches!(&self.ipam.ipv6_pool, Choice::Value(pool) if pool.prefix_len() > 126) {
            return contradiction(
                "ipam.ipv6_pool needs room for the gateway and a workload: a prefix of at most 126 bits",
            );
        }
        if self.datapath.tunnel_ports.len() > 2 {
            return contradiction("datapath.tunnel_ports takes at most two ports");
        }
        if self.agent.run_dir == self.agent.state_dir {
            return contradiction(
                "agent.run_dir and agent.state_dir must differ: one is emptied at boot, one must survive it",
            );
        }
        self.hubble.agree()
    }

    /// The reference page, docs/settings.md.
    pub fn reference() -> String {
        let intro = "# Settings of the agent\n\nGenerated from the declarations in `crates/agent/src/settings.rs` by their own test; do not edit.\n\n\
            A TOML file (`--config`) with a table a section, over it the environment, over it flags. Unknown keys are errors. \
            `auto` leaves a value to the agent, `off` switches a part off. Time spans are written `500ms`, `30s`, `5m`, `2h`. \
            In the environment and in flags, lists are separated by commas. Keys of Cilium's ConfigMap that mean the same are taken at the top of the file, with the values they have there; they are listed at the end.\n";
        let rows = CILIUM_KEYS.iter().map(|alias| format!("| `{}` | `{}` |\n", alias.name, alias.key));
        let keys = format!("\n## Keys of Cilium\n\n| key | setting |\n|---|---|\n{}", rows.collect::<String>());
        format!("{intro}{}{keys}", reference_table(&Self::fields()))
    }
}

#[cfg(test)]
mod tests {
    use nexin_runtime::settings::Environment;

    use super::*;

    fn load(flags: &[(&str, &str)]) -> Result<Settings, SettingsError> {
        let flags = flags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let sources = Sources { file: None, environment: Environment::default(), flags };
        Settings::load(&sources).map(|loaded| loaded.settings)
    }

    #[test]
    fn defaults_load_and_differ_from_nothing() {
        assert_eq!(load(&[]).unwrap(), Settings::default());
    }

    #[test]
    fn values_are_typed() {
        let settings = load(&[
            ("ipam.ipv6_pool", "off"),
            ("ipam.ipv4_pool", "10.1.0.0/24"),
            ("policy.enforcement", "always"),
            ("policy.cidr_match", "nodes,pods"),
            ("network.masquerade_exclude", "10.0.0.0/8"),
            ("metrics.listen", "off"),
        ])
        .unwrap();
        assert_eq!(settings.ipam.ipv6_pool, Choice::Off);
        assert_eq!(settings.policy.enforcement, EnforcementMode::Always);
        assert_eq!(settings.policy.cidr_match, [CidrMatch::Nodes, CidrMatch::Pods]);
        assert_eq!(settings.network.masquerade_exclude, ["10.0.0.0/8".parse().unwrap()]);
        assert!(load(&[("policy.enforcement", "sometimes")]).unwrap_err().to_string().contains("always"));
    }

    #[test]
    fn contradictions_are_found() {
        let both = load(&[("ipam.ipv4_pool", "off"), ("ipam.ipv6_pool", "off")]);
        assert!(matches!(both, Err(SettingsError::Contradiction { .. })));
        assert!(matches!(load(&[("ipam.ipv4_pool", "10.0.0.0/31")]), Err(SettingsError::Contradiction { .. })));
    }

    /// NEXIN_BLESS=1 writes the page instead.
    #[test]
    fn the_reference_page_is_current() {
        let page = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/settings.md");
        let bless = Environment::of_process().0.iter().any(|(key, _)| key == "NEXIN_BLESS");
        if bless {
            std::fs::create_dir_all(page.parent().unwrap()).unwrap();
            std::fs::write(&page, Settings::reference()).unwrap();
        }
        let written = std::fs::read_to_string(&page).unwrap();
        assert!(written == Settings::reference(), "docs/settings.md is old: run this test with NEXIN_BLESS=1");
    }
}
