use super::*;

fn build(flags: &[(&'static str, &str)]) -> Result<(Vec<FlowFilter>, Vec<FlowFilter>), FilterError> {
    let mut filters = FlowFilters::default();
    for (name, value) in flags {
        filters.set(name, value)?;
    }
    Ok(filters.build())
}

#[test]
fn either_end_makes_two_filters_and_the_rest_stands_in_both() {
    let (allow, deny) = build(&[("pod", "a"), ("protocol", "tcp")]).expect("good flags");
    assert!(deny.is_empty());
    assert_eq!(allow.len(), 2);
    assert_eq!((allow[0].source_pod.as_slice(), allow[0].destination_pod.len()), (["a".to_owned()].as_slice(), 0));
    assert_eq!(allow[1].destination_pod, ["a"]);
    assert!(allow.iter().all(|filter| filter.protocol == ["tcp"]));
}

#[test]
fn namespaces_complete_names() {
    let (allow, _) = build(&[("namespace", "n1"), ("namespace", "n2"), ("pod", "p")]).expect("good flags");
    assert_eq!(allow[0].source_pod, ["n1/p", "n2/p"]);
    assert_eq!(allow[1].destination_pod, ["n1/p", "n2/p"]);
    let (allow, _) = build(&[("from-namespace", "a"), ("to-namespace", "b")]).expect("good flags");
    assert_eq!(allow.len(), 1);
    assert_eq!(
        (allow[0].source_pod.as_slice(), allow[0].destination_pod.as_slice()),
        (["a/".to_owned()].as_slice(), ["b/".to_owned()].as_slice())
    );
}

#[test]
fn not_counts_for_one_flag() {
    let (allow, deny) = build(&[("not", "true"), ("verdict", "DROPPED"), ("to-port", "80")]).expect("good flags");
    assert_eq!(deny[0].verdict, [2]);
    assert_eq!(allow[0].destination_port, ["80"]);
    assert_eq!(build(&[("not", "true"), ("not", "true")]), Err(FilterError::ConsecutiveNot));
}

#[test]
fn conflicts_are_told() {
    for (flags, expected) in [
        ([("pod", "a"), ("from-pod", "b")], "filters --from-pod and --pod cannot be combined"),
        ([("namespace", "a"), ("pod", "b/x")], "namespace conflict: \"a\" does not contain \"b/x\""),
        ([("pod", "a/x"), ("service", "b/y")], "namespace of service \"b/y\" conflict with pod \"a\""),
    ] {
        assert!(build(&flags).is_err_and(|error| error.to_string().starts_with(expected)), "{flags:?}");
    }
}
