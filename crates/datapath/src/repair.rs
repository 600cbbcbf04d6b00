//! Drift: somebody else changed what is ours. It is found by reading the kernel back, repaired, and counted by kind.

use crate::Datapath;
use crate::error::Result;

/// What [`Datapath::repair`] put right, by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RepairReport {
    /// Entries of the policy tables.
    pub policies: usize,
    pub endpoints: usize,
    pub addresses: usize,
    /// CIDRs and masquerading exclusions.
    pub prefixes: usize,
    /// Devices and masquerading addresses.
    pub devices: usize,
    pub config: usize,
    /// Programs missing from devices, or others in their place.
    pub links: usize,
}

impl RepairReport {
    pub fn total(&self) -> usize {
        let Self { policies, endpoints, addresses, prefixes, devices, config, links } = *self;
        policies + endpoints + addresses + prefixes + devices + config + links
    }

    /// Each kind with its number, for metrics.
    pub fn by_kind(&self) -> [(&'static str, usize); 7] {
        [
            ("policy", self.policies),
            ("endpoint", self.endpoints),
            ("address", self.addresses),
            ("prefix", self.prefixes),
            ("device", self.devices),
            ("config", self.config),
            ("link", self.links),
        ]
    }
}

impl Datapath {
    /// Reads the kernel back and puts right what differs from what was last applied. When anything did, running flows are
    /// judged again: they may have been judged by what was wrong.
    pub fn repair(&mut self) -> Result<RepairReport> {
        let policies = self.policies.repair()?;
        let [endpoints, addresses, prefixes, devices, config] = self.tables.repair()?;
        let links = self.links.repair(&self.names, &self.kernel)?;
        let report = RepairReport { policies, endpoints, addresses, prefixes, devices, config, links };
        if policies + endpoints + addresses + prefixes + config > 0 {
            let audit = self.tables.audit();
            self.tables.write_config(audit, true)?;
        }
        if report.total() > 0 {
            tracing::warn!(target: crate::NX, ?report, "the kernel's state had been changed from outside; repaired");
        }
        Ok(report)
    }
}
