use std::sync::Arc;

use futures_util::StreamExt as _;
use nexin_api::hubble::{Code, Observe as _};
use nexin_flows::decode::decode;
use nexin_hubble::flow::{self, AgentEventType, FlowFilter};
use nexin_hubble::observer::get_flows_response::ResponseTypes;
use nexin_hubble::observer::{GetAgentEventsRequest, GetFlowsRequest, GetFlowsResponse};
use nexin_model::{Identity, Label, LabelSet};
use prost_types::FieldMask;

use super::observer::Observer;
use super::*;

fn flows(capacity: u32) -> Flows {
    let mut settings = Settings::default();
    settings.hubble.buffer_capacity = capacity;
    Flows::new(&settings)
}

/// Traces whose destination ports are `ports`.
fn traces(flows: &Flows, ports: std::ops::Range<u16>) -> Vec<Event> {
    let names = flows.directory().names();
    let of = |port: u16| nexin_abi::Event {
        kind: nexin_abi::EventKind::Trace as u8,
        family: 4,
        protocol: 6,
        destination_port: nexin_abi::Be16::new(port),
        source_identity: Identity(300),
        ..nexin_abi::Event::default()
    };
    ports.map(|port| Event::Flow(decode(&of(port), &names, wall_ns(), u64::from(port)).unwrap())).collect()
}

fn labels(app: &str) -> LabelSet {
    [Label::k8s("app", app), Label::k8s("io.kubernetes.pod.namespace", "space")].into_iter().collect()
}

fn local<'a>(id: u16, identity: u32, labels: &'a LabelSet) -> LocalEndpoint<'a> {
    LocalEndpoint {
        id,
        identity: Identity(identity),
        labels,
        namespace: "space",
        name: "xwing",
        addresses: vec!["10.0.0.5".parse().unwrap()],
        interface: Some((9, "nx9")),
    }
}

/// Flows and lost events of an answer.
fn counted(answers: &[GetFlowsResponse]) -> (u64, u64) {
    answers.iter().fold((0, 0), |(flows, lost), answer| match &answer.response_types {
        Some(ResponseTypes::Flow(_)) => (flows + 1, lost),
        Some(ResponseTypes::LostEvents(event)) => (flows, lost + event.num_events_lost),
        other => panic!("{other:?}"),
    })
}

async fn ask(flows: &Flows, request: GetFlowsRequest) -> Vec<GetFlowsResponse> {
    let answers = Observer(flows.clone()).get_flows(request).await.unwrap();
    answers.map(Result::unwrap).collect().await
}

#[tokio::test]
async fn requests_are_answered_with_filters_and_masks() {
    let flows = flows(127);
    flows.append(traces(&flows, 0..100));
    let port = |port: &str| FlowFilter { destination_port: vec![port.into()], ..FlowFilter::default() };
    let request = GetFlowsRequest {
        whitelist: vec![port("7"), port("8"), port("9")],
        blacklist: vec![port("8")],
        field_mask: Some(FieldMask { paths: vec!["l4".into(), "node_name".into()] }),
        ..GetFlowsRequest::default()
    };
    let answers = ask(&flows, request.clone()).await;
    assert_eq!(counted(&answers), (2, 0));
    let Some(ResponseTypes::Flow(flow)) = &answers[0].response_types else { panic!("no flow") };
    assert!(flow.l4.is_some() && flow.ip.is_none() && flow.time.is_none());
    assert_eq!((answers[0].time, &answers[0].node_name), (None, &flow.node_name));
    assert_eq!(counted(&ask(&flows, GetFlowsRequest { number: 1, ..request }).await), (1, 0));
}

#[tokio::test]
async fn requests_that_cannot_be_answered_are_refused_with_hubbles_codes() {
    let observer = Observer(flows(7));
    let code = async |request| observer.get_flows(request).await.err().map(|refusal| refusal.code);
    let both = GetFlowsRequest { first: true, follow: true, ..GetFlowsRequest::default() };
    assert_eq!(code(both).await, Some(Code::InvalidArgument));
    let bad = FlowFilter { destination_port: vec!["http".into()], ..FlowFilter::default() };
    let filtered = GetFlowsRequest { whitelist: vec![bad], ..GetFlowsRequest::default() };
    assert_eq!(code(filtered).await, Some(Code::Unknown));
    let mask = Some(FieldMask { paths: vec!["bogus".into()] });
    assert_eq!(code(GetFlowsRequest { field_mask: mask, ..GetFlowsRequest::default() }).await, Some(Code::Unknown));
    assert_eq!(observer.get_nodes().await.unwrap_err().code, Code::Unimplemented);
}

