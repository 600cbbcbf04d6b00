//! One GetFlows request, asked of every node, answered as one stream.
//!
//! Holds one stream a node and reads each only when the merge wants more, so a slow client slows the nodes' streams down, never
//! a node. Nothing is dropped here: what a node could not send in time it counts, and tells as a lost event that passes
//! through.

use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;
use std::time::{Duration, SystemTime};

use futures_util::StreamExt as _;
use futures_util::stream::{FuturesUnordered, StreamFuture};
use nexin_api::hubble::{Answer, Answers, Code, Refusal};
use nexin_hubble::observer::get_flows_response::ResponseTypes;
use nexin_hubble::observer::{GetFlowsRequest, GetFlowsResponse};
use nexin_hubble::relay::{NodeState, NodeStatusEvent};
use prost_types::Timestamp;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::clock::Clock;
use crate::coalesce::Coalesce;
use crate::merge::{Key, LaneId, Limits, Merge};
use crate::metrics::RelayMetrics;
use crate::pool::{Node, Nodes, State};

/// Equal errors of nodes are told at most this often.
const ERROR_WINDOW: Duration = Duration::from_secs(10);
/// How soon a node whose stream ended, but which seems to be there, is asked again.
const REOPEN: Duration = Duration::from_secs(2);
/// So many reasons are put into a message about unavailable nodes.
const REASONS: usize = 10;

type Reading =
    Pin<Box<dyn Future<Output = (LaneId, Option<Answer<GetFlowsResponse>>, Answers<GetFlowsResponse>)> + Send>>;

/// One node's part.
#[derive(Debug, Default)]
struct Part {
    /// The stream that is open.
    lane: Option<LaneId>,
    /// Time of the last thing it sent.
    last: Option<Key>,
    /// When to ask again, if the pool says by then that it is there.
    again: Option<Instant>,
    /// It refused in a way that asking again does not change.
    refused: Option<Refusal>,
    /// What the client was told of it.
    told: Option<NodeState>,
}

pub(crate) struct Fan {
    request: GetFlowsRequest,
    /// The client did not ask for times; they were added to order by.
    hide_time: bool,
    name: String,
    began: Timestamp,
    nodes: watch::Receiver<Nodes>,
    parts: BTreeMap<String, Part>,
    lanes: BTreeMap<LaneId, String>,
    next_lane: LaneId,
    reading: FuturesUnordered<Reading>,
    parked: BTreeMap<LaneId, Answers<GetFlowsResponse>>,
    merge: Merge<GetFlowsResponse>,
    clock: Clock,
    errors: Coalesce,
    outbox: VecDeque<Answer<GetFlowsResponse>>,
    ended: bool,
    metrics: RelayMetrics,
}

/// What the relay is, for this request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FanLimits {
    pub(crate) entries: usize,
    pub(crate) drain: Duration,
}

impl Fan {
    /// Asks every node that is there. `name` signs the relay's own messages.
    pub(crate) fn start(
        mut request: GetFlowsRequest,
        name: String,
        nodes: watch::Receiver<Nodes>,
        limits: FanLimits,
        metrics: RelayMetrics,
    ) -> Answers<GetFlowsResponse> {
        let hide_time = add_time(&mut request);
        let limits = Limits { entries: limits.entries, drain: limits.drain, live: request.follow };
        metrics.streams.inc();
        let mut fan = Self {
            request,
            hide_time,
            name,
            began: now(),
            nodes,
            parts: BTreeMap::new(),
            lanes: BTreeMap::new(),
            next_lane: 0,
            reading: FuturesUnordered::new(),
            parked: BTreeMap::new(),
            merge: Merge::new(limits),
            clock: Clock::default(),
            errors: Coalesce::new(ERROR_WINDOW),
            outbox: VecDeque::new(),
            ended: false,
            metrics,
        };
        fan.meet_nodes(true);
        Box::pin(futures_util::stream::unfold(fan, |mut fan| async move {
            fan.clock.go_on();
            let answer = fan.next().await?;
            fan.clock.pause();
            Some((answer, fan))
        }))
    }

    async fn next(&mut self) -> Option<Answer<GetFlowsResponse>> {
        loop {
            if let Some(message) = self.outbox.pop_front() {
                return Some(message);
            }
            let now = Instant::now();
            if let Some(answer) = self.merge.pop(self.clock.now()) {
                self.metrics.relayed.inc();
                return Some(Ok(self.without_time(answer)));
            }
            self.tell_errors(now.into_std());
            self.reopen(now);
            if self.outbox.is_empty() && self.is_over() {
                return self.end();
            }
            self.read_on();
            if self.outbox.is_empty() {
                self.wait().await;
            }
        }
    }

