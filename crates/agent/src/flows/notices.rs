//! What the agent did, for those who listen: `hubble observe agent-events`.

use std::sync::{Arc, OnceLock};

use nexin_flows::Event;
use nexin_flows::event::Notice;
use nexin_flows::record::{Node, timestamp};
use nexin_flows::ring::Capacity;
use nexin_hubble::flow::agent_event::Notification;
use nexin_hubble::flow::{self, AgentEventType as Kind};

use super::channel::Channel;
use super::hooks::HookQueue;
use super::wall_ns;

pub(crate) struct Notices {
    channel: Channel,
    node: Arc<Node>,
    hooks: OnceLock<Arc<HookQueue>>,
}

impl Notices {
    pub(crate) fn new(node: Arc<Node>) -> Self {
        Self { channel: Channel::new(Capacity::default()), node, hooks: OnceLock::new() }
    }

    pub(crate) fn channel(&self) -> &Channel {
        &self.channel
    }

    fn tell(&self, kind: Kind, notification: Notification) {
        let what = flow::AgentEvent { r#type: kind as i32, notification: Some(notification) };
        let notice = Notice { time_ns: wall_ns(), node: self.node.clone(), what };
        let events = self.channel.append(vec![Event::Agent(Box::new(notice))]);
        if let Some(hooks) = self.hooks.get() {
            hooks.push(&events);
        }
    }

    /// From now on hooks hear of everything. Once.
    pub(crate) fn connect(&self, hooks: Arc<HookQueue>) {
        // A second start of the events is not possible; the first one's queue stays.
        drop(self.hooks.set(hooks));
    }

    pub(crate) fn agent_started(&self) {
        let time = Some(timestamp(wall_ns()));
        self.tell(Kind::AgentStarted, Notification::AgentStart(flow::TimeNotification { time }));
    }

    pub(crate) fn policy_updated(&self, labels: Vec<String>, revision: u64, rules: usize) {
        self.policy(Kind::PolicyUpdated, labels, revision, rules);
    }

    pub(crate) fn policy_deleted(&self, labels: Vec<String>, revision: u64, rules: usize) {
        self.policy(Kind::PolicyDeleted, labels, revision, rules);
    }

    fn policy(&self, kind: Kind, labels: Vec<String>, revision: u64, rules: usize) {
        let rule_count = i64::try_from(rules).unwrap_or(i64::MAX);
        let update = flow::PolicyUpdateNotification { labels, revision, rule_count };
        self.tell(kind, Notification::PolicyUpdate(update));
    }

    pub(crate) fn endpoint_created(&self, id: u16, labels: &[String], namespace: &str, name: &str) {
        self.endpoint(Kind::EndpointCreated, id, labels, namespace, name);
    }

    pub(crate) fn endpoint_deleted(&self, id: u16, labels: &[String], namespace: &str, name: &str) {
        self.endpoint(Kind::EndpointDeleted, id, labels, namespace, name);
    }

    fn endpoint(&self, kind: Kind, id: u16, labels: &[String], namespace: &str, name: &str) {
        let update = flow::EndpointUpdateNotification {
            id: u64::from(id),
            labels: labels.to_vec(),
            error: String::new(),
            pod_name: name.to_owned(),
            namespace: namespace.to_owned(),
        };
        self.tell(kind, Notification::EndpointUpdate(update));
    }

    pub(crate) fn endpoint_regenerated(&self, id: u16, labels: &[String]) {
        let id = u64::from(id);
        let update = flow::EndpointRegenNotification { id, labels: labels.to_vec(), error: String::new() };
        self.tell(Kind::EndpointRegenerateSuccess, Notification::EndpointRegenerate(update));
    }

    pub(crate) fn address_known(&self, entry: flow::IpCacheNotification) {
        self.tell(Kind::IpcacheUpserted, Notification::IpcacheUpdate(entry));
    }

    pub(crate) fn address_gone(&self, entry: flow::IpCacheNotification) {
        self.tell(Kind::IpcacheDeleted, Notification::IpcacheUpdate(entry));
    }
}
