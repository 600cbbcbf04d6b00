//! ClusterNetworkPolicy.

use nexin_policy::input::Options;

use crate::{check_lapse, check_refused, check_taken, errors};

fn policy(spec: &str) -> String {
    format!(
        "apiVersion: policy.networking.k8s.io/v1alpha2\nkind: ClusterNetworkPolicy\nmetadata: {{name: p}}\nspec: {spec}\n"
    )
}

fn with(rules: &str) -> String {
    policy(&format!("{{tier: Admin, priority: 1, subject: {{namespaces: {{}}}}, {rules}}}"))
}

fn ingress(rule: &str) -> String {
    with(&format!("ingress: [{{action: Accept, {rule}}}]"))
}

fn egress(rule: &str) -> String {
    with(&format!("egress: [{{action: Accept, {rule}}}]"))
}

fn protocol(protocol: &str) -> String {
    ingress(&format!("from: [{{namespaces: {{}}}}], protocols: [{protocol}]"))
}

#[test]
fn heads() {
    check_taken(&with("ingress: []"));
    let head = |tier: &str, priority: &str, subject: &str| policy(&format!("{{{tier} {priority} {subject}}}"));
    let (tier, priority, subject) = ("tier: Baseline,", "priority: 1000,", "subject: {pods: {podSelector: {}}}");
    check_taken(&head(tier, priority, subject));
    check_refused(&head("", priority, subject), "spec", "`tier` is missing");
    check_refused(&head(tier, "", subject), "spec", "`priority` is missing");
    check_refused(&head(tier, priority, ""), "spec", "`subject` is missing");
    check_refused(&head("tier: Normal,", priority, subject), "spec.tier", "is not one of");
    check_refused(&head(tier, "priority: 1001,", subject), "spec.priority", "0 and 1000");
    check_refused(&head(tier, "priority: -1,", subject), "spec.priority", "0 and 1000");
    check_refused(&head(tier, priority, "subject: {}"), "spec.subject", "one of");
    check_refused(
        &head(tier, priority, "subject: {namespaces: {}, pods: {podSelector: {}}}"),
        "spec.subject",
        "only one of",
    );
    check_refused(&head(tier, priority, "subject: {pods: {}}"), "spec.subject.pods", "`podSelector` is missing");
    check_refused(
        "apiVersion: policy.networking.k8s.io/v1alpha1\nkind: ClusterNetworkPolicy\nmetadata: {name: p}\nspec: {}\n",
        "apiVersion",
        "v1alpha2",
    );
}

#[test]
fn rules() {
    let path = "spec.ingress[0]";
    check_taken(&ingress("name: a, from: [{namespaces: {}}, {pods: {podSelector: {}, namespaceSelector: {}}}]"));
    check_refused(&with("ingress: [{from: [{namespaces: {}}]}]"), path, "`action` is missing");
    check_refused(&with("ingress: [{action: Allow, from: [{namespaces: {}}]}]"), &format!("{path}.action"), "`Accept`");
    check_refused(&with("ingress: [{action: Accept}]"), path, "`from` is missing");
    check_refused(&ingress("from: []"), &format!("{path}.from"), "must not be empty");
    check_refused(&ingress("from: [{}]"), &format!("{path}.from[0]"), "one of");
    check_refused(
        &ingress("from: [{namespaces: {}, pods: {podSelector: {}}}]"),
        &format!("{path}.from[0]"),
        "only one of",
    );
    check_refused(
        &ingress(&format!("name: {}, from: [{{namespaces: {{}}}}]", "a".repeat(101))),
        &format!("{path}.name"),
        "100",
    );
    check_refused(
        &ingress("from: [{namespaces: {matchExpressions: [{key: a, operator: Is}]}}]"),
        &format!("{path}.from[0].namespaces.matchExpressions[0].operator"),
        "`In`",
    );
    let many = vec!["{namespaces: {}}"; 26].join(", ");
    check_refused(&ingress(&format!("from: [{many}]")), &format!("{path}.from"), "limit is 25");
    check_lapse(&ingress("from: [{namespaces: {}}], ports: []"), &format!("{path}.ports"), "protocols:");
    check_refused(&ingress("from: [{networks: [10.0.0.0/8]}]"), &format!("{path}.from[0]"), "one of");
}

#[test]
fn outside_peers() {
    let path = "spec.egress[0].to[0]";
    check_taken(&egress("to: [{networks: [10.0.0.0/8, '::/0']}, {domainNames: ['*.a.com', b.com.]}]"));
    check_refused(&egress("to: [{networks: []}]"), &format!("{path}.networks"), "must not be empty");
    check_refused(&egress("to: [{networks: [10.0.0.0/33]}]"), &format!("{path}.networks[0]"), "0 to 32");
    check_refused(&egress("to: [{networks: [10.0.0.0/8, 10.0.0.0/8]}]"), &format!("{path}.networks"), "twice");
    check_refused(&egress("to: [{networks: ['::ffff:10.0.0.0/104']}]"), &format!("{path}.networks[0]"), "IPv4 prefix");
    for bad in ["com", "'*'", "'*.*.a.com'", "a..com", "-a.com", "'a.com/x'", "'**.a.com'"] {
        check_refused(
            &egress(&format!("to: [{{domainNames: [{bad}]}}]")),
            &format!("{path}.domainNames[0]"),
            "no domain name",
        );
    }
    let deny = with("egress: [{action: Deny, to: [{domainNames: [a.com]}]}]");
    check_refused(&deny, "spec.egress[0].action", "accepted only");
    let named = egress("to: [{networks: [10.0.0.0/8]}], protocols: [{destinationNamedPort: http}]");
    check_refused(&named, "spec.egress[0].protocols", "by name");
    let nodes = egress("to: [{nodes: {}}]");
    check_refused(&nodes, &format!("{path}.nodes"), "node-selector-labels");
    assert_eq!(errors(&nodes, Options { node_selector_labels: true, ..Options::default() }), Vec::<String>::new());
}

#[test]
fn protocols() {
    let path = "spec.ingress[0].protocols[0]";
    for good in [
        "{tcp: {destinationPort: {number: 1}}}",
        "{udp: {destinationPort: {range: {start: 1, end: 65535}}}}",
        "{destinationNamedPort: http}",
    ] {
        check_taken(&protocol(good));
    }
    check_refused(&protocol("{}"), path, "one of");
    check_refused(&protocol("{tcp: {destinationPort: {number: 1}}, destinationNamedPort: a}"), path, "only one of");
    check_refused(&protocol("{tcp: {}}"), &format!("{path}.tcp"), "`destinationPort` is missing");
    check_refused(&protocol("{tcp: {destinationPort: {}}}"), &format!("{path}.tcp.destinationPort"), "one of");
    check_refused(
        &protocol("{sctp: {destinationPort: {number: 0}}}"),
        &format!("{path}.sctp.destinationPort.number"),
        "1 and 65535",
    );
    check_refused(
        &protocol("{sctp: {destinationPort: {number: '1'}}}"),
        &format!("{path}.sctp.destinationPort.number"),
        "without quotes",
    );
    check_refused(
        &protocol("{tcp: {destinationPort: {range: {start: 5, end: 5}}}}"),
        &format!("{path}.tcp.destinationPort.range"),
        "must end",
    );
    check_refused(
        &protocol("{tcp: {destinationPort: {range: {start: 5}}}}"),
        &format!("{path}.tcp.destinationPort.range"),
        "`end` is missing",
    );
    check_refused(
        &ingress("from: [{namespaces: {}}], protocols: []"),
        "spec.ingress[0].protocols",
        "must not be empty",
    );
}
