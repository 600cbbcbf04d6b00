//! CiliumNetworkPolicy, CiliumClusterwideNetworkPolicy, CiliumCIDRGroup.

use nexin_policy::input::Options;

use crate::{check_lapse, check_refused, check_taken, errors, parse};

fn cnp(spec: &str) -> String {
    format!("apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {{name: p}}\nspec: {spec}\n")
}

fn ccnp(spec: &str) -> String {
    format!("apiVersion: cilium.io/v2\nkind: CiliumClusterwideNetworkPolicy\nmetadata: {{name: p}}\nspec: {spec}\n")
}

fn ingress(rule: &str) -> String {
    cnp(&format!("{{endpointSelector: {{}}, ingress: [{rule}]}}"))
}

fn egress(rule: &str) -> String {
    cnp(&format!("{{endpointSelector: {{}}, egress: [{rule}]}}"))
}

fn in_ports(rule: &str) -> String {
    ingress(&format!("{{toPorts: [{rule}]}}"))
}

fn out_ports(rule: &str) -> String {
    egress(&format!("{{toPorts: [{rule}]}}"))
}

const IN: &str = "spec.ingress[0]";
const OUT: &str = "spec.egress[0]";
const IN_PORTS: &str = "spec.ingress[0].toPorts[0]";
const OUT_PORTS: &str = "spec.egress[0].toPorts[0]";

fn at(path: &str, rest: &str) -> String {
    format!("{path}{rest}")
}

#[test]
fn subjects() {
    check_refused(&cnp("{ingress: [{}]}"), "spec", "one of `endpointSelector` and `nodeSelector`");
    check_refused(
        &cnp("{endpointSelector: null, ingress: [{}]}"),
        "spec",
        "one of `endpointSelector` and `nodeSelector`",
    );
    check_refused(&ccnp("{endpointSelector: {}, nodeSelector: {}, ingress: [{}]}"), "spec", "only one of");
    check_refused(&cnp("{nodeSelector: {}, ingress: [{}]}"), "spec.nodeSelector", "CiliumClusterwideNetworkPolicy");
    check_taken(&ccnp("{nodeSelector: {}, ingress: [{}]}"));
    check_refused(&cnp("{endpointSelector: [], ingress: [{}]}"), "spec.endpointSelector", "a mapping");
}

#[test]
fn sections() {
    let no_rule = "at least one of";
    check_refused(&cnp("{endpointSelector: {}}"), "spec", no_rule);
    check_refused(&cnp("{endpointSelector: {}, ingress: [], egressDeny: []}"), "spec", no_rule);
    check_taken(&cnp("{endpointSelector: {}, ingress: [], egressDeny: [{}]}"));
    check_refused(&cnp("{endpointSelector: {}, ingress: [null]}"), IN, "a mapping");
    check_refused(&cnp("{endpointSelector: {}, ingress: {}}"), "spec.ingress", "a list");
    check_refused(
        &cnp("{endpointSelector: {}, ingress: [{}], enableDefaultDeny: {ingress: 'yes'}}"),
        "spec.enableDefaultDeny.ingress",
        "true or false",
    );
    check_taken(&cnp("{endpointSelector: {}, ingress: [{}], enableDefaultDeny: {ingress: yes}}"));
    let meta = "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {name: p}\n";
    check_refused(meta, "", "`spec` or `specs`");
    check_taken(&format!("{meta}specs: []\n"));
    check_taken(&format!(
        "{meta}spec: {{endpointSelector: {{}}, ingress: [{{}}]}}\nspecs: [{{endpointSelector: {{}}, egress: [{{}}]}}]\n"
    ));
    check_refused(&format!("{meta}specs: [{{endpointSelector: {{}}}}]\n"), "specs[0]", no_rule);
}

#[test]
fn logs_labels_and_descriptions() {
    let with = |field: &str| cnp(&format!("{{endpointSelector: {{}}, ingress: [{{}}], {field}}}"));
    check_taken(&with("log: {value: 'seen → here'}, description: any, labels: [{key: a, value: b, source: c}]"));
    check_refused(&with(&format!("log: {{value: {}}}", "a".repeat(33))), "spec.log.value", "limit is 32");
    check_refused(&with("log: {value: \"a\\u0007\"}"), "spec.log.value", "cannot be shown");
    check_refused(&with("labels: {a: b}"), "spec.labels", "a list");
    check_refused(&with("labels: [{value: b}]"), "spec.labels[0]", "`key` is missing");
    check_refused(&with("labels: [{key: ''}]"), "spec.labels[0].key", "empty");
    check_refused(&with("labels: ['k8s:a=b']"), "spec.labels[0]", "a mapping");
}

