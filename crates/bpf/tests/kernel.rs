//! This crate against the running kernel: maps, programs, links. Needs root. Each test has network and mount namespaces
//! of its own, which end with its thread.
#![allow(clippy::unwrap_used, reason = "a test that unwraps fails with a message and a line")]

#[path = "common/isolated.rs"]
mod isolated;

use nexin_abi::maps::addr::{Addr4Map, AddrInfo};
use nexin_abi::maps::cidr::{Cidr4, v4::PrefixKey};
use nexin_abi::maps::config::{Config, ConfigMap};
use nexin_abi::maps::metrics::{Metrics, Traffic};
use nexin_abi::maps::policy::{ClassKey, Classes};
use nexin_abi::{Addr4, Identity};
use nexin_bpf::{Error, Hook, Link, Loader, Map, TestRun, attached, bpffs, object, possible_cpus};

use isolated::isolated;

const LOOPBACK: u32 = 1;

fn packet() -> [u8; 64] {
    let mut packet = [0; 64];
    packet[12..14].copy_from_slice(&[0x88, 0xb5]); // local experimental EtherType
    packet
}

#[test]
fn entries_come_back_one_by_one_and_in_batches() {
    isolated(|_| {
        let loaded = Loader::new().entries::<Classes>(20_000).load(object()).unwrap();
        let map: Map<Classes> = loaded.map().unwrap();
        let entries: Vec<(ClassKey, u32)> =
            (0..10_000).map(|n| (ClassKey { classifier: 1 + n % 7, identity: Identity(n) }, n)).collect();
        map.set_many(&entries).unwrap();
        assert_eq!(map.get(&entries[77].0).unwrap(), Some(77));
        let mut found = map.entries().unwrap();
        found.sort_by_key(|e| e.1);
        assert_eq!(found, entries);
        let mut keys: Vec<ClassKey> = entries.iter().map(|e| e.0).collect();
        assert!(map.remove(&keys[5000]).unwrap());
        keys.push(ClassKey { classifier: 9999, identity: Identity(1) });
        assert_eq!(map.remove_many(&keys).unwrap(), 9_999);
        assert_eq!(map.entries().unwrap(), []);
    });
}

#[test]
fn a_full_map_says_its_name_and_size() {
    isolated(|_| {
        let loaded = Loader::new().entries::<Addr4Map>(4).load(object()).unwrap();
        let map: Map<Addr4Map> = loaded.map().unwrap();
        let error = (0..5u8)
            .map(|n| map.set(&Addr4::from(std::net::Ipv4Addr::new(10, 0, 0, n)), &AddrInfo::default()))
            .find_map(Result::err)
            .expect("five entries do not fit into four");
        assert!(matches!(error, Error::Full { ref map, entries: 4 } if map == "nx_addr4"), "{error}");
    });
}

#[test]
fn tries_and_per_cpu_counters() {
    isolated(|_| {
        let loaded = Loader::new().load(object()).unwrap();
        let trie: Map<Cidr4> = loaded.map().unwrap();
        let prefix = |bits, a: [u8; 4]| PrefixKey { bits, addr: Addr4::from(std::net::Ipv4Addr::from(a)) };
        trie.set_many(&[(prefix(8, [10, 0, 0, 0]), Identity(1)), (prefix(16, [10, 1, 0, 0]), Identity(2))]).unwrap();
        assert_eq!(trie.get(&prefix(32, [10, 1, 2, 3])).unwrap(), Some(Identity(2)));
        assert_eq!(trie.get(&prefix(32, [10, 2, 2, 3])).unwrap(), Some(Identity(1)));
        assert_eq!(trie.entries().unwrap().len(), 2);
        let metrics: Map<Metrics> = loaded.map().unwrap();
        assert_eq!(metrics.per_cpu(&3).unwrap(), vec![Traffic::default(); possible_cpus().unwrap()]);
    });
}

#[test]
fn pinned_maps_are_adopted_and_foreign_layouts_refused() {
    isolated(|pins| {
        let value = Config { epoch: 7, flags: 0 };
        let first = Loader::new().pins(pins).entries::<Classes>(1000).load(object()).unwrap();
        assert!(first.adopted().is_empty());
        first.map::<ConfigMap>().unwrap().set(&0, &value).unwrap();
        drop(first);
        let second = Loader::new().pins(pins).load(object()).unwrap();
        assert_eq!(second.adopted().len(), nexin_abi::maps::ALL.len());
        assert_eq!(second.map::<ConfigMap>().unwrap().get(&0).unwrap(), Some(value));
        assert_eq!(second.raw_map("nx_class").unwrap().max_entries(), 1000);
        bpffs::unpin(&pins.join("nx_class")).unwrap();
        second.raw_map("nx_config").unwrap().pin(&pins.join("nx_class")).unwrap();
        let error = Loader::new().pins(pins).load(object()).unwrap_err();
        assert!(matches!(error, Error::Layout { what: "type", .. }), "{error}");
    });
}

