//! The core's state in the words of the API.

use std::net::IpAddr;

use nexin_api::v1::{
    Allocation, Endpoint, EndpointCounts, EndpointState, Enforcement, Identity as ApiIdentity, IpamReply, Pool,
};
use nexin_model::Identity;
use nexin_policy::tables::PolicyKey;

use super::Core;
use super::endpoints::{CoreEndpoint, EndpointError};
use crate::words::wire_labels;

impl Core {
    pub(crate) fn endpoint_view(&self, id: u16) -> Result<Endpoint, EndpointError> {
        self.endpoint(id).map(|endpoint| self.view(id, endpoint))
    }

    pub(crate) fn endpoint_views(&self) -> Vec<Endpoint> {
        self.endpoints.iter().map(|(id, endpoint)| self.view(*id, endpoint)).collect()
    }

    fn view(&self, id: u16, endpoint: &CoreEndpoint) -> Endpoint {
        let record = &endpoint.record;
        let gateways = self.ipam.gateways();
        let labels = self.engine.identity(endpoint.identity).map(|spec| wire_labels(&spec.labels)).unwrap_or_default();
        let plan = self.plan(record).ok();
        let mac = plan.as_ref().map(|plan| plan.workload_mac().to_string()).unwrap_or_default();
        let gateway_mac = plan.as_ref().map(|plan| plan.gateway_mac().to_string()).unwrap_or_default();
        Endpoint {
            id,
            container_id: record.container_id.clone(),
            name: record.name.clone(),
            namespace: record.namespace.clone(),
            netns: record.netns.clone(),
            interface: record.interface.clone(),
            host_interface: record.host_interface.clone(),
            host_ifindex: endpoint.wired.map_or(0, |wired| wired.ifindex),
            mac,
            gateway_mac,
            mtu: record.mtu,
            ipv4: record.addresses.v4,
            ipv6: record.addresses.v6,
            gateway_ipv4: record.addresses.v4.and(gateways.v4),
            gateway_ipv6: record.addresses.v6.and(gateways.v6),
            identity: endpoint.identity.0,
            labels,
            named_ports: record.named_ports.clone(),
            service_account: record.service_account.clone(),
            network: record.network.clone(),
            state: state(endpoint),
            ingress: self.enforcement(endpoint.ingress),
            egress: self.enforcement(endpoint.egress),
            created: record.created,
        }
    }

    fn enforcement(&self, key: Option<PolicyKey>) -> Enforcement {
        match key {
            None => Enforcement::Open,
            Some(_) if self.settings.policy.audit => Enforcement::Audit,
            Some(_) => Enforcement::Enforced,
        }
    }

    pub(crate) fn endpoint_counts(&self) -> EndpointCounts {
        let mut counts = EndpointCounts::default();
        for endpoint in self.endpoints.values() {
            match state(endpoint) {
                EndpointState::Ready => counts.ready += 1,
                EndpointState::Init => counts.init += 1,
                EndpointState::Restoring => counts.restoring += 1,
                EndpointState::Broken => counts.broken += 1,
            }
        }
        counts
    }

    pub(crate) fn identity_views(&self) -> Vec<ApiIdentity> {
        let endpoints_of = |identity: Identity| {
            let with = self.endpoints.iter().filter(move |(_, endpoint)| endpoint.identity == identity);
            with.map(|(id, _)| *id).collect()
        };
        let identities = self.engine.identities();
        identities
            .map(|(identity, spec)| ApiIdentity {
                id: identity.0,
                labels: wire_labels(&spec.labels),
                endpoints: endpoints_of(identity),
                cidr: self.identities.prefix(identity),
            })
            .collect()
    }

    pub(crate) fn ipam_view(&self) -> IpamReply {
        let pools = self.ipam.pools().map(|pool| Pool {
            cidr: pool.net(),
            gateway: pool.gateway(),
            capacity: u64::try_from(pool.size()).unwrap_or(u64::MAX),
            used: u64::try_from(pool.used()).unwrap_or(u64::MAX),
            allocations: pool
                .allocations()
                .map(|(address, owner)| Allocation { address: IpAddr::clone(&address), owner: owner.to_string() })
                .collect(),
        });
        IpamReply { pools: pools.collect() }
    }

    /// Files and documents of earlier runs that could not be used.
    pub(crate) fn quarantined(&self) -> &[String] {
        &self.quarantined
    }
}

fn state(endpoint: &CoreEndpoint) -> EndpointState {
    if endpoint.broken {
        EndpointState::Broken
    } else if endpoint.wired.is_none() {
        EndpointState::Restoring
    } else if endpoint.identity == Identity::INIT {
        EndpointState::Init
    } else {
        EndpointState::Ready
    }
}
