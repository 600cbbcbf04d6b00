use nexin_model::{Direction, Tier};

use crate::input::{self, Options, Strictness};
use crate::rule::{Auth, CidrScope, Document, L4, LowerOptions, Peer, ProxyKind, Rule, RuleAction, Subject};

fn lower_with(text: &str, options: impl Into<Options>, lowering: &LowerOptions) -> Vec<Document> {
    let (documents, diagnostics) = input::load(text, "test.yaml", options, lowering);
    let errors: Vec<String> =
        diagnostics.iter().filter(|diagnostic| diagnostic.is_error()).map(ToString::to_string).collect();
    assert_eq!(errors, Vec::<String>::new());
    documents
}

fn rules(text: &str) -> Vec<Rule> {
    lower_with(text, Options { node_selector_labels: true, ..Options::default() }, &LowerOptions::default())
        .into_iter()
        .flat_map(|document| document.rules)
        .collect()
}

fn cnp(spec: &str) -> Vec<Rule> {
    rules(&format!(
        "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {{name: p, namespace: prod}}\nspec: {spec}\n"
    ))
}

fn ccnp(spec: &str) -> Vec<Rule> {
    rules(&format!(
        "apiVersion: cilium.io/v2\nkind: CiliumClusterwideNetworkPolicy\nmetadata: {{name: p}}\nspec: {spec}\n"
    ))
}

fn np(spec: &str) -> Vec<Rule> {
    rules(&format!(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: p, namespace: prod}}\nspec: {spec}\n"
    ))
}

fn words(rules: &[Rule]) -> Vec<String> {
    rules.iter().map(|rule| rule.origin.text.to_string()).collect()
}

fn peers(rule: &Rule) -> Vec<String> {
    let selector = |peer: &Peer| match peer {
        Peer::Endpoints(selector) => selector.to_string(),
        other => format!("{other:?}"),
    };
    rule.peers.iter().map(selector).collect()
}

fn subject(rule: &Rule) -> String {
    match &rule.subject {
        Subject::Endpoints(selector) => format!("{{{selector}}}"),
        Subject::Nodes(selector) => format!("nodes {{{selector}}}"),
    }
}

#[test]
fn a_namespaced_policy_stays_in_its_namespace() {
    let rules =
        cnp("{endpointSelector: {matchLabels: {app: db}}, ingress: [{fromEndpoints: [{matchLabels: {app: web}}]}]}");
    assert_eq!(subject(&rules[0]), "{app=db, k8s:io.kubernetes.pod.namespace=prod}");
    assert_eq!(words(&rules), ["allow from {app=web} in prod"]);
    assert_eq!(&*rules[0].origin.path, "spec.ingress[0]");
    assert_eq!((rules[0].origin.line, rules[0].default_deny), (4, true));
}

#[test]
fn peers_that_name_a_place_keep_it() {
    let list = [
        "k8s:io.kubernetes.pod.namespace: other, app: a",
        "io.cilium.k8s.namespace.labels.team: red",
        "reserved:host: ''",
        "app: b, io.cilium.k8s.policy.cluster: far",
    ]
    .map(|labels| format!("{{matchLabels: {{{labels}}}}}"));
    let rules = cnp(&format!("{{endpointSelector: {{}}, egress: [{{toEndpoints: [{}]}}]}}", list.join(", ")));
    assert_eq!(
        peers(&rules[0]),
        [
            "app=a, k8s:io.cilium.k8s.policy.cluster=default, k8s:io.kubernetes.pod.namespace=other",
            "io.cilium.k8s.namespace.labels.team=red, k8s:io.cilium.k8s.policy.cluster=default",
            "reserved:host=",
            "app=b, io.cilium.k8s.policy.cluster=far, k8s:io.kubernetes.pod.namespace=prod",
        ]
    );
}

#[test]
fn cluster_wide_peers_are_workloads() {
    let rules = ccnp("{endpointSelector: {}, ingress: [{fromEndpoints: [{}]}]}");
    assert_eq!(subject(&rules[0]), "{{}}");
    assert_eq!(words(&rules), ["allow from {workloads} in any namespace"]);
    let rules = ccnp("{endpointSelector: {matchLabels: {reserved:init: ''}}, ingress: [{fromEndpoints: [{}]}]}");
    assert_eq!(words(&rules), ["allow from {workloads}"]);
    let rules = ccnp("{nodeSelector: {matchLabels: {role: edge}}, ingress: [{fromEntities: [all]}]}");
    assert_eq!(subject(&rules[0]), "nodes {role=edge}");
}

#[test]
fn the_subjects_namespace_is_the_policys() {
    let rules = cnp("{endpointSelector: {matchLabels: {k8s:io.kubernetes.pod.namespace: other}}, ingress: [{}]}");
    assert_eq!(subject(&rules[0]), "{k8s:io.kubernetes.pod.namespace=prod}");
    let rules = cnp("{endpointSelector: {matchLabels: {io.kubernetes.pod.namespace: other}}, ingress: [{}]}");
    assert_eq!(subject(&rules[0]), "{io.kubernetes.pod.namespace=other, k8s:io.kubernetes.pod.namespace=prod}");
}

