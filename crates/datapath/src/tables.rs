//! The plain tables: everything in the kernel that is neither policy nor flow nor counter.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use nexin_abi::maps::addr::{Addr4Map, Addr6Map, AddrInfo};
use nexin_abi::maps::cidr::{Cidr4, Cidr6, NoMasq4, NoMasq6, v4, v6};
use nexin_abi::maps::config::{Config, ConfigMap};
use nexin_abi::maps::device::{Device, Devices};
use nexin_abi::maps::endpoint::{Endpoint, EndpointByDevice, EndpointState, EndpointStates, Endpoints};
use nexin_abi::maps::nat::{NatAddr4, NatAddr6};
use nexin_abi::{Addr4, Addr6, Identity};
use nexin_bpf::{Loaded, Map};

use crate::desired::{Desired, DeviceSpec};
use crate::error::{Error, Result};
use crate::mirror::Mirror;

/// All maps that hold desired state as it is.
pub(crate) struct Tables {
    pub(crate) endpoints: Mirror<Endpoints>,
    pub(crate) by_device: Mirror<EndpointByDevice>,
    pub(crate) addr4: Mirror<Addr4Map>,
    pub(crate) addr6: Mirror<Addr6Map>,
    /// Prefixes with identities and exclusions as they were last written in full.
    prefixes: Option<(BTreeMap<IpNet, Identity>, BTreeSet<IpNet>)>,
    cidr4: Mirror<Cidr4>,
    cidr6: Mirror<Cidr6>,
    no_masq4: Mirror<NoMasq4>,
    no_masq6: Mirror<NoMasq6>,
    devices: Mirror<Devices>,
    nat4: Mirror<NatAddr4>,
    nat6: Mirror<NatAddr6>,
    pub(crate) config: Mirror<ConfigMap>,
    /// What the programs are to tell: [`Config::flags`] without [`Config::AUDIT`].
    telling: u32,
    states: Map<EndpointStates>,
}

/// What a step of [`Tables`] changed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Changed {
    pub(crate) entries: usize,
    /// Some of it decides what policy says, so running flows are to be judged again.
    pub(crate) judged: bool,
}

impl Changed {
    pub(crate) fn add(&mut self, entries: usize, judged: bool) {
        self.entries += entries;
        self.judged |= judged && entries > 0;
    }
}

impl Tables {
    pub(crate) fn open(kernel: &Loaded) -> Result<Self> {
        Ok(Self {
            endpoints: Mirror::open(kernel.map()?)?,
            by_device: Mirror::open(kernel.map()?)?,
            addr4: Mirror::open(kernel.map()?)?,
            addr6: Mirror::open(kernel.map()?)?,
            prefixes: None,
            cidr4: Mirror::open(kernel.map()?)?,
            cidr6: Mirror::open(kernel.map()?)?,
            no_masq4: Mirror::open(kernel.map()?)?,
            no_masq6: Mirror::open(kernel.map()?)?,
            devices: Mirror::open(kernel.map()?)?,
            nat4: Mirror::open(kernel.map()?)?,
            nat6: Mirror::open(kernel.map()?)?,
            config: Mirror::open(kernel.map()?)?,
            telling: 0,
            states: kernel.map()?,
        })
    }

    /// Addresses, in the order that leaves no address pointing to an endpoint that is not its own: removals before the
    /// endpoints change, the rest after. `between` changes the endpoints.
    pub(crate) fn write_addresses(
        &mut self,
        desired: &Desired,
        between: impl FnOnce(&mut Self) -> Result<Changed>,
    ) -> Result<Changed> {
        let four = desired.addresses.iter().filter_map(|(ip, info)| match ip {
            IpAddr::V4(ip) => Some((Addr4::from(*ip), *info)),
            IpAddr::V6(_) => None,
        });
        let six = desired.addresses.iter().filter_map(|(ip, info)| match ip {
            IpAddr::V6(ip) => Some((Addr6::from(*ip), *info)),
            IpAddr::V4(_) => None,
        });
        let (mut plan4, mut plan6) = (self.addr4.plan(four), self.addr6.plan(six));
        let mut changed = Changed::default();
        let removal4 = nexin_reconcile::Plan { remove: std::mem::take(&mut plan4.remove), ..Default::default() };
        let removal6 = nexin_reconcile::Plan { remove: std::mem::take(&mut plan6.remove), ..Default::default() };
        changed.add(self.addr4.carry_out(removal4)? + self.addr6.carry_out(removal6)?, true);
        let endpoints = between(self)?;
        changed.entries += endpoints.entries;
        changed.judged |= endpoints.judged;
        changed.add(self.addr4.carry_out(plan4)? + self.addr6.carry_out(plan6)?, true);
        Ok(changed)
    }

