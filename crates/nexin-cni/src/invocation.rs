//! What the runtime asks for: the `CNI_*` variables (CNI specification 1.1, section 2), checked.

use crate::error::{Code, Error};
use nexin_netlink::IfName;
use std::{collections::BTreeMap, path::PathBuf};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Invocation {
    Add(Attachment, PathBuf, Args),
    Del(Attachment),
    Check(Attachment, PathBuf),
    Status,
    Gc,
    Version,
}

/// One interface of one container; the key by which the runtime knows what it asked for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Attachment {
    pub(crate) container_id: String,
    pub(crate) interface: IfName,
}

/// `CNI_ARGS`, as far as it is known here. Keys of others are theirs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Args {
    pub(crate) pod_namespace: Option<String>,
    pub(crate) pod_name: Option<String>,
    /// `NEXIN_LABELS=app=web,tier=db`.
    pub(crate) labels: Option<BTreeMap<String, String>>,
    /// Comma-separated addresses.
    pub(crate) ips: Vec<String>,
    pub(crate) mac: Option<String>,
}

impl Invocation {
    pub(crate) fn read(environment: &BTreeMap<String, String>) -> Result<Self, Error> {
        let get = |key: &str| environment.get(key).map(String::as_str).filter(|value| !value.is_empty());
        let command = get("CNI_COMMAND").ok_or_else(|| {
            Error::new(Code::InvalidEnvironment, "CNI_COMMAND is missing")
                .hint("nexin-cni is started by a container runtime; for a process of your own use `nexin run`")
        })?;
        let attachment = || {
            let need = |key: &'static str| {
                get(key).ok_or_else(|| Error::new(Code::InvalidEnvironment, format!("{key} is missing for {command}")))
            };
            let container_id = need("CNI_CONTAINERID")?;
            if !is_identifier(container_id) {
                return Err(invalid(
                    "CNI_CONTAINERID",
                    container_id,
                    "letters, digits, '_', '.' and '-', the first one a letter or digit",
                ));
            }
            let name = need("CNI_IFNAME")?;
            let interface =
                IfName::new(name).map_err(|_| invalid("CNI_IFNAME", name, "an interface name of 1 to 15 bytes"))?;
            Ok(Attachment { container_id: container_id.to_owned(), interface })
        };
        let netns = || {
            let path = get("CNI_NETNS")
                .ok_or_else(|| Error::new(Code::InvalidEnvironment, format!("CNI_NETNS is missing for {command}")));
            path.map(PathBuf::from)
        };
        match command {
            "ADD" => Ok(Self::Add(attachment()?, netns()?, Args::parse(get("CNI_ARGS").unwrap_or_default())?)),
            "DEL" => attachment().map(Self::Del),
            "CHECK" => Ok(Self::Check(attachment()?, netns()?)),
            "STATUS" => Ok(Self::Status),
            "GC" => Ok(Self::Gc),
            "VERSION" => Ok(Self::Version),
            other => Err(invalid("CNI_COMMAND", other, "ADD, DEL, CHECK, STATUS, GC or VERSION")),
        }
    }

    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Add(..) => "ADD",
            Self::Del(_) => "DEL",
            Self::Check(..) => "CHECK",
            Self::Status => "STATUS",
            Self::Gc => "GC",
            Self::Version => "VERSION",
        }
    }
}

impl Args {
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        let mut args = Self::default();
        for pair in text.split(';').filter(|pair| !pair.is_empty()) {
            let (key, value) =
                pair.split_once('=').ok_or_else(|| invalid("CNI_ARGS", pair, "KEY=VALUE pairs, separated by ';'"))?;
            let filled = || Some(value.to_owned()).filter(|v| !v.is_empty());
            match key {
                "K8S_POD_NAMESPACE" => args.pod_namespace = filled(),
                "K8S_POD_NAME" => args.pod_name = filled(),
                "NEXIN_LABELS" => args.labels = Some(labels(value)?),
                "IP" => args.ips = value.split(',').filter(|ip| !ip.is_empty()).map(str::to_owned).collect(),
                "MAC" => args.mac = filled(),
                _ => {}
            }
        }
        Ok(args)
    }
}

fn labels(text: &str) -> Result<BTreeMap<String, String>, Error> {
    let pair = |item: &str| {
        let (key, value) = item.split_once('=').unwrap_or((item, ""));
        if key.is_empty() {
            Err(invalid("NEXIN_LABELS in CNI_ARGS", item, "key=value pairs, separated by ','"))
        } else {
            Ok((key.to_owned(), value.to_owned()))
        }
    };
    text.split(',').filter(|item| !item.is_empty()).map(pair).collect()
}

