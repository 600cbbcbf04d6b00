//! Endpoints from request to traffic: numbers and addresses, links, programs; and back. A request that fails leaves nothing.

use std::time::Instant;

use nexin_api::v1::{Attachment, Endpoint, EndpointCreate, ErrorBody, ErrorCode, LabelsUpdate, RemovedReply};
use nexin_netlink::{Error as NetError, WorkloadSpec};

use crate::agent::{Agent, now};
use crate::core::{Core, EndpointError, Reserved, Wired};
use crate::metrics::Counters;

impl Agent {
    pub(crate) async fn make_endpoint(&self, request: EndpointCreate) -> Result<Endpoint, ErrorBody> {
        let start = Instant::now();
        let made = self.make(request).await;
        let counters = &self.0.counters;
        Counters::outcome(&counters.endpoint_creates, made.is_ok());
        if made.is_ok() {
            counters.create_seconds.0.observe(start.elapsed().as_secs_f64());
        }
        made
    }

    async fn make(&self, request: EndpointCreate) -> Result<Endpoint, ErrorBody> {
        let owner = self.ready_owner()?;
        let container =
            request.container_id.clone().unwrap_or_else(|| format!("{}.{}", request.namespace, request.name));
        let _alone = self.0.locks.lock(&container).await;
        let reserved = owner.ask(move |owner| owner.core.reserve(request, now())).await??;
        let (id, plan, fresh) = match reserved {
            Reserved::New { id, plan } => (id, plan, true),
            Reserved::Existing { id, plan } => (id, plan, false),
        };
        match self.wire(id, plan.clone()).await {
            Ok(endpoint) => Ok(endpoint),
            Err(error) => {
                if fresh {
                    self.take_down(id, Some(plan)).await?;
                }
                Err(error)
            }
        }
    }

    /// Links first and down, then programs, then up: no packet passes before policy does.
    async fn wire(&self, id: u16, plan: WorkloadSpec) -> Result<Endpoint, ErrorBody> {
        let room = self.room()?;
        let links = room.wiring.make_links(plan.clone()).await.map_err(wiring_error)?;
        let wired = Wired::from(&links);
        let (known, synced) = room.owner.change(move |core| core.set_wired(id, wired)).await?;
        known?;
        if synced.error.is_some() || synced.not_enforced.contains_key(&id) {
            let message = format!("the endpoint cannot be brought into force: {}", synced.complaint());
            let code = if synced.error.is_some() { ErrorCode::Failed } else { ErrorCode::Exhausted };
            return Err(ErrorBody::new(code, message).hint("GET /v1/maps shows which table is full"));
        }
        room.wiring.attach_workload(plan).await.map_err(wiring_error)?;
        Ok(room.owner.ask(move |owner| owner.core.endpoint_view(id)).await??)
    }

    /// Complete, and the same when repeated: links with their programs, file, address, datapath, in this order.
    async fn take_down(&self, id: u16, plan: Option<WorkloadSpec>) -> Result<bool, ErrorBody> {
        let room = self.room()?;
        // Programs go with the link; taking them off first would cost a grace period each.
        let links = room.owner.ask(move |owner| owner.core.unplug(id)).await?;
        let links = links.or_else(|| plan.map(|plan| (plan.host_ifname, plan.owner)));
        let Some((name, owner)) = links else { return Ok(false) };
        room.wiring.detach_workload(name, owner).await.map_err(wiring_error)?;
        let (removed, _) = room.owner.change(move |core| core.remove(id)).await?;
        removed?;
        Ok(true)
    }

    pub(crate) async fn remove_endpoint(&self, id: u16) -> Result<(), ErrorBody> {
        let owner = self.ready_owner()?;
        let container = owner
            .ask(move |owner| owner.core.endpoint(id).map(|endpoint| endpoint.record.container_id.clone()))
            .await??;
        let _alone = self.0.locks.lock(&container).await;
        if self.take_down(id, None).await? { Ok(()) } else { Err(EndpointError::NoSuchEndpoint(id).into()) }
    }

    /// Every endpoint of an attachment. Also used before the agent is ready, for deletions that waited for it.
    pub(crate) async fn remove_attachment(&self, attachment: Attachment) -> Result<RemovedReply, ErrorBody> {
        let _alone = self.0.locks.lock(&attachment.container_id).await;
        let find = move |core: &Core| core.attachments(&attachment.container_id, attachment.interface.as_deref());
        let ids = self.owner()?.ask(move |owner| find(&owner.core)).await?;
        let mut removed = 0;
        for id in ids {
            removed += u32::from(self.take_down(id, None).await?);
        }
        Ok(RemovedReply { removed })
    }

    pub(crate) async fn relabel(&self, id: u16, update: LabelsUpdate) -> Result<Endpoint, ErrorBody> {
        let owner = self.ready_owner()?;
        let (done, synced) = owner.change(move |core| core.relabel(id, update)).await?;
        done?;
        if synced.error.is_some() || synced.not_enforced.contains_key(&id) {
            let message = format!("the labels are known, but not in force: {}", synced.complaint());
            return Err(ErrorBody::new(ErrorCode::Exhausted, message)
                .hint("GET /v1/maps shows which table is full; it is tried again"));
        }
        Ok(owner.ask(move |owner| owner.core.endpoint_view(id)).await??)
    }
}

impl From<EndpointError> for ErrorBody {
    fn from(error: EndpointError) -> Self {
        let message = error.to_string();
        match error {
            EndpointError::NoSuchEndpoint(_) => {
                Self::new(ErrorCode::NotFound, message).hint("GET /v1/endpoints lists them")
            }
            EndpointError::Invalid { .. } | EndpointError::Label(_) => Self::new(ErrorCode::BadRequest, message),
            EndpointError::Differs { .. } => {
                Self::new(ErrorCode::Conflict, message).hint("delete that endpoint first, or ask with the same values")
            }
            EndpointError::NoNumber | EndpointError::NoIdentity(_) => {
                Self::new(ErrorCode::Exhausted, message).hint("delete endpoints that are no longer used")
            }
            EndpointError::Address(error) => match error {
                nexin_ipam::Error::Exhausted { .. } => Self::new(ErrorCode::Exhausted, message)
                    .hint("GET /v1/ipam shows who has them; a larger pool is a setting (ipam.ipv4_pool)"),
                nexin_ipam::Error::InUse { .. } => Self::new(ErrorCode::Conflict, message),
                _ => Self::new(ErrorCode::BadRequest, message),
            },
            EndpointError::State(_) => {
                Self::new(ErrorCode::Failed, message).hint("is the disk of agent.state_dir full or read-only?")
            }
        }
    }
}

/// Errors of wiring, as the one who asked for an endpoint needs them.
pub(crate) fn wiring_error(error: NetError) -> ErrorBody {
    let message = error.to_string();
    match error {
        NetError::NoSuchNamespace(_) => ErrorBody::new(ErrorCode::NotFound, message),
        NetError::HostNamespace(_) | NetError::InvalidName(_) | NetError::NoIpv6(_) => {
            ErrorBody::new(ErrorCode::BadRequest, message)
        }
        NetError::Occupied { .. } => ErrorBody::new(ErrorCode::Conflict, message),
        _ => ErrorBody::new(ErrorCode::Failed, message).hint("the agent's log and `nexin doctor` may say more"),
    }
}
