use nexin_hubble::flow::{Endpoint, Flow, Ip, Layer4, Tcp, Udp, layer4::Protocol};
use nexin_hubble::json;

use super::{Mask, OF_THE_COMMAND, OLD};

fn mask(paths: &[&str]) -> Mask {
    Mask::new(paths).expect("valid paths").expect("a path")
}

fn flow(protocol: Option<Protocol>) -> Flow {
    let source = Endpoint { id: 7, identity: 8, namespace: "ns".to_owned(), ..Endpoint::default() };
    Flow {
        uuid: "u".to_owned(),
        source: Some(source),
        source_names: vec!["a.example".to_owned()],
        l4: protocol.map(|protocol| Layer4 { protocol: Some(protocol) }),
        is_reply: Some(true),
        ..Flow::default()
    }
}

fn tcp(source_port: u32) -> Option<Protocol> {
    Some(Protocol::Tcp(Tcp { source_port, destination_port: 80, flags: None }))
}

#[test]
fn paths_are_names_of_fields() {
    for path in ["Source", "sourceNames", "source.workloads.name", "l4.protocol", "", "source.", "uuid.x", "is_reply.x"]
    {
        let error = Mask::new(&[path]).expect_err(path).to_string();
        assert_eq!(error, format!("proto: invalid path \"{path}\" for message \"flow.Flow\""));
    }
    for path in ["source.workloads", "is_reply.value", "time.seconds", "IP", "tunnel.IP.source", "extensions.type_url"]
    {
        assert!(Mask::new(&[path]).is_ok_and(|mask| mask.is_some()), "{path}");
    }
    assert_eq!(Mask::new::<&str>(&[]), Ok(None));
}

#[test]
fn only_what_is_wanted_is_copied() {
    let text = |paths: &[&str]| json::text(&mask(paths).apply(&flow(tcp(5))));
    assert_eq!(text(&["uuid", "source.identity"]), r#"{"uuid":"u","source":{"identity":8}}"#);
    assert_eq!(text(&["source.identity", "source"]), r#"{"source":{"ID":7,"identity":8,"namespace":"ns"}}"#);
    assert_eq!(text(&["source", "source.identity"]), r#"{"source":{"ID":7,"identity":8,"namespace":"ns"}}"#);
    assert_eq!(text(&["l4.TCP.source_port"]), r#"{"l4":{"TCP":{"source_port":5}}}"#);
    assert_eq!(text(&["l4.UDP"]), r#"{"l4":{}}"#);
    assert_eq!(text(&["tunnel.IP.source", "is_reply.value"]), r#"{"tunnel":{"IP":{}},"is_reply":true}"#);
}

#[test]
fn a_reused_flow_keeps_members_of_oneofs() {
    let mask = mask(&["l4.TCP.source_port", "l4.UDP.source_port"]);
    let udp = Some(Protocol::Udp(Udp { source_port: 9, destination_port: 53 }));
    let mut masked = mask.blank();
    let mut next = |protocol| {
        mask.apply_onto(&flow(protocol), &mut masked);
        json::text(&masked)
    };
    assert_eq!(next(None), r#"{"l4":{"UDP":{}}}"#);
    assert_eq!(next(tcp(5)), r#"{"l4":{"TCP":{"source_port":5}}}"#);
    assert_eq!(next(None), r#"{"l4":{"TCP":{"source_port":5}}}"#);
    assert_eq!(next(udp), r#"{"l4":{"UDP":{"source_port":9}}}"#);
    assert_eq!(json::text(&mask.apply(&flow(None))), r#"{"l4":{}}"#);
}

#[test]
fn the_commands_own_mask_gets_what_the_command_prints() {
    let names = |paths: &[&str]| {
        let mask = Mask::of_request(paths).expect("valid paths").expect("a path");
        let flow = Flow { ip: Some(Ip::default()), ..flow(None) };
        mask.apply(&flow).source_names.len()
    };
    assert_eq!(names(&OF_THE_COMMAND), 1);
    assert_eq!(names(&OF_THE_COMMAND[..OLD]), 1);
    assert_eq!(names(&OF_THE_COMMAND[..OLD - 1]), 0);
    assert_eq!(names(&["time", "verdict"]), 0);
}
