//! Namespaces for one test: network and mount of its own, which end with the test's thread. Nothing has a name, so nothing
//! can be left behind.

use std::path::Path;

use nexin_bpf::bpffs;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};

/// Runs `test` as root in new namespaces, with an empty bpffs at the path it is given.
pub(crate) fn isolated(test: impl FnOnce(&Path) + Send + 'static) {
    let thread = std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).expect("root may unshare");
        let none: Option<&str> = None;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
        let dir = tempfile::tempdir().unwrap();
        bpffs::ensure(dir.path()).unwrap();
        test(dir.path());
        // Lazily: a process that another test is just starting may hold our descriptors until it has started.
        umount2(dir.path(), MntFlags::MNT_DETACH).unwrap();
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}
