//! Filter flags to `FlowFilter` messages. One flag that looks at either end makes a pair of filters (source OR
//! destination); flags of one kind widen, flags of different kinds narrow. Knows nothing of matching.

mod namespaces;
mod values;

use nexin_hubble::flow::{
    EventTypeFilter, FlowFilter, HttpHeader, IpVersion, NetworkInterface, TrafficDirection, flow_filter::Experimental,
};

use namespaces::Namespaces;
use values::ValueError;

/// Flags that cannot stand together.
const CONFLICTS: &[&[&str]] = &[
    &["from-fqdn", "from-ip", "ip", "fqdn", "from-namespace", "namespace", "from-all-namespaces", "all-namespaces"],
    &["from-fqdn", "from-ip", "ip", "fqdn", "from-pod", "pod"],
    &["to-fqdn", "to-ip", "ip", "fqdn", "to-namespace", "namespace", "to-all-namespaces", "all-namespaces"],
    &["to-fqdn", "to-ip", "ip", "fqdn", "to-pod", "pod"],
    &["to-pod", "namespace", "all-namespaces"],
    &["from-pod", "namespace", "all-namespaces"],
    &["to-service", "namespace", "all-namespaces"],
    &["from-service", "namespace", "all-namespaces"],
    &["label", "from-label"],
    &["label", "to-label"],
    &["service", "from-service"],
    &["service", "to-service"],
    &["port", "to-port"],
    &["port", "from-port"],
    &["identity", "to-identity"],
    &["identity", "from-identity"],
    &["workload", "to-workload"],
    &["workload", "from-workload"],
    &["encrypted", "unencrypted"],
    &["reply", "not-reply"],
];

/// Why a filter flag was refused, in the words that follow the flag's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FilterError {
    #[error("consecutive --not statements")]
    ConsecutiveNot,
    #[error("filters --{first} and --{second} cannot be combined")]
    Combined { first: &'static str, second: &'static str },
    /// Every disagreement between namespaces and names, a line each.
    #[error("{}", .0.join("\n"))]
    Namespaces(Vec<String>),
    #[error(transparent)]
    Value(#[from] ValueError),
}

/// What the filter flags of a command line said, in their order.
#[derive(Debug, Default)]
pub(crate) struct FlowFilters {
    allow: Tracker,
    deny: Tracker,
    /// `--not` was the last flag.
    negating: bool,
}

impl FlowFilters {
    /// One flag with its value.
    pub(crate) fn set(&mut self, name: &'static str, value: &str) -> Result<(), FilterError> {
        if name == "not" {
            if self.negating {
                return Err(FilterError::ConsecutiveNot);
            }
            self.negating = true;
            return Ok(());
        }
        let tracker = if std::mem::take(&mut self.negating) { &mut self.deny } else { &mut self.allow };
        tracker.set(name, value)
    }

    /// `--not` stands at the end of the command line.
    pub(crate) fn dangling_not(&self) -> bool {
        self.negating
    }

    /// Allowing and denying filters.
    pub(crate) fn build(&self) -> (Vec<FlowFilter>, Vec<FlowFilter>) {
        (self.allow.build(), self.deny.build())
    }
}

/// Which end of a flow a flag looks at.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Source,
    Destination,
    /// The left filter looks at the source, the right one at the destination.
    Either,
}

/// A pair of filters in the making: a flow passes if either matches.
#[derive(Debug, Default)]
struct Tracker {
    touched: bool,
    left: FlowFilter,
    right: FlowFilter,
    namespaces: Namespaces,
    flags: Vec<&'static str>,
}

impl Tracker {
    fn set(&mut self, name: &'static str, value: &str) -> Result<(), FilterError> {
        if !self.flags.contains(&name) {
            self.flags.push(name);
        }
        self.check_conflicts()?;
        self.apply(name, value)?;
        if self.touched {
            self.namespaces.check(&self.left)?;
            self.namespaces.check(&self.right)?;
        }
        Ok(())
    }

    fn check_conflicts(&self) -> Result<(), FilterError> {
        for group in CONFLICTS {
            let mut given = group.iter().filter(|flag| self.flags.contains(flag));
            if let (Some(first), Some(second)) = (given.next(), given.next()) {
                return Err(FilterError::Combined { first, second });
            }
        }
        Ok(())
    }

    fn apply(&mut self, name: &str, value: &str) -> Result<(), FilterError> {
        if self.namespaces.add(name, value) {
            return Ok(());
        }
        let (end, noun) = match name.strip_prefix("from-") {
            Some(noun) => (End::Source, noun),
            None => match name.strip_prefix("to-") {
                Some(noun) => (End::Destination, noun),
                None => (End::Either, name),
            },
        };
        if !self.sided(end, noun, value)? {
            self.plain(name, value)?;
        }
        Ok(())
    }

