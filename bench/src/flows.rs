//! B12: what flows cost. The same traffic with nothing told, with a flow log by connection and aggregated, and with every
//! packet told, each with a client that follows; the price of an event in the kernel; and what the agent's own code does a
//! second on one core.

use std::{path::Path as FilePath, sync::Arc, time::Duration};

use nexin_abi::{Action, Be16, DropReason, Event as Told, EventKind, Identity, Observation};
use nexin_flows::{
    Event,
    decode::{Names, decode},
    filter::{Filters, Seen},
    query::{Progress, Query, Selection},
    record::{Node, Rule},
    ring::{Capacity, Ring},
};
use nexin_hubble::{
    flow, json,
    observer::{GetFlowsRequest, GetFlowsResponse, get_flows_response::ResponseTypes},
};
use nexin_model::{Label, LabelSet};
use nexin_testbed::{Result, fail};
use prost::Message as _;

use crate::{
    forward, kernel,
    load::Kind,
    machine, paths,
    report::{Line, SLACK, Table},
    rounds::Series,
    wire,
};

/// Events of a measurement.
const EVENTS: usize = 300_000;
const WORKLOADS: u16 = 250;
const IDENTITIES: u32 = 1_000;
const RULES: u32 = 200;

pub(crate) fn measure(floor: &FilePath, rounds: usize) -> Result<Vec<Table>> {
    let mut tables = wire::measure(", flows told", rounds, &paths::Path::FLOWS, &[Kind::TcpRr, Kind::TcpCrr])?;
    tables.push(forward::told(floor, rounds)?);
    tables.push(kernel::event_cost(floor, rounds)?);
    tables.extend(user_space(rounds)?);
    Ok(tables)
}

/// The agent's own code, on the measured core.
fn user_space(rounds: usize) -> Result<Vec<Table>> {
    std::thread::scope(|scope| {
        let work = scope.spawn(|| {
            machine::move_to_the_measured_core()?;
            in_process(rounds)
        });
        work.join().unwrap_or_else(|_| fail!("the measuring thread failed"))
    })
}

fn in_process(rounds: usize) -> Result<Vec<Table>> {
    let names = names();
    let told: Vec<Told> = (0..EVENTS).map(event).collect();
    let filters = Filters::compile(&three_filters(), &[])?;
    let (mut parsed, mut written, mut answered) = (Series::default(), Series::default(), Series::default());
    let before = resident()?;
    let ring = Arc::new(filled(&names, &told)?);
    let stored = ring.stored_flows();
    let each = Series { values: vec![(resident()?.saturating_sub(before)) as f64 / stored as f64] };
    for _ in 0..rounds {
        parsed.values.push(per_second(told.len(), || parse(&told, &names, &filters))? / 1e6);
        let some = &told[..told.len() / 4];
        written.values.push(per_second(some.len(), || write(some, &names))? / 1e3);
        let start = worked()?;
        let found = get_flows(&ring, &names, &filters)?;
        answered.values.push((worked()? - start).as_secs_f64() * 1e3);
        if found == 0 || found as u64 >= stored {
            fail!("{found} of {stored} flows passed the filters");
        }
    }
    let one = |title: &str, unit: &str, line: Line| Table { title: title.into(), unit: unit.into(), lines: vec![line] };
    Ok(vec![
        one(
            "Kernel events to records, three filters asked, one core",
            "M/s",
            Line::new("decode + filter", &parsed).at_least("M/s", 1.5, parsed.spread()),
        ),
        one(
            "Kernel events to JSON, one core",
            "k/s",
            Line::new("decode + to message + JSON", &written).at_least("k/s", 400.0, written.spread()),
        ),
        one(
            &format!("GetFlows with three filters over a full ring ({stored} flows), answers encoded"),
            "ms",
            Line::new("answer", &answered).at_most("ms", 20.0, SLACK, answered.spread()),
        ),
        one(
            "Resident memory of a stored flow",
            "bytes",
            Line::new("flow", &each).at_most("bytes", 300.0, 1.0, each.spread()),
        ),
    ])
}

fn parse(told: &[Told], names: &Names, filters: &Filters) -> Result {
    let mut passed = 0;
    for (number, event) in told.iter().enumerate() {
        let Some(record) = decode(event, names, event.time_ns, number as u64) else { fail!("an event of no kind") };
        passed += usize::from(filters.matches(Seen::Flow(&record)));
    }
    match passed {
        0 => fail!("nothing passed the filters"),
        all if all == told.len() => fail!("everything passed the filters"),
        _ => Ok(()),
    }
}

fn write(told: &[Told], names: &Names) -> Result {
    let mut line = Vec::new();
    for (number, event) in told.iter().enumerate() {
        let Some(record) = decode(event, names, event.time_ns, number as u64) else { fail!("an event of no kind") };
        line.clear();
        json::Json::write(&response(record.to_flow()), &mut line);
        if !line.starts_with(b"{") || line.len() < 200 {
            fail!("{}", String::from_utf8_lossy(&line));
        }
    }
    Ok(())
}

fn filled(names: &Names, told: &[Told]) -> Result<Ring> {
    /// As readers of the kernel's ring hand them on.
    const BATCH: usize = 256;
    let ring = Ring::new(Capacity::MAX);
    for (index, batch) in told.chunks(BATCH).enumerate() {
        let records = batch
            .iter()
            .zip(index * BATCH..)
            .filter_map(|(event, number)| decode(event, names, event.time_ns, number as u64).map(Event::Flow));
        ring.append(records.collect());
    }
    match ring.stored_flows() {
        65_535 => Ok(ring),
        other => fail!("the ring holds {other} flows"),
    }
}

