//! Kinds, lists of documents, metadata.

use nexin_policy::input::Severity;
use nexin_policy::rule::Kind;

use crate::{check_lapse, check_refused, check_taken, parse};

const SPEC: &str = "spec: {endpointSelector: {}, ingress: [{}]}";

fn cnp(metadata: &str) -> String {
    format!("apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {metadata}\n{SPEC}\n")
}

#[test]
fn kinds() {
    check_refused("kind: NetworkPolicy\n", "", "`apiVersion` is missing");
    check_refused("apiVersion: cilium.io/v2\n", "", "`kind` is missing");
    check_refused(
        "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicies\n",
        "kind",
        "did you mean `CiliumNetworkPolicy`",
    );
    check_refused("apiVersion: cilium.io/v2\nkind: CiliumEnvoyConfig\n", "kind", "policies are");
    check_refused("apiVersion: cilium.io/v1\nkind: CiliumNetworkPolicy\n", "apiVersion", "cilium.io/v2");
    check_refused("apiVersion: extensions/v1beta1\nkind: NetworkPolicy\n", "apiVersion", "networking.k8s.io/v1");
    check_refused("apiVersion: v1\nkind: NetworkPolicyy\n", "kind", "did you mean `NetworkPolicy`");
    check_refused("apiVersion: 2\nkind: NetworkPolicy\n", "apiVersion", "quotes");
    check_refused("just words\n", "", "a mapping");
}

#[test]
fn whole_manifests_can_be_given() {
    let text = format!("apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: d}}\n---\n{}---\n", cnp("{name: p}"));
    let parsed = parse(&text);
    assert_eq!(parsed.documents.len(), 1);
    assert_eq!(parsed.diagnostics.len(), 1);
    assert_eq!(parsed.diagnostics[0].severity, Severity::Warning);
    assert_eq!(parsed.diagnostics[0].message, "Deployment is no policy; it is left out");
}

#[test]
fn lists() {
    let item = format!("{{metadata: {{name: a}}, {SPEC}}}");
    let typed = format!("apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicyList\nitems: [{item}]\n");
    assert_eq!(parse(&typed).documents.len(), 1);
    let item = item.replacen('{', "{apiVersion: cilium.io/v2, kind: CiliumNetworkPolicy, ", 1);
    let group = "{apiVersion: cilium.io/v2, kind: CiliumCIDRGroup, metadata: {name: g}, spec: {externalCIDRs: []}}";
    let any = format!("apiVersion: v1\nkind: List\nmetadata: {{resourceVersion: ''}}\nitems: [{item}, {group}]\n");
    let kinds: Vec<Kind> = parse(&any).documents.iter().map(|document| document.kind).collect();
    assert_eq!(kinds, [Kind::CiliumNetworkPolicy, Kind::CiliumCIDRGroup]);
    check_refused("apiVersion: v1\nkind: List\n", "", "`items` is missing");
    check_refused("apiVersion: v1\nkind: List\nitems: [{}]\n", "", "`apiVersion` is missing");
}

#[test]
fn names_and_namespaces() {
    check_taken(&cnp("{name: a.b-c, namespace: prod}"));
    check_refused(&cnp("{}"), "metadata", "`name` is missing");
    check_refused(&cnp("{name: ''}"), "metadata", "`name` is missing");
    check_refused(&cnp("{generateName: a-}"), "metadata", "makes no names up");
    check_refused(&cnp("{name: My_Policy}"), "metadata.name", "`my-policy` would be one");
    check_refused(&cnp("{name: 5}"), "metadata.name", "quotes");
    check_refused(&cnp("{name: a, namespace: a.b}"), "metadata.namespace", "no namespace");
    check_refused("apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nspec: {}\n", "", "`metadata` is missing");
    let wide = cnp("{name: a, namespace: b}").replace("CiliumNetworkPolicy", "CiliumClusterwideNetworkPolicy");
    check_refused(&wide, "metadata.namespace", "whole cluster");
}

#[test]
fn labels_and_annotations() {
    check_taken(&cnp(
        "{name: a, labels: {app.kubernetes.io/name: b}, annotations: {A.b/C: 'any text', policy.nexin.dev/mode: shadow}}",
    ));
    check_refused(&cnp("{name: a, labels: {a: 'b c'}}"), "metadata.labels.a", "label value");
    check_refused(&cnp("{name: a, labels: {'a b': c}}"), "metadata.labels.a b", "label key");
    check_refused(&cnp("{name: a, labels: {a: true}}"), "metadata.labels.a", "quotes");
    check_refused(&cnp("{name: a, annotations: {'a b': c}}"), "metadata.annotations.a b", "label key");
    check_refused(
        &cnp("{name: a, annotations: {policy.nexin.dev/mode: audit}}"),
        "metadata.annotations.policy.nexin.dev/mode",
        "`shadow`",
    );
    let long = format!("{{name: a, annotations: {{a: {}}}}}", "x".repeat(300_000));
    check_refused(&cnp(&long), "metadata.annotations", "limit");
    check_lapse(&cnp("{name: a, lables: {a: b}}"), "metadata.lables", "did you mean `labels`");
}

#[test]
fn what_an_api_server_fills_in() {
    let metadata = "{name: a, uid: b, resourceVersion: '1', generation: 2, creationTimestamp: null, finalizers: [a/b], managedFields: [{}], \
                    ownerReferences: [{apiVersion: v1, kind: Pod, name: a, uid: b, controller: true}]}";
    let text = format!("{}status: {{conditions: [{{type: Valid, status: 'True'}}]}}\n", cnp(metadata));
    check_taken(&text);
    check_refused(
        &cnp("{name: a, ownerReferences: [{kind: Pod}]}"),
        "metadata.ownerReferences[0]",
        "`apiVersion` is missing",
    );
    check_refused(&cnp("{name: a, generation: one}"), "metadata.generation", "a whole number");
    check_refused(&format!("{}status: valid\n", cnp("{name: a}")), "status", "a mapping");
}
