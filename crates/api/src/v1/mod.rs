//! Request and response bodies of `/v1`. Plain data: requests refuse unknown fields, responses may grow new ones.

mod capture;
mod config;
mod doctor;
mod endpoint;
mod error;
mod event;
mod filter;
mod flow;
mod identity;
mod inspect;
mod ipam;
mod labels;
mod peer;
mod policy;
mod protocol;
mod simulate;
mod status;
mod time;

pub use capture::{CaptureFilter, CaptureRecord, CaptureRequest, CaptureSide, CapturedPacket};
pub use config::{ConfigReply, SettingOrigin, SettingValue};
pub use doctor::{Check, CheckArea, CheckState, DoctorReply};
pub use endpoint::{
    Attachment, Endpoint, EndpointCreate, EndpointState, Enforcement, LabelsUpdate, NamedPort, NamespaceUpdate,
    RemovedReply,
};
pub use error::{Detail, ErrorBody, ErrorCode};
pub use event::{EventType, FlowEvent, LostEvents, MonitorRecord, Observation, Party, RuleRef, Verdict};
pub use filter::{MonitorFilter, PortRange};
pub use flow::{CtEntry, CtFlushReply, CtQuery, CtState};
pub use identity::Identity;
pub use inspect::{MapContents, MapEntry, MapInfo, MapKind};
pub use ipam::{Allocation, IpamReply, Pool};
pub use labels::Labels;
pub use peer::{PeerRef, PeerRefError};
pub use policy::{
    Diagnostic, Direction, DirectionAnswer, ExplainQuery, ExplainReply, Policy, PolicyApplyReply, PolicyFile,
    PolicyKind, PolicyOrigin, PolicyRef, PolicySet, PolicyState, PolicyUpload, Severity, SpokenRule, ValidateReply,
};
pub use protocol::{PortProtocol, PortProtocolError, Protocol};
pub use simulate::{FlowChange, SimulateReply, SimulateRequest, SimulatedFlow};
pub use status::{
    AgentInfo, Component, ComponentState, DeviceStatus, Drift, EndpointCounts, LostCounts, MapPressure, PolicyStatus,
    StatusReply, SyncStatus,
};
pub use time::Timestamp;
