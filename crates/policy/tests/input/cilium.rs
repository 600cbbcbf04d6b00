//! CiliumNetworkPolicy, CiliumClusterwideNetworkPolicy, CiliumCIDRGroup.

use nexin_policy::input::Options;

use crate::{accepts, errors, lapse, parse, refuses};

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
    refuses(&cnp("{ingress: [{}]}"), "spec", "one of `endpointSelector` and `nodeSelector`");
    refuses(&cnp("{endpointSelector: null, ingress: [{}]}"), "spec", "one of `endpointSelector` and `nodeSelector`");
    refuses(&ccnp("{endpointSelector: {}, nodeSelector: {}, ingress: [{}]}"), "spec", "only one of");
    refuses(&cnp("{nodeSelector: {}, ingress: [{}]}"), "spec.nodeSelector", "CiliumClusterwideNetworkPolicy");
    accepts(&ccnp("{nodeSelector: {}, ingress: [{}]}"));
    refuses(&cnp("{endpointSelector: [], ingress: [{}]}"), "spec.endpointSelector", "a mapping");
}

#[test]
fn sections() {
    let no_rule = "at least one of";
    refuses(&cnp("{endpointSelector: {}}"), "spec", no_rule);
    refuses(&cnp("{endpointSelector: {}, ingress: [], egressDeny: []}"), "spec", no_rule);
    accepts(&cnp("{endpointSelector: {}, ingress: [], egressDeny: [{}]}"));
    refuses(&cnp("{endpointSelector: {}, ingress: [null]}"), IN, "a mapping");
    refuses(&cnp("{endpointSelector: {}, ingress: {}}"), "spec.ingress", "a list");
    refuses(
        &cnp("{endpointSelector: {}, ingress: [{}], enableDefaultDeny: {ingress: 'yes'}}"),
        "spec.enableDefaultDeny.ingress",
        "true or false",
    );
    accepts(&cnp("{endpointSelector: {}, ingress: [{}], enableDefaultDeny: {ingress: yes}}"));
    let meta = "apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {name: p}\n";
    refuses(meta, "", "`spec` or `specs`");
    accepts(&format!("{meta}specs: []\n"));
    accepts(&format!(
        "{meta}spec: {{endpointSelector: {{}}, ingress: [{{}}]}}\nspecs: [{{endpointSelector: {{}}, egress: [{{}}]}}]\n"
    ));
    refuses(&format!("{meta}specs: [{{endpointSelector: {{}}}}]\n"), "specs[0]", no_rule);
}

#[test]
fn logs_labels_and_descriptions() {
    let with = |field: &str| cnp(&format!("{{endpointSelector: {{}}, ingress: [{{}}], {field}}}"));
    accepts(&with("log: {value: 'seen → here'}, description: any, labels: [{key: a, value: b, source: c}]"));
    refuses(&with(&format!("log: {{value: {}}}", "a".repeat(33))), "spec.log.value", "limit is 32");
    refuses(&with("log: {value: \"a\\u0007\"}"), "spec.log.value", "cannot be shown");
    refuses(&with("labels: {a: b}"), "spec.labels", "a list");
    refuses(&with("labels: [{value: b}]"), "spec.labels[0]", "`key` is missing");
    refuses(&with("labels: [{key: ''}]"), "spec.labels[0].key", "empty");
    refuses(&with("labels: ['k8s:a=b']"), "spec.labels[0]", "a mapping");
}