#[test]
fn selectors() {
    let peer = |selector: &str| ingress(&format!("{{fromEndpoints: [{selector}]}}"));
    let path = "spec.ingress[0].fromEndpoints[0]";
    check_taken(&peer(
        "{matchLabels: {'any:a.b/c': d, 'x1:y': ''}, matchExpressions: [{key: k, operator: NotIn, values: [a, '']}]}",
    ));
    check_refused(&peer("{matchLabels: {'a:b:c': d}}"), &at(path, ".matchLabels.a:b:c"), "at most one `:`");
    check_refused(&peer("{matchLabels: {a: 'b c'}}"), &at(path, ".matchLabels.a"), "label value");
    check_refused(&peer("{matchLabels: {a: yes}}"), &at(path, ".matchLabels.a"), "quotes");
    check_refused(&peer("{matchLabels: {a: [b]}}"), &at(path, ".matchLabels.a"), "text");
    check_refused(&peer("{matchLabels: [a]}"), &at(path, ".matchLabels"), "a mapping");
    let expression = at(path, ".matchExpressions[0]");
    check_refused(
        &peer("{matchExpressions: [{key: a, operator: Gt, values: ['1']}]}"),
        &at(&expression, ".operator"),
        "`In`",
    );
    check_refused(
        &peer("{matchExpressions: [{key: a, operator: in, values: ['1']}]}"),
        &at(&expression, ".operator"),
        "did you mean `In`",
    );
    check_refused(&peer("{matchExpressions: [{key: a, operator: In}]}"), &expression, "at least one");
    check_refused(&peer("{matchExpressions: [{key: a, operator: Exists, values: [b]}]}"), &expression, "takes no");
    check_refused(&peer("{matchExpressions: [{operator: Exists}]}"), &expression, "`key` is missing");
    check_refused(&peer("{matchExpressions: [{key: 'a b', operator: Exists}]}"), &at(&expression, ".key"), "label key");
    check_refused(
        &peer("{matchExpressions: [{key: a, operator: In, values: [-b]}]}"),
        &at(&expression, ".values[0]"),
        "label value",
    );
    check_lapse(&peer("{matchLabel: {a: b}}"), &at(path, ".matchLabel"), "did you mean `matchLabels`");
    check_lapse(&peer("{app: web}"), &at(path, ".app"), "matchLabels: {app: ...}");
    check_lapse(&peer("{matchLabels: null}"), &at(path, ".matchLabels"), "no value");
    check_lapse(&peer("{matchLabels: {a: ~}}"), &at(path, ".matchLabels.a"), "no value");
}

#[test]
fn addresses() {
    check_taken(&ingress("{fromCIDR: [10.0.0.0/8, '::/0', 10.0.0.1/32]}"));
    check_refused(&ingress("{fromCIDR: [10.0.0.1]}"), &at(IN, ".fromCIDR[0]"), "`10.0.0.1/32`");
    check_refused(&ingress("{fromCIDR: [example.com]}"), &at(IN, ".fromCIDR[0]"), "no address prefix");
    check_refused(&ingress("{fromCIDR: 10.0.0.0/8}"), &at(IN, ".fromCIDR"), "a list");
    check_refused(&ingress("{fromCIDR: ['']}"), &at(IN, ".fromCIDR[0]"), "no address prefix");
    let set = |rule: &str| egress(&format!("{{toCIDRSet: [{rule}]}}"));
    let path = at(OUT, ".toCIDRSet[0]");
    check_taken(&set("{cidr: 10.0.0.0/8, except: [10.0.0.0/8, 10.1.0.0/16]}"));
    check_taken(&set("{cidrGroupRef: a.b, except: [10.0.0.0/8]}"));
    check_taken(&set("{cidrGroupSelector: {matchLabels: {a: b}}}"));
    check_refused(&set("{}"), &path, "one of `cidr`, `cidrGroupRef` and `cidrGroupSelector`");
    check_refused(&set("{cidr: 10.0.0.0/8, cidrGroupRef: a}"), &path, "only one of");
    check_refused(&set("{cidr: 10.0.0.0/8, except: [11.0.0.0/16]}"), &at(&path, ".except"), "is not inside");
    check_refused(&set("{cidr: 10.0.0.0/16, except: [10.0.0.0/8]}"), &at(&path, ".except"), "is not inside");
    check_refused(&set("{cidr: 10.0.0.0/8, except: ['fd00::/8']}"), &at(&path, ".except"), "is not inside");
    check_refused(&set("{cidr: 10.0.0.0/8, except: [10.0.0.1]}"), &at(&path, ".except[0]"), "/32");
    check_refused(&set("{cidrGroupRef: A}"), &at(&path, ".cidrGroupRef"), "no name");
    check_refused(
        &set("{cidrGroupSelector: {matchExpressions: [{key: a, operator: Equals}]}}"),
        &at(&path, ".cidrGroupSelector.matchExpressions[0].operator"),
        "`In`",
    );
}

