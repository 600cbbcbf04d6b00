use std::path::Path;

use nexin_abi::{DropReason, Event as Kernel, EventKind};
use nexin_flows::Event;
use nexin_flows::decode::{Names, decode};
use nexin_flows::metrics::{Format, write};
use nexin_flows::record::Node;
use nexin_hubble::flow;

use super::files::FilesHook;
use super::*;

/// A directory with one workload, `shop/web-1`, number 5.
pub(crate) fn names() -> Names {
    let node = Node { name: "node-1".to_owned(), labels: Vec::new(), emitter: Node::emitter(), seed: 7 };
    let mut names = Names::new(node);
    let endpoint = flow::Endpoint {
        id: 5,
        identity: 4711,
        namespace: "shop".to_owned(),
        pod_name: "web-1".to_owned(),
        ..Default::default()
    };
    names.set_endpoint(5, endpoint);
    names
}

/// `count` drops at the workload, a nanosecond apart.
pub(crate) fn drops(count: u64) -> Vec<Event> {
    let names = names();
    let drop = Kernel {
        kind: EventKind::Drop as u8,
        reason: DropReason::PolicyDenied as u8,
        family: 4,
        protocol: 6,
        source: address([10, 0, 0, 9]),
        destination: address([10, 0, 0, 5]),
        destination_endpoint: 5,
        ..Kernel::default()
    };
    (0..count).filter_map(|number| decode(&drop, &names, number, number)).map(Event::Flow).collect()
}

/// Every metric of exporters, whatever they are.
pub(crate) fn told(tell: &mut dyn FnMut(&nexin_flows::metrics::Metric<'_>)) {
    super::files::Status::new(true).each(tell);
    super::otlp::Counts::default().each(tell);
}

fn address(bytes: [u8; 4]) -> [u8; 16] {
    let mut raw = [0; 16];
    raw[..4].copy_from_slice(&bytes);
    raw
}

fn exposition(hook: &FilesHook) -> String {
    let mut text = String::new();
    hook.status().each(&mut |metric| write(metric, Format::Prometheus, &mut text));
    text
}

fn lines(path: &Path) -> usize {
    std::fs::read_to_string(path).map_or(0, |text| text.lines().count())
}

#[test]
fn flow_logs_follow_their_file() {
    let folder = tempfile::tempdir().unwrap();
    let (config, a, b) =
        (folder.path().join("flowlogs.yaml"), folder.path().join("a.log"), folder.path().join("b.log"));
    let mut hook = FilesHook::new(Vec::new(), Some(config.clone())).unwrap();
    let says = |hook: &FilesHook, line: &str| {
        let text = exposition(hook);
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    };
    says(&hook, "hubble_dynamic_exporter_reconfigurations_total{op=\"failure\"} 1");

    let log = |path: &Path, more: &str| {
        format!("- name: {}\n  filePath: {}\n{more}", path.file_stem().unwrap().display(), path.display())
    };
    std::fs::write(&config, format!("flowLogs:\n{}{}", log(&a, ""), log(&b, "  end: 2020-01-01T00:00:00Z\n"))).unwrap();
    hook.reload();
    hook.events(&drops(3));
    assert_eq!((lines(&a), lines(&b)), (3, 0), "b ended long ago");
    says(&hook, "hubble_dynamic_exporter_reconfigurations_total{op=\"add\"} 2");
    says(&hook, "hubble_dynamic_exporter_exporters_total{status=\"active\"} 1");
    says(&hook, "hubble_dynamic_exporter_exporters_total{status=\"inactive\"} 1");
    says(&hook, "hubble_dynamic_exporter_up{name=\"b\"} 0");
    says(&hook, "hubble_exporter_lines_total{name=\"a\"} 3");

    std::fs::write(&config, "flowLogs: 5").unwrap();
    hook.reload();
    hook.events(&drops(1));
    assert_eq!(lines(&a), 4, "what was in force stays");
    says(&hook, "hubble_dynamic_exporter_reconfigurations_total{op=\"failure\"} 2");

    std::fs::write(&config, format!("flowLogs:\n{}", log(&b, "  fieldMask: [verdict]\n"))).unwrap();
    hook.reload();
    hook.events(&drops(1));
    assert_eq!((lines(&a), lines(&b)), (4, 1));
    assert_eq!(std::fs::read_to_string(&b).unwrap(), "{\"flow\":{\"verdict\":\"DROPPED\"}}\n");
    says(&hook, "hubble_dynamic_exporter_reconfigurations_total{op=\"remove\"} 1");
    says(&hook, "hubble_dynamic_exporter_reconfigurations_total{op=\"update\"} 1");
}

#[test]
fn what_was_counted_together_is_written_at_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("counts.log");
    let log = FlowLog {
        name: "counts".to_owned(),
        file_path: path.display().to_string(),
        field_aggregate: vec!["verdict".to_owned()],
        aggregation_interval: 3_600_000_000_000,
        ..FlowLog::default()
    };
    let mut hook = FilesHook::new(vec![log], None).unwrap();
    hook.events(&drops(10));
    hook.tick();
    assert_eq!(lines(&path), 0);
    drop(hook);
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains("\"aggregate\":{\"ingress_flow_count\":10}"), "{text}");
}

