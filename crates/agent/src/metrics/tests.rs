use std::io::Write as _;
use std::process::{Command, Stdio};

use nexin_abi::{Direction, DropReason};

use super::*;

/// Every metric with something in it.
pub(crate) fn exposition() -> String {
    let metrics = Metrics::new("");
    let counters = Counters::default();
    counters.register(&metrics, "nexin");
    counters.drifted("route", 2);
    counters.collected(40, 2, Duration::from_millis(3), true);
    Counters::outcome(&counters.policy_changes, false);
    Counters::outcome(&counters.endpoint_creates, true);
    let drop =
        Traffic { reason: Some(DropReason::PolicyDenied), direction: Direction::Ingress, packets: 3, bytes: 180 };
    let passed = Traffic { reason: None, direction: Direction::Egress, packets: 5, bytes: 300 };
    *counters.snapshot.lock().unwrap() = Snapshot {
        traffic: vec![drop, passed],
        pressure: vec![Pressure { map: "nx_ct4", used: 1, available: 4 }],
        lost: LostCounts { drop: 7, verdict: 0, trace: 0 },
        endpoints: EndpointCounts { ready: 2, ..EndpointCounts::default() },
        identities: vec![("reserved", 9), ("cluster_local", 3)],
        addresses: vec![("ipv4", 2)],
        ..Snapshot::default()
    };
    metrics.encode().unwrap()
}

#[test]
fn names_are_those_that_dashboards_expect() {
    let text = exposition();
    for line in [
        "cilium_drop_count_total{reason=\"Policy denied\",direction=\"INGRESS\"} 3",
        "cilium_drop_bytes_total{reason=\"Policy denied\",direction=\"INGRESS\"} 180",
        "cilium_forward_count_total{direction=\"EGRESS\"} 5",
        "cilium_bpf_map_pressure{map_name=\"nx_ct4\"} 0.25",
        "cilium_endpoint_state{endpoint_state=\"ready\"} 2",
        "cilium_identity{type=\"cluster_local\"} 3",
        "cilium_policy_change_total{outcome=\"fail\"} 1",
        "cilium_datapath_conntrack_gc_entries{family=\"all\",protocol=\"all\",status=\"alive\"} 40",
        "cilium_datapath_conntrack_gc_runs_total{family=\"all\",protocol=\"all\",status=\"completed\"} 1",
        "nexin_drift_repaired_total{object=\"route\"} 2",
        "nexin_lost_events_total{source=\"ring_drop\"} 7",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
}

#[test]
fn promtool_reads_the_older_text() {
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect(crate::hubble_metrics::tests::INSTALL);
    let text = nexin_runtime::metrics::plain(&exposition());
    promtool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    // Cilium's own name of a histogram without a unit; nothing else may be found.
    let ours: Vec<&str> = said.lines().filter(|line| !line.contains("cilium_policy_implementation_delay")).collect();
    assert!(ours.is_empty(), "{said}\n{text}");
}
