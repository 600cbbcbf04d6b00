//! What must hold whatever is asked, in any order: no address twice, nothing lost, exhaustion exact.

#![allow(clippy::unwrap_used)]

use nexin_ipam::{Addresses, Conflict, Error, Family, Ipam, Owner, Pool, Special, State, Want};
use proptest::prelude::*;
use std::{
    collections::{BTreeMap, VecDeque},
    net::IpAddr,
};

fn pool(net: &str) -> Pool {
    Pool::new(net.parse().unwrap()).unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn owner(n: u8) -> Owner {
    Owner(format!("endpoint-{n}"))
}

#[derive(Clone, Debug)]
enum Step {
    Any(u8),
    This(u8, u8),
    Release(u8),
    Forget(u8),
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => any::<u8>().prop_map(Step::Any),
        2 => (any::<u8>(), any::<u8>()).prop_map(|(n, at)| Step::This(n, at)),
        4 => any::<u8>().prop_map(Step::Release),
        1 => any::<u8>().prop_map(Step::Forget),
        1 => Just(Step::Restart),
    ];
    proptest::collection::vec(step, 0..400)
}

/// The prefix and the offsets that workloads can have in it.
fn nets() -> impl Strategy<Value = (&'static str, std::ops::RangeInclusive<u8>)> {
    prop_oneof![
        Just(("10.0.0.0/30", 2..=2)),
        Just(("10.0.0.64/28", 2..=14)),
        Just(("10.0.0.0/25", 2..=126)),
        Just(("fd00::/126", 2..=3)),
        Just(("fd00::40/122", 2..=63)),
    ]
}

