use std::time::Duration;

use super::*;

/// Each text with what Hubble's own reader says to it (`Err`), or name and path of what it found.
#[test]
fn files_are_read_and_refused_as_hubble_does() {
    let json = "failed to unmarshal yaml config: error unmarshaling JSON: while decoding JSON: ";
    let yaml = "failed to unmarshal yaml config: error converting YAML to JSON: yaml: ";
    let field = |text: &str| format!("flowLogs:\n- name: a\n  filePath: p\n  {text}\n");
    let refused: &[(String, String)] = &[
        (
            "- a".into(),
            format!("{json}json: cannot unmarshal array into Go value of type exporter.DynamicExportersConfig"),
        ),
        (
            "flowLogs: 5".into(),
            format!(
                "{json}json: cannot unmarshal number into Go struct field DynamicExportersConfig.flowLogs of type []*exporter.FlowLogConfig"
            ),
        ),
        (
            "flowLogs:\n- x\n".into(),
            format!(
                "{json}json: cannot unmarshal string into Go struct field DynamicExportersConfig.flowLogs of type exporter.FlowLogConfig"
            ),
        ),
        (
            "flowLogs:\n- filePath: p\n- name: b\n-\n".into(),
            "failed to validate config: name is required\nfilePath is required\ninvalid flowlog at index 2".into(),
        ),
        (
            "flowLogs:\n- name: a\n  filePath: p\n- name: a\n  filePath: p\n".into(),
            "failed to validate config: duplicated flowlog name a\nduplicated flowlog path p".into(),
        ),
        (
            "flowLogs:\n- name: [a]\n".into(),
            format!(
                "{json}json: cannot unmarshal array into Go struct field FlowLogConfig.flowLogs.name of type string"
            ),
        ),
        (
            field("fileMaxSizeMb: 1.5"),
            format!(
                "{json}json: cannot unmarshal number 1.5 into Go struct field FlowLogConfig.flowLogs.fileMaxSizeMb of type int"
            ),
        ),
        (
            field("fileMaxSizeMb: '5'"),
            format!(
                "{json}json: cannot unmarshal string into Go struct field FlowLogConfig.flowLogs.fileMaxSizeMb of type int"
            ),
        ),
        (
            field("fileCompress: 1"),
            format!(
                "{json}json: cannot unmarshal number into Go struct field FlowLogConfig.flowLogs.fileCompress of type bool"
            ),
        ),
        (
            field("fieldMask: x"),
            format!(
                "{json}json: cannot unmarshal string into Go struct field FlowLogConfig.flowLogs.fieldMask of type exporter.FieldMask"
            ),
        ),
        (
            field("end: 2023-10-09"),
            format!("{json}parsing time \"2023-10-09\" as \"2006-01-02T15:04:05Z07:00\": cannot parse \"\" as \"T\""),
        ),
        (
            field("end: bad"),
            format!("{json}parsing time \"bad\" as \"2006-01-02T15:04:05Z07:00\": cannot parse \"bad\" as \"2006\""),
        ),
        (field("end: 5"), format!("{json}Time.UnmarshalJSON: input is not a JSON string")),
        (
            field("end: 2023-13-09T23:59:59Z"),
            format!("{json}parsing time \"2023-13-09T23:59:59Z\": month out of range"),
        ),
        (field("end: 2023-02-30T23:59:59Z"), format!("{json}parsing time \"2023-02-30T23:59:59Z\": day out of range")),
        (
            field("end: 2023-10-09T23:59:59+7:00"),
            format!(
                "{json}parsing time \"2023-10-09T23:59:59+7:00\" as \"2006-01-02T15:04:05Z07:00\": cannot parse \"+7:00\" as \"Z07:00\""
            ),
        ),
        (field("aggregationInterval: bad"), format!("{json}time: invalid duration \"bad\"")),
        (field("aggregationInterval: null"), format!("{json}time: invalid duration \"null\"")),
        (field("aggregationInterval: 5x"), format!("{json}time: unknown unit \"x\" in duration \"5x\"")),
        (field("aggregationInterval: 9999999h"), format!("{json}time: invalid duration \"9999999h\"")),
        (
            field("includeFilters:\n  - sourcePod: ['ns/<a>']\n    identity: 5"),
            format!("{json}proto: (line 1:2): unknown field \"identity\""),
        ),
        (
            field("includeFilters:\n  - source_pod: ['<a>']\n    verdict: [X]"),
            format!("{json}proto: (line 1:44): invalid value for enum field verdict: \"X\""),
        ),
        (field("includeFilters: [x]"), format!("{json}proto: syntax error (line 1:1): unexpected token \"x\"")),
        ("flowLogs: [\n".into(), format!("{yaml}line 1: did not find expected node content")),
        ("flowLogs:\n- name: a\n filePath: p\n".into(), format!("{yaml}line 2: did not find expected key")),
        ("flowLogs:\n\t- name: a\n".into(), format!("{yaml}line 2: found character that cannot start any token")),
        ("flowLogs:\n- name: \"a\n".into(), format!("{yaml}line 3: found unexpected end of stream")),
        ("a: b: c\n".into(), format!("{yaml}mapping values are not allowed in this context")),
        (
            "flowLogs: !!int x".into(),
            "failed to unmarshal yaml config: error converting YAML to JSON: yaml: cannot decode !!str `x` as a !!int"
                .into(),
        ),
    ];
    for (text, expected) in refused {
        assert_eq!(FlowLog::parse_all(text).unwrap_err().to_string(), *expected, "{text}");
    }
}

