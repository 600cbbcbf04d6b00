//! CHECK: does the container still have what the ADD reported? Looks into the container's namespace, changes nothing.

use crate::{
    config::Config,
    error::{Code, Error},
    invocation::Attachment,
    result::is_inside,
};
use ipnet::IpNet;
use nexin_netlink::{Netlink, Netns};
use serde_json::Value;
use std::path::Path;

/// What an ADD reported for one interface.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Expected {
    mac: Option<String>,
    addresses: Vec<IpNet>,
    /// Destinations reached by way of the addresses' gateways.
    routes: Vec<IpNet>,
}

impl Expected {
    pub(crate) fn of(config: &Config, attachment: &Attachment) -> Result<Self, Error> {
        let Some(previous) = &config.previous else {
            return Err(Error::new(Code::InvalidConfig, "prevResult is missing, so there is nothing to check against"));
        };
        let array = |key: &str| previous.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
        let interfaces = array("interfaces");
        let ours = |one: &Value| is_inside(one) && one["name"].as_str() == Some(attachment.interface.as_str());
        let Some(index) = interfaces.iter().position(ours) else {
            return Err(differs(format!("prevResult has no interface {} inside the container", attachment.interface)));
        };
        let ips: Vec<_> =
            array("ips").into_iter().filter(|ip| ip["interface"].as_u64() == Some(index as u64)).collect();
        let gateways: Vec<_> = ips.iter().filter_map(|ip| ip["gateway"].as_str()).collect();
        let routes = array("routes");
        let through_us = routes.iter().filter(|route| route["gw"].as_str().is_some_and(|gw| gateways.contains(&gw)));
        Ok(Self {
            mac: interfaces[index]["mac"].as_str().map(str::to_ascii_lowercase),
            addresses: ips.iter().map(|ip| net(&ip["address"])).collect::<Result<_, _>>()?,
            routes: through_us.map(|route| net(&route["dst"])).collect::<Result<_, _>>()?,
        })
    }

    pub(crate) fn compare(&self, netns: &Path, attachment: &Attachment) -> Result<(), Error> {
        let failed = |e: nexin_netlink::Error| {
            let code = if e.is_gone() { Code::UnknownContainer } else { Code::Failed };
            Error::new(code, e.to_string())
        };
        let mut inside = Netns::open(netns).and_then(|netns| netns.netlink()).map_err(failed)?;
        let missing = self.missing(&mut inside, attachment).map_err(failed)?;
        match missing {
            None => Ok(()),
            Some(what) => Err(differs(what)),
        }
    }

    fn missing(&self, inside: &mut Netlink, attachment: &Attachment) -> nexin_netlink::Result<Option<String>> {
        let name = &attachment.interface;
        let Some(link) = inside.link(name)? else { return Ok(Some(format!("interface {name} is gone"))) };
        if !link.up {
            return Ok(Some(format!("interface {name} is down")));
        }
        let mac = link.mac.map(|mac| mac.to_string());
        if self.mac.is_some() && self.mac != mac {
            return Ok(Some(format!(
                "interface {name} has MAC address {} instead of {}",
                or_none(&mac),
                or_none(&self.mac)
            )));
        }
        let here: Vec<_> = inside.addresses()?.into_iter().filter(|a| a.ifindex == link.index).map(|a| a.net).collect();
        if let Some(net) = self.addresses.iter().find(|net| !here.contains(net)) {
            return Ok(Some(format!("interface {name} has lost address {net}")));
        }
        let routes = inside.routes()?;
        let leads =
            |dst: &&IpNet| routes.iter().any(|r| r.unicast && r.destination == **dst && r.ifindex == Some(link.index));
        Ok(self.routes.iter().find(|dst| !leads(dst)).map(|dst| format!("the route to {dst} through {name} is gone")))
    }
}

fn or_none(mac: &Option<String>) -> &str {
    mac.as_deref().unwrap_or("none")
}

fn differs(what: impl Into<String>) -> Error {
    Error::new(Code::Differs, what).hint("the runtime should delete the container's network and add it again")
}

fn net(value: &Value) -> Result<IpNet, Error> {
    let parsed = value.as_str().and_then(|text| text.parse().ok());
    parsed.ok_or_else(|| {
        Error::new(Code::InvalidConfig, format!("prevResult: {value} is not an address with a prefix length"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use nexin_netlink::IfName;
    use serde_json::json;

    fn expected(previous: Value) -> Result<Expected, Error> {
        let text = json!({"cniVersion": "1.0.0", "name": "n", "type": "nexin-cni", "prevResult": previous}).to_string();
        let attachment = Attachment { container_id: "c".into(), interface: IfName::new("eth0").unwrap() };
        Expected::of(&Config::parse(text.as_bytes())?, &attachment)
    }

    #[test]
    fn only_what_is_ours_is_expected() {
        let previous = json!({
            "interfaces": [
                {"name": "eth0", "mac": "aa:00:00:00:00:01"},
                {"name": "eth0", "mac": "02:00:00:00:00:0A", "sandbox": "/run/netns/c"},
                {"name": "eth1", "sandbox": "/run/netns/c"},
            ],
            "ips": [
                {"interface": 1, "address": "10.0.0.5/32", "gateway": "10.0.0.1"},
                {"interface": 2, "address": "10.9.0.5/24", "gateway": "10.9.0.1"},
            ],
            "routes": [{"dst": "0.0.0.0/0", "gw": "10.0.0.1"}, {"dst": "10.8.0.0/16", "gw": "10.9.0.1"}, {"dst": "10.7.0.0/16"}],
        });
        let all = Expected {
            mac: Some("02:00:00:00:00:0a".into()),
            addresses: vec!["10.0.0.5/32".parse().unwrap()],
            routes: vec!["0.0.0.0/0".parse().unwrap()],
        };
        assert_eq!(expected(previous), Ok(all));
    }

    #[test]
    fn a_result_that_cannot_be_checked_is_refused() {
        assert_eq!(expected(Value::Null).unwrap_err().code, Code::InvalidConfig);
        assert_eq!(expected(json!({})).unwrap_err().code, Code::Differs);
        let odd = json!({"interfaces": [{"name": "eth0", "sandbox": "x"}], "ips": [{"interface": 0, "address": 5}]});
        assert_eq!(expected(odd).unwrap_err().code, Code::InvalidConfig);
    }
}