fn at(pool: &Pool, offset: u8) -> IpAddr {
    match pool.net().network() {
        IpAddr::V4(v4) => IpAddr::V4((v4.to_bits() + u32::from(offset)).into()),
        IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() + u128::from(offset)).into()),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Against a model that keeps a plain list of free addresses: first the never used in order, then by time of release.
    #[test]
    fn it_does_what_a_plain_list_would((net, offsets) in nets(), steps in steps()) {
        let mut pool = pool(net);
        let mut held: BTreeMap<IpAddr, Owner> = BTreeMap::new();
        let mut never: VecDeque<IpAddr> = offsets.clone().map(|offset| at(&pool, offset)).collect();
        let mut released: VecDeque<IpAddr> = VecDeque::new();
        let all = never.len() as u128;
        prop_assert_eq!(pool.size(), all);
        for step in steps {
            match step {
                Step::Any(n) => match never.pop_front().or_else(|| released.pop_front()) {
                    Some(expected) => {
                        prop_assert_eq!(pool.allocate(owner(n)), Ok(expected));
                        prop_assert_eq!(held.insert(expected, owner(n)), None);
                    }
                    None => prop_assert_eq!(
                        pool.allocate(owner(n)),
                        Err(Error::Exhausted { pool: net.parse().unwrap(), size: all, used: all })
                    ),
                },
                Step::This(n, offset) => {
                    let wanted = at(&pool, offset);
                    let result = pool.allocate_specific(wanted, owner(n));
                    if !pool.net().contains(&wanted) {
                        prop_assert_eq!(result, Err(Error::OutsidePool { ip: wanted, pool: pool.net() }));
                    } else if !offsets.contains(&offset) {
                        prop_assert!(matches!(result, Err(Error::Reserved { .. })), "{:?}", result);
                    } else if let Some(holder) = held.get(&wanted).filter(|holder| **holder != owner(n)) {
                        prop_assert_eq!(result, Err(Error::InUse { ip: wanted, owner: holder.clone() }));
                    } else {
                        prop_assert_eq!(result, Ok(()));
                        never.retain(|free| *free != wanted);
                        released.retain(|free| *free != wanted);
                        held.insert(wanted, owner(n));
                    }
                }
                Step::Release(offset) => {
                    let back = at(&pool, offset);
                    let expected = held.remove(&back);
                    prop_assert_eq!(pool.release(back), expected.clone());
                    released.extend(expected.map(|_| back));
                }
                Step::Forget(n) => {
                    let expected: Vec<_> = held.extract_if(.., |_, holder| *holder == owner(n)).collect();
                    released.extend(expected.iter().map(|(ip, _)| *ip));
                    prop_assert_eq!(pool.retain(|holder| *holder != owner(n)), expected);
                }
                Step::Restart => {
                    let text = serde_json::to_string(&Ipam::new([pool]).state()).unwrap();
                    let fresh = Pool::new(net.parse().unwrap()).unwrap();
                    let (ipam, conflicts) = Ipam::restore([fresh], serde_json::from_str(&text).unwrap());
                    prop_assert_eq!(conflicts, vec![]);
                    pool = ipam.pools().next().unwrap().clone();
                }
            }
            prop_assert_eq!(pool.used(), held.len() as u128);
            prop_assert!(pool.allocations().map(|(ip, o)| (ip, o.clone())).eq(held.clone()));
        }
    }

    /// A state from disk may say anything: what is restored is still a sound pool.
    #[test]
    fn any_state_restores_to_a_sound_pool(
        held in proptest::collection::btree_map(any::<u8>(), any::<u8>(), 0..20),
        released in proptest::collection::vec(any::<u8>(), 0..40),
        fresh in proptest::option::of(any::<u8>()),
        smaller: bool,
    ) {
        let base = pool("10.0.0.0/25");
        let mut state = base.state();
        state.held = held.iter().map(|(offset, n)| (at(&base, *offset), owner(*n))).collect();
        state.released = released.iter().map(|offset| at(&base, *offset)).collect();
        state.fresh = fresh.map(|offset| at(&base, offset));
        let now = if smaller { "10.0.0.0/27" } else { "10.0.0.0/25" };
        let (mut ipam, conflicts) = Ipam::restore([pool(now)], State { version: 1, pools: vec![state] });
        let pool = ipam.pool(Family::V4).unwrap();
        prop_assert_eq!(pool.used() + conflicts.len() as u128, held.len() as u128);
        let size = pool.size();
        let mut count = pool.used();
        let mut seen: std::collections::BTreeSet<_> = pool.allocations().map(|(ip, _)| ip).collect();
        while let Ok(Addresses { v4: Some(ip), .. }) = ipam.allocate(&owner(0), Want::Any, Want::Nothing) {
            prop_assert!(seen.insert(ip.into()), "{ip} twice");
            count += 1;
        }
        prop_assert_eq!(count, size);
    }
}

#[test]
fn a_huge_pool_costs_nothing_and_still_waits_before_it_uses_an_address_again() {
    for net in ["fd00::/8", "::/0", "fd00::/64"] {
        let mut pool = pool(net);
        let mut last = None;
        for round in 0..20_000u32 {
            let ip = pool.allocate(owner(1)).unwrap();
            assert_ne!(Some(ip), last, "round {round}");
            assert_eq!(pool.release(ip), Some(owner(1)));
            last = Some(ip);
        }
        let state = pool.state();
        assert!(state.released.len() <= 1024, "{}", state.released.len());
        assert_eq!(pool.used(), 0);
    }
}

#[test]
fn special_addresses_and_small_prefixes_are_refused() {
    let mut four = pool("10.1.2.3/24");
    assert_eq!((four.net(), four.gateway(), four.size()), ("10.1.2.0/24".parse().unwrap(), ip("10.1.2.1"), 253));
    for (address, what) in
        [("10.1.2.0", Special::Network), ("10.1.2.1", Special::Gateway), ("10.1.2.255", Special::Broadcast)]
    {
        assert_eq!(four.allocate_specific(ip(address), owner(1)), Err(Error::Reserved { ip: ip(address), what }));
    }
    assert_eq!(
        four.allocate_specific(ip("fd00::5"), owner(1)),
        Err(Error::OutsidePool { ip: ip("fd00::5"), pool: four.net() })
    );
    assert_eq!(four.release(ip("fd00::5")), None);
    let mut six = pool("fd00::/120");
    assert_eq!((six.gateway(), six.size()), (ip("fd00::1"), 254));
    assert_eq!(six.allocate_specific(ip("fd00::ff"), owner(1)), Ok(()));
    for small in ["10.0.0.0/31", "10.0.0.0/32", "fd00::/127", "fd00::/128"] {
        assert_eq!(Pool::new(small.parse().unwrap()).unwrap_err(), Error::TooSmall(small.parse().unwrap()));
    }
}