#[test]
fn selectors() {
    let peer = |selector: &str| ingress(&format!("{{fromEndpoints: [{selector}]}}"));
    let path = "spec.ingress[0].fromEndpoints[0]";
    accepts(&peer(
        "{matchLabels: {'any:a.b/c': d, 'x1:y': ''}, matchExpressions: [{key: k, operator: NotIn, values: [a, '']}]}",
    ));
    refuses(&peer("{matchLabels: {'a:b:c': d}}"), &at(path, ".matchLabels.a:b:c"), "at most one `:`");
    refuses(&peer("{matchLabels: {a: 'b c'}}"), &at(path, ".matchLabels.a"), "label value");
    refuses(&peer("{matchLabels: {a: yes}}"), &at(path, ".matchLabels.a"), "quotes");
    refuses(&peer("{matchLabels: {a: [b]}}"), &at(path, ".matchLabels.a"), "text");
    refuses(&peer("{matchLabels: [a]}"), &at(path, ".matchLabels"), "a mapping");
    let expression = at(path, ".matchExpressions[0]");
    refuses(
        &peer("{matchExpressions: [{key: a, operator: Gt, values: ['1']}]}"),
        &at(&expression, ".operator"),
        "`In`",
    );
    refuses(
        &peer("{matchExpressions: [{key: a, operator: in, values: ['1']}]}"),
        &at(&expression, ".operator"),
        "did you mean `In`",
    );
    refuses(&peer("{matchExpressions: [{key: a, operator: In}]}"), &expression, "at least one");
    refuses(&peer("{matchExpressions: [{key: a, operator: Exists, values: [b]}]}"), &expression, "takes no");
    refuses(&peer("{matchExpressions: [{operator: Exists}]}"), &expression, "`key` is missing");
    refuses(&peer("{matchExpressions: [{key: 'a b', operator: Exists}]}"), &at(&expression, ".key"), "label key");
    refuses(
        &peer("{matchExpressions: [{key: a, operator: In, values: [-b]}]}"),
        &at(&expression, ".values[0]"),
        "label value",
    );
    lapse(&peer("{matchLabel: {a: b}}"), &at(path, ".matchLabel"), "did you mean `matchLabels`");
    lapse(&peer("{app: web}"), &at(path, ".app"), "matchLabels: {app: ...}");
    lapse(&peer("{matchLabels: null}"), &at(path, ".matchLabels"), "no value");
    lapse(&peer("{matchLabels: {a: ~}}"), &at(path, ".matchLabels.a"), "no value");
}

#[test]
fn addresses() {
    accepts(&ingress("{fromCIDR: [10.0.0.0/8, '::/0', 10.0.0.1/32]}"));
    refuses(&ingress("{fromCIDR: [10.0.0.1]}"), &at(IN, ".fromCIDR[0]"), "`10.0.0.1/32`");
    refuses(&ingress("{fromCIDR: [example.com]}"), &at(IN, ".fromCIDR[0]"), "no address prefix");
    refuses(&ingress("{fromCIDR: 10.0.0.0/8}"), &at(IN, ".fromCIDR"), "a list");
    refuses(&ingress("{fromCIDR: ['']}"), &at(IN, ".fromCIDR[0]"), "no address prefix");
    let set = |rule: &str| egress(&format!("{{toCIDRSet: [{rule}]}}"));
    let path = at(OUT, ".toCIDRSet[0]");
    accepts(&set("{cidr: 10.0.0.0/8, except: [10.0.0.0/8, 10.1.0.0/16]}"));
    accepts(&set("{cidrGroupRef: a.b, except: [10.0.0.0/8]}"));
    accepts(&set("{cidrGroupSelector: {matchLabels: {a: b}}}"));
    refuses(&set("{}"), &path, "one of `cidr`, `cidrGroupRef` and `cidrGroupSelector`");
    refuses(&set("{cidr: 10.0.0.0/8, cidrGroupRef: a}"), &path, "only one of");
    refuses(&set("{cidr: 10.0.0.0/8, except: [11.0.0.0/16]}"), &at(&path, ".except"), "is not inside");
    refuses(&set("{cidr: 10.0.0.0/16, except: [10.0.0.0/8]}"), &at(&path, ".except"), "is not inside");
    refuses(&set("{cidr: 10.0.0.0/8, except: ['fd00::/8']}"), &at(&path, ".except"), "is not inside");
    refuses(&set("{cidr: 10.0.0.0/8, except: [10.0.0.1]}"), &at(&path, ".except[0]"), "/32");
    refuses(&set("{cidrGroupRef: A}"), &at(&path, ".cidrGroupRef"), "no name");
    refuses(
        &set("{cidrGroupSelector: {matchExpressions: [{key: a, operator: Equals}]}}"),
        &at(&path, ".cidrGroupSelector.matchExpressions[0].operator"),
        "`In`",
    );
}

