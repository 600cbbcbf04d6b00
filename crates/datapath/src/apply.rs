//! From desired to kernel, in the order that never shows a packet half of anything:
//!
//! 1. policies, each beside what is in force
//! 2. devices and prefixes
//! 3. addresses that go
//! 4. endpoints, each switched to its policies by one store
//! 5. addresses that come or change
//! 6. the epoch, once
//! 7. programs on devices
//! 8. programs and policies that nobody wants any more
//!
//! What is freed is used again only after a grace period ([`crate::Datapath::sweep`]).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use nexin_abi::maps::endpoint::Endpoint;
use nexin_policy::tables::PolicyKey;

use crate::desired::{Desired, EndpointSpec};
use crate::error::{Error, Result};
use crate::links::{self, ProgramKind};
use crate::policy::Ensured;
use crate::tables::Changed;
use crate::{Datapath, NX};

/// What [`Datapath::apply`] did.
#[derive(Debug, Default)]
pub struct ApplyReport {
    pub policies_loaded: usize,
    pub policies_extended: usize,
    /// Found in the kernel as an earlier process left them.
    pub policies_adopted: usize,
    /// Entries changed in maps other than the policies'.
    pub entries: usize,
    pub attached: usize,
    pub detached: usize,
    /// The new epoch, if running flows are judged again.
    pub epoch: Option<u32>,
    /// Endpoints that do not have the policy they should: they keep the one they had, new ones are closed.
    pub not_enforced: BTreeMap<u16, Error>,
    /// Maps that had no room for so many entries.
    pub refused: Vec<(&'static str, usize)>,
    /// Interfaces that do not exist (any more).
    pub missing_devices: Vec<u32>,
    pub elapsed: Duration,
}

impl ApplyReport {
    /// Everything desired is in force.
    pub fn complete(&self) -> bool {
        self.not_enforced.is_empty() && self.refused.is_empty() && self.missing_devices.is_empty()
    }
}

impl Datapath {
    /// Brings the kernel to `desired`. The first call after [`Datapath::open`] must have everything: what it does not name
    /// is removed.
    ///
    /// # Errors
    /// A failed call of the kernel, or desired state that contradicts itself (then nothing was changed). A full table is
    /// not an error: the report says what does not have room.
    pub fn apply(&mut self, desired: &Desired) -> Result<ApplyReport> {
        check(desired)?;
        let start = Instant::now();
        let mut report = ApplyReport::default();
        let failed = self.load_policies(desired, &mut report)?;

        let mut changed = self.tables.write_devices(desired)?;
        changed.judged |= report.policies_loaded + report.policies_extended > 0;
        let prefixes = self.tables.write_prefixes(desired)?;
        let endpoints = self.kernel_endpoints(desired, failed, &mut report);
        let addresses = self.tables.write_addresses(desired, |tables| tables.write_endpoints(&endpoints))?;
        for Changed { entries, judged } in [prefixes, addresses] {
            changed.entries += entries;
            changed.judged |= judged;
        }
        report.epoch = self.tables.write_config(desired.audit, changed.judged)?;
        report.entries = changed.entries;
        report.refused = self.tables.take_refused();
        self.attach(desired, &mut report)?;

        let in_use = self.policy_numbers();
        let wanted: BTreeSet<u32> = desired.policies.keys().filter_map(|key| self.policies.number(*key)).collect();
        if self.policies.retire(|number| in_use.contains(&number) || wanted.contains(&number)) > 0 {
            self.retired_at = Instant::now();
        }
        self.overflows += report.not_enforced.len() as u64;
        report.elapsed = start.elapsed();
        Ok(report)
    }

    /// Loads what is new of the policies. Those that find no room are returned.
    fn load_policies(&mut self, desired: &Desired, report: &mut ApplyReport) -> Result<BTreeMap<PolicyKey, Error>> {
        let mut extended = self.policies.extend(&desired.policies)?;
        if !extended.failed.is_empty() && self.policies.needs_sweep() && self.sweep()? {
            report.policies_extended = extended.policies;
            extended = self.policies.extend(&desired.policies)?;
        }
        report.policies_extended += extended.policies;
        let mut failed = extended.failed;
        let held = self.held(desired);
        let none = BTreeSet::new();
        for (key, tables) in desired.policies.iter() {
            if failed.contains_key(key) {
                continue;
            }
            let held = held.get(key).unwrap_or(&none);
            let mut ensured = self.policies.ensure(tables, held);
            if matches!(&ensured, Err(e) if e.full()) && self.policies.needs_sweep() && self.sweep()? {
                ensured = self.policies.ensure(tables, held);
            }
            match ensured {
                Ok((_, Ensured::Unchanged)) => {}
                Ok((_, Ensured::Adopted)) => report.policies_adopted += 1,
                Ok((_, Ensured::Loaded)) => report.policies_loaded += 1,
                Err(e) if e.full() => drop(failed.insert(*key, e)),
                Err(e) => return Err(e),
            }
        }
        for (key, e) in &failed {
            tracing::warn!(target: NX, policy = format!("{:032x}", key.0), error = %e, "policy not enforced");
        }
        Ok(failed)
    }

