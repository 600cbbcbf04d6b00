use nexin_abi::Event as Kernel;
use nexin_hubble::flow::{Endpoint, Flow, FlowFilter, Ip, Layer4, Tcp, layer4::Protocol};
use nexin_hubble::json::{self, Unknown};

use super::{AnyOf, Filters, Seen};
use crate::decode::decode;
use crate::decode::tests::{names, trace};
use crate::record::Record;

fn filter(json: &str) -> FlowFilter {
    json::read(json.as_bytes(), Unknown::Refuse).unwrap_or_else(|error| panic!("{json}: {error}"))
}

fn passes(json: &str, flow: &Flow) -> bool {
    AnyOf::build(&[filter(json)]).unwrap_or_else(|error| panic!("{json}: {error}")).any(Seen::Flow(flow))
}

fn refused(json: &str) -> String {
    AnyOf::build(&[filter(json)]).expect_err(json).to_string()
}

fn flow() -> Flow {
    let labels = ["k8s:app=web", "container:app=x", "reserved:host", "k8s:num=5", "unspec:bare"];
    let source = Endpoint {
        identity: 1000,
        namespace: "shop".to_owned(),
        pod_name: "web-0".to_owned(),
        labels: labels.map(str::to_owned).to_vec(),
        ..Endpoint::default()
    };
    let ip = Ip { source: "10.0.1.2".to_owned(), destination: "2001:db8::1".to_owned(), ..Ip::default() };
    let tcp = Tcp { source_port: 65_616, destination_port: 443, flags: None };
    Flow {
        source: Some(source),
        ip: Some(ip),
        l4: Some(Layer4 { protocol: Some(Protocol::Tcp(tcp)) }),
        destination_names: vec!["a_b.example.com".to_owned(), "www.cilium.io.".to_owned()],
        node_name: "n1".to_owned(),
        ..Flow::default()
    }
}