#[test]
fn missing_and_empty_lists_differ() {
    let rules =
        cnp("{endpointSelector: {}, ingress: [{}, {fromEndpoints: []}, {fromEntities: [world], fromCIDR: []}]}");
    assert_eq!(words(&rules), ["default deny of ingress", "default deny of ingress", "default deny of ingress"]);
    let rules = cnp(
        "{endpointSelector: {}, ingress: [{toPorts: []}, {toPorts: [{}]}, {toPorts: [{ports: []}]}, {icmps: [{}]}]}",
    );
    assert_eq!(
        rules.iter().map(|rule| rule.l4.clone()).collect::<Vec<_>>(),
        [L4::Any, L4::Some(Vec::new()), L4::Some(Vec::new()), L4::Some(Vec::new())]
    );
    let rules = cnp("{endpointSelector: {}, egress: [{toFQDNs: [], toPorts: [{ports: [{port: '443'}]}]}]}");
    assert_eq!(words(&rules), ["allow to nobody on TCP 443 or UDP 443 or SCTP 443"]);
}

#[test]
fn ports_ranges_and_names() {
    let rules = cnp(
        "{endpointSelector: {}, ingressDeny: [{toPorts: [{ports: [{port: '80', endPort: 90, protocol: TCP}, {port: Http, protocol: UDP}, \
         {port: '0', protocol: SCTP}, {port: '90', endPort: 80, protocol: TCP}]}]}, {toPorts: [{ports: [{port: '0', protocol: GRE}]}]}, \
         {icmps: [{fields: [{type: 8}, {type: EchoRequest, family: IPv6}]}]}]}",
    );
    assert_eq!(
        words(&rules),
        [
            "deny from anyone on TCP 80-90 or UDP http or SCTP or TCP 90",
            "deny from anyone on protocol 47",
            "deny from anyone on ICMP type 8 or ICMPv6 type 128",
        ]
    );
    assert!(rules.iter().all(|rule| rule.action == RuleAction::Deny && rule.direction == Direction::Ingress));
}

#[test]
fn each_port_rule_has_its_own_proxy() {
    let rules = cnp(
        "{endpointSelector: {}, egress: [{authentication: {mode: required}, toPorts: [{ports: [{port: '80', protocol: TCP}], rules: {http: [{}]}}, \
         {ports: [{port: '53'}], rules: {dns: [{matchName: a.com}]}}, {ports: [{port: '443', protocol: TCP}], serverNames: [a.com]}, \
         {ports: [{port: '1', protocol: TCP}], rules: {http: []}}, {ports: [{port: '9092', protocol: TCP}], rules: {kafka: [{topic: t}]}}, \
         {ports: [{port: '2', protocol: TCP}], listener: {name: l, envoyConfig: {name: c}, priority: 7}}]}]}",
    );
    let kinds: Vec<_> =
        rules.iter().map(|rule| rule.redirect.map(|redirect| (redirect.kind, redirect.priority))).collect();
    assert_eq!(
        kinds,
        [
            Some((ProxyKind::Http, 101)),
            Some((ProxyKind::Dns, 121)),
            Some((ProxyKind::Tls, 116)),
            None,
            Some((ProxyKind::Kafka, 106)),
            Some((ProxyKind::Listener, 7)),
        ]
    );
    assert!(rules.iter().all(|rule| rule.auth == Some(Auth::Required)));
    assert_eq!(&*rules[4].origin.path, "spec.egress[0].toPorts[4]");
}

#[test]
fn default_deny_can_be_switched() {
    let spec = "{endpointSelector: {}, enableDefaultDeny: {ingress: false, egress: true}, ingress: [{}]}";
    let rules = cnp(spec);
    assert_eq!(words(&rules), ["allow from nobody", "default deny of egress"]);
    assert_eq!(rules.iter().map(|rule| rule.default_deny).collect::<Vec<_>>(), [false, true]);
    let text = format!(
        "apiVersion: cilium.io/v2\nkind: CiliumClusterwideNetworkPolicy\nmetadata: {{name: p}}\nspec: {spec}\n"
    );
    let options = LowerOptions { ignore_default_deny_switch: true, ..LowerOptions::default() };
    let documents = lower_with(&text, Strictness::Strict, &options);
    assert_eq!(documents[0].rules.iter().map(|rule| rule.default_deny).collect::<Vec<_>>(), [true]);
}

#[test]
fn network_policies_follow_the_specification() {
    let rules = np(
        "{podSelector: {matchLabels: {app: db}}, ingress: [{from: [{podSelector: {}}, {namespaceSelector: {matchLabels: {team: a}}}, \
                    {ipBlock: {cidr: 10.0.0.0/8, except: [10.1.0.0/16]}}], ports: [{port: 80}, {protocol: UDP, port: dns}, {port: 5, endPort: 9}]}]}",
    );
    assert_eq!(
        words(&rules),
        [
            "allow from {workloads} in prod or {k8s:io.cilium.k8s.namespace.labels.team=a} in any namespace or 10.0.0.0/8 except 10.1.0.0/16 on TCP 80 or UDP dns or TCP 5-9"
        ]
    );
    assert!(matches!(&rules[0].peers[2], Peer::Cidr(cidr) if cidr.scope == CidrScope::Everything));
}

