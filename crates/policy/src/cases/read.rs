//! Case files: one case a YAML document. The format is in docs/design/policy.md.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use nexin_model::{Label, LabelSet, NamedPorts, Protocol, Source};

use super::scenario::{Case, Expectation, Node as ClusterNode, PeerRef, Row, Scenario, Workload};
use crate::engine::{AllowLocalhost, Enforcement};
use crate::input::decode::{self, Context, Object, Path, boolean, entries, list, one_of, text, text_map};
use crate::input::node::{Node, Value};
use crate::input::{self, Diagnostic, Options, Strictness, kinds, load};
use crate::rule::{Document, LowerOptions};

/// Cases of a file, and all that is wrong with it. A case with errors is left out.
#[derive(Clone, Debug, Default)]
pub struct CaseFile {
    pub cases: Vec<Case>,
    pub diagnostics: Vec<Diagnostic>,
}

/// Gives the text of a policy file that a case names, by its path as seen from the case file's own folder.
pub type ReadFile<'a> = dyn FnMut(&str) -> io::Result<String> + 'a;

/// Reads a case file. `file` is the name that diagnostics carry; `read_file` opens the policies it names.
pub fn read(text: &str, file: &str, read_file: &mut ReadFile<'_>) -> CaseFile {
    let name: Arc<str> = file.into();
    let (roots, diagnostics) = load::documents(text, &name, Strictness::Strict);
    let mut found = CaseFile { cases: Vec::new(), diagnostics };
    for (number, root) in roots.iter().enumerate() {
        let mut cx = Context::new(&name, Options::default());
        let mut others = Vec::new();
        let mut reader = Reader { file: &name, read_file, others: &mut others };
        let case = reader.case(&root.node, &mut cx, number + 1);
        let failed = root.faulty || cx.errors() > 0 || others.iter().any(Diagnostic::is_error);
        found.diagnostics.extend(cx.into_diagnostics());
        found.diagnostics.append(&mut others);
        found.cases.extend(case.filter(|_| !failed));
    }
    found
}

struct Reader<'a, 'r> {
    file: &'a Arc<str>,
    read_file: &'a mut ReadFile<'r>,
    /// What is wrong with policies, in this file and in others.
    others: &'a mut Vec<Diagnostic>,
}

const CASE_FIELDS: [&str; 9] =
    ["name", "settings", "namespaces", "workloads", "nodes", "names", "kube_apiserver", "policies", "tests"];

impl Reader<'_, '_> {
    fn case(&mut self, root: &Node, cx: &mut Context<'_>, number: usize) -> Option<Case> {
        let path = Path::ROOT;
        let case = Object::open(root, &path, cx, &CASE_FIELDS)?;
        let name = case.text("name", &path, cx).map_or_else(|| format!("case {number}"), |name| name.value);
        let mut scenario = Scenario::default();
        let mut lowering = LowerOptions::default();
        case.read("settings", &path, cx, |node, path, cx| settings(node, path, cx, &mut scenario, &mut lowering));
        if let Some(entry) = case.get("namespaces") {
            named(&entry.node, &path.key("namespaces"), cx, |name, node, path, cx| {
                let labels = text_map(node, path, cx)?;
                let labels = labels.iter().map(|(key, value)| (key.value.as_str().into(), value.value.as_str().into()));
                scenario.namespaces.insert(name.into(), labels.collect());
                Some(())
            });
        }
        if let Some(entry) = case.get("workloads") {
            named(&entry.node, &path.key("workloads"), cx, |name, node, path, cx| {
                scenario.workloads.push(workload(name, node, path, cx)?);
                Some(())
            });
        }
        if let Some(entry) = case.get("nodes") {
            named(&entry.node, &path.key("nodes"), cx, |name, node, path, cx| {
                scenario.nodes.push(cluster_node(name, node, path, cx)?);
                Some(())
            });
        }
        if let Some(entry) = case.get("names") {
            named(&entry.node, &path.key("names"), cx, |name, node, path, cx| {
                scenario.names.insert(name.into(), list(node, path, cx, address)?);
                Some(())
            });
        }
        scenario.kube_apiserver = case.list("kube_apiserver", &path, cx, address).unwrap_or_default();
        let options = Options {
            strictness: Strictness::Strict,
            node_selector_labels: scenario.node_labels,
            ..Options::default()
        };
        let policies =
            case.list("policies", &path, cx, |node, path, cx| self.policy(node, path, cx, options, &lowering));
        scenario.documents = policies.unwrap_or_default().into_iter().flatten().collect();
        let rows = case.list("tests", &path, cx, rows).unwrap_or_default().into_iter().flatten().collect();
        Some(Case { name: name.into(), file: self.file.clone(), line: root.at.line, scenario, rows })
    }

