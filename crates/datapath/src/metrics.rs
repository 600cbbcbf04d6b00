//! Counters, how full the maps are, and what they cost. Nothing here walks a big map.

use std::collections::BTreeMap;

use nexin_abi::maps::KernelMap;
use nexin_abi::maps::metrics::{Metrics, Traffic, index};
use nexin_abi::maps::policy::{Blocks, Classes, Decisions, Policies, Ports, Verdicts};
use nexin_abi::{Direction, DropReason};
use nexin_bpf::Map;

use crate::Datapath;
use crate::error::Result;

/// Packets and bytes of one reason and direction since the maps were made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counter {
    /// `None` = forwarded.
    pub reason: Option<DropReason>,
    pub direction: Direction,
    pub packets: u64,
    pub bytes: u64,
}

/// How full a map is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pressure {
    pub map: &'static str,
    /// Entries in use. For flows and translations: at the last [`Datapath::gc`].
    pub used: u32,
    pub available: u32,
}

/// Kernel memory of maps in bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    pub by_map: BTreeMap<String, u64>,
    /// The six maps of policy tables together.
    pub policy: u64,
    pub total: u64,
}

impl Datapath {
    /// All counters that are not zero.
    pub fn counters(&self) -> Result<Vec<Counter>> {
        let map: Map<Metrics> = self.kernel.map()?;
        let reasons = std::iter::once(None).chain(DropReason::ALL.iter().map(|reason| Some(*reason)));
        let mut counters = Vec::new();
        for reason in reasons {
            for direction in [Direction::Ingress, Direction::Egress] {
                let code = reason.map_or(0, |reason| reason as u8);
                let traffic = sum(&map.per_cpu(&index(code, direction as u8))?);
                if traffic != Traffic::default() {
                    counters.push(Counter { reason, direction, packets: traffic.packets, bytes: traffic.bytes });
                }
            }
        }
        Ok(counters)
    }

    /// How full each map is.
    pub fn pressure(&self) -> Vec<Pressure> {
        let tables = self.tables.pressure().into_iter();
        let all = tables.chain(self.policies.pressure()).chain(self.flows.pressure());
        all.map(|(map, used, available)| Pressure { map, used, available }).collect()
    }

    /// Endpoints that did not get the policy they should have had, counted at each apply.
    pub fn overflows(&self) -> u64 {
        self.overflows
    }

    /// Kernel memory of all maps, as the kernel accounts it.
    pub fn memory(&self) -> Result<Memory> {
        let policy = [Policies::NAME, Classes::NAME, Decisions::NAME, Ports::NAME, Blocks::NAME, Verdicts::NAME];
        let mut memory = Memory::default();
        for map in self.kernel.maps() {
            let bytes = map.memory()?;
            memory.total += bytes;
            if policy.contains(&map.name()) {
                memory.policy += bytes;
            }
            memory.by_map.insert(map.name().to_owned(), bytes);
        }
        Ok(memory)
    }
}

fn sum(values: &[Traffic]) -> Traffic {
    values.iter().fold(Traffic::default(), |sum, value| Traffic {
        packets: sum.packets + value.packets,
        bytes: sum.bytes + value.bytes,
    })
}