#[test]
fn policy_types_decide_what_is_isolated() {
    assert_eq!(words(&np("{podSelector: {}}")), ["default deny of ingress"]);
    assert_eq!(words(&np("{podSelector: {}, egress: []}")), ["default deny of ingress"]);
    assert_eq!(words(&np("{podSelector: {}, egress: [{}]}")), ["default deny of ingress", "allow to anyone"]);
    assert_eq!(words(&np("{podSelector: {}, policyTypes: [Egress], ingress: [{}]}")), ["default deny of egress"]);
    let both = np("{podSelector: {}, policyTypes: [Ingress, Egress], ingress: [{}]}");
    assert_eq!(words(&both), ["allow from anyone", "default deny of egress"]);
}

#[test]
fn cluster_policies_are_ranked() {
    let rules = rules(
        "apiVersion: policy.networking.k8s.io/v1alpha2\nkind: ClusterNetworkPolicy\nmetadata: {name: p}\nspec: {tier: Admin, priority: 7, \
         subject: {namespaces: {}}, ingress: [{action: Pass, from: [{namespaces: {matchExpressions: [{key: a, operator: DoesNotExist}]}}]}, \
         {action: Deny, from: [{pods: {podSelector: {matchLabels: {app: x}}}}], protocols: [{tcp: {destinationPort: {range: {start: 1, end: 9}}}}]}], \
         egress: [{action: Accept, to: [{networks: [10.0.0.0/8]}, {domainNames: ['*.a.com']}]}]}\n",
    );
    assert_eq!(
        words(&rules),
        [
            "pass from {!k8s:io.cilium.k8s.namespace.labels.a} in any namespace",
            "deny from {app=x} in any namespace on TCP 1-9",
            "allow to 10.0.0.0/8 or DNS name **.a.com",
        ]
    );
    let levels: Vec<_> = rules.iter().map(|rule| (rule.level.tier, rule.level.priority, rule.level.index)).collect();
    assert_eq!(levels, [(Tier::Admin, 7, Some(0)), (Tier::Admin, 7, Some(1)), (Tier::Admin, 7, Some(0))]);
    assert!(rules.iter().all(|rule| !rule.default_deny));
}

#[test]
fn groups_shadows_and_logs() {
    let documents = lower_with(
        "apiVersion: cilium.io/v2\nkind: CiliumCIDRGroup\nmetadata: {name: g, labels: {zone: a}}\nspec: {externalCIDRs: [10.1.2.3/8]}\n---\n\
         apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {name: p, annotations: {policy.nexin.dev/mode: shadow}}\n\
         spec: {endpointSelector: {}, log: {value: seen}, egress: [{toCIDRSet: [{cidrGroupRef: g}, {cidrGroupSelector: {matchLabels: {zone: a}}}]}]}\n",
        Strictness::Strict,
        &LowerOptions::default(),
    );
    let group = documents[0].cidr_group.clone().unwrap_or_default();
    assert_eq!(
        (group.labels.to_string(), group.prefixes[0].to_string()),
        ("cidrgroup:zone=a".to_owned(), "10.0.0.0/8".to_owned())
    );
    let rule = &documents[1].rules[0];
    assert_eq!((rule.shadow, rule.log.as_deref()), (true, Some("seen")));
    assert_eq!(&*rule.origin.text, "allow to CIDR group g or CIDR groups {cidrgroup:zone=a}");
    assert_eq!(documents[1].key.to_string(), "CiliumNetworkPolicy default/p");
}

#[test]
fn what_is_not_built_is_named_place_by_place() {
    let text = "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {name: p}\nspec:\n  endpointSelector: {}\n  egress:\n  \
                - toFQDNs: [{matchName: a.com}]\n    toPorts: [{ports: [{port: '80', protocol: TCP}], rules: {http: [{}]}}]\n  \
                - toServices: [{k8sService: {serviceName: s}}]\n  - toEntities: [world]\n    authentication: {mode: required}\n";
    let parsed = input::parse(text, "p.yaml", Strictness::Strict);
    let found: Vec<String> = parsed.documents[0].unenforceable().iter().map(ToString::to_string).collect();
    assert_eq!(
        found,
        [
            "p.yaml:8:15: error: spec.egress[0].toPorts[0]: not enforceable yet: HTTP rules need the proxy",
            "p.yaml:8:15: error: spec.egress[0].toPorts[0]: not enforceable yet: rules by DNS name need the DNS proxy",
            "p.yaml:9:5: error: spec.egress[1]: not enforceable yet: rules by service need services",
            "p.yaml:10:5: error: spec.egress[2]: not enforceable yet: authentication between workloads",
        ]
    );
}