#[test]
fn entities() {
    let all = "[all, world, cluster, cluster-mesh, host, init, ingress, unmanaged, remote-node, health, none, kube-apiserver]";
    check_taken(&ingress(&format!("{{fromEntities: {all}}}")));
    check_refused(&ingress("{fromEntities: [wrld]}"), &at(IN, ".fromEntities[0]"), "did you mean `world`");
    check_refused(&ingress("{fromEntities: [internet]}"), &at(IN, ".fromEntities[0]"), "known here: all");
    check_refused(&ingress("{fromEntities: [world-ipv4]}"), &at(IN, ".fromEntities[0]"), "0.0.0.0/0");
    check_refused(&ingress("{fromEntities: world}"), &at(IN, ".fromEntities"), "a list");
}

#[test]
fn peers_are_not_combined() {
    let both = "cannot be combined";
    check_refused(&ingress("{fromEndpoints: [{}], fromEntities: [world]}"), &at(IN, ".fromEntities"), both);
    check_refused(
        &ingress("{fromCIDR: [10.0.0.0/8], fromCIDRSet: [{cidr: 10.0.0.0/8}]}"),
        &at(IN, ".fromCIDRSet"),
        both,
    );
    check_refused(&egress("{toCIDR: [10.0.0.0/8], toFQDNs: [{matchName: a.b}]}"), &at(OUT, ".toFQDNs"), both);
    check_refused(&egress("{toServices: [{}], toEndpoints: [{}]}"), &at(OUT, ".toServices"), both);
    check_taken(&ingress("{fromEndpoints: [{}], fromEntities: []}"));
    check_refused(&ingress("{fromRequires: [{}]}"), &at(IN, ".fromRequires"), "gone since");
    check_taken(&ingress("{fromRequires: []}"));
}

#[test]
fn nodes_need_their_labels() {
    let text = egress("{toNodes: [{matchLabels: {role: edge}}]}");
    check_refused(&text, &at(OUT, ".toNodes"), "node-selector-labels");
    let options = Options { node_selector_labels: true, ..Options::default() };
    assert_eq!(errors(&text, options), Vec::<String>::new());
    check_taken(&egress("{toNodes: []}"));
}

#[test]
fn services_and_groups() {
    check_taken(&egress(
        "{toServices: [{k8sService: {serviceName: a, namespace: b}}, {k8sServiceSelector: {selector: {matchLabels: {a: b}}, namespace: c}}, {}]}",
    ));
    check_refused(
        &egress("{toServices: [{k8sServiceSelector: {namespace: c}}]}"),
        &at(OUT, ".toServices[0].k8sServiceSelector"),
        "`selector` is missing",
    );
    check_taken(&egress(
        "{toGroups: [{aws: {labels: {a: b}, securityGroupsIds: [c], securityGroupsNames: [d], region: e}}]}",
    ));
    check_refused(
        &egress("{toGroups: [{aws: {securityGroupsIds: c}}]}"),
        &at(OUT, ".toGroups[0].aws.securityGroupsIds"),
        "a list",
    );
    check_refused(&ingress("{fromServices: [{}]}"), &at(IN, ".fromServices"), "not known");
}

