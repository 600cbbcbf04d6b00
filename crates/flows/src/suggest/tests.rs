use nexin_hubble::flow::{Endpoint, IcmPv4, Ip, Layer4, Tcp, Verdict, layer4::Protocol};

use super::*;

fn endpoint(identity: u32, namespace: &str, labels: &[&str]) -> Option<Endpoint> {
    let labels = labels.iter().map(|label| (*label).to_owned()).collect();
    Some(Endpoint { identity, namespace: namespace.into(), labels, ..Endpoint::default() })
}

fn flow(source: Option<Endpoint>, destination: Option<Endpoint>, protocol: Protocol) -> Flow {
    Flow {
        time: Some(Timestamp { seconds: 1_772_600_767, nanos: 5 }),
        verdict: Verdict::Forwarded.into(),
        is_reply: Some(false),
        ip: Some(Ip { source: "10.0.0.3".into(), destination: "192.0.2.7".into(), ..Ip::default() }),
        l4: Some(Layer4 { protocol: Some(protocol) }),
        source,
        destination,
        ..Flow::default()
    }
}

fn tcp(port: u32) -> Protocol {
    Protocol::Tcp(Tcp { destination_port: port, ..Tcp::default() })
}

#[test]
fn a_document_with_its_evidence() {
    let xwing = || endpoint(100, "default", &["k8s:class=xwing", "k8s:io.kubernetes.pod.namespace=default"]);
    let star = endpoint(101, "empire", &["k8s:class=deathstar"]);
    let flows = [
        flow(xwing(), star, tcp(80)),
        flow(xwing(), endpoint(2, "", &["reserved:world"]), tcp(443)),
        flow(xwing(), endpoint(1, "", &["reserved:host"]), Protocol::IcmPv4(IcmPv4 { r#type: 8, code: 0 })),
    ];
    let report = suggest(&flows, &Options { namespace: Some("default".into()), ..Options::default() });
    assert_eq!(report.used, 3);
    let [suggestion] = report.suggestions.as_slice() else { panic!("one document: {report:?}") };
    assert_eq!(
        suggestion.yaml,
        "# Suggested from what was observed: 3 flows, at 2026-03-04T05:06:07Z.
# What was not observed is denied: review it before you apply it.
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata:
  name: suggested-workload
  namespace: default
spec:
  endpointSelector:
    matchLabels:
      class: xwing
  enableDefaultDeny:
    ingress: true
    egress: true
  ingress:
  # Nothing was observed: nothing is allowed.
  - {}
  egress:
  # class=deathstar in empire
  - toEndpoints:
    - matchLabels:
        \"k8s:io.kubernetes.pod.namespace\": empire
        class: deathstar
    toPorts:
    - ports:
      # 1 flow, at 2026-03-04T05:06:07Z
      - port: \"80\"
        protocol: TCP
  # host
  - toEntities:
    - host
    icmps:
    - fields:
      # 1 flow, at 2026-03-04T05:06:07Z
      - type: 8
        family: IPv4
  # one address outside
  - toCIDR:
    - 192.0.2.7/32
    toPorts:
    - ports:
      # 1 flow, at 2026-03-04T05:06:07Z
      - port: \"443\"
        protocol: TCP
"
    );
}

#[test]
fn what_does_not_count_is_counted() {
    let (a, b) = (|| endpoint(100, "n", &["k8s:a=1"]), || endpoint(101, "n", &["k8s:b=1"]));
    let dropped = Flow { verdict: Verdict::Dropped.into(), ..flow(a(), b(), tcp(1)) };
    let reply = Flow { is_reply: Some(true), ..flow(a(), b(), tcp(1)) };
    let before = Flow { trace_observation_point: 5, ..flow(a(), b(), tcp(1)) };
    let nobody = flow(None, b(), tcp(1));
    let report = suggest(&[dropped, reply, before, nobody], &Options::default());
    let expected = LeftOut { not_let_through: 1, not_opening: 1, not_decided_here: 1, not_expressible: 1 };
    assert_eq!((report.used, report.left_out, report.suggestions.len()), (0, expected, 0));
}

#[test]
fn a_wider_workload_is_not_taken_along() {
    let (plain, wide) = (|| endpoint(100, "n", &["k8s:a=1"]), || endpoint(101, "n", &["k8s:a=1", "k8s:b=2"]));
    let report = suggest(&[flow(plain(), wide(), tcp(1))], &Options::default());
    let plain = &report.suggestions[0].yaml;
    assert!(plain.contains("    matchExpressions:\n    - key: b\n      operator: DoesNotExist\n"), "{plain}");
}

#[test]
fn too_many_addresses_are_the_world() {
    let world = || endpoint(2, "", &["reserved:world"]);
    let flows: Vec<Flow> = (0..3)
        .map(|n| {
            let mut flow = flow(endpoint(100, "n", &["k8s:a=1"]), world(), tcp(443));
            if let Some(ip) = &mut flow.ip {
                ip.destination = format!("192.0.2.{n}");
            }
            flow
        })
        .collect();
    let yaml = |most_addresses| {
        let report = suggest(&flows, &Options { most_addresses, ..Options::default() });
        report.suggestions[0].yaml.clone()
    };
    assert!(yaml(2).contains("  # 3 different addresses outside\n  - toEntities:\n    - world\n"), "{}", yaml(2));
    assert!(yaml(3).contains("  # 3 addresses outside\n  - toCIDR:\n    - 192.0.2.0/32\n    - 192.0.2.1/32\n"));
}
