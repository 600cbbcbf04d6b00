use super::{ReadError, Unknown, read, text};
use crate::flow::{Flow, FlowFilter, Verdict};
use crate::observer::{GetFlowsRequest, GetFlowsResponse, ServerStatusResponse};

fn refused(json: &str) -> String {
    let error = read::<GetFlowsResponse>(json.as_bytes(), Unknown::Refuse).expect_err(json);
    error.to_string()
}

fn flow(json: &str) -> Flow {
    read(json.as_bytes(), Unknown::Refuse).unwrap_or_else(|error| panic!("{json}: {error}"))
}

#[test]
fn errors_have_the_texts_and_places_of_gos_reader() {
    for (json, error) in [
        ("", "syntax error (line 1:1): unexpected token "),
        ("not json", "syntax error (line 1:1): invalid value not"),
        ("{\"flow\":", "unexpected EOF"),
        ("[]", "syntax error (line 1:1): unexpected token ["),
        ("\"x\"", "syntax error (line 1:1): unexpected token \"x\""),
        ("{} {}", "syntax error (line 1:4): unexpected token {"),
        ("{\"flow\":{},}", "syntax error (line 1:12): unexpected token }"),
        ("{\"a\":1}", "(line 1:2): unknown field \"a\""),
        ("{\"flow\":{\"uuid\":1}}", "(line 1:17): invalid value for string field uuid: 1"),
        ("{\"flow\":{\n \"uuid\":\"a\",\"uuid\":\"b\"}}", "(line 2:13): duplicate field \"uuid\""),
        (
            "{\"flow\":{},\"lost_events\":{}}",
            "(line 1:12): error parsing \"lost_events\", oneof observer.GetFlowsResponse.response_types is already set",
        ),
        ("{\"flow\":{\"verdict\":\"NEW\"}}", "(line 1:20): invalid value for enum field verdict: \"NEW\""),
        ("{\"flow\":{\"source\":{\"identity\":-1}}}", "(line 1:31): invalid value for uint32 field identity: -1"),
        ("{\"flow\":{\"is_reply\":1}}", "(line 1:21): invalid value for bool field value: 1"),
        ("{\"flow\":{\"drop_reason\":\"1,2\"}}", "(line 1:24): invalid value for uint32 field dropReason: \"1,2\""),
        ("{\"time\":\"x\"}", "(line 1:9): invalid google.protobuf.Timestamp value \"x\""),
        ("{\"flow\":{\"uuid\":\"\\q\"}}", "syntax error (line 1:17): invalid escape code \"\\\\q\" in string"),
        ("{\"flow\":{\"extensions\":{\"a\":1}}}", "(line 1:23): missing \"@type\" field"),
    ] {
        assert_eq!(refused(json), format!("proto: {error}"), "{json}");
    }
    assert_eq!(
        read::<GetFlowsResponse>(b"{\"flow\":{\"uuid\":\"\xff\"}}", Unknown::Refuse).expect_err("no UTF-8").to_string(),
        "proto: syntax error (line 1:17): invalid UTF-8 in string"
    );
}

#[test]
fn many_spellings_are_one_value() {
    assert_eq!(flow("{\"verdict\":2}").verdict, Verdict::Dropped as i32);
    assert_eq!(flow("{\"verdict\":77}").verdict, 77);
    assert_eq!(flow("{\"nodeName\":\"n\"}"), flow("{\"node_name\":\"n\"}"));
    assert_eq!(flow("{\"socket_cookie\":\"12\"}").socket_cookie, 12);
    assert_eq!(flow("{\"socket_cookie\":1.2e1}").socket_cookie, 12);
    assert_eq!(flow("{\"is_reply\":null}"), Flow::default());
    let time = flow("{\"time\":\"2026-03-04T07:06:07.5+02:00\"}").time.expect("a time");
    assert_eq!((time.seconds, time.nanos), (1_772_600_767, 500_000_000));
    assert_eq!(flow("{\"uuid\":\"\\u00e9\\ud83d\\ude00\\n\"}").uuid, "é😀\n");
}