#[test]
fn entities() {
    let all = "[all, world, cluster, cluster-mesh, host, init, ingress, unmanaged, remote-node, health, none, kube-apiserver]";
    accepts(&ingress(&format!("{{fromEntities: {all}}}")));
    refuses(&ingress("{fromEntities: [wrld]}"), &at(IN, ".fromEntities[0]"), "did you mean `world`");
    refuses(&ingress("{fromEntities: [internet]}"), &at(IN, ".fromEntities[0]"), "known here: all");
    refuses(&ingress("{fromEntities: [world-ipv4]}"), &at(IN, ".fromEntities[0]"), "0.0.0.0/0");
    refuses(&ingress("{fromEntities: world}"), &at(IN, ".fromEntities"), "a list");
}

#[test]
fn peers_are_not_combined() {
    let both = "cannot be combined";
    refuses(&ingress("{fromEndpoints: [{}], fromEntities: [world]}"), &at(IN, ".fromEntities"), both);
    refuses(&ingress("{fromCIDR: [10.0.0.0/8], fromCIDRSet: [{cidr: 10.0.0.0/8}]}"), &at(IN, ".fromCIDRSet"), both);
    refuses(&egress("{toCIDR: [10.0.0.0/8], toFQDNs: [{matchName: a.b}]}"), &at(OUT, ".toFQDNs"), both);
    refuses(&egress("{toServices: [{}], toEndpoints: [{}]}"), &at(OUT, ".toServices"), both);
    accepts(&ingress("{fromEndpoints: [{}], fromEntities: []}"));
    refuses(&ingress("{fromRequires: [{}]}"), &at(IN, ".fromRequires"), "gone since");
    accepts(&ingress("{fromRequires: []}"));
}

#[test]
fn nodes_need_their_labels() {
    let text = egress("{toNodes: [{matchLabels: {role: edge}}]}");
    refuses(&text, &at(OUT, ".toNodes"), "node-selector-labels");
    let options = Options { node_selector_labels: true, ..Options::default() };
    assert_eq!(errors(&text, options), Vec::<String>::new());
    accepts(&egress("{toNodes: []}"));
}

#[test]
fn services_and_groups() {
    accepts(&egress(
        "{toServices: [{k8sService: {serviceName: a, namespace: b}}, {k8sServiceSelector: {selector: {matchLabels: {a: b}}, namespace: c}}, {}]}",
    ));
    refuses(
        &egress("{toServices: [{k8sServiceSelector: {namespace: c}}]}"),
        &at(OUT, ".toServices[0].k8sServiceSelector"),
        "`selector` is missing",
    );
    accepts(&egress(
        "{toGroups: [{aws: {labels: {a: b}, securityGroupsIds: [c], securityGroupsNames: [d], region: e}}]}",
    ));
    refuses(
        &egress("{toGroups: [{aws: {securityGroupsIds: c}}]}"),
        &at(OUT, ".toGroups[0].aws.securityGroupsIds"),
        "a list",
    );
    refuses(&ingress("{fromServices: [{}]}"), &at(IN, ".fromServices"), "not known");
}