    async fn wait(&mut self) {
        let follow = self.request.follow;
        let due = self.next_due();
        tokio::select! {
            Some((lane, answer, stream)) = self.reading.next() => self.take(lane, answer, stream),
            changed = self.nodes.changed(), if follow => match changed {
                Ok(()) => self.meet_nodes(false),
                Err(_) => self.ended = true,
            },
            () = until(due) => {}
        }
    }

    fn next_due(&self) -> Option<Instant> {
        let held = self.merge.free_at().map(|at| self.clock.on_the_wall(at));
        let errors = self.errors.next_due().map(Instant::from_std);
        let again = self.parts.values().filter_map(|part| part.again);
        again.chain(held).chain(errors).min()
    }

    /// Every node answered to the end; a stream that follows ends only when no node can ever answer it.
    fn is_over(&self) -> bool {
        if !self.merge.is_done() {
            return false;
        }
        let hopeless = || !self.parts.is_empty() && self.parts.values().all(|part| part.refused.is_some());
        self.ended || !self.request.follow || hopeless()
    }

    fn end(&mut self) -> Option<Answer<GetFlowsResponse>> {
        for (text, nodes) in self.errors.flush() {
            self.say(NodeState::NodeError, nodes, text);
        }
        if self.request.follow
            && !std::mem::replace(&mut self.ended, true)
            && let Some(refusal) = self.parts.values().find_map(|part| part.refused.clone())
        {
            self.outbox.push_back(Err(refusal));
        }
        self.outbox.pop_front()
    }

    // === nodes ===

    /// Looks at the table: new nodes are asked, and changes told.
    fn meet_nodes(&mut self, first: bool) {
        let nodes = std::sync::Arc::clone(&self.nodes.borrow_and_update());
        let gone: Vec<String> = self.parts.keys().filter(|name| !nodes.contains_key(*name)).cloned().collect();
        for name in &gone {
            self.leave(name);
        }
        self.tell(NodeState::NodeGone, gone, String::new());
        let mut connected = Vec::new();
        let mut unavailable: Vec<(&Node, String)> = Vec::new();
        for (name, node) in nodes.iter() {
            let part = self.parts.entry(name.clone()).or_default();
            let state = if node.client().is_some() { NodeState::NodeConnected } else { NodeState::NodeUnavailable };
            if part.told != Some(state) {
                part.told = Some(state);
                match state {
                    NodeState::NodeConnected => connected.push(name.clone()),
                    _ => unavailable.push((node, name.clone())),
                }
            }
            if part.lane.is_none() && part.refused.is_none() && (part.again.is_none() || node.state == State::Connected)
            {
                self.ask(name, node, first);
            }
        }
        let now = Instant::now().into_std();
        connected.iter().for_each(|name| self.errors.hurry(name, now));
        self.tell_errors(now);
        self.tell(NodeState::NodeConnected, connected, String::new());
        let reasons = reasons(unavailable.iter().map(|(node, _)| *node));
        self.tell(NodeState::NodeUnavailable, unavailable.into_iter().map(|(_, name)| name).collect(), reasons);
    }

    /// Opens a node's stream: the request as it came, or, once the stream runs, what came since.
    fn ask(&mut self, name: &str, node: &Node, first: bool) {
        let Some(client) = node.client() else { return };
        let Some(part) = self.parts.get_mut(name) else { return };
        let mut request = self.request.clone();
        if !first {
            request.number = 0;
            request.first = false;
            let since = part.last.map_or_else(|| self.request.since.unwrap_or(self.began), just_after);
            request.since = Some(since);
        }
        let lane = self.next_lane;
        self.next_lane += 1;
        part.lane = Some(lane);
        part.again = None;
        self.lanes.insert(lane, name.to_owned());
        self.merge.open(lane, self.clock.now());
        self.parked.insert(lane, client.get_flows(request));
    }

    fn leave(&mut self, name: &str) {
        if let Some(lane) = self.parts.remove(name).and_then(|part| part.lane) {
            self.close(lane);
        }
    }

    /// Asks nodes again whose stream ended a while ago.
    fn reopen(&mut self, now: Instant) {
        let due = |part: &Part| part.again.is_some_and(|again| again <= now);
        let names: Vec<String> =
            self.parts.iter().filter(|(_, part)| due(part)).map(|(name, _)| name.clone()).collect();
        if names.is_empty() {
            return;
        }
        let nodes = std::sync::Arc::clone(&self.nodes.borrow());
        for name in names {
            if let Some(part) = self.parts.get_mut(&name) {
                part.again = Some(now + REOPEN);
            }
            if let Some(node) = nodes.get(&name) {
                self.ask(&name, node, false);
            }
        }
    }

    // === streams ===