#[test]
fn names() {
    check_taken(&egress(
        "{toFQDNs: [{matchName: A.example.com.}, {matchPattern: '*.example.com'}, {matchPattern: '*'}]}",
    ));
    let path = at(OUT, ".toFQDNs[0]");
    check_refused(&egress("{toFQDNs: [{}]}"), &path, "one of `matchName` and `matchPattern`");
    check_refused(&egress("{toFQDNs: [{matchName: a, matchPattern: b}]}"), &path, "only one of");
    check_refused(&egress("{toFQDNs: [a.com]}"), &path, "a mapping");
    check_refused(&egress("{toFQDNs: [{matchName: 'https://a.com'}]}"), &at(&path, ".matchName"), "leave `https://`");
    check_refused(
        &egress("{toFQDNs: [{matchName: '*.a.com'}]}"),
        &at(&path, ".matchName"),
        "matchPattern: \"*.a.com\"",
    );
    check_refused(&egress("{toFQDNs: [{matchPattern: '[a].com'}]}"), &at(&path, ".matchPattern"), "no DNS pattern");
    check_refused(&egress("{toFQDNs: [{matchName: ''}]}"), &at(&path, ".matchName"), "no DNS name");
    check_lapse(&ingress("{toFQDNs: [{matchName: a}]}"), &at(IN, ".toFQDNs"), "belongs under `egress`");
}

#[test]
fn port_numbers() {
    let port = |text: &str| in_ports(&format!("{{ports: [{text}]}}"));
    let path = at(IN_PORTS, ".ports[0]");
    for good in [
        "{port: '80'}",
        "{port: '0'}",
        "{port: http-alt}",
        "{port: '0x50'}",
        "{port: '0120'}",
        "{port: '80', endPort: 90}",
        "{port: http, endPort: 90}",
    ] {
        check_taken(&port(good));
    }
    for good in ["{port: '90', endPort: 80}", "{port: '0', protocol: GRE}", "{port: '80', endPort: 0}"] {
        check_taken(&port(good));
    }
    check_lapse(&port("{port: '80', protocol: }"), &at(&path, ".protocol"), "no value");
    check_refused(&port("{port: 80}"), &at(&path, ".port"), "`port: \"80\"`");
    check_refused(&port("{}"), &path, "`port` is missing");
    for bad in ["''", "'65536'", "'-1'", "my--port", "http-", "sixteen-letters1", "'80-90'", "'80 '", "'08'"] {
        check_refused(&port(&format!("{{port: {bad}}}")), &at(&path, ".port"), "no port");
    }
    check_refused(&port("{port: '80-90'}"), &at(&path, ".port"), "into `endPort`");
    check_refused(&port("{port: '80', endPort: '90'}"), &at(&path, ".endPort"), "without quotes");
    check_refused(&port("{port: '80', endPort: 65536}"), &at(&path, ".endPort"), "not between 0 and 65535");
    check_refused(&port("{port: '80', protocol: tcp}"), &at(&path, ".protocol"), "did you mean `TCP`");
    check_refused(&port("{port: '80', protocol: ICMP}"), &at(&path, ".protocol"), "is not one of");
    check_refused(&port("{port: '80', protocol: GRE}"), &at(&path, ".port"), "has no ports");
    check_refused(&in_ports("{ports: {port: '80'}}"), &at(IN_PORTS, ".ports"), "a list");
    check_refused(&ingress("{toPorts: {}}"), &at(IN, ".toPorts"), "a list");
    check_lapse(&in_ports("{port: '80'}"), &at(IN_PORTS, ".port"), "write it into `ports`");
    let options = Options { extended_protocols: true, ..Options::default() };
    assert_eq!(errors(&port("{protocol: GRE}"), options), Vec::<String>::new());
}

#[test]
fn at_most_forty() {
    let list = |item: &str, count: usize| vec![item; count].join(", ");
    for (count, fine) in [(40, true), (41, false)] {
        let ports = list("{port: '1'}", count);
        let deny = cnp(&format!("{{endpointSelector: {{}}, ingressDeny: [{{toPorts: [{{ports: [{ports}]}}]}}]}}"));
        let icmps = ingress(&format!("{{icmps: [{{fields: [{}]}}]}}", list("{type: 8}", count)));
        for text in [in_ports(&format!("{{ports: [{ports}]}}")), deny, icmps] {
            assert_eq!(parse(&text).has_errors(), !fine, "{count}: {text}");
        }
    }
}