#[test]
fn the_exhaustion_error_says_what_to_do() {
    let mut tiny = pool("10.0.0.0/30");
    tiny.allocate(owner(1)).unwrap();
    let text = tiny.allocate(owner(2)).unwrap_err().to_string();
    assert!(text.contains("10.0.0.0/30") && text.contains("1 of 1") && text.contains("nexin ipam"), "{text}");
}

#[test]
fn both_families_or_none() {
    let mut ipam = Ipam::new([pool("10.0.0.0/24"), pool("fd00::/126")]);
    let both = |ipam: &mut Ipam, n| ipam.allocate(&owner(n), Want::Any, Want::Any);
    both(&mut ipam, 1).unwrap();
    let second = both(&mut ipam, 2).unwrap();
    assert!(matches!(both(&mut ipam, 3), Err(Error::Exhausted { .. })));
    assert_eq!(ipam.pool(Family::V4).unwrap().used(), 2, "nothing stays held of the family that had some");

    // Asked again for what it has: the failure of the other family takes nothing away.
    let v4 = second.v4.unwrap();
    assert!(ipam.allocate(&owner(2), Want::This(v4), Want::Any).is_err());
    assert_eq!(ipam.of_owner(&owner(2)).len(), 2);

    assert_eq!(ipam.release_owner(&owner(2)).len(), 2);
    assert_eq!(ipam.release_owner(&owner(2)), Vec::<IpAddr>::new());
    assert!(both(&mut ipam, 3).is_ok_and(|addresses| addresses.v6 == second.v6));
    assert_eq!(ipam.reconcile(|o| *o == owner(3)).len(), 2);
}

#[test]
fn one_family_is_enough_unless_the_other_is_asked_for_by_address() {
    let mut ipam = Ipam::new([pool("10.0.0.0/24")]);
    let addresses = ipam.allocate(&owner(1), Want::Any, Want::Any).unwrap();
    assert!(addresses.v4.is_some() && addresses.v6.is_none());
    let refused = ipam.allocate(&owner(2), Want::Any, Want::This("fd00::5".parse().unwrap()));
    assert_eq!(refused, Err(Error::NoPool(Family::V6)));
    assert_eq!(ipam.pool(Family::V4).unwrap().used(), 1);
}

#[test]
fn what_does_not_fit_after_a_change_of_settings_is_reported() {
    let mut ipam = Ipam::new([pool("10.0.0.0/24"), pool("fd00::/64")]);
    ipam.allocate(&owner(1), Want::This("10.0.0.200".parse().unwrap()), Want::Any).unwrap();
    ipam.allocate(&owner(2), Want::This("10.0.0.20".parse().unwrap()), Want::Nothing).unwrap();
    let state = ipam.state();
    let (now, conflicts) = Ipam::restore([pool("10.0.0.0/26")], state.clone());
    let small = "10.0.0.0/26".parse().unwrap();
    assert_eq!(
        conflicts,
        [
            Conflict::Address {
                ip: ip("10.0.0.200"),
                owner: owner(1),
                reason: Error::OutsidePool { ip: ip("10.0.0.200"), pool: small }
            },
            Conflict::Pool { net: "fd00::/64".parse().unwrap(), held: 1 },
        ]
    );
    assert_eq!(now.of_owner(&owner(2)), [ip("10.0.0.20")]);
    let (_, conflicts) = Ipam::restore([pool("10.0.0.0/24")], State { version: 9, ..state });
    assert_eq!(conflicts, [Conflict::Version(9)]);
}