#[test]
fn a_pinned_link_survives_its_maker_and_is_replaced_in_place() {
    isolated(|pins| {
        let pin = pins.join("lo-from_network");
        let old = Loader::new().load(object()).unwrap();
        let program = old.program("from_network").unwrap();
        Link::attach(program, LOOPBACK, Hook::Ingress).unwrap().pin(&pin).unwrap();
        assert_eq!(attached(LOOPBACK, Hook::Ingress).unwrap(), [program.id()]);

        let new = Loader::new().load(object()).unwrap();
        let program = new.program("from_network").unwrap();
        let link = Link::open_pin(&pin).unwrap().expect("pinned above");
        link.update(program).unwrap();
        drop(old);
        assert_eq!(attached(LOOPBACK, Hook::Ingress).unwrap(), [program.id()]);
        assert_eq!(link.status().unwrap().ifindex, LOOPBACK);
        link.detach().unwrap();
        assert_eq!(attached(LOOPBACK, Hook::Ingress).unwrap(), []);
        assert_eq!(link.status().unwrap().ifindex, 0);
        bpffs::unpin(&pin).unwrap();
        assert!(Link::open_pin(&pin).unwrap().is_none());
    });
}

#[test]
fn programs_run_on_a_packet_of_ours() {
    isolated(|_| {
        let loaded = Loader::new().load(object()).unwrap();
        for name in ["from_workload", "to_workload", "from_network", "to_network"] {
            let program = loaded.program(name).unwrap();
            assert!(program.verified_insns() > 0);
            let packet = packet();
            let mut run = TestRun::new(&packet, LOOPBACK);
            run.ctx.mark = 0x1234;
            let outcome = program.test_run(&run).unwrap();
            assert_eq!(outcome.data.expect("asked for").len(), packet.len());
            run.want_data = false;
            run.repeat = 1000;
            assert!(program.test_run(&run).unwrap().mean.as_nanos() < 1_000_000);
        }
        let missing = loaded.program("nothing").unwrap_err();
        assert!(matches!(missing, Error::NoProgram(ref name) if name == "nothing"));
    });
}

#[test]
fn a_clsact_filter_is_found_replaced_and_removed() {
    use nexin_bpf::clsact;
    isolated(|_| {
        let old = Loader::new().load(object()).unwrap();
        let new = Loader::new().load(object()).unwrap();
        for (hook, name) in [(Hook::Ingress, "from_network"), (Hook::Egress, "to_network")] {
            assert_eq!(clsact::attached(LOOPBACK, hook).unwrap(), None);
            clsact::detach(LOOPBACK, hook).unwrap();
            for loaded in [&old, &new] {
                let program = loaded.program(name).unwrap();
                clsact::attach(program, LOOPBACK, hook).unwrap();
                assert_eq!(clsact::attached(LOOPBACK, hook).unwrap(), Some(program.id()));
            }
        }
        clsact::detach(LOOPBACK, Hook::Ingress).unwrap();
        assert_eq!(clsact::attached(LOOPBACK, Hook::Ingress).unwrap(), None);
        assert!(clsact::attached(LOOPBACK, Hook::Egress).unwrap().is_some());
        clsact::detach(9999, Hook::Ingress).unwrap();
    });
}

#[test]
fn the_tick_advances_as_the_clock_says() {
    use nexin_bpf::clock::{Jiffies, Offset};
    let jiffies = Jiffies::new().unwrap();
    assert!([100, 250, 300, 1000].contains(&jiffies.hz()), "{} is no CONFIG_HZ", jiffies.hz());
    let (start, began) = (jiffies.now().unwrap(), std::time::Instant::now());
    let mut now = start;
    while now.wrapping_sub(start) < 5 {
        now = jiffies.now().unwrap();
        assert!(began.elapsed().as_secs() < 10, "the tick stands still");
    }
    let ticked = std::time::Duration::from_secs(1) * 5 / jiffies.hz();
    assert!(began.elapsed() >= ticked * 4 / 5, "five ticks in {:?}", began.elapsed());
    assert!(matches!(jiffies.until(start, now), Offset::Passed(passed) if passed >= ticked));
    assert!(matches!(jiffies.until(now.wrapping_add(10), now), Offset::Ahead(_)));
}

#[test]
fn probes_agree_with_what_the_other_tests_do() {
    use nexin_bpf::probe::{Presence, features};
    let features = features();
    for name in
        ["BPF programs", "ring buffer", "fib_lookup", "redirect_peer", "redirect_neigh", "jiffies64", "map batches"]
    {
        let feature = features.iter().find(|feature| feature.name == name).expect(name);
        assert_eq!(feature.presence, Presence::Present, "{name}");
    }
    assert!(features.iter().filter(|feature| feature.required).all(|feature| feature.presence != Presence::Absent));
}

#[test]
fn a_refused_program_says_which_and_why() {
    isolated(|_| {
        // Every `exit` becomes `r0 = 0`, so programs run past their end.
        const EXIT: [u8; 8] = [0x95, 0, 0, 0, 0, 0, 0, 0];
        let mut broken = object().to_vec();
        for instruction in broken.chunks_exact_mut(8).filter(|instruction| **instruction == EXIT) {
            instruction[0] = 0xb7;
        }
        let error = Loader::new().load(&broken).unwrap_err();
        let Error::Verifier { program, log, source } = &error else { panic!("{error}") };
        assert!(object().windows(program.len()).any(|name| name == program.as_bytes()), "{program}");
        assert!(!log.is_empty() && source.raw_os_error().is_some(), "{error}");
        assert!(error.next_step().contains("uname -r"));
        assert!(matches!(Loader::new().load(&broken[..1000]), Err(Error::Object(_))));
        let unknown = Loader::new().global("NX_NOTHING", &[0; 4]).load(object());
        assert!(matches!(unknown, Err(Error::Object(_))));
        Loader::new().global_if_used("NX_NOTHING", &[0; 4]).load(object()).unwrap();
    });
}
