use nexin_api::v1::{Protocol, Timestamp};

use super::*;

pub(crate) fn sample(id: u16, name: &str) -> v1::Endpoint {
    v1::Endpoint {
        id,
        container_id: name.into(),
        name: name.into(),
        namespace: "default".into(),
        netns: "/run/netns/x".into(),
        interface: "eth0".into(),
        host_interface: "nx00000001".into(),
        host_ifindex: 12,
        mac: "02:00:00:00:00:01".into(),
        gateway_mac: "02:00:00:00:00:02".into(),
        mtu: 1500,
        ipv4: Some("10.0.0.2".parse().unwrap()),
        ipv6: None,
        gateway_ipv4: Some("10.0.0.1".parse().unwrap()),
        gateway_ipv6: None,
        identity: 4711,
        labels: [("k8s:app", "web"), ("k8s:io.kubernetes.pod.namespace", "default")].into_iter().collect(),
        named_ports: vec![NamedPort { name: "http".into(), port: 80, protocol: Protocol::Tcp }],
        service_account: None,
        state: EndpointState::Ready,
        ingress: Enforcement::Enforced,
        egress: Enforcement::Open,
        created: Timestamp(0),
        network: None,
    }
}

#[test]
fn endpoints_are_found_by_name_and_nearly() {
    let all = || vec![sample(1, "deathstar"), sample(2, "xwing"), sample(3, "twin"), sample(4, "twin")];
    assert_eq!(select(all(), "xwing").unwrap().id, 2);
    assert_eq!(select(all(), "default/deathstar").unwrap().id, 1);
    let hint = |name: &str| select(all(), name).unwrap_err().next().unwrap();
    assert_eq!(hint("deathsatr"), "did you mean default/deathstar?");
    assert_eq!(hint("other/thing"), "`nexin endpoint list` shows those there are");
    assert_eq!(hint("twin"), "name it by number, such as 3 or 4");
}

#[test]
fn the_table_shows_what_people_gave() {
    assert_eq!(
        table(&[sample(7, "web")], Style::new(false)),
        "ID  NAME         STATE  IDENTITY  IPV4      IPV6  INGRESS   EGRESS  LABELS\n\
         7   default/web  ready  4711      10.0.0.2  -     enforced  open    app=web\n"
    );
}

#[test]
fn flags_are_read() {
    assert_eq!(label("app=web"), Ok(("app".into(), "web".into())));
    assert_eq!(label("app"), Err(FlagError::Label));
    assert_eq!(label("=x"), Err(FlagError::Label));
    assert_eq!(named_port("http=80/TCP").unwrap().port, 80);
    assert_eq!(named_port("80/TCP"), Err(FlagError::Port));
}

#[test]
fn no_label_means_not_known_yet() {
    let workload = |labels: Vec<(String, String)>| Workload {
        name: None,
        namespace: "default".into(),
        labels,
        ports: Vec::new(),
        service_account: None,
        ipv4: None,
        ipv6: None,
    };
    assert_eq!(workload(Vec::new()).request("x".into(), "/n".into()).labels, None);
    let labels = workload(vec![("a".into(), "b".into())]).request("x".into(), "/n".into()).labels;
    assert_eq!(labels, Some([("a", "b")].into_iter().collect()));
}
