//! Policy in the kernel's tables, and what is told about it.

use nexin_abi::maps::cidr::{Cidr4, Cidr6, v4, v6};
use nexin_abi::maps::config::{Config, ConfigMap};
use nexin_abi::maps::endpoint::Endpoint;
use nexin_abi::maps::metrics::{Metrics, index};
use nexin_abi::maps::policy::{
    Blocks, ClassKey, Classes, Decision, Decisions, Page, Policies, Policy, Ports, Slot, Verdict, Verdicts,
};
use nexin_abi::{Action, Direction, DropReason, Event, EventKind, Identity, SourceFile};
use nexin_packet::tcp::SYN;
use nexin_testbed::Result;

use crate::bed::{ALICE, BOB, BOTH, Bed, DROP, Family, MALLORY, PEER, REDIRECT, echo, packet, tcp, udp, with_bed};

#[test]
fn default_deny_names_policy_and_identities() -> Result {
    with_bed(|bed| {
        bed.policy(1, &[ALICE.identity], 7)?;
        bed.change_endpoint(BOB, |bob| bob.ingress_policy = 1)?;
        for family in BOTH {
            assert_eq!(bed.send(ALICE, &packet(ALICE, BOB, family, tcp(40000, 80, SYN)))?.action, REDIRECT);
            let allowed = bed.events("nx_ev_verdict")?.pop().expect("told");
            assert_eq!((allowed.action, allowed.rule, allowed.policy), (Action::Allow as u8, 7, 1));
            assert_eq!(allowed.direction, Direction::Ingress as u8);

            assert_eq!(bed.send(MALLORY, &packet(MALLORY, BOB, family, tcp(40000, 80, SYN)))?.action, DROP);
            let verdict = bed.events("nx_ev_verdict")?.pop().expect("told");
            assert_eq!((verdict.action, verdict.rule, verdict.policy), (Action::DefaultDeny as u8, 0, 1));
            let drop = bed.events("nx_ev_drop")?.pop().expect("told");
            assert_eq!((drop.kind, drop.reason), (EventKind::Drop as u8, DropReason::PolicyDenied as u8));
            assert_eq!(
                (drop.source_identity, drop.destination_identity),
                (Identity(MALLORY.identity), Identity(BOB.identity))
            );
            assert_eq!((drop.source_endpoint, drop.destination_endpoint), (MALLORY.number, BOB.number));
            assert_eq!((drop.source_port.get(), drop.destination_port.get(), drop.protocol), (40000, 80, 6));
            assert_eq!(drop.direction, Direction::Ingress as u8, "the side that refused");
            assert_eq!((drop.source_mac, drop.file), (MALLORY.mac(), SourceFile::Ct as u8));
            assert_eq!(drop.family, if family == Family::Four { 4 } else { 6 });
            assert!(drop.line > 0 && drop.time_ns > 0);
        }
        let refused = index(DropReason::PolicyDenied as u8, Direction::Ingress as u8);
        let counted: u64 = bed.loaded.map::<Metrics>()?.per_cpu(&refused)?.iter().map(|t| t.packets).sum();
        assert_eq!(counted, 2);
        Ok(())
    })
}

#[test]
fn egress_is_judged_before_ingress() -> Result {
    with_bed(|bed| {
        bed.policy(1, &[], 7)?;
        bed.policy(2, &[ALICE.identity], 8)?;
        bed.change_endpoint(ALICE, |alice| alice.egress_policy = 1)?;
        bed.change_endpoint(BOB, |bob| bob.ingress_policy = 2)?;
        assert_eq!(bed.send(ALICE, &packet(ALICE, BOB, Family::Four, udp(1, 2)))?.action, DROP);
        let told = bed.events("nx_ev_verdict")?;
        assert_eq!(told.iter().map(|e| (e.direction, e.policy)).collect::<Vec<_>>(), [(Direction::Egress as u8, 1)]);
        bed.policy(3, &[BOB.identity], 9)?;
        bed.change_endpoint(ALICE, |alice| alice.egress_policy = 3)?;
        assert_eq!(bed.send(ALICE, &packet(ALICE, BOB, Family::Four, udp(1, 2)))?.action, REDIRECT);
        let told = bed.events("nx_ev_verdict")?;
        assert_eq!(told.iter().map(|e| (e.policy, e.rule)).collect::<Vec<_>>(), [(3, 9), (2, 8)]);
        Ok(())
    })
}