    /// Endpoints as `wanted` has them; counters of new ones begin at zero.
    pub(crate) fn write_endpoints(&mut self, wanted: &HashMap<u32, Endpoint>) -> Result<Changed> {
        let by_device: HashMap<u32, u32> =
            wanted.iter().map(|(number, endpoint)| (endpoint.ifindex, *number)).collect();
        for (number, endpoint) in wanted {
            if self.endpoints.get(number).is_none_or(|old| old.ifindex != endpoint.ifindex) {
                self.states.set(number, &EndpointState::default())?;
            }
        }
        let mut changed = Changed::default();
        let plan = self.endpoints.plan(wanted.clone());
        changed.add(self.endpoints.carry_out(plan)?, true);
        let plan = self.by_device.plan(by_device);
        changed.add(self.by_device.carry_out(plan)?, false);
        Ok(changed)
    }

    pub(crate) fn write_prefixes(&mut self, desired: &Desired) -> Result<Changed> {
        // There may be ten thousands, and most changes are about something else.
        if self.prefixes.as_ref().is_some_and(|(cidrs, free)| *cidrs == desired.cidrs && *free == desired.no_masquerade)
        {
            return Ok(Changed::default());
        }
        let exact = |net: &IpNet| *net == net.trunc();
        let cidrs = if desired.cidrs.keys().all(exact) {
            Cow::Borrowed(&desired.cidrs)
        } else {
            Cow::Owned(desired.cidrs.iter().map(|(net, identity)| (net.trunc(), *identity)).collect())
        };
        let no_masquerade: BTreeSet<IpNet> = desired.no_masquerade.iter().map(IpNet::trunc).collect();
        let mut changed = Changed::default();
        let plan4 = self.cidr4.plan(cidrs.iter().filter_map(|(net, identity)| Some((key4(net)?, *identity))));
        let plan6 = self.cidr6.plan(cidrs.iter().filter_map(|(net, identity)| Some((key6(net)?, *identity))));
        changed.add(self.cidr4.carry_out(plan4)? + self.cidr6.carry_out(plan6)?, true);
        let plan4 = self.no_masq4.plan(no_masquerade.iter().filter_map(|net| Some((key4(net)?, 1))));
        let plan6 = self.no_masq6.plan(no_masquerade.iter().filter_map(|net| Some((key6(net)?, 1))));
        changed.add(self.no_masq4.carry_out(plan4)? + self.no_masq6.carry_out(plan6)?, false);
        let tables = [self.cidr4.refused(), self.cidr6.refused(), self.no_masq4.refused(), self.no_masq6.refused()];
        let whole = tables.iter().all(|refused| *refused == 0);
        self.prefixes = whole.then(|| (desired.cidrs.clone(), desired.no_masquerade.clone()));
        Ok(changed)
    }

    /// Devices and the addresses they masquerade with.
    pub(crate) fn write_devices(&mut self, desired: &Desired) -> Result<Changed> {
        let mut wanted = HashMap::new();
        let mut changed = Changed::default();
        for (ifindex, spec) in &desired.devices {
            let (device, written) = self.device(spec, desired)?;
            changed.add(written, false);
            wanted.insert(*ifindex, device);
        }
        let plan = self.devices.plan(wanted);
        changed.add(self.devices.carry_out(plan)?, false);
        Ok(changed)
    }

