//! The result of an ADD in each version's form (CNI specification 1.1 section 5; older ones in their own texts).
//!
//! What an earlier plugin of a chain reported is kept as it is, known or not; ours comes after it.

use crate::{
    config::{Config, SpecVersion},
    error::{Code, Error},
    invocation::Attachment,
};
use nexin_api::v1::Endpoint;
use serde_json::{Map, Value, json};
use std::{net::IpAddr, path::Path};

pub(crate) fn supported_versions(asked: Option<String>) -> Value {
    let newest = || SpecVersion::NEWEST.to_string();
    let all = SpecVersion::ALL.map(|version| version.to_string());
    json!({"cniVersion": asked.unwrap_or_else(newest), "supportedVersions": all})
}

/// Fails when the chain has made the interface already.
pub(crate) fn of_add(
    config: &Config,
    attachment: &Attachment,
    netns: &Path,
    endpoint: &Endpoint,
) -> Result<Value, Error> {
    let mut result = of_chain(config, attachment)?;
    let Some(map) = result.as_object_mut() else { return Err(malformed("an object")) };
    map.insert("cniVersion".into(), config.version.to_string().into());

    let interfaces = list(map, "interfaces")?;
    interfaces.push(interface(config.version, &endpoint.host_interface, &endpoint.gateway_mac, endpoint.mtu, None));
    interfaces.push(interface(config.version, &endpoint.interface, &endpoint.mac, endpoint.mtu, Some(netns)));
    let inside = interfaces.len() - 1;

    let v4 = (endpoint.ipv4.map(IpAddr::from), endpoint.gateway_ipv4.map(IpAddr::from), 32, "0.0.0.0/0", "4");
    let v6 = (endpoint.ipv6.map(IpAddr::from), endpoint.gateway_ipv6.map(IpAddr::from), 128, "::/0", "6");
    for (address, gateway, prefix, everything, version) in [v4, v6] {
        let (Some(address), Some(gateway)) = (address, gateway) else { continue };
        let mut ip = json!({"interface": inside, "address": format!("{address}/{prefix}"), "gateway": gateway});
        if config.version < SpecVersion::V1_0_0 {
            ip["version"] = version.into();
        }
        list(map, "ips")?.push(ip);
        list(map, "routes")?.push(json!({"dst": everything, "gw": gateway}));
    }
    let dns = config.dns.clone().unwrap_or_else(|| json!({}));
    map.entry("dns").or_insert(dns);
    Ok(result)
}

/// What the plugins before this one reported.
pub(crate) fn of_chain(config: &Config, attachment: &Attachment) -> Result<Value, Error> {
    let Some(previous) = &config.previous else { return Ok(json!({})) };
    let interfaces = previous.get("interfaces").and_then(Value::as_array).into_iter().flatten();
    let taken =
        |one: &&Value| is_inside(one) && one.get("name").and_then(Value::as_str) == Some(attachment.interface.as_str());
    if interfaces.clone().any(|one| taken(&one)) {
        let message = format!("an earlier plugin of network {} has already made {}", config.name, attachment.interface);
        return Err(Error::new(Code::InvalidConfig, message)
            .hint("put nexin-cni first in the list of plugins; tuning, bandwidth and others come after it"));
    }
    Ok(previous.clone())
}

/// In a container, not on the host.
pub(crate) fn is_inside(interface: &Value) -> bool {
    interface.get("sandbox").and_then(Value::as_str).is_some_and(|sandbox| !sandbox.is_empty())
}

fn interface(version: SpecVersion, name: &str, mac: &str, mtu: u16, sandbox: Option<&Path>) -> Value {
    let mut interface = json!({"name": name, "mac": mac});
    if version >= SpecVersion::V1_1_0 {
        interface["mtu"] = mtu.into();
    }
    if let Some(path) = sandbox {
        interface["sandbox"] = path.to_string_lossy().into();
    }
    interface
}

fn list<'a>(map: &'a mut Map<String, Value>, key: &str) -> Result<&'a mut Vec<Value>, Error> {
    let value = map.entry(key).or_insert_with(|| json!([]));
    if value.is_null() {
        *value = json!([]);
    }
    value.as_array_mut().ok_or_else(|| malformed(key))
}

fn malformed(what: &str) -> Error {
    Error::new(Code::InvalidConfig, format!("prevResult: {what} expected in its place"))
}

#[cfg(test)]
mod tests;
