//! Every setting of the relay. Keys are named after those of Hubble's relay where they mean the same.

use nexin_http::{ListenAddress, Target};
use nexin_runtime::logging::LogSettings;
use nexin_runtime::section;
use nexin_runtime::settings::{
    Choice, Field, HumanDuration, Loaded, PathText, Section, SettingsError, Sources, reference_table,
};

section! {
    /// The relay.
    pub struct RelaySettings in "relay" {
        /// Name of the cluster: part of the name that the peer service's certificate carries.
        cluster_name: String = "default".to_owned(),
        /// Whom to ask for nodes: `unix:/path` or `host:port`. Of several, the answers are added up.
        peer_service: Vec<Target> = vec![Target::Unix("/run/nexin/hubble.sock".into())],
        /// TCP address of the Hubble API, or `off`.
        listen_address: Choice<ListenAddress> = Choice::Value(ListenAddress::every(4245)),
        /// Unix socket of the Hubble API, mode 0660, or `off`.
        socket: Choice<PathText> = Choice::Off,
        /// TCP address of the gRPC health service, or `off`.
        health_listen_address: Choice<ListenAddress> = Choice::Value(ListenAddress::every(4222)),
        /// TCP address of `GET /metrics`, or `off`.
        metrics_listen_address: Choice<ListenAddress> = Choice::Value(ListenAddress::every(9966)),
        /// How long connecting to a node or peer service may take.
        dial_timeout: HumanDuration = HumanDuration::seconds(5),
        /// Longest wait before a lost node or peer service is called again. The first waits are shorter.
        retry_timeout: HumanDuration = HumanDuration::seconds(30),
        /// Flows that a request holds back to put them in order.
        sort_buffer_len_max: u32 = 100,
        /// How long a flow waits for nodes that say nothing.
        sort_buffer_drain_timeout: HumanDuration = HumanDuration::seconds(1),
        /// Authorities (PEM) that signed the certificates of nodes; none given: nodes must speak plaintext.
        tls_hubble_server_ca_files: Vec<String> = Vec::new(),
        /// Certificate (PEM) shown to nodes that ask for one, or `off`.
        tls_hubble_client_cert_file: Choice<PathText> = Choice::Off,
        /// Its private key (PEM), or `off`.
        tls_hubble_client_key_file: Choice<PathText> = Choice::Off,
        /// Plaintext to every node, even to those that announce TLS.
        disable_client_tls: bool = false,
        /// Certificate (PEM) of the relay itself, or `off` for plaintext.
        tls_relay_server_cert_file: Choice<PathText> = Choice::Off,
        /// Its private key (PEM), or `off`.
        tls_relay_server_key_file: Choice<PathText> = Choice::Off,
        /// Authorities (PEM) that signed the certificates of the relay's clients; given, a client must show one.
        tls_relay_client_ca_files: Vec<String> = Vec::new(),
        /// Plaintext to clients, even where a certificate is given.
        disable_server_tls: bool = false,
    }
}

/// All of them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settings {
    pub relay: RelaySettings,
    pub log: LogSettings,
}

impl Settings {
    /// Every key, section by section.
    pub fn fields() -> Vec<Field> {
        [RelaySettings::fields(), LogSettings::fields()].concat()
    }

    /// File, then environment, then flags.
    pub fn load(sources: &Sources) -> Result<Loaded<Self>, SettingsError> {
        sources.load(&Self::fields(), |values| {
            let settings = Self { relay: RelaySettings::take(values)?, log: LogSettings::take(values)? };
            settings.agree()?;
            Ok(settings)
        })
    }