#[test]
fn values_are_alternatives_and_fields_are_conditions() {
    let flow = flow();
    for (json, passed) in [
        ("{}", true),
        (r#"{"source_pod":["shop/"]}"#, true),
        (r#"{"source_pod":["/web"]}"#, true),
        (r#"{"source_pod":["web-0"]}"#, false),
        (r#"{"source_pod":["shop/db","shop/web"]}"#, true),
        (r#"{"source_pod":["shop/web"],"protocol":["udp"]}"#, false),
        (r#"{"source_pod":["shop/web"],"protocol":["UDP","tcp"]}"#, true),
        (r#"{"source_ip":["10.0.0.0/16"]}"#, true),
        (r#"{"source_ip":["10.0.1.2"]}"#, true),
        (r#"{"destination_ip":["2001:DB8::1"]}"#, false),
        (r#"{"destination_ip":["2001:DB8::/32"]}"#, true),
        (r#"{"source_port":["80"]}"#, true),
        (r#"{"destination_port":["0443"]}"#, true),
        (r#"{"source_label":["app=web"]}"#, true),
        (r#"{"source_label":["container:app=x"]}"#, true),
        (r#"{"source_label":["k8s:app=x"]}"#, false),
        (r#"{"source_label":["num>4,num<6,!missing"]}"#, true),
        (r#"{"destination_label":["app!=web"]}"#, true),
        (r#"{"destination_fqdn":["*.example.com"]}"#, false),
        (r#"{"destination_fqdn":["a_b.*"]}"#, true),
        (r#"{"destination_fqdn":["www.cilium.io."]}"#, false),
        (r#"{"node_name":["default/n*"]}"#, true),
        (r#"{"node_name":["other/"]}"#, false),
        (r#"{"trace_id":[""]}"#, true),
        (r#"{"reply":[false]}"#, false),
    ] {
        assert_eq!(passes(json, &flow), passed, "{json}");
    }
}

#[test]
fn what_cannot_be_understood_is_named() {
    for (json, error) in [
        (
            r#"{"source_ip":["1.2.3.4/40"]}"#,
            r#"invalid IP prefix "1.2.3.4/40" in filter: netip.ParsePrefix("1.2.3.4/40"): prefix length out of range"#,
        ),
        (
            r#"{"source_ip":["1.2.3.04"]}"#,
            r#"invalid IP address "1.2.3.04" in filter: ParseAddr("1.2.3.04"): IPv4 field has octet with leading zero"#,
        ),
        (
            r#"{"source_port":["65536"]}"#,
            r#"invalid source port filter: invalid port "65536": strconv.ParseUint: parsing "65536": value out of range"#,
        ),
        (
            r#"{"source_label":["a in b"]}"#,
            "invalid source label filter: unable to parse requirement: found 'b' expected: '('",
        ),
        (
            r#"{"dns_query":["a**"]}"#,
            "invalid DNS query filter: failed to compile regexp: error parsing regexp: invalid nested repetition operator: `**`",
        ),
        (
            r#"{"http_path":["(?=a)"]}"#,
            "invalid http path filter: (?=a): error parsing regexp: invalid or unsupported Perl syntax: `(?=`",
        ),
        (r#"{"node_name":["a/b/c"]}"#, "too many slashes in pattern"),
        // The order is Hubble's, not that of the fields.
        (r#"{"source_pod":[""],"protocol":["x"]}"#, r#"invalid protocol filter: unknown protocol: "x""#),
    ] {
        assert_eq!(refused(json), error, "{json}");
    }
}

#[test]
fn expressions_are_typed_and_computed() {
    let cel = |text: &str| {
        let experimental = nexin_hubble::flow::flow_filter::Experimental { cel_expression: vec![text.to_owned()] };
        AnyOf::build(&[FlowFilter { experimental: Some(experimental), ..FlowFilter::default() }])
    };
    for (text, passed) in [
        ("_flow.source.identity == 1000u && _flow.verdict == Verdict.VERDICT_UNKNOWN", true),
        ("_flow.source.labels.exists(l, l.startsWith('reserved:'))", true),
        ("_flow.source.labels.exists(l, int(l) == 1 || l == 'reserved:host')", true),
        ("_flow.source.labels[9] == 'x' || true", true),
        ("_flow.source.labels[9] == 'x'", false),
        ("has(_flow.destination)", false),
        ("_flow.is_reply == null && _flow.destination.identity == 0u", true),
        ("_flow.time < timestamp('1970-01-01T00:00:01Z') && _flow.time.getFullYear() == 1970", true),
        ("[1, 2].map(x, x * 2).filter(x, x > 2) == [4]", true),
        ("_flow.destination == Endpoint{} && Service{name: 'a'} != _flow.destination_service", true),
        ("has(Flow{source: Endpoint{identity: 1u}}.source.identity)", true),
        ("_flow.node_name.matches('^n\\\\d$')", true),
    ] {
        let built = cel(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(built.any(Seen::Flow(&flow())), passed, "{text}");
    }
    for (text, error) in [
        ("_flow.is_reply", "got \"wrapper(bool)\", wanted \"bool\" result type"),
        ("_flow.foo", "ERROR: <input>:1:6: undefined field 'foo'\n | _flow.foo\n | .....^"),
        (
            "Endpoint{identity: 1} == _flow.source",
            "ERROR: <input>:1:18: expected type of field 'identity' is 'uint' but provided type is 'int'\n | Endpoint{identity: 1} == _flow.source\n | .................^",
        ),
        ("a b", "ERROR: <input>:1:3: Syntax error: extraneous input 'b' expecting <EOF>\n | a b\n | ..^"),
    ] {
        let told = cel(text).expect_err(text).to_string();
        assert_eq!(told, format!("error compiling CEL expression: {error}"));
    }
    let deep = format!("{}true{}", "(".repeat(500), ")".repeat(500));
    assert!(cel(&deep).expect_err("too deep").to_string().ends_with("max recursion depth exceeded"));
    let long = vec!["1"; 300].join("+") + " == 300";
    assert!(cel(&long).expect_err("too deep").to_string().ends_with("max recursion depth exceeded"));
}

#[test]
fn an_index_answers_like_the_list() {
    let own: Vec<FlowFilter> = (0..500)
        .map(|n| match n % 7 {
            0 => filter(&format!(r#"{{"source_ip":["10.0.1.{}"],"verdict":["DROPPED"]}}"#, n % 256)),
            1 => filter(&format!(r#"{{"destination_port":["{n}"],"protocol":["tcp"]}}"#)),
            2 => filter(&format!(r#"{{"source_identity":[{n}]}}"#)),
            3 => filter(&format!(r#"{{"source_pod":["shop/db-{n}","x{n}/"]}}"#)),
            4 => filter(&format!(r#"{{"source_label":["k8s:num={n}","app in (x{n},y),num!=7"]}}"#)),
            5 => filter(&format!(r#"{{"source_label":["!app"],"destination_port":["{n}"]}}"#)),
            _ => filter(&format!(r#"{{"source_ip":["10.9.{}.0/24"]}}"#, n % 256)),
        })
        .collect();
    let alone: Vec<AnyOf> =
        own.iter().map(|filter| AnyOf::build(std::slice::from_ref(filter)).expect("a valid filter")).collect();
    let indexed = AnyOf::build(&own).expect("valid filters");
    assert!(indexed.index.is_some());
    let mut both = [0, 0];
    for port in 0..600 {
        let mut flow = flow();
        let labels = vec![format!("k8s:num={port}"), "k8s:other=y".to_owned()];
        if let Some(source) = flow.source.as_mut().filter(|_| port % 3 == 0) {
            source.labels = labels;
            source.namespace = format!("x{port}");
        }
        flow.l4 = Some(Layer4 { protocol: Some(Protocol::Tcp(Tcp { destination_port: port, ..Tcp::default() })) });
        let one_by_one = alone.iter().any(|filter| filter.any(Seen::Flow(&flow)));
        assert_eq!(indexed.any(Seen::Flow(&flow)), one_by_one, "port {port}");
        both[usize::from(one_by_one)] += 1;
    }
    assert!(both.iter().all(|count| *count > 50), "{both:?}");
}

#[test]
fn a_blacklist_takes_from_what_the_whitelist_passes() {
    let filters = |allow: &[&str], deny: &[&str]| {
        let list = |all: &[&str]| all.iter().map(|json| filter(json)).collect::<Vec<_>>();
        Filters::compile(&list(allow), &list(deny)).expect("valid filters").matches(Seen::Flow(&flow()))
    };
    let (web, tcp) = (r#"{"source_pod":["shop/web"]}"#, r#"{"protocol":["tcp"]}"#);
    assert!(filters(&[], &[]));
    assert!(filters(&[web], &[]));
    assert!(!filters(&[web], &[tcp]));
    assert!(!filters(&[], &[tcp]));
    assert!(filters(&[], &[r#"{"protocol":["udp"]}"#]));
}

/// Events that differ in what filters ask for.
fn records() -> Vec<Record> {
    let names = names();
    let base = trace();
    let mut events = Vec::new();
    for kind in 0..8 {
        for protocol in [1, 6, 17, 58, 132] {
            for family in [4, 6] {
                for n in 0..4_u8 {
                    let event = Kernel {
                        kind,
                        protocol,
                        family,
                        flags: base.flags ^ (n << 6) ^ (n >> 1),
                        reason: 133 + n,
                        tcp_flags: n * 5,
                        action: n,
                        observation: n,
                        ..base
                    };
                    events.push(event);
                }
            }
        }
    }
    let decoded =
        events.iter().enumerate().filter_map(|(n, event)| decode(event, &names, 1_700_000_000_000_000_000, n as u64));
    decoded.collect()
}

#[test]
fn a_record_answers_like_its_message() {
    let records = records();
    assert!(records.len() > 100, "{}", records.len());
    let mut asked = vec![
        r#"{"verdict":["DROPPED"]}"#.to_owned(),
        r#"{"reply":[true]}"#.to_owned(),
        r#"{"reply":[false]}"#.to_owned(),
        r#"{"source_ip":["10.0.0.1"]}"#.to_owned(),
        r#"{"source_ip":["10.0.0.0/8","::/0"]}"#.to_owned(),
        r#"{"destination_ip":["10.0.0.5","a00:5::"]}"#.to_owned(),
        r#"{"source_label":["app=xwing"]}"#.to_owned(),
        r#"{"destination_pod":["space/death"]}"#.to_owned(),
        r#"{"interface":[{"name":"nx5"}]}"#.to_owned(),
        r#"{"node_name":["n1"]}"#.to_owned(),
        r#"{"tcp_flags":[{"SYN":true},{"FIN":true}]}"#.to_owned(),
        r#"{"trace_id":[""]}"#.to_owned(),
        r#"{"encrypted":[false]}"#.to_owned(),
        r#"{"source_ip_xlated":["0.0.0.0/0"]}"#.to_owned(),
        r#"{"experimental":{"cel_expression":["_flow.l4.TCP.destination_port == 80u"]}}"#.to_owned(),
    ];
    for n in 0..8 {
        asked.push(format!(r#"{{"event_type":[{{"type":{n}}}]}}"#));
        asked.push(format!(r#"{{"event_type":[{{"type":4,"match_sub_type":true,"sub_type":{n}}}]}}"#));
        asked.push(format!(r#"{{"traffic_direction":[{n}]}}"#));
        asked.push(format!(r#"{{"ip_version":[{n}]}}"#));
        asked.push(format!(r#"{{"drop_reason_desc":[{}]}}"#, 130 + n));
    }
    for protocol in ["tcp", "udp", "icmp", "icmpv4", "icmpv6", "sctp"] {
        asked.push(format!(r#"{{"protocol":["{protocol}"]}}"#));
    }
    let mut both = [0, 0];
    for json in &asked {
        let list = AnyOf::build(&[filter(json)]).unwrap_or_else(|error| panic!("{json}: {error}"));
        for record in &records {
            let flow = record.to_flow();
            let passed = list.any(Seen::Flow(record));
            assert_eq!(passed, list.any(Seen::Flow(&flow)), "{json}: {flow:?}");
            both[usize::from(passed)] += 1;
        }
    }
    for record in &records {
        let uuid = record.to_flow().uuid;
        let own = AnyOf::build(&[FlowFilter { uuid: vec![uuid.clone()], ..FlowFilter::default() }]);
        assert!(own.expect("a filter").any(Seen::Flow(record)), "{uuid}");
    }
    assert!(both.iter().all(|count| *count > 500), "{both:?}");
}
