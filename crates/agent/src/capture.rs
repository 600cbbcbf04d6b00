//! Captures: copies of chosen packets for whoever asked, as long as he listens. One thread takes them from the kernel while
//! somebody does. What a client or the kernel could not take is told in the stream. Nothing here touches traffic.

use std::collections::VecDeque;
use std::os::fd::AsFd as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use futures_util::stream;
use ipnet::IpNet;
use nexin_abi::maps::capture::Captured;
use nexin_api::server::{Answer, CaptureStream};
use nexin_api::v1::{
    CaptureFilter, CaptureRecord, CaptureRequest, CaptureSide, CapturedPacket, ErrorBody, ErrorCode, LostEvents,
    PeerRef, Timestamp,
};
use nexin_datapath::{CaptureId, Copies, Error as KernelError, PacketFilter, PacketSide};
use nexin_flows::decode::{Clock, decode};
use nexin_model::reserved_by_name;
use nexin_runtime::tasks::{CancellationToken, Lifetime};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::sync::broadcast::{Receiver, Sender, error::RecvError};

use crate::agent::Agent;
use crate::core::Core;
use crate::events::monitored;
use crate::flows::{SharedDirectory, both_clocks};
use crate::owner::OwnerHandle;

/// Packets that a slow client may be behind.
const BEHIND: usize = 4096;
/// Copies that are named and handed on together.
const BATCH: usize = 256;
/// How long at most a copy waits in the ring.
const WAIT_MS: u8 = 50;

#[derive(Clone)]
enum Message {
    Packet {
        header: Arc<Captured>,
        packet: Arc<CapturedPacket>,
    },
    /// So many found no room in the kernel's ring.
    Lost(u64),
}

/// Who listens to copies. Clones are one.
#[derive(Clone)]
pub(crate) struct Captures {
    sender: Sender<Message>,
    /// The thread that reads runs. Held while it begins or ends, so that no client finds it ending.
    running: Arc<Mutex<bool>>,
}

impl Default for Captures {
    fn default() -> Self {
        Self { sender: Sender::new(BEHIND), running: Arc::default() }
    }
}