fn invalid(variable: &str, value: &str, wanted: &str) -> Error {
    Error::new(Code::InvalidEnvironment, format!("{variable} is {value:?}, but should be {wanted}"))
}

/// Container IDs and network names (CNI specification 1.1, sections 1 and 2).
pub(crate) fn is_identifier(text: &str) -> bool {
    text.bytes().enumerate().all(|(at, byte)| byte.is_ascii_alphanumeric() || (at > 0 && b"_.-".contains(&byte)))
        && !text.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn environment(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    const ADD: &[(&str, &str)] = &[
        ("CNI_COMMAND", "ADD"),
        ("CNI_CONTAINERID", "c-1"),
        ("CNI_IFNAME", "eth0"),
        ("CNI_NETNS", "/run/netns/x"),
        (
            "CNI_ARGS",
            "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web;NEXIN_LABELS=app=web,tier=;IP=10.0.0.7,fd00::7",
        ),
    ];

    #[test]
    fn an_add_is_read_whole() {
        let Ok(Invocation::Add(attachment, netns, args)) = Invocation::read(&environment(ADD)) else {
            panic!("no ADD")
        };
        assert_eq!((attachment.container_id.as_str(), attachment.interface.as_str()), ("c-1", "eth0"));
        assert_eq!(netns, PathBuf::from("/run/netns/x"));
        assert_eq!((args.pod_namespace.as_deref(), args.pod_name.as_deref()), (Some("shop"), Some("web")));
        assert_eq!(args.labels, Some(environment(&[("app", "web"), ("tier", "")])));
        assert_eq!(args.ips, ["10.0.0.7", "fd00::7"]);
    }

    #[test]
    fn each_missing_variable_is_named() {
        for missing in ["CNI_CONTAINERID", "CNI_IFNAME", "CNI_NETNS", "CNI_COMMAND"] {
            let mut rest = environment(ADD);
            rest.remove(missing);
            let error = Invocation::read(&rest).unwrap_err();
            assert_eq!(error.code, Code::InvalidEnvironment);
            assert!(error.message.contains(missing), "{}", error.message);
        }
        let del =
            environment(&[("CNI_COMMAND", "DEL"), ("CNI_CONTAINERID", "c"), ("CNI_IFNAME", "eth0"), ("CNI_NETNS", "")]);
        assert!(matches!(Invocation::read(&del), Ok(Invocation::Del(_))), "DEL must work when the namespace is gone");
    }

    proptest! {
        #[test]
        fn any_environment_is_read_or_refused_by_name(
            command in prop_oneof![Just("ADD".to_owned()), Just("DEL".to_owned()), Just("CHECK".to_owned()), ".{0,8}"],
            id in ".{0,12}", name in ".{0,20}", netns in ".{0,20}", args in "([A-Z_]{0,18}=?[a-z=,;.:0-9/]{0,20};?){0,5}",
        ) {
            let all = environment(&[
                ("CNI_COMMAND", &command), ("CNI_CONTAINERID", &id), ("CNI_IFNAME", &name), ("CNI_NETNS", &netns), ("CNI_ARGS", &args),
            ]);
            match Invocation::read(&all) {
                Ok(invocation) => {
                    prop_assert_eq!(invocation.name(), command.as_str());
                    let (attachment, place) = match &invocation {
                        Invocation::Add(attachment, place, _) | Invocation::Check(attachment, place) => (attachment, Some(place)),
                        Invocation::Del(attachment) => (attachment, None),
                        _ => return Ok(()),
                    };
                    prop_assert_eq!((attachment.container_id.as_str(), attachment.interface.as_str()), (id.as_str(), name.as_str()));
                    prop_assert!(is_identifier(&id) && IfName::new(&name).is_ok());
                    prop_assert!(place.is_none_or(|place| place.as_os_str() == netns.as_str()));
                }
                Err(error) => {
                    // The variable that it names is one that is wrong.
                    let known = ["ADD", "DEL", "CHECK", "STATUS", "GC", "VERSION"].contains(&command.as_str());
                    let wrong = [
                        ("CNI_COMMAND", !known),
                        ("CNI_CONTAINERID", !is_identifier(&id)),
                        ("CNI_IFNAME", IfName::new(&name).is_err()),
                        ("CNI_NETNS", netns.is_empty()),
                        ("CNI_ARGS", Args::parse(&args).is_err()),
                    ];
                    let named = wrong.iter().find(|(variable, _)| error.message.contains(variable));
                    prop_assert!(named.is_some_and(|(_, wrong)| *wrong), "{}", error.message);
                    prop_assert_eq!(error.code, Code::InvalidEnvironment);
                }
            }
        }
    }
}