/// How many flows the answer holds.
fn get_flows(ring: &Arc<Ring>, names: &Names, filters: &Filters) -> Result<usize> {
    let request = GetFlowsRequest { number: 65_535, ..GetFlowsRequest::default() };
    let keep = |event: &Event| filters.matches(Seen::from(event));
    let mut selection = Selection::start(ring.clone(), Query::try_from(&request)?, names.node().clone(), &keep);
    let (mut found, mut buffer) = (0, Vec::new());
    let mut answer = |event: &Event| {
        if let Event::Flow(record) = event {
            buffer.clear();
            response(record.to_flow()).encode_raw(&mut buffer);
            found += usize::from(!buffer.is_empty());
        }
    };
    while selection.step(&keep, &mut answer) == Progress::More {}
    Ok(found)
}

fn response(flow: flow::Flow) -> GetFlowsResponse {
    GetFlowsResponse {
        node_name: flow.node_name.clone(),
        time: flow.time,
        response_types: Some(ResponseTypes::Flow(flow)),
    }
}

/// How many of `count` things a second of this core does.
fn per_second(count: usize, work: impl FnOnce() -> Result) -> Result<f64> {
    let start = worked()?;
    work()?;
    Ok(count as f64 / (worked()? - start).as_secs_f64())
}

/// Time that this thread has had a core for.
fn worked() -> Result<Duration> {
    Ok(Duration::from(nix::time::clock_gettime(nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID)?))
}

/// Bytes of this process that are in memory.
fn resident() -> Result<u64> {
    let text = std::fs::read_to_string("/proc/self/statm")?;
    match text.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()) {
        Some(pages) => Ok(pages * 4096),
        None => fail!("no resident pages in {text}"),
    }
}

fn three_filters() -> [flow::FlowFilter; 3] {
    let any = flow::FlowFilter::default;
    [
        flow::FlowFilter { source_pod: vec!["shop/w7".into()], destination_port: vec!["443".into()], ..any() },
        flow::FlowFilter { destination_label: vec!["app=app13".into()], protocol: vec!["tcp".into()], ..any() },
        flow::FlowFilter {
            verdict: vec![flow::Verdict::Dropped as i32],
            source_ip: vec!["10.1.0.0/28".into()],
            ..any()
        },
    ]
}

fn names() -> Names {
    let mut names = Names::new(Node { name: "bench".into(), emitter: Node::emitter(), seed: 7, ..Node::default() });
    for number in 0..IDENTITIES {
        let labels: LabelSet = [
            Label::k8s("app", format!("app{}", number % 40)),
            Label::k8s("io.kubernetes.pod.namespace", "shop"),
            Label::k8s("tier", format!("tier{}", number % 4)),
        ]
        .into_iter()
        .collect();
        names.set_identity(Identity(1000 + number), &labels);
    }
    for number in 1..=WORKLOADS {
        let identity = 1000 + u32::from(number);
        let labels = vec![format!("k8s:app=app{}", number % 40), "k8s:io.kubernetes.pod.namespace=shop".to_owned()];
        let pod_name = format!("w{number}");
        let endpoint = flow::Endpoint {
            id: number.into(),
            identity,
            namespace: "shop".into(),
            labels,
            pod_name,
            ..flow::Endpoint::default()
        };
        names.set_endpoint(number, endpoint);
    }
    names.set_rules((1..=RULES).map(|id| Rule {
        id,
        policy: flow::Policy {
            name: format!("rule{id}"),
            kind: "CiliumNetworkPolicy".into(),
            ..flow::Policy::default()
        },
        ..Rule::default()
    }));
    names
}

/// A mix as a busy node has it: mostly traces, some verdicts and drops, peers on the node and beyond.
fn event(number: usize) -> Told {
    let kind = match number % 20 {
        0 => EventKind::Drop,
        1 | 2 => EventKind::Verdict,
        _ => EventKind::Trace,
    };
    let n = number as u32;
    let (from, to) = (1 + n % u32::from(WORKLOADS), n * 7 % IDENTITIES);
    let address = |host: u32| {
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&(0x0a01_0000 + host).to_be_bytes());
        bytes
    };
    let local = to < u32::from(WORKLOADS);
    Told {
        time_ns: 1_700_000_000_000_000_000 + number as u64 * 1_000,
        kind: kind as u8,
        reason: if kind == EventKind::Drop { DropReason::PolicyDenied as u8 } else { 0 },
        action: if kind == EventKind::Drop { Action::DefaultDeny as u8 } else { Action::Allow as u8 },
        observation: Observation::ToEndpoint as u8,
        family: 4,
        protocol: if number.is_multiple_of(3) { 17 } else { 6 },
        tcp_flags: 0x12,
        source: address(from),
        destination: address(1000 + to),
        source_port: Be16::new(30_000 + (n % 20_000) as u16),
        destination_port: Be16::new([443, 80, 53, 8080][number % 4]),
        source_identity: Identity(1000 + from),
        destination_identity: Identity(1000 + to),
        source_endpoint: from as u16,
        destination_endpoint: if local { to as u16 } else { 0 },
        length: 60 + n % 1400,
        rule: n % RULES,
        policy: 1 + n % 10,
        ..Told::default()
    }
}