    /// Reads every lane that the merge wants more of.
    fn read_on(&mut self) {
        let wanted: Vec<LaneId> = self.parked.keys().copied().filter(|lane| self.merge.wants(*lane)).collect();
        for lane in wanted {
            if let Some(stream) = self.parked.remove(&lane) {
                let next: StreamFuture<_> = stream.into_future();
                self.reading.push(Box::pin(async move {
                    let (answer, stream) = next.await;
                    (lane, answer, stream)
                }));
            }
        }
    }

    fn take(&mut self, lane: LaneId, answer: Option<Answer<GetFlowsResponse>>, stream: Answers<GetFlowsResponse>) {
        let Some(name) = self.lanes.get(&lane).cloned() else { return };
        match answer {
            Some(Ok(answer)) => {
                let key = time_of(&answer);
                if let Some(part) = self.parts.get_mut(&name) {
                    part.last = key.max(part.last);
                }
                self.merge.push(lane, key, answer, self.clock.now());
                self.parked.insert(lane, stream);
            }
            Some(Err(refusal)) => {
                self.close(lane);
                self.fail(name, refusal);
            }
            None => {
                self.close(lane);
                if self.request.follow {
                    self.fail(name, Refusal::unavailable("the node ended a stream that follows"));
                }
            }
        }
    }

    fn close(&mut self, lane: LaneId) {
        self.lanes.remove(&lane);
        self.parked.remove(&lane);
        self.merge.close(lane);
    }

    fn fail(&mut self, name: String, refusal: Refusal) {
        let now = Instant::now();
        tracing::warn!(
            node = name,
            code = refusal.code_name(),
            reason = refusal.message,
            "node failed a request for flows"
        );
        self.metrics.node_errors.inc();
        let text = match refusal.code {
            // Filters and masks: for the person who wrote them.
            Code::Unknown => refusal.message.clone(),
            _ => format!("rpc error: code = {} desc = {}", refusal.code_name(), refusal.message),
        };
        self.errors.add(text, name.clone(), now.into_std());
        if let Some(part) = self.parts.get_mut(&name) {
            part.lane = None;
            if matches!(refusal.code, Code::InvalidArgument | Code::Unknown | Code::Unimplemented) {
                part.refused = Some(refusal);
            } else if self.request.follow {
                part.again = Some(now + REOPEN);
            }
        }
    }

    // === messages of the relay itself ===

    fn tell_errors(&mut self, now: std::time::Instant) {
        for (text, nodes) in self.errors.due(now) {
            self.say(NodeState::NodeError, nodes, text);
        }
    }

    fn tell(&mut self, state: NodeState, names: Vec<String>, message: String) {
        if !names.is_empty() {
            self.say(state, names, message);
        }
    }

    fn say(&mut self, state: NodeState, node_names: Vec<String>, message: String) {
        let event = NodeStatusEvent { state_change: state.into(), node_names, message };
        self.outbox.push_back(Ok(GetFlowsResponse {
            response_types: Some(ResponseTypes::NodeStatus(event)),
            node_name: self.name.clone(),
            time: Some(now()),
        }));
    }

    fn without_time(&self, mut answer: GetFlowsResponse) -> GetFlowsResponse {
        if self.hide_time
            && let Some(ResponseTypes::Flow(flow)) = &mut answer.response_types
        {
            flow.time = None;
            answer.time = None;
        }
        answer
    }
}

impl Drop for Fan {
    fn drop(&mut self) {
        self.metrics.streams.dec();
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

/// Asks for times where a field mask left them out: there is no order without. True when it had to.
fn add_time(request: &mut GetFlowsRequest) -> bool {
    let Some(mask) = &mut request.field_mask else { return false };
    let has = |path: &String| path == "time" || path.starts_with("time.");
    if mask.paths.is_empty() || mask.paths.iter().any(has) {
        return false;
    }
    mask.paths.push("time".to_owned());
    true
}

fn time_of(answer: &GetFlowsResponse) -> Option<Key> {
    answer.time.map(|time| (time.seconds, time.nanos))
}

fn just_after((seconds, nanos): Key) -> Timestamp {
    match nanos {
        999_999_999.. => Timestamp { seconds: seconds + 1, nanos: 0 },
        _ => Timestamp { seconds, nanos: nanos + 1 },
    }
}

fn now() -> Timestamp {
    SystemTime::now().into()
}

fn reasons<'a>(nodes: impl Iterator<Item = &'a Node>) -> String {
    let mut reasons: Vec<&str> = nodes
        .filter_map(|node| match &node.state {
            State::Unavailable(reason) => Some(&**reason),
            State::Connecting | State::Connected => None,
        })
        .collect();
    reasons.sort_unstable();
    reasons.dedup();
    reasons.truncate(REASONS);
    reasons.join("; ")
}