    fn device(&mut self, spec: &DeviceSpec, desired: &Desired) -> Result<(Device, usize)> {
        let mut device =
            Device { mtu: spec.mtu, flags: if spec.no_l2 { Device::NO_L2 } else { 0 }, ..Device::default() };
        let mut written = 0;
        if let Some(ip) = spec.masquerade_v4 {
            let in_use = |used: Ipv4Addr| desired.devices.values().any(|spec| spec.masquerade_v4 == Some(used));
            let index = slot(self.nat4.known(), &Addr4::from(ip), |used| in_use(Ipv4Addr::from(*used)))?;
            written += usize::from(self.nat4.set(index, ip.into())?);
            device.nat_addr4 = index as u8 + 1;
        }
        if let Some(ip) = spec.masquerade_v6 {
            let in_use = |used: Ipv6Addr| desired.devices.values().any(|spec| spec.masquerade_v6 == Some(used));
            let index = slot(self.nat6.known(), &Addr6::from(ip), |used| in_use(Ipv6Addr::from(*used)))?;
            written += usize::from(self.nat6.set(index, ip.into())?);
            device.nat_addr6 = index as u8 + 1;
        }
        Ok((device, written))
    }

    pub(crate) fn epoch(&self) -> u32 {
        self.config.get(&0).map_or(0, |config| config.epoch)
    }

    /// Sets the node's flags, and raises the epoch if running flows are to be judged again. Returns the new epoch.
    pub(crate) fn write_config(&mut self, audit: bool, judge_again: bool) -> Result<Option<u32>> {
        let old = self.config.get(&0).copied().unwrap_or_default();
        let flags = self.telling | if audit { Config::AUDIT } else { 0 };
        let raise = judge_again || old.epoch == 0 || (flags ^ old.flags) & Config::AUDIT != 0;
        let epoch = if raise { old.epoch.wrapping_add(1).max(1) } else { old.epoch };
        self.config.set(0, Config { epoch, flags })?;
        Ok(raise.then_some(epoch))
    }

    /// Sets what the programs tell: the bits of [`Config::flags`] under `mask`.
    pub(crate) fn tell(&mut self, bits: u32, mask: u32) -> Result<()> {
        self.telling = self.telling & !mask | bits & mask;
        let old = self.config.get(&0).copied().unwrap_or_default();
        self.config.set(0, Config { flags: self.telling | old.flags & Config::AUDIT, ..old })?;
        Ok(())
    }

    /// The audit flag as it was last written.
    pub(crate) fn audit(&self) -> bool {
        self.config.get(&0).is_some_and(|config| config.flags & Config::AUDIT != 0)
    }

    /// Maps that had no room for some entries, with their number.
    pub(crate) fn take_refused(&mut self) -> Vec<(&'static str, usize)> {
        let mut refused = Vec::new();
        macro_rules! ask {
            ($($table:ident),*) => {
                $(
                    let (name, ..) = self.$table.pressure();
                    refused.push((name, self.$table.take_refused()));
                )*
            };
        }
        ask!(by_device, addr4, addr6, cidr4, cidr6, no_masq4, no_masq6, devices);
        refused.retain(|(_, count)| *count > 0);
        refused
    }

    pub(crate) fn pressure(&self) -> Vec<(&'static str, u32, u32)> {
        vec![
            self.endpoints.pressure(),
            self.addr4.pressure(),
            self.addr6.pressure(),
            self.cidr4.pressure(),
            self.cidr6.pressure(),
            self.no_masq4.pressure(),
            self.no_masq6.pressure(),
            self.devices.pressure(),
            self.nat4.pressure(),
            self.nat6.pressure(),
        ]
    }

    /// Repairs every table. Returns differing entries: endpoints, addresses, prefixes, devices, configuration.
    pub(crate) fn repair(&mut self) -> Result<[usize; 5]> {
        Ok([
            self.endpoints.repair()? + self.by_device.repair()?,
            self.addr4.repair()? + self.addr6.repair()?,
            self.cidr4.repair()? + self.cidr6.repair()? + self.no_masq4.repair()? + self.no_masq6.repair()?,
            self.devices.repair()? + self.nat4.repair()? + self.nat6.repair()?,
            self.config.repair()?,
        ])
    }