    /// A policy: `file: path`, a document written as text (`- |`) or as it is.
    fn policy(
        &mut self,
        node: &Node,
        path: &Path<'_>,
        cx: &mut Context<'_>,
        options: Options,
        lowering: &LowerOptions,
    ) -> Option<Vec<Document>> {
        if let Value::String(written) = &node.value {
            // Empty lines before it, so that its lines are numbered as in this file.
            let above = "\n".repeat(node.at.line.saturating_sub(1) as usize);
            let (documents, diagnostics) = input::load(&(above + written), self.file, options, lowering);
            self.others.extend(diagnostics);
            return Some(documents);
        }
        if node.get("kind").is_some() {
            let mut inner = Context::new(self.file, options);
            let documents = kinds::documents(node, &mut inner);
            self.others.extend(inner.into_diagnostics());
            return Some(documents.iter().map(|document| document.lower(lowering)).collect());
        }
        let named = Object::open(node, path, cx, &["file"])?;
        let name = named.require("file", path, cx).and_then(|entry| text(&entry.node, &path.key("file"), cx))?;
        match (self.read_file)(&name.value) {
            Ok(written) => {
                let (documents, diagnostics) = input::load(&written, &name.value, options, lowering);
                self.others.extend(diagnostics);
                Some(documents)
            }
            Err(error) => {
                let help = Some("paths are as seen from the folder of this file".to_owned());
                cx.error(&path.key("file"), name.at, format!("{} cannot be read: {error}", name.value), help);
                None
            }
        }
    }
}

fn settings(
    node: &Node,
    path: &Path<'_>,
    cx: &mut Context<'_>,
    scenario: &mut Scenario,
    lowering: &mut LowerOptions,
) -> Option<()> {
    const FIELDS: [&str; 8] = [
        "enforcement",
        "cidr_match_mode",
        "allow_localhost",
        "cluster_name",
        "any_cluster",
        "host_firewall",
        "node_labels",
        "ignore_default_deny_switch",
    ];
    let own = Object::open(node, path, cx, &FIELDS)?;
    let modes = [("default", Enforcement::Default), ("always", Enforcement::Always), ("never", Enforcement::Never)];
    if let Some(mode) = own.read("enforcement", path, cx, |node, path, cx| one_of(node, path, cx, &modes)) {
        scenario.config.enforcement = mode.value;
    }
    let local = [("always", AllowLocalhost::Always), ("policy", AllowLocalhost::Policy)];
    if let Some(mode) = own.read("allow_localhost", path, cx, |node, path, cx| one_of(node, path, cx, &local)) {
        scenario.config.allow_localhost = mode.value;
    }
    let kinds = [("nodes", false), ("pods", true)];
    for pods in own.list("cidr_match_mode", path, cx, |node, path, cx| one_of(node, path, cx, &kinds)).iter().flatten()
    {
        scenario.config.cidr_match.pods |= pods.value;
        scenario.config.cidr_match.nodes |= !pods.value;
    }
    if let Some(name) = own.text("cluster_name", path, cx) {
        scenario.config.cluster_name = name.value.as_str().into();
        lowering.cluster_name = scenario.config.cluster_name.clone();
    }
    let mut flag = |key: &str| own.read(key, path, cx, boolean).unwrap_or(false);
    scenario.config.host_firewall = flag("host_firewall");
    scenario.node_labels = flag("node_labels");
    lowering.any_cluster = flag("any_cluster");
    lowering.ignore_default_deny_switch = flag("ignore_default_deny_switch");
    Some(())
}

