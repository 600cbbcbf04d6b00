//! What the server needs someone to answer.

use std::future::Future;
use std::pin::Pin;

use futures_util::Stream;

use crate::v1::{
    Attachment, CaptureRecord, CaptureRequest, ConfigReply, CtEntry, CtFlushReply, CtQuery, DoctorReply, Endpoint,
    EndpointCreate, ErrorBody, ExplainQuery, ExplainReply, Identity, IpamReply, LabelsUpdate, MapContents, MapInfo,
    MonitorFilter, MonitorRecord, NamespaceUpdate, Policy, PolicyApplyReply, PolicyRef, PolicySet, PolicyUpload,
    RemovedReply, SimulateReply, SimulateRequest, StatusReply, ValidateReply,
};

/// An answer, or why there is none.
pub type Answer<T> = Result<T, ErrorBody>;

/// Records of one monitor client, until it leaves or the agent stops.
pub type RecordStream = Pin<Box<dyn Stream<Item = MonitorRecord> + Send>>;

/// Packets of one capture, until its client leaves or the agent stops.
pub type CaptureStream = Pin<Box<dyn Stream<Item = CaptureRecord> + Send>>;

/// Answers requests whose form was checked. One method a route; the agent implements it, and the tests of this crate do.
pub trait Handler: Clone + Send + Sync + 'static {
    fn status(&self) -> impl Future<Output = Answer<StatusReply>> + Send;
    fn doctor(&self) -> impl Future<Output = Answer<DoctorReply>> + Send;
    fn config(&self) -> impl Future<Output = Answer<ConfigReply>> + Send;
    fn create_endpoint(&self, request: EndpointCreate) -> impl Future<Output = Answer<Endpoint>> + Send;
    fn endpoints(&self) -> impl Future<Output = Answer<Vec<Endpoint>>> + Send;
    fn endpoint(&self, id: u16) -> impl Future<Output = Answer<Endpoint>> + Send;
    fn delete_endpoint(&self, id: u16) -> impl Future<Output = Answer<()>> + Send;
    fn delete_attachment(&self, attachment: Attachment) -> impl Future<Output = Answer<RemovedReply>> + Send;
    fn set_labels(&self, id: u16, update: LabelsUpdate) -> impl Future<Output = Answer<Endpoint>> + Send;
    fn set_namespace(&self, name: String, update: NamespaceUpdate) -> impl Future<Output = Answer<()>> + Send;
    fn identities(&self) -> impl Future<Output = Answer<Vec<Identity>>> + Send;
    fn apply_policies(
        &self,
        yaml: String,
        upload: PolicyUpload,
    ) -> impl Future<Output = Answer<PolicyApplyReply>> + Send;
    fn apply_policy_set(&self, set: PolicySet) -> impl Future<Output = Answer<PolicyApplyReply>> + Send;
    fn validate_policies(
        &self,
        yaml: String,
        upload: PolicyUpload,
    ) -> impl Future<Output = Answer<ValidateReply>> + Send;
    fn policies(&self) -> impl Future<Output = Answer<Vec<Policy>>> + Send;
    fn delete_policy(&self, policy: PolicyRef) -> impl Future<Output = Answer<()>> + Send;
    fn explain(&self, query: ExplainQuery) -> impl Future<Output = Answer<ExplainReply>> + Send;
    fn simulate(&self, request: SimulateRequest) -> impl Future<Output = Answer<SimulateReply>> + Send;
    fn monitor(&self, filter: MonitorFilter) -> impl Future<Output = Answer<RecordStream>> + Send;
    fn capture(&self, request: CaptureRequest) -> impl Future<Output = Answer<CaptureStream>> + Send;
    fn ipam(&self) -> impl Future<Output = Answer<IpamReply>> + Send;
    fn maps(&self) -> impl Future<Output = Answer<Vec<MapInfo>>> + Send;
    fn map(&self, name: String) -> impl Future<Output = Answer<MapContents>> + Send;
    fn conntrack(&self, query: CtQuery) -> impl Future<Output = Answer<Vec<CtEntry>>> + Send;
    fn flush_conntrack(&self, query: CtQuery) -> impl Future<Output = Answer<CtFlushReply>> + Send;
    /// Metrics in the OpenMetrics text format.
    fn metrics(&self) -> impl Future<Output = Answer<String>> + Send;
}
