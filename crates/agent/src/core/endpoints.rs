//! Endpoints: made in two steps (numbers and addresses, then links), relabelled, removed.

use std::net::IpAddr;
use std::sync::Arc;

use nexin_abi::maps::endpoint::Endpoint as KernelEndpoint;
use nexin_api::v1::{EndpointCreate, Labels, LabelsUpdate, NamedPort, Timestamp};
use nexin_ipam::{Owner, Want};
use nexin_model::{Identity, Label, LabelError, LabelSet, Source};
use nexin_netlink::{AddressPlan, IfName, Mac, WiredLinks, WorkloadSpec, workload_ifname};
use nexin_policy::tables::PolicyKey;

use super::Core;
use crate::identities::NoNumber;
use crate::state::{EndpointRecord, StateError};

/// Links of an endpoint, once they are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wired {
    pub(crate) ifindex: u32,
    pub(crate) mac: Mac,
    pub(crate) gateway_mac: Mac,
}

impl From<&WiredLinks> for Wired {
    fn from(links: &WiredLinks) -> Self {
        Self { ifindex: links.host_ifindex, mac: links.mac, gateway_mac: links.gateway_mac }
    }
}

/// An endpoint and what follows from it.
#[derive(Clone, Debug)]
pub(crate) struct CoreEndpoint {
    pub(crate) record: EndpointRecord,
    /// None until its links are made, and when they are gone.
    pub(crate) wired: Option<Wired>,
    /// Links were looked for and are gone.
    pub(crate) broken: bool,
    pub(crate) identity: Identity,
    pub(crate) ingress: Option<PolicyKey>,
    pub(crate) egress: Option<PolicyKey>,
}

impl CoreEndpoint {
    pub(super) fn new(record: EndpointRecord) -> Self {
        Self { record, wired: None, broken: false, identity: Identity::INIT, ingress: None, egress: None }
    }

    pub(crate) fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        let addresses = self.record.addresses;
        addresses.v4.map(IpAddr::V4).into_iter().chain(addresses.v6.map(IpAddr::V6))
    }
}