#[test]
fn rules_of_requests() {
    let tcp = "ports: [{port: '80', protocol: TCP}]";
    let rules = at(IN_PORTS, ".rules");
    check_taken(&in_ports(&format!(
        "{{{tcp}, rules: {{http: [{{method: GET, path: '/a.*', host: '[', headers: [a, 'b: c']}}]}}}}"
    )));
    check_taken(&in_ports("{rules: {http: [{}]}}"));
    check_taken(&in_ports("{ports: [{port: '80', protocol: UDP}], rules: {http: []}}"));
    check_refused(&in_ports("{ports: [{port: '80'}], rules: {http: [{}]}}"), &rules, "TCP only");
    check_refused(&in_ports("{ports: [{port: '0', protocol: TCP}], rules: {http: [{}]}}"), &rules, "other than 0");
    check_refused(&in_ports(&format!("{{{tcp}, rules: {{}}}}")), &rules, "one of `http`, `dns` and `kafka`");
    check_refused(&in_ports(&format!("{{{tcp}, rules: {{http: null}}}}")), &rules, "one of `http`, `dns` and `kafka`");
    check_refused(&in_ports(&format!("{{{tcp}, rules: {{http: [], dns: []}}}}")), &rules, "only one of");
    check_refused(
        &in_ports(&format!("{{{tcp}, rules: {{l7proto: x, l7: []}}}}")),
        &at(&rules, ".l7proto"),
        "gone since",
    );
    check_refused(
        &in_ports(&format!("{{{tcp}, rules: {{http: [{{method: '['}}]}}}}")),
        &at(&rules, ".http[0].method"),
        "never closed",
    );
    check_refused(
        &in_ports(&format!("{{{tcp}, rules: {{http: [{{path: '(?=a)'}}]}}}}")),
        &at(&rules, ".http[0].path"),
        "look-ahead",
    );
    check_refused(
        &in_ports(&format!("{{{tcp}, rules: {{http: [{{headers: {{a: b}}}}]}}}}")),
        &at(&rules, ".http[0].headers"),
        "a list",
    );
    let headers = |rule: &str| in_ports(&format!("{{{tcp}, rules: {{http: [{{headerMatches: [{rule}]}}]}}}}"));
    let header = at(&rules, ".http[0].headerMatches[0]");
    check_taken(&headers("{name: a, value: b, mismatch: LOG, secret: {name: c, namespace: d}}"));
    check_refused(&headers("{value: b}"), &header, "`name` is missing");
    check_refused(&headers("{name: ''}"), &at(&header, ".name"), "empty");
    check_refused(&headers("{name: a, mismatch: DROP}"), &at(&header, ".mismatch"), "is not one of");
    check_refused(&headers("{name: a, secret: {name: ''}}"), &at(&header, ".secret"), "empty");
    check_refused(&headers("{name: a, secret: {}}"), &at(&header, ".secret"), "`name` is missing");
}

#[test]
fn dns_rules() {
    let rules = at(OUT_PORTS, ".rules");
    for ports in [
        "{port: '53'}",
        "{port: '53', protocol: UDP}",
        "{port: '5353', protocol: SCTP}",
        "{port: dns}",
        "{port: '53', endPort: 53}",
    ] {
        check_taken(&out_ports(&format!("{{ports: [{ports}], rules: {{dns: [{{matchPattern: '*'}}]}}}}")));
    }
    check_refused(&out_ports("{rules: {dns: [{matchPattern: '*'}]}}"), &rules, "need a port");
    check_refused(
        &out_ports("{ports: [{port: '53', endPort: 54}], rules: {dns: [{matchName: a}]}}"),
        &at(OUT_PORTS, ".ports[0].endPort"),
        "range",
    );
    check_refused(&out_ports("{ports: [{port: '53'}], rules: {dns: [{}]}}"), &at(&rules, ".dns[0]"), "one of");
    check_refused(
        &in_ports("{ports: [{port: '53'}], rules: {dns: [{matchName: a}]}}"),
        &at(IN_PORTS, ".rules"),
        "egress only",
    );
}