#[test]
fn names() {
    accepts(&egress("{toFQDNs: [{matchName: A.example.com.}, {matchPattern: '*.example.com'}, {matchPattern: '*'}]}"));
    let path = at(OUT, ".toFQDNs[0]");
    refuses(&egress("{toFQDNs: [{}]}"), &path, "one of `matchName` and `matchPattern`");
    refuses(&egress("{toFQDNs: [{matchName: a, matchPattern: b}]}"), &path, "only one of");
    refuses(&egress("{toFQDNs: [a.com]}"), &path, "a mapping");
    refuses(&egress("{toFQDNs: [{matchName: 'https://a.com'}]}"), &at(&path, ".matchName"), "leave `https://`");
    refuses(&egress("{toFQDNs: [{matchName: '*.a.com'}]}"), &at(&path, ".matchName"), "matchPattern: \"*.a.com\"");
    refuses(&egress("{toFQDNs: [{matchPattern: '[a].com'}]}"), &at(&path, ".matchPattern"), "no DNS pattern");
    refuses(&egress("{toFQDNs: [{matchName: ''}]}"), &at(&path, ".matchName"), "no DNS name");
    lapse(&ingress("{toFQDNs: [{matchName: a}]}"), &at(IN, ".toFQDNs"), "belongs under `egress`");
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
        accepts(&port(good));
    }
    for good in ["{port: '90', endPort: 80}", "{port: '0', protocol: GRE}", "{port: '80', endPort: 0}"] {
        accepts(&port(good));
    }
    lapse(&port("{port: '80', protocol: }"), &at(&path, ".protocol"), "no value");
    refuses(&port("{port: 80}"), &at(&path, ".port"), "`port: \"80\"`");
    refuses(&port("{}"), &path, "`port` is missing");
    for bad in ["''", "'65536'", "'-1'", "my--port", "http-", "sixteen-letters1", "'80-90'", "'80 '", "'08'"] {
        refuses(&port(&format!("{{port: {bad}}}")), &at(&path, ".port"), "no port");
    }
    refuses(&port("{port: '80-90'}"), &at(&path, ".port"), "into `endPort`");
    refuses(&port("{port: '80', endPort: '90'}"), &at(&path, ".endPort"), "without quotes");
    refuses(&port("{port: '80', endPort: 65536}"), &at(&path, ".endPort"), "not between 0 and 65535");
    refuses(&port("{port: '80', protocol: tcp}"), &at(&path, ".protocol"), "did you mean `TCP`");
    refuses(&port("{port: '80', protocol: ICMP}"), &at(&path, ".protocol"), "is not one of");
    refuses(&port("{port: '80', protocol: GRE}"), &at(&path, ".port"), "has no ports");
    refuses(&in_ports("{ports: {port: '80'}}"), &at(IN_PORTS, ".ports"), "a list");
    refuses(&ingress("{toPorts: {}}"), &at(IN, ".toPorts"), "a list");
    lapse(&in_ports("{port: '80'}"), &at(IN_PORTS, ".port"), "write it into `ports`");
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
    accepts(&in_ports(&format!(
        "{{{tcp}, rules: {{http: [{{method: GET, path: '/a.*', host: '[', headers: [a, 'b: c']}}]}}}}"
    )));
    accepts(&in_ports("{rules: {http: [{}]}}"));
    accepts(&in_ports("{ports: [{port: '80', protocol: UDP}], rules: {http: []}}"));
    refuses(&in_ports("{ports: [{port: '80'}], rules: {http: [{}]}}"), &rules, "TCP only");
    refuses(&in_ports("{ports: [{port: '0', protocol: TCP}], rules: {http: [{}]}}"), &rules, "other than 0");
    refuses(&in_ports(&format!("{{{tcp}, rules: {{}}}}")), &rules, "one of `http`, `dns` and `kafka`");
    refuses(&in_ports(&format!("{{{tcp}, rules: {{http: null}}}}")), &rules, "one of `http`, `dns` and `kafka`");
    refuses(&in_ports(&format!("{{{tcp}, rules: {{http: [], dns: []}}}}")), &rules, "only one of");
    refuses(&in_ports(&format!("{{{tcp}, rules: {{l7proto: x, l7: []}}}}")), &at(&rules, ".l7proto"), "gone since");
    refuses(
        &in_ports(&format!("{{{tcp}, rules: {{http: [{{method: '['}}]}}}}")),
        &at(&rules, ".http[0].method"),
        "never closed",
    );
    refuses(
        &in_ports(&format!("{{{tcp}, rules: {{http: [{{path: '(?=a)'}}]}}}}")),
        &at(&rules, ".http[0].path"),
        "look-ahead",
    );
    refuses(
        &in_ports(&format!("{{{tcp}, rules: {{http: [{{headers: {{a: b}}}}]}}}}")),
        &at(&rules, ".http[0].headers"),
        "a list",
    );
    let headers = |rule: &str| in_ports(&format!("{{{tcp}, rules: {{http: [{{headerMatches: [{rule}]}}]}}}}"));
    let header = at(&rules, ".http[0].headerMatches[0]");
    accepts(&headers("{name: a, value: b, mismatch: LOG, secret: {name: c, namespace: d}}"));
    refuses(&headers("{value: b}"), &header, "`name` is missing");
    refuses(&headers("{name: ''}"), &at(&header, ".name"), "empty");
    refuses(&headers("{name: a, mismatch: DROP}"), &at(&header, ".mismatch"), "is not one of");
    refuses(&headers("{name: a, secret: {name: ''}}"), &at(&header, ".secret"), "empty");
    refuses(&headers("{name: a, secret: {}}"), &at(&header, ".secret"), "`name` is missing");
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
        accepts(&out_ports(&format!("{{ports: [{ports}], rules: {{dns: [{{matchPattern: '*'}}]}}}}")));
    }
    refuses(&out_ports("{rules: {dns: [{matchPattern: '*'}]}}"), &rules, "need a port");
    refuses(
        &out_ports("{ports: [{port: '53', endPort: 54}], rules: {dns: [{matchName: a}]}}"),
        &at(OUT_PORTS, ".ports[0].endPort"),
        "range",
    );
    refuses(&out_ports("{ports: [{port: '53'}], rules: {dns: [{}]}}"), &at(&rules, ".dns[0]"), "one of");
    refuses(
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
    accepts(&kafka("{role: produce, topic: a.b_c-1, clientID: x, apiVersion: '2'}"));
    accepts(&kafka("{apiKey: Fetch}"));
    accepts(&kafka("{}"));
    refuses(&kafka("{role: producer}"), &at(&path, ".role"), "did you mean `produce`");
    refuses(&kafka("{role: produce, apiKey: fetch}"), &at(&path, ".apiKey"), "only one of");
    refuses(&kafka("{apiKey: fetsh}"), &at(&path, ".apiKey"), "did you mean `fetch`");
    refuses(&kafka("{apiVersion: '40000'}"), &at(&path, ".apiVersion"), "no version");
    refuses(&kafka("{topic: 'a b'}"), &at(&path, ".topic"), "no Kafka topic");
}

