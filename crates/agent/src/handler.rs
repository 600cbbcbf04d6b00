//! The agent behind the API.

use nexin_api::server::{Answer, CaptureStream, Handler, RecordStream};
use nexin_api::v1::{
    Attachment, CaptureRequest, ConfigReply, CtEntry, CtFlushReply, CtQuery, CtState, DoctorReply, Endpoint,
    EndpointCreate, ErrorBody, ErrorCode, ExplainQuery, ExplainReply, Identity, IpamReply, LabelsUpdate, MapContents,
    MapEntry, MapInfo, MapKind, MonitorFilter, NamespaceUpdate, Policy, PolicyApplyReply, PolicyFile, PolicyRef,
    PolicySet, PolicyUpload, Protocol, RemovedReply, SettingOrigin, SettingValue, SimulateReply, SimulateRequest,
    StatusReply, ValidateReply,
};
use nexin_datapath::{Flow, FlowFilter, FlowState, MapUse};
use nexin_runtime::settings::{Origin, nearest};

use crate::agent::Agent;
use crate::core::UploadText;
use crate::policies::upload_text;
use crate::{capture, doctor, status};

/// Entries of a map that one answer shows.
const SHOWN: usize = 10_000;

impl Handler for Agent {
    async fn status(&self) -> Answer<StatusReply> {
        status::status(self).await
    }

    async fn doctor(&self) -> Answer<DoctorReply> {
        let agent = self.clone();
        let checked = tokio::task::spawn_blocking(move || doctor::examine(agent.settings())).await;
        checked.map_err(|error| ErrorBody::new(ErrorCode::Failed, format!("the examination ended early: {error}")))
    }

    async fn config(&self) -> Answer<ConfigReply> {
        let values = self.0.origins.iter().map(|(key, (value, origin))| {
            let origin = match origin {
                Origin::Default => SettingOrigin::Default,
                Origin::File => SettingOrigin::File,
                Origin::Environment => SettingOrigin::Environment,
                Origin::Flag => SettingOrigin::Flag,
            };
            ((*key).to_owned(), SettingValue { value: value.clone(), origin })
        });
        std::future::ready(Ok(ConfigReply(values.collect()))).await
    }

    async fn create_endpoint(&self, request: EndpointCreate) -> Answer<Endpoint> {
        self.make_endpoint(request).await
    }

    async fn endpoints(&self) -> Answer<Vec<Endpoint>> {
        Ok(self.owner()?.ask(|owner| owner.core.endpoint_views()).await?)
    }

    async fn endpoint(&self, id: u16) -> Answer<Endpoint> {
        Ok(self.owner()?.ask(move |owner| owner.core.endpoint_view(id)).await??)
    }

    async fn delete_endpoint(&self, id: u16) -> Answer<()> {
        self.remove_endpoint(id).await
    }

    async fn delete_attachment(&self, attachment: Attachment) -> Answer<RemovedReply> {
        self.ready_owner()?;
        self.remove_attachment(attachment).await
    }

    async fn set_labels(&self, id: u16, update: LabelsUpdate) -> Answer<Endpoint> {
        self.relabel(id, update).await
    }

    async fn set_namespace(&self, name: String, update: NamespaceUpdate) -> Answer<()> {
        let (done, _) = self.ready_owner()?.change(move |core| core.set_namespace(name, update.labels.0)).await?;
        Ok(done?)
    }

    async fn identities(&self) -> Answer<Vec<Identity>> {
        Ok(self.owner()?.ask(|owner| owner.core.identity_views()).await?)
    }

    async fn apply_policies(&self, yaml: String, upload: PolicyUpload) -> Answer<PolicyApplyReply> {
        self.apply_documents(vec![upload_text(yaml, upload)]).await
    }

    async fn apply_policy_set(&self, set: PolicySet) -> Answer<PolicyApplyReply> {
        let PolicySet { files, namespace } = set;
        let text = |file: PolicyFile| UploadText { text: file.yaml, file: file.file, namespace: namespace.clone() };
        self.apply_documents(files.into_iter().map(text).collect()).await
    }

    async fn validate_policies(&self, yaml: String, upload: PolicyUpload) -> Answer<ValidateReply> {
        Ok(self.owner()?.ask(move |owner| owner.core.validate(&upload_text(yaml, upload))).await?)
    }

    async fn policies(&self) -> Answer<Vec<Policy>> {
        Ok(self.owner()?.ask(|owner| owner.core.policies()).await?)
    }

    async fn delete_policy(&self, policy: PolicyRef) -> Answer<()> {
        self.delete_document(policy).await
    }

    async fn explain(&self, query: ExplainQuery) -> Answer<ExplainReply> {
        self.explain_question(query).await
    }

    async fn simulate(&self, request: SimulateRequest) -> Answer<SimulateReply> {
        self.simulate_change(request).await
    }

    async fn monitor(&self, filter: MonitorFilter) -> Answer<RecordStream> {
        let records: RecordStream = Box::pin(self.0.hub.listen(filter));
        std::future::ready(Ok(records)).await
    }