#[test]
fn kafka_rules_are_still_read() {
    let kafka =
        |rule: &str| in_ports(&format!("{{ports: [{{port: '9092', protocol: TCP}}], rules: {{kafka: [{rule}]}}}}"));
    let path = at(IN_PORTS, ".rules.kafka[0]");
    check_taken(&kafka("{role: produce, topic: a.b_c-1, clientID: x, apiVersion: '2'}"));
    check_taken(&kafka("{apiKey: Fetch}"));
    check_taken(&kafka("{}"));
    check_refused(&kafka("{role: producer}"), &at(&path, ".role"), "did you mean `produce`");
    check_refused(&kafka("{role: produce, apiKey: fetch}"), &at(&path, ".apiKey"), "only one of");
    check_refused(&kafka("{apiKey: fetsh}"), &at(&path, ".apiKey"), "did you mean `fetch`");
    check_refused(&kafka("{apiVersion: '40000'}"), &at(&path, ".apiVersion"), "no version");
    check_refused(&kafka("{topic: 'a b'}"), &at(&path, ".topic"), "no Kafka topic");
}

#[test]
fn tls_and_listeners() {
    let tls = "terminatingTLS: {secret: {name: a, namespace: b}, trustedCA: c, certificate: d, privateKey: e}";
    let http = "ports: [{port: '443', protocol: TCP}], rules: {http: [{}]}";
    check_taken(&out_ports(&format!("{{{http}, serverNames: [a.com, '*.b.com'], {tls}}}")));
    check_refused(
        &out_ports(&format!("{{{http}, serverNames: [a.com]}}")),
        &at(OUT_PORTS, ".rules"),
        "need `terminatingTLS`",
    );
    check_refused(&out_ports("{serverNames: []}"), &at(OUT_PORTS, ".serverNames"), "must not be empty");
    check_refused(&out_ports("{serverNames: ['']}"), &at(OUT_PORTS, ".serverNames[0]"), "no server name");
    check_refused(&out_ports("{serverNames: [a, a]}"), &at(OUT_PORTS, ".serverNames[1]"), "twice");
    check_refused(&out_ports("{originatingTLS: {}}"), &at(OUT_PORTS, ".originatingTLS"), "`secret` is missing");
    let listener = "name: l, envoyConfig: {kind: CiliumEnvoyConfig, name: c}";
    let path = at(OUT_PORTS, ".listener");
    check_taken(&out_ports(&format!("{{listener: {{{listener}, priority: 100}}}}")));
    check_refused(
        &out_ports(&format!("{{listener: {{{listener}, priority: 101}}}}")),
        &at(&path, ".priority"),
        "1 and 100",
    );
    check_refused(&out_ports(&format!("{{{http}, listener: {{{listener}}}}}")), &path, "`rules` cannot be given");
    check_refused(&in_ports(&format!("{{listener: {{{listener}}}}}")), &at(IN_PORTS, ".listener"), "egress only");
    check_refused(&out_ports("{listener: {name: ''}}"), &path, "`envoyConfig` is missing");
    check_refused(
        &out_ports("{listener: {name: l, envoyConfig: {kind: X, name: ''}}}"),
        &at(&path, ".envoyConfig.kind"),
        "is not one of",
    );
}

#[test]
fn deny_rules_have_ports_only() {
    let deny = |rule: &str| cnp(&format!("{{endpointSelector: {{}}, egressDeny: [{rule}]}}"));
    check_taken(&deny("{toEntities: [world], toPorts: [{ports: [{port: '25', protocol: TCP}]}]}"));
    check_lapse(&deny("{toPorts: [{rules: {http: [{}]}}]}"), "spec.egressDeny[0].toPorts[0].rules", "deny rules");
    check_lapse(&deny("{authentication: {mode: required}}"), "spec.egressDeny[0].authentication", "no authentication");
    check_lapse(&deny("{toFQDNs: [{matchName: a}]}"), "spec.egressDeny[0].toFQDNs", "cannot be denied");
}