#[test]
fn values_are_taken_as_yaml_1_1_has_them() {
    let taken: &[(&str, &[(&str, &str)])] = &[
        ("", &[]),
        ("flowLogs:\nbogus: 1\n", &[]),
        ("FlowLogs:\n- NAME: a\n  filepath: p\n  bogus: 1\n", &[("a", "p")]),
        ("flowLogs:\n- name: 5\n  filePath: true\n", &[("5", "true")]),
        ("flowLogs:\n- name: yes\n  filePath: off\n", &[("true", "false")]),
        ("flowLogs:\n- name: \"5\"\n  filePath: \"yes\"\n", &[("5", "yes")]),
        ("flowLogs:\n- name: 0x10\n  filePath: 010\n", &[("16", "8")]),
        ("flowLogs:\n- name: 1_000\n  filePath: 0b11\n", &[("1000", "3")]),
        ("flowLogs:\n- name: 1.0\n  filePath: 1e3\n", &[("1", "1000")]),
        ("flowLogs:\n- name: 1:30\n  filePath: 2001-01-01\n", &[("1:30", "2001-01-01")]),
        ("flowLogs:\n- name: a\n  name: b\n  filePath: p\n", &[("b", "p")]),
        ("flowLogs:\n- &d\n  name: a\n  filePath: p\n- <<: *d\n  name: b\n  filePath: q\n", &[("a", "p"), ("b", "q")]),
        ("flowLogs:\n- name: a\n  filePath: p\n---\nflowLogs: 5\n", &[("a", "p")]),
    ];
    for (text, expected) in taken {
        let logs = FlowLog::parse_all(text).unwrap();
        let found: Vec<_> = logs.iter().map(|log| (log.name.as_str(), log.file_path.as_str())).collect();
        assert_eq!(found, *expected, "{text}");
    }
}

#[test]
fn an_exporter_ends_when_it_says() {
    let text =
        "flowLogs:\n- name: a\n  filePath: p\n  end: 2023-10-09T23:59:59.5-07:00\n  aggregationInterval: 1h1.5s\n";
    let log = &FlowLog::parse_all(text).unwrap()[0];
    assert_eq!(log.aggregation_interval, 3_601_500_000_000);
    assert_eq!(log.end, Some((1_696_921_199, 500_000_000)));
    assert!(log.is_active(Duration::new(1_696_921_199, 499_999_999)));
    assert!(!log.is_active(Duration::new(1_696_921_199, 500_000_000)));
}

#[test]
fn filters_stand_one_after_the_other() {
    let filters = parse_filters("{\"source_pod\":[\"a/\"]} {\"verdict\":[\"DROPPED\"]}\n{}").unwrap();
    assert_eq!(filters.len(), 3);
    assert_eq!(filters[0].source_pod, ["a/"]);
    let error = parse_filters("{\"bogus\":1}").unwrap_err().to_string();
    assert!(error.starts_with("failed to decode flow filters \"{\\\"bogus\\\":1}\": proto: (line 1:2)"), "{error}");
}