    /// For each policy those that the endpoints which are to have it have in the kernel now.
    fn held(&self, desired: &Desired) -> BTreeMap<PolicyKey, BTreeSet<u32>> {
        let mut held: BTreeMap<PolicyKey, BTreeSet<u32>> = BTreeMap::new();
        for (&number, spec) in &desired.endpoints {
            let Some(old) = self.tables.endpoints.get(&u32::from(number)) else { continue };
            for (key, old) in [(spec.ingress, old.ingress_policy), (spec.egress, old.egress_policy)] {
                if let Some(key) = key {
                    held.entry(key).or_default().insert(old);
                }
            }
        }
        held
    }

    /// Endpoints as the kernel shall have them. One whose policy found no room keeps what it has.
    fn kernel_endpoints(
        &self,
        desired: &Desired,
        failed: BTreeMap<PolicyKey, Error>,
        report: &mut ApplyReport,
    ) -> HashMap<u32, Endpoint> {
        let mut endpoints = HashMap::new();
        for (&number, spec) in &desired.endpoints {
            // The same workload, not another under its number.
            let old = self.tables.endpoints.get(&u32::from(number)).filter(|old| old.ifindex == spec.ifindex);
            let mut policy = |key: Option<PolicyKey>, old: Option<u32>| {
                let Some(key) = key else { return 0 };
                if let Some(e) = failed.get(&key) {
                    if let Error::TableFull { table, entries } = e {
                        report.not_enforced.insert(number, Error::TableFull { table, entries: *entries });
                    }
                    // Under the same key there may be an older version of it, which is what the endpoint has.
                    return old.unwrap_or(self.policies.closed());
                }
                self.policies.number(key).unwrap_or(self.policies.closed())
            };
            let ingress = policy(spec.ingress, old.map(|old| old.ingress_policy));
            let egress = policy(spec.egress, old.map(|old| old.egress_policy));
            endpoints.insert(u32::from(number), kernel_endpoint(spec, ingress, egress));
        }
        endpoints
    }

    /// Programs on all devices that should have them, and off those that should not.
    fn attach(&mut self, desired: &Desired, report: &mut ApplyReport) -> Result<()> {
        let endpoints = desired.endpoints.values().map(|spec| (spec.ifindex, &spec.ifname, ProgramKind::WORKLOAD));
        let devices = desired.devices.iter().map(|(ifindex, spec)| (*ifindex, &spec.ifname, ProgramKind::NETWORK));
        let mut wanted = BTreeSet::new();
        self.names.clear();
        for (ifindex, ifname, kinds) in endpoints.chain(devices) {
            self.names.insert(ifindex, ifname.clone());
            for kind in kinds {
                wanted.insert((ifindex, kind));
                match self.links.ensure(ifindex, ifname, kind, &self.kernel) {
                    Ok(changed) => report.attached += usize::from(changed),
                    Err(Error::Kernel(e)) if e.errno() == Some(nexin_bpf::ENODEV) => {
                        if report.missing_devices.last() != Some(&ifindex) {
                            report.missing_devices.push(ifindex);
                        }
                    }
                    Err(e) => return Err(e),
                }
            }
        }
        report.detached = self.links.retain(&wanted)?;
        if !std::mem::replace(&mut self.strays_removed, true) {
            report.detached += links::remove_strays(&wanted)?;
        }
        Ok(())
    }

    /// Numbers of policies that endpoints in the kernel point to.
    fn policy_numbers(&self) -> BTreeSet<u32> {
        let endpoints = self.tables.endpoints.known().values();
        endpoints.flat_map(|endpoint| [endpoint.ingress_policy, endpoint.egress_policy]).collect()
    }
}

/// Refuses desired state that contradicts itself, before anything is touched.
fn check(desired: &Desired) -> Result<()> {
    for (&number, spec) in &desired.endpoints {
        if number == 0 || u32::from(number) >= Endpoint::COUNT {
            return Err(Error::BadEndpoint(number));
        }
        let missing = [spec.ingress, spec.egress].into_iter().flatten().find(|key| !desired.policies.contains_key(key));
        if let Some(key) = missing {
            return Err(Error::NoSuchPolicy(key));
        }
    }
    Ok(())
}

fn kernel_endpoint(spec: &EndpointSpec, ingress_policy: u32, egress_policy: u32) -> Endpoint {
    Endpoint {
        ifindex: spec.ifindex,
        identity: spec.identity,
        ingress_policy,
        egress_policy,
        mac: spec.mac,
        gateway_mac: spec.gateway_mac,
        flags: spec.flags,
        mtu: spec.mtu,
        reserved: [0; 6],
    }
}