    /// Corrects the half-open counters: takes out what the walk itself `ended`, and of what is off by the walk's count
    /// (`counted`) as much as was off at the last one as well (`excess`), since programs count while the walk goes on. Returns
    /// how many were corrected.
    pub(crate) fn recount_half_open(
        &mut self,
        counted: &HashMap<u16, u32>,
        ended: &HashMap<u16, u32>,
        excess: &mut HashMap<u16, i64>,
    ) -> Result<usize> {
        let mut corrected = 0;
        let last = std::mem::take(excess);
        let numbers = self.endpoints.known().keys().filter_map(|number| u16::try_from(*number).ok());
        for number in numbers.chain(std::iter::once(0)) {
            let key = u32::from(number);
            let count = |of: &HashMap<u16, u32>| i64::from(of.get(&number).copied().unwrap_or(0));
            let state = self.states.get(&key)?.unwrap_or_default();
            let off = i64::from(state.half_open) - count(ended) - count(counted);
            let lasting = lasting(off, last.get(&number).copied().unwrap_or(0));
            let right = i64::from(state.half_open) - count(ended) - lasting;
            let right = u32::try_from(right.max(0)).unwrap_or(u32::MAX);
            if state.half_open != right {
                self.states.set(&key, &EndpointState { half_open: right, ..state })?;
                corrected += 1;
            }
            if off != lasting {
                excess.insert(number, off - lasting);
            }
        }
        Ok(corrected)
    }

    pub(crate) fn address(&self, ip: IpAddr) -> Option<AddrInfo> {
        match ip {
            IpAddr::V4(ip) => self.addr4.get(&ip.into()).copied(),
            IpAddr::V6(ip) => self.addr6.get(&ip.into()).copied(),
        }
    }

    pub(crate) fn cidr_entries(&self) -> Vec<(IpNet, Identity)> {
        let four = self.cidr4.known().iter().filter_map(|(key, identity)| Some((net4(key)?, *identity)));
        let six = self.cidr6.known().iter().filter_map(|(key, identity)| Some((net6(key)?, *identity)));
        let mut all: Vec<(IpNet, Identity)> = four.chain(six).collect();
        all.sort();
        all
    }
}

/// The part of two deviations that both have.
fn lasting(now: i64, before: i64) -> i64 {
    if now.signum() == before.signum() { now.abs().min(before.abs()) * now.signum() } else { 0 }
}

/// Index for masquerading address `wanted`: where it is, else an empty one, else one that no device uses any more. Running
/// flows remember indices, so a used one is given up last.
fn slot<A: PartialEq>(known: &HashMap<u32, A>, wanted: &A, in_use: impl Fn(&A) -> bool) -> Result<u32> {
    /// A device keeps its index plus one in a byte.
    const SLOTS: u32 = 255;
    let there = known.iter().find(|(_, address)| *address == wanted).map(|(index, _)| *index);
    there
        .or_else(|| (0..SLOTS).find(|index| !known.contains_key(index)))
        .or_else(|| (0..SLOTS).find(|index| known.get(index).is_none_or(|address| !in_use(address))))
        .ok_or(Error::TooManyNatAddresses)
}

fn key4(net: &IpNet) -> Option<v4::PrefixKey> {
    match net {
        IpNet::V4(net) => Some(v4::PrefixKey { bits: net.prefix_len().into(), addr: net.addr().into() }),
        IpNet::V6(_) => None,
    }
}

fn key6(net: &IpNet) -> Option<v6::PrefixKey> {
    match net {
        IpNet::V6(net) => Some(v6::PrefixKey { bits: net.prefix_len().into(), addr: net.addr().into() }),
        IpNet::V4(_) => None,
    }
}

fn net4(key: &v4::PrefixKey) -> Option<IpNet> {
    IpNet::new(Ipv4Addr::from(key.addr).into(), key.bits as u8).ok()
}

fn net6(key: &v6::PrefixKey) -> Option<IpNet> {
    IpNet::new(Ipv6Addr::from(key.addr).into(), key.bits as u8).ok()
}
