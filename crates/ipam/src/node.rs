//! The pools of a node together: a workload gets its addresses of both families, or none.

use crate::{Error, Family, Owner, Pool, PoolState, Result};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The state's format.
const VERSION: u32 = 1;

/// What is wanted of one family.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Want<T> {
    #[default]
    Nothing,
    /// Any free address; nothing where the node has no pool of that family.
    Any,
    This(T),
}

/// A workload's addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Addresses {
    pub v4: Option<Ipv4Addr>,
    pub v6: Option<Ipv6Addr>,
}

/// A node's address management. At most one pool a family.
#[derive(Clone, Debug)]
pub struct Ipam {
    v4: Option<Pool>,
    v6: Option<Pool>,
}

/// Everything that must survive a restart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    pub version: u32,
    pub pools: Vec<PoolState>,
}

/// Something in a state that the node's pools do not allow. The address is free for others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Conflict {
    /// The pool became smaller, or two entries speak of one address.
    Address { ip: IpAddr, owner: Owner, reason: Error },
    /// A family or prefix that the node does not have any more, with the number of addresses that were held.
    Pool { net: IpNet, held: usize },
    /// Written by a newer version; nothing of it was read.
    Version(u32),
}

impl Ipam {
    /// Of two pools of one family the last one counts.
    pub fn new(pools: impl IntoIterator<Item = Pool>) -> Self {
        let mut ipam = Self { v4: None, v6: None };
        for pool in pools {
            match pool.net() {
                IpNet::V4(_) => ipam.v4 = Some(pool),
                IpNet::V6(_) => ipam.v6 = Some(pool),
            }
        }
        ipam
    }

    /// New pools with what `state` says of them. What does not fit is reported, never silently dropped.
    pub fn restore(pools: impl IntoIterator<Item = Pool>, state: State) -> (Self, Vec<Conflict>) {
        let mut ipam = Self::new(pools);
        if state.version != VERSION {
            return (ipam, vec![Conflict::Version(state.version)]);
        }
        let mut conflicts = Vec::new();
        for old in state.pools {
            let (net, held) = (old.net, old.held.len());
            match ipam.pool_mut(Family::of(net.addr())) {
                Some(pool) if overlap(pool.net(), net) => {
                    let refused = pool.adopt(old).into_iter();
                    conflicts.extend(refused.map(|(ip, owner, reason)| Conflict::Address { ip, owner, reason }));
                }
                _ => conflicts.push(Conflict::Pool { net, held }),
            }
        }
        (ipam, conflicts)
    }

    pub fn state(&self) -> State {
        State { version: VERSION, pools: self.pools().map(Pool::state).collect() }
    }

    pub fn pools(&self) -> impl Iterator<Item = &Pool> {
        self.v4.iter().chain(&self.v6)
    }

    pub fn pool(&self, family: Family) -> Option<&Pool> {
        match family {
            Family::V4 => self.v4.as_ref(),
            Family::V6 => self.v6.as_ref(),
        }
    }

    pub fn gateways(&self) -> Addresses {
        let mut gateways = Addresses::default();
        for pool in self.pools() {
            gateways.set(pool.gateway());
        }
        gateways
    }

    /// All or nothing: when one family fails, nothing is held for the other.
    pub fn allocate(&mut self, owner: &Owner, v4: Want<Ipv4Addr>, v6: Want<Ipv6Addr>) -> Result<Addresses> {
        let first = self.take(Family::V4, owner, v4)?;
        let second = match self.take(Family::V6, owner, v6) {
            Ok(second) => second,
            Err(error) => {
                if let Some((ip, Fresh::Yes)) = first {
                    self.release(ip);
                }
                return Err(error);
            }
        };
        let mut addresses = Addresses::default();
        for (ip, _) in first.into_iter().chain(second) {
            addresses.set(ip);
        }
        Ok(addresses)
    }

    /// Gives one address back; none when nobody held it.
    pub fn release(&mut self, ip: IpAddr) -> Option<Owner> {
        self.pool_mut(Family::of(ip))?.release(ip)
    }

    /// Gives back everything an owner holds.
    pub fn release_owner(&mut self, owner: &Owner) -> Vec<IpAddr> {
        self.reconcile(|other| other != owner).into_iter().map(|(ip, _)| ip).collect()
    }

    /// Gives back what belongs to owners that are no more, and says what.
    pub fn reconcile(&mut self, mut alive: impl FnMut(&Owner) -> bool) -> Vec<(IpAddr, Owner)> {
        let pools = self.v4.iter_mut().chain(&mut self.v6);
        pools.flat_map(|pool| pool.retain(&mut alive)).collect()
    }

    /// What an owner holds.
    pub fn of_owner(&self, owner: &Owner) -> Vec<IpAddr> {
        let all = self.pools().flat_map(Pool::allocations);
        all.filter(|(_, holder)| *holder == owner).map(|(ip, _)| ip).collect()
    }

    fn take<T: Into<IpAddr>>(
        &mut self,
        family: Family,
        owner: &Owner,
        want: Want<T>,
    ) -> Result<Option<(IpAddr, Fresh)>> {
        match (want, self.pool_mut(family)) {
            (Want::Nothing, _) | (Want::Any, None) => Ok(None),
            (Want::This(_), None) => Err(Error::NoPool(family)),
            (Want::Any, Some(pool)) => Ok(Some((pool.allocate(owner.clone())?, Fresh::Yes))),
            (Want::This(ip), Some(pool)) => {
                let ip = ip.into();
                let fresh = if pool.owner(ip).is_some() { Fresh::No } else { Fresh::Yes };
                pool.allocate_specific(ip, owner.clone()).map(|()| Some((ip, fresh)))
            }
        }
    }

    fn pool_mut(&mut self, family: Family) -> Option<&mut Pool> {
        match family {
            Family::V4 => self.v4.as_mut(),
            Family::V6 => self.v6.as_mut(),
        }
    }
}

/// Whether an address was free before it was asked for.
#[derive(Clone, Copy)]
enum Fresh {
    Yes,
    No,
}

impl Addresses {
    fn set(&mut self, ip: IpAddr) {
        match ip {
            IpAddr::V4(v4) => self.v4 = Some(v4),
            IpAddr::V6(v6) => self.v6 = Some(v6),
        }
    }
}

fn overlap(a: IpNet, b: IpNet) -> bool {
    a.contains(&b.network()) || b.contains(&a.network())
}
