//! Namespaces, and the stream of changes, on the real kernel.

#![allow(clippy::unwrap_used)]

use nexin_netlink::{Change, Error, IfName, Netns, Watcher};
use std::{collections::BTreeSet, fs, path::Path, process::Command};

/// Removes the name also when the test fails.
struct Named(String);

impl Named {
    fn new(purpose: &str) -> (Self, Netns) {
        let name = format!("nxn-{purpose}-{}", std::process::id());
        let netns = Netns::create_named(&name).unwrap();
        (Self(name), netns)
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        if let Err(e) = Netns::delete_named(&self.0) {
            eprintln!("{e}");
        }
    }
}

#[test]
fn a_named_namespace_is_the_tools_too_and_goes_whole() {
    let (name, netns) = Named::new("named");
    let listed = Command::new("ip").args(["netns", "list"]).output().unwrap();
    assert!(String::from_utf8_lossy(&listed.stdout).contains(&name.0));
    assert_eq!(Netns::named(&name.0).unwrap().id().unwrap(), netns.id().unwrap());
    assert_ne!(Netns::current().unwrap().id().unwrap(), netns.id().unwrap());
    assert!(matches!(Netns::create_named(&name.0), Err(Error::Io { .. })), "a name is not taken over");

    let path = Netns::path_of(&name.0);
    Netns::delete_named(&name.0).unwrap();
    Netns::delete_named(&name.0).unwrap();
    assert!(!path.exists());
    assert!(matches!(Netns::named(&name.0), Err(Error::NoSuchNamespace(_))));
}

#[test]
fn work_inside_leaves_the_caller_where_it_was() {
    let netns = Netns::create().unwrap();
    let before = Netns::current().unwrap().id().unwrap();
    assert!(netns.run(|| netns.is_current().unwrap()).unwrap());
    let panicked = netns.run(|| assert!(Path::new("/nonexistent").exists()));
    assert!(matches!(panicked, Err(Error::ThreadDied(_))));
    assert_eq!(Netns::current().unwrap().id().unwrap(), before);

    let mut child = netns.run(|| Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap()).unwrap();
    assert_eq!(Netns::of_process(child.id()).unwrap().id().unwrap(), netns.id().unwrap());
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn files_are_covered_for_the_inside_only() {
    let folder = std::env::temp_dir().join(format!("nxn-files-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let (ours, theirs) = (folder.join("ours"), folder.join("theirs"));
    fs::write(&ours, "inside").unwrap();
    fs::write(&theirs, "outside").unwrap();
    let netns = Netns::create().unwrap();
    let seen = netns.run_with_files(&[(ours, theirs.clone())], || fs::read_to_string(&theirs).unwrap()).unwrap();
    assert_eq!((seen.as_str(), fs::read_to_string(&theirs).unwrap().as_str()), ("inside", "outside"));
    fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn what_is_no_namespace_is_refused() {
    for path in ["/proc/self/status", "/nonexistent", "/proc/4294967/ns/net"] {
        assert!(matches!(Netns::open(Path::new(path)), Err(Error::NoSuchNamespace(_))), "{path}");
    }
}

#[tokio::test]
async fn changes_are_streamed_and_an_overflow_asks_for_a_resync() {
    let netns = Netns::create().unwrap();
    let mut watcher = Watcher::open(&netns).unwrap();
    let mut netlink = netns.netlink().unwrap();
    let lo = netlink.link(&IfName::new("lo").unwrap()).unwrap().unwrap().index;
    netlink.set_up(&IfName::new("lo").unwrap(), true).unwrap();
    netlink.add_address(lo, "10.9.9.9/32".parse().unwrap()).unwrap();
    netlink.delete_address(lo, "10.9.9.9/32".parse().unwrap()).unwrap();
    let (mut links, mut added, mut removed) = (0, 0, 0);
    while removed == 0 {
        match watcher.next().await.unwrap() {
            Change::Link(link) => links += usize::from(link.up && link.loopback),
            Change::Address(a) => added += usize::from(a.ours && a.net == "10.9.9.9/32".parse().unwrap()),
            Change::AddressGone(a) => removed += usize::from(a.net == "10.9.9.9/32".parse().unwrap()),
            _ => {}
        }
    }
    assert!(links >= 1);
    assert_eq!(added, 1);

    // Far more than the socket holds while nobody reads.
    for round in 0..4000u32 {
        let net = format!("10.8.{}.{}/32", round / 250, round % 250 + 1).parse().unwrap();
        netlink.add_address(lo, net).unwrap();
    }
    while watcher.next().await.unwrap() != Change::Resync {}
    netlink.add_address(lo, "10.9.9.9/32".parse().unwrap()).unwrap();
    let mut seen = BTreeSet::new();
    while !seen.contains(&"10.9.9.9/32".parse().unwrap()) {
        if let Change::Address(a) = watcher.next().await.unwrap() {
            seen.insert(a.net);
        }
    }
    assert_eq!(netlink.addresses().unwrap().iter().filter(|a| a.ours).count(), 4001);
}
