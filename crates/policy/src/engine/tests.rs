use std::net::IpAddr;

use nexin_model::{Direction, Label};

use super::*;
use crate::rule::LowerOptions;

fn apply(engine: &mut Engine, text: &str) {
    let (documents, diagnostics) =
        crate::input::load(text, "test.yaml", crate::input::Strictness::Strict, &LowerOptions::default());
    assert!(!diagnostics.iter().any(crate::input::Diagnostic::is_error), "{diagnostics:?}");
    for document in documents {
        engine.apply(document);
    }
}

fn set(labels: &[&str]) -> LabelSet {
    labels.iter().map(|label| label.parse().expect("a label")).collect()
}

const WEB: &str = "
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: web, namespace: shop}
spec:
  endpointSelector: {matchLabels: {app: web, pod-template-hash: x}}
  ingress:
  - fromCIDRSet: [{cidr: 10.0.0.0/8, except: [10.1.0.0/16]}]
";

#[test]
fn labels_outside_the_filter_count_when_a_rule_asks_for_them() {
    let mut engine = Engine::new(Config::default());
    let all = set(&["k8s:app=web", "k8s:pod-template-hash=x", "k8s:controller-uid=7"]);
    assert_eq!(engine.identity_labels(&all, &[]), set(&["k8s:app=web"]));
    apply(&mut engine, WEB);
    assert_eq!(engine.identity_labels(&all, &[]), set(&["k8s:app=web", "k8s:pod-template-hash=x"]));
    let key = engine.documents().next().map(|document| document.key.clone()).expect("one document");
    assert!(engine.remove(&key));
    assert_eq!(engine.identity_labels(&all, &[]), set(&["k8s:app=web"]));
}

#[test]
fn prefixes_of_rules_get_identities_and_addresses_the_longest() {
    let mut engine = Engine::new(Config::default());
    apply(&mut engine, WEB);
    let prefixes = engine.prefixes();
    let named: Vec<String> =
        prefixes.iter().map(|prefix| format!("{prefix} {}", engine.prefix_labels(*prefix))).collect();
    assert_eq!(
        named,
        ["10.0.0.0/8 reserved:world-ipv4,cidr:10.0.0.0/8", "10.1.0.0/16 reserved:world-ipv4,cidr:10.1.0.0/16"]
    );
    let of = |address: &str| engine.external_labels(address.parse::<IpAddr>().expect("an address")).to_string();
    assert_eq!(of("10.1.2.3"), "reserved:world-ipv4,cidr:10.1.0.0/16");
    assert_eq!(of("10.2.2.3"), "reserved:world-ipv4,cidr:10.0.0.0/8");
    assert_eq!(of("192.0.2.1"), "reserved:world-ipv4");
    // Such a rule is not about workloads: their identities are not split by it.
    let address = ["10.2.2.3".parse().expect("an address")];
    assert_eq!(engine.identity_labels(&set(&["k8s:app=web"]), &address), set(&["k8s:app=web"]));
}

#[test]
fn an_ip_block_splits_identities_of_workloads() {
    let mut engine = Engine::new(Config::default());
    apply(
        &mut engine,
        "
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web, namespace: shop}
spec: {podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 10.2.0.0/16}}]}]}
",
    );
    let of = |address: &str| {
        engine.identity_labels(&set(&["k8s:app=web"]), &[address.parse().expect("an address")]).to_string()
    };
    assert_eq!(of("10.2.2.3"), "k8s:app=web,cidr:10.2.0.0/16");
    assert_eq!(of("10.3.2.3"), "k8s:app=web");
}

#[test]
fn endpoints_with_the_same_rules_share_tables() {
    let mut engine = Engine::new(Config::default());
    apply(&mut engine, &WEB.replace(", pod-template-hash: x", ""));
    let place = ["k8s:app=web", "k8s:io.kubernetes.pod.namespace=shop"];
    engine.upsert_identity(Identity(300), set(&place).into());
    engine.upsert_identity(Identity(301), set(&place).with([Label::k8s("version", "2")]).into());
    let keys = |engine: &mut Engine| -> Vec<_> {
        [300, 301]
            .map(|number| {
                engine.policy_for(Identity(number)).and_then(|policies| policies.ingress).map(|tables| tables.key)
            })
            .to_vec()
    };
    let first = keys(&mut engine);
    assert_eq!(first[0], first[1]);
    assert!(first[0].is_some());
    assert!(engine.policy_for(Identity(300)).is_some_and(|policies| policies.of(Direction::Egress).is_none()));
    // The same text again changes nothing; after a removal and the same text again, the address is the same.
    let document = engine.documents().next().cloned().expect("one document");
    assert_eq!(engine.apply(document.clone()), Applied::Unchanged);
    let rules = engine.rule_ids(&document.key).to_vec();
    engine.remove(&document.key);
    assert_eq!(engine.policy_for(Identity(300)).map(|policies| policies.ingress.is_none()), Some(true));
    assert_eq!(engine.apply(document.clone()), Applied::Added);
    assert_eq!((keys(&mut engine), engine.rule_ids(&document.key).to_vec()), (first, rules));
}

#[test]
fn a_group_change_binds_its_rules_anew() {
    let mut engine = Engine::new(Config::default());
    let group = |prefix: &str| {
        format!(
            "apiVersion: cilium.io/v2\nkind: CiliumCIDRGroup\nmetadata: {{name: g}}\nspec: {{externalCIDRs: [{prefix}]}}\n"
        )
    };
    apply(
        &mut engine,
        "
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: web, namespace: shop}
spec:
  endpointSelector: {}
  ingress: [{fromCIDRSet: [{cidrGroupRef: g}]}]
",
    );
    assert!(engine.prefixes().is_empty());
    let known = |engine: &Engine| engine.prefixes().iter().map(ToString::to_string).collect::<Vec<_>>();
    apply(&mut engine, &group("192.0.2.0/24"));
    assert_eq!(known(&engine), ["192.0.2.0/24"]);
    apply(&mut engine, &group("198.51.100.0/24"));
    assert_eq!(known(&engine), ["198.51.100.0/24"]);
}

#[test]
fn a_redirect_of_a_wide_rule_beats_a_plain_allow_of_a_narrow_one() {
    let mut engine = Engine::new(Config::default());
    apply(
        &mut engine,
        "
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: web, namespace: shop}
spec:
  endpointSelector: {}
  ingress:
  - toPorts: [{ports: [{port: '80', endPort: 90, protocol: TCP}], rules: {http: [{method: GET}]}}]
  - fromEndpoints: [{}]
    toPorts: [{ports: [{port: '80', protocol: TCP}]}]
",
    );
    let place = set(&["k8s:io.kubernetes.pod.namespace=shop", "k8s:io.cilium.k8s.policy.cluster=default"]);
    engine.upsert_identity(Identity(300), place.into());
    let answer = engine.answer(Identity(300), Direction::Ingress, Identity(300), nexin_model::Protocol::Tcp, 80);
    assert!(answer.redirect, "{answer:?}");
}