impl Captures {
    fn running(&self) -> MutexGuard<'_, bool> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Begins a capture; it ends when the stream is dropped.
pub(crate) async fn capture(agent: &Agent, request: CaptureRequest) -> Answer<CaptureStream> {
    let owner = agent.ready_owner()?;
    let receiver = agent.0.captures.sender.subscribe();
    let (_, since_ns) = both_clocks();
    let (slots, copies) = owner.ask(move |owner| begin(&owner.core, &mut owner.datapath, &request)).await??;
    let slots = Slots { owner: owner.clone(), ids: slots };
    start_reading(agent, copies)?;
    let client = Client { slots, receiver, since_ns, waiting: VecDeque::new() };
    Ok(Box::pin(stream::unfold(client, |mut client| async move {
        let record = client.next().await?;
        Some((record, client))
    })))
}

/// Takes a slot of the kernel for each filter, or none at all.
fn begin(
    core: &Core,
    datapath: &mut nexin_datapath::Datapath,
    request: &CaptureRequest,
) -> Answer<(Vec<CaptureId>, Copies)> {
    let everything = [CaptureFilter::default()];
    let wanted = if request.filters.is_empty() { &everything[..] } else { &request.filters };
    let filters = wanted.iter().map(|filter| packet_filter(core, filter, request.snap));
    let filters = filters.collect::<Answer<Vec<PacketFilter>>>()?;
    let copies = datapath.copies().map_err(refused)?;
    let mut ids = Vec::new();
    for filter in &filters {
        match datapath.capture(filter) {
            Ok(id) => ids.push(id),
            Err(error) => {
                stop(datapath, &ids);
                return Err(refused(error));
            }
        }
    }
    Ok((ids, copies))
}

fn stop(datapath: &mut nexin_datapath::Datapath, ids: &[CaptureId]) {
    for id in ids {
        if let Err(error) = datapath.stop_capture(*id) {
            tracing::warn!(%error, "a capture could not be ended");
        }
    }
}

fn refused(error: KernelError) -> ErrorBody {
    let code = match error {
        KernelError::TooManyCaptures(_) => ErrorCode::Conflict,
        _ => ErrorCode::Failed,
    };
    ErrorBody::new(code, error.to_string()).hint(error.next_step())
}

fn packet_filter(core: &Core, filter: &CaptureFilter, snap: u32) -> Answer<PacketFilter> {
    if filter.family.is_some_and(|family| family != 4 && family != 6) {
        return Err(ErrorBody::new(ErrorCode::BadRequest, "family is 4 or 6"));
    }
    let (source, destination) = (packet_side(core, &filter.source)?, packet_side(core, &filter.destination)?);
    let families = [source.prefix, destination.prefix].map(|net| net.map(|net| net.addr().is_ipv4()));
    let contradiction = match families {
        [Some(a), Some(b)] => a != b,
        [Some(four), None] | [None, Some(four)] => filter.family.is_some_and(|family| (family == 4) != four),
        [None, None] => false,
    };
    if contradiction {
        return Err(ErrorBody::new(ErrorCode::BadRequest, "the filter's addresses are of different families"));
    }
    Ok(PacketFilter {
        source,
        destination,
        either_way: filter.either_way,
        family: filter.family,
        protocol: filter.protocol.map(|protocol| protocol.number()),
        forwarded: filter.forwarded,
        dropped: filter.dropped,
        snap,
    })
}

fn packet_side(core: &Core, side: &CaptureSide) -> Answer<PacketSide> {
    let mut found = PacketSide {
        prefix: side.prefix,
        identity: side.identity,
        endpoint: None,
        ports: side.ports.map(|ports| ports.first..=ports.last),
    };
    let Some(peer) = &side.workload else { return Ok(found) };
    let nobody = || ErrorBody::new(ErrorCode::NotFound, format!("there is no {peer} on this node"));
    match peer {
        PeerRef::Address(address) => found.prefix = Some(IpNet::from(*address)),
        PeerRef::Identity(number) => found.identity = Some(*number),
        PeerRef::Reserved(name) => found.identity = Some(reserved_by_name(name).ok_or_else(nobody)?.0),
        PeerRef::Endpoint(number) => found.endpoint = Some(core.endpoint_view(*number).map_err(|_| nobody())?.id),
        PeerRef::Workload { namespace, name } => {
            let views = core.endpoint_views();
            let named = views.iter().find(|view| view.namespace == *namespace && view.name == *name);
            found.endpoint = Some(named.ok_or_else(nobody)?.id);
        }
        PeerRef::Labels(_) => {
            let error = ErrorBody::new(ErrorCode::BadRequest, "packets cannot be captured by labels");
            return Err(error.hint("name a workload or an identity: GET /v1/identities lists them by labels"));
        }
    }
    Ok(found)
}

/// Slots of the kernel that are given back at the end.
struct Slots {
    owner: OwnerHandle,
    ids: Vec<CaptureId>,
}

impl Drop for Slots {
    fn drop(&mut self) {
        let ids = std::mem::take(&mut self.ids);
        self.owner.tell(move |owner| stop(&mut owner.datapath, &ids));
    }
}

struct Client {
    slots: Slots,
    receiver: Receiver<Message>,
    /// Copies from before are somebody else's.
    since_ns: u64,
    waiting: VecDeque<CaptureRecord>,
}

impl Client {
    async fn next(&mut self) -> Option<CaptureRecord> {
        loop {
            if let Some(record) = self.waiting.pop_front() {
                return Some(record);
            }
            match self.receiver.recv().await {
                Ok(Message::Packet { header, packet }) => {
                    let ours = self.slots.ids.iter().any(|id| id.chose(&header));
                    if ours && header.event.time_ns >= self.since_ns {
                        self.waiting.push_back(CaptureRecord::Packet(Box::new(CapturedPacket::clone(&packet))));
                    }
                }
                Ok(Message::Lost(count)) => return Some(lost(count, 0)),
                Err(RecvError::Lagged(count)) => return Some(lost(0, count)),
                Err(RecvError::Closed) => return None,
            }
        }
    }
}

fn lost(kernel: u64, client: u64) -> CaptureRecord {
    CaptureRecord::Lost(LostEvents { time: Timestamp::from(SystemTime::now()), kernel, client })
}

// === from the kernel ===

/// Has a thread read copies if none does.
fn start_reading(agent: &Agent, copies: Copies) -> Answer<()> {
    let captures = agent.0.captures.clone();
    let mut running = captures.running();
    if *running {
        return Ok(());
    }
    let (directory, stop) = (agent.0.flows.directory().clone(), agent.0.tasks.stop().clone());
    let reader = captures.clone();
    let work = move || read(copies, &reader, &directory, &stop);
    let started = agent.0.tasks.thread("captures", Lifetime::Errand, work);
    started.map_err(|error| ErrorBody::new(ErrorCode::Failed, format!("no thread for captures: {error}")))?;
    *running = true;
    Ok(())
}

/// Runs until nobody listens.
fn read(mut copies: Copies, captures: &Captures, directory: &SharedDirectory, stop: &CancellationToken) {
    let (wall, monotonic) = both_clocks();
    let mut clock = Clock::new(wall, monotonic);
    let mut told = copies.lost().unwrap_or(0);
    let mut number = 0;
    loop {
        let (wall, monotonic) = both_clocks();
        clock.measure(wall, monotonic);
        let taken = {
            let names = directory.names();
            copies.read(BATCH, |header, bytes| {
                let time = clock.wall(header.event.time_ns);
                let Some(record) = decode(&header.event, &names, time, number) else { return };
                number += 1;
                let packet = CapturedPacket {
                    event: monitored(&record),
                    length: header.event.length,
                    ethernet: header.ethernet != 0,
                    data: BASE64_STANDARD.encode(bytes),
                };
                // Nobody there any more: the loop ends below.
                let _ = captures.sender.send(Message::Packet { header: Arc::new(header), packet: Arc::new(packet) });
            })
        };
        let count = copies.lost().unwrap_or(told);
        if count > told {
            let _ = captures.sender.send(Message::Lost(count - told));
            told = count;
        }
        if captures.sender.receiver_count() == 0 || stop.is_cancelled() {
            let mut running = captures.running();
            if captures.sender.receiver_count() == 0 || stop.is_cancelled() {
                *running = false;
                return;
            }
        }
        if taken < BATCH {
            // An interrupted wait is a short wait.
            let _ = poll(&mut [PollFd::new(copies.as_fd(), PollFlags::POLLIN)], PollTimeout::from(WAIT_MS));
        }
    }
}
