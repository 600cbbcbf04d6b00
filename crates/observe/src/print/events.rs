//! Details of agent events and debug events.

use nexin_hubble::flow::agent_event::Notification;
use nexin_hubble::flow::{
    AgentEvent, AgentEventType, DebugEvent, DebugEventType, Endpoint, ServiceUpsertNotificationAddr,
};

use crate::gotext;
use crate::names;
use crate::time::TimeFormat;

pub(super) fn agent_type(event: &AgentEvent) -> String {
    names::enum_name(event.r#type, AgentEventType::as_str_name)
}

pub(super) fn debug_type(event: &DebugEvent) -> String {
    names::enum_name(event.r#type, DebugEventType::as_str_name)
}

/// A notification counts only under the type it belongs to.
#[allow(deprecated)]
pub(super) fn agent_details(event: &AgentEvent, time: TimeFormat) -> String {
    use AgentEventType as T;
    let unknown = || "UNKNOWN".to_owned();
    let (Ok(kind), Some(notification)) = (T::try_from(event.r#type), &event.notification) else { return unknown() };
    match (kind, notification) {
        (T::AgentEventUnknown, Notification::Unknown(n)) => {
            format!("type: {}, notification: {}", n.r#type, n.notification)
        }
        (T::AgentStarted, Notification::AgentStart(n)) => format!("start time: {}", time.print(n.time.as_ref())),
        (T::PolicyUpdated | T::PolicyDeleted, Notification::PolicyUpdate(n)) => {
            format!("labels: [{}], revision: {}, count: {}", n.labels.join(","), n.revision, n.rule_count)
        }
        (T::EndpointRegenerateSuccess | T::EndpointRegenerateFailure, Notification::EndpointRegenerate(n)) => {
            let text = format!("id: {}, labels: [{}]", n.id, n.labels.join(","));
            with(text, &[("error", &n.error)])
        }
        (T::EndpointCreated | T::EndpointDeleted, Notification::EndpointUpdate(n)) => {
            with(format!("id: {}", n.id), &[("namespace", &n.namespace), ("pod name", &n.pod_name)])
        }
        (T::IpcacheUpserted | T::IpcacheDeleted, Notification::IpcacheUpdate(n)) => {
            let mut text = format!("cidr: {}, identity: {}", n.cidr, n.identity);
            if let Some(old) = n.old_identity {
                text.push_str(&format!(", old identity: {old}"));
            }
            text = with(text, &[("host ip", &n.host_ip), ("old host ip", &n.old_host_ip)]);
            text + &format!(", encrypt key: {}", n.encrypt_key)
        }
        (T::ServiceUpserted, Notification::ServiceUpsert(n)) => {
            let mut text = format!("id: {}", n.id);
            if let Some(frontend) = &n.frontend_address {
                text.push_str(&format!(", frontend: {}", address(frontend)));
            }
            if !n.backend_addresses.is_empty() {
                let backends: Vec<String> = n.backend_addresses.iter().map(address).collect();
                text.push_str(&format!(", backends: [{}]", backends.join(",")));
            }
            with(
                text,
                &[
                    ("type", &n.r#type),
                    ("traffic policy", &n.traffic_policy),
                    ("namespace", &n.namespace),
                    ("name", &n.name),
                ],
            )
        }
        (T::ServiceDeleted, Notification::ServiceDelete(n)) => format!("id: {}", n.id),
        _ => unknown(),
    }
}

/// Adds the parts that are not empty.
fn with(mut text: String, parts: &[(&str, &String)]) -> String {
    for (name, value) in parts.iter().filter(|(_, value)| !value.is_empty()) {
        text.push_str(&format!(", {name}: {value}"));
    }
    text
}

#[allow(deprecated)]
fn address(address: &ServiceUpsertNotificationAddr) -> String {
    gotext::join_host_port(&address.ip, &address.port.to_string())
}

pub(super) fn mark(event: &DebugEvent) -> String {
    event.hash.map_or_else(|| "N/A".to_owned(), |hash| format!("0x{hash:x}"))
}

pub(super) fn cpu(event: &DebugEvent) -> String {
    event.cpu.map_or_else(|| "N/A".to_owned(), |cpu| format!("{cpu:02}"))
}

pub(super) fn endpoint(endpoint: Option<&Endpoint>) -> String {
    let Some(endpoint) = endpoint else { return "N/A".to_owned() };
    let id = format!("ID: {}", endpoint.id);
    if !endpoint.namespace.is_empty() && !endpoint.pod_name.is_empty() {
        return format!("{}/{} ({id})", endpoint.namespace, endpoint.pod_name);
    }
    match endpoint.labels.as_slice() {
        [label] if label.starts_with("reserved:") => format!("{label} ({id})"),
        _ => id,
    }
}
