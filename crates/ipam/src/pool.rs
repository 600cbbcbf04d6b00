//! One pool: a prefix and who holds which of its addresses.
//!
//! Memory grows with the addresses in use, never with the prefix: every address below `fresh` is either held or in the
//! queue of released ones, every address from `fresh` on has never been handed out by [`Pool::allocate`].

use crate::{Error, Owner, Result, Special};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, net::IpAddr};

/// So many released addresses wait before the oldest of them is preferred to one that was never used. A pool with
/// fewer addresses than this uses each once before it uses one twice.
const WAITING: usize = 1024;

/// Offsets in the prefix.
const GATEWAY: u128 = 1;
const FIRST: u128 = 2;

#[derive(Clone, Debug)]
pub struct Pool {
    net: IpNet,
    /// Last offset that may be handed out.
    last: u128,
    /// Next offset that was never handed out; past `last` when there is none.
    fresh: u128,
    held: BTreeMap<u128, Owner>,
    released: Released,
}

/// A pool as it is written down. Addresses, not offsets, so that people can read it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PoolState {
    pub net: IpNet,
    pub held: BTreeMap<IpAddr, Owner>,
    /// Least recently released first.
    pub released: Vec<IpAddr>,
    /// The next address that was never used; none when all were.
    pub fresh: Option<IpAddr>,
}

/// Free addresses that were used before, least recently released first.
#[derive(Clone, Debug, Default)]
struct Released {
    by_age: BTreeMap<u64, u128>,
    age_of: BTreeMap<u128, u64>,
    clock: u64,
}

impl Pool {
    /// The first address is the gateway's. Host bits of `net` are ignored.
    pub fn new(net: IpNet) -> Result<Self> {
        let net = net.trunc();
        let (bits, broadcast) = match net {
            IpNet::V4(_) => (32, 1),
            IpNet::V6(_) => (128, 0),
        };
        // The offset of the last address; a shift by all 128 bits would be a /128.
        let end = u128::MAX.checked_shr(128 - bits + u32::from(net.prefix_len())).unwrap_or(0);
        let last = end.saturating_sub(broadcast);
        if last < FIRST {
            Err(Error::TooSmall(net))
        } else {
            Ok(Self { net, last, fresh: FIRST, held: BTreeMap::new(), released: Released::default() })
        }
    }

    pub fn net(&self) -> IpNet {
        self.net
    }

    pub fn gateway(&self) -> IpAddr {
        self.address(GATEWAY)
    }

    /// Addresses that workloads can have.
    pub fn size(&self) -> u128 {
        self.last - FIRST + 1
    }

    pub fn used(&self) -> u128 {
        self.held.len() as u128
    }

    pub fn owner(&self, ip: IpAddr) -> Option<&Owner> {
        self.held.get(&self.offset(ip)?)
    }

    /// All held addresses, in order.
    pub fn allocations(&self) -> impl Iterator<Item = (IpAddr, &Owner)> {
        self.held.iter().map(|(offset, owner)| (self.address(*offset), owner))
    }

    /// A free address: one that was never used, or, when there is none or enough are waiting, the one released longest ago.
    pub fn allocate(&mut self, owner: Owner) -> Result<IpAddr> {
        let waiting_enough = self.released.len() >= WAITING;
        let offset = if waiting_enough { None } else { self.take_fresh() };
        let offset = offset.or_else(|| self.released.take_oldest()).or_else(|| self.take_fresh());
        let Some(offset) = offset else {
            return Err(Error::Exhausted { pool: self.net, size: self.size(), used: self.used() });
        };
        self.held.insert(offset, owner);
        Ok(self.address(offset))
    }

    /// That address and no other. Success when `owner` has it already.
    pub fn allocate_specific(&mut self, ip: IpAddr, owner: Owner) -> Result<()> {
        let offset = self.usable(ip)?;
        if let Some(holder) = self.held.get(&offset) {
            return if *holder == owner { Ok(()) } else { Err(Error::InUse { ip, owner: holder.clone() }) };
        }
        self.released.remove(offset);
        self.held.insert(offset, owner);
        Ok(())
    }

    /// Gives an address back; none when nobody held it.
    pub fn release(&mut self, ip: IpAddr) -> Option<Owner> {
        let offset = self.offset(ip)?;
        let owner = self.held.remove(&offset)?;
        self.released.push(offset);
        Some(owner)
    }

