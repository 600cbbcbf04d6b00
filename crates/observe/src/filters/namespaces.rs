//! Namespaces given by flags: they are put before the names of pods and services, or stand for all pods of theirs.

use nexin_hubble::flow::FlowFilter;

use super::FilterError;
use crate::gotext::quote;

#[derive(Debug, Default)]
pub(super) struct Namespaces {
    either: Vec<String>,
    source: Vec<String>,
    destination: Vec<String>,
}

impl Namespaces {
    /// False where the flag is not about namespaces.
    pub(super) fn add(&mut self, flag: &str, value: &str) -> bool {
        let (list, name) = match flag {
            "namespace" => (&mut self.either, value),
            "from-namespace" => (&mut self.source, value),
            "to-namespace" => (&mut self.destination, value),
            "all-namespaces" => (&mut self.either, ""),
            "from-all-namespaces" => (&mut self.source, ""),
            "to-all-namespaces" => (&mut self.destination, ""),
            _ => return false,
        };
        list.push(name.to_owned());
        true
    }

    pub(super) fn is_empty(&self) -> bool {
        self.either.is_empty() && self.source.is_empty() && self.destination.is_empty()
    }

    pub(super) fn apply(&self, left: &mut FlowFilter, right: &mut FlowFilter) {
        for filter in [&mut *left, &mut *right] {
            on_destination(&self.destination, filter);
        }
        for filter in [&mut *left, &mut *right] {
            on_source(&self.source, filter);
        }
        on_source(&self.either, left);
        on_destination(&self.either, right);
    }

    /// Every disagreement, a line each.
    pub(super) fn check(&self, filter: &FlowFilter) -> Result<(), FilterError> {
        let f = filter;
        let mut wrong: Vec<String> = Vec::new();
        let names = [&f.source_pod, &f.source_service, &f.destination_pod, &f.destination_service];
        wrong.extend(names.iter().filter_map(|names| outside(&self.either, names)));
        wrong.extend(names[..2].iter().filter_map(|names| outside(&self.source, names)));
        wrong.extend(names[2..].iter().filter_map(|names| outside(&self.destination, names)));
        wrong.extend(apart(&f.source_pod, &f.source_service));
        wrong.extend(apart(&f.destination_pod, &f.destination_service));
        if wrong.is_empty() { Ok(()) } else { Err(FilterError::Namespaces(wrong)) }
    }
}

fn on_source(namespaces: &[String], filter: &mut FlowFilter) {
    put(namespaces, &mut filter.source_pod, &mut filter.source_service);
}

fn on_destination(namespaces: &[String], filter: &mut FlowFilter) {
    put(namespaces, &mut filter.destination_pod, &mut filter.destination_service);
}

fn put(namespaces: &[String], pods: &mut Vec<String>, services: &mut Vec<String>) {
    if namespaces.is_empty() {
        return;
    }
    if pods.is_empty() && services.is_empty() {
        pods.push(String::new());
    }
    for names in [pods, services] {
        *names = names.iter().flat_map(|name| within(namespaces, name)).collect();
    }
}

fn within(namespaces: &[String], name: &str) -> Vec<String> {
    if name.contains('/') {
        return vec![name.to_owned()];
    }
    namespaces.iter().map(|namespace| format!("{namespace}/{name}")).collect()
}

fn namespace_of(name: &str) -> &str {
    name.split_once('/').map_or("", |(namespace, _)| namespace)
}

fn outside(namespaces: &[String], names: &[String]) -> Option<String> {
    namespaces.iter().find_map(|namespace| {
        let name = names.iter().find(|name| !matches!(namespace_of(name), "") && namespace_of(name) != namespace)?;
        Some(format!("namespace conflict: {} does not contain {}", quote(namespace), quote(name)))
    })
}

fn apart(pods: &[String], services: &[String]) -> Option<String> {
    pods.iter().map(|pod| namespace_of(pod)).filter(|namespace| !namespace.is_empty()).find_map(|namespace| {
        let service = services.iter().find(|service| namespace_of(service) != namespace)?;
        Some(format!("namespace of service {} conflict with pod {}", quote(service), quote(namespace)))
    })
}