#[test]
fn lines_that_cannot_be_written_are_counted() {
    let log = FlowLog { name: "full".to_owned(), file_path: "/dev/full".to_owned(), ..FlowLog::default() };
    let mut hook = FilesHook::new(vec![log], None).unwrap();
    hook.events(&drops(4));
    let text = exposition(&hook);
    assert!(text.contains("hubble_exporter_failed_lines_total{name=\"full\"} 4\n"), "{text}");
}

// === OTLP ===

mod collector {
    use std::sync::atomic::Ordering;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::export::otlp::{Counts, logs};

    /// Reads a request whole; false at the end of the connection.
    async fn request(stream: &mut TcpStream) -> bool {
        let mut bytes = Vec::new();
        loop {
            let head = bytes.windows(4).position(|window| window == b"\r\n\r\n");
            if let Some(head) = head {
                let text = String::from_utf8_lossy(&bytes[..head]).to_lowercase();
                assert!(text.starts_with("post /v1/logs http/1.1"), "{text}");
                let length = text.lines().find_map(|line| line.strip_prefix("content-length: ")).expect("a length");
                if bytes.len() - head - 4 >= length.parse().unwrap() {
                    return true;
                }
            }
            if stream.read_buf(&mut bytes).await.unwrap() == 0 {
                return false;
            }
        }
    }

    /// A collector that is overloaded once, and then takes everything.
    async fn receiver(listener: TcpListener) {
        let mut refused = false;
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            while request(&mut stream).await {
                let status = if refused { "200 OK" } else { "503 Service Unavailable" };
                refused = true;
                stream.write_all(format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n").as_bytes()).await.unwrap();
            }
        }
    }

    #[tokio::test]
    async fn flows_are_sent_again_and_those_without_room_counted() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = Endpoint::new(&listener.local_addr().unwrap().to_string(), OtlpWay::Http).unwrap();
        let client = Client::new(&endpoint, None, Vec::new(), REQUEST_LIMIT).unwrap();
        let counts = Arc::new(Counts::default());
        let (mut hook, sender) = logs(client, Origin::new("n", ""), 700, &counts);
        hook.events(&drops(1_000));
        assert_eq!(counts.dropped.load(Ordering::Relaxed), 300);
        drop(hook);
        tokio::select! {
            () = receiver(listener) => {}
            () = sender.run(Default::default()) => {}
        }
        let read = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        assert_eq!((read(&counts.sent), read(&counts.refused), read(&counts.failures)), (700, 0, 1));
    }

    #[tokio::test]
    async fn at_shutdown_what_waits_is_not_waited_for() {
        let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let endpoint = Endpoint::new(&closed.to_string(), OtlpWay::Grpc).unwrap();
        let client = Client::new(&endpoint, None, Vec::new(), REQUEST_LIMIT).unwrap();
        let counts = Arc::new(Counts::default());
        let (mut hook, sender) = logs(client, Origin::new("n", ""), 100, &counts);
        hook.events(&drops(10));
        let stop = nexin_runtime::tasks::CancellationToken::new();
        stop.cancel();
        sender.run(stop).await;
        assert_eq!(counts.refused.load(Ordering::Relaxed), 10);
    }
}
