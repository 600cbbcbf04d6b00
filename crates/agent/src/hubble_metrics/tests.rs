use std::io::Write as _;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use nexin_http::{Listener, serve_text};
use nexin_hubble::flow::EndpointUpdateNotification;
use nexin_runtime::tasks::CancellationToken;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::export::tests::{drops, names};

const EVERYTHING: &str = "dns drop:sourceContext=pod|ip;destinationContext=pod flow:labelsContext=source_ip,traffic_direction \
    flows-to-world httpV2:exemplars=true icmp port-distribution tcp policy sctp";

/// The next step where there is none.
pub(crate) const INSTALL: &str = "promtool and prometheus are installed by `./x setup --test`";

fn counted() -> FlowMetrics {
    let metrics = FlowMetrics::new(EVERYTHING, 1_000, true).unwrap();
    metrics.events(&drops(5), wall_clock());
    let lost = Event::lost(names().node(), LostEventSource::PerfEventRingBuffer, 3, 0, 0);
    metrics.events(&[lost], wall_clock());
    metrics
}

fn scraped(metrics: &FlowMetrics, accept: &str) -> TextReply {
    metrics.answer(&TextRequest { path: "/metrics".to_owned(), query: String::new(), accept: accept.to_owned() })
}

#[test]
fn everything_that_happened_is_in_the_exposition() {
    let metrics = counted();
    let first = scraped(&metrics, "");
    assert_eq!(first.status, 200);
    let text = scraped(&metrics, "").body;
    for line in [
        "hubble_drop_total{destination=\"shop/web-1\",protocol=\"TCP\",reason=\"POLICY_DENIED\",source=\"10.0.0.9\"} 5",
        "hubble_lost_events_total{source=\"perf_event_ring_buffer\"} 3",
        "hubble_metrics_http_handler_requests_total{code=\"200\"} 1",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
    let elsewhere = metrics.answer(&TextRequest { path: "/".to_owned(), ..TextRequest::default() });
    assert_eq!(elsewhere.status, 404);
}

#[test]
fn a_deleted_workload_takes_its_series_along() {
    let metrics = counted();
    let told = |kind: AgentEventType| {
        let endpoint = EndpointUpdateNotification {
            namespace: "shop".to_owned(),
            pod_name: "web-1".to_owned(),
            ..Default::default()
        };
        let what = AgentEvent { r#type: kind as i32, notification: Some(Notification::EndpointUpdate(endpoint)) };
        let node = names().node().clone();
        Event::Agent(Box::new(nexin_flows::event::Notice { time_ns: 0, node, what }))
    };
    let now = wall_clock();
    let has_series = || scraped(&metrics, "").body.contains("destination=\"shop/web-1\"");
    metrics.events(&[told(AgentEventType::EndpointDeleted), told(AgentEventType::EndpointCreated)], now);
    metrics.state().metrics.sweep(now + Duration::from_secs(3600));
    assert!(has_series(), "it came back");
    metrics.events(&[told(AgentEventType::EndpointDeleted)], now);
    metrics.state().metrics.sweep(now + Duration::from_secs(59));
    assert!(has_series(), "a last scrape sees it");
    metrics.state().metrics.sweep(now + Duration::from_secs(60));
    assert!(!has_series());
}

#[test]
fn a_file_of_metrics_is_followed_and_a_bad_one_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("metrics.yaml");
    let metrics = FlowMetrics::from_file(&path, 1_000, false);
    let count = |name: &str| {
        metrics.events(&drops(1), wall_clock());
        scraped(&metrics, "").body.lines().filter(|line| line.starts_with(name)).count()
    };
    assert_eq!(count("hubble_drop_total"), 0, "there is no file");
    let write = |text: &str| std::fs::write(&path, text).unwrap();
    write("metrics:\n- name: drop\n  contextOptions:\n  - name: sourceContext\n    values: [ip]\n");
    metrics.reload().unwrap();
    assert_eq!(count("hubble_drop_total{"), 1);
    write("metrics:\n- name: drop\n");
    let error = metrics.reload().unwrap_err().to_string();
    assert!(error.contains("label set cannot be changed"), "{error}");
    write("metrics: 5\n");
    let error = metrics.reload().unwrap_err().to_string();
    assert!(error.contains("cannot unmarshal number"), "{error}");
    assert_eq!(count("hubble_drop_total{"), 1);
    write("metrics:\n- name: tcp\n");
    metrics.reload().unwrap();
    assert_eq!(count("hubble_drop_total"), 0);
}

#[test]
fn promtool_has_nothing_to_say() {
    let metrics = counted();
    scraped(&metrics, "");
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect(INSTALL);
    promtool.stdin.take().unwrap().write_all(scraped(&metrics, "").body.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.trim().is_empty(), "{said}");
}

// === a real Prometheus ===

/// Killed when the test ends, however it does.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

async fn get(address: SocketAddr, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).await.ok()?;
    let request = format!("GET {path} HTTP/1.0\r\nhost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned())
}

/// Asks until `path` answers with all of `wanted`; each answer is a fact, so the asking is as fast as they come.
async fn until(address: SocketAddr, path: &str, wanted: &[&str]) -> String {
    let mut every = tokio::time::interval(Duration::from_millis(100));
    let asking = async {
        loop {
            every.tick().await;
            if let Some(answer) = get(address, path).await
                && wanted.iter().all(|part| answer.contains(part))
            {
                return answer;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), asking)
        .await
        .unwrap_or_else(|_| panic!("{path} never had {wanted:?}"))
}

#[tokio::test]
async fn prometheus_scrapes_both_texts() {
    let metrics = counted();
    let listener = Listener::tcp("127.0.0.1:0".parse().unwrap(), None).unwrap();
    let target = listener.local_addr().unwrap();
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let config = format!(
        "global:\n  scrape_interval: 1s\nscrape_configs:\n- job_name: hubble\n  static_configs:\n  - targets: ['{target}']\n"
    );
    std::fs::write(folder.path().join("prometheus.yml"), config).unwrap();
    let prometheus = Command::new("prometheus")
        .arg(format!("--config.file={}", folder.path().join("prometheus.yml").display()))
        .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
        .arg(format!("--web.listen-address={free}"))
        .arg("--enable-feature=exemplar-storage")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect(INSTALL);
    let _prometheus = Killed(prometheus);
    let stop = CancellationToken::new();
    let answer = move |request| {
        let reply = metrics.answer(&request);
        async move { reply }
    };
    let asked = async {
        until(free, "/api/v1/targets", &["\"health\":\"up\"", "\"lastError\":\"\""]).await;
        let drops = until(free, "/api/v1/query?query=hubble_drop_total", &["\"5\"", "POLICY_DENIED"]).await;
        assert!(drops.contains("\"destination\":\"shop/web-1\""), "{drops}");
        until(free, "/api/v1/metadata?metric=hubble_drop", &["counter", "Number of drops"]).await;
    };
    tokio::select! {
        () = serve_text(listener, answer, stop) => panic!("the server ended"),
        () = asked => {}
    }
}

// === the dashboard ===

/// Names of metrics in the expressions of `deploy/grafana/nexin.json`.
fn shown(value: &serde_json::Value, names: &mut Vec<String>) {
    match value {
        serde_json::Value::Object(map) => {
            if let Some(serde_json::Value::String(expression)) = map.get("expr") {
                let words = expression.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
                let metrics =
                    words.filter(|word| ["cilium_", "hubble_", "nexin_"].iter().any(|start| word.starts_with(start)));
                names.extend(metrics.map(str::to_owned));
            }
            map.values().for_each(|value| shown(value, names));
        }
        serde_json::Value::Array(list) => list.iter().for_each(|value| shown(value, names)),
        _ => {}
    }
}

#[test]
fn the_dashboard_shows_metrics_that_there_are() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/grafana/nexin.json");
    let dashboard: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let mut names = Vec::new();
    shown(&dashboard, &mut names);
    assert!(names.len() > 30, "{names:?}");

    let metrics = counted();
    let mut known = metrics.state().metrics.names();
    metrics.tell_too(crate::export::tests::told);
    metrics.each(&mut |metric| known.push(metric.name.clone()));
    let node = nexin_runtime::metrics::plain(&crate::metrics::tests::exposition());
    known.extend(node.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).map(str::to_owned));
    for name in names {
        let whole = ["_bucket", "_sum", "_count"].iter().find_map(|part| name.strip_suffix(part));
        let there = known.iter().any(|known| *known == name || whole == Some(known));
        assert!(there, "{name} is shown, and nobody exposes it");
    }
}