    /// Gives back all addresses whose owner `alive` denies.
    pub fn retain(&mut self, mut alive: impl FnMut(&Owner) -> bool) -> Vec<(IpAddr, Owner)> {
        let dead: Vec<_> = self.held.extract_if(.., |_, owner| !alive(owner)).collect();
        for (offset, _) in &dead {
            self.released.push(*offset);
        }
        dead.into_iter().map(|(offset, owner)| (self.address(offset), owner)).collect()
    }

    pub fn state(&self) -> PoolState {
        PoolState {
            net: self.net,
            held: self.allocations().map(|(ip, owner)| (ip, owner.clone())).collect(),
            released: self.released.by_age.values().map(|offset| self.address(*offset)).collect(),
            fresh: (self.fresh <= self.last).then(|| self.address(self.fresh)),
        }
    }

    /// Takes over what `state` says and this pool allows; returns what it does not allow. Also for a state of another
    /// prefix, of which the common part is kept. To be called on a new pool.
    pub(crate) fn adopt(&mut self, state: PoolState) -> Vec<(IpAddr, Owner, Error)> {
        let mut refused = Vec::new();
        for (ip, owner) in state.held {
            if let Err(error) = self.allocate_specific(ip, owner.clone()) {
                refused.push((ip, owner, error));
            }
        }
        for ip in state.released {
            if let Some(offset) = self.usable(ip).ok().filter(|offset| !self.held.contains_key(offset)) {
                self.released.push(offset);
            }
        }
        // The mark only means something in the prefix it was made for, and only if every address below it is accounted
        // for; otherwise we begin anew, which forgets the order of re-use and nothing else.
        if state.net == self.net {
            let fresh = state.fresh.map_or(Some(self.last + 1), |ip| self.usable(ip).ok()).unwrap_or(FIRST);
            let below = self.held.range(..fresh).count() + self.released.age_of.range(..fresh).count();
            if below as u128 == fresh - FIRST {
                self.fresh = fresh;
            }
        }
        refused
    }

    fn take_fresh(&mut self) -> Option<u128> {
        while self.fresh <= self.last {
            let offset = self.fresh;
            self.fresh += 1;
            // Somebody asked for it by name before.
            if !self.held.contains_key(&offset) && !self.released.age_of.contains_key(&offset) {
                return Some(offset);
            }
        }
        None
    }

    fn address(&self, offset: u128) -> IpAddr {
        match self.net.network() {
            IpAddr::V4(v4) => IpAddr::V4((v4.to_bits() + offset as u32).into()),
            IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() + offset).into()),
        }
    }

    fn offset(&self, ip: IpAddr) -> Option<u128> {
        match (self.net.network(), ip) {
            _ if !self.net.contains(&ip) => None,
            (IpAddr::V4(network), IpAddr::V4(ip)) => Some(u128::from(ip.to_bits() - network.to_bits())),
            (IpAddr::V6(network), IpAddr::V6(ip)) => Some(ip.to_bits() - network.to_bits()),
            _ => None,
        }
    }

    fn usable(&self, ip: IpAddr) -> Result<u128> {
        let offset = self.offset(ip).ok_or(Error::OutsidePool { ip, pool: self.net })?;
        match offset {
            0 => Err(Error::Reserved { ip, what: Special::Network }),
            GATEWAY => Err(Error::Reserved { ip, what: Special::Gateway }),
            _ if offset > self.last => Err(Error::Reserved { ip, what: Special::Broadcast }),
            _ => Ok(offset),
        }
    }
}

impl Released {
    fn len(&self) -> usize {
        self.by_age.len()
    }

    fn push(&mut self, offset: u128) {
        self.remove(offset);
        self.by_age.insert(self.clock, offset);
        self.age_of.insert(offset, self.clock);
        self.clock += 1;
    }

    fn remove(&mut self, offset: u128) {
        if let Some(age) = self.age_of.remove(&offset) {
            self.by_age.remove(&age);
        }
    }

    fn take_oldest(&mut self) -> Option<u128> {
        let (_, offset) = self.by_age.pop_first()?;
        self.age_of.remove(&offset);
        Some(offset)
    }
}