fn workload(name: &str, node: &Node, path: &Path<'_>, cx: &mut Context<'_>) -> Option<Workload> {
    let Ok(PeerRef::Workload { namespace, name }) = name.parse() else {
        let help = Some("write `namespace/name:` and its fields below".to_owned());
        cx.error(path, node.at, format!("`{name}` is no name of a workload"), help);
        return None;
    };
    if node.is_null() {
        return Some(Workload {
            namespace,
            name,
            labels: LabelSet::default(),
            service_account: None,
            addresses: Vec::new(),
            named_ports: NamedPorts::default(),
        });
    }
    let own = Object::open(node, path, cx, &["labels", "service_account", "addresses", "ports"])?;
    let mut labels = Vec::new();
    for (key, value) in own.read("labels", path, cx, text_map).unwrap_or_default() {
        match Label::parse(&format!("{}={}", key.value, value.value), Source::K8s) {
            Ok(label) => labels.push(label),
            Err(error) => cx.error(&path.key("labels"), key.at, error.to_string(), None),
        }
    }
    let mut ports = Vec::new();
    if let Some(entry) = own.get("ports") {
        named(&entry.node, &path.key("ports"), cx, |name, node, path, cx| {
            for (protocol, port) in one_or_more(node, path, cx, port_protocol)? {
                ports.push((name.to_owned(), protocol, port));
            }
            Some(())
        });
    }
    Some(Workload {
        namespace,
        name,
        labels: labels.into_iter().collect(),
        service_account: own.text("service_account", path, cx).map(|account| account.value.as_str().into()),
        addresses: own.list("addresses", path, cx, address).unwrap_or_default(),
        named_ports: ports.into_iter().collect(),
    })
}

fn cluster_node(name: &str, node: &Node, path: &Path<'_>, cx: &mut Context<'_>) -> Option<ClusterNode> {
    let own = Object::open(node, path, cx, &["local", "labels", "addresses", "kube_apiserver"])?;
    let labels = own.read("labels", path, cx, text_map).unwrap_or_default();
    Some(ClusterNode {
        name: name.into(),
        local: own.read("local", path, cx, boolean).unwrap_or(false),
        labels: labels.iter().map(|(key, value)| (key.value.as_str().into(), value.value.as_str().into())).collect(),
        addresses: own.list("addresses", path, cx, address).unwrap_or_default(),
        kube_apiserver: own.read("kube_apiserver", path, cx, boolean).unwrap_or(false),
    })
}

/// A test: `from`, `to` and `port`, each one or a list (then every combination), and what is expected.
fn rows(node: &Node, path: &Path<'_>, cx: &mut Context<'_>) -> Option<Vec<Row>> {
    let own = Object::open(node, path, cx, &["from", "to", "port", "expect"])?;
    let from = own.require("from", path, cx).and_then(|entry| one_or_more(&entry.node, &path.key("from"), cx, peer));
    let to = own.require("to", path, cx).and_then(|entry| one_or_more(&entry.node, &path.key("to"), cx, peer));
    let port = own.require("port", path, cx);
    let ports = port.and_then(|entry| one_or_more(&entry.node, &path.key("port"), cx, port_protocol));
    let expect = own.read("expect", path, cx, expectation).unwrap_or_default();
    let (from, to, ports) = (from?, to?, ports?);
    let mut rows = Vec::with_capacity(from.len() * to.len() * ports.len());
    for from in &from {
        for to in to.iter().filter(|to| *to != from) {
            for (protocol, number) in &ports {
                let port = if protocol.has_ports() { *number } else { *number << 8 };
                let line = node.at.line;
                rows.push(Row { from: from.clone(), to: to.clone(), protocol: *protocol, port, expect, line });
            }
        }
    }
    Some(rows)
}

