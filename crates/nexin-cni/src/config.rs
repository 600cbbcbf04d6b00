//! The network configuration: what the administrator wrote and what the runtime put into it.
//!
//! Unknown keys are refused, since a mistyped `labels` would give workloads the wrong identity. Keys of the
//! specification that belong to others (`dns`, `capabilities`, `cni.dev/...`) are known and passed on or left alone.

use crate::{
    error::{Code, Error},
    invocation::is_identifier,
};
use ipnet::IpNet;
use serde::Deserialize;
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fmt,
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

/// Versions of the specification whose results this plugin can write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum SpecVersion {
    V0_3_1,
    V0_4_0,
    V1_0_0,
    V1_1_0,
}

impl SpecVersion {
    pub(crate) const ALL: [Self; 4] = [Self::V0_3_1, Self::V0_4_0, Self::V1_0_0, Self::V1_1_0];
    pub(crate) const NEWEST: Self = Self::V1_1_0;

    fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|version| version.to_string() == text)
    }
}

impl fmt::Display for SpecVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V0_3_1 => "0.3.1",
            Self::V0_4_0 => "0.4.0",
            Self::V1_0_0 => "1.0.0",
            Self::V1_1_0 => "1.1.0",
        })
    }
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Config {
    pub(crate) version: SpecVersion,
    /// Of the network.
    pub(crate) name: String,
    pub(crate) socket: PathBuf,
    /// Where deletions wait while no agent runs.
    pub(crate) queue: PathBuf,
    pub(crate) log: Option<PathBuf>,
    /// How long a missing agent is waited for: it may be restarting.
    pub(crate) wait: Duration,
    /// None: not known.
    pub(crate) labels: Option<BTreeMap<String, String>>,
    pub(crate) ips: Vec<IpAddr>,
    pub(crate) mac: Option<String>,
    pub(crate) dns: Option<Value>,
    pub(crate) previous: Option<Value>,
    /// Only in a GC.
    pub(crate) valid: Option<Vec<ValidAttachment>>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub(crate) struct ValidAttachment {
    #[serde(rename = "containerID")]
    pub(crate) container_id: String,
    pub(crate) ifname: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    name: String,
    socket: Option<PathBuf>,
    delete_queue: Option<PathBuf>,
    log: Option<PathBuf>,
    wait_seconds: Option<u16>,
    labels: Option<BTreeMap<String, String>>,
    dns: Option<Value>,
    ipam: Option<BTreeMap<String, Value>>,
    prev_result: Option<Value>,
    #[serde(default)]
    runtime_config: RuntimeConfig,
    #[serde(default)]
    args: AllArgs,
    #[serde(rename = "cni.dev/valid-attachments")]
    valid: Option<Vec<ValidAttachment>>,
    #[serde(flatten)]
    rest: BTreeMap<String, Value>,
}

/// What the runtime adds for the capabilities the administrator declared. Others' are left to them.
#[derive(Default, Deserialize)]
struct RuntimeConfig {
    #[serde(default)]
    ips: Vec<String>,
    mac: Option<String>,
}

#[derive(Default, Deserialize)]
struct AllArgs {
    #[serde(default)]
    cni: ConventionalArgs,
}

/// `args.cni` of the conventions document.
#[derive(Default, Deserialize)]
struct ConventionalArgs {
    #[serde(default)]
    ips: Vec<String>,
    labels: Option<Vec<KeyValue>>,
}

#[derive(Deserialize)]
struct KeyValue {
    key: String,
    value: String,
}

const DEFAULT_WAIT: Duration = Duration::from_secs(5);
const QUEUE: &str = "cni-deletes";
/// Keys of the specification that are the runtime's or other plugins' business.
const FOREIGN: &[&str] = &[
    "cniVersion",
    "cniVersions",
    "type",
    "capabilities",
    "ipMasq",
    "disableCheck",
    "disableGC",
    "loadOnlyInlinedPlugins",
];
const OWN: &[&str] =
    &["socket", "deleteQueue", "log", "waitSeconds", "labels", "name", "dns", "runtimeConfig", "args", "prevResult"];

/// The version a configuration is written in, if it can be read at all.
pub(crate) fn version_of(input: &[u8]) -> Option<String> {
    let value: Value = serde_json::from_slice(input).ok()?;
    let version = SpecVersion::parse(value.get("cniVersion")?.as_str()?)?;
    Some(version.to_string())
}

impl Config {
    pub(crate) fn parse(input: &[u8]) -> Result<Self, Error> {
        let value: Value = serde_json::from_slice(input)
            .map_err(|e| Error::new(Code::Decode, format!("the network configuration is not JSON: {e}")))?;
        let version = spec_version(&value)?;
        let raw: Raw = serde_json::from_value(value)
            .map_err(|e| Error::new(Code::InvalidConfig, format!("network configuration: {e}")))?;
        raw.refuse_what_is_not_ours()?;
        if !is_identifier(&raw.name) {
            return Err(Error::new(
                Code::InvalidConfig,
                format!("network name {:?} is not made of letters, digits, '_', '.' and '-'", raw.name),
            ));
        }
        let socket = raw.socket.unwrap_or_else(|| nexin_api::DEFAULT_SOCKET.into());
        let queue = raw.delete_queue.unwrap_or_else(|| socket.parent().unwrap_or(Path::new("/")).join(QUEUE));
        let conventional = raw.args.cni.labels.map(|labels| labels.into_iter().map(|label| (label.key, label.value)));
        let labels = match (raw.labels, conventional) {
            (None, None) => None,
            (configured, more) => Some(configured.into_iter().flatten().chain(more.into_iter().flatten()).collect()),
        };
        let ips = if raw.runtime_config.ips.is_empty() { raw.args.cni.ips } else { raw.runtime_config.ips };
        Ok(Self {
            version,
            name: raw.name,
            socket,
            queue,
            log: raw.log,
            wait: raw.wait_seconds.map_or(DEFAULT_WAIT, |seconds| Duration::from_secs(seconds.into())),
            labels,
            ips: ips.iter().map(|ip| address(ip)).collect::<Result<_, _>>()?,
            mac: raw.runtime_config.mac.filter(|mac| !mac.is_empty()),
            dns: raw.dns,
            previous: raw.prev_result.filter(|previous| !previous.is_null()),
            valid: raw.valid,
        })
    }
}

fn spec_version(config: &Value) -> Result<SpecVersion, Error> {
    let asked = config.get("cniVersion").and_then(Value::as_str).unwrap_or("0.1.0");
    SpecVersion::parse(asked).ok_or_else(|| {
        let known = SpecVersion::ALL.map(|version| version.to_string()).join(", ");
        Error::new(Code::IncompatibleVersion, format!("cniVersion {asked:?} is not supported"))
            .hint(format!("write one of {known} into the network configuration"))
    })
}

impl Raw {
    fn refuse_what_is_not_ours(&self) -> Result<(), Error> {
        if let Some(kind) = self.ipam.as_ref().and_then(|ipam| ipam.get("type")) {
            return Err(Error::new(Code::UnsupportedField, format!("unsupported field ipam with type {kind}"))
                .hint("remove `ipam`: the nexin agent gives out addresses from the node's pools"));
        }
        let foreign = |key: &str| FOREIGN.contains(&key) || key.starts_with("cni.dev/") || key == "ipam";
        match self.rest.iter().find(|(key, _)| !foreign(key)) {
            None => Ok(()),
            Some((key, value)) => {
                let error = Error::new(Code::UnsupportedField, format!("unsupported field {key} with value {value}"));
                Err(match nexin_runtime::settings::nearest(key, OWN.iter().copied()) {
                    Some(meant) => error.hint(format!("was {meant:?} meant?")),
                    None => error.hint(format!("nexin-cni knows {}", OWN.join(", "))),
                })
            }
        }
    }
}

/// With or without a prefix length, which is the pool's business.
pub(crate) fn address(text: &str) -> Result<IpAddr, Error> {
    let plain = text.parse::<IpAddr>().or_else(|_| text.parse::<IpNet>().map(|net| net.addr()));
    plain.map_err(|_| Error::new(Code::InvalidConfig, format!("{text:?} is not an IP address")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn parse(value: Value) -> Result<Config, Error> {
        Config::parse(value.to_string().as_bytes())
    }

    #[test]
    fn the_shortest_configuration_is_enough() {
        let config = parse(json!({"cniVersion": "1.1.0", "name": "nexin", "type": "nexin-cni"})).unwrap();
        assert_eq!(config.socket, PathBuf::from(nexin_api::DEFAULT_SOCKET));
        assert_eq!(config.queue, PathBuf::from("/run/nexin/cni-deletes"));
        assert_eq!((config.labels, config.previous, config.valid), (None, None, None));
    }

    #[test]
    fn everything_a_runtime_adds_is_understood() {
        let config = parse(json!({
            "cniVersion": "1.0.0", "name": "nexin", "type": "nexin-cni", "socket": "/run/a/s.sock", "labels": {"app": "web"},
            "capabilities": {"portMappings": true, "ips": true}, "ipam": {}, "dns": {"nameservers": ["10.0.0.1"]},
            "runtimeConfig": {"ips": ["10.0.0.7/24", "fd00::7"], "mac": "02:00:00:00:00:07", "portMappings": [{"hostPort": 80}]},
            "args": {"cni": {"labels": [{"key": "tier", "value": "db"}]}, "other": 1},
            "prevResult": {"cniVersion": "1.0.0"}, "cni.dev/attachments": [],
            "cni.dev/valid-attachments": [{"containerID": "c", "ifname": "eth0"}],
        }))
        .unwrap();
        assert_eq!(config.queue, PathBuf::from("/run/a/cni-deletes"));
        let labels = config.labels.unwrap();
        assert_eq!((labels["app"].as_str(), labels["tier"].as_str()), ("web", "db"));
        assert_eq!(config.ips, ["10.0.0.7".parse::<IpAddr>().unwrap(), "fd00::7".parse().unwrap()]);
        assert_eq!(config.valid.unwrap()[0].ifname, "eth0");
        assert!(config.previous.is_some_and(|previous| previous["cniVersion"] == "1.0.0"));
    }

    #[test]
    fn refusals_have_their_code_and_say_what_to_do() {
        let base = |key: &str, value: Value| {
            let mut config = json!({"cniVersion": "1.1.0", "name": "n", "type": "nexin-cni"});
            config[key] = value;
            parse(config).unwrap_err()
        };
        let cases = [
            (base("lables", json!({})), Code::UnsupportedField, "labels"),
            (base("ipam", json!({"type": "host-local"})), Code::UnsupportedField, "remove `ipam`"),
            (base("cniVersion", json!("0.2.0")), Code::IncompatibleVersion, "1.1.0"),
            (base("name", json!("a/b")), Code::InvalidConfig, "a/b"),
            (base("labels", json!({"a": 1})), Code::InvalidConfig, "string"),
            (base("runtimeConfig", json!({"ips": ["nowhere"]})), Code::InvalidConfig, "nowhere"),
            (Config::parse(b"{").unwrap_err(), Code::Decode, "JSON"),
            (parse(json!({"name": "n"})).unwrap_err(), Code::IncompatibleVersion, "0.1.0"),
        ];
        for (error, code, text) in cases {
            assert_eq!(error.code, code, "{}", error.message);
            let told = format!("{} {}", error.message, error.details.unwrap_or_default());
            assert!(told.contains(text), "{told}");
        }
    }

    /// JSON of any shape, with the keys that matter more often than others.
    fn anything() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            ".{0,12}".prop_map(Value::from),
            Just(json!("1.1.0")),
            Just(json!("10.0.0.5/24")),
        ];
        leaf.prop_recursive(4, 40, 6, |inner| {
            let keys = prop_oneof![
                proptest::sample::select(
                    [OWN, FOREIGN, &["cni", "ips", "mac", "cni.dev/valid-attachments", "containerID", "ipam", "type"]]
                        .concat()
                )
                .prop_map(str::to_owned),
                "[a-zA-Z.]{0,8}",
            ];
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                proptest::collection::btree_map(keys, inner, 0..8)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn any_json_is_parsed_or_refused(mut value in anything()) {
            if let Some(map) = value.as_object_mut() {
                map.insert("cniVersion".into(), json!("1.0.0"));
                map.entry("name").or_insert(json!("net"));
            }
            match parse(value.clone()) {
                Ok(config) => {
                    let text = |key: &str| value.get(key).and_then(Value::as_str);
                    prop_assert_eq!(Some(config.name.as_str()), text("name"));
                    prop_assert!(is_identifier(&config.name));
                    prop_assert_eq!(config.version, SpecVersion::V1_0_0);
                    prop_assert_eq!(config.socket.to_str(), text("socket").or(Some(nexin_api::DEFAULT_SOCKET)));
                    let wait = value.get("waitSeconds").and_then(Value::as_u64).map_or(DEFAULT_WAIT, Duration::from_secs);
                    prop_assert_eq!(config.wait, wait);
                    for (key, label) in value["labels"].as_object().into_iter().flatten() {
                        let labels = config.labels.as_ref().expect("labels were given");
                        prop_assert!(labels.contains_key(key) && label.is_string());
                    }
                    // Nothing that nobody knows went through.
                    let known = |key: &String| OWN.contains(&key.as_str()) || FOREIGN.contains(&key.as_str())
                        || key == "ipam" || key.starts_with("cni.dev/");
                    prop_assert!(value.as_object().is_some_and(|map| map.keys().all(known)));
                }
                Err(error) => {
                    // An object with a version that is known: what can be wrong is a value or a key.
                    let expected = match value.is_object() {
                        true => [Code::InvalidConfig, Code::UnsupportedField],
                        false => [Code::IncompatibleVersion; 2],
                    };
                    prop_assert!(expected.contains(&error.code), "{:?}: {}", error.code, error.message);
                    prop_assert!(error.message.len() > 10, "{}", error.message);
                }
            }
        }

        #[test]
        fn any_bytes_are_parsed_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let error = Config::parse(&bytes).expect_err("no random bytes name a version");
            let json = serde_json::from_slice::<Value>(&bytes).is_ok();
            prop_assert_eq!(error.code, if json { Code::IncompatibleVersion } else { Code::Decode });
            prop_assert_eq!(version_of(&bytes), None);
        }
    }
}