    async fn capture(&self, request: CaptureRequest) -> Answer<CaptureStream> {
        capture::capture(self, request).await
    }

    async fn ipam(&self) -> Answer<IpamReply> {
        Ok(self.owner()?.ask(|owner| owner.core.ipam_view()).await?)
    }

    async fn maps(&self) -> Answer<Vec<MapInfo>> {
        let pins = self.settings().datapath.bpffs.join(format!("v{}", nexin_abi::LAYOUT));
        let maps = self.owner()?.ask(|owner| owner.datapath.maps()).await?.map_err(kernel)?;
        Ok(maps.into_iter().map(|map| map_info(map, &pins)).collect())
    }

    async fn map(&self, name: String) -> Answer<MapContents> {
        let maps = self.maps().await?;
        let Some(info) = maps.iter().find(|map| map.name == name).cloned() else {
            let error = ErrorBody::new(ErrorCode::NotFound, format!("no map is called {name}"));
            return Err(match nearest(&name, maps.iter().map(|map| map.name.as_str())) {
                Some(meant) => error.hint(format!("did you mean {meant}?")),
                None => error.hint("GET /v1/maps lists them"),
            });
        };
        let entries = self.owner()?.ask(move |owner| owner.datapath.dump_map(&name)).await?.map_err(kernel)?;
        let entries = entries.ok_or_else(|| {
            ErrorBody::new(ErrorCode::BadRequest, format!("{} is a ring of events and has no entries", info.name))
                .hint("GET /v1/monitor shows events")
        })?;
        let truncated = entries.len() > SHOWN;
        let shown = entries.into_iter().take(SHOWN).map(|entry| MapEntry { key: entry.key, value: entry.value });
        Ok(MapContents { info, contents: shown.collect(), truncated })
    }

    async fn conntrack(&self, query: CtQuery) -> Answer<Vec<CtEntry>> {
        let filter = FlowFilter { endpoint: query.endpoint, ..FlowFilter::default() };
        let flows = self.owner()?.ask(move |owner| owner.datapath.flows(&filter)).await?.map_err(kernel)?;
        let most = query.limit.map_or(usize::MAX, |limit| limit as usize);
        Ok(flows.iter().take(most).map(ct_entry).collect())
    }

    async fn flush_conntrack(&self, query: CtQuery) -> Answer<CtFlushReply> {
        let filter = FlowFilter { endpoint: query.endpoint, ..FlowFilter::default() };
        let removed =
            self.ready_owner()?.ask(move |owner| owner.datapath.flush_flows(&filter)).await?.map_err(kernel)?;
        Ok(CtFlushReply { removed: removed as u64 })
    }

    async fn metrics(&self) -> Answer<String> {
        status::refresh_metrics(self).await?;
        self.0
            .metrics
            .encode()
            .map_err(|error| ErrorBody::new(ErrorCode::Failed, format!("metrics cannot be written: {error}")))
    }
}

fn kernel(error: nexin_datapath::Error) -> ErrorBody {
    ErrorBody::new(ErrorCode::Failed, error.to_string()).hint(error.next_step())
}

fn map_info(map: MapUse, pins: &std::path::Path) -> MapInfo {
    use nexin_abi::maps::MapKind as Kind;
    MapInfo {
        kind: match map.kind {
            Kind::Array => MapKind::Array,
            Kind::PerCpuArray => MapKind::PerCpuArray,
            Kind::Hash => MapKind::Hash,
            Kind::LruHash => MapKind::LruHash,
            Kind::LpmTrie => MapKind::LpmTrie,
            Kind::RingBuf => MapKind::RingBuf,
        },
        id: map.id,
        key_bytes: map.key_size,
        value_bytes: map.value_size,
        entries: map.used.map(u64::from),
        max_entries: map.max_entries,
        memory_bytes: Some(map.memory),
        pin: pins.join(&map.name).display().to_string(),
        name: map.name,
    }
}

fn ct_entry(flow: &Flow) -> CtEntry {
    CtEntry {
        protocol: Protocol::from_number(flow.protocol),
        source: flow.source.0,
        source_port: flow.source.1,
        destination: flow.destination.0,
        destination_port: flow.destination.1,
        state: match flow.state {
            FlowState::New => CtState::New,
            FlowState::Established => CtState::Established,
            FlowState::Closing => CtState::Closing,
            FlowState::LastAck => CtState::LastAck,
            FlowState::Denied => CtState::Denied,
        },
        source_endpoint: flow.source_endpoint,
        destination_endpoint: flow.destination_endpoint,
        expires_in: match flow.expires {
            nexin_datapath::Offset::Ahead(left) => i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            nexin_datapath::Offset::Passed(past) => -i64::try_from(past.as_secs()).unwrap_or(i64::MAX),
        },
        packets_forward: flow.forward.packets(),
        bytes_forward: flow.forward.bytes(),
        packets_reverse: flow.reverse.packets(),
        bytes_reverse: flow.reverse.bytes(),
        masqueraded_as: flow.masquerade.map(|(address, _)| address),
        masquerade_port: flow.masquerade.map(|(_, port)| port),
        epoch: flow.epoch,
    }
}