fn expectation(node: &Node, path: &Path<'_>, cx: &mut Context<'_>) -> Option<Expectation> {
    let words = [("allowed", true), ("denied", false)];
    if matches!(node.value, Value::String(_)) {
        let combined = one_of(node, path, cx, &words)?.value;
        return Some(Expectation { combined: Some(combined), ..Expectation::default() });
    }
    let own = Object::open(node, path, cx, &["ingress", "egress"])?;
    let mut side =
        |key| own.read(key, path, cx, |node, path, cx| one_of(node, path, cx, &words)).map(|word| word.value);
    Some(Expectation { combined: None, ingress: side("ingress"), egress: side("egress") })
}

fn peer(node: &Node, path: &Path<'_>, cx: &mut Context<'_>) -> Option<PeerRef> {
    parsed(node, path, cx, str::parse::<PeerRef>)
}

fn address(node: &Node, path: &Path<'_>, cx: &mut Context<'_>) -> Option<IpAddr> {
    parsed(node, path, cx, str::parse::<IpAddr>)
}

#[derive(Debug, thiserror::Error)]
enum PortError {
    #[error(transparent)]
    Protocol(#[from] nexin_model::ProtocolError),
    #[error("{text:?} is no port of {protocol}; write 80/TCP, or 8/ICMP for a type")]
    Port { text: String, protocol: Protocol },
}

/// `80/TCP`, `8/ICMP` (a type); TCP where no protocol is written.
fn port_protocol(node: &Node, path: &Path<'_>, cx: &mut Context<'_>) -> Option<(Protocol, u16)> {
    if let Value::Int(number) = node.value
        && let Ok(port) = u16::try_from(number)
    {
        return Some((Protocol::Tcp, port));
    }
    parsed(node, path, cx, |text| {
        let (port, protocol) = text.split_once('/').unwrap_or((text, "TCP"));
        let protocol: Protocol = protocol.parse()?;
        let limit = if protocol.has_ports() { u16::MAX } else { 255 };
        match port.parse::<u16>() {
            Ok(port) if port <= limit => Ok((protocol, port)),
            _ => Err(PortError::Port { text: port.to_owned(), protocol }),
        }
    })
}

fn parsed<T, E: std::fmt::Display>(
    node: &Node,
    path: &Path<'_>,
    cx: &mut Context<'_>,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> Option<T> {
    let written = text(node, path, cx)?;
    match parse(&written.value) {
        Ok(value) => Some(value),
        Err(error) => {
            cx.error(path, written.at, format!("{:?}: {error}", written.value), None);
            None
        }
    }
}

fn one_or_more<T>(
    node: &Node,
    path: &Path<'_>,
    cx: &mut Context<'_>,
    mut reader: impl FnMut(&Node, &Path<'_>, &mut Context<'_>) -> Option<T>,
) -> Option<Vec<T>> {
    match node.value {
        Value::List(_) => decode::list(node, path, cx, reader),
        _ => reader(node, path, cx).map(|one| vec![one]),
    }
}

/// A mapping of names to what `reader` reads.
fn named(
    node: &Node,
    path: &Path<'_>,
    cx: &mut Context<'_>,
    mut reader: impl FnMut(&str, &Node, &Path<'_>, &mut Context<'_>) -> Option<()>,
) {
    for entry in entries(node, path, cx).unwrap_or_default() {
        // What is wrong was said by the reader.
        let _ = reader(&entry.key, &entry.node, &path.key(&entry.key), cx);
    }
}