    /// What one key cannot tell.
    fn agree(&self) -> Result<(), SettingsError> {
        let relay = &self.relay;
        let pairs = [
            ("tls_hubble_client", &relay.tls_hubble_client_cert_file, &relay.tls_hubble_client_key_file),
            ("tls_relay_server", &relay.tls_relay_server_cert_file, &relay.tls_relay_server_key_file),
        ];
        let is_path = |choice: &Choice<PathText>| matches!(choice, Choice::Value(_));
        let half = pairs.iter().find(|(_, certificate, key)| is_path(certificate) != is_path(key));
        let reason = if let Some((name, _, _)) = half {
            format!("relay.{name}_cert_file and relay.{name}_key_file go together: set both or none")
        } else if is_path(&relay.tls_hubble_client_cert_file) && relay.tls_hubble_server_ca_files.is_empty() {
            "relay.tls_hubble_client_cert_file is never shown without relay.tls_hubble_server_ca_files".to_owned()
        } else if !relay.tls_relay_client_ca_files.is_empty() && !is_path(&relay.tls_relay_server_cert_file) {
            "relay.tls_relay_client_ca_files needs relay.tls_relay_server_cert_file: plaintext clients show no certificate"
                .to_owned()
        } else if relay.peer_service.is_empty() {
            "relay.peer_service names nobody; without one there are no nodes".to_owned()
        } else if relay.sort_buffer_len_max == 0 {
            "relay.sort_buffer_len_max must be at least 1".to_owned()
        } else if matches!((&relay.listen_address, &relay.socket), (Choice::Off, Choice::Off | Choice::Auto)) {
            "relay.listen_address and relay.socket are both off; nobody could ask".to_owned()
        } else {
            return Ok(());
        };
        Err(SettingsError::Contradiction { reason })
    }

    /// The reference page, docs/settings-relay.md.
    pub fn reference() -> String {
        let intro = "# Settings of the relay\n\nGenerated from the declarations in `crates/relay/src/settings.rs` by their own test; do not edit.\n\n\
            A TOML file (`--config`) with a table a section, over it the environment, over it flags. Unknown keys are errors. \
            `off` switches a part off. Time spans are written `500ms`, `30s`, `5m`, `2h`. In the environment and in flags, lists \
            are separated by commas. `nexin relay` also takes the flags of Hubble's relay by their own names (`--peer-service`, \
            `--listen-address`, ...).\n";
        format!("{intro}{}", reference_table(&Self::fields()))
    }
}

#[cfg(test)]
mod tests {
    use nexin_runtime::settings::Environment;

    use super::*;

    fn load(flags: &[(&str, &str)]) -> Result<Settings, SettingsError> {
        let flags = flags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Settings::load(&Sources { file: None, environment: Environment::default(), flags })
            .map(|loaded| loaded.settings)
    }

    #[test]
    fn values_are_typed() {
        assert_eq!(load(&[]).unwrap(), Settings::default());
        let settings = load(&[
            ("relay.peer_service", "unix:/a.sock,10.0.0.1:4244"),
            ("relay.listen_address", "off"),
            ("relay.socket", "/r.sock"),
        ])
        .unwrap();
        let targets: Vec<String> = settings.relay.peer_service.iter().map(ToString::to_string).collect();
        assert_eq!(targets, ["unix:/a.sock", "10.0.0.1:4244"]);
        assert_eq!(settings.relay.socket, Choice::Value(PathText("/r.sock".into())));
        assert!(load(&[("relay.listen_address", "4245")]).unwrap_err().to_string().contains("no port"));
    }

    #[test]
    fn contradictions_are_found() {
        for (flags, word) in [
            (&[("relay.tls_relay_server_cert_file", "/c")][..], "tls_relay_server_key_file"),
            (&[("relay.tls_relay_client_ca_files", "/c")], "plaintext"),
            (&[("relay.peer_service", "")], "peer_service"),
            (&[("relay.listen_address", "off")], "nobody"),
            (&[("relay.sort_buffer_len_max", "0")], "at least 1"),
        ] {
            let told = load(flags).unwrap_err().to_string();
            assert!(told.contains(word), "{flags:?}: {told}");
        }
    }

    /// NEXIN_BLESS=1 writes the page instead.
    #[test]
    fn the_reference_page_is_current() {
        let page = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/settings-relay.md");
        if Environment::of_process().0.iter().any(|(key, _)| key == "NEXIN_BLESS") {
            std::fs::write(&page, Settings::reference()).unwrap();
        }
        let written = std::fs::read_to_string(&page).unwrap();
        assert!(written == Settings::reference(), "docs/settings-relay.md is old: run this test with NEXIN_BLESS=1");
    }
}