/// What [`Core::reserve`] has done.
#[derive(Debug)]
pub(crate) enum Reserved {
    /// Numbers are taken and written down; wire it with this.
    New { id: u16, plan: WorkloadSpec },
    /// The same request was answered before. Wire it again where it is not whole.
    Existing { id: u16, plan: WorkloadSpec },
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum EndpointError {
    #[error("no endpoint has number {0}")]
    NoSuchEndpoint(u16),
    #[error("{field} {value:?} cannot be used: {reason}")]
    Invalid { field: &'static str, value: String, reason: String },
    #[error(
        "container {container_id} has an interface {interface} already, in another network namespace or under another name"
    )]
    Differs { container_id: String, interface: String },
    #[error("all {} endpoint numbers are in use", KernelEndpoint::COUNT - 1)]
    NoNumber,
    #[error(transparent)]
    NoIdentity(#[from] NoNumber),
    #[error(transparent)]
    Address(#[from] nexin_ipam::Error),
    #[error(transparent)]
    State(#[from] StateError),
    #[error(transparent)]
    Label(#[from] LabelError),
}

impl Core {
    pub(crate) fn endpoint(&self, id: u16) -> Result<&CoreEndpoint, EndpointError> {
        self.endpoints.get(&id).ok_or(EndpointError::NoSuchEndpoint(id))
    }

    pub(crate) fn endpoints(&self) -> impl Iterator<Item = (u16, &CoreEndpoint)> {
        self.endpoints.iter().map(|(id, endpoint)| (*id, endpoint))
    }

    /// Endpoints of a container, or one of its interfaces.
    pub(crate) fn attachments(&self, container_id: &str, interface: Option<&str>) -> Vec<u16> {
        let is_it = |record: &EndpointRecord| {
            record.container_id == container_id && interface.is_none_or(|interface| record.interface == interface)
        };
        self.endpoints.iter().filter(|(_, endpoint)| is_it(&endpoint.record)).map(|(id, _)| *id).collect()
    }

    /// Takes a number, addresses and an identity, and writes the endpoint down. It has no links yet.
    pub(crate) fn reserve(&mut self, request: EndpointCreate, now: Timestamp) -> Result<Reserved, EndpointError> {
        let mut record = self.record_of(request, now)?;
        if let Some(id) = self.attachments(&record.container_id, Some(&record.interface)).first() {
            let existing = self.endpoint(*id)?;
            let same = existing.record.netns == record.netns
                && existing.record.name == record.name
                && existing.record.namespace == record.namespace;
            if !same {
                let EndpointRecord { container_id, interface, .. } = record;
                return Err(EndpointError::Differs { container_id, interface });
            }
            return Ok(Reserved::Existing { id: *id, plan: self.plan(&existing.record.clone())? });
        }
        record.id = self.free_number()?;
        let owner = Owner(record.owner());
        let want4 = record.addresses.v4.map_or(Want::Any, Want::This);
        let want6 = record.addresses.v6.map_or(Want::Any, Want::This);
        record.addresses = self.ipam.allocate(&owner, want4, want6)?;
        let done = self.write_down(&record);
        if done.is_err() {
            self.forget(record.id);
        }
        done?;
        self.next_endpoint = record.id + 1;
        Ok(Reserved::New { id: record.id, plan: self.plan(&record)? })
    }

    fn write_down(&mut self, record: &EndpointRecord) -> Result<(), EndpointError> {
        self.endpoints.insert(record.id, CoreEndpoint::new(record.clone()));
        self.resolve_endpoint(record.id)?;
        self.save_identities()?;
        self.store.save_endpoint(record)?;
        Ok(())
    }

    /// Its links are made: the datapath may know it.
    pub(crate) fn set_wired(&mut self, id: u16, wired: Wired) -> Result<(), EndpointError> {
        let endpoint = self.endpoints.get_mut(&id).ok_or(EndpointError::NoSuchEndpoint(id))?;
        endpoint.wired = Some(wired);
        endpoint.broken = false;
        self.refresh_desired_endpoint(id);
        self.publish_endpoint(id);
        Ok(())
    }

    /// Its links are gone. The address stays taken until the endpoint is deleted.
    pub(crate) fn set_broken(&mut self, id: u16) {
        let Some(endpoint) = self.endpoints.get_mut(&id) else { return };
        endpoint.wired = None;
        endpoint.broken = true;
        self.refresh_desired_endpoint(id);
    }

    /// First step of a removal: the datapath forgets it. Returns what is needed to remove its links; none when there is no such endpoint.
    pub(crate) fn unplug(&mut self, id: u16) -> Option<(IfName, String)> {
        let endpoint = self.endpoints.get_mut(&id)?;
        endpoint.wired = None;
        endpoint.broken = true;
        let owner = endpoint.record.owner();
        let name = IfName::new(&endpoint.record.host_interface).ok();
        self.desired.endpoints.remove(&id);
        let addresses: Vec<IpAddr> = self.endpoints.get(&id)?.addresses().collect();
        for ip in addresses {
            self.desired.addresses.remove(&ip);
        }
        self.dirty = true;
        Some((name.unwrap_or_else(|| workload_ifname(&owner, 0)), owner))
    }

    /// Last step of a removal: its links are gone, so the addresses may be given away.
    pub(crate) fn remove(&mut self, id: u16) -> Result<(), EndpointError> {
        self.store.remove_endpoint(id)?;
        self.forget(id);
        Ok(())
    }

    fn forget(&mut self, id: u16) {
        if let Some(endpoint) = self.endpoints.remove(&id) {
            self.ipam.release_owner(&Owner(endpoint.record.owner()));
        }
        self.desired.endpoints.remove(&id);
        self.desired.addresses = self.desired_addresses();
        self.drop_unused();
        self.directory.remove_endpoint(id);
        self.dirty = true;
    }

    /// New labels: another identity, the same addresses.
    pub(crate) fn relabel(&mut self, id: u16, update: LabelsUpdate) -> Result<(), EndpointError> {
        let mut record = self.endpoint(id)?.record.clone();
        record.labels = Some(label_set(&update.labels)?);
        if let Some(ports) = update.named_ports {
            record.named_ports = check_ports(ports)?;
        }
        if update.service_account.is_some() {
            record.service_account = update.service_account;
        }
        let before = std::mem::replace(
            &mut self.endpoints.get_mut(&id).ok_or(EndpointError::NoSuchEndpoint(id))?.record,
            record.clone(),
        );
        let saved = self.resolve_endpoint(id).and_then(|()| {
            self.save_identities()?;
            Ok(self.store.save_endpoint(&record)?)
        });
        if let Err(error) = saved {
            if let Some(endpoint) = self.endpoints.get_mut(&id) {
                endpoint.record = before;
            }
            self.resolve_endpoint(id)?;
            return Err(error);
        }
        self.drop_unused();
        Ok(())
    }

    /// How an endpoint is to be wired.
    pub(crate) fn plan(&self, record: &EndpointRecord) -> Result<WorkloadSpec, EndpointError> {
        let name = |field, value: &str| {
            IfName::new(value).map_err(|error| EndpointError::Invalid {
                field,
                value: value.to_owned(),
                reason: error.to_string(),
            })
        };
        let addresses = [record.addresses.v4.map(IpAddr::V4), record.addresses.v6.map(IpAddr::V6)];
        let plans = addresses.into_iter().flatten();
        let plans = plans.filter_map(|address| Some(AddressPlan { address, gateway: self.gateway_of(address)? }));
        Ok(WorkloadSpec {
            owner: record.owner(),
            netns: record.netns.clone(),
            host_ifname: name("host interface", &record.host_interface)?,
            container_ifname: name("interface", &record.interface)?,
            mac: record.mac.map(Mac),
            mtu: u32::from(record.mtu),
            addresses: plans.collect(),
            default_route: true,
        })
    }

    /// An endpoint of an earlier run.
    pub(super) fn restore_endpoint(&mut self, record: EndpointRecord) {
        let owner = record.owner();
        if let Err(error) = self.claim(&owner, record.addresses) {
            // The workload lives with this address; that the pool was changed meanwhile is no reason to cut it off.
            tracing::warn!(endpoint = record.id, %owner, %error, "address of a restored endpoint is not the pool's to give");
        }
        self.endpoints.insert(record.id, CoreEndpoint::new(record));
    }

    fn free_number(&self) -> Result<u16, EndpointError> {
        let last = KernelEndpoint::COUNT as u16 - 1;
        let from = self.next_endpoint.clamp(1, last);
        let mut candidates = (from..=last).chain(1..from);
        candidates.find(|id| !self.endpoints.contains_key(id)).ok_or(EndpointError::NoNumber)
    }

    fn record_of(&self, request: EndpointCreate, now: Timestamp) -> Result<EndpointRecord, EndpointError> {
        let container_id = request.container_id.unwrap_or_else(|| format!("{}.{}", request.namespace, request.name));
        check_word("container_id", &container_id, 200)?;
        check_word("name", &request.name, 253)?;
        check_word("namespace", &request.namespace, 253)?;
        let mac = request.mac.as_deref().map(parse_mac).transpose()?;
        let mut record = EndpointRecord {
            id: 0,
            interface: request.interface.unwrap_or_else(|| "eth0".to_owned()),
            container_id,
            name: request.name,
            namespace: request.namespace,
            netns: request.netns,
            host_interface: String::new(),
            mac,
            mtu: match self.settings.network.mtu {
                nexin_runtime::settings::Choice::Value(mtu) => mtu,
                _ => self.node.mtu(),
            },
            addresses: nexin_ipam::Addresses { v4: request.ipv4, v6: request.ipv6 },
            labels: request.labels.as_ref().map(label_set).transpose()?,
            named_ports: check_ports(request.named_ports)?,
            service_account: request.service_account,
            network: request.network,
            no_source_check: request.no_source_check,
            created: now,
        };
        IfName::new(&record.interface).map_err(|error| EndpointError::Invalid {
            field: "interface",
            value: record.interface.clone(),
            reason: error.to_string(),
        })?;
        let owner = record.owner();
        let taken = |name: &IfName| self.endpoints.values().any(|other| other.record.host_interface == name.as_str());
        let name = (0..u32::MAX).map(|salt| workload_ifname(&owner, salt)).find(|name| !taken(name));
        record.host_interface = name.ok_or(EndpointError::NoNumber)?.to_string();
        Ok(record)
    }

    /// Writes identities down when there are new ones.
    pub(super) fn save_identities(&mut self) -> Result<(), StateError> {
        if let Some(identities) = self.identities.take_changed() {
            self.store.save_identities(&identities)?;
        }
        if let Some(prefixes) = self.identities.take_changed_prefixes() {
            self.store.save_prefixes(&prefixes)?;
        }
        Ok(())
    }
}

/// A word that can stand in paths, link aliases and owners' names.
fn check_word(field: &'static str, value: &str, longest: usize) -> Result<(), EndpointError> {
    let reason = if value.is_empty() {
        "it is empty"
    } else if value.len() > longest {
        "it is too long"
    } else if !value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:@".contains(&byte)) {
        "only letters, digits and - _ . : @ are allowed"
    } else {
        return Ok(());
    };
    Err(EndpointError::Invalid { field, value: value.to_owned(), reason: reason.to_owned() })
}

fn parse_mac(text: &str) -> Result<[u8; 6], EndpointError> {
    let bad = |reason: &str| EndpointError::Invalid { field: "mac", value: text.to_owned(), reason: reason.to_owned() };
    let parts: Option<Vec<u8>> = text.split(':').map(|part| u8::from_str_radix(part, 16).ok()).collect();
    let mac: [u8; 6] =
        parts.and_then(|parts| parts.try_into().ok()).ok_or_else(|| bad("write it as 02:00:00:00:00:01"))?;
    if mac[0] & 1 != 0 || mac == [0; 6] { Err(bad("it is not a unicast address")) } else { Ok(mac) }
}

/// Labels as they come over the API; without a source they are `k8s`.
pub(crate) fn label_set(labels: &Labels) -> Result<LabelSet, EndpointError> {
    let label = |(key, value): (&String, &String)| {
        let invalid = |reason: &str| {
            Err(EndpointError::Invalid { field: "label", value: format!("{key}={value}"), reason: reason.to_owned() })
        };
        if key.contains('=') {
            return invalid("a key has no =");
        }
        let label = Label::parse(key, Source::K8s)?;
        match label.source {
            Source::Reserved | Source::Cidr | Source::CidrGroup | Source::Fqdn => {
                invalid("this source is Nexin's to give")
            }
            _ => Ok(Label { value: Arc::from(value.as_str()), ..label }),
        }
    };
    labels.0.iter().map(label).collect()
}

/// Named ports that cannot be told apart are a mistake.
fn check_ports(ports: Vec<NamedPort>) -> Result<Vec<NamedPort>, EndpointError> {
    for (index, port) in ports.iter().enumerate() {
        let twice = ports[..index].iter().any(|other| other.name == port.name && other.protocol == port.protocol);
        if twice {
            let reason = "it is given twice for the same protocol".to_owned();
            return Err(EndpointError::Invalid { field: "named port", value: port.name.clone(), reason });
        }
    }
    Ok(ports)
}