/// Policy 1 for everyone: TCP 80 allowed by rule 5, TCP 8000 to 8063 denied by rule 6, ICMP echo allowed by rule 7.
fn by_port(bed: &Bed) -> Result {
    let allow = |rule| Verdict { action: Action::Allow as u8, rule, ..Verdict::default() };
    bed.set::<Verdicts>(&1, &allow(5))?;
    bed.set::<Verdicts>(&2, &Verdict { action: Action::Deny as u8, rule: 6, ..Verdict::default() })?;
    bed.set::<Verdicts>(&3, &allow(7))?;
    let mut block = Page([Slot::default(); 256]);
    block.0[80] = Slot::verdict(1);
    bed.set::<Blocks>(&1, &block)?;
    let mut high = Page([Slot::default(); 256]);
    for port in 8000..8064_usize {
        high.0[port & 255] = Slot::verdict(2);
    }
    bed.set::<Blocks>(&2, &high)?;
    let mut ports = Page([Slot::default(); 256]);
    ports.0[0] = Slot::table(1);
    ports.0[8000 >> 8] = Slot::table(2);
    bed.set::<Ports>(&1, &ports)?;
    let mut icmp = Page([Slot::default(); 256]);
    icmp.0[8] = Slot::verdict(3);
    icmp.0[128] = Slot::verdict(3);
    bed.set::<Ports>(&2, &icmp)?;
    let decision = Decision { tcp: Slot::table(1), icmp: Slot::table(2), icmp6: Slot::table(2), ..Decision::default() };
    bed.set::<Decisions>(&1, &decision)?;
    bed.set::<Policies>(&1, &Policy { classifier: 1, base: 1 })
}

#[test]
fn ports_and_icmp_types_decide() -> Result {
    with_bed(|bed| {
        by_port(bed)?;
        bed.change_endpoint(BOB, |bob| bob.ingress_policy = 1)?;
        for family in BOTH {
            let cases = [
                (tcp(1, 80, SYN), None),
                (tcp(1, 81, SYN), Some(DropReason::PolicyDenied)),
                (tcp(1, 8000, SYN), Some(DropReason::PolicyDenyRule)),
                (tcp(1, 8063, SYN), Some(DropReason::PolicyDenyRule)),
                (udp(1, 80), Some(DropReason::PolicyDenied)),
                (echo(family, false, 4), None),
            ];
            for (transport, refused) in cases {
                let outcome = bed.send(ALICE, &packet(ALICE, BOB, family, transport))?;
                match refused {
                    None => assert_eq!(outcome.action, REDIRECT, "{transport:?}"),
                    Some(reason) => assert_eq!((outcome.action, bed.drop_reason()?), (DROP, reason), "{transport:?}"),
                }
            }
            // Judged again, an echo is still an echo.
            bed.bump()?;
            assert_eq!(bed.send(BOB, &packet(BOB, ALICE, family, echo(family, true, 4)))?.action, REDIRECT);
        }
        Ok(())
    })
}

#[test]
fn prefixes_give_strangers_an_identity() -> Result {
    with_bed(|bed| {
        bed.network()?;
        let cidr = Identity(Identity::SCOPE_LOCAL | 1);
        bed.policy(1, &[cidr.0], 7)?;
        bed.policy(2, &[Identity::WORLD_IPV4.0, Identity::WORLD_IPV6.0], 8)?;
        bed.change_endpoint(BOB, |bob| bob.ingress_policy = 1)?;
        bed.change_endpoint(ALICE, |alice| alice.ingress_policy = 2)?;
        for family in BOTH {
            assert_eq!(bed.arrive(&packet(PEER, BOB, family, udp(1, 2)))?.action, DROP);
            assert_eq!(bed.arrive(&packet(PEER, ALICE, family, udp(1, 2)))?.action, REDIRECT);
        }
        let (std::net::IpAddr::V4(four), std::net::IpAddr::V6(six)) = (PEER.four, PEER.six) else {
            unreachable!("named so")
        };
        bed.set::<Cidr4>(&v4::PrefixKey { bits: 24, addr: four.into() }, &cidr)?;
        bed.set::<Cidr6>(&v6::PrefixKey { bits: 64, addr: six.into() }, &cidr)?;
        bed.bump()?;
        for family in BOTH {
            assert_eq!(bed.arrive(&packet(PEER, BOB, family, udp(1, 2)))?.action, REDIRECT);
            assert_eq!(
                bed.arrive(&packet(PEER, ALICE, family, udp(1, 2)))?.action,
                DROP,
                "it is no longer just the world"
            );
        }
        Ok(())
    })
}

