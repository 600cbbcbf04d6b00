//! What the kernel holds, for people: maps by name and policies by number.

use std::net::IpAddr;

use nexin_abi::Identity;
use nexin_abi::maps::addr::AddrInfo;
use nexin_abi::maps::policy::{
    Blocks, ClassKey, Classes, Decision, Decisions, Policies, Policy, Ports, Slot, Verdict, Verdicts,
};
use nexin_abi::maps::{KernelMap, MapKind, MapSpec};
use nexin_bpf::{Loaded, Map};
use nexin_verdict::Tables;

use crate::error::Result;
use crate::{Datapath, Pressure};

/// A map and its numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapUse {
    pub name: String,
    pub kind: MapKind,
    pub id: u32,
    pub key_size: u32,
    pub value_size: u32,
    pub max_entries: u32,
    /// Entries in use where that is known without a walk.
    pub used: Option<u32>,
    /// Bytes of kernel memory.
    pub memory: u64,
}

/// An entry as text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MapEntry {
    pub key: String,
    pub value: String,
}

impl Datapath {
    /// All maps.
    pub fn maps(&self) -> Result<Vec<MapUse>> {
        let pressure = self.pressure();
        nexin_abi::maps::ALL.iter().map(|spec| map_use(&self.kernel, spec, &pressure)).collect()
    }

    /// Entries of map `name` as text, sorted; `None` if there is no such map or it has no entries to show (ring buffers).
    /// Zero entries of arrays are left out.
    pub fn dump_map(&self, name: &str) -> Result<Option<Vec<MapEntry>>> {
        use nexin_abi::maps::{addr, cidr, config, ct, device, endpoint, frag, nat, policy};
        macro_rules! dump {
            ($($map:ty),* $(,)?) => {
                match name {
                    $(<$map as KernelMap>::NAME => dump::<$map>(&self.kernel).map(Some),)*
                    _ => Ok(None),
                }
            };
        }
        dump!(
            addr::Addr4Map,
            addr::Addr6Map,
            cidr::Cidr4,
            cidr::Cidr6,
            cidr::NoMasq4,
            cidr::NoMasq6,
            config::ConfigMap,
            ct::Ct4,
            ct::Ct6,
            device::Devices,
            endpoint::Endpoints,
            endpoint::EndpointByDevice,
            endpoint::EndpointStates,
            frag::Frag4,
            frag::Frag6,
            nat::Nat4,
            nat::Nat6,
            nat::NatAddr4,
            nat::NatAddr6,
            policy::Policies,
            policy::Classes,
            policy::Decisions,
            policy::Ports,
            policy::Blocks,
            policy::Verdicts,
        )
    }

    /// Who the datapath takes an exact address for.
    pub fn address(&self, ip: IpAddr) -> Option<AddrInfo> {
        self.tables.address(ip)
    }

    /// The policy epoch in force; 0 before the first apply.
    pub fn epoch(&self) -> u32 {
        self.tables.epoch()
    }

    /// Prefixes with identities, sorted.
    pub fn cidrs(&self) -> Vec<(ipnet::IpNet, Identity)> {
        self.tables.cidr_entries()
    }

    /// The kernel's decision tables, to be asked through `nexin_verdict::decide`: the same answer as a packet gets.
    pub fn kernel_policy(&self) -> Result<KernelPolicy> {
        KernelPolicy::new(&self.kernel)
    }

    /// Policy numbers of an endpoint: ingress, egress (0 = not isolated).
    pub fn endpoint_policies(&self, endpoint: u16) -> Option<(u32, u32)> {
        let endpoint = self.tables.endpoints.get(&u32::from(endpoint))?;
        Some((endpoint.ingress_policy, endpoint.egress_policy))
    }
}

/// Decision tables read from the kernel entry by entry.
pub struct KernelPolicy {
    policies: Map<Policies>,
    classes: Map<Classes>,
    decisions: Map<Decisions>,
    ports: Map<Ports>,
    blocks: Map<Blocks>,
    verdicts: Map<Verdicts>,
}

impl KernelPolicy {
    fn new(kernel: &Loaded) -> Result<Self> {
        Ok(Self {
            policies: kernel.map()?,
            classes: kernel.map()?,
            decisions: kernel.map()?,
            ports: kernel.map()?,
            blocks: kernel.map()?,
            verdicts: kernel.map()?,
        })
    }
}

/// A failed look-up is a missing entry, which denies.
fn ask<M: KernelMap>(map: &Map<M>, key: &M::Key) -> Option<M::Value> {
    map.get(key).ok().flatten()
}

impl Tables for KernelPolicy {
    fn policy(&self, policy: u32) -> Option<Policy> {
        ask(&self.policies, &policy)
    }

    fn class(&self, classifier: u32, identity: Identity) -> Option<u32> {
        ask(&self.classes, &ClassKey { classifier, identity })
    }

    fn decision(&self, index: u32) -> Option<Decision> {
        ask(&self.decisions, &index)
    }

    fn port(&self, table: u32, high: u8) -> Option<Slot> {
        ask(&self.ports, &table).map(|page| page.0[usize::from(high)])
    }

    fn block(&self, block: u32, low: u8) -> Option<Slot> {
        ask(&self.blocks, &block).map(|page| page.0[usize::from(low)])
    }

    fn verdict(&self, index: u32) -> Option<Verdict> {
        ask(&self.verdicts, &index)
    }
}

fn map_use(kernel: &Loaded, spec: &MapSpec, pressure: &[Pressure]) -> Result<MapUse> {
    let map = kernel.raw_map(spec.name)?;
    Ok(MapUse {
        name: spec.name.to_owned(),
        kind: spec.kind,
        id: map.id(),
        key_size: spec.key_size,
        value_size: spec.value_size,
        max_entries: map.max_entries(),
        used: pressure.iter().find(|pressure| pressure.map == spec.name).map(|pressure| pressure.used),
        memory: map.memory()?,
    })
}

fn dump<M: KernelMap>(kernel: &Loaded) -> Result<Vec<MapEntry>>
where
    M::Key: std::fmt::Debug,
    M::Value: std::fmt::Debug,
{
    use zerocopy::IntoBytes;
    let map: Map<M> = kernel.map()?;
    let array = matches!(M::KIND, MapKind::Array);
    let mut entries = Vec::new();
    map.visit(|keys, values| {
        for (key, value) in keys.iter().zip(values) {
            if !array || value.as_bytes().iter().any(|byte| *byte != 0) {
                entries.push(MapEntry { key: format!("{key:?}"), value: format!("{value:?}") });
            }
        }
    })?;
    entries.sort();
    Ok(entries)
}