/// A client that reads now and then, behind a ring that is far too small: what it gets and what it is told it missed is all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_client_gets_or_is_told_everything() {
    let flows = flows(255);
    let request = GetFlowsRequest { follow: true, ..GetFlowsRequest::default() };
    let mut answers = Observer(flows.clone()).get_flows(request).await.unwrap();
    let (writer, batches, size) = (flows.clone(), 500, 100);
    let batch = traces(&flows, 0..size);
    let sent = batches * u64::from(size);
    let writing = tokio::task::spawn_blocking(move || {
        for _ in 0..batches {
            writer.append(batch.clone());
        }
    });
    let (mut delivered, mut lost) = (0, 0);
    while delivered + lost < sent {
        let (more, missing) = counted(&[answers.next().await.unwrap().unwrap()]);
        (delivered, lost) = (delivered + more, lost + missing);
    }
    writing.await.unwrap();
    assert_eq!(delivered + lost, sent);
    assert_eq!(flows.lost_by_clients(), lost);
    assert!(delivered >= 255, "{delivered} delivered, {lost} lost");
}

#[tokio::test]
async fn a_node_tells_its_status_and_namespaces() {
    let flows = flows(15);
    flows.directory().set_identity(Identity(300), &labels("xwing"));
    flows.append(traces(&flows, 0..20));
    let observer = Observer(flows);
    let status = observer.server_status().await.unwrap();
    assert_eq!((status.num_flows, status.max_flows, status.seen_flows), (15, 15, 20));
    assert!(status.flows_rate > 0.0 && status.uptime_ns > 0 && status.version.starts_with("nexin v"));
    let namespaces = observer.get_namespaces().await.unwrap().namespaces;
    assert_eq!(namespaces.iter().map(|space| space.namespace.as_str()).collect::<Vec<_>>(), ["space"]);
}

#[tokio::test]
async fn what_the_agent_does_is_told() {
    use AgentEventType as Kind;
    let flows = flows(15);
    let directory = flows.directory();
    directory.notices().agent_started();
    let (first, second) = (labels("xwing"), labels("ywing"));
    directory.set_endpoint(&local(5, 300, &first));
    directory.set_endpoint(&local(5, 300, &first));
    directory.set_endpoint(&local(5, 301, &second));
    directory.set_prefixes(&[("192.0.2.0/24".parse().unwrap(), Identity(1 << 24 | 7))].into());
    directory.remove_endpoint(5);
    directory.set_prefixes(&Default::default());
    let request = GetAgentEventsRequest::default();
    let events: Vec<_> = Observer(flows).get_agent_events(request).await.unwrap().collect().await;
    let events: Vec<flow::AgentEvent> = events.into_iter().filter_map(|event| event.unwrap().agent_event).collect();
    let kinds: Vec<Kind> = events.iter().map(flow::AgentEvent::r#type).collect();
    let expected = [
        Kind::AgentStarted,
        Kind::EndpointCreated,
        Kind::IpcacheUpserted,
        Kind::EndpointRegenerateSuccess,
        Kind::IpcacheUpserted,
        Kind::IpcacheUpserted,
        Kind::EndpointDeleted,
        Kind::IpcacheDeleted,
        Kind::IpcacheDeleted,
    ];
    assert_eq!(kinds, expected);
    let Some(flow::agent_event::Notification::IpcacheUpdate(moved)) = &events[4].notification else {
        panic!("no address")
    };
    assert_eq!((moved.cidr.as_str(), moved.identity, moved.old_identity), ("10.0.0.5/32", 301, Some(300)));
}

/// Counts what it is shown.
#[derive(Default)]
struct Counting {
    flows: u64,
    lost: u64,
}

struct Shared(Arc<Mutex<Counting>>);

impl FlowHook for Shared {
    fn events(&mut self, events: &[Event]) {
        let mut counting = self.0.lock().unwrap();
        for event in events {
            match event {
                Event::Flow(_) => counting.flows += 1,
                Event::Lost(lost) => counting.lost += lost.what.num_events_lost,
                Event::Agent(_) | Event::Debug(_) => {}
            }
        }
    }
}

#[test]
fn hooks_get_or_are_told_everything() {
    let flows = flows(7);
    let (queue, worker) = hooks::hook_queue(250, flows.node());
    let batch: Arc<[Event]> = traces(&flows, 0..100).into();
    // Nobody takes anything: two batches fit, three do not.
    (0..5).for_each(|_| queue.push(&batch));
    let counting = Arc::new(Mutex::new(Counting::default()));
    let hook: Box<dyn FlowHook> = Box::new(Shared(counting.clone()));
    let thread = std::thread::spawn(move || worker.run(vec![hook]));
    while counting.lock().unwrap().flows < 200 {
        std::thread::yield_now();
    }
    // There is room again: the next one that fits says what was left out.
    let mut pushed = 5;
    while counting.lock().unwrap().lost == 0 {
        queue.push(&batch);
        pushed += 1;
    }
    queue.close();
    thread.join().unwrap();
    let counting = counting.lock().unwrap();
    assert_eq!(counting.flows + counting.lost, pushed * 100);
    assert!(counting.lost >= 300, "{} lost", counting.lost);
}
