//! NetworkPolicy.

use crate::{accepts, lapse, parse, refuses};

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
    accepts(&np("{podSelector: {}}"));
    accepts(&np("{ingress: []}"));
    accepts(&np("{podSelector: }"));
    accepts("apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: p}\n");
    lapse(&np("{podSelector: {matchLabels: {'k8s:a': b}}}"), "spec.podSelector.matchLabels.k8s:a", "label key");
    refuses(
        &np("{podSelector: {matchExpressions: [{key: a, operator: Like}]}}"),
        "spec.podSelector.matchExpressions[0].operator",
        "`In`",
    );
    lapse(&np("{podSelector: {matchLabels: {a: }}}"), "spec.podSelector.matchLabels.a", "no value");
    lapse(&np("{endpointSelector: {}}"), "spec.endpointSelector", "`podSelector`");
    lapse(&np("{podSelector: {}, ingress: [{fromEndpoints: []}]}"), "spec.ingress[0].fromEndpoints", "it is `from`");
}

#[test]
fn policy_types() {
    accepts(&np("{podSelector: {}, policyTypes: [Ingress, Egress]}"));
    accepts(&np("{podSelector: {}, policyTypes: []}"));
    lapse(&np("{podSelector: {}, policyTypes: [ingress]}"), "spec.policyTypes[0]", "did you mean `Ingress`");
    lapse(&np("{podSelector: {}, policyTypes: [Ingress, Ingress, Egress]}"), "spec.policyTypes", "two");
    let parsed = parse(&np("{podSelector: {}, policyTypes: [Egress], ingress: [{}]}"));
    assert!(parsed.diagnostics[0].message.contains("has no effect"), "{:#?}", parsed.diagnostics);
    assert_eq!(parsed.documents.len(), 1);
}

#[test]
fn peers() {
    accepts(&from("{podSelector: {}, namespaceSelector: {}}, {ipBlock: {cidr: 10.0.0.0/8, except: [10.1.0.0/16]}}"));
    let path = "spec.ingress[0].from[0]";
    lapse(&from("{}"), path, "is needed");
    lapse(&from("{podSelector: {}, ipBlock: {cidr: 10.0.0.0/8}}"), path, "cannot be combined");
    refuses(&from("{ipBlock: {}}"), "spec.ingress[0].from[0].ipBlock", "`cidr` is missing");
    refuses(&from("{ipBlock: {cidr: 10.0.0.0/33}}"), "spec.ingress[0].from[0].ipBlock.cidr", "0 to 32");
    for except in ["11.0.0.0/8", "10.0.0.0/8", "'fd00::/8'"] {
        lapse(
            &from(&format!("{{ipBlock: {{cidr: 10.0.0.0/8, except: [{except}]}}}}")),
            "spec.ingress[0].from[0].ipBlock.except",
            "not a part",
        );
    }
    refuses(&np("{podSelector: {}, ingress: [{from: {podSelector: {}}}]}"), "spec.ingress[0].from", "a list");
    lapse(&np("{podSelector: {}, egress: [{from: []}]}"), "spec.egress[0].from", "it is `to`");
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
        accepts(&port(good));
    }
    let path = "spec.ingress[0].ports[0]";
    lapse(&port("{port: '80'}"), &format!("{path}.port"), "without quotes");
    refuses(&port("{port: 0}"), &format!("{path}.port"), "1 and 65535");
    refuses(&port("{port: 65536}"), &format!("{path}.port"), "1 and 65535");
    lapse(&port("{port: Http}"), &format!("{path}.port"), "write `http`");
    refuses(&port("{port: a_b}"), &format!("{path}.port"), "no name");
    refuses(&port("{port: '0'}"), &format!("{path}.port"), "no name");
    refuses(&port("{port: [80]}"), &format!("{path}.port"), "a number or a name");
    refuses(&port("{protocol: ICMP}"), &format!("{path}.protocol"), "is not one of");
    lapse(&port("{protocol: tcp}"), &format!("{path}.protocol"), "write `TCP`");
    lapse(&port("{endPort: 90}"), &format!("{path}.endPort"), "needs `port`");
    lapse(&port("{port: http, endPort: 90}"), &format!("{path}.endPort"), "a number");
    lapse(&port("{port: 90, endPort: 80}"), &format!("{path}.endPort"), "ends (80) before");
    refuses(&port("{port: 90, endPort: 65536}"), &format!("{path}.endPort"), "65535");
}
