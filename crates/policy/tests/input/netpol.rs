//! NetworkPolicy.

use crate::{check_lapse, check_refused, check_taken, parse};

fn np(spec: &str) -> String {
    format!("apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: p}}\nspec: {spec}\n")
}

fn from(peer: &str) -> String {
    np(&format!("{{podSelector: {{}}, ingress: [{{from: [{peer}]}}]}}"))
}

fn port(port: &str) -> String {
    np(&format!("{{podSelector: {{}}, ingress: [{{ports: [{port}]}}]}}"))
}

#[test]
fn specs() {
    check_taken(&np("{podSelector: {}}"));
    check_taken(&np("{ingress: []}"));
    check_taken(&np("{podSelector: }"));
    check_taken("apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: p}\n");
    check_lapse(&np("{podSelector: {matchLabels: {'k8s:a': b}}}"), "spec.podSelector.matchLabels.k8s:a", "label key");
    check_refused(
        &np("{podSelector: {matchExpressions: [{key: a, operator: Like}]}}"),
        "spec.podSelector.matchExpressions[0].operator",
        "`In`",
    );
    check_lapse(&np("{podSelector: {matchLabels: {a: }}}"), "spec.podSelector.matchLabels.a", "no value");
    check_lapse(&np("{endpointSelector: {}}"), "spec.endpointSelector", "`podSelector`");
    check_lapse(
        &np("{podSelector: {}, ingress: [{fromEndpoints: []}]}"),
        "spec.ingress[0].fromEndpoints",
        "it is `from`",
    );
}

#[test]
fn policy_types() {
    check_taken(&np("{podSelector: {}, policyTypes: [Ingress, Egress]}"));
    check_taken(&np("{podSelector: {}, policyTypes: []}"));
    check_lapse(&np("{podSelector: {}, policyTypes: [ingress]}"), "spec.policyTypes[0]", "did you mean `Ingress`");
    check_lapse(&np("{podSelector: {}, policyTypes: [Ingress, Ingress, Egress]}"), "spec.policyTypes", "two");
    let parsed = parse(&np("{podSelector: {}, policyTypes: [Egress], ingress: [{}]}"));
    assert!(parsed.diagnostics[0].message.contains("has no effect"), "{:#?}", parsed.diagnostics);
    assert_eq!(parsed.documents.len(), 1);
}

#[test]
fn peers() {
    check_taken(&from(
        "{podSelector: {}, namespaceSelector: {}}, {ipBlock: {cidr: 10.0.0.0/8, except: [10.1.0.0/16]}}",
    ));
    let path = "spec.ingress[0].from[0]";
    check_lapse(&from("{}"), path, "is needed");
    check_lapse(&from("{podSelector: {}, ipBlock: {cidr: 10.0.0.0/8}}"), path, "cannot be combined");
    check_refused(&from("{ipBlock: {}}"), "spec.ingress[0].from[0].ipBlock", "`cidr` is missing");
    check_refused(&from("{ipBlock: {cidr: 10.0.0.0/33}}"), "spec.ingress[0].from[0].ipBlock.cidr", "0 to 32");
    for except in ["11.0.0.0/8", "10.0.0.0/8", "'fd00::/8'"] {
        check_lapse(
            &from(&format!("{{ipBlock: {{cidr: 10.0.0.0/8, except: [{except}]}}}}")),
            "spec.ingress[0].from[0].ipBlock.except",
            "not a part",
        );
    }
    check_refused(&np("{podSelector: {}, ingress: [{from: {podSelector: {}}}]}"), "spec.ingress[0].from", "a list");
    check_lapse(&np("{podSelector: {}, egress: [{from: []}]}"), "spec.egress[0].from", "it is `to`");
}

#[test]
fn ports() {
    for good in [
        "{}",
        "{port: 80}",
        "{port: http}",
        "{protocol: SCTP}",
        "{port: 80, endPort: 80}",
        "{port: 1, endPort: 65535, protocol: UDP}",
    ] {
        check_taken(&port(good));
    }
    let path = "spec.ingress[0].ports[0]";
    check_lapse(&port("{port: '80'}"), &format!("{path}.port"), "without quotes");
    check_refused(&port("{port: 0}"), &format!("{path}.port"), "1 and 65535");
    check_refused(&port("{port: 65536}"), &format!("{path}.port"), "1 and 65535");
    check_lapse(&port("{port: Http}"), &format!("{path}.port"), "write `http`");
    check_refused(&port("{port: a_b}"), &format!("{path}.port"), "no name");
    check_refused(&port("{port: '0'}"), &format!("{path}.port"), "no name");
    check_refused(&port("{port: [80]}"), &format!("{path}.port"), "a number or a name");
    check_refused(&port("{protocol: ICMP}"), &format!("{path}.protocol"), "is not one of");
    check_lapse(&port("{protocol: tcp}"), &format!("{path}.protocol"), "write `TCP`");
    check_lapse(&port("{endPort: 90}"), &format!("{path}.endPort"), "needs `port`");
    check_lapse(&port("{port: http, endPort: 90}"), &format!("{path}.endPort"), "a number");
    check_lapse(&port("{port: 90, endPort: 80}"), &format!("{path}.endPort"), "ends (80) before");
    check_refused(&port("{port: 90, endPort: 65536}"), &format!("{path}.endPort"), "65535");
}
