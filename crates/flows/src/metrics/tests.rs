use nexin_hubble::flow;

use super::*;

fn flow(source: &str, destination: &str) -> flow::Flow {
    let endpoint = |name: &str| {
        let (namespace, pod) = name.split_once('/').unwrap_or(("", name));
        Some(flow::Endpoint { namespace: namespace.to_owned(), pod_name: pod.to_owned(), ..Default::default() })
    };
    flow::Flow {
        verdict: flow::Verdict::Dropped as i32,
        drop_reason_desc: flow::DropReason::PolicyDenied as i32,
        source: endpoint(source),
        destination: endpoint(destination),
        ..Default::default()
    }
}

fn metrics(config: &str) -> Metrics {
    Metrics::new(&Config::parse_static(config), DEFAULT_LIMIT).unwrap()
}

const NOW: Duration = Duration::from_secs(1_772_600_000);

#[test]
fn series_of_a_deleted_workload_go_after_a_minute() {
    for config in [
        "drop:sourceContext=pod|ip;destinationEgressContext=ip;destinationContext=pod",
        "drop:labelsContext=source_pod,source_namespace,destination_pod,destination_namespace",
    ] {
        let mut metrics = metrics(config);
        for (source, destination) in [("a/x", "b/y"), ("b/y", "a/x"), ("b/y", "b/z"), ("a/xx", "b/y")] {
            metrics.observe(&flow(source, destination), NOW);
        }
        assert_eq!(metrics.series(), 4, "{config}");
        metrics.deleted("a", "x", NOW);
        assert_eq!(metrics.sweep(NOW + GRACE - Duration::from_millis(1)), 0, "{config}");
        assert_eq!(metrics.sweep(NOW + GRACE), 2, "{config}");
        assert_eq!(metrics.series(), 2, "{config}");
    }
}

#[test]
fn series_stay_where_the_workload_came_back_or_is_not_named() {
    let mut back = metrics("drop:sourceContext=pod");
    back.observe(&flow("a/x", "b/y"), NOW);
    back.deleted("a", "x", NOW);
    back.created("a", "x");
    assert_eq!(back.sweep(NOW + 2 * GRACE), 0);

    // A pod's name alone may be another namespace's.
    let mut unnamed = metrics("drop:sourceContext=pod-name;labelsContext=source_pod");
    unnamed.observe(&flow("a/x", "b/y"), NOW);
    unnamed.deleted("a", "x", NOW);
    assert_eq!((unnamed.sweep(NOW + 2 * GRACE), unnamed.series()), (0, 1));
}

#[test]
fn a_full_metric_says_what_it_left_out() {
    let config = Config::parse_static("drop:sourceContext=pod flow");
    let mut metrics = Metrics::new(&config, 3).unwrap();
    for n in 0..10 {
        metrics.observe(&flow(&format!("a/{n}"), "b/y"), NOW);
    }
    let found: Vec<_> =
        metrics.metrics().into_iter().map(|metric| (metric.name, metric.series.len(), metric.overflow)).collect();
    assert_eq!(found, [("hubble_drop_total".to_owned(), 3, 7), ("hubble_flows_processed_total".to_owned(), 1, 0)]);
}

#[test]
fn values_cannot_break_out_of_their_label() {
    let mut metrics = metrics("drop:sourceContext=pod-name;destinationContext=pod-name");
    metrics.observe(&flow("a/x\0y", "b/\"\\\n"), NOW);
    let text = metrics.encode(Format::Prometheus);
    assert!(
        text.contains(
            "{destination=\"\\\"\\\\\\n\",protocol=\"Unknown flow\",reason=\"POLICY_DENIED\",source=\"x\u{fffd}y\"} 1\n"
        ),
        "{text}"
    );
}

#[test]
fn a_configuration_goes_on_to_the_next_without_losing_counts() {
    let mut metrics = metrics("drop:sourceContext=pod flow");
    metrics.observe(&flow("a/x", "b/y"), NOW);
    metrics.reconfigure(&Config::parse_static("drop:sourceContext=pod tcp")).unwrap();
    assert_eq!(metrics.encode(Format::Prometheus).lines().count(), 3);
    let refused = metrics.reconfigure(&Config::parse_static("drop:sourceContext=ip tcp")).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "invalid yaml config file: metric config validation failed - label set cannot be changed without restarting Prometheus. metric: drop"
    );
    assert_eq!(metrics.series(), 1);
}

#[test]
fn digits_are_the_shortest_that_give_the_number_back() {
    for (value, plain, open) in [
        (0.0, "0", "0.0"),
        (5.0, "5", "5.0"),
        (0.005, "0.005", "0.005"),
        (999_999.0, "999999", "999999.0"),
        (1e6, "1e+06", "1e+06"),
        (1_234_567.5, "1.2345675e+06", "1.2345675e+06"),
        (0.0001, "0.0001", "0.0001"),
        (0.000_012, "1.2e-05", "1.2e-05"),
        (1.844_674_407_370_955_3e10, "1.8446744073709553e+10", "1.8446744073709553e+10"),
        (f64::INFINITY, "+Inf", "+Inf"),
    ] {
        assert_eq!(
            (float(value, Format::Prometheus).as_str(), float(value, Format::OpenMetrics).as_str()),
            (plain, open)
        );
    }
}

#[test]
fn a_scraper_gets_open_metrics_if_it_asks_and_may() {
    let accept = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5";
    assert_eq!(Format::negotiate(accept, true), Format::OpenMetrics);
    assert_eq!(Format::negotiate(accept, false), Format::Prometheus);
    assert_eq!(Format::negotiate("text/plain", true), Format::Prometheus);
}
