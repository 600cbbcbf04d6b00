//! Flows that leave the node by themselves: Hubble's metrics, a file of flows, and node metrics as people scrape them.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};

use nexin_testbed::{
    Node, Result, isolated,
    traffic::{Outcome, TcpEcho, tcp},
    until,
};

use crate::policies::cilium;

const METRICS: &str = "hubble.metrics = \"flow:sourceContext=pod|ip tcp policy \
    drop:sourceContext=pod|reserved-identity;destinationContext=pod\"";

/// The answer of a server on the node, without its head.
fn get(node: &Node, port: u16, path: &str) -> Result<String> {
    node.ns.run(move || {
        let mut stream = TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
        write!(stream, "GET {path} HTTP/1.0\r\nhost: node\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default())
    })
}

/// The value of the series of `name` with all of `labels`.
fn sample(text: &str, name: &str, labels: &[&str]) -> Option<f64> {
    let fits =
        |line: &&str| line.split(['{', ' ']).next() == Some(name) && labels.iter().all(|label| line.contains(label));
    text.lines().find(fits)?.rsplit(' ').next()?.parse().ok()
}

#[test]
fn a_drop_is_measured_and_written() -> Result {
    isolated(|| {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("flows.json");
        let export = format!("hubble.export_file = \"{}\"", file.display());
        let mask = "hubble.export_fieldmask = [\"verdict\", \"drop_reason_desc\", \"source.pod_name\"]";
        let list = "hubble.export_allowlist = '{\"verdict\":[\"DROPPED\"]}'";
        let mut node = Node::up_with("n", &[METRICS, &export, mask, list, "metrics.listen = \"127.0.0.1:9962\""])?;
        let (a, b) = (node.workload("a", "app=a")?, node.workload("b", "app=b")?);
        let rest = "  ingressDeny:\n  - fromEndpoints:\n    - matchLabels: {app: a}";
        let _server = TcpEcho::start(&b.ns, 80)?;
        assert_eq!(tcp(&a.ns, b.addresses()[0], 80)?, Outcome::Answered);
        node.apply("no-visitors.yaml", &cilium("no-visitors", "b", rest))?;
        assert_eq!(tcp(&a.ns, b.addresses()[0], 80)?, Outcome::Silence);

        let text = until("the drop is counted", || {
            let text = get(&node, 9965, "/metrics").ok()?;
            sample(&text, "hubble_drop_total", &["reason=\"POLICY_DENY\"", "protocol=\"TCP\""]).map(|_| text)
        })?;
        assert!(sample(&text, "hubble_tcp_flags_total", &["flag=\"SYN-ACK\"", "family=\"IPv4\""]).is_some(), "{text}");
        assert!(sample(&text, "hubble_flows_processed_total", &["verdict=\"FORWARDED\""]).is_some(), "{text}");
        let line = until("the drop is written", || {
            let text = std::fs::read_to_string(&file).ok()?;
            text.lines().next().map(str::to_owned)
        })?;
        assert!(
            line.contains("\"verdict\":\"DROPPED\"") && line.contains("\"drop_reason_desc\":\"POLICY_DENY\""),
            "{line}"
        );
        assert!(!line.contains("\"IP\""), "the mask left the addresses out: {line}");

        let text = get(&node, 9962, "/metrics")?;
        assert!(text.contains("# TYPE cilium_drop_count_total counter"), "the older text: {text}");
        assert!(sample(&text, "cilium_endpoint_state", &["endpoint_state=\"ready\""]) >= Some(2.0), "{text}");

        let before = std::fs::read_to_string(&file)?.lines().count();
        node.agent()?.crash()?;
        node.agent()?.start_again(None)?;
        assert_eq!(tcp(&a.ns, b.addresses()[0], 80)?, Outcome::Silence);
        until("the file goes on", || {
            let text = std::fs::read_to_string(&file).ok()?;
            (text.lines().count() > before).then_some(())
        })?;
        Ok(())
    })
}

// === a collector that is not ours ===

/// OpenTelemetry's own messages over Google's gRPC: a line of JSON for each log record and each metric.
const RECEIVER: &str = r#"
import concurrent.futures, json, sys, grpc
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2 as lp, logs_service_pb2_grpc as lg
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as mp, metrics_service_pb2_grpc as mg
out = open(sys.argv[1], "a", buffering=1)
def text(v):
    return v.string_value or v.int_value
class Logs(lg.LogsServiceServicer):
    def Export(self, request, context):
        for r in request.resource_logs:
            for s in r.scope_logs:
                for l in s.log_records:
                    attributes = {a.key: text(a.value) for a in l.attributes}
                    out.write(json.dumps({"severity": l.severity_text, "body": l.body.string_value, **attributes}) + "\n")
        return lp.ExportLogsServiceResponse()
class Metrics(mg.MetricsServiceServicer):
    def Export(self, request, context):
        for r in request.resource_metrics:
            for s in r.scope_metrics:
                for m in s.metrics:
                    out.write(json.dumps({"metric": m.name, "points": len(m.sum.data_points)}) + "\n")
        return mp.ExportMetricsServiceResponse()
server = grpc.server(concurrent.futures.ThreadPoolExecutor(2))
lg.add_LogsServiceServicer_to_server(Logs(), server)
mg.add_MetricsServiceServicer_to_server(Metrics(), server)
assert server.add_insecure_port("127.0.0.1:4317")
server.start()
out.write("ready\n")
server.wait_for_termination()
"#;

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn a_collector_of_others_takes_flows_and_metrics() -> Result {
    let mut importable = Command::new("python3");
    importable.args(["-c", "import grpc, opentelemetry.proto.logs.v1.logs_pb2"]).stderr(Stdio::null());
    let found = importable.status().is_ok_and(|status| status.success());
    assert!(
        found,
        "python3 has no grpcio and opentelemetry-proto: `./x setup --test` installs them, `./x test netns` finds them"
    );
    isolated(|| {
        let folder = tempfile::tempdir()?;
        let (script, took) = (folder.path().join("receiver.py"), folder.path().join("took"));
        std::fs::write(&script, RECEIVER)?;
        let otlp = "hubble.otlp_endpoint = \"http://127.0.0.1:4317\"\nhubble.otlp_interval = \"1s\"";
        let node = Node::up_with("n", &["hubble.metrics = \"drop\"", otlp])?;
        let (a, b) = (node.workload("a", "app=a")?, node.workload("b", "app=b")?);
        node.apply("no-visitors.yaml", &cilium("no-visitors", "b", "  ingressDeny:\n  - fromEndpoints:\n    - {}"))?;
        // Nobody listens yet: the flow waits for the collector.
        assert_eq!(tcp(&a.ns, b.addresses()[0], 80)?, Outcome::Silence);
        let receiver = node.ns.run(|| {
            let mut python = Command::new("python3");
            Ok(python.arg(&script).arg(&took).stdout(Stdio::null()).spawn()?)
        })?;
        let _receiver = Killed(receiver);
        let line = |wanted: &[&str]| {
            let text = std::fs::read_to_string(&took).ok()?;
            text.lines().find(|line| wanted.iter().all(|part| line.contains(part))).map(str::to_owned)
        };
        let flow =
            until("the drop is taken", || line(&["\"hubble.verdict\": \"DROPPED\"", "\"destination.port\": 80"]))?;
        assert!(flow.contains("\"severity\": \"WARN\"") && flow.contains("POLICY_DENY"), "{flow}");
        until("the metric is taken", || line(&["\"metric\": \"hubble_drop_total\""]))?;
        Ok(())
    })
}