    /// Flags with `from-` and `to-` forms. False where this is none of them.
    fn sided(&mut self, end: End, noun: &str, value: &str) -> Result<bool, FilterError> {
        let text = || value.to_owned();
        match noun {
            "fqdn" => self.push(end, text(), |f| &mut f.source_fqdn, |f| &mut f.destination_fqdn),
            "pod" => self.push(end, text(), |f| &mut f.source_pod, |f| &mut f.destination_pod),
            "ip" => self.push(end, text(), |f| &mut f.source_ip, |f| &mut f.destination_ip),
            "label" => self.push(end, text(), |f| &mut f.source_label, |f| &mut f.destination_label),
            "service" => self.push(end, text(), |f| &mut f.source_service, |f| &mut f.destination_service),
            "port" => self.push(end, text(), |f| &mut f.source_port, |f| &mut f.destination_port),
            "cluster" => self.push(end, text(), |f| &mut f.source_cluster_name, |f| &mut f.destination_cluster_name),
            "workload" => {
                let workload = values::workload(value);
                self.push(end, workload, |f| &mut f.source_workload, |f| &mut f.destination_workload);
            }
            "identity" => {
                let identity = values::identity(value)?;
                self.push(end, identity, |f| &mut f.source_identity, |f| &mut f.destination_identity);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn push<T: Clone>(
        &mut self,
        end: End,
        value: T,
        source: impl Fn(&mut FlowFilter) -> &mut Vec<T>,
        destination: impl Fn(&mut FlowFilter) -> &mut Vec<T>,
    ) {
        self.touched = true;
        let left = if end == End::Destination { destination(&mut self.left) } else { source(&mut self.left) };
        left.push(value.clone());
        let right = if end == End::Source { source(&mut self.right) } else { destination(&mut self.right) };
        right.push(value);
    }

    fn both(&mut self, change: impl Fn(&mut FlowFilter)) {
        self.touched = true;
        change(&mut self.left);
        change(&mut self.right);
    }

    /// Flags that look at the flow as a whole.
    fn plain(&mut self, name: &str, value: &str) -> Result<(), FilterError> {
        let text = || value.to_owned();
        match name {
            "uuid" => self.both(|f| f.uuid.push(text())),
            "snat-ip" => self.both(|f| f.source_ip_xlated.push(text())),
            "ipv4" => self.both(|f| f.ip_version.push(IpVersion::IPv4.into())),
            "ipv6" => self.both(|f| f.ip_version.push(IpVersion::IPv6.into())),
            "ip-version" => self.both(|f| f.ip_version.push(values::ip_version(value).into())),
            "trace-id" => self.both(|f| f.trace_id.push(text())),
            "ip-trace-id" => {
                let id = values::ip_trace_id(value)?;
                self.both(|f| f.ip_trace_id.push(id));
            }
            "verdict" => {
                let verdict = values::verdict(value)?;
                self.both(|f| f.verdict.push(verdict));
            }
            "drop-reason-desc" => {
                let reason = values::drop_reason(value)?;
                self.both(|f| f.drop_reason_desc.push(reason));
            }
            "http-status" => self.both(|f| f.http_status_code.push(text())),
            "http-method" => self.both(|f| f.http_method.push(text())),
            "http-path" => self.both(|f| f.http_path.push(text())),
            "http-url" => self.both(|f| f.http_url.push(text())),
            "http-header" => {
                let (key, value) = values::header(value)?;
                self.both(|f| f.http_header.push(HttpHeader { key: key.to_owned(), value: value.to_owned() }));
            }
            "type" => {
                let event: EventTypeFilter = values::event_type(value)?;
                self.both(|f| f.event_type.push(event));
            }
            "protocol" => self.both(|f| f.protocol.push(text())),
            "node-name" => self.both(|f| f.node_name.push(text())),
            "node-label" => self.both(|f| f.node_labels.push(text())),
            "tcp-flags" => {
                let flags = values::tcp_flags(value)?;
                self.both(|f| f.tcp_flags.push(flags));
            }
            "traffic-direction" => {
                let direction: TrafficDirection = values::direction(value)?;
                self.both(|f| f.traffic_direction.push(direction.into()));
            }
            "cel-expression" => {
                self.both(|f| f.experimental.get_or_insert_with(Experimental::default).cel_expression.push(text()));
            }
            "interface" => self.both(|f| f.interface.push(NetworkInterface { index: 0, name: text() })),
            // Any value means yes: the flag's presence counts.
            "encrypted" => self.both(|f| f.encrypted.push(true)),
            "unencrypted" => self.both(|f| f.encrypted.push(false)),
            "reply" => self.both(|f| f.reply.push(true)),
            "not-reply" => self.both(|f| f.reply.push(false)),
            _ => {}
        }
        Ok(())
    }

    fn build(&self) -> Vec<FlowFilter> {
        if !self.touched && self.namespaces.is_empty() {
            return Vec::new();
        }
        let (mut left, mut right) = (self.left.clone(), self.right.clone());
        self.namespaces.apply(&mut left, &mut right);
        if left == right { vec![left] } else { vec![left, right] }
    }
}

#[cfg(test)]
mod tests;