#[test]
fn tables_that_are_not_loaded_refuse() -> Result {
    with_bed(|bed| {
        bed.change_endpoint(BOB, |bob| bob.ingress_policy = 77)?;
        assert_eq!(bed.send(ALICE, &packet(ALICE, BOB, Family::Four, udp(1, 2)))?.action, DROP);
        assert_eq!(bed.drop_reason()?, DropReason::NoConfiguration);
        Ok(())
    })
}

#[test]
fn audit_reports_and_lets_through() -> Result {
    with_bed(|bed| {
        bed.policy(1, &[], 7)?;
        bed.change_endpoint(BOB, |bob| (bob.ingress_policy, bob.flags) = (1, Endpoint::AUDIT))?;
        bed.change_endpoint(MALLORY, |mallory| mallory.ingress_policy = 1)?;
        assert_eq!(bed.send(ALICE, &packet(ALICE, BOB, Family::Four, udp(1, 2)))?.action, REDIRECT);
        let verdict = bed.events("nx_ev_verdict")?.pop().expect("told");
        assert_eq!((verdict.action, verdict.flags & Event::AUDIT), (Action::DefaultDeny as u8, Event::AUDIT));
        assert_eq!(bed.send(ALICE, &packet(ALICE, MALLORY, Family::Four, udp(1, 2)))?.action, DROP);
        bed.set::<ConfigMap>(&0, &Config { epoch: 2, flags: Config::AUDIT })?;
        assert_eq!(bed.send(ALICE, &packet(ALICE, MALLORY, Family::Four, udp(1, 2)))?.action, REDIRECT);
        Ok(())
    })
}

#[test]
fn shadow_verdicts_are_told_and_not_enforced() -> Result {
    with_bed(|bed| {
        let shadow = Verdict {
            action: Action::Allow as u8,
            shadow_action: Action::Deny as u8,
            flags: Verdict::SHADOW,
            rule: 4,
            shadow_rule: 9,
            ..Verdict::default()
        };
        bed.policy(1, &[ALICE.identity], 4)?;
        bed.set::<Verdicts>(&1, &shadow)?;
        bed.change_endpoint(BOB, |bob| bob.ingress_policy = 1)?;
        assert_eq!(bed.send(ALICE, &packet(ALICE, BOB, Family::Six, udp(1, 2)))?.action, REDIRECT);
        let told = bed.events("nx_ev_verdict")?.pop().expect("told");
        assert_eq!((told.shadow_action, told.shadow_rule, told.rule), (Action::Deny as u8, 9, 4));
        assert_ne!(told.flags & Event::SHADOW, 0);
        Ok(())
    })
}

#[test]
fn an_unknown_class_is_everyone_else() -> Result {
    with_bed(|bed| {
        by_port(bed)?;
        bed.set::<Decisions>(&2, &Decision::default())?;
        bed.set::<Classes>(&ClassKey { classifier: 1, identity: Identity(MALLORY.identity) }, &1)?;
        bed.change_endpoint(BOB, |bob| bob.ingress_policy = 1)?;
        assert_eq!(bed.send(ALICE, &packet(ALICE, BOB, Family::Four, tcp(1, 80, SYN)))?.action, REDIRECT);
        assert_eq!(bed.send(MALLORY, &packet(MALLORY, BOB, Family::Four, tcp(1, 80, SYN)))?.action, DROP);
        Ok(())
    })
}