#[test]
fn icmp() {
    let icmp = |field: &str| ingress(&format!("{{icmps: [{{fields: [{field}]}}]}}"));
    let path = at(IN, ".icmps[0].fields[0]");
    for good in [
        "{type: 8}",
        "{type: '8'}",
        "{type: EchoRequest}",
        "{type: PacketTooBig, family: IPv6}",
        "{type: 255}",
        "{type: 0}",
    ] {
        check_taken(&icmp(good));
    }
    check_refused(&icmp("{type: Ping}"), &at(&path, ".type"), "no ICMP type");
    check_refused(&icmp("{type: EchoRequst}"), &at(&path, ".type"), "did you mean `EchoRequest`");
    check_refused(&icmp("{type: PacketTooBig}"), &at(&path, ".type"), "family: IPv6");
    check_refused(&icmp("{type: '256'}"), &at(&path, ".type"), "no ICMP type");
    check_refused(&icmp("{type: '08'}"), &at(&path, ".type"), "no ICMP type");
    check_refused(&icmp("{type: ExtendedEchoReply}"), &at(&path, ".type"), "no ICMP type");
    check_refused(&icmp("{type: 8, family: ipv4}"), &at(&path, ".family"), "did you mean `IPv4`");
    check_refused(&icmp("{}"), &path, "`type` is missing");
    check_refused(&icmp("{type: true}"), &at(&path, ".type"), "a number or a name");
    check_lapse(&icmp("{type: -1}"), &at(&path, ".type"), "0 to 255");
    check_lapse(&icmp("{type: 256}"), &at(&path, ".type"), "0 to 255");
    check_refused(&ingress("{icmps: [{}], toPorts: [{}]}"), &at(IN, ".icmps"), "cannot be combined");
    check_taken(&ingress("{icmps: [{}], toPorts: []}"));
}

#[test]
fn authentication() {
    for mode in ["disabled", "required", "test-always-fail"] {
        check_taken(&ingress(&format!("{{authentication: {{mode: {mode}}}}}")));
    }
    check_refused(&ingress("{authentication: {mode: mtls}}"), &at(IN, ".authentication.mode"), "is not one of");
    check_refused(&ingress("{authentication: {}}"), &at(IN, ".authentication"), "`mode` is missing");
    check_refused(&ingress("{authentication: required}"), &at(IN, ".authentication"), "a mapping");
}

#[test]
fn nodes_have_no_request_rules() {
    let host = |section: &str, rules: &str, port: &str| {
        ccnp(&format!(
            "{{nodeSelector: {{}}, {section}: [{{toPorts: [{{ports: [{{{port}}}], rules: {{{rules}}}}}]}}]}}"
        ))
    };
    let tcp = "port: '80', protocol: TCP";
    check_refused(&host("ingress", "http: [{}]", tcp), &at(IN_PORTS, ".rules"), "for nodes");
    check_refused(&host("egress", "http: [{}]", tcp), &at(OUT_PORTS, ".rules"), "for nodes");
    check_taken(&host("egress", "dns: [{matchPattern: '*'}]", "port: '53'"));
}

#[test]
fn lists_without_a_value() {
    let text = cnp("\n  endpointSelector: {}\n  ingress:\n  - fromEndpoints:\n    toPorts: []");
    check_lapse(&text, &at(IN, ".fromEndpoints"), "counts as not written");
    check_refused(&cnp("{endpointSelector: {}, ingress: }"), "spec", "at least one of");
}

#[test]
fn fields_of_the_other_side() {
    check_lapse(&egress("{fromEndpoints: [{}]}"), &at(OUT, ".fromEndpoints"), "belongs under `ingress`");
    check_lapse(&ingress("{toEntities: [world]}"), &at(IN, ".toEntities"), "belongs under `egress`");
    check_lapse(&ingress("{from: [{podSelector: {}}]}"), &at(IN, ".from"), "NetworkPolicy's");
    check_lapse(&ingress("{fromEndpoint: [{}]}"), &at(IN, ".fromEndpoint"), "did you mean `fromEndpoints`");
    check_lapse(
        &cnp("{endpointSelector: {}, ingress: [{}], ingressdeny: []}"),
        "spec.ingressdeny",
        "did you mean `ingressDeny`",
    );
}

#[test]
fn cidr_groups() {
    let group = |version: &str, spec: &str| {
        format!("apiVersion: cilium.io/{version}\nkind: CiliumCIDRGroup\nmetadata: {{name: g}}\nspec: {spec}\n")
    };
    check_taken(&group("v2", "{externalCIDRs: [10.0.0.0/8]}"));
    check_taken(&group("v2alpha1", "{externalCIDRs: []}"));
    check_refused(&group("v2", "{externalCIDRs: [10.0.0.1]}"), "spec.externalCIDRs[0]", "/32");
    check_refused(&group("v2", "{}"), "spec", "`externalCIDRs` is missing");
    check_refused(&group("v1", "{externalCIDRs: []}"), "apiVersion", "cilium.io/v2");
}
