//! Results compared with the specification's own form, by version.

use super::*;
use nexin_api::v1::{EndpointState, Enforcement, Labels, Timestamp};
use nexin_netlink::IfName;

fn attachment() -> Attachment {
    Attachment { container_id: "c1".into(), interface: IfName::new("eth0").unwrap() }
}

fn endpoint() -> Endpoint {
    Endpoint {
        id: 7,
        container_id: "c1".into(),
        name: "web".into(),
        namespace: "default".into(),
        netns: "/run/netns/c1".into(),
        interface: "eth0".into(),
        host_interface: "nx0badcafe".into(),
        host_ifindex: 12,
        mac: "02:00:00:00:00:01".into(),
        gateway_mac: "02:00:00:00:00:02".into(),
        mtu: 1500,
        ipv4: Some("10.0.0.5".parse().unwrap()),
        ipv6: Some("fd00::5".parse().unwrap()),
        gateway_ipv4: Some("10.0.0.1".parse().unwrap()),
        gateway_ipv6: Some("fd00::1".parse().unwrap()),
        identity: 5,
        labels: Labels::default(),
        named_ports: vec![],
        service_account: None,
        network: Some("nexin".into()),
        state: EndpointState::Init,
        ingress: Enforcement::Enforced,
        egress: Enforcement::Enforced,
        created: Timestamp::default(),
    }
}

fn config(version: &str, previous: Value) -> Config {
    let text = json!({"cniVersion": version, "name": "nexin", "type": "nexin-cni", "prevResult": previous}).to_string();
    Config::parse(text.as_bytes()).unwrap()
}

fn add(version: &str, previous: Value) -> Result<Value, Error> {
    of_add(&config(version, previous), &attachment(), Path::new("/run/netns/c1"), &endpoint())
}

#[test]
fn version_1_1_is_exact() {
    let expected = json!({
        "cniVersion": "1.1.0",
        "interfaces": [
            {"name": "nx0badcafe", "mac": "02:00:00:00:00:02", "mtu": 1500},
            {"name": "eth0", "mac": "02:00:00:00:00:01", "mtu": 1500, "sandbox": "/run/netns/c1"},
        ],
        "ips": [
            {"interface": 1, "address": "10.0.0.5/32", "gateway": "10.0.0.1"},
            {"interface": 1, "address": "fd00::5/128", "gateway": "fd00::1"},
        ],
        "routes": [{"dst": "0.0.0.0/0", "gw": "10.0.0.1"}, {"dst": "::/0", "gw": "fd00::1"}],
        "dns": {},
    });
    assert_eq!(add("1.1.0", Value::Null).unwrap(), expected);
}

#[test]
fn older_versions_have_their_own_fields() {
    let result = add("0.3.1", Value::Null).unwrap();
    assert_eq!(result["ips"][0]["version"], "4");
    assert_eq!(result["ips"][1]["version"], "6");
    assert_eq!(result["interfaces"][0].get("mtu"), None);
    let newer = add("1.0.0", Value::Null).unwrap();
    assert_eq!((newer["ips"][0].get("version"), newer["interfaces"][1].get("mtu")), (None, None));
}

#[test]
fn an_earlier_result_is_kept_and_indices_follow() {
    let previous = json!({
        "cniVersion": "1.1.0",
        "interfaces": [{"name": "lo", "mac": "00:00:00:00:00:00", "sandbox": "/run/netns/c1"}],
        "ips": [{"interface": 0, "address": "127.0.0.1/8"}],
        "dns": {"nameservers": ["10.0.0.53"]},
        "somebodys": {"own": "thing"},
    });
    let result = add("1.1.0", previous.clone()).unwrap();
    assert_eq!(result["interfaces"][0], previous["interfaces"][0]);
    assert_eq!(result["ips"][0], previous["ips"][0]);
    assert_eq!((&result["dns"], &result["somebodys"]), (&previous["dns"], &previous["somebodys"]));
    assert_eq!(result["ips"][1]["interface"], 2);
    assert_eq!(result["interfaces"][2]["name"], "eth0");
}

#[test]
fn a_chain_in_the_wrong_order_is_told_so() {
    let previous = json!({"interfaces": [{"name": "eth0", "sandbox": "/run/netns/c1"}]});
    let error = add("1.0.0", previous).unwrap_err();
    assert_eq!(error.code, Code::InvalidConfig);
    assert!(error.details.unwrap().contains("first"));
    let outside = json!({"interfaces": [{"name": "eth0"}], "routes": null});
    assert!(add("1.0.0", outside).is_ok_and(|result| result["routes"].as_array().is_some_and(|r| r.len() == 2)));
    assert_eq!(add("1.0.0", json!({"ips": 5})).unwrap_err().code, Code::InvalidConfig);
}

#[test]
fn the_version_answer_lists_all() {
    let answer = supported_versions(Some("1.0.0".into()));
    assert_eq!(answer, json!({"cniVersion": "1.0.0", "supportedVersions": ["0.3.1", "0.4.0", "1.0.0", "1.1.0"]}));
}