#[test]
fn tls_and_listeners() {
    let tls = "terminatingTLS: {secret: {name: a, namespace: b}, trustedCA: c, certificate: d, privateKey: e}";
    let http = "ports: [{port: '443', protocol: TCP}], rules: {http: [{}]}";
    accepts(&out_ports(&format!("{{{http}, serverNames: [a.com, '*.b.com'], {tls}}}")));
    refuses(
        &out_ports(&format!("{{{http}, serverNames: [a.com]}}")),
        &at(OUT_PORTS, ".rules"),
        "need `terminatingTLS`",
    );
    refuses(&out_ports("{serverNames: []}"), &at(OUT_PORTS, ".serverNames"), "must not be empty");
    refuses(&out_ports("{serverNames: ['']}"), &at(OUT_PORTS, ".serverNames[0]"), "no server name");
    refuses(&out_ports("{serverNames: [a, a]}"), &at(OUT_PORTS, ".serverNames[1]"), "twice");
    refuses(&out_ports("{originatingTLS: {}}"), &at(OUT_PORTS, ".originatingTLS"), "`secret` is missing");
    let listener = "name: l, envoyConfig: {kind: CiliumEnvoyConfig, name: c}";
    let path = at(OUT_PORTS, ".listener");
    accepts(&out_ports(&format!("{{listener: {{{listener}, priority: 100}}}}")));
    refuses(&out_ports(&format!("{{listener: {{{listener}, priority: 101}}}}")), &at(&path, ".priority"), "1 and 100");
    refuses(&out_ports(&format!("{{{http}, listener: {{{listener}}}}}")), &path, "`rules` cannot be given");
    refuses(&in_ports(&format!("{{listener: {{{listener}}}}}")), &at(IN_PORTS, ".listener"), "egress only");
    refuses(&out_ports("{listener: {name: ''}}"), &path, "`envoyConfig` is missing");
    refuses(
        &out_ports("{listener: {name: l, envoyConfig: {kind: X, name: ''}}}"),
        &at(&path, ".envoyConfig.kind"),
        "is not one of",
    );
}