#[test]
fn what_is_unknown_is_discarded_only_when_asked() {
    let json = b"{\"new\":[{\"a\":null}],\"verdict\":\"NEW\",\"uuid\":\"u\",\"Type\":7}";
    assert!(matches!(read::<Flow>(json, Unknown::Refuse), Err(ReadError::Field { .. })));
    let flow: Flow = read(json, Unknown::Discard).expect("the rest is fine");
    assert_eq!(flow, Flow { uuid: "u".to_owned(), r#type: 7, ..Flow::default() });
}

#[test]
fn text_is_escaped_as_go_does() {
    let flow = Flow { uuid: "<a>&\"\\\u{1}\u{7f}\u{2028}\u{2029}\u{2027}é\t".to_owned(), ..Flow::default() };
    let json = "{\"uuid\":\"\\u003ca\\u003e\\u0026\\\"\\\\\\u0001\u{7f}\\u2028\\u2029\u{2027}é\\t\"}";
    assert_eq!(text(&flow), json);
    assert_eq!(self::flow(json), flow);
}

#[test]
fn floats_and_masks_are_written_as_go_does() {
    let rate = |flows_rate| text(&ServerStatusResponse { flows_rate, ..ServerStatusResponse::default() });
    assert_eq!(rate(0.0), "{}");
    assert_eq!(rate(12.5), "{\"flows_rate\":12.5}");
    assert_eq!(rate(100.0), "{\"flows_rate\":100}");
    assert_eq!(rate(1e21), "{\"flows_rate\":1e+21}");
    assert_eq!(rate(1e-7), "{\"flows_rate\":1e-7}");
    assert_eq!(rate(f64::NAN), "{\"flows_rate\":\"NaN\"}");
    let request: GetFlowsRequest =
        read(b"{\"fieldMask\":\"nodeName,source.podName\"}", Unknown::Refuse).expect("a mask in camel case");
    assert_eq!(request.field_mask.as_ref().expect("a mask").paths, ["node_name", "source.pod_name"]);
    assert_eq!(text(&request), "{\"field_mask\":\"nodeName,source.podName\"}");
}

#[test]
fn any_message_of_an_unknown_type_keeps_its_bytes() {
    let extensions = Some(prost_types::Any { type_url: "x/no.such.Type".to_owned(), value: b"abcd".to_vec() });
    let flow = Flow { extensions, ..Flow::default() };
    assert_eq!(text(&flow), "{\"extensions\":{\"@type\":\"x/no.such.Type\",\"value\":\"YWJjZA==\"}}");
}

#[test]
fn protobufs_own_messages_keep_their_json_in_any() {
    for (name, value) in [
        ("Duration", "\"1.500s\""),
        ("Duration", "\"-3s\""),
        ("Timestamp", "\"2026-03-04T05:06:07.000120Z\""),
        ("UInt64Value", "\"5\""),
        ("BoolValue", "true"),
        ("FieldMask", "\"a,bC\""),
    ] {
        let json = format!("{{\"extensions\":{{\"@type\":\"x/google.protobuf.{name}\",\"value\":{value}}}}}");
        assert_eq!(text(&flow(&json)), json);
    }
    let empty = "{\"extensions\":{\"@type\":\"x/google.protobuf.Empty\",\"value\":{}}}";
    let bare = "{\"extensions\":{\"@type\":\"x/google.protobuf.Empty\"}}";
    assert_eq!(text(&flow(empty)), bare);
    assert_eq!(text(&flow(bare)), bare);
}

#[test]
fn nesting_ends() {
    let nested = |levels: usize| {
        let open = "{\"@type\":\"type.googleapis.com/google.protobuf.Any\",\"value\":".repeat(levels);
        format!("{{\"extensions\":{open}{{}}{}}}", "}".repeat(levels))
    };
    assert!(read::<Flow>(nested(10).as_bytes(), Unknown::Refuse).is_ok());
    assert_eq!(read::<Flow>(nested(100).as_bytes(), Unknown::Refuse), Err(ReadError::Depth));
}

#[test]
fn lists_hold_no_nulls() {
    let error = read::<FlowFilter>(b"{\"drop_reason_desc\":[null]}", Unknown::Refuse).expect_err("null");
    assert_eq!(error.to_string(), "proto: (line 1:22): invalid value for enum field dropReasonDesc: null");
}