#[test]
fn deny_rules_have_ports_only() {
    let deny = |rule: &str| cnp(&format!("{{endpointSelector: {{}}, egressDeny: [{rule}]}}"));
    accepts(&deny("{toEntities: [world], toPorts: [{ports: [{port: '25', protocol: TCP}]}]}"));
    lapse(&deny("{toPorts: [{rules: {http: [{}]}}]}"), "spec.egressDeny[0].toPorts[0].rules", "deny rules");
    lapse(&deny("{authentication: {mode: required}}"), "spec.egressDeny[0].authentication", "no authentication");
    lapse(&deny("{toFQDNs: [{matchName: a}]}"), "spec.egressDeny[0].toFQDNs", "cannot be denied");
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
        accepts(&icmp(good));
    }
    refuses(&icmp("{type: Ping}"), &at(&path, ".type"), "no ICMP type");
    refuses(&icmp("{type: EchoRequst}"), &at(&path, ".type"), "did you mean `EchoRequest`");
    refuses(&icmp("{type: PacketTooBig}"), &at(&path, ".type"), "family: IPv6");
    refuses(&icmp("{type: '256'}"), &at(&path, ".type"), "no ICMP type");
    refuses(&icmp("{type: '08'}"), &at(&path, ".type"), "no ICMP type");
    refuses(&icmp("{type: ExtendedEchoReply}"), &at(&path, ".type"), "no ICMP type");
    refuses(&icmp("{type: 8, family: ipv4}"), &at(&path, ".family"), "did you mean `IPv4`");
    refuses(&icmp("{}"), &path, "`type` is missing");
    refuses(&icmp("{type: true}"), &at(&path, ".type"), "a number or a name");
    lapse(&icmp("{type: -1}"), &at(&path, ".type"), "0 to 255");
    lapse(&icmp("{type: 256}"), &at(&path, ".type"), "0 to 255");
    refuses(&ingress("{icmps: [{}], toPorts: [{}]}"), &at(IN, ".icmps"), "cannot be combined");
    accepts(&ingress("{icmps: [{}], toPorts: []}"));
}

#[test]
fn authentication() {
    for mode in ["disabled", "required", "test-always-fail"] {
        accepts(&ingress(&format!("{{authentication: {{mode: {mode}}}}}")));
    }
    refuses(&ingress("{authentication: {mode: mtls}}"), &at(IN, ".authentication.mode"), "is not one of");
    refuses(&ingress("{authentication: {}}"), &at(IN, ".authentication"), "`mode` is missing");
    refuses(&ingress("{authentication: required}"), &at(IN, ".authentication"), "a mapping");
}

#[test]
fn nodes_have_no_request_rules() {
    let host = |section: &str, rules: &str, port: &str| {
        ccnp(&format!(
            "{{nodeSelector: {{}}, {section}: [{{toPorts: [{{ports: [{{{port}}}], rules: {{{rules}}}}}]}}]}}"
        ))
    };
    let tcp = "port: '80', protocol: TCP";
    refuses(&host("ingress", "http: [{}]", tcp), &at(IN_PORTS, ".rules"), "for nodes");
    refuses(&host("egress", "http: [{}]", tcp), &at(OUT_PORTS, ".rules"), "for nodes");
    accepts(&host("egress", "dns: [{matchPattern: '*'}]", "port: '53'"));
}

#[test]
fn lists_without_a_value() {
    let text = cnp("\n  endpointSelector: {}\n  ingress:\n  - fromEndpoints:\n    toPorts: []");
    lapse(&text, &at(IN, ".fromEndpoints"), "counts as not written");
    refuses(&cnp("{endpointSelector: {}, ingress: }"), "spec", "at least one of");
}

#[test]
fn fields_of_the_other_side() {
    lapse(&egress("{fromEndpoints: [{}]}"), &at(OUT, ".fromEndpoints"), "belongs under `ingress`");
    lapse(&ingress("{toEntities: [world]}"), &at(IN, ".toEntities"), "belongs under `egress`");
    lapse(&ingress("{from: [{podSelector: {}}]}"), &at(IN, ".from"), "NetworkPolicy's");
    lapse(&ingress("{fromEndpoint: [{}]}"), &at(IN, ".fromEndpoint"), "did you mean `fromEndpoints`");
    lapse(
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
    accepts(&group("v2", "{externalCIDRs: [10.0.0.0/8]}"));
    accepts(&group("v2alpha1", "{externalCIDRs: []}"));
    refuses(&group("v2", "{externalCIDRs: [10.0.0.1]}"), "spec.externalCIDRs[0]", "/32");
    refuses(&group("v2", "{}"), "spec", "`externalCIDRs` is missing");
    refuses(&group("v1", "{externalCIDRs: []}"), "apiVersion", "cilium.io/v2");
}
